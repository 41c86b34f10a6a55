"""What is told of a server that is not there yet: while the data directory is read, nothing may look at the engine, and
a status cannot be taken."""

from __future__ import annotations

import platform
import time
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from presenced import __version__
from presenced.ops.metrics import STATES

if TYPE_CHECKING:
    from presenced.server.server import Server


class Starting(NamedTuple):
    """How far a start is."""

    sentence: str
    loop: str
    uptime_ms: int

    def metrics(self) -> bytes:
        """The metrics that need no engine, under the names that they have in `metrics`. What counts presence is
        absent: a zero would say that everybody has gone."""
        registry = CollectorRegistry()
        registry.register(_StartingCollector(self))
        return generate_latest(registry)


def starting_of(server: Server, read_percent: int) -> Starting | None:
    """How far the start of `server` is; None once it is over. O(1)."""
    if server.state != "starting":
        return None
    sentence = "the daemon is starting"
    if server.settings.data_dir:
        sentence += f" and has read {read_percent} % of the data directory"
    uptime_ms = time.monotonic_ns() // 1_000_000 - server.stats.started_ms
    return Starting(sentence, server.settings.loop, uptime_ms)


class _StartingCollector(Collector):
    def __init__(self, now: Starting) -> None:
        self._now = now

    def collect(self) -> list[Metric]:
        """All of them. Without the time of the start, which is worked out by the first status: one that is a
        millisecond different would pass for another start."""
        about = {"version": __version__, "python": platform.python_version(), "loop": self._now.loop}
        state = GaugeMetricFamily("presenced_state", "1 for the state that the server is in.", labels=["state"])
        for name in STATES:
            state.add_metric([name], float(name == "starting"))
        return [
            InfoMetricFamily("presenced_build", "What runs here.", about),
            state,
            GaugeMetricFamily("presenced_ready", "1 if clients may be sent here (as /readyz says).", 0.0),
            GaugeMetricFamily("presenced_uptime_seconds", "Since the process started.", self._now.uptime_ms / 1000),
        ]
