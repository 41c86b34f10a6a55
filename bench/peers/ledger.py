"""Holds what watchers were told against what was said: every announcement carries a number that grows by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bench.peers.base import GHOST, Contacts, Delivery, Known
from bench.results.outcome import Checks


class Ledger:
    """What every watcher of one server knows of those whom it watches.

    A server that may merge can pass over numbers, as long as it comes to the last one. Any other must tell each once:
    what it passes over is lost.
    """

    def __init__(self, contacts: Contacts, *, merges: bool) -> None:
        self.checks = Checks()
        self.merged = 0
        """Changes that were passed over by a server that may."""
        self.delivered = dict.fromkeys(contacts, 0)
        """Deliveries to each watcher, counted from the start."""
        self._merges = merges
        self._heard = {watcher: dict.fromkeys(users, 0) for watcher, users in contacts.items()}

    def told(self, watcher: str, deliveries: Iterable[Delivery]) -> None:
        """`watcher` was told this, in this order. O(deliveries)."""
        checks, heard = self.checks, self._heard.get(watcher, {})
        before = checks.deliveries
        for user, number in deliveries:
            last = heard.get(user)
            if last is None:
                checks.wrong += 1
            elif number > last:
                checks.deliveries += 1
                self._passed_over(number - last - 1)
                heard[user] = number
            elif number == GHOST:
                checks.ghost += 1
            elif number < 0:
                checks.wrong += 1
            elif number == last:
                checks.duplicated += 1
            else:
                checks.misordered += 1
        self.delivered[watcher] = self.delivered.get(watcher, 0) + checks.deliveries - before

    def come_to_rest(self, truth: Mapping[str, int]) -> None:
        """Nothing more will come, and `truth` has the last number that each user announced. Whoever knows another one
        is out of date, and what it missed is made good, so that it counts once."""
        for heard in self._heard.values():
            for user, number in heard.items():
                if number == truth[user]:
                    continue
                if number > truth[user]:
                    self.checks.wrong += 1
                else:
                    self.checks.stale += 1
                    if not self._merges:
                        self.checks.lost += truth[user] - number
                heard[user] = truth[user]

    def forget(self) -> None:
        """Drop the deliveries so far, but neither the faults nor what the watchers know: it was the warm-up."""
        self.checks.deliveries = 0
        self.merged = 0

    def _passed_over(self, count: int) -> None:
        if self._merges:
            self.merged += count
        else:
            self.checks.lost += count


def check_records(told: Known, contacts: Iterable[str], truth: Mapping[str, int], checks: Checks) -> None:
    """Hold the records that a newcomer was told of its contacts against the truth."""
    for user in contacts:
        number = told.get(user)
        if number is None:
            checks.lost += 1
        elif number == truth[user]:
            checks.deliveries += 1
        elif number == GHOST:
            checks.ghost += 1
        elif 0 <= number < truth[user]:
            checks.stale += 1
        else:
            checks.wrong += 1
