"""How long links wait for other nodes: requests that are under way, in the order in which they are given up."""

from __future__ import annotations

from typing import Final

from presenced.cluster.links.relay import Errand, Relay
from presenced.core.delays import DelayQueue

PATIENCE_MS: Final = 5_000
"""How long a request waits for the node that decides it."""

ATTACHED_MS: Final = 1_000
"""How long it waits for the link's own device to be attached elsewhere: most of what a link asks first are questions,
which need no other node. The home may be one that has died and is not taken for dead yet."""


class Waits:
    """Deadlines, of requests that may be done with by then."""

    def __init__(self) -> None:
        self._answers: DelayQueue[tuple[Relay, Errand]] = DelayQueue(PATIENCE_MS)
        self._openings: DelayQueue[tuple[Relay, Errand]] = DelayQueue(ATTACHED_MS)

    def await_answer(self, relay: Relay, request: Errand, now_ms: int) -> None:
        """The link is told if this has no answer in time."""
        self._answers.add(now_ms, (relay, request))

    def await_opening(self, relay: Relay, request: Errand, now_ms: int) -> None:
        """What comes behind this waits no longer for it if the device is not attached in time."""
        self._openings.add(now_ms, (relay, request))

    @property
    def next_ms(self) -> int | None:
        """When the first is due."""
        late_ms, open_ms = self._answers.next_ms, self._openings.next_ms
        return late_ms if open_ms is None or (late_ms is not None and late_ms < open_ms) else open_ms

    def take_due(self, now_ms: int) -> list[tuple[Relay, Errand]]:
        """Those that are due, of which some may be done with. O(these)."""
        return self._openings.take_due(now_ms) + self._answers.take_due(now_ms)
