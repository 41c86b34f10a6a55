"""The merge against its rule in words (`merging`)."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given, settings, strategies as st

from presenced.core.merge import merge
from presenced.core.model import (
    ACTIVE as ACTIVE_LEVEL,
    CONNECTED,
    GONE,
    GRACE,
    IDLE_AWAY,
    IDLE_OFFLINE,
    Claim,
    Device,
    User,
)
from tests.core.merging import merged_by_the_words
from tests.support.tiers import samples

HYSTERESIS_MS = 30

devices_of_a_user = st.lists(
    st.tuples(
        st.sampled_from([CONNECTED, GRACE, GONE]),
        st.sampled_from(["dnd", "chat", "online", "away", "xa"]),
        st.sampled_from([-128, -1, 0, 5]),
        st.sampled_from([ACTIVE_LEVEL, IDLE_AWAY, IDLE_OFFLINE]),
        st.integers(0, 100),
    ),
    max_size=5,
)
claims = st.none() | st.sampled_from(["chat", "online", "away", "xa", "dnd", "offline"])


def make(rows: list[tuple[int, str, int, int, int]], claim: str | None) -> tuple[list[Device], Claim | None]:
    user = User("alice")
    devices = []
    for number, (state, status, priority, level, active_ms) in enumerate(rows):
        device = Device(user, f"d{number}")
        device.state, device.priority, device.idle_level, device.active_ms = state, priority, level, active_ms
        device.status = status  # type: ignore[assignment]
        devices.append(device)
    return devices, Claim("manual", "manual", claim, 0, 0, 0) if claim else None  # type: ignore[arg-type]


@settings(max_examples=samples(400), deadline=None)
@given(devices_of_a_user, claims, st.integers(-1, 4))
def test_merge_does_what_the_words_say(
    rows: list[tuple[int, str, int, int, int]], claim_status: str | None, primary_index: int
) -> None:
    devices, claim = make(rows, claim_status)
    primary = devices[primary_index] if 0 <= primary_index < len(devices) else None
    status, chosen = merge(devices, claim, primary, HYSTERESIS_MS)
    expected, candidates = merged_by_the_words(devices, claim, primary, HYSTERESIS_MS)
    assert status == expected
    assert any(chosen is candidate for candidate in candidates)
    # Asked again with its own answer it says the same: nothing flaps without an input.
    assert merge(devices, claim, chosen, HYSTERESIS_MS) == (status, chosen)


@settings(max_examples=samples(60), deadline=None)
@given(devices_of_a_user.filter(lambda rows: len({row[4] for row in rows}) == len(rows)), claims)
def test_the_order_of_devices_does_not_matter(
    rows: list[tuple[int, str, int, int, int]], claim_status: str | None
) -> None:
    devices, claim = make(rows, claim_status)
    answers = {merge(order, claim, None, HYSTERESIS_MS) for order in permutations(devices)}
    assert len(answers) == 1
