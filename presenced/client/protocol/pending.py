"""Requests that wait for their replies, and what may be done with them when the link is lost. Pure.

Most requests state an absolute value or ask a question, so that applying one twice is applying it once: they are sent
again on the next link. The few that are not so are named in `ONCE`; they are given up instead.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar, get_args

from presenced.wire import messages
from presenced.wire.messages import Error, SetDevice, SetStatus

Request = (
    messages.Ping
    | messages.SetStatus
    | messages.SetDevice
    | messages.Get
    | messages.Who
    | messages.Watch
    | messages.Unwatch
    | messages.Attach
    | messages.Detach
    | messages.Forget
    | messages.GetDevices
    | messages.Touch
    | messages.AddClaim
    | messages.EndClaim
    | messages.GetClaims
    | messages.FindClaims
    | messages.SetSchedule
    | messages.AddActivity
    | messages.GetActivity
    | messages.Join
    | messages.Leave
    | messages.GetMembers
    | messages.WatchChannel
    | messages.UnwatchChannel
    | messages.Sync
    | messages.GetSync
    | messages.Follow
    | messages.Command
    | messages.WatchAll
)
Reply = (
    messages.Done
    | messages.Pong
    | messages.Records
    | messages.WhoPage
    | messages.DeviceList
    | messages.ClaimList
    | messages.ClaimsPage
    | messages.ActivityList
    | messages.MembersPage
    | messages.SyncState
    | messages.Following
    | messages.CommandReply
)

Make = Callable[[int], Request]
"""Builds a request from its id."""

OnReply = Callable[[Reply | Error], None]
"""Called with the reply as it is read, before anything that the server sent after it."""

Send = Callable[[Make, OnReply | None], None]
"""Sends a request that nobody waits for, if there is a link; without one it is dropped."""

REQUESTS = frozenset(get_args(Request))
QUESTIONS = (
    *(messages.Ping, messages.Get, messages.Who, messages.GetDevices, messages.GetClaims, messages.GetActivity),
    messages.FindClaims,
    *(messages.GetMembers, messages.GetSync),
)
"""What need not be sent any more if nobody waits for the answer. What else was said before the caller turned away may
be half of something, as an unwatch is."""

ONCE = (messages.AddActivity,)
"""Applied twice, these would be there twice."""

W = TypeVar("W", bound=Hashable)


class Pending(Generic[W]):
    """A request without a reply. `waiters` is empty for the client's own requests."""

    __slots__ = ("holds_until_ms", "message", "on_reply", "sent_ms", "since_ms", "waiters")

    def __init__(self, message: Request, now_ms: int, on_reply: OnReply | None) -> None:
        self.message = message
        for_ms = getattr(message, "for_ms", 0)
        self.holds_until_ms = now_ms + for_ms if for_ms else 0
        """When what it states ends, so that a request that waited for a link does not hold longer for it; 0 = never."""
        self.on_reply = on_reply
        self.since_ms = now_ms
        """When it was asked, or when the link was lost on which it had not left yet."""
        self.sent_ms: int | None = None
        """When it left for the first time."""
        self.waiters: dict[W, None] = {}

    @property
    def is_repeatable(self) -> bool:
        return self.sent_ms is None or not isinstance(self.message, ONCE)


def subject_of(message: Request) -> tuple[type, str, str] | None:
    """What a statement is about, if a later one can cover it."""
    if isinstance(message, SetStatus | SetDevice):
        return type(message), message.user, message.device
    return None


def covers(newer: Request, older: Request) -> bool:
    """Does `newer` set everything that `older` set? Both are about the same."""
    if isinstance(newer, SetDevice) and isinstance(older, SetDevice):
        pairs = [(newer.status, older.status), (newer.priority, older.priority), (newer.name, older.name)]
    elif isinstance(newer, SetStatus) and isinstance(older, SetStatus):
        pairs = [(newer.status, older.status), (newer.text, older.text), (newer.emoji, older.emoji)]
    else:
        return False
    return all(new is not None or old is None for new, old in pairs)
