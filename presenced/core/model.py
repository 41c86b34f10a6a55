"""The state: users, their devices and claims, and the sessions that watch. Data only; the rules are in `engine`.

The file is long because users, devices, sessions and faces refer to each other.

Slots everywhere, because there may be a million of each. What is empty for most (watchers, a session's watch) is
None until it is used: an empty dict costs 64 bytes, None costs nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Any, ClassVar, Final, Protocol

from presenced.core.lost_link import Parked
from presenced.core.pending_awaits import AwaitedUser, PendingAwait
from presenced.core.privacy import Privacy
from presenced.core.rights import Rights
from presenced.core.roster import Roster
from presenced.core.statements import Claim as Claim, Schedule as Schedule, Shown as Shown
from presenced.core.wheel import Timer
from presenced.digests import digest
from presenced.wire.codec import encode
from presenced.wire.messages import ActivityInfo, DeviceStatus, Record, Role

CONNECTED: Final = 0
GRACE: Final = 1
GONE: Final = 2
"""States of a device. Live is anything below GONE; only a live device is in the wheel."""

ACTIVE: Final = 0
IDLE_AWAY: Final = 1
IDLE_OFFLINE: Final = 2
"""Idle levels of a device: how long ago its person last touched it, in the two steps that matter."""

UNTOLD: Final = 0
ASSUMED: Final = 1
TOLD: Final = 2
"""Whether it is known how idle a device is: it never said so, it did before the daemon was started, it has since."""

DROPPED: Final = -1
"""In the place of a user's position: the user is not in the table any more."""

UNMADE: Final = -(2**60)
"""Stands for a digest that is not made. Added to those of any number of users it leaves a sum that is negative."""


class Sink(Protocol):
    """Where the bytes for one link go. Only `Outboxes.write` calls it, at the end of a turn."""

    __slots__ = ()

    def send(self, data: bytes) -> None:
        """Write `data` now."""

    @staticmethod
    def send_all(sinks: Collection[Any], data: bytes) -> None:
        """Write the same `data` to each of these, which are all of this class, now."""
        for sink in sinks:
            sink.send(data)


class Edge(Sink, Protocol):
    """The server's side of a link, as far as the turn needs it. The core keeps it and calls nothing but `fail`."""

    __slots__ = ()

    since_ms: int = 0
    """When the link came, on the monotonic clock; 0 = it is not known."""

    @property
    def sink(self) -> Sink:
        """What writes for it, without a call between: itself, unless it says otherwise. It stays the same for as long
        as the edge has a session."""
        return self

    def end(self, code: str) -> None:
        """Say goodbye with `code` (nothing, if empty) and close."""

    def fail(self, now_ms: int) -> None:
        """What it asked raised something that nobody foresaw, and that is being handled: it alone ends."""
        raise


class Session(Timer):
    """What the core knows of one link after its hello: who it speaks for, what it watches, what it is owed.

    In the wheel only while it has no device of its own: then the lease is its own.
    """

    is_kept: ClassVar[bool] = False
    """Its lease is kept elsewhere: nothing is concluded here from its silence."""

    __slots__ = (
        "edge", "sink", "user_name", "role", "rights", "viewer", "device", "expires_ms", "issued_ms",
        "heard_ms", "watching", "watched_contacts", "pending", "owed", "replies", "reply_bytes", "unanswered", "ended",
        "refs", "taken_refs", "channels", "stale_channels", "follow_seq", "awaits", "instance", "resume", "parked",
    )  # fmt: skip

    def __init__(
        self,
        edge: Edge,
        user_name: str,
        role: Role,
        instance: int = 0,
        expires_ms: int = 0,
        rights: Rights | None = None,
        issued_ms: int = 0,
        resume: str = "",
    ) -> None:
        super().__init__()
        # for the life of the link
        self.edge = edge
        self.sink = edge.sink
        """Kept beside the edge, so that a write touches one object less."""
        self.user_name = user_name
        self.role: Role = role
        self.instance = instance
        """The number that its client says on all of its links; 0 = it has none."""
        self.viewer: User | None = None
        """Of a link of the role user: its user, by whose eyes it sees. None = it sees everybody, as far as its token
        does."""
        self.device: Device | None = None
        # as the latest token says
        self.expires_ms = expires_ms
        """When the token ends; 0 = never."""
        self.issued_ms = issued_ms
        """Wall time at which the token says that it was made; 0 = it does not say, or there is none."""
        self.rights = rights
        """What its claim `presence` says; None = it has none, and the role alone decides."""
        # changing with traffic
        self.heard_ms = 0
        self.watching: dict[str, User] | None = None
        """Whom it watches by name."""
        self.watched_contacts: dict[str, User] | None = None
        """Whom it watches as contacts, without naming them; None = it does not want that."""
        self.pending: list[bytes] = []
        """Frames to send at the end of the turn, in order."""
        self.owed: dict[User, int] | None = None
        """None while the link takes what it is sent. While it does not, the session is paused, and this holds the users
        whose latest record it is owed when it resumes: at most as many as it watches, or has lost sight of. With each
        the version of what it was told by a face that it is not given any longer; 0 = there is none."""
        self.replies: list[bytes] = []
        """Replies that wait while the session is paused; its `pending` is empty then."""
        self.reply_bytes = 0
        """Bytes of replies not written yet."""
        self.unanswered = 0
        """Requests applied whose reply waits until their facts are as durable as promised."""
        self.ended = False
        """The session's link is gone, or ends once these requests are answered."""
        # what belongs to few
        self.refs: dict[int, Device] | None = None
        """The devices that a service speaks for, by its own numbers."""
        self.taken_refs: dict[int, None] | None = None
        """The numbers that it was told stand for no device of its any longer."""
        self.channels: dict[str, None] | None = None
        """Channels that it watches."""
        self.stale_channels: dict[str, None] | None = None
        """Of those, the ones that something happened in while it was paused."""
        self.follow_seq = -1
        """The last event that it was sent; -1 = it does not follow them."""
        self.awaits: dict[int, PendingAwait[Session, User]] | None = None
        """What it waits for, by the ids of the requests."""
        self.resume = resume
        """The token by which its client takes back what it watches and holds, if the link is lost; empty = it does not
        want that."""
        self.parked: ParkedLink | None = None
        """Once it is lost, for as long as it is let go of: where what it watched and held is kept. Before that: what
        its client's lost link had, for as long as this is brought back."""


