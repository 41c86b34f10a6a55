"""What the server sends: types 64 to 127. With an `id` it is a reply; without one it is a push, or about the link."""

from __future__ import annotations

from presenced.wire.awaits import Awaited
from presenced.wire.contact_replies import AudienceInfo, BlockList, ContactChange, ContactList, ContactRecords
from presenced.wire.event_replies import Event, FollowerList, Following, HistoryPage
from presenced.wire.explanations import Explanation
from presenced.wire.routes import Routes
from presenced.wire.types import (
    ActivityInfo,
    ClaimInfo,
    DeviceInfo,
    MemberKind,
    Message,
    Record,
    Role,
    SyncInfo,
    TakenWhy,
    Window,
)
from presenced.wire.view_replies import Checked, Position


class Welcome(Message, tag=64):
    """The link is open. Tells the version that was chosen, the heartbeat to keep, and the limits that hold."""

    version: int
    user: str
    device: str
    role: Role
    heartbeat_ms: int
    timeout_ms: int
    grace_ms: int
    away_after_ms: int
    offline_after_ms: int
    frame_bytes_max: int
    users_per_request_max: int
    watch_users_max: int
    server_time_ms: int
    epoch: int
    rate_units_per_s: int = 0
    """Units of work that the server does in a second for all links of this user; 0 = there is no bound."""
    rate_burst_units: int = 0
    resume: str = ""
    """What the next hello says as `resume` to take back what this link watched and held; empty = it wants nothing."""
    resume_ms: int = 0
    """How long after the loss of this link that is good."""
    resumed: bool = False
    """All that the lost link watched and held is this one's again."""


class Goodbye(Message, tag=65):
    """The server closes this link, and says why. Do not come back before `retry_ms` are over (0 = no advice)."""

    code: str
    message: str
    retry_ms: int = 0


class Error(Message, tag=66):
    """A request was refused, and nothing of it was applied. `id` is 0 if that of the request could not be read."""

    id: int
    code: str
    message: str
    retry_ms: int = 0


class Done(Message, tag=67):
    """The request was applied; `version` is the server's version counter at this answer."""

    id: int
    version: int


class Pong(Message, tag=68):
    """The answer to ping, with the server's wall time."""

    id: int
    server_time_ms: int


class Records(Message, tag=69):
    """The answer to get and watch: one record for each name asked, in that order; of what a client has, those that
    differ."""

    id: int
    epoch: int
    version: int
    records: list[Record]
    valid_until_ms: list[int] = []
    """For each record the wall time at which it changes if nothing happens; 0 = none is known, or it is not told. Empty
    unless a get has asked for it."""


class WhoPage(Message, tag=70):
    """The answer to who: how many users are online in all, one page of them, and where the next page starts."""

    id: int
    epoch: int
    version: int
    total: int
    next: str
    records: list[Record]


class Presence(Message, tag=71):
    """A watched user changed. The same bytes go to every watcher."""

    record: Record


class DeviceList(Message, tag=72):
    """The answer to getdevices."""

    id: int
    user: str
    devices: list[DeviceInfo]


class ClaimList(Message, tag=73):
    """The answer to getclaims; strongest first."""

    id: int
    user: str
    claims: list[ClaimInfo]
    zone: str
    """The time zone of the schedule; empty = there is none."""
    windows: list[Window]
    schedule_status: str


class ActivityList(Message, tag=74):
    """The answer to getactivity; newest first."""

    id: int
    user: str
    activities: list[ActivityInfo]


class MembersPage(Message, tag=75):
    """The answer to getmembers and watchchannel."""

    id: int
    channel: str
    version: int
    total: int
    """Members who are online, exactly."""
    counts: list[int]
    """How many of them are chat, online, away, xa, dnd."""
    next: str
    records: list[Record]
    left: list[str] = []
    """Of those whom the client had: who is not on this page."""
    is_partial: bool = False
    """The records are those of the page that differ from what the client had."""


class ChannelEvent(Message, tag=76):
    """A member joined, left or changed. The same bytes go to every watcher of the channel."""

    channel: str
    kind: MemberKind
    total: int
    record: Record


class ChannelCounts(Message, tag=77):
    """What happened in a channel since the last of these: for watchers of a large channel, and for slow ones of any."""

    channel: str
    total: int
    counts: list[int]
    records: list[Record]
    """Members who joined or changed, each once."""
    left: list[str]
    complete: bool
    """False: more changed than is listed here. Page through the members to know all."""


class OwnState(Message, tag=78):
    """The user's own state, to the user's own devices. Acknowledge its version with applied."""

    user: str
    version: int
    record: Record
    claims: list[ClaimInfo]
    text_until_ms: int
    devices: list[DeviceInfo]
    text: str = ""
    """The text that the user has set. Others do not see it if it was set while the user appears offline."""
    emoji: str = ""


class SyncState(Message, tag=79):
    """The answer to getsync."""

    id: int
    user: str
    version: int
    synced: int
    total: int
    last_sync_ms: int
    """Wall time of the last acknowledgement of the current version; 0 = none."""
    devices: list[SyncInfo]


class CommandReply(Message, tag=82):
    """The answer to command: a text to show, and what it is about."""

    id: int
    ok: bool
    text: str
    verb: str
    records: list[Record]
    devices: list[DeviceInfo]
    activities: list[ActivityInfo]


class Taken(Message, tag=83):
    """This link does not hold the device under this ref. It is told once: when it loses the device, or beats for it."""

    ref: int
    why: TakenWhy


class ClaimsPage(Message, tag=84):
    """The answer to findclaims."""

    id: int
    next: int
    """Ask for the next page with this as `after`; 0 = this is the last."""
    users: list[str]
    claims: list[ClaimInfo]
    """One for each of `users`, in that order."""


ServerMessage = (
    Welcome
    | Goodbye
    | Error
    | Done
    | Pong
    | Records
    | WhoPage
    | Presence
    | DeviceList
    | ClaimList
    | ActivityList
    | MembersPage
    | ChannelEvent
    | ChannelCounts
    | OwnState
    | SyncState
    | Event
    | Following
    | CommandReply
    | Taken
    | ClaimsPage
    | ContactList
    | ContactChange
    | ContactRecords
    | BlockList
    | AudienceInfo
    | Checked
    | Explanation
    | Awaited
    | Routes
    | HistoryPage
    | FollowerList
    | Position
)
