"""What clients send: types 1 to 63 and 128 to 191. A message with an `id` is a request and gets a reply; one without
has none.

The file is long because it is one list, in the order of the type numbers, as sections 5 and 13 of protocol.md are. What
moderates others stands in a file of its own (`moderation_requests`).
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from presenced.limits import (
    ACTIVITIES_PER_USER_MAX,
    BEATS_MAX,
    IDLE_MS_MAX,
    RESUME_CHARS_MAX,
    USERS_PER_REQUEST_MAX,
    VERSIONS_MAX,
    WINDOWS_MAX,
)
from presenced.wire.awaits import Await, CancelAwait
from presenced.wire.channel_requests import GetMembers, Join, Leave, UnwatchChannel, WatchChannel
from presenced.wire.contact_requests import (
    Approve,
    Cancel,
    GetContacts,
    RemoveContact,
    SetContact,
    SetContacts,
    Subscribe,
    Unsubscribe,
)
from presenced.wire.event_requests import Acknowledge, ForgetFollower, GetFollowers, GetHistory
from presenced.wire.explanations import Explain
from presenced.wire.moderation_requests import Erase, Kick, Revoke
from presenced.wire.privacy_requests import (
    Block,
    GetAudience,
    GetBlocked,
    HideFrom,
    SetAudience,
    ShowAgain,
    ShowTo,
    StopShowing,
    Unblock,
)
from presenced.wire.routes import Focus, Route
from presenced.wire.types import (
    DeviceStatus,
    Digest,
    DurationMs,
    HeldRef,
    IdleMs,
    Instance,
    Message,
    Priority,
    Ref,
    RequestId,
    Role,
    Source,
    Status,
    StatusRequest,
    UserNames,
    WallMs,
    Window,
)
from presenced.wire.view_requests import Check, Compare


class Hello(Message, tag=1):
    """The first message of a link: who this is, on which device, and which protocol versions it speaks."""

    versions: Annotated[list[Annotated[int, Meta(ge=0, le=65535)]], Meta(min_length=1, max_length=VERSIONS_MAX)]
    token: str
    user: str
    device: str
    kind: str = ""
    name: str = ""
    priority: Priority = 0
    status: DeviceStatus = "online"
    idle_ms: IdleMs | None = None
    role: Role = "user"
    agent: str = ""
    sync: bool = False
    """Whether this link wants its user's own state (`OwnState`), and will acknowledge it."""
    as_was: bool = False
    """A live device stays as the server has it; kind, name, priority and status count only for one that is gone."""
    only_free: bool = False
    """Do not take the device from another client that has it by now; the link is then closed with `replaced`."""
    instance: Instance = 0
    """The client's own number, the same on all of its links; 0 = it has none."""
    contacts: bool = False
    """Whether this link watches all contacts whom its user sees, without naming them (section 21.5)."""
    quiet: bool = False
    """With `contacts`: their records are not told, and the client asks for what differs from what it has."""
    resume: Annotated[str, Meta(max_length=RESUME_CHARS_MAX)] | None = None
    """The token of the welcome on the link that was lost, to take back what it watched and held (section 22.3); empty =
    there is none yet, and this link wants one; null = it wants none."""
    meta: str | None = None
    """What the application keeps with the device (section 23.6); None leaves it as it is."""
    focus: str = ""
    """What is on the device's screen, such as a channel; empty = nothing that the application tells."""


class Heartbeat(Message, tag=2):
    """The client is alive, and the person's last input was `idle_ms` ago (null: not told). There is no reply."""

    idle_ms: IdleMs | None = None


class Bye(Message, tag=3):
    """The device leaves now, without a grace. The server closes the link; there is no reply."""


class Ping(Message, tag=4):
    """Ask for a pong: is the server there, and what time does it have?"""

    id: RequestId


