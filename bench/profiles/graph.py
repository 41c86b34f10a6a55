"""Profile `graph`: every user is online, watches some others, and changes as fast as the server answers.

Each user has one change outstanding: the next is sent when the reply to the last arrives, and the server may batch as
it likes. `server_core_busy` tells whether the server or the generator set the pace. A server may also tell a slow
watcher only the latest of several changes, if it says so; whoever does not must tell each. The servers take turns,
round by round, on the same graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from bench.load.contacts import random_graph
from bench.machine.cores import Cores, need_descriptors
from bench.peers.connected_graph import CPU, ConnectedGraph, open_graph
from bench.peers.lineup import Lineup, share_of
from bench.peers.presenced import Presenced
from bench.peers.presenced_contacts import PresencedContacts
from bench.results.outcome import OURS, Outcome, Progress, no_progress, partial

CHANGES_MIN = 5
"""Of each user in a round, also on a server that is given only a share: fewer are all start and end."""


def run(
    *,
    users: int,
    contacts: int,
    changes: int,
    rounds: int,
    seed: int,
    cores: Cores,
    see_contacts: bool = False,
    tls: bool = False,
    peers: Sequence[str] | None = (),
    progress: Progress = no_progress,
) -> Outcome:
    """Run the profile. Faulty deliveries are in the outcome; `BenchError` means that there is none."""
    options = {"users": users, "contacts": contacts, "changes": changes, "rounds": rounds, "seed": seed}
    outcome = Outcome("graph", "graph: server CPU for each delivery", CPU, options)
    lineup = Lineup(outcome, cores, peers, progress, tls=tls)
    need_descriptors((1 + see_contacts + lineup.expected) * users)
    watches = random_graph(users, contacts, seed)
    with ExitStack() as stack:
        own = (Presenced(), *((PresencedContacts(),) if see_contacts else ()))
        lineup.start(stack, own, list(watches), watches)
        graphs = lineup.log_in(lambda server: open_graph(stack, server, watches, spin=not cores.shared))
        lineup.note_work(changes, "changes of each user", least=CHANGES_MIN)
        with partial() as cut:
            lineup.take_turns(
                rounds,
                lambda server, number: play(graphs[server.name], changes if number else 1, outcome if number else None),
            )
        outcome.interrupted = cut.happened
    for name, told in outcome.servers.items():
        told.checks = graphs[name].ledger.checks
    merged = graphs[OURS].ledger.merged
    if merged:
        outcome.notes.append(f"presenced merged {merged:,} changes with later ones of the same user")
    lineup.note_limits()
    return outcome


def play(graph: ConnectedGraph, changes: int, outcome: Outcome | None) -> None:
    """A round of one server; the warm-up if there is no `outcome` to add it to."""
    server = graph.peer
    graph.play(share_of(server, changes, least=CHANGES_MIN), outcome.servers[server.name] if outcome else None)
    if outcome is None:
        graph.ledger.forget()
