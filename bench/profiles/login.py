"""Profile `login`: users come online all at once, as after a deployment or a lost network.

A login is everything from the TCP connection to the moment at which the user has been told the present state of every
contact: the handshake of TLS, if that is asked for, authentication, the watch or subscription, the own announcement and
the contacts' records, in as few round trips as the protocol allows. 64 are in flight at a time. The contacts are other
users, who are online the whole time, have made a change before each round, and do not themselves watch those who log
in. Between rounds everybody logs out in order, so that no login is a resumption.

The daemon runs with real tokens. Every record that a newcomer is told is held against what its user last said.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import ExitStack

from bench.machine.cores import Cores, need_descriptors
from bench.peers.base import PeerFailed
from bench.peers.lineup import Lineup, share_of
from bench.peers.login_target import LOGIN_CPU, LoginTarget
from bench.peers.presenced import Presenced
from bench.peers.presenced_contacts import PresencedContacts
from bench.results.outcome import Outcome, Progress, no_progress, partial


def run(
    *,
    users: int,
    contacts: int,
    rounds: int,
    seed: int,
    cores: Cores,
    see_contacts: bool = False,
    tls: bool = False,
    peers: Sequence[str] | None = (),
    progress: Progress = no_progress,
) -> Outcome:
    """Run the profile. Faulty records are in the outcome; `BenchError` means that there is none."""
    options = {"users": users, "contacts": contacts, "rounds": rounds, "seed": seed}
    outcome = Outcome("login", "login: server CPU for each", LOGIN_CPU, options)
    outcome.notes.append(
        "presenced checks real tokens, ejabberd and Prosody passwords; Redis, NATS and Mosquitto let everybody in"
    )
    lineup = Lineup(outcome, cores, peers, progress, tls=tls)
    there = [f"s{index}" for index in range(2 * contacts)]
    need_descriptors((1 + see_contacts + lineup.expected) * len(there) + users)
    names = [f"user{index}" for index in range(users)]
    choose = random.Random(seed)
    watches = {name: choose.sample(there, contacts) for name in names}
    with ExitStack() as stack:
        own = (Presenced(tokens=True), *((PresencedContacts(),) if see_contacts else ()))
        lineup.start(stack, own, [*there, *names], watches)
        targets = lineup.log_in(lambda server: LoginTarget(stack, server, watches, there))
        lineup.note_work(users, "logins")
        with partial() as cut:
            lineup.take_turns(
                rounds, lambda server, number: play(targets[server.name], names, outcome if number else None)
            )
        outcome.interrupted = cut.happened
    lineup.note_limits()
    return outcome


def play(target: LoginTarget, names: Sequence[str], outcome: Outcome | None) -> None:
    """A round of one server: all users, or a share of them if each takes tens of times longer; few for the warm-up."""
    count = share_of(target.peer, len(names))
    if outcome is None:
        target.play(names[: max(1, count // 5)], None)
        return
    target.play(names[:count], outcome.servers[target.peer.name])
    if outcome.servers[target.peer.name].checks.deliveries == 0:
        raise PeerFailed(f"{target.peer.name} told nobody of a contact in a whole round")
