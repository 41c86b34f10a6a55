"""How many requests may be on their way to the server at a time. Pure.

The server reads a user's links no faster than the pace that it announces in the welcome, and all links of the user
share it. What is sent beyond that waits in its buffers, where it holds up heartbeats, and where its time runs out
although nobody has looked at it. So it waits here, and leaves as replies come in: at the server's own pace, whatever
each request costs it and whoever else asks for the same user. Spacing by a clock was rejected, since it knows neither.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

SHARE_MS = 500
"""So much work of the server's is on its way: a link with a round trip below that is served at the full pace, and where
sixteen devices of a user do the same, none waits longer for a reply than eight seconds."""

LEAST = 16
"""Requests on their way at least, however slow the pace."""


class HasId(Protocol):
    """A request."""

    @property
    def id(self) -> int: ...


R = TypeVar("R", bound=HasId)


class SendWindow(Generic[R]):
    """The requests of one link: on their way, and waiting to leave."""

    def __init__(self, units_per_s: int, is_wanted: Callable[[R], bool]) -> None:
        """`units_per_s`: the pace of the welcome; 0 = none is told, and nothing waits. A request that `is_wanted` no
        more when it would leave is dropped."""
        self._most = max(LEAST, units_per_s * SHARE_MS // 1000) if units_per_s else 0
        self._is_wanted = is_wanted
        self._sent: dict[int, None] = {}
        self._groups: deque[Sequence[R]] = deque()

    @property
    def is_waiting(self) -> bool:
        return bool(self._groups)

    def put(self, group: Sequence[R]) -> Sequence[R]:
        """Requests that belong together and leave in one write; returns what may leave now. O(leaving)."""
        if not self._most:
            return group
        if not self._groups and self._has_room(len(group)):
            self._leave(group)
            return group
        self._groups.append(group)
        return ()

    def answered(self, request_id: int) -> None:
        """A reply has come. Ask `take` what may leave now."""
        self._sent.pop(request_id, None)

    def take(self) -> list[R]:
        """What may leave by now, in the order in which it was put."""
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
            self._sent[request.id] = None
