"""One client of the virtual world and its connection: on one side the core's edge, on the other what it has learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from presenced.core.model import Edge, Session
from presenced.core.rights import Rights
from presenced.limits import SERVER_FRAME_BYTES_MAX
from presenced.wire.codec import decode_server
from presenced.wire.frames import FrameReader
from presenced.wire.messages import (
    AddClaim,
    Attach,
    Beats,
    Bye,
    Checked,
    ClientMessage,
    Compare,
    Detach,
    DeviceStatus,
    Done,
    EndClaim,
    Error,
    Focus,
    Get,
    Heartbeat,
    Join,
    Leave,
    MembersPage,
    Position,
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
)
from tests.core.told import Told
from tests.support.requests import REQUESTS
from tests.wire.largest import LARGEST

if TYPE_CHECKING:
    from tests.core.world import World

S = TypeVar("S", bound=ServerMessage)


class FakeLink(Edge):
    """One client and its connection: the core's edge on one side, what the client has learned on the other."""

    def __init__(self, world: World, user: str, role: Role, instance: int = 0, rights: Rights | None = None) -> None:
        self.world = world
        self.session = Session(self, user, role, instance, rights=rights)
        world.links.append(self)
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
        self._is_catching_up = False
        """It is told what has changed since its position, and changes besides."""
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
            self.world.engine.outboxes.pause(self.session, self.world.now_ms)

    def end(self, code: str) -> None:
        if not self.open:
            return
        self.ended = code
        self.world.transcript.append(f"{self.world.now_ms} {self.session.user_name} ended {code}".encode())
        self.world.engine.sessions.detach(self.world.now_ms, self.session, code)

    # --- what the client does ---------------------------------------------------------------------------------

    def say(self, message: ClientMessage) -> None:
        """Send a message; no turn is run."""
        assert self.open, f"the link was ended with {self.ended!r}"
        request_id = getattr(message, "id", 0)
        if request_id:
            self._asked[request_id] = message
        if isinstance(message, WatchAll) and message.on and message.epoch:
            # What has changed since is told before the answer, and may have been told before.
            self.watches_all = self._is_catching_up = True
        REQUESTS.handle(self.world.engine, self.session, self.world.now_ms, message)

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
        as_was: bool = False,
        only_free: bool = False,
        for_at_most_ms: int = 0,
        meta: str | None = None,
        focus: str = "",
    ) -> None:
        user, _, device = address.partition("/")
        fields = (kind, name, priority, status, idle_ms, as_was, only_free, for_at_most_ms, meta, focus)
        self.done(Attach(self.next_id(), ref, user, device, *fields))

    def attach_again(self, ref: int, address: str, **described: Any) -> None:
        """As after a lost link: as it was, and only what is free."""
        self.attach(ref, address, as_was=True, only_free=True, **described)

    def release(self, ref: int, *, lost: bool = False, within_ms: int | None = None) -> None:
        self.done(Detach(self.next_id(), ref, lost, within_ms=within_ms))

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

    def focus(self, focus: str, ref: int = 0) -> None:
        self.say(Focus(ref, focus))
        self.world.turn()

    def bye(self) -> None:
        self.say(Bye())
        self.world.turn()

    def break_off(self) -> None:
        """The connection breaks; the server notices at once. No turn is run."""
        self.lost = True
        self.world.engine.sessions.detach(self.world.now_ms, self.session)

    def lose(self) -> None:
        """The connection breaks, and the server lets go of all that the link held."""
        self.break_off()
        self.world.turn()
        while self.world.engine.releases.next_ms is not None:
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
        self.world.engine.outboxes.pause(self.session, self.world.now_ms)

    def drain(self) -> None:
        """Read again: everything buffered arrives, and the server is told so."""
        self.reading = True
        unread, self.unread = self.unread, []
        for data in unread:
            self._arrive(data)
        if self.open:
            self.world.engine.resume(self.session)
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
            most = LARGEST[type(message)]
            assert len(payload) <= most, f"{len(payload)} bytes of {type(message).__name__}, which has at most {most}"
            self.raw.append(payload)
            self.messages.append(message)
            self._learn(message)
        assert not self._reader.pending_bytes, "half a frame was sent"

    def _learn(self, message: ServerMessage) -> None:
        if isinstance(message, Presence):
            record = message.record
            assert record.user in self.watched or self.watches_all, f"{record.user} is pushed and not watched"
            known = self.view.get(record.user)
            if known is not None and record.version:
                assert record.version >= known.version, f"{record} is older than {known}"
                if record.version == known.version:
                    is_again = self._by_reply[record.user] or self._is_catching_up
                    assert is_again, f"{record} is pushed twice"
            self.view[record.user] = record
            self._by_reply[record.user] = False
        elif isinstance(message, Records | WhoPage):
            asked = self._asked.get(message.id)
            if isinstance(asked, Compare):
                # Contacts that it did not name are pushed in front of the answer.
                self._by_reply.update(dict.fromkeys(self.watched, True))
            if isinstance(asked, Watch):
                self.watched.update(dict.fromkeys(asked.users))
            for record in message.records:
                known = self.view.get(record.user)
                assert known is None or not record.version or record.version >= known.version, (
                    f"{record} is older than {known}"
                )
                self.view[record.user] = record
                self._by_reply[record.user] = True
        elif isinstance(message, Checked):
            # What was told for it is told to others, and again, in its own time.
            self._by_reply.update(dict.fromkeys(self.watched, True))
        elif isinstance(message, Done):
            asked = self._asked.get(message.id)
            if isinstance(asked, Unwatch):
                for name in asked.users:
                    self.watched.pop(name, None)
            elif isinstance(asked, WatchAll):
                self.watches_all = asked.on
        elif isinstance(message, Position):
            self._is_catching_up = False
            # What is told later than to others, such as a spaced change, was told for it already.
            self._by_reply.update(dict.fromkeys(self.view, True))
        self.told.learn(message, self._asked.get(getattr(message, "id", 0)))
