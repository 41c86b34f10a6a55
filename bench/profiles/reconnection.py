"""Profile `return`: everybody comes back after a restart, and is told everything, or only what is new to them.

Users watch each other over real sockets, or are contacts; the daemon keeps its state in a data directory. In each round
the daemon is stopped and started, a backend changes some users, and all come back at once: in one half of the round
they are told everybody whom they watch, as clients that have kept nothing, and in the other half they say what they
have, by a digest for each user, and are told what differs. Both halves have a restart and changes of their own. What
somebody is told is held against what the backend has said, and whoever was not changed must not be told.

With `lost` the daemon goes on, and only the links are lost: the second half takes back what they watched by the token
of their welcome, asks for the checksum, and compares if it is another.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from bench.errors import BenchError
from bench.load.contacts import random_graph
from bench.load.daemon import start_daemon
from bench.load.links import OPENING_AT_ONCE, Link, open_backend
from bench.machine.cores import Cores, need_descriptors
from bench.machine.disk import choose_place, file_system, scratch
from bench.machine.meter import Meter, add_figure
from bench.machine.server import Server
from bench.results.outcome import OURS, Checks, Outcome, Progress, ServerOutcome, no_progress, partial
from presenced.digests import digest
from presenced.limits import USERS_PER_REQUEST_MAX
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import (
    Check,
    Checked,
    ClientMessage,
    Compare,
    ContactEntry,
    ContactRecords,
    Done,
    Hello,
    Message,
    Record,
    Records,
    SetContacts,
    SetStatus,
    Watch,
    Welcome,
)

Answer = Records | ContactRecords | Checked

DEVICE = "bench"
WAYS = ("told_all", "told_new")


class Returner:
    """One user, over all links."""

    def __init__(self, user: str, watches: list[str]) -> None:
        self.user = user
        self.watches = watches
        self.has: dict[str, Record] = {}
        self.link: Link | None = None
        self.token = ""

    def said(self, way: str, *, contacts: bool, lost: bool) -> list[ClientMessage]:
        """What leaves at once when it comes."""
        is_new = way == "told_new"
        resume = self.token if lost and is_new else ""
        hello = Hello([1], "", self.user, DEVICE, contacts=contacts, quiet=contacts and is_new, resume=resume)
        if resume:
            return [hello, Check(1)]
        if not contacts:
            return [hello, Watch(1, self.watches, self.have() if is_new else None)]
        return [hello, Compare(1, self.watches, self.have())] if is_new else [hello]

    def have(self) -> list[int]:
        """What it has of each, as the server is told."""
        return [digest(self.has[user]) for user in self.watches]


class Crowd:
    """All of them."""

    def __init__(self, watches: dict[str, list[str]], checks: Checks, *, contacts: bool, lost: bool) -> None:
        self.all = [Returner(user, watched) for user, watched in watches.items()]
        self.checks = checks
        self.contacts = contacts
        self.lost = lost
        self.texts = dict.fromkeys(watches, "")
        """What the backend last said for each."""

    def come(self, stack: ExitStack, server: Server, way: str) -> tuple[int, int]:
        """All connect and are told; returns how many bytes the server sent for that, welcomes apart, and how many
        records."""
        told_bytes = told = 0
        for start in range(0, len(self.all), OPENING_AT_ONCE):
            some = self.all[start : start + OPENING_AT_ONCE]
            # Made before the first of them comes: the server is to find them as close together in both ways.
            said = [one.said(way, contacts=self.contacts, lost=self.lost) for one in some]
            data = [b"".join([frame(encode(message)) for message in messages]) for messages in said]
            for one, sent in zip(some, data, strict=True):
                one.link = Link(server.port, one.user)
                stack.callback(one.link.close)
                one.link.socket.sendall(sent)
            for one in some:
                answers = self._await_answers(one)
                told_bytes += sum([len(frame(encode(answer))) for answer in answers])
                told += self._take(one, answers, way)
        return told_bytes, told

    def _await_answers(self, one: Returner) -> list[Answer]:
        assert one.link is not None
        answers: list[Answer] = []
        while True:
            message = one.link.receive()
            if isinstance(message, Welcome):
                one.token = message.resume
                continue
            if not isinstance(message, Answer):
                raise BenchError(f"{one.user} waited for its records and got {message}")
            answers.append(message)
            if isinstance(message, Checked):
                have = one.have()
                if sum(have) % 2**32 == message.checksum:
                    return answers
                one.link.send(Compare(2, one.watches, have))
            elif isinstance(message, Records) or not message.more:
                return answers

    def _take(self, one: Returner, answers: Iterable[Answer], way: str) -> int:
        """Judge what it was told, and keep it."""
        before, told = dict(one.has), 0
        for answer in answers:
            for record in answer.records if not isinstance(answer, Checked) else ():
                told += 1
                is_as_before = record.user in before and digest(before[record.user]) == digest(record)
                self.checks.ghost += way == "told_new" and is_as_before
                one.has[record.user] = record
        for user in one.watches:
            is_right = user in one.has and one.has[user].text == self.texts[user]
            self.checks.deliveries += is_right
            self.checks.lost += not is_right
        self.checks.wrong += len(one.has) != len(one.watches)
        return told


def run(
    *,
    users: int = 2_000,
    watched: int = 50,
    changed: float = 0.01,
    contacts: bool = False,
    lost: bool = False,
    seed: int = 1,
    rounds: int = 3,
    place: Path | None = None,
    cores: Cores,
    progress: Progress = no_progress,
) -> Outcome:
    """Run the profile: in each of `rounds` they come back in both ways, each after a restart with this share of the
    users `changed`. With `contacts` they watch by the login with contacts and not by name. With `lost` there is no
    restart: the links alone are lost."""
    if watched > USERS_PER_REQUEST_MAX:
        raise BenchError(f"{watched} users do not fit one request; ask for at most {USERS_PER_REQUEST_MAX}")
    watches = random_graph(users, watched, seed)
    need_descriptors(users)
    place = choose_place(place)
    disk = file_system(place)
    ours = ServerOutcome()
    after = "a lost link" if lost else "a restart"
    outcome = Outcome("return", f"return: everybody comes back after {after}", "bytes_new_to_all")
    outcome.options = {
        "users": users,
        "watched": watched,
        "changed": changed,
        "contacts": contacts,
        "lost": lost,
        "rounds": rounds,
        "seed": seed,
        "file_system": f"{disk.kind} on {disk.device}, {place}",
    }
    outcome.servers[OURS] = ours
    crowd = Crowd(watches, ours.checks, contacts=contacts, lost=lost)
    choose = random.Random(seed)
    with ExitStack() as stack, partial() as cut:
        options = ("--data-dir", str(scratch(stack, place, "return") / "data"))
        server = stack.enter_context(start_daemon(cores.server, options))
        if contacts:
            set_contacts(server, watches)
        with ExitStack() as connected:
            progress("connecting", 0, rounds)
            crowd.come(connected, server, "told_all")
            for number in range(rounds):
                progress("returns", number, rounds)
                for way in WAYS if number % 2 == 0 else reversed(WAYS):
                    server.settled_cpu_ns()
                    if not lost:
                        server.stop()
                    connected.close()
                    if not lost:
                        server = stack.enter_context(start_daemon(cores.server, options))
                    some = choose.sample(sorted(watches), max(1, round(changed * users)))
                    change(server, crowd, some, f"{number} {way}")
                    measure(connected, server, crowd, way, ours)
                for what in ("bytes", "server_cpu_us"):
                    all_of, new_of = (ours.figures[f"{what}_per_return_{way}"][-1] for way in WAYS)
                    add_figure(ours, f"{what.removesuffix('_us')}_new_to_all", round(new_of / all_of, 4))
            progress("returns", rounds, rounds)
    outcome.interrupted = cut.happened
    outcome.notes.append("bytes are those of the answers: a welcome comes on top in both ways")
    outcome.notes.append("server CPU is that of the whole return: connection, hello, watch and answer")
    return outcome


def measure(stack: ExitStack, server: Server, crowd: Crowd, way: str, ours: ServerOutcome) -> None:
    """All come back, and what that took goes into the figures."""
    users = len(crowd.all)
    with Meter(server) as meter:
        told_bytes, told = crowd.come(stack, server, way)
    add_figure(ours, f"bytes_per_return_{way}", round(told_bytes / users, 1))
    add_figure(ours, f"records_per_return_{way}", round(told / users, 2))
    add_figure(ours, f"server_cpu_us_per_return_{way}", round(meter.cpu_ns / 1000 / users, 1))


def change(server: Server, crowd: Crowd, users: list[str], text: str) -> None:
    """A backend says something for these users."""
    with ExitStack() as stack:
        link = open_backend(stack, server.port, "backend")
        for user in users:
            crowd.texts[user] = text
            ask(link, SetStatus(1, None, text, user=user))


def set_contacts(server: Server, watches: dict[str, list[str]]) -> None:
    """Whom a user watches is a contact whom the user sees. Both sides of a pair are named, since each list is set as a
    whole."""
    watched_by: dict[str, list[str]] = {user: [] for user in watches}
    for user, watched in watches.items():
        for contact in watched:
            watched_by[contact].append(user)
    with ExitStack() as stack:
        link = open_backend(stack, server.port, "backend")
        for user, watched in watches.items():
            entries = {contact: ContactEntry(contact, "from") for contact in watched_by[user]}
            for contact in watched:
                entries[contact] = ContactEntry(contact, "both" if contact in entries else "to")
            ask(link, SetContacts(1, user, list(entries.values())))


def ask(link: Link, request: Message) -> None:
    """Wait until it is done."""
    link.socket.sendall(frame(encode(request)))
    answer = link.receive()
    if not isinstance(answer, Done):
        raise BenchError(f"{request} was answered with {answer}")
