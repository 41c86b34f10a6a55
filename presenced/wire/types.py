"""What messages are made of: the base struct, constrained types of fields, and the structs that travel inside others
(protocol.md, sections 6.1 and 14).

The constraints are the validation: the decoder refuses a value outside of them.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, dataclass_transform, get_args

import msgspec
from msgspec import Meta

from presenced.limits import (
    DURATION_MS_MAX,
    IDLE_MS_MAX,
    REQUEST_ID_MAX,
    USERS_PER_REQUEST_MAX,
)

PROTOCOL_VERSIONS: Final = (1,)
"""The versions that this code speaks."""

Status = Literal["chat", "online", "away", "xa", "dnd", "offline"]
"""What watchers see of a user; XMPP's show values (RFC 6121, 4.7.2.1) with names for plain available and gone."""

DeviceStatus = Literal["chat", "online", "away", "xa", "dnd"]
"""What a device says of itself. It cannot say offline: either the device leaves, or its user claims to be offline."""

ONLINE_STATUSES: Final[tuple[str, ...]] = get_args(DeviceStatus)
"""Every status but offline, in the order in which messages count by them."""

StatusRequest = Literal["chat", "online", "away", "xa", "dnd", "offline", "auto"]
"""What a person may set: a status, or `auto`, which ends the manual status."""

Role = Literal["user", "service", "admin"]

Source = Literal["call", "manual", "calendar", "schedule"]
"""Who makes a claim, the strongest first: a call that is under way, the person, the calendar, the daily routine."""

Subscription = Literal["none", "to", "from", "both"]
"""Who of a user and a contact may see the other (RFC 6121, 2.1.2.5): the user (`to`), the contact (`from`), both."""

AudienceLevel = Literal["everyone", "contacts", "nobody"]
"""To whom a user shows a field: to all who see the user, to those whom the user has approved, to none."""

EventKind = Literal[
    "online", "offline", "status_change", "text_change", "device_change", "contact_request", "contact_change", "erased"
]
MemberKind = Literal["join", "leave", "change"]
DeviceState = Literal["connected", "grace", "gone"]
DeadlineKind = Literal[
    "claim_end", "grace_end", "idle_away", "idle_offline", "lease_end", "schedule", "silence", "text_end", "token_end"
]
"""What comes due by itself: a claim ends; the grace of a device does; the device is idle for long enough to count as
away, or as offline; its lease ends; a window of the schedule opens, closes or gives way to another; a link counts as
lost if nothing is heard until then; the text ends; the token of a link does."""
TakenWhy = Literal["replaced", "lost", "detached", "not_held", "kicked", "ended"]
"""Why a service no longer holds a device: another client has it, its beats did not come in time, the same client let it
go on another link, this link never held it, the device's user was kicked, or its lease has ended."""

RequestId = Annotated[int, Meta(ge=1, le=REQUEST_ID_MAX)]
Ref = Annotated[int, Meta(ge=1, le=REQUEST_ID_MAX)]
"""A service's own number for a device that it holds on this link."""
HeldRef = Annotated[int, Meta(ge=0, le=REQUEST_ID_MAX)]
"""The same where 0 stands for no number: the device is the link's own, or is named."""
Instance = Annotated[int, Meta(ge=0, le=2**53)]
"""A number that a client draws once and sends on each of its links, by which the server knows the client again."""
Digest = Annotated[int, Meta(ge=0, le=2**32 - 1)]
"""What a client has of a user's record, in short (protocol.md, section 6.6); 0 = nothing."""
WallMs = Annotated[int, Meta(ge=0, le=2**53)]
Priority = Annotated[int, Meta(ge=-128, le=127)]
IdleMs = Annotated[int, Meta(ge=0, le=IDLE_MS_MAX)]
DurationMs = Annotated[int, Meta(ge=0, le=DURATION_MS_MAX)]
UserNames = Annotated[list[str], Meta(min_length=1, max_length=USERS_PER_REQUEST_MAX)]


@dataclass_transform(frozen_default=True)
class Message(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Frozen, and outside the cyclic collector: messages hold only scalars, strings and lists of them."""


class Record(Message):
    """A user as watchers see them: the merge of all devices and claims. Carries no type: it travels in others."""

    user: str
    status: Status
    text: str
    emoji: str
    since_ms: int
    """Wall time at which this status began; 0 for a user never seen."""
    last_seen_ms: int
    """Wall time of the last contact while the user is offline; 0 while they are not, or were never seen."""
    device: str
    """The primary device: the live one with the most recent input. Empty while the user is offline."""
    version: int
    """The version of this record's last change (protocol.md, 6.4); 0 if nothing is known of the user."""


class Window(Message):
    """A part of the week in a schedule."""

    days: Annotated[int, Meta(ge=1, le=127)]
    """The days on which it begins, as a sum: Monday 1, Tuesday 2, Wednesday 4, to Sunday 64."""
    start_min: Annotated[int, Meta(ge=0, le=1439)]
    """Local time of its start, in minutes since midnight."""
    end_min: Annotated[int, Meta(ge=0, le=1439)]
    """Local time of its end. One that is not after the start is on the next day; the same time is a whole day later."""
    status: DeviceStatus | None = None
    """The status that holds in this window; None = that of the schedule."""


class ClaimInfo(Message):
    """A claim as its user and services see it."""

    claim: str
    source: Source
    status: Status
    since_ms: int
    until_ms: int
    """Wall time at which the claim ends; 0 = none."""
    device: str = ""
    """The device with which the claim ends; empty = none."""


class DeviceInfo(Message):
    """A device as its user and services see it."""

    device: str
    kind: str
    name: str
    status: Status
    """What the device contributes: its own status, away if it is idle, offline if it does not count."""
    state: DeviceState
    priority: int
    last_active_ms: int
    """Wall time of the last known input of its person."""
    last_seen_ms: int
    """Wall time of the last sign of life of the device."""
    primary: bool
    meta: str = ""
    """What the application keeps with it."""
    focus: str = ""
    """What is on its screen, as far as its link tells."""
    lease_until_ms: int = 0
    """Wall time until which it is live whether or not it has a link; 0 = it is live by its heartbeats."""


class ActivityInfo(Message):
    """Something that an application recorded."""

    activity: str
    channel: str
    device: str
    at_ms: int
    payload: str


class SyncInfo(Message):
    """Which of the user's own states a connected device has acknowledged."""

    device: str
    applied: int
    """The version of the user's own state that it has acknowledged; 0 = none."""


class ContactInfo(Message):
    """A contact as the user whose list it is sees it."""

    contact: str
    subscription: Subscription
    asked: bool
    """The user has asked to see the contact, and there is no answer."""
    asks: bool
    """The contact has asked to see the user, and there is no answer."""
    approved: bool
    """The user has allowed the contact to see them before the contact has asked."""
    name: str
    """What the user calls the contact; empty = nothing."""
    groups: list[str]
    note: str
    """What the contact wrote who `asks`."""


class ContactEntry(Message):
    """A contact of a list that is set as a whole."""

    contact: str
    subscription: Subscription = "both"
    name: str = ""
    groups: list[str] = []


class FollowerInfo(Message):
    """A follower of events whose position the server keeps."""

    name: str
    epoch: int
    seq: int
    """The last event that it has acknowledged."""
    behind: int
    """How many events are kept that it has not acknowledged; -1 = its position is not known any longer."""
    at_ms: int
    """Wall time of the last acknowledgement."""
