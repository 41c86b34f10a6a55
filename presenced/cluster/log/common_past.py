"""Where a log that has lost its end still agrees with what this node has read of it."""

from __future__ import annotations

from presenced.backplane.errors import Rewound
from presenced.backplane.port import Backplane
from presenced.cluster.log.memory import LogMemory


async def common_past(backplane: Backplane, memory: LogMemory, found: Rewound) -> tuple[int, int] | None:
    """Position and tag of the last entry that both have, where the log holds what `found` says; None = they have none
    in common within what is remembered. Raises what the backplane raises. O(what is remembered)."""
    if memory.tag_at(found.end_n) == found.end_tag:
        return found.end_n, found.end_tag
    last: tuple[int, int] | None = None
    if not memory.oldest:
        return None
    after = max(memory.oldest, found.first_n) - 1
    # The entry before the log's first was dropped, so its tag cannot be compared. It counts as shared, unless it is the
    # last one that we read.
    if after < memory.newest and (tag := memory.tag_at(after)) is not None:
        last = after, tag
    while True:
        entries = await backplane.read(after)
        for entry in entries:
            if memory.tag_at(entry.n) != entry.tag:
                return last
            last = entry.n, entry.tag
        if not entries:
            return last
        after = entries[-1].n
