"""Facts for the log, in the past tense and with absolute values: applying one twice is the same as once.

They leave the core at the end of each turn, in order. Times are wall times in milliseconds UTC, 0 where there is
none. Like wire messages each is an array led by its type number; fields are only added at the end.

The file is long because it is the list of all facts about users.
"""

from __future__ import annotations

from typing import Final

import msgspec

from presenced.core.event_facts import (
    EventAdded as EventAdded,
    EventFact,
    EventsAt as EventsAt,
    EventsChunk as EventsChunk,
    EventsErased as EventsErased,
    EventStreamEnded as EventStreamEnded,
    EventStreamSet as EventStreamSet,
    FollowerForgotten as FollowerForgotten,
    FollowerSet as FollowerSet,
)
from presenced.core.fact import FactBase
from presenced.core.roster import APPROVED, ASKED, ASKS, FROM, LISTED, TO
from presenced.wire.messages import AudienceLevel, DeviceStatus, Source, Status, Window


class ClaimSet(FactBase, tag=1):
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


class TextSet(FactBase, tag=2):
    """The user's text and emoji."""

    user: str
    text: str
    emoji: str
    until_ms: int


class DeviceSet(FactBase, tag=3):
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
    """Since when it is gone. While it is live 0, or of one in grace that another node takes over: when that ends."""
    silent: bool = False
    """It was in grace when the daemon stopped or let go of its user, or has a lease and no link: no contact came after
    `last_seen_ms`."""
    holder: int = 0
    """The number of the client that held it last; 0 = none, or it has no number."""
    taken_out: bool = False
    """Whether another link than its own has taken it out of a channel since it came."""
    meta: str = ""
    """What the application keeps with it."""
    lease_until_ms: int = 0
    """Wall time until which it is live whether or not it has a link; 0 = it is live by its heartbeats."""


class DeviceForgotten(FactBase, tag=4):
    """A device is no longer known."""

    user: str
    device: str


class RecordSet(FactBase, tag=5):
    """What watchers see of the user, with its version."""

    user: str
    status: Status
    since_ms: int
    last_seen_ms: int
    """Also of one who is online: what was told or said last, behind which the next time must not go."""
    device: str
    version: int
    said_after_ms: int = 0
    """On a node of a cluster: how long after `since_ms` something was last said of the user, by whomever; below 0, if
    it was before, and time alone has made this record since."""


class ScheduleSet(FactBase, tag=6):
    """The user's weekly schedule; an empty zone says that there is none."""

    user: str
    zone: str
    windows: list[Window]
    status: Status


class ActivityAdded(FactBase, tag=7):
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


class MembershipSet(FactBase, tag=8):
    """A device joined or left a channel. Its memberships also end when it is gone, without a fact of their own."""

    user: str
    device: str
    channel: str
    joined: bool


class VersionsRaised(FactBase, tag=9):
    """After a kill each record that was not above `above` got a version above it (`core.positions`)."""

    user: str
    """Always empty: it is about everybody."""
    above: int
    newest: int = 0
    """The highest version of any record then; 0 = not known, and all got the version after `above`."""
    durable: int = 0
    """The highest position that was given before the kill and whose facts were all saved; 0 = none."""


class ShownSet(FactBase, tag=10):
    """What others see instead of the user's text while the user appears offline."""

    user: str
    text: str
    emoji: str
    until_ms: int


class TokensRevoked(FactBase, tag=20):
    """Tokens of the user that were made before this moment are refused."""

    user: str
    before_ms: int


class UserErased(FactBase, tag=21):
    """Nothing is known of the user any more that was said before; the moment until which tokens are refused stays."""

    user: str
    at_ms: int
    version: int = 0
    """The version counter at that moment: lists of contacts that the user was in have this version, or a higher one."""
    is_kept: bool = False
    """It is kept, since of several nodes one may be away now, whose disk knows the user."""
    is_old: bool = False
    """It was done before, and nothing is left to be forgotten."""


