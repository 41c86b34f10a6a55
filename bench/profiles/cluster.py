"""Profile `cluster`: what a daemon costs more as a node of a cluster, and what another node costs.

All servers run in one run and take turns, so that ratios tell also where others use the machine. A daemon without a
cluster, the only node of a cluster, and two nodes of another are on the core of the servers; the engines, each a Redis
that keeps nothing, are on the core of the load, as they would be on another machine.

1. The star, the graph, heartbeats and logins, with a cluster of one node beside none.
2. Changes that nobody watches: one at a time, so that each has a turn and a batch of its own, and 64 users at once.
   What the home uses beyond a daemon without a cluster, what the other node uses, and what the engine uses.
3. The graph on two nodes with watchers of everybody on both, beside the same graph on one daemon.
4. The same graph at half of the peak of two nodes, at times that are fixed beforehand: the waits for changes of the
   same node and of the other.
5. A node that joins a cluster which knows very many users: all of them there, and nine in ten of them away (`asleep_`).
"""

from __future__ import annotations

import gc
import os
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.load.contacts import random_graph
from bench.machine.cores import Cores, need_descriptors
from bench.machine.disk import choose_place
from bench.machine.meter import Measured, add_figure
from bench.machine.server import Server
from bench.peers.changes import Changers
from bench.peers.connected_graph import CPU, ConnectedGraph, open_graph
from bench.peers.login_target import LOGIN_CPU, LoginTarget
from bench.peers.node_arrival import arrivals
from bench.peers.nodes import PresencedNode, PresencedPair, start_engine
from bench.peers.paced_pair import PacedPair
from bench.peers.presenced import Presenced
from bench.peers.steps import SteppedServer
from bench.peers.storm import Storm, drain
from bench.results.goals import verdicts
from bench.results.outcome import OURS, Outcome, Progress, ServerOutcome, median, no_progress, partial
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Heartbeat

FIGURE = "cluster_cpu_us_per_changing_turn"
WAITS = (
    "local_p50_us",
    "local_p99_us",
    "remote_p50_us",
    "remote_p99_us",
    "changes_per_s",
    "generator_lag_p99_us",
    "core_taken_by_others",
)
WITHOUT = "without a cluster"
BEAT = frame(encode(Heartbeat(1500)))
SWEEPS = 10
TAKEN_MAX = 0.05
"""The share of a node's core that others may take in a run that judges waits."""

TOGETHER = 64

GOALS: Mapping[str, tuple[float, str]] = {
    "star_ratio": (1.02, "star, with a cluster over without"),
    "graph_ratio": (1.02, "graph, the same"),
    "heartbeat_ratio": (1.02, "heartbeat, the same"),
    "login_ratio": (1.03, "login, the same"),
    FIGURE: (25.0, "us of CPU for each changing turn at home"),
    "cpu_us_per_foreign_change_at_once": (15.0, "us of CPU for each change of another node"),
    "two_nodes_ratio": (1.1, "CPU for each delivery with two nodes over one"),
    "remote_p99_us": (10_000.0, "us until 99 in 100 watchers know of a change of another node"),
}
"""What each figure shall not exceed."""


class Fleet:
    """The servers of a run."""

    def __init__(self, stack: ExitStack, cores: Cores, workdir: Path) -> None:
        self.engine = stack.enter_context(start_engine(cores.load, workdir / "engine"))
        pair_engine = stack.enter_context(start_engine(cores.load, workdir / "pair-engine"))
        self.pair_engine: Server = pair_engine
        self.without = Presenced(tokens=True)
        self.only = PresencedNode(self.engine, "only")
        self.pair = PresencedPair(pair_engine)
        for number, server in enumerate((self.without, self.only, self.pair)):
            directory = workdir / f"server-{number}"
            directory.mkdir()
            stack.callback(server.stop)
            server.start(cores.server, directory, (), {})


