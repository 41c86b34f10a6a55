"""Links are ended while memory is short: those first whose peers leave most of what they were sent unread."""

from __future__ import annotations

import asyncio
import heapq

from presenced.server.link import Link
from presenced.server.links import Links
from presenced.server.memory import Memory, retry_ms

SLICE_LINKS = 1_000
"""Links that are weighed before the loop looks at its sockets again."""

ENDS_MIN = 4
ENDS_SHARE = 100
"""One link in `ENDS_SHARE` is ended in each second, and at least `ENDS_MIN`."""

HEAVY_BYTES = 65_536
"""A link that holds less is not ended, because that would free nothing that is worth a lost link. A user's link that
asks for nothing and does not read stays below."""

ENDED = "the server is short of memory, and this link was owed more than others; come back after the given delay"


class Shedding:
    """Ends the heaviest links, one round at a time."""

    def __init__(self, memory: Memory, links: Links) -> None:
        self._memory = memory
        self._links = links
        self._round: asyncio.Task[None] | None = None

    def check(self, now_ms: int) -> None:
        """Once a second: begin a round if links are to be ended and none is under way."""
        if self._memory.wants_room(now_ms) and self._round is None:
            self._round = asyncio.get_running_loop().create_task(self._end_heaviest())

    async def _end_heaviest(self) -> None:
        """O(links), in slices."""
        try:
            for link in await self._heaviest():
                self._memory.ended_links += 1
                link.end("busy", ENDED, retry_ms())
        finally:
            self._round = None

    async def _heaviest(self) -> list[Link]:
        found: list[tuple[int, int, Link]] = []
        links = list(self._links)
        most = max(ENDS_MIN, len(links) // ENDS_SHARE)
        for at, link in enumerate(links):
            weight_bytes = link.unread_bytes
            if weight_bytes >= HEAVY_BYTES:
                # The number keeps links from being compared.
                entry = (weight_bytes, at, link)
                if len(found) < most:
                    heapq.heappush(found, entry)
                else:
                    heapq.heappushpop(found, entry)
            if at % SLICE_LINKS == SLICE_LINKS - 1:
                await asyncio.sleep(0)
        return [link for _, _, link in sorted(found, reverse=True)]
