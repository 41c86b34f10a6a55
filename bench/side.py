"""One server under the fan-out load: send a step, read until every watcher has it, verify what they read.

The reading is the generator's hot loop. It must be cheaper than the server it waits for, so it compares bytes
where it can and parses only what differs; every watcher's bytes are accounted for either way.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.daemon import Server
from bench.load import Link, edge_triggered, presences, read_available, whole_frames
from presenced.wire.messages import Presence, Status

STEP_TIMEOUT_S = 5.0
AFTERMATH_S = 0.05
"""How long a round listens for what should not come any more."""

Expected = dict[str, tuple[Status, str]]
Told = dict[str, Presence]


class Step(NamedTuple):
    """What is sent at once, and what every watcher must then be told of each publisher."""

    sends: list[tuple[int, bytes]]
    expected: Expected


@dataclass
class Tally:
    """What the watchers got. One fault may count twice: a wrong record is also a lost one, as the right one never
    came."""

    deliveries: int = 0
    lost: int = 0
    duplicated: int = 0
    wrong: int = 0

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicated or self.wrong)


@dataclass
class Figures:
    """What the counted rounds gave, one entry a round; latencies one for each watcher and step."""

    cpu_us_per_delivery: list[float] = field(default_factory=list)
    core_taken: list[float] = field(default_factory=list)
    latencies_ns: list[int] = field(default_factory=list)


class Side:
    """A server with its links. `begin`, any number of steps, `end` make a round."""

    def __init__(
        self, stack: ExitStack, server: Server, publishers: list[Link], watchers: list[Link], *, spin: bool
    ) -> None:
        self.server = server
        self.publishers = publishers
        self.watchers = watchers
        self.tally = Tally()
        self.figures = Figures()
        self._poller = edge_triggered(stack, publishers + watchers)
        self._poll_s = 0.0 if spin else STEP_TIMEOUT_S
        self._watcher_fds = {link.fd for link in watchers}
        self._replies = {link.fd: b"" for link in publishers}
        self._last_version = 0
        # os.read allocates what it asks for: room for a step's frames, not for the largest read.
        self._read_bytes = 4096 if len(publishers) <= 24 else 65_536
        self._started = (0, 0, 0, 0)

    def begin(self) -> None:
        """Start a round: note the server's CPU time once it rests."""
        server = self.server
        self._started = (
            server.settled_cpu_ns(),
            server.waited_ns(),
            time.monotonic_ns(),
            self.tally.deliveries,
        )

    def end(self) -> None:
        """End the round: take its figures, then hear whether anything comes that should not."""
        cpu_ns, waited_ns, started_ns, delivered = self._started
        cpu_ns = self.server.settled_cpu_ns() - cpu_ns
        waited_ns = self.server.waited_ns() - waited_ns
        self.figures.core_taken.append(waited_ns / (time.monotonic_ns() - started_ns))
        if self.tally.deliveries > delivered:
            self.figures.cpu_us_per_delivery.append(cpu_ns / 1000 / (self.tally.deliveries - delivered))
        for fd, _ in self._poller.poll(AFTERMATH_S):
            self._unexpected(fd, read_available(fd))
        for data in self._replies.values():
            presences(data)  # raises at anything but the replies that a publisher is due
        self._replies = dict.fromkeys(self._replies, b"")

    def forget(self) -> None:
        """Drop what was counted so far: it was the warm-up."""
        self.tally = Tally()
        self.figures = Figures()

    def run_step(self, step: Step) -> Told:
        """Send, read, verify. Returns the records that the watchers were told, by user."""
        blobs = self._collect(step)
        told: Told = {}
        for blob, watchers in blobs.items():
            self._verify(blob, watchers, step.expected, told)
        versions = [told[user].record.version for user in step.expected if user in told]
        if versions and min(versions) <= self._last_version:
            self.tally.wrong += len(versions)
        self._last_version = max(versions, default=self._last_version)
        return told

    def _collect(self, step: Step) -> Counter[bytes]:
        """Send, and read until every watcher holds a frame of each publisher: what they hold, and how many
        do.

        Watchers of one step normally hold the same bytes, so that a comparison stands for parsing.
        """
        pending = self._watcher_fds.copy()
        held: dict[int, bytes] = {}
        blobs: Counter[bytes] = Counter()
        note = self.figures.latencies_ns.append
        poll, poll_s, read, read_bytes = self._poller.poll, self._poll_s, os.read, self._read_bytes
        clock = time.perf_counter_ns
        common = b""
        common_count = 0
        started_ns = clock()
        self._send(step)
        while pending:
            events = poll(poll_s)
            if not events and clock() - started_ns > STEP_TIMEOUT_S * 1e9:
                break
            for fd, _ in events:
                data = read(fd, read_bytes)
                if data == common and fd in pending and fd not in held:
                    common_count += 1
                else:
                    whole = self._take(fd, data, pending, held, len(step.sends))
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

    def _send(self, step: Step) -> None:
        """Several changes are made at once: the server stands still until the last is there. Otherwise it serves
        the first alone and the others together, or not, by an accident of microseconds that decides the figure."""
        together = len(step.sends) > 1
        if together:
            self.server.pause()
        for fd, data in step.sends:
            os.write(fd, data)
        if together:
            self.server.resume()

    def _take(self, fd: int, data: bytes, pending: set[int], held: dict[int, bytes], count: int) -> bytes:
        """The slow way: keep `data`; returns all that a watcher holds once that is `count` frames."""
        if len(data) == self._read_bytes or not data:
            data += read_available(fd)
        if fd not in pending:
            self._unexpected(fd, data)
            return b""
        held[fd] = held.get(fd, b"") + data
        return held.pop(fd) if whole_frames(held[fd])[0] >= count else b""

    def _unexpected(self, fd: int, data: bytes) -> None:
        if fd in self._replies:
            self._replies[fd] += data
        else:
            self.tally.duplicated += max(1, whole_frames(data)[0])

    def _verify(self, blob: bytes, watchers: int, expected: Expected, told: Told) -> None:
        """Hold what `watchers` watchers read against what was to be told, and against what the others
        read.
        """
        tally = self.tally
        seen: Counter[str] = Counter()
        for message in presences(blob[: whole_frames(blob)[1]]):
            record = message.record
            same = told.setdefault(record.user, message) == message
            if same and expected.get(record.user) == (record.status, record.text):
                seen[record.user] += 1
            else:
                tally.wrong += watchers
        for user in expected:
            tally.deliveries += watchers * min(1, seen[user])
            tally.lost += watchers * (seen[user] == 0)
            tally.duplicated += watchers * max(0, seen[user] - 1)