class Run:
    """One run: its servers, what it found, and its progress."""

    def __init__(self, fleet: Fleet, ours: ServerOutcome, without: ServerOutcome, rounds: int, *, spin: bool) -> None:
        self.fleet = fleet
        self.ours = ours
        self.without = without
        self.rounds = rounds
        self.spin = spin
        self.notes: list[str] = []

    # --- one node -------------------------------------------------------------------------------------------------

    def star(self, watchers: int, changes: int) -> None:
        """One change told to many, in turn with and without a cluster."""
        contacts = {f"w{index}": ["p0"] for index in range(watchers)}
        with ExitStack() as stack:
            both = [self._stepped(stack, peer, contacts) for peer in (self.fleet.without, self.fleet.only)]
            for number in range(self.rounds + 1):
                found = [ServerOutcome(), ServerOutcome()]
                gc.collect()
                gc.disable()
                for server in both:
                    server.begin()
                for _ in range(changes if number else 2):
                    for server in both:
                        server.run_step()
                for server, outcome in zip(both, found, strict=True):
                    server.end(outcome)
                gc.enable()
                if number:
                    self._pair_up("star", "server_cpu_us_per_delivery", CPU, *found)
            for server, outcome in zip(both, (self.without, self.ours), strict=True):
                outcome.checks.add(server.checks)

    def _stepped(self, stack: ExitStack, peer: Presenced, contacts: Mapping[str, Sequence[str]]) -> SteppedServer:
        storm = Storm(peer, contacts, records=False)
        stack.callback(storm.close)
        storm.log_in(["p0"])
        storm.log_in(contacts)
        drain(peer, list(storm.links.values()))
        return SteppedServer(stack, peer, [storm.links["p0"]], [storm.links[user] for user in contacts], spin=self.spin)

    def logins(self, users: int, contacts: int, seed: int) -> None:
        """Logins all at once; the first of each user apart, as its home is decided then."""
        there = [f"s{index}" for index in range(2 * contacts)]
        names = [f"in{index}" for index in range(users)]
        choose = random.Random(seed)
        watches = {name: choose.sample(there, contacts) for name in names}
        with ExitStack() as stack:
            both = [LoginTarget(stack, peer, watches, there) for peer in (self.fleet.without, self.fleet.only)]
            for number in range(self.rounds + 1):
                found = [ServerOutcome(), ServerOutcome()]
                for target, outcome in zip(both, found, strict=True):
                    target.play(names, outcome)
                self._pair_up("login" if number else "first_login", "server_cpu_us_per_login", LOGIN_CPU, *found)
            for outcome, one in zip((self.without, self.ours), found, strict=True):
                outcome.checks.add(one.checks)

    def _pair_up(self, name: str, figure: str, measured: str, without: ServerOutcome, ours: ServerOutcome) -> None:
        """The figures of a round of both, and their ratio."""
        here, there = ours.figures[measured][0], without.figures[measured][0]
        figure = figure if name == "login" else f"{name}_{figure}"
        add_figure(self.ours, figure, here)
        add_figure(self.without, figure, there)
        add_figure(self.ours, f"{name}_ratio", round(here / there, 4))

    # --- the graph ------------------------------------------------------------------------------------------------

    def graphs(self, watches: dict[str, list[str]], changes: int, share: float, seconds: float, seed: int) -> None:
        """The graph without a cluster, on one node and on two; heartbeats of the same links; and the waits."""
        fleet = self.fleet
        with ExitStack() as stack:
            peers = (fleet.without, fleet.only, fleet.pair)
            graphs = [open_graph(stack, peer, watches, spin=self.spin) for peer in peers]
            for graph in graphs:
                graph.play(1, None)
                graph.ledger.forget()
            for _ in range(self.rounds):
                found = [ServerOutcome(), ServerOutcome()]
                for graph, outcome in zip(graphs, found, strict=False):
                    graph.play(changes, outcome)
                self._pair_up("graph", "server_cpu_us_per_delivery", CPU, *found)
                self._play_pair(graphs[2], changes, found[0].figures[CPU][0])
                self._heartbeats(graphs[:2])
            paced = PacedPair(graphs[2])
            rate_per_s = share * median(self.ours.figures["two_nodes_peak_changes_per_s"])
            for number in range(self.rounds):
                told = ServerOutcome()
                paced.play(rate_per_s, seconds, seed + number, told)
                for name in WAITS:
                    add_figure(self.ours, name, told.figures[name][0])
                self.ours.latency |= told.latency
            self.notes += paced.loop.notes()
            for graph, outcome in zip(graphs, (self.without, self.ours, self.ours), strict=True):
                outcome.checks.add(graph.ledger.checks)

    def _play_pair(self, graph: ConnectedGraph, changes: int, without_us: float) -> None:
        """A round on two nodes: CPU for each delivery of either."""
        nodes, engine = self.fleet.pair.nodes, self.fleet.pair_engine
        before = [node.process.cpu_ns() for node in nodes]
        told, engine_ns = self._delivered(graph), engine.cpu_ns()
        outcome = ServerOutcome()
        graph.play(changes, outcome)
        made = changes * len(graph.people)
        now = self._delivered(graph)
        each_us = [
            (node.process.cpu_ns() - cpu_ns) / 1000 / max(1, delivered - earlier)
            for node, cpu_ns, delivered, earlier in zip(nodes, before, now, told, strict=True)
        ]
        rate = outcome.figures["deliveries_per_s"][0] * made / max(1, sum(now) - sum(told))
        add_figure(self.ours, "two_nodes_server_cpu_us_per_delivery", max(each_us))
        add_figure(self.ours, "two_nodes_ratio", round(max(each_us) / without_us, 4))
        add_figure(self.ours, "two_nodes_engine_cpu_us_per_change", (engine.cpu_ns() - engine_ns) / 1000 / made)
        add_figure(self.ours, "two_nodes_peak_changes_per_s", round(rate))

    def _delivered(self, graph: ConnectedGraph) -> list[int]:
        """Deliveries to the watchers of either node so far."""
        found = [0, 0]
        for watcher, count in graph.ledger.delivered.items():
            found[self.fleet.pair.place_of(watcher)] += count
        return found

    def _heartbeats(self, graphs: Sequence[ConnectedGraph]) -> None:
        """One heartbeat on every link, then a rest; sweeps alternate."""
        spent = [0, 0]
        for _ in range(SWEEPS):
            for number, graph in enumerate(graphs):
                process = graph.peer.process
                before_ns = process.settled_cpu_ns()
                for fd in graph.people:
                    os.write(fd, BEAT)
                spent[number] += process.settled_cpu_ns() - before_ns
        name = "server_cpu_us_per_heartbeat"
        for outcome, cpu_ns in zip((self.without, self.ours), spent, strict=True):
            add_figure(outcome, name, cpu_ns / 1000 / SWEEPS / len(graphs[0].people))
        add_figure(self.ours, "heartbeat_ratio", round(spent[1] / max(1, spent[0]), 4))

    # --- changes --------------------------------------------------------------------------------------------------

    def changes(self, count: int) -> None:
        """Changes that nobody watches: what they cost at home, on the other node, and in the engine."""
        fleet = self.fleet
        home, other = fleet.pair.nodes
        users = [f"changing{index}" for index in range(TOGETHER)]
        with ExitStack() as stack:
            without, here = Changers(stack, fleet.without, users), Changers(stack, home, users)
            for number in range(self.rounds + 1):
                for kind in ("alone", "at_once"):
                    few = count if number else TOGETHER
                    made = few if kind == "alone" else here.rounded(few)
                    [plain_us] = spent_us(
                        fleet.without.process, [fleet.without.process], made, change(without, kind, few)
                    )
                    cpu_us = spent_us(
                        fleet.pair.process,
                        [home.process, other.process, fleet.pair_engine],
                        made,
                        change(here, kind, few),
                    )
                    if number:
                        self._note_changes(kind, plain_us, *cpu_us)

    def _note_changes(self, kind: str, plain_us: float, home_us: float, other_us: float, engine_us: float) -> None:
        end = "" if kind == "alone" else "_at_once"
        add_figure(self.without, f"server_cpu_us_per_change{end}", plain_us)
        add_figure(self.ours, f"server_cpu_us_per_change{end}", home_us)
        add_figure(self.ours, "cluster_cpu_us_per_change_at_once" if end else FIGURE, home_us - plain_us)
        add_figure(self.ours, f"cpu_us_per_foreign_change{end}", other_us)
        add_figure(self.ours, f"engine_cpu_us_per_change{end}", engine_us)


