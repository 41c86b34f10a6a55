"""Conversations without sockets: links of an engine and the turn, on a clock that moves only when told."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgpack

from presenced import chat_commands
from presenced.core.engine import Engine
from presenced.core.parts.schedules import no_calendar
from presenced.core.policy import Policy
from presenced.core.requests import HANDLERS, Requests
from presenced.errors import AuthError
from presenced.limits import SERVER_FRAME_BYTES_MAX
from presenced.server import renewal
from presenced.server.accounts import UNLIMITED
from presenced.server.conversation import Conversation
from presenced.server.fact_log import Ack, MemoryLog
from presenced.server.identity import Identity
from presenced.server.links import Links
from presenced.server.memory import Memory
from presenced.server.report import Report
from presenced.server.stats import Stats
from presenced.server.turn import run_turn
from presenced.wire.codec import encode
from presenced.wire.frames import FrameReader, frame
from presenced.wire.messages import ClientMessage, Hello, Role

START_MS = 5_000_017
WALL_MS = 1_700_000_000_000
TURNS_MAX = 10_000


class SlowLog(MemoryLog):
    """A log whose disk answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_slow = False

    def take_durable(self) -> Sequence[Ack]:
        return () if self.is_slow else super().take_durable()


class FakeTransport:
    """Carries one conversation, and stands for its peer as well."""

    def __init__(self, host: VirtualHost, conversation: Conversation) -> None:
        self.conversation = conversation
        self.is_reading = True
        self.is_closed = False
        """Our half is closed."""
        self.is_gone = False
        self.told: list[list[Any]] = []
        """All that has arrived at the peer."""
        self.unread: list[bytes] | None = None
        """What the peer has not read while it does not read; None while it does."""
        self.is_closing = False
        self._host = host
        self._reader = FrameReader(SERVER_FRAME_BYTES_MAX)
        conversation.opened(self)

    # --- the port -----------------------------------------------------------------------------------------------

    peer = "198.51.100.7:4711"

    def send(self, data: bytes) -> None:
        if self.is_closed or self.is_gone:
            return
        assert data, "an empty write"
        if self.unread is not None:
            assert not self.unread, "a link whose buffer is full was written to"
            self.unread.append(data)
            self.conversation.hold()
        else:
            self._arrive(data)

    @staticmethod
    def send_all(sinks: Collection[FakeTransport], data: bytes) -> None:
        for sink in sinks:
            sink.send(data)

    @property
    def unsent_bytes(self) -> int:
        return sum(map(len, self.unread or ()))

    def pause_reading(self) -> None:
        assert self.is_reading
        self.is_reading = False

    def resume_reading(self) -> None:
        assert not self.is_reading
        self.is_reading = True

    def close(self, last: bytes) -> None:
        assert not self.is_closed, "closed twice"
        self.is_closed = self.is_closing = True
        if last and self.unread is not None:
            self.unread.append(last)
        elif last:
            self._arrive(last)

    def abort(self) -> None:
        self.is_closing = True
        self.lose()

    # --- the peer -----------------------------------------------------------------------------------------------

    def put(self, data: bytes) -> None:
        """Send bytes, and let a turn pass."""
        assert self.is_reading, "the server does not read"
        self.conversation.receive(self._host.begin(), data)
        self._host.turn()

    def say(self, *messages: ClientMessage) -> None:
        """Send whole messages in one piece, and let a turn pass."""
        self.put(b"".join(frame(encode(message)) for message in messages))

    def stop_reading(self) -> None:
        self.unread = []

    def read_on(self) -> None:
        """Take what has piled up; a turn passes."""
        unread, self.unread = self.unread or [], None
        for data in unread:
            self._arrive(data)
        if not self.is_closed:
            self.conversation.drained()
        self._host.turn()

    def lose(self) -> None:
        """The connection is gone. Idempotent."""
        if not self.is_gone:
            self.is_gone = True
            self.conversation.lost(self._host.begin())

    def take(self) -> list[list[Any]]:
        """What has arrived since the last call."""
        told, self.told = self.told, []
        return told

    def _arrive(self, data: bytes) -> None:
        self._reader.feed(data)
        self.told.extend(msgpack.unpackb(payload) for payload in self._reader.take(1_000_000))
        assert not self._reader.pending_bytes, "half a frame was sent"


class VirtualHost:
    """What the links need of a server (`links.Host` and `links.Authority`), with all that they share. No work
    takes any time in it."""

    def __init__(self, *, rate: int = 0, **policy: Any) -> None:
        self.now_ms = START_MS
        self.rate = rate
        self.is_broken = False
        self.identities: dict[str, Identity] = {}
        """Who each token speaks for; "" speaks for whom the hello names, and any other is refused."""
        self.log = SlowLog()
        self.engine = Engine(Policy(**policy), now_ms=START_MS, wall_ms=WALL_MS, epoch=7, calendar=no_calendar)
        memory = Memory(0, resident=lambda: 0, charged=lambda: 0, limit=lambda: 0)
        requests = Requests(HANDLERS, chat_commands.HANDLERS, renewal.handlers(self))
        self.links = Links(self, self, self.engine, requests, Stats(START_MS, WALL_MS), Report(), memory)
        self._engine_ms: int | None = None

    # --- the ports ----------------------------------------------------------------------------------------------

    def begin(self) -> int:
        return self.now_ms

    def monotonic_ns(self) -> int:
        """The clock stands still, since work takes no time."""
        return 0

    def identify(self, hello: Hello) -> Identity:
        return self.verify_token(hello.token) if hello.token else Identity(hello.user, hello.role, 0)

    def verify_token(self, token: str) -> Identity:
        identity = self.identities.get(token)
        if identity is None:
            raise AuthError("bad_token", "this token is not known here")
        if identity.expires_ms <= self.wall_ms:
            raise AuthError("token_expired", "the token has expired")
        return identity

    def rate_for(self, role: Role) -> tuple[int, int]:
        return (self.rate, 4 * self.rate) if self.rate else (0, UNLIMITED)

    def deadline_of(self, now_ms: int, wall_ms: int) -> int:
        return now_ms + max(1, wall_ms - self.wall_ms) if wall_ms else 0

    @property
    def wall_ms(self) -> int:
        """The wall clock, which goes with the other."""
        return WALL_MS + self.now_ms - START_MS

    # --- time ---------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """One turn at the present moment."""
        self.links.run_due(self.now_ms)
        self._engine_ms = run_turn(self.engine, self.log, self.now_ms)

    def advance(self, ms: int) -> None:
        """Let time pass, with a turn whenever something is due and one at the end."""
        end_ms = self.now_ms + ms
        for _ in range(TURNS_MAX):
            due = [self._engine_ms, self.links.next_ms]
            next_ms = min((one for one in due if one is not None), default=end_ms)
            if next_ms >= end_ms:
                break
            self.now_ms = max(self.now_ms, next_ms)
            self.turn()
        else:
            raise AssertionError("turn after turn is asked for")
        self.now_ms = end_ms
        self.turn()

    # --- links --------------------------------------------------------------------------------------------------

    def accept(self, kind: type[FakeTransport] = FakeTransport) -> FakeTransport:
        """A connection comes in, and is up at once."""
        conversation = Conversation(self.links, self.now_ms)
        self.links.add(self.now_ms, conversation)
        return kind(self, conversation)

    def open(self, user: str, device: str = "laptop", kind: type[FakeTransport] = FakeTransport) -> FakeTransport:
        """A link that has said hello; what it was told by then is taken already."""
        transport = self.accept(kind)
        transport.say(Hello([1], "", user, device))
        transport.take()
        return transport
