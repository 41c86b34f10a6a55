"""The server's end of a connection, with a gate in front of it: where faults befall what goes in and out.

Behind the gate is the server's own transport and conversation. It works the same for a connection inside the process
and for one over a socket.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Protocol, cast

from presenced.errors import CODES, ProtocolError
from presenced.limits import FRAME_BYTES_MAX, SEND_BUFFER_BYTES
from presenced.server.conversation import Conversation
from presenced.server.transports.tcp import TcpTransport
from presenced.testing.faults import CUT, FREEZE, REFUSE, Faults
from presenced.wire.codec import BadMessage, decode_client, encode
from presenced.wire.frames import FrameReader, frame
from presenced.wire.messages import Error, Hello

TAKEN_FRAMES = 1_000_000


class Hall(Protocol):
    """Where the transports of a server are known."""

    @property
    def faults(self) -> Faults:
        """What is wrong at the moment."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Whose clock is virtual."""

    def came(self, transport: GatedTransport) -> None:
        """A connection is up."""

    def went(self, transport: GatedTransport) -> None:
        """A connection is gone."""

    def note_outside(self) -> None:
        """Something went to a program outside this process, or came from it."""


class GatedTransport(TcpTransport):
    """See the module's docstring."""

    def __init__(self, conversation: Conversation, hall: Hall) -> None:
        super().__init__(conversation)
        self.hello: Hello | None = None
        """Who its client says that it is, as far as it has said anything."""
        self.is_outside = False
        """Whether its client is reached by a socket."""
        self._hall = hall
        self._reader = FrameReader(FRAME_BYTES_MAX)
        self._is_strange = False
        """What comes is no protocol of ours: the server is to see it as it is."""
        self._held_in: deque[Callable[[], None]] = deque()
        self._held_out: deque[Callable[[], None]] = deque()
        self._held_bytes = 0
        self._free_in_s = self._free_out_s = 0.0
        """When what is under way will have arrived, each way."""
        self._is_lost = False

    # --- called by the loop -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `TcpTransport`."""
        self.is_outside = transport.get_extra_info("sslcontext") is None
        self._hall.came(self)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """See `TcpTransport`."""
        if self.is_outside:
            self._hall.note_outside()
        self._inward(lambda: self._take(data))

    def eof_received(self) -> bool:
        """See `TcpTransport`."""
        if self._is_held or self._held_in:
            self._held_in.append(self._end_half)
            return True
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `TcpTransport`."""
        if self._is_held:
            self._held_in.append(lambda: self._lose(exc))
        else:
            self._lose(exc)

    def _lose(self, exc: Exception | None) -> None:
        if not self._is_lost:
            self._is_lost = True
            self._hall.went(self)
            super().connection_lost(exc)

    def _end_half(self) -> None:
        if not super().eof_received() and self.connection is not None:
            self.connection.close()

    # --- inward -----------------------------------------------------------------------------------------------

    def _inward(self, step: Callable[[], None]) -> None:
        faults, loop = self._hall.faults, self._hall.loop
        if self._is_held:
            self._held_in.append(step)
        elif faults.delay_ns or self._free_in_s > loop.time():
            self._free_in_s = max(self._free_in_s, loop.time() + faults.delay_ns / 1e9)
            loop.call_at(self._free_in_s, self._arrive, step)
        else:
            step()

    def _arrive(self, step: Callable[[], None]) -> None:
        if self._is_held:
            self._held_in.append(step)
        elif not self._is_lost:
            step()

    def _take(self, data: bytes) -> None:
        if self._is_strange:
            super().data_received(data)
            return
        try:
            self._reader.feed(data)
            payloads = self._reader.take(TAKEN_FRAMES)
        except ProtocolError:
            self._is_strange = True
            super().data_received(data)
            return
        while payloads:
            payload = payloads.pop(0)
            if self.hello is None and not self._greet(payload):
                return
            if self._is_held:
                # It turns out by its hello that this is a link that is held.
                rest = b"".join(frame(one) for one in [payload, *payloads])
                self._held_in.append(partial(self._pass_on, rest))
                return
            if not self._refuses(payload):
                self._pass_on(frame(payload))

    def _pass_on(self, data: bytes) -> None:
        if not self._is_lost:
            super().data_received(data)

    def _greet(self, payload: bytes) -> bool:
        """Look who it is; returns whether the server may."""
        try:
            message = decode_client(payload)
        except BadMessage:
            return True
        if not isinstance(message, Hello):
            return True
        self.hello = message
        if self._hall.faults.of_link(CUT, message) is not None:
            self.break_off()
            return False
        refusal = self._hall.faults.of_link(REFUSE, message)
        if refusal is not None:
            self._outward(lambda: self._say_goodbye(refusal.code, refusal.message, refusal.retry_ms), 0)
            return False
        return True

    def _say_goodbye(self, code: str, message: str, retry_ms: int) -> None:
        self.conversation.end(code, message, retry_ms)

    def _refuses(self, payload: bytes) -> bool:
        """Whether a fault is about this request, and has answered it."""
        if self.hello is None or not self._hall.faults.has_requests:
            return False
        try:
            message = decode_client(payload)
        except BadMessage:
            return False
        fault = self._hall.faults.of_request(self.hello, type(message))
        if fault is None:
            return False
        if fault.code:
            sentence = fault.message or CODES[fault.code].meaning
            self.send(frame(encode(Error(getattr(message, "id", 0), fault.code, sentence, fault.retry_ms))))
        return True

    # --- outward ----------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """See `Transport`."""
        if self.is_outside:
            self._hall.note_outside()
        self._outward(lambda: super(GatedTransport, self).send(data), len(data))

    @staticmethod
    def send_all(sinks: Collection[TcpTransport], data: bytes) -> None:
        """See `Transport`."""
        for transport in sinks:
            transport.send(data)

    def _outward(self, step: Callable[[], None], size: int) -> None:
        faults, loop = self._hall.faults, self._hall.loop
        if self._is_frozen:
            self._hold_out(step, size)
        elif faults.delay_ns or self._free_out_s > loop.time():
            self._free_out_s = max(self._free_out_s, loop.time() + faults.delay_ns / 1e9)
            loop.call_at(self._free_out_s, self._leave, step, size)
        else:
            step()

    def _leave(self, step: Callable[[], None], size: int) -> None:
        if self._is_frozen:
            self._hold_out(step, size)
        elif not self._is_lost:
            step()

    def _hold_out(self, step: Callable[[], None], size: int) -> None:
        self._held_out.append(step)
        before, self._held_bytes = self._held_bytes, self._held_bytes + size
        if before <= SEND_BUFFER_BYTES < self._held_bytes:
            self.conversation.hold()

    @property
    def unsent_bytes(self) -> int:
        """See `Transport`."""
        return self._held_bytes + super().unsent_bytes

    def close(self, last: bytes) -> None:
        """See `Transport`."""
        self._outward(lambda: super(GatedTransport, self).close(last), len(last))

    def abort(self) -> None:
        """See `Transport`. On a link that is frozen the client learns of it when that is over."""
        if self._is_frozen and not self._is_lost:
            self._held_out.append(super().abort)
            self._lose(None)
        else:
            super().abort()

    # --- faults -----------------------------------------------------------------------------------------------

    @property
    def _is_frozen(self) -> bool:
        return self.hello is not None and self._hall.faults.of_link(FREEZE, self.hello) is not None

    @property
    def _is_held(self) -> bool:
        """Whether nothing arrives at the server."""
        return self._hall.faults.is_paused or self._is_frozen

    def thaw(self) -> None:
        """Some fault has ended: let go what is held no longer."""
        while self._held_out and not self._is_frozen:
            self._held_out.popleft()()
            if not self._held_out and self._held_bytes:
                was_over, self._held_bytes = self._held_bytes > SEND_BUFFER_BYTES, 0
                if was_over and not self._is_lost:
                    self.conversation.drained()
        while self._held_in and not self._is_held:
            self._held_in.popleft()()

    def break_off(self) -> None:
        """The network breaks the connection, and both ends are told."""
        self._held_in.clear()
        self._held_out.clear()
        breaks = getattr(self.connection, "break_off", None)
        if breaks is not None:
            breaks()
        elif self.connection is not None:
            cast(Any, self.connection).abort()
