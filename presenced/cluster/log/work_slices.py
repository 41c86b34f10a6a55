"""Work that grows with the number of users, done in slices between other turns: what is to be done first. Pure.

A node takes over users of nodes that are gone, makes lost entries good, looks through the users of its own disk, and
sends users to nodes that have joined. Each of these decides what the next one has to do, so that there is one order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from presenced.cluster.log.arrival import Arrival
from presenced.cluster.log.lessons import Lessons
from presenced.cluster.log.lost_entries import LostEntries
from presenced.cluster.log.node import Node


class WorkSlices:
    """The work of one node."""

    def __init__(
        self,
        node: Node,
        lost_entries: LostEntries,
        arrival: Arrival,
        lessons: Lessons,
        homes_changed: Callable[[Sequence[str], int], object],
    ) -> None:
        """`homes_changed` is called with users whose home has changed, and the time."""
        self._node = node
        self._lost_entries = lost_entries
        self._arrival = arrival
        self._lessons = lessons
        self._homes_changed = homes_changed

    @property
    def has_work(self) -> bool:
        """Whether `go_on` has something to do now."""
        # Asked behind each batch: without a generator.
        return self._inherits or self._lost_entries.has_work or self._arrival.has_work or self._lessons.has_work

    @property
    def _inherits(self) -> bool:
        """Whether there are users to take over. A node that does not serve yet is nobody's heir, and it does not know
        yet who the heirs are."""
        return self._node.inheritance.has_work and self._node.mine.is_ready

    def go_on(self, now_ms: int) -> None:
        """Do one slice of what waits. First users of nodes that are gone are taken over, then lost entries are made
        good, then the users of the own disk are looked through, and last users are sent to nodes that have joined. O(a
        slice)."""
        inheritance = self._node.inheritance
        if self._inherits:
            changed = inheritance.go_on(now_ms)
            if changed:
                self._homes_changed(changed, now_ms)
            if not inheritance.has_work:
                self._lessons.begin_again()
        elif self._lost_entries.has_work:
            self._lost_entries.append_some(now_ms)
        elif self._arrival.has_work:
            # Before users are sent to others: it decides which users are this node's.
            self._arrival.go_on(now_ms)
            if not self._arrival.has_work:
                self._lessons.begin_again()
        else:
            self._lessons.go_on(now_ms)
