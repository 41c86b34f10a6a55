"""The port between a conversation and what carries its bytes.

A transport knows sockets and buffers and nothing of messages. It tells its conversation when it is up, what came in,
when the peer stops and begins to read, and that it is gone (`Conversation.opened`, `receive`, `hold`, `drained`,
`lost`); the conversation answers through the methods here.
"""

from __future__ import annotations

from typing import Protocol

from presenced.core.model import Sink


class Transport(Sink, Protocol):
    """One connection that is up. `send` and `send_all` never raise: a connection that breaks is told by `lost`."""

    __slots__ = ()

    @property
    def peer(self) -> str:
        """The other side's address; empty if it is not known."""

    @property
    def unsent_bytes(self) -> int:
        """Bytes that were sent and that the kernel has not taken."""

    @property
    def is_closing(self) -> bool:
        """Whether it has begun to close, on whichever side."""

    def pause_reading(self) -> None:
        """Take nothing from the peer until `resume_reading`."""

    def resume_reading(self) -> None:
        """Take what the peer sends again."""

    def close(self, last: bytes) -> None:
        """Send `last` behind all that is unsent, then close our half. What the peer still sends is read and dropped
        until it closes as well: closing at once would reset the connection and take the last bytes with it."""

    def abort(self) -> None:
        """Drop the connection without a word. Idempotent."""
