"""The progress of a start. There is no status yet, because nothing may look at the engine while the data directory is
read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from presenced.server.server import Server


class Starting(NamedTuple):
    """How far a start is."""

    sentence: str
    loop: str
    uptime_ms: int


def starting_of(server: Server, read_percent: int) -> Starting | None:
    """How far the start of `server` is; None once it is over. O(1)."""
    if server.state != "starting":
        return None
    sentence = "the daemon is starting"
    if server.settings.data_dir or server.settings.storage_url:
        where = "data directory" if server.settings.data_dir else "store"
        sentence += f" and has read {read_percent} % of the {where}"
    if (now := server.cluster_status()) is not None:
        sentence += f", and the node {now.node} is {now.state}"
    uptime_ms = server.clocks.monotonic_ms() - server.stats.started_ms
    return Starting(sentence, server.settings.loop, uptime_ms)
