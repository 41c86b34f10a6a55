"""Deadlines of links: for the hello, for the rest of a frame, for the end.

Each queue is first in, first out. An entry is looked at when it comes out, and by then has mostly settled itself.
"""

from __future__ import annotations

from presenced import limits
from presenced.core.delays import DelayQueue
from presenced.server.link import AWAITING, Link


class Deadlines:
    """Three queues, each with one delay for all that is in it."""

    def __init__(self) -> None:
        self.hellos: DelayQueue[Link] = DelayQueue(limits.HELLO_TIMEOUT_MS)
        """Links that were accepted."""
        self.partials: DelayQueue[Link] = DelayQueue(limits.FRAME_TIMEOUT_MS)
        """Links with a frame that is not whole."""
        self.ends: DelayQueue[Link] = DelayQueue(limits.CLOSE_TIMEOUT_MS)
        """Links that wait for the disk or for their peer to close."""

    def run_due(self, now_ms: int) -> None:
        """Check every link whose time is over. O(links that come out)."""
        for link in self.partials.take_due(now_ms):
            link.check_partial(now_ms)
        for link in self.hellos.take_due(now_ms):
            link.check_hello()
        for link in self.ends.take_due(now_ms):
            link.check_ending(now_ms)

    def take_longest_without_hello(self, now_ms: int) -> Link | None:
        """Remove and return the link that has had longest to say hello, if that is long enough to give its place to
        another. Amortized O(1)."""
        until_ms = now_ms + limits.HELLO_TIMEOUT_MS - limits.HELLO_PATIENCE_MS
        while (link := self.hellos.take_first(until_ms)) is not None:
            if link.state == AWAITING:
                return link
        return None

    @property
    def next_ms(self) -> int | None:
        """When the first entry comes out; None if there is none."""
        first: int | None = None
        for queue in (self.hellos, self.partials, self.ends):
            queue_ms = queue.next_ms
            if queue_ms is not None and (first is None or queue_ms < first):
                first = queue_ms
        return first
