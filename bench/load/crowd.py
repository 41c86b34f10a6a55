"""A crowd of people on their devices, who do all that people do: the load of the profiles `mixed` and `soak`.

Each person has a link, watches some others, and keeps what the server says of them. `crowd_checks` judges each message
as it arrives; at the end, what everybody knows is compared with what the server says.
"""

from __future__ import annotations

import os
import random
import select
from contextlib import ExitStack

from bench.errors import BenchError
from bench.load.agenda import Arrivals, Returns, now_ns
from bench.load.crowd_checks import WATCH_ID, CrowdChecks
from bench.load.links import READ_BYTES, Link, get_records, open_device_links
from bench.load.openloop import OpenLoop
from bench.load.people import AWAY, GONE, HERE, LEAVING, Person
from bench.load.witness import number_of, text_of
from bench.machine.server import Server
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Bye, ClientMessage, Get, Heartbeat, Hello, SetStatus, StatusRequest, Watch

STATUSES: tuple[StatusRequest, ...] = ("dnd", "auto", "away", "auto")
"""What people say, in turn: half of the time nothing, and then their devices count."""

TRIES = 30
BACK_S = (0.5, 3.0)
"""How long a lost link is away."""

PAUSE_S = (60.0, 300.0)
AUDITS = 20


class Crowd:
    """Everybody, connected to one server. Each of the actions takes the time at which it was due."""

    def __init__(
        self, stack: ExitStack, server: Server, watches: dict[str, list[str]], *, spin: bool, seed: int
    ) -> None:
        self.server = server
        self.people = [Person(user, contacts) for user, contacts in watches.items()]
        self.hearing = CrowdChecks(self.people)
        self.checks = self.hearing.checks
        self.done: dict[str, int] = {}
        """How often each thing was done."""
        self.returns = Returns()
        self._by_fd: dict[int, Person] = {}
        self._turn = 0
        self._paused_ns = 0
        self._random = random.Random(seed)
        self._stack = stack
        stack.callback(self._close_all)
        self._poller = stack.enter_context(select.epoll())
        self.loop = OpenLoop(self._poller, self.read, spin=spin)

    def resume(self) -> None:
        """A round begins: what was due since `suspend` is not late by the time between the rounds."""
        if self._paused_ns:
            self.returns.shift(now_ns() - self._paused_ns)
            self._paused_ns = 0

    def suspend(self, at_ns: int) -> None:
        """The round has ended at `at_ns`: nobody does anything until `resume`."""
        self._paused_ns = at_ns

    @property
    def online(self) -> int:
        """How many are connected, or are about to be again."""
        return sum(person.state in (HERE, AWAY) for person in self.people)

    # --- what people do ---------------------------------------------------------------------------------------

    def gather(self, share: float) -> None:
        """Connect a share of the people, and wait for all answers."""
        for number, person in enumerate(self.people[: round(share * len(self.people))], 1):
            self._connect(person, 0)
            if number % 32 == 0:
                self.rest(quiet_s=0.02)
        self.rest()

    def heartbeat(self, due_ns: int) -> None:
        """The next one in turn, if connected, is alive, and says how long nothing was touched."""
        self._turn = (self._turn + 1) % len(self.people)
        person = self.people[self._turn]
        if person.state == HERE and not person.login_due_ns:
            self._beat(person, due_ns)

    def change(self, due_ns: int) -> None:
        """Somebody sets a status and a text."""
        if (person := self._someone(HERE)) is None:
            return
        person.number = self.hearing.expect_change(person, due_ns)
        person.said = STATUSES[person.number % len(STATUSES)]
        person.idle_since_ns = 0
        self._count("changes")
        self._send(person, SetStatus(self.hearing.request(person), person.said, text_of(person.number)))

    def pause(self, due_ns: int) -> None:
        """Somebody leaves the desk, and is back some minutes later."""
        person = self._someone(HERE)
        if person is None or person.idle_since_ns:
            return
        person.idle_since_ns = due_ns
        self._count("pauses")
        self.returns.add(due_ns + self._within(PAUSE_S), lambda back_ns: self._touch(person, back_ns))

    def log_out(self, due_ns: int) -> None:
        """Somebody says bye."""
        if (person := self._someone(HERE, idle=True)) is None:
            return
        person.byes += 1
        person.state = LEAVING
        self._count("logouts")
        self._send(person, Bye())

    def log_in(self, due_ns: int) -> None:
        """Somebody who was gone connects."""
        if (person := self._someone(GONE)) is not None:
            self._count("logins")
            self._connect(person, due_ns)

    def flap(self, due_ns: int) -> None:
        """Somebody's link is reset; the device is back within seconds."""
        if (person := self._someone(HERE, idle=True)) is None or person.link is None:
            return
        person.state = AWAY
        self._count("flaps")
        person.link.reset_on_close()
        self._drop(person)
        self.returns.add(due_ns + self._within(BACK_S), lambda back_ns: self._connect(person, back_ns))

    def query(self, due_ns: int) -> None:
        """Somebody asks for the contacts' records."""
        if (person := self._someone(HERE)) is not None:
            self._count("queries")
            self._send(person, Get(self.hearing.query(person, due_ns), person.watches))

    # --- reading, and the end ---------------------------------------------------------------------------------

    def read(self, fd: int) -> None:
        """Take what waits on a link, and look at it."""
        person = self._by_fd.get(fd)
        if person is None:
            return
        while True:
            try:
                data = os.read(fd, READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                if person.state != LEAVING:
                    raise BenchError(f"the server closed the link of {person.user}")
                self._drop(person)
                person.state = GONE
                return
            self.hearing.take(person, data)

    def rest(self, *, quiet_s: float = 0.3) -> None:
        """Read until nothing more comes."""
        self.loop.run(Arrivals(0, 0, lambda due_ns: None), quiet_s=quiet_s)

    def audit(self) -> None:
        """Bring everything to rest, and hold what people know, and what they said, against what the server says."""
        self.resume()
        while (due_ns := self.returns.next_ns) is not None:
            # Now, and not when they would have come: nobody waits for a time that has not come.
            self.returns.shift(now_ns() - due_ns)
            self.returns.act()
        with ExitStack() as stack:
            auditor = open_device_links(stack, self.server.port, ["auditor"])[0]
            for _ in range(AUDITS):
                self.loop.drain(self.server)
                truth = get_records(auditor, [person.user for person in self.people])
                # One who pauses may just have become away: then it is asked again.
                stale = sum(
                    person.known[user].version != truth[user].version
                    for person in self.people
                    if person.state == HERE
                    for user in person.watches
                )
                if not stale:
                    break
        self.checks.stale += stale
        if self.hearing.unanswered:
            raise BenchError(f"{self.hearing.unanswered} requests have had no answer; the server is stuck, or gone")
        for person in self.people:
            record = truth[person.user]
            self.checks.ghost += (record.status == "offline") != (person.state != HERE)
            self.checks.lost += person.number != number_of(record.text)
            if person.state == HERE:
                expected = ("online", "away") if person.said == "auto" else (person.said,)
                self.checks.wrong += record.status not in expected

    # --- links ------------------------------------------------------------------------------------------------

    def _connect(self, person: Person, due_ns: int) -> None:
        link = person.link = Link(self.server.port, person.user)
        person.state, person.rest, person.login_due_ns = HERE, b"", due_ns or -1
        self._by_fd[link.fd] = person
        link.socket.setblocking(False)
        self._poller.register(link.fd, select.EPOLLIN | select.EPOLLET)
        self._send(person, Hello([1], "", person.user, "phone", "mobile", idle_ms=self._idle_ms(person, now_ns())))
        self._send(person, Watch(WATCH_ID, person.watches))

    def _drop(self, person: Person) -> None:
        link, person.link = person.link, None
        if link is not None:
            self._poller.unregister(link.fd)
            del self._by_fd[link.fd]
            link.close()

    def _close_all(self) -> None:
        for person in self.people:
            if person.link is not None:
                person.link.close()

    def _send(self, person: Person, message: ClientMessage) -> None:
        if person.link is not None:
            os.write(person.link.fd, frame(encode(message)))

    def _beat(self, person: Person, due_ns: int) -> None:
        self._count("heartbeats")
        self._send(person, Heartbeat(self._idle_ms(person, due_ns)))

    def _touch(self, person: Person, due_ns: int) -> None:
        person.idle_since_ns = 0
        if person.state == HERE and not person.login_due_ns:
            self._beat(person, due_ns)

    def _idle_ms(self, person: Person, time_ns: int) -> int:
        return max(0, time_ns - person.idle_since_ns) // 1_000_000 if person.idle_since_ns else 0

    # --- chance -----------------------------------------------------------------------------------------------

    def _someone(self, state: int, *, idle: bool = False) -> Person | None:
        """A person in this state, whose login is over; None if there is hardly any. An `idle` one waits for no answer:
        nobody could tell what became of a request whose link is lost."""
        for _ in range(TRIES):
            person = self._random.choice(self.people)
            if person.state == state and not person.login_due_ns and not (idle and person.outstanding):
                return person
        self._count("skipped")
        return None

    def _within(self, seconds: tuple[float, float]) -> int:
        return int(self._random.uniform(*seconds) * 1e9)

    def _count(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1
