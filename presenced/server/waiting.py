"""Links that wait for a fixed time: for their hello, for the rest of a frame, to be read again, to be cut off.

Each queue is plain first in, first out; what waits in it is looked at again when it comes out, and by then has mostly
settled itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from presenced import limits
from presenced.core.delays import DelayQueue

if TYPE_CHECKING:
    from presenced.server.link import Link


class WaitingLinks:
    """The queues, and the links with frames left over for the next turn."""

    def __init__(self) -> None:
        self.hello_due: DelayQueue[Link] = DelayQueue(limits.HELLO_TIMEOUT_MS)
        self.partials: DelayQueue[Link] = DelayQueue(limits.FRAME_TIMEOUT_MS)
        self.throttled: DelayQueue[Link] = DelayQueue(limits.THROTTLE_MS)
        self.ending: DelayQueue[Link] = DelayQueue(limits.CLOSE_TIMEOUT_MS)
        self.backlog: dict[Link, None] = {}
        """Links with whole frames left over for the next turn: each once, for it is served so much of them and no
        more."""

    def look_at(self, now_ms: int) -> None:
        """Go on with every link whose time has come. O(links that come out)."""
        if self.backlog:
            backlog, self.backlog = self.backlog, {}
            for link in backlog:
                link.resume(now_ms)
        for link in self.throttled.take_due(now_ms):
            link.resume(now_ms)
        for link in self.partials.take_due(now_ms):
            link.check_partial(now_ms)
        for link in self.hello_due.take_due(now_ms):
            link.check_hello()
        for link in self.ending.take_due(now_ms):
            link.check_ending()

    def longest_without_hello(self, now_ms: int) -> Link | None:
        """Of the links that have not said hello the one that has had longest for it, if that is long enough to give its
        place to another. It is taken out of the queue. Amortized O(1)."""
        until_ms = now_ms + limits.HELLO_TIMEOUT_MS - limits.HELLO_PATIENCE_MS
        while (link := self.hello_due.take_first(until_ms)) is not None:
            if link.awaits_hello:
                return link
        return None

    @property
    def next_ms(self) -> int | None:
        """When the first comes out; 0 = at once, None = none waits."""
        if self.backlog:
            return 0
        first: int | None = None
        for queue in (self.hello_due, self.partials, self.throttled, self.ending):
            queue_ms = queue.next_ms
            if queue_ms is not None and (first is None or queue_ms < first):
                first = queue_ms
        return first
