"""The way out of a link: bytes to the socket, straight where that goes, through the transport where not.

What is to be sent, and to whom, is decided by the core; this is a tenth of what a delivery costs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from typing import Final

from presenced import limits
from presenced.core.model import Session

AWAITING: Final = 0
OPEN: Final = 1
ENDING: Final = 2
CLOSING: Final = 3
CLOSED: Final = 4
"""States of a link, in this order."""


class Outgoing(asyncio.Protocol):
    """What of a connection has to do with writing to it."""

    __slots__ = ("fd", "transport", "session", "owed", "state")

    fd: int
    transport: asyncio.Transport | None
    session: Session | None
    owed: Session | None
    state: int

    def send(self, data: bytes) -> None:
        """Write now. On plain TCP straight to the socket: measured against `transport.write` 10 % less CPU per
        delivery. The transport's own buffer is empty then: only the rest of a write that the kernel did not take
        whole ever goes into it, and while it is there, the turn sends nothing."""
        fd = self.fd
        if fd < 0:
            if self.state < CLOSING and self.transport is not None:
                if len(data) > limits.SEND_BUFFER_BYTES:
                    self._send_in_pieces(self.transport, data)
                else:
                    self.transport.write(data)
            return
        try:
            written = os.write(fd, data)
        except BlockingIOError:
            written = 0
        except OSError:
            self.abort()
            return
        if written != len(data) and self.transport is not None:
            self.transport.write(data[written:])

    def _send_in_pieces(self, transport: asyncio.Transport, data: bytes) -> None:
        """Under TLS all that is written is encrypted at once, into a buffer of OpenSSL's that never shrinks. So it gets
        little more than its mark, and the rest is first among the replies that wait until it has drained."""
        session = self.session or self.owed
        for at in range(0, len(data), limits.SEND_BUFFER_BYTES):
            if session is not None and session.held is not None:
                session.replies.insert(0, data[at:])
                session.reply_bytes += len(data) - at
                return
            transport.write(data[at : at + limits.SEND_BUFFER_BYTES])

    @staticmethod
    def send_all(edges: Collection[Outgoing], data: bytes) -> None:
        """`send` to each without the call, which is a twentieth of a delivery. What does not go its usual way goes
        there."""
        write, size = os.write, len(data)
        for link in edges:
            fd = link.fd
            if fd < 0:
                link.send(data)
                continue
            try:
                written = write(fd, data)
            except OSError:
                written = 0
            if written != size:
                link.send(data[written:])

    def abort(self) -> None:
        """Drop the connection without a word. Idempotent."""
        raise NotImplementedError
