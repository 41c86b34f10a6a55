"""The port of a link to those who keep it, queue it, weigh it or end it without speaking with it.

`conversation.Conversation` is the one link that there is. The table, the queues, the drain and the operator's side know
it by this port alone, so that none of them imports what they are imported by.
"""

from __future__ import annotations

from typing import Final, Protocol

from presenced.core.model import Edge, Session

AWAITING: Final = 0
SEEKING: Final = 1
OPEN: Final = 2
ENDING: Final = 3
CLOSING: Final = 4
CLOSED: Final = 5
"""States of a link, in this order: it awaits its hello; its hello is accepted, and another node is asked for what its
client's lost link had; it is served; nothing more is taken from it, and it is still
owed replies; goodbye was said, and the peer may still read; the connection is gone."""


class Link(Edge, Protocol):
    """One connection and the talk on it: the edge of its session, seen from the server."""

    __slots__ = ()

    @property
    def state(self) -> int:
        """One of `AWAITING` to `CLOSED`."""

    @property
    def session(self) -> Session | None:
        """Who it speaks for; None before the hello and once it ends."""

    @property
    def device_id(self) -> str:
        """The device that its hello named; empty if it named none, and before the hello."""

    @property
    def peer(self) -> str:
        """The other side's address; empty while the connection is not up."""

    @property
    def unread_bytes(self) -> int:
        """About how much memory it holds in what its peer does not read, and in what was not taken from it yet."""

    def label(self) -> str:
        """Who this is, for the log."""

    def end(self, code: str, message: str = "", retry_ms: int | None = None) -> None:
        """Say goodbye (nothing, if `code` is empty) and close. `retry_ms`: None = what is usual for the code.
        Idempotent."""

    def abort(self) -> None:
        """Drop the connection without a word. Idempotent."""

    def make_way(self, now_ms: int) -> None:
        """End at once, because another link is given the place of one that has not said hello."""

    # --- called when its time has come in a queue -------------------------------------------------------------

    def resume(self, now_ms: int) -> None:
        """Serve it again after a while in which it was not read."""

    def wait_longer(self, now_ms: int) -> None:
        """It stays in its line, because its user has no credit yet."""

    def check_hello(self) -> None:
        """The time for its hello is over."""

    def check_partial(self, now_ms: int) -> None:
        """The time for the rest of a frame is over."""

    def check_ending(self, now_ms: int) -> None:
        """The time for its end is over."""
