"""The open loop on a graph that two nodes serve: waits for changes of users of the same node and of the other."""

from __future__ import annotations

from bench.machine.meter import add_figure
from bench.peers.connected_graph import ConnectedGraph
from bench.peers.nodes import PresencedPair
from bench.peers.paced_graph import PacedGraph
from bench.results.histogram import Histogram
from bench.results.outcome import ServerOutcome

LOCAL, REMOTE = "change_to_watcher_local", "change_to_watcher_remote"


class PacedPair(PacedGraph):
    """As `PacedGraph`, and tells the two kinds of waits apart."""

    def __init__(self, graph: ConnectedGraph) -> None:
        super().__init__(graph)
        self._rounds = {LOCAL: Histogram(), REMOTE: Histogram()}
        self._whole = {LOCAL: Histogram(), REMOTE: Histogram()}

    def play(self, rate_per_s: float, seconds: float, seed: int, outcome: ServerOutcome) -> None:
        """One round, as there."""
        self._rounds = {LOCAL: Histogram(), REMOTE: Histogram()}
        super().play(rate_per_s, seconds, seed, outcome)
        for what, waits in self._rounds.items():
            self._whole[what].add(waits)
            name = what.rpartition("_")[2]
            add_figure(outcome, f"{name}_p50_us", waits.latency().p50_us)
            add_figure(outcome, f"{name}_p99_us", waits.latency().p99_us)
            outcome.latency[what] = self._whole[what].latency()

    def _note(self, latency: Histogram, watcher: str, user: str, waited_ns: int) -> None:
        super()._note(latency, watcher, user, waited_ns)
        place_of = PresencedPair.place_of
        self._rounds[LOCAL if place_of(watcher) == place_of(user) else REMOTE].record(waited_ns)
