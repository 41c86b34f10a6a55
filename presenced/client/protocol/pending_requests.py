"""Requests that wait for their replies, and what may be done with them when the link is lost.

Most requests state an absolute value or ask a question, so that applying one twice is applying it once: they are sent
again on the next link. The exceptions are named in `ONCE`; they are given up instead. Which messages are requests and
which are replies follows from the wire's own table: both bear an id (protocol.md, "Messages").
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final, Generic, Protocol, TypeVar

from presenced.errors import RequestError
from presenced.wire import messages
from presenced.wire.codec import CLIENT_MESSAGES, SERVER_MESSAGES
from presenced.wire.messages import Error, SetDevice, SetStatus


class Request(Protocol):
    """A message of the client's that the server answers."""

    @property
    def id(self) -> int: ...


class Reply(Protocol):
    """The server's answer to the request of the same id; an `Error` is one of them."""

    @property
    def id(self) -> int: ...


def _with_id(known: dict[int, type[messages.Message]]) -> frozenset[type]:
    return frozenset(one for one in known.values() if "id" in one.__struct_fields__)


REQUESTS: Final = _with_id(CLIENT_MESSAGES)
REPLIES: Final = _with_id(SERVER_MESSAGES)

Make = Callable[[int], Request]
"""Builds a request from its id."""

OnReply = Callable[[Reply], None]
"""Called with the reply as it is read, before anything that the server sent after it."""

Send = Callable[[Make, OnReply | None], None]
"""Sends a request that nobody waits for, if there is a link; without one it is dropped."""

QUESTIONS = (
    *(messages.Ping, messages.Get, messages.Who, messages.GetDevices, messages.GetClaims, messages.GetActivity),
    *(messages.FindClaims, messages.GetMembers, messages.GetSync),
    *(messages.GetContacts, messages.GetBlocked, messages.GetAudience),
    *(messages.Explain, messages.Route),
)
"""Requests that need not be sent once nobody waits for the answer. Any other request may be half of something, as an
unwatch is, and is sent even if its caller has turned away."""

LONG = (messages.Await,)
"""Requests whose answer comes when it is true, perhaps days later."""

ONCE = (messages.AddActivity,)
"""Requests that would be there twice if they were applied twice."""

W = TypeVar("W", bound=Hashable)


class PendingRequest(Generic[W]):
    """A request that has no reply yet. `waiters` is empty for the client's own requests."""

    __slots__ = ("holds_until_ms", "is_bound", "message", "on_reply", "sent_ms", "since_ms", "waiters")

    def __init__(self, message: Request, now_ms: int, on_reply: OnReply | None, is_bound: bool = False) -> None:
        self.message = message
        self.is_bound = is_bound
        """It continues what was said on the present link, and means something else on another."""
        for_ms = getattr(message, lasting_field(message), 0)
        self.holds_until_ms = now_ms + for_ms if for_ms else 0
        """When what it states ends (0 = never): the time that a request waits for a link is taken off its duration."""
        self.on_reply = on_reply
        self.since_ms = now_ms
        """When it was asked for, or when the link was lost on which it was still waiting to leave."""
        self.sent_ms: int | None = None
        """When it left for the first time."""
        self.waiters: dict[W, None] = {}

    @property
    def is_repeatable(self) -> bool:
        return not self.is_bound and (self.sent_ms is None or not isinstance(self.message, ONCE))


def lasting_field(message: Request) -> str:
    """The field that says for how long holds what the request states."""
    return "for_at_most_ms" if isinstance(message, messages.Attach) else "for_ms"


def is_long(message: Request) -> bool:
    """Whether the answer may come much later."""
    return isinstance(message, LONG)


def statement_key(message: Request) -> tuple[type, str, str] | None:
    """What a statement is about, if a later statement about the same can replace it; else None."""
    if isinstance(message, SetStatus | SetDevice):
        return type(message), message.user, message.device
    return None


def covers(newer: Request, older: Request) -> bool:
    """Whether `newer` sets everything that `older` set. Both have the same key."""
    pairs: list[tuple[object, object]]
    if isinstance(newer, SetDevice) and isinstance(older, SetDevice):
        pairs = [(newer.status, older.status), (newer.priority, older.priority)]
        pairs += [(newer.name, older.name), (newer.meta, older.meta)]
    elif isinstance(newer, SetStatus) and isinstance(older, SetStatus):
        pairs = [(newer.status, older.status), (newer.text, older.text), (newer.emoji, older.emoji)]
    else:
        return False
    return all(new is not None or old is None for new, old in pairs)


def error_of(error: Error) -> RequestError:
    """The exception for an error frame. A code of a later version counts as temporary if it says when to retry."""
    temporary = True if error.retry_ms else None
    return RequestError(error.code, error.message, temporary=temporary, retry_ms=error.retry_ms)
