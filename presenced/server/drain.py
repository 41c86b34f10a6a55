"""Stops a server in order: closes the links one after the other, tells each when to come back, and finishes a snapshot.

This follows the lame-duck mode of NATS. If all links were closed at once, all clients would come back at once.
"""

from __future__ import annotations

import asyncio
import random
from typing import NamedTuple

from presenced import limits
from presenced.server.clocks import Clocks
from presenced.server.fact_log import Log
from presenced.server.links import Links

STEP_S = 0.02
LINK_MS = 1
"""The time of the spread for each link, up to the configured time. So a few links are closed almost at once."""

RETURN_MS_MIN = 200
RETURN_MS_MAX = 2_000
RETURN_LINKS_PER_MS = 5
"""Clients come back to the next daemon within two seconds, or within one second for each five thousand links if that is
longer."""

POLL_S = 0.01


class Stopping(NamedTuple):
    """A server that stops: it closes so many links, over at most `spread_ms`, and has ended after `timeout_ms`."""

    links: int
    spread_ms: int
    timeout_ms: int
    incarnation: int = 0
    """Of another node of the cluster: the life that ends."""


async def close_links(links: Links, until_ms: int, spread_ms: int, clocks: Clocks) -> None:
    """Send `going_away` to every link, spread over at most `spread_ms`, and abort the links that do not close. At
    `until_ms` of the monotonic clock all links are gone. O(links)."""
    now_ms = clocks.monotonic_ms
    everyone = list(links)
    began_ms = now_ms()
    spread_ms = min(spread_ms, len(everyone) * LINK_MS, max(0, until_ms - began_ms))
    return_ms = max(RETURN_MS_MAX, len(everyone) // RETURN_LINKS_PER_MS)
    done = 0
    while done < len(everyone) and not links.host.is_broken:
        passed_ms = now_ms() - began_ms
        due = len(everyone) if passed_ms >= spread_ms else len(everyone) * passed_ms // spread_ms
        for link in everyone[done:due]:
            # No client comes back before the last link is closed, because until then the next daemon does not listen.
            left_ms = max(0, spread_ms - passed_ms)
            link.end("going_away", retry_ms=left_ms + random.randint(RETURN_MS_MIN, return_ms))
        done = max(done, due)
        if done < len(everyone):
            await asyncio.sleep(STEP_S)
    give_up_ms = min(now_ms() + limits.CLOSE_TIMEOUT_MS, until_ms)
    while links and now_ms() < give_up_ms:
        await asyncio.sleep(POLL_S)
    links.abort_all()


async def finish_snapshot(log: Log, until_ms: int, clocks: Clocks) -> None:
    """Wait for the running snapshot to finish, until `until_ms`, and only while the disk has room. Nothing is lost
    without the snapshot, because the log has everything."""
    log.hurry()
    while log.snapshot_running and not log.refusal and clocks.monotonic_ms() < until_ms:
        await asyncio.sleep(POLL_S)