def change(changers: Changers, kind: str, count: int) -> Callable[[], None]:
    """So many changes of this kind."""
    return lambda: changers.alone(count) if kind == "alone" else changers.together(count)


def spent_us(whole: Measured, parts: Sequence[Measured], count: int, work: Callable[[], None]) -> list[float]:
    """Microseconds of CPU that each of `parts` uses for each of `count` while `work` is done, from rest to rest of the
    `whole`."""
    whole.settled_cpu_ns()
    before = [part.cpu_ns() for part in parts]
    work()
    whole.settled_cpu_ns()
    return [(part.cpu_ns() - cpu_ns) / 1000 / count for part, cpu_ns in zip(parts, before, strict=True)]


def run(
    *,
    users: int,
    contacts: int,
    graph_changes: int,
    changes: int,
    share: float,
    seconds: float,
    known: int,
    rounds: int,
    seed: int,
    place: Path | None = None,
    cores: Cores,
    progress: Progress = no_progress,
) -> Outcome:
    """Run the profile. Faulty deliveries are in the outcome; `BenchError` means that there is none."""
    options: dict[str, object] = {
        "users": users,
        "contacts": contacts,
        "graph_changes": graph_changes,
        "changes": changes,
    }
    options |= {"share": share, "seconds": seconds, "known": known, "rounds": rounds, "seed": seed}
    outcome = Outcome("cluster", "cluster: what a daemon costs more as a node", FIGURE, options)
    need_descriptors(3 * users + 4 * contacts)
    watches = random_graph(users, contacts, seed)
    place = choose_place(place)
    ours, without = ServerOutcome(Presenced.find()), ServerOutcome(Presenced.find())
    outcome.servers = {OURS: ours, WITHOUT: without}
    with ExitStack() as stack:
        workdir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="presenced-bench-")))
        progress("starting", 0, 5)
        limits: list[str] = []
        with partial() as cut:
            with ExitStack() as fleet_stack:
                one = Run(Fleet(fleet_stack, cores, workdir), ours, without, rounds, spin=not cores.shared)
                parts: list[tuple[str, Callable[[], None]]] = [
                    ("changes", lambda: one.changes(changes)),
                    ("star", lambda: one.star(users, max(1, changes // 10))),
                    ("logins", lambda: one.logins(users, contacts, seed)),
                    ("graph", lambda: one.graphs(watches, graph_changes, share, seconds, seed)),
                ]
                for number, (what, part) in enumerate(parts):
                    progress(what, number, 5)
                    part()
                limits = one.notes
            progress("a node joins", 4, 5)
            for arrival in arrivals(cores, workdir, place, known):
                for _ in range(rounds):
                    arrival.play(ours, ours.checks)
            progress("a node joins", 5, 5)
        outcome.interrupted = cut.happened
    outcome.notes += [*verdicts(ours, GOALS, of_waits=WAITS, doubts=doubts(ours, limits)), *limits, NOTE]
    return outcome


def doubts(ours: ServerOutcome, limits: Sequence[str]) -> list[str]:
    """Why the run cannot judge waits."""
    taken = max(ours.figures.get("core_taken_by_others", [0.0]))
    told = ["the generator was late"] if any("limit" in limit for limit in limits) else []
    return told + ([f"others took {taken:.0%} of a node's core"] if taken > TAKEN_MAX else [])


NOTE = (
    "cluster_ figures are of a node beyond a daemon without a cluster; at_once: of 64 users who change at once; "
    "the engines are on the core of the load; all nodes are on one core, so that two keep each other from it; "
    "joining counts from the start of the process"
)
