"""One server under the fan-out load: send a step, read until every watcher has it, verify what they read.

The reading is the generator's hot loop. It must be cheaper than the server it waits for, so it compares bytes where it
can, counts deliveries by their framing where it cannot, and parses between the steps; every watcher's bytes are
accounted for.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack

from bench.errors import BenchError
from bench.load.links import edge_triggered, wire_of
from bench.machine.meter import Meter
from bench.peers.base import GHOST, Peer, PeerLink
from bench.peers.storm import expect_clean
from bench.results.histogram import Histogram
from bench.results.outcome import CHANGE_TO_WATCHER, Checks, ServerOutcome

STEP_TIMEOUT_S = 5.0
"""How long nothing may come before what is missing counts as lost; a slow server has up to four times as long."""

AFTERMATH_S = 0.05
"""How long a round listens for what should not come any more."""


class SteppedServer:
    """A server with its links. A round is some steps within `begin` and `end`."""

    def __init__(
        self, stack: ExitStack, peer: Peer, publishers: list[PeerLink], watchers: list[PeerLink], *, spin: bool
    ) -> None:
        self.peer = peer
        self.publishers = publishers
        self.checks = Checks()
        self.number = 0
        """Of the last change of every publisher."""
        self._latency = Histogram()
        self._expected = [link.user for link in publishers]
        self._poller = edge_triggered(stack, publishers + watchers)
        self._wire = wire_of(publishers + watchers)
        self._timeout_s = STEP_TIMEOUT_S * min(peer.share, 4)
        self._poll_s = 0.0 if spin else self._timeout_s
        self._watcher_fds = {link.fd for link in watchers}
        self._replies = {link.fd: link for link in publishers}
        self._replied = dict.fromkeys(self._replies, b"")
        # os.read allocates what it asks for: room for a step's messages, not for the largest read.
        self._read_bytes = 4096 if len(publishers) <= 12 else 65_536
        self._meter = Meter(peer.process)
        self._delivered = 0
        self._wire_bytes = 0
        self._stepped = 0
        """Changes of each publisher in this round."""

    def begin(self) -> None:
        """Start a round: note the server's CPU time once it rests."""
        self._delivered = self.checks.deliveries
        self._stepped = self._wire_bytes = 0
        self._meter = Meter(self.peer.process)
        self._meter.__enter__()

    def end(self, outcome: ServerOutcome | None) -> None:
        """End the round: add its figures to `outcome`, if it counts, then hear whether anything comes that should
        not."""
        self._meter.__exit__(None, None, None)
        delivered = self.checks.deliveries - self._delivered
        if outcome is not None and delivered:
            figures = outcome.figures
            figures.setdefault("server_cpu_us_per_delivery", []).append(self._meter.cpu_us_per(delivered))
            figures.setdefault("wire_bytes_per_delivery", []).append(round(self._wire_bytes / delivered, 1))
            figures.setdefault("rss_bytes", []).append(self.peer.rss_bytes())
            taken = self._meter.waited_ns / max(1, self._meter.taken_ns)
            figures.setdefault("core_taken_by_others", []).append(round(taken, 3))
        self._listen_on()
        for fd, link in self._replies.items():
            if self.peer.read(link, self._replied[fd]):
                self.checks.wrong += 1
            expect_clean(self.peer, link)
        self._replied = dict.fromkeys(self._replied, b"")

    def _listen_on(self) -> None:
        """Hear for a while what should not come, and the acknowledgements of the last changes, which must."""
        started_s = time.monotonic()
        while (passed_s := time.monotonic() - started_s) < AFTERMATH_S or (
            self._unacknowledged() and passed_s < self._timeout_s
        ):
            for fd, _ in self._poller.poll(AFTERMATH_S / 5):
                self._unexpected(fd, self._wire.available(fd))
        users = self._unacknowledged()
        if users and not self.checks.faults:
            raise BenchError(f"{self.peer.name} has not acknowledged the last change of {', '.join(users[:5])}")

    def _unacknowledged(self) -> list[str]:
        """Who has made a change in this round and has not heard that the last of them is applied."""
        if not self._stepped:
            return []
        waiting = []
        for fd, link in self._replies.items():
            answer = self.peer.answer(link.user, self.number)
            # Some protocols answer all changes alike: then there must be one for each.
            alike = answer == self.peer.answer(link.user, self.number + 1)
            if answer and self._replied[fd].count(answer) < (self._stepped if alike else 1):
                waiting.append(link.user)
        return waiting

    def forget(self) -> None:
        """Drop the deliveries and waits so far: it was the warm-up. A fault stays a fault."""
        self.checks.deliveries = 0
        self._latency = Histogram()

    def tell(self, outcome: ServerOutcome) -> None:
        """What the checks and clocks of the counted rounds found."""
        outcome.checks = self.checks
        outcome.latency[CHANGE_TO_WATCHER] = self._latency.latency()

    def run_step(self) -> bytes:
        """Let every publisher change, read, verify. Returns what a watcher was told."""
        self.number += 1
        self._stepped += 1
        sends = [(link.fd, self.peer.change(link.user, self.number)) for link in self.publishers]
        blobs = self._collect(sends)
        for blob, watchers in blobs.items():
            if watchers:
                self._wire_bytes += len(blob) * watchers
                self._verify(blob, watchers)
        return max(blobs, key=lambda blob: blobs[blob])

    def _collect(self, sends: list[tuple[int, bytes]]) -> Counter[bytes]:
        """Send, and read until every watcher holds a delivery of each publisher: what they hold, and how many do.

        On most servers the watchers of one step hold the same bytes, so that a comparison stands for parsing.
        """
        pending = self._watcher_fds.copy()
        held: dict[int, bytes] = {}
        blobs: Counter[bytes] = Counter()
        note = self._latency.record
        poll, poll_s, read, read_bytes = self._poller.poll, self._poll_s, self._wire.read, self._read_bytes
        clock = time.perf_counter_ns
        common = b""
        common_count = 0
        started_ns = last_ns = self._send(sends)
        while pending:
            events = poll(poll_s)
            if not events:
                if clock() - last_ns > self._timeout_s * 1e9:
                    break
                continue
            last_ns = clock()
            for fd, _ in events:
                data = read(fd, read_bytes)
                if data == common and common_count and fd in pending and fd not in held:
                    common_count += 1
                else:
                    whole = self._take(fd, data, pending, held, len(sends))
                    if not whole:
                        continue
                    blobs[common] += common_count
                    common, common_count = whole, 1
                pending.remove(fd)
                note(clock() - started_ns)
        blobs[common] += common_count
        for fd in pending:
            blobs[held.get(fd, b"")] += 1
        return blobs

    def _send(self, sends: list[tuple[int, bytes]]) -> int:
        """Several changes are made at once: the server stands still until the last is there. Otherwise it serves
        the first alone and the others together, or not, by an accident of microseconds that decides the figure.
        Returns when the wait for the changes begins: when they are sent, or when the server goes on."""
        together = len(sends) > 1
        if together:
            self.peer.process.pause()
        started_ns = time.perf_counter_ns()
        for fd, data in sends:
            self._wire.write(fd, data)
        if together:
            started_ns = time.perf_counter_ns()
            self.peer.process.resume()
        return started_ns

    def _take(self, fd: int, data: bytes, pending: set[int], held: dict[int, bytes], count: int) -> bytes:
        """The slow way: keep `data`; returns all that a watcher holds once that is `count` deliveries."""
        if len(data) == self._read_bytes or not data:
            data += self._wire.available(fd)
        if fd not in pending:
            self._unexpected(fd, data)
            return b""
        held[fd] = held.get(fd, b"") + data
        return held.pop(fd) if self.peer.count(held[fd]) >= count else b""

    def _unexpected(self, fd: int, data: bytes) -> None:
        if fd in self._replied:
            self._replied[fd] += data
            return
        deliveries, rest = self.peer.parse("", data)
        self.checks.duplicated += len(deliveries) + bool(rest)

    def _verify(self, blob: bytes, watchers: int) -> None:
        """Hold what `watchers` watchers read against what was to be told. One fault may count twice: a wrong record is
        also a lost one, as the right one never came."""
        checks = self.checks
        deliveries, rest = self.peer.parse("", blob)
        seen: Counter[str] = Counter()
        for user, number in deliveries:
            if number == self.number:
                seen[user] += 1
            elif number == GHOST:
                checks.ghost += watchers
            elif 0 <= number < self.number:
                checks.misordered += watchers
            else:
                checks.wrong += watchers
        for user in self._expected:
            times = seen.pop(user, 0)
            checks.deliveries += watchers * min(1, times)
            checks.lost += watchers * (times == 0)
            checks.duplicated += watchers * max(0, times - 1)
        checks.wrong += watchers * (seen.total() + bool(rest and len(deliveries) >= len(self._expected)))
