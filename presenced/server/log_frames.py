"""Which facts of a turn stand in one frame of the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from presenced.core.records import EventAdded, Fact

FACTS_PER_FRAME_MAX = 8_192
"""Facts in one frame of the log at most: some kilobytes each at worst, so that a frame stays below its cap."""


def frames_of(facts: Sequence[Fact]) -> Iterator[tuple[Sequence[Fact], bool]]:
    """The facts in pieces that a frame may hold, and whether each is the last. An event is never parted from the fact
    behind it, of which it tells: a log that ends between the two would know of one and not of the other. O(facts)."""
    at = 0
    while at < len(facts):
        end = at + FACTS_PER_FRAME_MAX
        while end < len(facts) and isinstance(facts[end - 1], EventAdded):
            end += 1
        yield facts[at:end], end >= len(facts)
        at = end
