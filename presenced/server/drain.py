"""The end of a server in order: links are closed one after the other, each told when to come back, and the state is
left on disk as a snapshot.

After the lame-duck mode of NATS: closing all at once would bring all of them back at once.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

from presenced import limits
from presenced.server.fact_log import Log

if TYPE_CHECKING:
    from presenced.server.server import Server

STEP_S = 0.02
LINK_MS = 1
"""The closes are spread over this much for each link, up to the configured time: a few links end at once."""

RETURN_MS_MIN = 200
RETURN_MS_MAX = 2_000
RETURN_LINKS_PER_MS = 5
"""Back to the next daemon over two seconds, or over one for each five thousand links if that is more."""

LOOK_S = 0.01


async def close_links(server: Server, until_ms: int) -> None:
    """Say `going_away` to every link, spread over time, and cut off those that do not close; at the latest at
    `until_ms` of the monotonic clock all are gone."""
    links = [link for link in server.links]
    began_ms = _now_ms()
    spread_ms = min(server.settings.drain_spread_ms, len(links) * LINK_MS, max(0, until_ms - began_ms))
    return_ms = max(RETURN_MS_MAX, len(links) // RETURN_LINKS_PER_MS)
    done = 0
    while done < len(links) and server.failed is None:
        passed_ms = _now_ms() - began_ms
        due = len(links) if passed_ms >= spread_ms else len(links) * passed_ms // spread_ms
        for link in links[done:due]:
            # Not before the last has been closed: until then nobody listens.
            left_ms = max(0, spread_ms - passed_ms)
            link.end("going_away", retry_ms=left_ms + random.randint(RETURN_MS_MIN, return_ms))
        done = max(done, due)
        if done < len(links):
            await asyncio.sleep(STEP_S)
    give_up_ms = min(_now_ms() + limits.CLOSE_TIMEOUT_MS, until_ms)
    while server.links and _now_ms() < give_up_ms:
        await asyncio.sleep(LOOK_S)
    for link in list(server.links):
        link.abort()


async def finish_snapshot(log: Log, until_ms: int) -> None:
    """Let the snapshot under way come to its end, if it does so in time and there is room for it; the log has
    everything either way."""
    log.hurry()
    while log.snapshot_running and not log.refusal and _now_ms() < until_ms:
        await asyncio.sleep(LOOK_S)


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
