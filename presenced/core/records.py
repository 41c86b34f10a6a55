"""Facts for the log, in the past tense and with absolute values: applying one twice is the same as once.

They leave the core at the end of each turn, in order. Times are wall times in milliseconds UTC, 0 where there is
none. Like wire messages each is an array led by its type number; fields are only added at the end.
"""

from __future__ import annotations

from typing import Final, dataclass_transform

import msgspec

from presenced.core.roster import APPROVED, ASKED, ASKS, FROM, LISTED, TO
from presenced.wire.messages import AudienceLevel, DeviceStatus, Source, Status, Window


@dataclass_transform(frozen_default=True)
class _Fact(msgspec.Struct, array_like=True, frozen=True, gc=False):
    pass


class ClaimSet(_Fact, tag=1):
    """A claim of the user; an empty status says that there is none of this name.

    Of the claim named manual one with an end leaves those that hold longer below it, and so does an empty status with
    an end: it says which have ended.
    """

    user: str
    status: str
    since_ms: int
    until_ms: int
    claim: str = "manual"
    source: Source = "manual"
    in_place: bool = False
    """It is one that is there, with another end, and no newer for that: the order of claims counts."""
    device: str = ""
    """The device with which it ends; empty = none."""


class TextSet(_Fact, tag=2):
    """The user's text and emoji."""

    user: str
    text: str
    emoji: str
    until_ms: int


class DeviceSet(_Fact, tag=3):
    """A device came, went, or described itself anew."""

    user: str
    device: str
    kind: str
    name: str
    priority: int
    status: DeviceStatus
    live: bool
    last_seen_ms: int
    """Its last contact; what is known at this moment, while it is live."""
    active_ms: int = 0
    """Its last known input."""
    idle_level: int = 0
    """How idle it is taken to be: 0 active, 1 away, 2 offline."""
    idle_known: bool = False
    """Whether it has said how idle it is since it came, so that the time since runs on."""
    gone_ms: int = 0
    """Since when it is gone; 0 while it is live."""
    silent: bool = False
    """It was in grace when the daemon stopped: no contact came after `last_seen_ms`."""
    holder: int = 0
    """The number of the client that held it last; 0 = none, or it has no number."""
    taken_out: bool = False
    """Whether another link than its own has taken it out of a channel since it came."""


class DeviceForgotten(_Fact, tag=4):
    """A device is no longer known."""

    user: str
    device: str


class RecordSet(_Fact, tag=5):
    """What watchers see of the user, with its version."""

    user: str
    status: Status
    since_ms: int
    last_seen_ms: int
    """Also of one who is online: what was told or said last, behind which the next time must not go."""
    device: str
    version: int


class ScheduleSet(_Fact, tag=6):
    """The user's weekly schedule; an empty zone says that there is none."""

    user: str
    zone: str
    windows: list[Window]
    status: Status


class ActivityAdded(_Fact, tag=7):
    """Something that an application recorded of the user."""

    user: str
    activity: str
    channel: str
    device: str
    at_ms: int
    payload: str
    copies: int = 1
    """How many there are that are equal in all of this, with this one: so that several of one millisecond are kept, and
    the same fact twice is the same as once."""


class MembershipSet(_Fact, tag=8):
    """A device joined or left a channel. Its memberships also end when it is gone, without a fact of their own."""

    user: str
    device: str
    channel: str
    joined: bool


class VersionsRaised(_Fact, tag=9):
    """After a kill each record got a new version: those that are not above `above` got the one after it."""

    user: str
    """Always empty: it is about everybody."""
    above: int


class ShownSet(_Fact, tag=10):
    """What others see instead of the user's text while the user appears offline."""

    user: str
    text: str
    emoji: str
    until_ms: int


class TokensRevoked(_Fact, tag=20):
    """Tokens of the user that were made before this moment are refused."""

    user: str
    before_ms: int


class UserErased(_Fact, tag=21):
    """Nothing is known of the user any more that was said before; the moment until which tokens are refused stays."""

    user: str
    at_ms: int


class ContactSide(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What one user knows of a contact beside the flags; most know nothing. Carries no type: it travels in others."""

    name: str = ""
    groups: tuple[str, ...] = ()
    note: str = ""
    asked: int = 0
    """Of a contact who asks to see the user: the version counter at that moment."""


class ContactSet(_Fact, tag=22):
    """What holds between two users from now on, said for both sides at once, so that they agree whatever is lost behind
    it. Flags are those of `core.roster`; 0 on a side: it has nothing to do with the other."""

    user: str
    contact: str
    flags: int
    other_flags: int
    """The contact's, of the user."""
    version: int
    """Of the user's list with this; 0 = it has not changed as far as clients know."""
    other_version: int
    side: ContactSide | None = None
    other_side: ContactSide | None = None


class ContactsSet(_Fact, tag=23):
    """The same of several contacts of one user at once: a list that was set as a whole, as one fact, so that all of it
    is there or nothing; and in snapshots."""

    user: str
    contacts: list[str]
    flags: list[int]
    """One for each: the user's, and the contact's times 256."""
    version: int
    other_version: int
    """Of the list of each of the contacts; 0 = their own facts say it."""
    sides: list[tuple[int, ContactSide | None, ContactSide | None]] = []
    """What more is known of some of them, by their place in the list."""


class BlockSet(_Fact, tag=24):
    """The user has blocked the contact, or does not any longer. A block ends what the user showed the contact."""

    user: str
    contact: str
    blocked: bool


class HidingSet(_Fact, tag=25):
    """The user hides from the contact, or does not any longer."""

    user: str
    contact: str
    hidden: bool


class ShowingSet(_Fact, tag=26):
    """A device of the user is shown to the contact, or is not any longer."""

    user: str
    device: str
    contact: str
    """Empty, and `shown` false: to nobody any longer, since the device is gone."""
    shown: bool


class AudienceSet(_Fact, tag=27):
    """To whom the user shows which field: all of it."""

    user: str
    text: AudienceLevel
    last_seen: AudienceLevel
    device: AudienceLevel
    always: list[str]
    never: list[str]


Fact = (
    ShownSet
    | ClaimSet
    | TextSet
    | DeviceSet
    | DeviceForgotten
    | RecordSet
    | ScheduleSet
    | ActivityAdded
    | MembershipSet
    | VersionsRaised
    | TokensRevoked
    | UserErased
    | ContactSet
    | ContactsSet
    | BlockSet
    | HidingSet
    | ShowingSet
    | AudienceSet
)

_WORDS: Final = {TO: "to", FROM: "from", ASKED: "asked", ASKS: "asks", APPROVED: "approved", LISTED: "listed"}


def flag_words(flags: int) -> str:
    """The flags in words, for people. O(1)."""
    return " ".join(word for flag, word in _WORDS.items() if flags & flag) or "nothing"
