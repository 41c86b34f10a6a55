"""How many requests may be on their way to the server at a time.

The server reads a user's links no faster than the pace that it announces in the welcome, and all links of the user
share that pace (protocol.md 4.5). A request sent beyond it waits in the server's buffers, delays heartbeats there, and
may time out before the server reads it. So requests wait here and leave as replies come in: at the server's own pace,
whatever each request costs and whichever other link asks for the same user. Spacing by a clock was rejected: it knows
neither.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

SHARE_MS = 500
"""How much of the server's work may be on its way. A link with a round trip below this gets the full pace, and where
sixteen devices of a user do the same, none waits longer than eight seconds for a reply."""

LEAST = 16
"""How many requests may be on their way however slow the pace is."""


class HasId(Protocol):
    """A request."""

    @property
    def id(self) -> int: ...


R = TypeVar("R", bound=HasId)


class SendWindow(Generic[R]):
    """The requests of one link: on their way, and waiting to leave."""

    def __init__(
        self, units_per_s: int, is_wanted: Callable[[R], bool], is_long: Callable[[R], bool] = lambda request: False
    ) -> None:
        """`units_per_s`: the pace of the welcome; 0 = the server told none, and nothing waits. A request for which
        `is_wanted` is false when it would leave is dropped. One that `is_long` may be answered days later, and is not
        on its way for so long."""
        self._most = max(LEAST, units_per_s * SHARE_MS // 1000) if units_per_s else 0
        self._is_wanted = is_wanted
        self._is_long = is_long
        self._sent: dict[int, None] = {}
        self._groups: deque[Sequence[R]] = deque()

    @property
    def is_waiting(self) -> bool:
        return bool(self._groups)

    def put(self, group: Sequence[R]) -> Sequence[R]:
        """Requests that belong together and leave in one write; returns the requests that may leave now. O(leaving)."""
        if not self._most:
            return group
        if not self._groups and self._has_room(len(group)):
            self._leave(group)
            return group
        self._groups.append(group)
        return ()

    def has_sent(self, requests: Sequence[R]) -> None:
        """These have left already, behind the hello of the link."""
        self._leave(requests)

    def answered(self, request_id: int) -> None:
        """A reply has come. Ask `take` which requests may leave now."""
        self._sent.pop(request_id, None)

    def take(self) -> list[R]:
        """The requests that may leave now, in the order in which they were put."""
        leaving: list[R] = []
        while self._groups:
            group = [request for request in self._groups[0] if self._is_wanted(request)]
            if not self._has_room(len(group)):
                break
            self._groups.popleft()
            self._leave(group)
            leaving += group
        return leaving

    def _has_room(self, count: int) -> bool:
        """A group that is larger than the window has it for itself."""
        return not self._sent or len(self._sent) + count <= self._most

    def _leave(self, group: Sequence[R]) -> None:
        for request in group:
            if not self._is_long(request):
                self._sent[request.id] = None
