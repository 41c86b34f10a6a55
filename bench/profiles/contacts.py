"""Profile `contacts`: a backend sets the lists of all users, as an application does that keeps who knows whom itself.

Everybody is a contact of everybody whose contact they are, at distances that are drawn once, so that a list touches
users from all over. The users are known before, so that the growth of the memory is that of their contacts alone. Then
the daemon is stopped and started, and a sample of the lists is held against what was set.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.errors import BenchError
from bench.load.daemon import start_daemon
from bench.load.links import Link, open_backend
from bench.machine.cores import Cores, need_descriptors
from bench.machine.disk import choose_place, file_system, scratch
from bench.machine.meter import add_figure
from bench.machine.server import Server
from bench.results.outcome import OURS, Checks, Outcome, Progress, ServerOutcome, no_progress
from presenced.limits import CONTACTS_PER_REQUEST_MAX, USERS_PER_REQUEST_MAX
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import ContactEntry, ContactList, Done, GetContacts, Message, SetContacts, Touch

IN_FLIGHT = 64
"""Requests sent before their answers are read: fits the buffers of both sides."""

READY_TIMEOUT_S = 300.0

SAMPLE = 200
"""Users whose lists are read after the restart."""


def run(
    *,
    users: int = 5_000,
    contacts: int = 50,
    seed: int = 1,
    place: Path | None = None,
    cores: Cores,
    progress: Progress = no_progress,
) -> Outcome:
    """Run the profile. A contact that was acknowledged and is not there after the restart counts as lost."""
    if contacts % 2 or not 0 < contacts < users or contacts > min(CONTACTS_PER_REQUEST_MAX, USERS_PER_REQUEST_MAX):
        raise BenchError(f"{contacts} contacts: it takes an even number below that of users and up to 256")
    need_descriptors(8)
    place = choose_place(place)
    disk = file_system(place)
    ours = ServerOutcome()
    outcome = Outcome("contacts", "contacts: a backend sets everybody's list", "server_cpu_us_per_contact")
    outcome.options = {
        "users": users,
        "contacts": contacts,
        "seed": seed,
        "file_system": f"{disk.kind} on {disk.device}, {place}",
    }
    outcome.servers[OURS] = ours
    names = [f"user-{number:07}" for number in range(users)]
    distances = random.Random(seed).sample(range(1, (users + 1) // 2), contacts // 2)
    with ExitStack() as stack:
        options = ("--data-dir", str(scratch(stack, place, "contacts") / "data"))
        daemon = stack.enter_context(start_daemon(cores.server, options))
        link = open_backend(stack, daemon.port, "backend")
        progress("users", 0, 3)
        ask_all(link, (Touch(number, user=name) for number, name in enumerate(names, 1)))
        progress("contacts", 1, 3)
        set_all(link, daemon, names, distances, ours)
        progress("restart", 2, 3)
        daemon.settled_cpu_ns()
        daemon.stop()
        began_s = time.perf_counter()
        daemon = stack.enter_context(start_daemon(cores.server, options, timeout_s=READY_TIMEOUT_S))
        add_figure(ours, "ready_s", round(time.perf_counter() - began_s, 3))
        add_figure(ours, "rss_mib_after_restart", round(daemon.resident_bytes() / (1 << 20)))
        check_lists(open_backend(stack, daemon.port, "checker"), names, distances, seed, ours.checks)
        progress("restart", 3, 3)
    return outcome


def set_all(link: Link, daemon: Server, names: Sequence[str], distances: Sequence[int], ours: ServerOutcome) -> None:
    """Set the list of everybody, and say what it took."""
    total = 2 * len(distances) * len(names)
    cpu_ns, resident = daemon.settled_cpu_ns(), daemon.resident_bytes()
    began_s = time.perf_counter()
    ask_all(
        link,
        (
            SetContacts(number + 1, name, [ContactEntry(contact) for contact in contacts_of(names, number, distances)])
            for number, name in enumerate(names)
        ),
    )
    add_figure(ours, "import_s", round(time.perf_counter() - began_s, 3))
    add_figure(ours, "server_cpu_us_per_contact", (daemon.settled_cpu_ns() - cpu_ns) / 1000 / total)
    add_figure(ours, "rss_bytes_per_contact", round((daemon.resident_bytes() - resident) / total, 1))


def contacts_of(names: Sequence[str], number: int, distances: Iterable[int]) -> Iterator[str]:
    """Whom the user of this number has as contacts: both at each distance."""
    for distance in distances:
        yield names[(number + distance) % len(names)]
        yield names[number - distance]


def ask_all(link: Link, requests: Iterable[Message]) -> None:
    """Send requests that are answered with Done, numbered from 1, and wait for the answers; some are under way at a
    time."""
    sent = answered = 0
    frames: list[bytes] = []
    for request in requests:
        frames.append(frame(encode(request)))
        sent += 1
        if len(frames) == IN_FLIGHT // 2:
            link.socket.sendall(b"".join(frames))
            frames.clear()
            answered = await_done(link, answered, sent - IN_FLIGHT // 2)
    link.socket.sendall(b"".join(frames))
    await_done(link, answered, sent)


def await_done(link: Link, answered: int, until: int) -> int:
    """Read the answers up to that of this number; gives the number of the last that was read."""
    while answered < until:
        answered += 1
        answer = link.receive()
        if not isinstance(answer, Done) or answer.id != answered:
            raise BenchError(f"request {answered} was answered with {answer}")
    return max(answered, until)


def check_lists(link: Link, names: Sequence[str], distances: Sequence[int], seed: int, checks: Checks) -> None:
    """Hold a sample of the lists against what was set."""
    for number in random.Random(seed).sample(range(len(names)), min(SAMPLE, len(names))):
        link.socket.sendall(frame(encode(GetContacts(number + 1, user=names[number]))))
        answer = link.receive()
        if not isinstance(answer, ContactList):
            raise BenchError(f"the list of {names[number]} was answered with {answer}")
        found = {info.contact for info in answer.contacts if info.subscription == "both"}
        wanted = set(contacts_of(names, number, distances))
        checks.deliveries += len(found & wanted)
        checks.lost += len(wanted - found)
        checks.wrong += len(found - wanted) + (len(answer.contacts) != len(found))
