"""Profile `login`: users come online all at once, as after a deployment or a lost network.

A login is everything from the TCP connection to the moment at which the user has been told the present state of every
contact: the handshake of TLS, if that is asked for, authentication, the watch or subscription, the own announcement and
the contacts' records, in as few round trips as the protocol allows. 64 are in flight at a time. The contacts are other
users, who are online the whole time, have made a change before each round, and do not themselves watch those who log
in. Between rounds everybody logs out in order, so that no login is a resumption.

The daemon runs with real tokens. Every record that a newcomer is told is held against what its user last said.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from bench.machine.cores import Cores, need_descriptors
from bench.machine.meter import Meter
from bench.peers.base import Peer, PeerFailed
from bench.peers.ledger import check_records
from bench.peers.lineup import Lineup, share_of
from bench.peers.presenced import Presenced
from bench.peers.presenced_contacts import PresencedContacts
from bench.peers.storm import Storm, drain, send
from bench.results.histogram import Histogram
from bench.results.outcome import Checks, Outcome, Progress, ServerOutcome, no_progress, partial

FIGURE = "server_cpu_us_per_login"
LATENCY = "login"


class LoginTarget:
    """A server with the contacts online."""

    def __init__(
        self, stack: ExitStack, peer: Peer, contacts: Mapping[str, Sequence[str]], there: Sequence[str]
    ) -> None:
        self.peer = peer
        self._contacts = contacts
        self._there = Storm(peer, {}, records=False)
        stack.callback(self._there.close)
        self._there.log_in(there)
        drain(peer, list(self._there.links.values()))
        self._number = 0
        self._latency = Histogram()
        self._checks = Checks()

    def play(self, users: Sequence[str], outcome: ServerOutcome | None) -> None:
        """One storm, added to `outcome` if it counts."""
        truth = self._change()
        latency = self._latency if outcome is not None else Histogram()
        storm = Storm(self.peer, self._contacts, records=True, latency=latency)
        gc.collect()
        gc.disable()
        try:
            with Meter(self.peer.process) as meter:
                storm.log_in(users)
            for user in users:
                check_records(storm.told[user], self._contacts[user], truth, self._checks)
            if outcome is None:
                self._checks.deliveries = 0  # it was the warm-up; a fault stays a fault
            else:
                outcome.checks = self._checks
                outcome.figures.setdefault(FIGURE, []).append(meter.cpu_us_per(len(users)))
                outcome.figures.setdefault("rss_bytes", []).append(self.peer.rss_bytes())
                outcome.figures.setdefault("logins_per_s", []).append(len(users) / (meter.taken_ns / 1e9))
                meter.note(outcome)
                outcome.latency[LATENCY] = latency.latency()
            storm.log_out()
        finally:
            gc.enable()
            storm.close()

    def _change(self) -> dict[str, int]:
        """Let all contacts make a change, so that what newcomers are told is nothing they could have known before; the
        number of each."""
        self._number += 1
        links = list(self._there.links.values())
        for link in links:
            send(link, self.peer.change(link.user, self._number))
        drain(self.peer, links)
        return {link.user: self._number for link in links}


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
    outcome = Outcome("login", "login: server CPU for each", FIGURE, options)
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
