"""A client of a town: it says hello to one node, acts wherever its user is decided, and knows what it was told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from presenced.core.model import Edge, Session
from presenced.errors import PresenceError
from presenced.limits import SERVER_FRAME_BYTES_MAX
from presenced.server.greeting import open_session
from presenced.server.identity import Identity
from presenced.wire.codec import decode_server
from presenced.wire.frames import FrameReader
from presenced.wire.messages import ClientMessage, Error, Hello, Presence, Record, Records, ServerMessage, Watch

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
        hello = Hello([1], "", user, device, **fields)
        identity = Identity(user, hello.role, 0, None, 0)
        try:
            self.session = open_session(world.engine, self, hello, identity, 0, world.now_ms, world.forwarding)
        except PresenceError as error:
            self.ended = error.code
            return
        world.clients.append(self)

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

    def statuses(self, user: str) -> list[str]:
        """The statuses pushed of a user, in order."""
        return [one.record.status for one in self.messages if isinstance(one, Presence) and one.record.user == user]

    @property
    def errors(self) -> list[Error]:
        """Requests that were refused."""
        return [one for one in self.messages if isinstance(one, Error)]

    def replies_to(self, request_id: int) -> list[ServerMessage]:
        """What came as an answer to this."""
        return [one for one in self.messages if getattr(one, "id", None) == request_id]
