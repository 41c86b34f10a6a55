"""What a client waits for others to be, over all its links: asked on each new link with the rest of its time.

The server keeps no await over the end of a link, and counts the holding time from when the status began, so that to ask
again is to go on (protocol.md, 23.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from presenced.client.protocol.pending_requests import Make, OnReply, Reply, Send, error_of
from presenced.errors import PresenceError
from presenced.wire.messages import Await, Awaited, CancelAwait, Error, Status

Told = Callable[[Awaited | PresenceError | None], object]
"""Takes the answer, or why there is none; None = the owner closed the client."""


class AwaitedStatus:
    """One await. `due_ms` is when its time is over, by the clock of the client."""

    __slots__ = ("due_ms", "kinds", "least_ms", "request_id", "statuses", "told", "user")

    def __init__(
        self, user: str, statuses: Iterable[Status], kinds: Iterable[str], least_ms: int, due_ms: int, told: Told
    ) -> None:
        self.user = user
        self.statuses = list(statuses)
        self.kinds = list(kinds)
        self.least_ms = least_ms
        self.due_ms = due_ms
        self.told = told
        self.request_id = 0
        """Of the request on the present link; 0 = it was not asked on it."""


class AwaitedStatuses:
    """All awaits of a client that are not answered. A `Part`."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._awaited: dict[AwaitedStatus, None] = {}

    def add(self, awaited: AwaitedStatus, now_ms: int) -> None:
        """Ask, now or on the next link, until there is an answer."""
        self._awaited[awaited] = None
        self._send(*self._ask(awaited, now_ms))

    def release(self, awaited: AwaitedStatus) -> None:
        """Nobody waits for it any longer: the server is told, unless it has answered. Idempotent."""
        if self._awaited.pop(awaited, 0) is None and awaited.request_id:
            request = awaited.request_id
            self._send(lambda request_id: CancelAwait(request_id, request), None)

    def standing(self, now_ms: int) -> Iterator[tuple[Make, OnReply | None]]:
        """See `Part`."""
        for awaited in self._awaited:
            yield self._ask(awaited, now_ms)

    def end(self, error: PresenceError | None) -> None:
        """See `Part`."""
        awaited, self._awaited = self._awaited, {}
        for one in awaited:
            one.told(error)

    def _ask(self, awaited: AwaitedStatus, now_ms: int) -> tuple[Make, OnReply]:
        left_ms = max(1, awaited.due_ms - now_ms)

        def make(request_id: int) -> Await:
            awaited.request_id = request_id
            return Await(request_id, awaited.user, left_ms, awaited.statuses, awaited.kinds, awaited.least_ms)

        def answered(reply: Reply) -> None:
            if reply.id != awaited.request_id or self._awaited.pop(awaited, 0) is not None:
                return
            if isinstance(reply, Awaited):
                awaited.told(reply)
            elif isinstance(reply, Error):
                awaited.told(error_of(reply))

        return make, answered
