"""A server to which users log in all at once, while the contacts of all of them are online."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from bench.machine.meter import Meter
from bench.peers.base import Peer
from bench.peers.ledger import check_records
from bench.peers.storm import Storm, drain, send
from bench.results.histogram import Histogram
from bench.results.outcome import Checks, ServerOutcome

LOGIN_CPU = "server_cpu_us_per_login"
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
                outcome.figures.setdefault(LOGIN_CPU, []).append(meter.cpu_us_per(len(users)))
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
