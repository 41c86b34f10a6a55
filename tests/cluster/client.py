"""A client of a town: it says hello to one node, acts wherever its user is decided, and knows what it was told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from presenced.core.model import Edge, Session
from presenced.errors import PresenceError
from presenced.limits import SERVER_FRAME_BYTES_MAX
from presenced.server.greeting import Greeting, open_session, say_welcome, seek_lost
from presenced.server.identity import Identity
from presenced.wire.codec import decode_server
from presenced.wire.frames import FrameReader
from presenced.wire.messages import (
    ClientMessage,
    Error,
    Hello,
    Presence,
    Record,
    Records,
    ServerMessage,
    Taken,
    Watch,
    Welcome,
)

if TYPE_CHECKING:
    from tests.cluster.town import TownNode


class Client(Edge):
    """One link."""

    def __init__(self, world: TownNode, address: str, **fields: Any) -> None:
        user, _, device = address.partition("/")
        self.world = world
        self.since_ms = world.now_ms
        self.address = address
        self.user = user
        self.device = device
        self.messages: list[ServerMessage] = []
        self.ended: str | None = None
        """The code of the goodbye; empty = it was closed without one."""
        self.view: dict[str, Record] = {}
        self.watched: set[str] = set()
        self.lies: list[str] = []
        self._reader = FrameReader(SERVER_FRAME_BYTES_MAX)
        self._ids = 0
        self._asked: dict[int, ClientMessage] = {}
        self.session: Session | None = None
        self.welcome: Welcome | None = None
        self._greeting = Greeting(
            Hello([1], "", user, device, **fields), 1, Identity(user, fields.get("role", "user"), 0, None, 0)
        )
        if self._greeting.hello.resume:
            sought = seek_lost(world.forwarding, self._greeting, world.now_ms, self._found)
            self._greeting = self._greeting._replace(sought=sought)
        if not self._greeting.sought:
            self.greet()

    def _found(self, now_ms: int) -> None:
        self.world.arriving.append(self)

    def greet(self) -> None:
        """Its hello is answered. Where another node is asked first, this is called by the turn behind that."""
        world, hello = self.world, self._greeting.hello
        if self.ended is not None:
            return
        if self._greeting.sought:
            world.forwarding.take_found(self._greeting.sought, world.now_ms)
        try:
            self.session = open_session(
                world.engine, self, hello, self._greeting.identity, 0, world.now_ms, world.forwarding
            )
        except PresenceError as error:
            self.ended = error.code
            return
        say_welcome(world.engine, self.session, self._greeting, world.now_ms, (0, 0))
        world.clients.append(self)

    @property
    def resumed(self) -> bool:
        """Whether its hello was answered so."""
        return self.welcome is not None and self.welcome.resumed

    @property
    def token(self) -> str:
        """By which the next link takes back what this one has."""
        assert self.session is not None
        return self.session.resume

    @property
    def refs(self) -> dict[int, str]:
        """The devices that it holds, wherever they are."""
        assert self.session is not None
        held = {ref: f"{device.user.name}/{device.id}" for ref, device in (self.session.refs or {}).items()}
        relay = self.world.forwarding.relays.get(self.session)
        if relay is not None:
            held |= {ref: f"{one.user}/{one.device}" for ref, one in relay.held.items()}
        return held

    @property
    def taken(self) -> dict[int, str]:
        """The refs that it was told to hold no longer, and why."""
        return {one.ref: one.why for one in self.messages if isinstance(one, Taken)}

    @property
    def watching(self) -> set[str]:
        """Whom it watches by name."""
        assert self.session is not None
        return set(self.session.watching or ())

    @property
    def is_open(self) -> bool:
        return self.ended is None

    # --- what the server does ---------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        if self.ended is not None:
            return
        self._reader.feed(data)
        for payload in self._reader.take(1_000_000):
            message = decode_server(payload)
            if isinstance(message, Welcome):
                self.welcome = message
                continue
            self.messages.append(message)
            if isinstance(message, Presence):
                self._learn(message.record)
            elif isinstance(message, Records):
                for record in message.records:
                    self._learn(record)

    def _learn(self, record: Record) -> None:
        known = self.view.get(record.user)
        # Who was erased is nobody from then on, whatever was told before.
        if known is not None and 0 < record.version < known.version:
            self.lies.append(f"{record} came behind {known}")
        if known is not None and record.version == known.version and record != known:
            self.lies.append(f"{record} is another than {known} of the same version")
        self.view[record.user] = record
        other = self.world.town.told.setdefault((record.user, record.version), record)
        if record.version and other != record:
            self.lies.append(f"{record} is another than {other} of the same version, which somebody else was told")

    def end(self, code: str) -> None:
        if self.ended is not None or (code == "" and self.session is not None and self.session.unanswered):
            return
        assert self.session is not None
        self.world.engine.sessions.detach(self.world.now_ms, self.session, code)
        self._close(code)

    def _close(self, code: str) -> None:
        self.ended = code
        if self in self.world.clients:
            self.world.clients.remove(self)

    # --- what the client does ---------------------------------------------------------------------------------

    def next_id(self) -> int:
        self._ids += 1
        return self._ids

    def say(self, message: ClientMessage) -> None:
        """Send a message, and run a turn."""
        assert self.is_open and self.session is not None
        if isinstance(message, Watch):
            self.watched.update(message.users)
        request_id = getattr(message, "id", 0)
        if request_id:
            self._asked[request_id] = message
        self.world.requests.handle(self.world.engine, self.session, self.world.now_ms, message)
        self.world.turn()

    def lose(self) -> None:
        """The connection breaks."""
        if self.is_open and self.session is not None:
            self.world.engine.sessions.detach(self.world.now_ms, self.session)
            self._close("lost")
            self.world.turn()

    def cut(self) -> None:
        """The node is gone, and with it the connection."""
        self._close("gone")

    def statuses(self, user: str, behind: int = 0) -> list[str]:
        """The statuses pushed of a user, in order, `behind` so many messages."""
        pushed = (one.record for one in self.messages[behind:] if isinstance(one, Presence))
        return [record.status for record in pushed if record.user == user]

    @property
    def errors(self) -> list[Error]:
        """Requests that were refused."""
        return [one for one in self.messages if isinstance(one, Error)]

    def replies_to(self, request_id: int) -> list[ServerMessage]:
        """What came as an answer to this."""
        return [one for one in self.messages if getattr(one, "id", None) == request_id]