class SetStatus(Message, tag=5):
    """Set the user's manual status, text, or both at once; what is null stays as it is."""

    id: RequestId
    status: StatusRequest | None = None
    text: str | None = None
    emoji: str | None = None
    for_ms: DurationMs = 0
    """How long what is set here holds; 0 = until it is changed."""
    user: str = ""
    """The user whose status it is; empty = the link's own. To name another needs the role of a service."""
    device: str = ""
    """The device on which it is set, and which counts as used by it; empty = the link's own, if it has one."""


class SetDevice(Message, tag=6):
    """Set a device's own status, priority, display name or meta; what is null stays as it is."""

    id: RequestId
    status: DeviceStatus | None = None
    priority: Priority | None = None
    name: str | None = None
    user: str = ""
    device: str = ""
    meta: str | None = None


class Get(Message, tag=7):
    """Ask for the records of users."""

    id: RequestId
    users: UserNames
    valid: bool = False
    """Ask as well until when each holds, if nothing happens."""


class Who(Message, tag=8):
    """Ask who is online: for a page of records in order of name, and for the exact count."""

    id: RequestId
    after: str = ""
    limit: Annotated[int, Meta(ge=0, le=USERS_PER_REQUEST_MAX)] = 100


class Watch(Message, tag=9):
    """Add users to this link's watch; the reply has their records, presence frames follow."""

    id: RequestId
    users: UserNames
    have: Annotated[list[Digest], Meta(max_length=USERS_PER_REQUEST_MAX)] | None = None
    """What the client has of them, a digest for each; then the reply has only the records that differ."""


class Unwatch(Message, tag=10):
    """Take users off this link's watch."""

    id: RequestId
    users: UserNames


class Attach(Message, tag=11):
    """A service speaks for this device from now on, and refers to it by a number of its own choosing."""

    id: RequestId
    ref: Ref
    user: str
    device: str
    kind: str = ""
    name: str = ""
    priority: Priority = 0
    status: DeviceStatus = "online"
    idle_ms: IdleMs | None = None
    as_was: bool = False
    """As in hello."""
    only_free: bool = False
    """Do not take the device from another client that has it by now; the request is then refused with `device_held`."""
    for_at_most_ms: DurationMs = 0
    """A lease: the device is live for so long, with or without beats and link, and then gone; 0 = live by its beats."""
    meta: str | None = None
    focus: str = ""
    """Both as in hello."""


class Detach(Message, tag=12):
    """A service no longer speaks for this device: the device has left, or (`lost`) only its connection is gone."""

    id: RequestId
    ref: HeldRef
    """The device's number on this link; 0 = `user` and `device` name it."""
    lost: bool = False
    user: str = ""
    """With `device`: names the device, which this client must have been the last to hold. `ref` is ignored then."""
    device: str = ""
    within_ms: DurationMs | None = None
    """Only its connection is lost (as with `lost`), and it is gone unless it is back within this time; null = that of
    its kind."""


class Beats(Message, tag=13):
    """Heartbeats of many devices: ref, idle_ms, ref, idle_ms, and so on; -1 = not told. There is no reply."""

    beats: Annotated[list[Annotated[int, Meta(ge=-1, le=IDLE_MS_MAX)]], Meta(max_length=2 * BEATS_MAX)]


class Forget(Message, tag=14):
    """Forget a device that is gone."""

    id: RequestId
    device: str
    user: str = ""


class GetDevices(Message, tag=15):
    """Ask for a user's devices."""

    id: RequestId
    user: str = ""


class Touch(Message, tag=16):
    """The user was seen just now. This changes when they were last seen, and nothing else."""

    id: RequestId
    user: str = ""
    device: str = ""


class AddClaim(Message, tag=17):
    """State a status for the whole user. A claim of the same name is replaced."""

    id: RequestId
    claim: str
    source: Source
    status: Status
    for_ms: DurationMs = 0
    """How long the claim holds; 0 = until it is ended, or until `until_ms`."""
    until_ms: WallMs = 0
    """The wall time at which the claim ends, by the server's clock; 0 = none."""
    user: str = ""
    device: str = ""
    """A live device of the user with which the claim ends; empty = none."""


class EndClaim(Message, tag=18):
    """End a claim; the one below it shows again. It is no error if there is no such claim."""

    id: RequestId
    claim: str
    user: str = ""