class KeptSession(Session):
    """The session of a link that another node serves, and whose lease is that node's."""

    __slots__ = ()

    is_kept = True


class Device(Timer):
    """One installation of a user. In the wheel exactly while it is live: its next deadline."""

    __slots__ = (
        "user", "id", "kind", "name", "meta",
        "priority", "status", "state", "session", "idle_level", "idle_known",
        "heard_ms", "active_ms", "input_ms", "grace_until_ms", "ref", "holder", "focus", "channels", "is_taken_out",
        "lease_ms",
    )  # fmt: skip

    def __init__(self, user: User, device_id: str) -> None:
        super().__init__()
        # for its life
        self.user = user
        self.id = device_id
        # as it described itself last
        self.kind = ""
        self.name = ""
        self.meta = ""
        """What the application keeps with it, and what is told to nobody but its user and services."""
        self.priority = 0
        self.status: DeviceStatus = "online"
        # where it stands
        self.state = GONE
        self.session: Session | None = None
        self.idle_level = ACTIVE
        self.idle_known = UNTOLD
        """Whether it reports idle times. One that does not is never taken for idle."""
        # written by every heartbeat, read when the wheel entry comes due
        self.heard_ms = 0
        self.active_ms = 0
        """When its person last touched it. Never moves back, so the wheel entry is never later than the deadline."""
        self.input_ms: int | None = None
        """When something was last said on it since it came, if anything was. Not 0: after a boot there are moments
        before it."""
        self.grace_until_ms = 0
        """When its grace ends; of one that is gone, since when it is."""
        # what belongs to few
        self.ref = 0
        """The number under which a service holds it; 0 = its link is its own."""
        self.holder = 0
        """The instance of the client that holds it, or held it last while it is in grace; 0 = none is known."""
        self.focus = ""
        """What is on its screen, as its link says; empty without a link."""
        self.is_taken_out = False
        """Another link than its own has taken it out of a channel since it came."""
        self.channels: dict[str, None] | None = None
        self.lease_ms: int | None = None
        """Until when it is live whether or not it has a link, if that was promised; None = it is live by its
        heartbeats. Where it is in grace, the grace ends with it."""

    @property
    def seen_ms(self) -> int:
        """When anything was last known of it: its last frame, or what a service said of it since."""
        return max(self.heard_ms, self.active_ms)


class Own:
    """A user's own state and the links that are told of it."""

    __slots__ = ("version", "sessions", "synced_ms", "stale", "shape")

    def __init__(self) -> None:
        self.version = 1
        """How many states it has had. A counter of its own: what a user who hides does must move no number that others
        can read."""
        self.sessions: dict[Session, int] = {}
        """The links, and the version that each has acknowledged."""
        self.synced_ms = 0
        """Wall time of the last acknowledgement of this version; 0 = none."""
        self.stale = False
        """It has changed and is to be sent at the end of the turn."""
        self.shape = b""
        """What of it was last told, as bytes to compare with."""


ParkedLink = Parked[Session, Device]
"""What a lost link watched and held."""