class ContactSide(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What one user knows of a contact beside the flags; most know nothing. Carries no type: it travels in others."""

    name: str = ""
    groups: tuple[str, ...] = ()
    note: str = ""
    asked: int = 0
    """Of a contact who asks to see the user: the version counter at that moment."""


class ChangesKept(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The last changes of a list (`core.roster`). Carries no type."""

    run: int
    """In which they were kept, as in `UsersAsleep`."""
    whole_until: int
    changes: list[tuple[int, str]]


class ContactSet(FactBase, tag=22):
    """What holds between two users from now on, said for both sides at once, so that they agree whatever is lost behind
    it. Flags are those of `core.roster`; 0 on a side: it has nothing to do with the other."""

    user: str
    contact: str
    flags: int
    other_flags: int
    """The contact's, of the user."""
    version: int
    """The version of the user's list with this; 0 = it has not changed as far as clients know."""
    other_version: int
    side: ContactSide | None = None
    other_side: ContactSide | None = None


class ContactsSet(FactBase, tag=23):
    """What holds between one user and several contacts: a list that was set as a whole, as one fact, so that all of it
    is there or nothing. Snapshots have it as well."""

    user: str
    contacts: list[str]
    flags: list[int]
    """One for each: the user's, and the contact's times 256."""
    version: int
    other_version: int
    """The version of the list of each contact; 0 = their own facts say it."""
    sides: list[tuple[int, ContactSide | None, ContactSide | None]] = []
    """What more is known of some of them, by their place in the list."""


class BlockSet(FactBase, tag=24):
    """The user has blocked the contact, or does not any longer. A block ends what the user showed the contact."""

    user: str
    contact: str
    blocked: bool
    version: int = 0
    """The version of the user's list of contacts with this; 0 = nothing of it is seen."""


class HidingSet(FactBase, tag=25):
    """The user hides from the contact, or does not any longer."""

    user: str
    contact: str
    hidden: bool


class ShowingSet(FactBase, tag=26):
    """A device of the user is shown to the contact, or is not any longer."""

    user: str
    device: str
    contact: str
    """Empty, and `shown` false: to nobody any longer, since the device is gone."""
    shown: bool


class AudienceSet(FactBase, tag=27):
    """To whom the user shows which field: all of it."""

    user: str
    text: AudienceLevel
    last_seen: AudienceLevel
    device: AudienceLevel
    always: list[str]
    never: list[str]


class PositionsKnown(FactBase, tag=36):
    """What is known of the positions that links were given (`core.parts.positions`)."""

    user: str
    """Always empty: it is about everybody."""
    given: int
    """The highest of this life, all of whose facts stand before this one; 0 = none."""
    floor: int
    """Positions up to this one are not good any more."""


class UsersAsleep(FactBase, tag=37):
    """All that is known of some users whom nobody looks at, in a snapshot: a shelf of `core.dormants`, which a start
    takes up as it is."""

    user: str
    """Always empty: it is about several."""
    shelf: int
    shelves: int
    """How many there were."""
    newest: int
    """No version of these users is above this."""
    contacts: int
    """In the lists of these users together."""
    requests: int
    """To see them."""
    names: bytes
    """In UTF-8, with a byte 255 before each and behind the last."""
    sizes: bytes
    """How long what is known of each is: four bytes each, the lowest first."""
    packed: bytes
    """Of each one: eight bytes with the version of the record, the highest first, whatever the facts say, and then an
    array of facts, encoded. In these the user has no name: it would be there as often as there are facts. If the first
    byte is 1, and no part of the version, four bytes with the number of contacts stand before the facts, and four with
    that of requests."""
    run: int = 0
    """The run in which the snapshot was taken, counted from the first that had such facts, or the key of a node."""


class ContactsKept(FactBase, tag=38):
    """The user's side of what holds between the user and contacts who sleep; the other is in theirs. Of a user who
    sleeps, of all contacts."""

    user: str
    contacts: list[str]
    flags: list[int]
    """One for each."""
    version: int
    """The version of the user's list."""
    sides: list[tuple[int, ContactSide]] = []
    """What more is known of some of them, by their place in the list."""
    changes: ChangesKept | None = None
    """What a client may have missed, which only means something in the same run."""


Fact = (
    UsersAsleep
    | ContactsKept
    | ShownSet
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
    | PositionsKnown
    | EventFact
)

_WORDS: Final = {TO: "to", FROM: "from", ASKED: "asked", ASKS: "asks", APPROVED: "approved", LISTED: "listed"}


def flag_words(flags: int) -> str:
    """The flags in words, for people. O(1)."""
    return " ".join(word for flag, word in _WORDS.items() if flags & flag) or "nothing"
