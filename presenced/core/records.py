"""Facts for the log, in the past tense and with absolute values: applying one twice is the same as once.

They leave the core at the end of each turn, in order. Times are wall times in milliseconds UTC, 0 where there is
none. Like wire messages each is an array led by its type number; fields are only added at the end.
"""

from __future__ import annotations

from typing import dataclass_transform

import msgspec

from presenced.wire.messages import DeviceStatus, Source, Status, Window


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
)