class User(Timer):
    """An account: devices, claims, text, and the record that its watchers see.

    In the wheel while a claim or text has an end, or there is a schedule.
    """

    __slots__ = (
        "name", "devices", "claims", "claim", "schedule", "text", "emoji", "text_until_ms", "text_due_ms",
        "text_by_wall", "shown", "activities", "channels", "own",
        "contacts", "privacy", "awaited",
        "record", "said_ms", "since_ms", "seen_ms", "encoded", "digest", "primary", "dirty", "watchers", "faces",
        "hidden_watchers", "push_credit", "push_refilled_ms", "push_waits", "position", "is_copy",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        # what was said
        self.devices: dict[str, Device] = {}
        self.claims: tuple[Claim, ...] = ()
        """The newest last; one of each name, but for what the manual one covers. A tuple: most users have one or none,
        and a dict of one takes four times the memory."""
        self.claim: Claim | None = None
        """The one of them that counts."""
        self.schedule: Schedule | None = None
        self.text = ""
        self.emoji = ""
        self.text_until_ms = 0
        self.text_due_ms = 0
        self.text_by_wall = False
        """Whether `text_until_ms` is the true end when the wall clock is set, and not `text_due_ms` (as in `Claim`)."""
        # what belongs to few
        self.shown: Shown | None = None
        """What others see instead of the text; None = the text."""
        self.activities: deque[ActivityInfo] | None = None
        """The oldest first."""
        self.channels: dict[str, int] | None = None
        """Channels that devices of the user are in, and how many of them each."""
        self.own: Own | None = None
        """Who of the user's own links wants the user's own state."""
        self.contacts: Roster | None = None
        self.privacy: Privacy | None = None
        """What the user has said about who may see them, and who does not want to be seen by the user."""
        self.awaited: AwaitedUser[Session, User] | None = None
        """What somebody waits for the user to be; None = nothing."""
        # what is seen
        self.record = unknown_record(name)
        self.said_ms = 0
        """Wall time at which something was last said of them, by whomever, as nodes of a cluster keep it."""
        self.since_ms = 0
        """Wall time at which the record's status began, as the clock showed it then: it may have been ahead."""
        self.seen_ms = 0
        """Wall time, likewise, at which they were last seen, as it was told or said last; 0 = never. Kept while they
        are online: what is told when they go offline is never behind it."""
        self.encoded: bytes | None = None
        """The record as msgpack; made when first needed, dropped when the record changes."""
        self.digest = UNMADE
        """The digest of the record, likewise; UNMADE until then."""
        self.primary: Device | None = None
        self.dirty = False
        """Something was said since the record was last made."""
        self.watchers: dict[Session, Sink] | None = None
        """Those who see the whole record, with what each is written to, so that telling all of them the same touches
        nothing else of them."""
        self.faces: dict[int, Face] | None = None
        """How the user is shown to those who see less, or behind an `offline` that others see, by the kind of face."""
        self.hidden_watchers: dict[Session, Sink] | None = None
        """Those who watch and may not see the user. A change costs nothing for them."""
        # spacing of what is told of the user: a bucket of deliveries
        self.push_credit = 0
        """Deliveries left in the burst; below 0 more were made."""
        self.push_refilled_ms = -1
        """When what was earned was added last; -1 = never, and it is full."""
        self.position = 0
        """Its place in `Users.order`; `DROPPED` = it has none, and another object may have its name by now."""
        self.is_copy = False
        """Another node decides what holds for the user, and here is what it told: nothing of it is ever concluded."""
        self.push_waits = False
        """What there is to tell is spaced: the latest goes out when its time has come."""

    def encoded_record(self) -> bytes:
        """The record as msgpack: encoded once, however many are told. O(1) but for the first call."""
        encoded = self.encoded
        if encoded is None:
            encoded = self.encoded = encode(self.record)
        return encoded

    def record_digest(self) -> int:
        """The digest of the record (protocol.md, section 6.6), made once. O(1)."""
        made = self.digest
        if made < 0:
            made = self.digest = digest(self.record)
        return made


class Face:
    """How a user is shown to the viewers who do not see the full record, for one kind of face (`faces`)."""

    __slots__ = (
        "digest",
        "encoded",
        "kind",
        "push_credit",
        "push_refilled_ms",
        "push_waits",
        "record",
        "user",
        "watchers",
    )

    channels = None
    """It is in none: what is told in channels is spaced by the user alone."""

    def __init__(self, user: User, kind: int, record: Record) -> None:
        self.user = user
        self.kind = kind
        self.record = record
        """As it was told last, with the version of that moment."""
        self.encoded: bytes | None = None
        self.digest = UNMADE
        """The digest of the record, as in `User`."""
        self.watchers: dict[Session, Sink] = {}
        # spacing, as of a user
        self.push_credit = 0
        self.push_refilled_ms = -1
        self.push_waits = False

    def record_digest(self) -> int:
        """As `User.record_digest`."""
        made = self.digest
        if made < 0:
            made = self.digest = digest(self.record)
        return made

    def encoded_record(self) -> bytes:
        """As `User.encoded_record`."""
        encoded = self.encoded
        if encoded is None:
            encoded = self.encoded = encode(self.record)
        return encoded


def unknown_record(name: str) -> Record:
    """What is told of a user who was never seen: the same shape as for one who is offline."""
    return Record(name, "offline", "", "", 0, 0, "", 0)
