"""Profile `graph`: every user is online, watches some others, and changes as fast as the server answers.

Each user has one change outstanding: the next is sent when the reply to the last arrives, and the server may batch as
it likes. `server_core_busy` tells whether the server or the generator set the pace. The server may also tell a slow
watcher only the latest of several changes; what counts as lost is a watcher whose last word on a user, after
everything came to rest, is not that user's last word.
"""

from __future__ import annotations

import gc
import os
import random
import select
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench.daemon import BenchError, Cores, need_descriptors, start_daemon
from bench.load import Link, edge_triggered, open_device_links, presences, read_available, watch
from bench.report import Result, median, spread
from presenced.wire.frames import frame
from presenced.wire.messages import Done, SetStatus, Status, encode

FIRST_ID = 1 << 24
"""Request ids from here on take five bytes on the wire: long enough to be found in a stream without parsing
it.
"""

READ_BYTES = 16_384
QUIET_S = 0.3
STALL_S = 10.0


@dataclass
class Person:
    """One user of the graph: a link, whom it watches, and everything it read in this round."""

    link: Link
    watches: list[str]
    chunks: list[bytes] = field(default_factory=list)
    request: int = FIRST_ID
    left: int = 0
    answer: bytes = b""
    """The bytes that the reply to the outstanding request begins with."""
    latest: tuple[Status, str] = ("online", "")

    def send_change(self) -> None:
        self.request += 1
        self.left -= 1
        status: Status = "dnd" if self.request % 2 else "away"
        self.latest = (status, f"in a call, no. {self.request - FIRST_ID:06d}")
        self.answer = encode(Done(self.request, 0))[:-1]
        os.write(self.link.fd, frame(encode(SetStatus(self.request, *self.latest))))

    def answered(self, data: bytes) -> bool:
        """Is the reply to the outstanding change in what was just read, or split between it and the last?"""
        if not self.answer:
            return False
        if self.answer not in data:
            split = len(self.answer) - 1
            before = self.chunks[-2][-split:] if len(self.chunks) > 1 else b""
            if self.answer not in before + data[:split]:
                return False
        self.answer = b""
        return True


@dataclass
class Tally:
    deliveries: int = 0
    merged: int = 0
    lost: int = 0
    wrong: int = 0


def run(*, users: int, contacts: int, changes: int, rounds: int, seed: int, cores: Cores) -> Result:
    """Run the profile. Faulty deliveries are in the result; `BenchError` means that there is no result."""
    if contacts >= users:
        raise BenchError(f"{users} users cannot have {contacts} contacts each; ask for fewer contacts")
    need_descriptors(users)
    names = [f"user{index}" for index in range(users)]
    choose = random.Random(seed)
    cpu_us: list[float] = []
    rates: list[float] = []
    busy: list[float] = []
    tally = Tally()
    with ExitStack() as stack:
        daemon = stack.enter_context(start_daemon(cores.server))
        links = open_device_links(stack, daemon.port, names)
        watches = [choose.sample([name for name in names if name != own], contacts) for own in names]
        watch(links, watches)
        people = {link.fd: Person(link, names) for link, names in zip(links, watches, strict=True)}
        poller = edge_triggered(stack, links)
        for number in range(rounds + 1):
            counts = changes if number else 1
            before = tally.deliveries
            cpu_ns, started_ns = daemon.settled_cpu_ns(), time.monotonic_ns()
            round_ns = saturate(poller, people, counts, spin=not cores.shared) - started_ns
            cpu_ns = daemon.settled_cpu_ns() - cpu_ns
            verify(people, counts, tally)
            if number == 0:
                tally = Tally()
            elif tally.deliveries > before:
                cpu_us.append(cpu_ns / 1000 / (tally.deliveries - before))
                rates.append((tally.deliveries - before) / (round_ns / 1e9))
                busy.append(cpu_ns / round_ns)
    return {
        "profile": "graph",
        "users": users,
        "contacts": contacts,
        "changes": changes,
        "rounds": rounds,
        "seed": seed,
        "server_cpu_us_per_delivery": median(cpu_us or [0.0]),
        "server_spread": spread(cpu_us or [0.0]),
        "deliveries_per_s": round(median(rates or [0.0])),
        "server_core_busy": median(busy or [0.0]),
        "deliveries": tally.deliveries,
        "merged": tally.merged,
        "lost": tally.lost,
        "wrong": tally.wrong,
    }


def saturate(poller: select.epoll, people: dict[int, Person], changes: int, *, spin: bool) -> int:
    """Let everyone make `changes` changes and read until nothing more comes; the time of the last arrival."""
    poll, read, clock = poller.poll, os.read, time.monotonic_ns
    busy = len(people)
    gc.collect()
    gc.disable()
    last_ns = clock()
    for person in people.values():
        person.left = changes
        person.send_change()
    while True:
        events = poll(0.0 if spin else QUIET_S)
        now_ns = clock()
        if not events:
            if now_ns - last_ns > (STALL_S if busy else QUIET_S) * 1e9:
                break
            continue
        last_ns = now_ns
        for fd, _ in events:
            person = people[fd]
            data = read(fd, READ_BYTES)
            if len(data) == READ_BYTES or not data:
                data += read_available(fd)
            person.chunks.append(data)
            if person.answered(data):
                if person.left:
                    person.send_change()
                else:
                    busy -= 1
    gc.enable()
    if busy:
        raise BenchError(f"{busy} users have had no reply to their last change for {STALL_S:.0f} s")
    return last_ns


def verify(people: dict[int, Person], changes: int, tally: Tally) -> None:
    """Count what everyone read in the round and hold its end against the truth; forgets the round."""
    truth = {person.link.user: person.latest for person in people.values()}
    for person in people.values():
        last: dict[str, tuple[str, str]] = {}
        versions: dict[str, int] = {}
        pushes = presences(b"".join(person.chunks))
        person.chunks.clear()
        for push in pushes:
            record = push.record
            if record.version <= versions.get(record.user, 0):
                tally.wrong += 1
            versions[record.user] = record.version
            last[record.user] = (record.status, record.text)
        tally.deliveries += len(pushes)
        tally.merged += changes * len(person.watches) - len(pushes)
        tally.lost += sum(last.get(user) != truth[user] for user in person.watches)
        tally.wrong += len(last.keys() - set(person.watches))
