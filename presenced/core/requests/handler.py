"""What is known of a type of message before one comes: how it is applied, what it costs, and when it is answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from presenced.core.engine import Engine
from presenced.core.model import Session

AT_ONCE: Final = 0
IN_ORDER: Final = 1
FROM_RECORDS: Final = 2


@dataclass(frozen=True, slots=True)
class Handler:
    """How the messages of one type are handled. No named tuple: the fields are read for every message, and those of a
    tuple take five times as long."""

    apply: Callable[[Engine, Session, int, Any], None]
    """Checks the message, makes one call of the engine or of a part of it that applies it, and replies. Raises
    `RequestError` or `AddressError` for what is wrong with the message, and has changed nothing then."""
    cost: Callable[[Engine, Session, Any], int] | None = None
    """Units of work besides those of the frame (protocol.md, section 4.5), known before it is applied. O(1), or
    O(devices named). None = the frame is all that it costs."""
    timing: int = AT_ONCE
    """AT_ONCE: it is applied when it is read. FROM_RECORDS: it is answered from the records of its subject; if one of
    these changes in this turn, the answer waits for the turn's end, since to make it at once would make two changes of
    one, with something said before the question and after it. IN_ORDER: it is no such question, but must not overtake
    one that its link has asked."""
    changes: bool = False
    """It changes something that others than its own link may notice. It is refused on a link whose token only reads
    (section 1.4)."""
    has_long_answer: bool = False
    """The answer may be much longer than the request. It is refused while memory is very short (section 8.1): thousands
    of links that ask and do not read would fill any memory."""
