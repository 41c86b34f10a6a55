"""What an act makes of the two sides of a pair: the tables of RFC 6121, appendix A, and pre-approval (section 3.4).

A state is a sum of `TO`, `FROM`, `ASKED` and `ASKS`. Nine of the sixteen sums are states: who sees the other does not
ask to. The tables name the states that change; in every other state the act changes nothing. Whatever one side sends,
the other receives in the same step, so that mine `TO` is always yours `FROM`, and mine `ASKED` yours `ASKS`.
"""

from __future__ import annotations

from typing import Final, Literal

from presenced.core.roster import APPROVED, ASKED, ASKS, FROM, LISTED, TO
from presenced.wire.messages import Subscription

Act = Literal["subscribe", "unsubscribe", "approve", "cancel"]
"""The four kinds of presence stanza that change a subscription: `approve` is XMPP's subscribed, `cancel` its
unsubscribed."""

STATE: Final = TO | FROM | ASKED | ASKS
"""The part of the flags that the tables are about."""

MIRRORED: Final = {TO: FROM, FROM: TO, ASKED: ASKS, ASKS: ASKED}
"""What the other side has if one side has this."""

BOTH: Final = TO | FROM

STATES: Final = (
    0,
    ASKED,
    ASKS,
    ASKED | ASKS,
    TO,
    TO | ASKS,
    FROM,
    FROM | ASKED,
    BOTH,
)
"""In the order of the RFC: None, None + Pending Out, None + Pending In, None + Pending Out+In, To, To + Pending In,
From, From + Pending Out, Both."""

SENT: Final[dict[Act, dict[int, int]]] = {
    # A.2.1
    "subscribe": {0: ASKED, ASKS: ASKED | ASKS, FROM: FROM | ASKED},
    # A.2.2
    "unsubscribe": {
        ASKED: 0,
        ASKED | ASKS: ASKS,
        TO: 0,
        TO | ASKS: ASKS,
        FROM | ASKED: FROM,
        BOTH: FROM,
    },
    # A.2.3
    "approve": {ASKS: FROM, ASKED | ASKS: FROM | ASKED, TO | ASKS: BOTH},
    # A.2.4
    "cancel": {
        ASKS: 0,
        ASKED | ASKS: ASKED,
        TO | ASKS: TO,
        FROM: 0,
        FROM | ASKED: ASKED,
        BOTH: TO,
    },
}
"""What an act makes of the state at the side of the user who does it."""

RECEIVED: Final[dict[Act, dict[int, int]]] = {
    # A.3.1
    "subscribe": {0: ASKS, ASKED: ASKED | ASKS, TO: TO | ASKS},
    # A.3.2
    "unsubscribe": {
        ASKS: 0,
        ASKED | ASKS: ASKED,
        TO | ASKS: TO,
        FROM: 0,
        FROM | ASKED: ASKED,
        BOTH: TO,
    },
    # A.3.3
    "approve": {ASKED: TO, ASKED | ASKS: TO | ASKS, FROM | ASKED: BOTH},
    # A.3.4
    "cancel": {
        ASKED: 0,
        ASKED | ASKS: ASKS,
        TO: 0,
        TO | ASKS: ASKS,
        FROM | ASKED: FROM,
        BOTH: FROM,
    },
}
"""What it makes of the state at the other side."""

_WORDS: Final[dict[int, Subscription]] = {0: "none", TO: "to", FROM: "from", BOTH: "both"}
_FLAGS: Final = {word: flags for flags, word in _WORDS.items()}


def mirrored(flags: int, theirs: int) -> int:
    """The flags at the other side, which were `theirs`, if these are those of a user's contact: what concerns both
    sides is as the user has it, and the rest stays. O(1)."""
    state = sum(yours for mine, yours in MIRRORED.items() if flags & mine)
    return (theirs & ~(STATE | APPROVED) if state & FROM else theirs & ~STATE) | state


def sent(act: Act, flags: int) -> int:
    """The flags of a user's contact after the user has done this. An approval that nobody has asked for is kept until
    it is used or taken back. O(1)."""
    state = flags & STATE
    flags += SENT[act].get(state, state) - state
    if act == "cancel" or (act == "approve" and state & ASKS):
        return flags & ~APPROVED
    if act == "approve" and not state & FROM:
        return flags | APPROVED
    return flags


def received(act: Act, flags: int) -> int:
    """The flags of a user's contact after the contact has done this. O(1)."""
    state = flags & STATE
    return flags + RECEIVED[act].get(state, state) - state


def both_sides(act: Act, mine: int, theirs: int, *, may_grant: bool = True) -> tuple[int, int]:
    """The flags at the side of who does it and at the other, after it. A request to somebody who has approved it before
    is granted in the same step, unless `may_grant` is false. O(1)."""
    mine, theirs = sent(act, mine), received(act, theirs)
    if act == "subscribe" and may_grant and theirs & ASKS and theirs & APPROVED:
        return received("approve", mine), sent("approve", theirs)
    return mine, theirs


def subscription_of(flags: int) -> Subscription:
    """Who of the two sees the other, in the RFC's word. O(1)."""
    return _WORDS[flags & BOTH]


def apart(mine: int, theirs: int, *, keeps_request: bool = False) -> tuple[int, int]:
    """The flags at the side of who takes the other off the list, and at the other, where the user stays listed. With
    `keeps_request` what the other has asked is not answered by it. O(1)."""
    was_listed = theirs & ~ASKS
    mine, theirs = both_sides("unsubscribe", mine, theirs)
    if not (keeps_request and mine & ASKS):
        mine, theirs = both_sides("cancel", mine, theirs)
    return mine & ~(LISTED | APPROVED), theirs | LISTED if was_listed else theirs


def agreed(subscription: Subscription, mine: int, theirs: int) -> tuple[int, int]:
    """The flags at the side of a user into whose list this is written, and at the other. What the other has asked stays
    unless it is granted by it. O(1)."""
    state = _FLAGS[subscription]
    if mine & ASKS and not state & FROM:
        state |= ASKS
    other = theirs & ~STATE
    if state & TO:
        other = (other & ~APPROVED) | FROM
    if state & FROM:
        other |= TO
    if state & ASKS:
        other |= ASKED
    return state | LISTED, other