class GetClaims(Message, tag=19):
    """Ask for a user's claims and schedule."""

    id: RequestId
    user: str = ""


class SetSchedule(Message, tag=20):
    """Set a status that recurs each week in the user's time zone; no windows = no schedule."""

    id: RequestId
    zone: str
    windows: Annotated[list[Window], Meta(max_length=WINDOWS_MAX)]
    status: DeviceStatus = "dnd"
    user: str = ""


class AddActivity(Message, tag=21):
    """Record something that the user did. It counts as input on the device, if one is named."""

    id: RequestId
    activity: str
    channel: str = ""
    at_ms: WallMs = 0
    """Wall time at which it was done, as the application knows it; 0 = now, by the server's clock."""
    payload: str = ""
    user: str = ""
    device: str = ""


class GetActivity(Message, tag=22):
    """Ask for a user's recent activities, newest first."""

    id: RequestId
    user: str = ""
    limit: Annotated[int, Meta(ge=1, le=ACTIVITIES_PER_USER_MAX)] = 20
    since_ms: WallMs = 0


class Applied(Message, tag=28):
    """This device shows the user's own state of this version. There is no reply."""

    version: WallMs


class Sync(Message, tag=29):
    """Send the user's own state to all of the user's connected devices again."""

    id: RequestId
    user: str = ""


class GetSync(Message, tag=30):
    """Ask how many of a user's connected devices have acknowledged the user's own state."""

    id: RequestId
    user: str = ""


class Follow(Message, tag=31):
    """A service wants every event after this cursor; epoch 0 = from now on, or from where the name is."""

    id: RequestId
    epoch: WallMs = 0
    seq: WallMs = 0
    name: str = ""
    """The server keeps the position under this name, and epoch 0 goes on from it. Empty = the client keeps it."""


class Command(Message, tag=32):
    """Run what a person typed into a chat, such as `/presence away`."""

    id: RequestId
    text: str
    user: str = ""
    device: str = ""


class WatchAll(Message, tag=33):
    """A service wants every change of every user from now on, or (`on` false) no longer."""

    id: RequestId
    on: bool = True
    epoch: WallMs = 0
    """With `version` a position that Checked or Position told: what has changed since is told, too; 0 = nothing is."""
    version: WallMs = 0


class FindClaims(Message, tag=34):
    """A service asks for the claims of a name over all users: one page."""

    id: RequestId
    claim: str = ""
    """Empty = those of every name."""
    after: WallMs = 0
    """The `next` of the page before; 0 = from the first."""
    limit: Annotated[int, Meta(ge=1, le=USERS_PER_REQUEST_MAX)] = 100


class Renew(Message, tag=35):
    """Here is a new token for the same user and role: the link goes on until that one ends."""

    id: RequestId
    token: str


ClientMessage = (
    Hello
    | Heartbeat
    | Bye
    | Ping
    | SetStatus
    | SetDevice
    | Get
    | Who
    | Watch
    | Unwatch
    | Attach
    | Detach
    | Beats
    | Forget
    | GetDevices
    | Touch
    | AddClaim
    | EndClaim
    | GetClaims
    | SetSchedule
    | AddActivity
    | GetActivity
    | Join
    | Leave
    | GetMembers
    | WatchChannel
    | UnwatchChannel
    | Applied
    | Sync
    | GetSync
    | Follow
    | Command
    | WatchAll
    | FindClaims
    | Renew
    | Subscribe
    | Approve
    | Cancel
    | Unsubscribe
    | SetContact
    | RemoveContact
    | GetContacts
    | SetContacts
    | Block
    | Unblock
    | GetBlocked
    | HideFrom
    | ShowAgain
    | ShowTo
    | StopShowing
    | SetAudience
    | GetAudience
    | Revoke
    | Kick
    | Erase
    | Compare
    | Check
    | Explain
    | Await
    | CancelAwait
    | Route
    | GetHistory
    | Focus
    | Acknowledge
    | GetFollowers
    | ForgetFollower
)
