"""The nine states of a contact and the four acts: every cell of the tables of RFC 6121, A.2.1 to A.3.4, typed here a
second time from the RFC, by the names that it gives the states."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from presenced.core.contacts.transitions import (
    RECEIVED,
    SENT,
    STATES,
    Act,
    agreed,
    apart,
    both_sides,
    received,
    sent,
    subscription_of,
)
from presenced.core.roster import APPROVED, ASKED, ASKS, FROM, LISTED, TO
from presenced.wire.messages import Subscription

STATE = {
    "None": 0,
    "None+Out": ASKED,
    "None+In": ASKS,
    "None+Out+In": ASKED | ASKS,
    "To": TO,
    "To+In": TO | ASKS,
    "From": FROM,
    "From+Out": FROM | ASKED,
    "Both": TO | FROM,
}
NAMES = list(STATE)
SAME = "-"

# The state after the act in each of the nine states, in the order of NAMES; SAME = no change of state.
OUTBOUND: dict[Act, list[str]] = {
    "subscribe": ["None+Out", SAME, "None+Out+In", SAME, SAME, SAME, "From+Out", SAME, SAME],  # A.2.1
    "unsubscribe": [SAME, "None", SAME, "None+In", "None", "None+In", SAME, "From", "From"],  # A.2.2
    "approve": [SAME, SAME, "From", "From+Out", SAME, "Both", SAME, SAME, SAME],  # A.2.3
    "cancel": [SAME, SAME, "None", "None+Out", SAME, "To", "None", "None+Out", "To"],  # A.2.4
}
INBOUND: dict[Act, list[str]] = {
    "subscribe": ["None+In", "None+Out+In", SAME, SAME, "To+In", SAME, SAME, SAME, SAME],  # A.3.1
    "unsubscribe": [SAME, SAME, "None", "None+Out", SAME, "To", "None", "None+Out", "To"],  # A.3.2
    "approve": [SAME, "To", SAME, "To+In", SAME, SAME, SAME, "Both", SAME],  # A.3.3
    "cancel": [SAME, "None", SAME, "None+In", "None", "None+In", SAME, "From", "From"],  # A.3.4
}
ACTS = list(OUTBOUND)
WORDS: tuple[Subscription, ...] = ("none", "to", "from", "both")
STATE_BITS = TO | FROM | ASKED | ASKS
MIRRORED = {TO: FROM, FROM: TO, ASKED: ASKS, ASKS: ASKED}


def mirrored(flags: int) -> int:
    return sum(yours for mine, yours in MIRRORED.items() if flags & mine)


def test_the_states_are_the_nine_of_the_rfc() -> None:
    assert list(STATES) == list(STATE.values())
    words = [subscription_of(state) for state in STATES]
    assert words == ["none", "none", "none", "none", "to", "to", "from", "from", "both"]


@pytest.mark.parametrize("act", ACTS)
def test_what_is_sent(act: Act) -> None:
    for before, after in zip(NAMES, OUTBOUND[act], strict=True):
        expected = STATE[before if after == SAME else after]
        # Section 3.4: an approval is kept if nobody asks.
        kept = APPROVED if act == "approve" and before in ("None", "None+Out", "To") else 0
        assert sent(act, STATE[before]) == expected | kept, f"{act} in {before}"


@pytest.mark.parametrize("act", ACTS)
def test_what_is_received(act: Act) -> None:
    for before, after in zip(NAMES, INBOUND[act], strict=True):
        assert received(act, STATE[before]) == STATE[before if after == SAME else after], f"{act} in {before}"


def test_the_tables_name_changes_alone() -> None:
    for table in (SENT, RECEIVED):
        for act, changes in table.items():
            assert all(before in STATES and after in STATES and before != after for before, after in changes.items()), (
                act
            )


def pairs() -> Iterator[tuple[int, int]]:
    """Both sides of a pair in each state, with what each may have besides."""
    for state, mine, theirs in product(STATES, (0, APPROVED, LISTED), (0, APPROVED, LISTED)):
        # Nobody is approved who sees the other or asks to.
        if not (mine & APPROVED and state & (FROM | ASKS)) and not (theirs & APPROVED and state & (TO | ASKED)):
            yield state | mine, mirrored(state) | theirs


@pytest.mark.parametrize("act", ACTS)
def test_the_two_sides_agree_after_each_act(act: Act) -> None:
    for mine, theirs in pairs():
        after, other = both_sides(act, mine, theirs)
        assert mirrored(after) == other & STATE_BITS, f"{act} with {mine} and {theirs}"
        assert after & LISTED == mine & LISTED and other & LISTED == theirs & LISTED, "who is listed stays listed"
        assert both_sides(act, after, other) == (after, other), "an act that is repeated changes nothing"


def test_a_request_that_was_approved_before_is_granted_and_uses_the_approval_up() -> None:
    assert both_sides("subscribe", 0, APPROVED) == (TO, FROM)
    assert both_sides("subscribe", FROM, TO | APPROVED) == (TO | FROM, TO | FROM)
    assert both_sides("subscribe", 0, APPROVED, may_grant=False) == (ASKED, ASKS | APPROVED)
    assert both_sides("cancel", APPROVED, 0) == (0, 0)


def test_who_is_taken_off_a_list_is_apart_and_keeps_the_other() -> None:
    for mine, theirs in pairs():
        after, other = apart(mine, theirs)
        assert after == 0
        listed = LISTED if theirs & ~ASKS else 0
        assert other & ~APPROVED == listed, "whom they had in their list stays in it"
        kept, asking = apart(mine, theirs, keeps_request=True)
        assert (kept, asking & STATE_BITS) == ((ASKS, ASKED) if mine & ASKS else (0, 0))


def test_a_list_that_is_set_says_all_but_what_is_asked() -> None:
    for (mine, theirs), word in product(pairs(), WORDS):
        after, other = agreed(word, mine, theirs)
        assert subscription_of(after) == word and after & LISTED
        assert mirrored(after) == other & STATE_BITS
        assert bool(after & ASKS) == bool(mine & ASKS and word in ("none", "to")), "a request stays or is granted"
        assert not after & (ASKED | APPROVED), "what the user had asked or approved is settled"
        assert other & LISTED == theirs & LISTED
        assert bool(other & APPROVED) == bool(theirs & APPROVED and word in ("none", "from"))
