"""Writers that each wait for the answer to one write before they send the next: a closed loop for each."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench.errors import BenchError
from bench.load.framing import FIRST_ID, decoded
from bench.load.links import Connection, edge_triggered, get_records, open_device_links, open_link, read_available
from bench.machine.disk import FileSystem
from bench.machine.server import Server
from bench.results.outcome import Checks
from presenced.wire.codec import encode
from presenced.wire.frames import LENGTH_BYTES, frame
from presenced.wire.messages import Done, Hello, SetStatus, Welcome

STALL_S = 10.0
READ_BYTES = 4096


@dataclass
class Writer:
    """One connection with at most one write outstanding."""

    fd: int
    user: str
    sent: int = FIRST_ID
    acknowledged: int = FIRST_ID
    sent_ns: int = 0
    held: bytes = b""


@dataclass
class WriteFigures:
    """What the counted rounds gave, one entry a round; latencies one for each write."""

    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    flushes: list[float] = field(default_factory=list)
    server_busy: list[float] = field(default_factory=list)
    generator_busy: list[float] = field(default_factory=list)
    rss_bytes: list[float] = field(default_factory=list)
    latencies_ns: list[int] = field(default_factory=list)


class Writers:
    """A server with its writers. Speaks presence; `RedisWriters` speaks RESP."""

    def __init__(self, stack: ExitStack, server: Server, disk: FileSystem, users: list[str], *, spin: bool) -> None:
        self.server = server
        self.users = users
        self.figures = WriteFigures()
        self.checks = Checks()
        self.waited_ns = self.measured_ns = self.idle_ns = 0
        self._disk = disk
        self._poll_s = 0.0 if spin else STALL_S
        links = self._open(stack)
        self._poller = edge_triggered(stack, links)
        self.writers = {link.fd: Writer(link.fd, user) for link, user in zip(links, users, strict=True)}
        self._round = [0, 0, 0, 0, 0]

    def _open(self, stack: ExitStack) -> Sequence[Connection]:
        return open_device_links(stack, self.server.port, self.users)

    def request(self, writer: Writer) -> bytes:
        """The write that sets the text of the writer's number."""
        return frame(encode(SetStatus(writer.sent, None, text_of(writer.sent))))

    def answered(self, writer: Writer, data: bytes) -> bool:
        """Is `data` the whole answer to the outstanding write? `BenchError` if it is another one."""
        if len(data) < LENGTH_BYTES or len(data) < LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "big"):
            return False
        message = decoded(data[LENGTH_BYTES:])
        if not isinstance(message, Done) or message.id != writer.sent:
            raise BenchError(f"{writer.user} waited for the answer to its write and got {message}")
        return True

    def texts(self) -> dict[str, str]:
        """What the server tells of every user, asked over a link of its own."""
        return told_texts(self.server, self.users)

    def run_slice(self, seconds: float) -> None:
        """Write for `seconds`, then wait for the answers that are out; adds to the round."""
        server = self.server
        cpu_ns, waited_ns, flushes = server.settled_cpu_ns(), server.waited_ns(), self._disk.flushes()
        before, self.idle_ns = len(self.figures.latencies_ns), 0
        taken_ns = self.drive(seconds, drain=True)
        flushes = self._disk.flushes() - flushes
        self.waited_ns += server.waited_ns() - waited_ns
        self.measured_ns += taken_ns
        cpu_ns = server.settled_cpu_ns() - cpu_ns
        writes = len(self.figures.latencies_ns) - before
        for index, value in enumerate((writes, taken_ns, cpu_ns, flushes, self.idle_ns)):
            self._round[index] += value

    def drive(self, seconds: float, *, drain: bool) -> int:
        """The closed loops: every writer writes until `seconds` are over. Without `drain` it leaves in their midst.

        Gives the nanoseconds until the last answer.
        """
        writers, poll, poll_s, clock = self.writers, self._poller.poll, self._poll_s, time.perf_counter_ns
        note = self.figures.latencies_ns.append
        started_ns = now_ns = last_ns = before_ns = clock()
        until_ns = started_ns + int(seconds * 1e9)
        outstanding = len(writers)
        for writer in writers.values():
            self._send(writer, clock())
        while outstanding:
            events = poll(poll_s)
            now_ns = clock()
            if now_ns >= until_ns and not drain:
                break
            if poll_s or not events:
                self.idle_ns += now_ns - before_ns
                before_ns = now_ns
            if not events:
                if now_ns - last_ns > STALL_S * 1e9:
                    raise BenchError(f"{outstanding} writes have had no answer for {STALL_S:.0f} s")
                continue
            last_ns = now_ns
            for fd, _ in events:
                writer = writers[fd]
                data = writer.held + _read(fd)
                if not self.answered(writer, data):
                    writer.held = data
                    continue
                writer.held = b""
                writer.acknowledged = writer.sent
                now_ns = clock()
                note(now_ns - writer.sent_ns)
                if now_ns < until_ns:
                    self._send(writer, now_ns)
                else:
                    outstanding -= 1
            before_ns = clock()
        return last_ns - started_ns

    def _send(self, writer: Writer, now_ns: int) -> None:
        writer.sent += 1
        writer.sent_ns = now_ns
        os.write(writer.fd, self.request(writer))

    def end_round(self, *, counted: bool) -> None:
        """Take the round's figures, or drop them: it was the warm-up."""
        writes, taken_ns, cpu_ns, flushes, idle_ns = self._round
        self.checks.deliveries += writes if counted else 0
        self._round = [0, 0, 0, 0, 0]
        if not counted:
            self.figures.latencies_ns.clear()
            return
        self.figures.rates.append(writes / (taken_ns / 1e9))
        self.figures.cpu_us.append(cpu_ns / 1000 / writes)
        self.figures.flushes.append(flushes / writes)
        self.figures.server_busy.append(round(cpu_ns / taken_ns, 3))
        self.figures.generator_busy.append(round(1 - idle_ns / taken_ns, 3))
        self.figures.rss_bytes.append(self.server.resident_bytes())

    def lost(self) -> int:
        """Users of whom the server does not tell the last acknowledged text, nor one that was sent after it."""
        told = self.texts()
        return sum(
            told.get(writer.user) not in {text_of(writer.acknowledged), text_of(writer.sent)}
            for writer in self.writers.values()
        )

    def take_late_answers(self) -> None:
        """Read what the server had answered before it was killed."""
        for writer in self.writers.values():
            try:
                data = writer.held + _read(writer.fd)
            except (BenchError, ConnectionError):
                continue
            if writer.sent != writer.acknowledged and self.answered(writer, data):
                writer.acknowledged = writer.sent


def text_of(number: int) -> str:
    """The text of a writer's write: all of one size."""
    return f"in a call until late, no. {number - FIRST_ID:07d}"


def told_texts(server: Server, users: list[str]) -> dict[str, str]:
    """Every user's text, as the server tells it."""
    with ExitStack() as stack:
        link = open_link(stack, server.port, "auditor")
        link.send(Hello([1], "", link.user, "bench"))
        link.receive_reply(Welcome)
        return {user: record.text for user, record in get_records(link, users).items()}


def _read(fd: int) -> bytes:
    data = os.read(fd, READ_BYTES)
    # The poller is edge-triggered; an answer is far smaller than a full read.
    return data + read_available(fd) if len(data) == READ_BYTES or not data else data
