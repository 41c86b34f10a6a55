"""A world for the core: engine and turn on a clock that only moves when told, and links that are plain objects.

What the daemon does with sockets is done here with lists: a link that is not read fills up at the first send, as a
kernel buffer would, and from then on the core must hold its frames back. Each turn is followed by the core's own
invariants, by checks that are stated here a second time in other words, and by what every client relies on: only
watched users are pushed, a version never comes twice except after a reply, and who keeps a watched channel's members by
what is told of it always has the members and the counts that the server has (`tests.core.told`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from presenced.core import invariants
from presenced.core.claims import Calendar
from presenced.core.engine import Engine, no_calendar
from presenced.core.facts import facts_of
from presenced.core.merge import merge
from presenced.core.model import CONNECTED, GONE, GRACE, Device, Session, User
from presenced.core.policy import Policy
from presenced.core.records import Fact
from presenced.core.requests import handle
from presenced.core.restore import Restorer
from presenced.limits import SERVER_FRAME_BYTES_MAX
from presenced.server.turn import Ack, MemoryLog, run_turn
from presenced.wire.frames import FrameReader
from presenced.wire.messages import (
    AddClaim,
    Attach,
    Beats,
    Bye,
    ClientMessage,
    Detach,
    DeviceStatus,
    Done,
    EndClaim,
    Error,
    Get,
    Heartbeat,
    Join,
    Leave,
    MembersPage,
    Presence,
    Record,
    Records,
    Role,
    ServerMessage,
    SetDevice,
    SetStatus,
    Source,
    Status,
    StatusRequest,
    Unwatch,
    Watch,
    WatchAll,
    WatchChannel,
    Who,
    WhoPage,
    decode_server,
)
from tests.core.told import Told

START_MS = 7_000_003
WALL_MS = 1_700_000_000_000
"""What the wall clock shows when the monotonic one shows `START_MS`."""

TICK_MS = 64
"""How late the wheel may be."""

IDLE_TURNS_MAX = 10_000

S = TypeVar("S", bound=ServerMessage)


class FakeLink:
    """One client and its connection: the core's edge on one side, what the client has learned on the other."""

    def __init__(self, world: World, user: str, role: Role) -> None:
        self.world = world
        self.session = Session(self, user, role)
        self.reading = True
        self.unread: list[bytes] = []
        """What the kernel took for a client that does not read."""
        self.lost = False
        self.ended: str | None = None
        """The code of the goodbye; empty if the link was closed without one."""
        self.written = b""
        """The object of the last write."""
        self.messages: list[ServerMessage] = []
        self.raw: list[bytes] = []
        self.view: dict[str, Record] = {}
        """The newest record of each user that the client was told of."""
        self.watched: dict[str, None] = {}
        self.watches_all = False
        self.told = Told()
        """What it was told of channels, events and its own state."""
        self._reader = FrameReader(SERVER_FRAME_BYTES_MAX)
        self._asked: dict[int, ClientMessage] = {}
        self._by_reply: dict[str, bool] = {}
        self._next_id = 1

    @property
    def open(self) -> bool:
        return not self.lost and self.ended is None

    # --- what the core sees -----------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        if not self.open:
            return
        assert data, "an empty write"
        assert not self.unread, "a link whose buffer is full was written to"
        self.written = data
        if self.reading:
            self._arrive(data)
        else:
            self.unread.append(data)
            self.world.engine.publisher.hold(self.session)

    def end(self, code: str) -> None:
        if not self.open:
            return
        self.ended = code
        self.world.transcript.append(f"{self.world.now_ms} {self.session.user_name} ended {code}".encode())
        self.world.engine.detach(self.world.now_ms, self.session)

    # --- what the client does ---------------------------------------------------------------------------------

    def say(self, message: ClientMessage) -> None:
        """Send a message; no turn is run."""
        assert self.open, f"the link was ended with {self.ended!r}"
        request_id = getattr(message, "id", 0)
        if request_id:
            self._asked[request_id] = message
        handle(self.world.engine, self.session, self.world.now_ms, message)

    def next_id(self) -> int:
        self._next_id += 1
        return self._next_id

    def ask(self, message: ClientMessage) -> ServerMessage:
        """Send a request, run a turn, and give its reply."""
        self.say(message)
        self.world.turn()
        request_id = getattr(message, "id", 0)
        replies = [m for m in self.messages if getattr(m, "id", None) == request_id]
        assert len(replies) == 1, f"{len(replies)} replies to {message}"
        return replies[0]

    def expect(self, message: ClientMessage, reply: type[S]) -> S:
        answer = self.ask(message)
        assert isinstance(answer, reply), answer
        return answer

    def done(self, message: ClientMessage) -> None:
        """Send a request that succeeds and has nothing to tell."""
        self.expect(message, Done)

    # what a service says for others: an address is `user/device`

    def attach(
        self,
        ref: int,
        address: str,
        *,
        kind: str = "",
        name: str = "",
        priority: int = 0,
        status: DeviceStatus = "online",
        idle_ms: int | None = None,
    ) -> None:
        user, _, device = address.partition("/")
        self.done(Attach(self.next_id(), ref, user, device, kind, name, priority, status, idle_ms))

    def release(self, ref: int, *, lost: bool = False) -> None:
        self.done(Detach(self.next_id(), ref, lost))

    def beats(self, *beats: int) -> None:
        self.say(Beats(list(beats)))
        self.world.turn()

    def claim(self, user: str, claim: str, source: Source, status: Status, for_ms: int = 0, until_ms: int = 0) -> None:
        self.done(AddClaim(self.next_id(), claim, source, status, for_ms, until_ms, user))

    def end_claim(self, user: str, claim: str) -> None:
        self.done(EndClaim(self.next_id(), claim, user))

    def join(self, address: str, channel: str) -> None:
        user, _, device = address.partition("/")
        self.done(Join(self.next_id(), channel, user, device))

    def leave(self, address: str, channel: str) -> None:
        user, _, device = address.partition("/")
        self.done(Leave(self.next_id(), channel, user, device))

    def watch_channel(self, channel: str, limit: int = 100) -> MembersPage:
        return self.expect(WatchChannel(self.next_id(), channel, limit), MembersPage)

    def beat(self, idle_ms: int | None = None) -> None:
        self.say(Heartbeat(idle_ms))
        self.world.turn()

    def bye(self) -> None:
        self.say(Bye())
        self.world.turn()

    def lose(self) -> None:
        """The connection breaks; the server notices at once."""
        self.lost = True
        self.world.engine.detach(self.world.now_ms, self.session)
        self.world.turn()

    def watch(self, *users: str) -> list[Record]:
        return self.expect(Watch(self.next_id(), list(users)), Records).records

    def unwatch(self, *users: str) -> None:
        self.expect(Unwatch(self.next_id(), list(users)), Done)

    def get(self, user: str) -> Record:
        return self.expect(Get(self.next_id(), [user]), Records).records[0]

    def who(self, after: str = "", limit: int = 100) -> WhoPage:
        return self.expect(Who(self.next_id(), after, limit), WhoPage)

    def set_status(
        self,
        status: StatusRequest | None = None,
        text: str | None = None,
        emoji: str | None = None,
        for_ms: int = 0,
    ) -> None:
        self.expect(SetStatus(self.next_id(), status, text, emoji, for_ms), Done)

    def set_device(self, status: DeviceStatus | None = None, priority: int | None = None) -> None:
        self.expect(SetDevice(self.next_id(), status, priority), Done)

    def refused(self, message: ClientMessage) -> str:
        """The code with which a request is refused."""
        return self.expect(message, Error).code

    def stall(self) -> None:
        """Stop reading: what is sent next fills the buffer."""
        self.reading = False

    def fill(self) -> None:
        """Stop reading, with the buffer full already."""
        self.reading = False
        self.unread.append(b"")
        self.world.engine.publisher.hold(self.session)

    def drain(self) -> None:
        """Read again: everything buffered arrives, and the server is told so."""
        self.reading = True
        unread, self.unread = self.unread, []
        for data in unread:
            self._arrive(data)
        if self.open:
            self.world.engine.drained(self.session)
        self.world.turn()

    # --- what the client was told -----------------------------------------------------------------------------

    @property
    def pushes(self) -> list[Record]:
        return [message.record for message in self.messages if isinstance(message, Presence)]

    def statuses(self, user: str) -> list[str]:
        """The statuses pushed of a user, in order."""
        return [record.status for record in self.pushes if record.user == user]

    def forget(self) -> None:
        """Drop the messages so far; what was learned stays."""
        self.messages.clear()
        self.raw.clear()

    def _arrive(self, data: bytes) -> None:
        self.world.transcript.append(f"{self.world.now_ms} {self.session.user_name} ".encode() + data)
        self._reader.feed(data)
        for payload in self._reader.take(1_000_000):
            message = decode_server(payload)
            self.raw.append(payload)
            self.messages.append(message)
            self._learn(message)
        assert not self._reader.pending_bytes, "half a frame was sent"

    def _learn(self, message: ServerMessage) -> None:
        if isinstance(message, Presence):
            record = message.record
            assert record.user in self.watched or self.watches_all, f"{record.user} is pushed and not watched"
            known = self.view.get(record.user)
            if known is not None:
                assert record.version >= known.version, f"{record} is older than {known}"
                if record.version == known.version:
                    assert self._by_reply[record.user], f"{record} is pushed twice"
            self.view[record.user] = record
            self._by_reply[record.user] = False
        elif isinstance(message, Records | WhoPage):
            asked = self._asked.get(message.id)
            for record in message.records:
                known = self.view.get(record.user)
                assert known is None or record.version >= known.version, f"{record} is older than {known}"
                self.view[record.user] = record
                self._by_reply[record.user] = True
                if isinstance(asked, Watch):
                    self.watched[record.user] = None
        elif isinstance(message, Done):
            asked = self._asked.get(message.id)
            if isinstance(asked, Unwatch):
                for name in asked.users:
                    self.watched.pop(name, None)
            elif isinstance(asked, WatchAll):
                self.watches_all = asked.on
        self.told.learn(message, self._asked.get(getattr(message, "id", 0)))


