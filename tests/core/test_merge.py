"""The merge against a twin that is written from the words of the rule, one sentence after the other."""

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


def naive(devices: list[Device], claim: Claim | None, primary: Device | None) -> tuple[str, list[Device | None]]:
    """The status, and every device that may be primary."""
    live = [device for device in devices if device.state in (CONNECTED, GRACE)]
    not_negative = [device for device in live if device.priority >= 0]
    counted = [device for device in not_negative if device.idle_level in (ACTIVE_LEVEL, IDLE_AWAY)]
    if not counted or (claim is not None and claim.status == "offline"):
        return "offline", [None]
    used = [device for device in counted if device.idle_level == ACTIVE_LEVEL]
    said = []
    for device in counted:
        lends_away = ("chat", "online", "dnd") if used else ("chat", "online")
        said.append("away" if device.status in lends_away and device not in used else device.status)
    status = next(status for status in ("dnd", "chat", "online", "away", "xa") if status in said)
    if claim is not None:
        status = "away" if claim.status in ("chat", "online") and not used else claim.status
    newest_ms = max(device.active_ms for device in counted)
    if primary in counted and newest_ms <= primary.active_ms + HYSTERESIS_MS:
        return status, [primary]
    return status, [device for device in counted if device.active_ms == newest_ms]


@settings(max_examples=samples(400), deadline=None)
@given(devices_of_a_user, claims, st.integers(-1, 4))
def test_merge_does_what_the_words_say(
    rows: list[tuple[int, str, int, int, int]], claim_status: str | None, primary_index: int
) -> None:
    devices, claim = make(rows, claim_status)
    primary = devices[primary_index] if 0 <= primary_index < len(devices) else None
    status, chosen = merge(devices, claim, primary, HYSTERESIS_MS)
    expected, candidates = naive(devices, claim, primary)
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
