"""The end of one link: the replies that it is still owed, and the last that it is told (protocol.md, 4.4)."""

from __future__ import annotations

from presenced import limits
from presenced.core.model import Session
from presenced.core.outboxes import Outboxes
from presenced.errors import CODES
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Goodbye


def goodbye_frame(code: str, message: str = "", retry_ms: int | None = None) -> bytes:
    """The frame that tells a peer why its link ends. Without a message, it has the meaning of the code, and without a
    delay the usual one: a client that was kicked comes back by itself, and not at once."""
    if retry_ms is None:
        retry_ms = limits.KICK_RETRY_MS if code == "kicked" else 0
    text = (message or CODES[code].meaning)[: limits.MESSAGE_CHARS_MAX]
    return frame(encode(Goodbye(code, text, retry_ms)))


class Farewell:
    """What a link that ends still sends. A link has one only while it ends: an idle link does not pay for it."""

    __slots__ = ("session", "goodbye", "closing_ms")

    def __init__(self, session: Session | None, goodbye: bytes) -> None:
        self.session = session
        """Its session, whose replies are written before the goodbye; None once all is written."""
        self.goodbye = goodbye
        """What is written last; empty if nothing is said."""
        self.closing_ms = 0
        """When the goodbye was said."""

    @property
    def waits_for_replies(self) -> bool:
        """Whether replies that were promised have not been made yet."""
        return self.session is not None and self.session.unanswered > 0

    def close(self, now_ms: int, outboxes: Outboxes) -> bytes:
        """All that is still to be written, with the goodbye behind it. Nothing is added to it from now on."""
        session, self.session = self.session, None
        self.closing_ms = now_ms
        last = outboxes.take_last(session) if session is not None else []
        last.append(self.goodbye)
        return b"".join(last)

    def is_late(self, now_ms: int) -> bool:
        """Whether the peer should have closed its half by now."""
        return now_ms - self.closing_ms >= limits.CLOSE_TIMEOUT_MS

    def drop(self, outboxes: Outboxes) -> None:
        """The connection is gone: what was still to be written is dropped."""
        if self.session is not None:
            outboxes.end(self.session)