class KeepingLog(MemoryLog):
    """A log that keeps its facts, for whoever wants to start again from them."""

    def __init__(self) -> None:
        super().__init__()
        self.facts: list[Fact] = []

    def append(self, facts: Sequence[Fact], acks: Sequence[Ack]) -> None:
        self.facts.extend(facts)
        super().append(facts, acks)


class World:
    """An engine on a clock of its own, and everything that was ever sent."""

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        calendar: Calendar = no_calendar,
        now_ms: int = START_MS,
        wall_ms: int = WALL_MS,
    ) -> None:
        self.now_ms = now_ms
        self.calendar = calendar
        self.engine = Engine(policy or Policy(), now_ms=now_ms, wall_ms=wall_ms, epoch=77, calendar=calendar)
        self.log = KeepingLog()
        self.transcript: list[bytes] = []
        self.next_ms: int | None = None
        self.versions = 0
        self.checks = True
        """Whether everything is checked after each turn; that is linear, so tests with very many switch it off."""
        self.standing_max = 10
        """Turns that may be asked for at one moment, one after the other."""

    @property
    def wall_ms(self) -> int:
        return self.now_ms + self.engine.publisher.wall_offset_ms

    def set_clock(self, wall_ms: int) -> None:
        """Somebody sets the wall clock."""
        self.engine.set_wall(self.now_ms, wall_ms)
        self.turn()

    def snapshot(self) -> list[Fact]:
        """What a snapshot would hold now."""
        offset_ms = self.engine.publisher.wall_offset_ms
        return [fact for user in self.engine.users.order for fact in facts_of(user, offset_ms)]

    def restarted(
        self, down_ms: int = 0, *, facts: Sequence[Fact] | None = None, grace_ms: int = 30_000, now_ms: int = 900_000
    ) -> World:
        """What starts from this world's facts (by default all that was logged, in order) after `down_ms`."""
        facts = self.log.facts if facts is None else facts
        world = World(self.engine.policy, calendar=self.calendar, now_ms=now_ms, wall_ms=self.wall_ms + down_ms)
        restorer = Restorer(world.engine, now_ms)
        restorer.apply(facts)
        restorer.finish(grace_ms=grace_ms, spread_ms=0, version_gap=0)
        world.log.facts.extend(facts)
        while (next_ms := world.engine.next_ms) is not None and next_ms <= now_ms:
            world.engine.tick(now_ms)
        world.turn()
        return world

    def user(self, name: str) -> User:
        return self.engine.users[name]

    def device(self, address: str) -> Device:
        user, _, device = address.partition("/")
        return self.engine.users[user].devices[device]

    def record(self, name: str) -> Record:
        return self.engine.users[name].record

    def open(
        self,
        address: str,
        *,
        idle_ms: int | None = None,
        priority: int = 0,
        status: DeviceStatus = "online",
        role: Role = "user",
        expires_ms: int = 0,
        kind: str = "",
        sync: bool = False,
    ) -> FakeLink:
        """Say hello as `user/device`, or as `user` without a device, and run a turn."""
        user, _, device = address.partition("/")
        link = FakeLink(self, user, role)
        link.session.expires_ms = expires_ms
        if device:
            held = self.engine.attach(
                self.now_ms, link.session, device, kind=kind, priority=priority, status=status, idle_ms=idle_ms
            )
            if sync:
                self.engine.own_states.add(link.session, held.user)
        else:
            self.engine.open_without_device(self.now_ms, link.session)
        self.turn()
        return link

    def turn(self) -> None:
        """One turn at the present moment, and all checks after it."""
        self.next_ms = run_turn(self.engine, self.log, self.now_ms)
        if self.checks:
            self.check()
        assert self.engine.publisher.version >= self.versions, "the version counter went back"
        self.versions = self.engine.publisher.version

    def check(self) -> None:
        """Hold the state against what must be. O(everything)."""
        invariants.check(self.engine)
        for user in self.engine.users.values():
            self._check_user(user)

    def advance(self, ms: int) -> None:
        """Let time pass, running a turn whenever the last one asked for it, and one at the end."""
        end_ms = self.now_ms + ms
        standing = 0
        while self.next_ms is not None and self.next_ms <= end_ms:
            standing = standing + 1 if self.next_ms <= self.now_ms else 0
            assert standing < self.standing_max, "turn after turn is asked for at the same moment"
            self.now_ms = max(self.now_ms, self.next_ms)
            self.turn()
        self.now_ms = end_ms
        self.turn()

    def advance_beating(self, ms: int, *links: FakeLink, every_ms: int = 30_000) -> None:
        """Let time pass while these links heartbeat without a report."""
        end_ms = self.now_ms + ms
        while self.now_ms < end_ms:
            self.advance(min(every_ms, end_ms - self.now_ms))
            for link in links:
                link.beat()

    def _check_user(self, user: User) -> None:
        policy = self.engine.policy
        _, primary = merge(user.devices.values(), user.claim, user.primary, policy.primary_hysteresis_ms)
        assert primary is user.primary, f"{user.name} has another primary than it should"
        for device in user.devices.values():
            if device.state == GONE:
                continue
            deadlines = [device.grace_until_ms] if device.state == GRACE else []
            if device.state == CONNECTED:
                assert device.session is not None
                deadlines.append(device.heard_ms + policy.timeout_ms)
                if device.session.expires_ms and not device.ref:
                    deadlines.append(device.session.expires_ms)
            if device.idle_known:
                for after_ms in policy.idle_limits(device.kind):
                    if after_ms and device.active_ms + after_ms > self.now_ms:
                        deadlines.append(device.active_ms + after_ms)
            where = f"{user.name}/{device.id}"
            assert device.due_ms <= min(deadlines), f"{where} is looked at {device.due_ms}, due {min(deadlines)}"
            late = self.now_ms - min(deadlines)
            assert late < TICK_MS or len(self.engine.wheel) > 2_000, f"{where} is {late} ms late"
