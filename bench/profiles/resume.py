"""Profile `resume`: what lost links and their return cost with a token to take all back, and without one.

A backend loses the one link that speaks for all its devices, and says hello with the token: one round trip, after which
it holds all of them again. Beside it another link pings without a pause, so that a server that did all of that at once
would be noticed. Then users who each watch others lose their links by a reset, all at once: the server's CPU for a loss
and for a return, for those that have a token and for as many that say their watch again, in turn.
"""

from __future__ import annotations

import random
import select
import time
from contextlib import ExitStack

from bench.errors import BenchError
from bench.load.daemon import start_daemon
from bench.load.links import OPENING_AT_ONCE, Link, attach_all, await_ping, open_device_links
from bench.machine.cores import Cores, need_descriptors
from bench.machine.meter import add_figure
from bench.machine.server import Server
from bench.peers.presenced import Presenced
from bench.results.outcome import OURS, Checks, Outcome, Progress, ServerOutcome, no_progress, partial
from presenced.limits import BEATS_MAX, USERS_PER_REQUEST_MAX
from presenced.wire.messages import Beats, Done, Hello, Ping, Pong, Presence, Records, SetStatus, Watch, Welcome

FIGURE = "server_cpu_us_per_device"
GRACE = ("--grace", "10m")
INSTANCE = 4711
PUBLISHER = "publisher"


def run(
    *, devices: int, links: int, watched: int, rounds: int, cores: Cores, progress: Progress = no_progress
) -> Outcome:
    """Run the profile; `BenchError` if something was not taken back."""
    if not 0 < watched <= USERS_PER_REQUEST_MAX:
        raise BenchError(f"{watched} watched users do not fit one request; ask for at most {USERS_PER_REQUEST_MAX}")
    need_descriptors(links + 8)
    options = {"devices": devices, "links": links, "watched": watched, "rounds": rounds}
    outcome = Outcome("resume", "resume: links that are lost and taken back", FIGURE, options)
    ours = ServerOutcome(Presenced.find())
    outcome.servers = {OURS: ours}
    with ExitStack() as stack:
        daemon = stack.enter_context(start_daemon(cores.server, GRACE))
        backend = Backend(stack, daemon, devices)
        crowds = [Crowd(stack, daemon, name, links, watched, has_token=name == "token") for name in ("token", "plain")]
        with partial() as cut:
            for number in range(rounds + 1):
                progress("rounds", number, rounds + 1)
                backend.flap(ours if number else ServerOutcome())
                for crowd in crowds:
                    crowd.flap(ours if number else ServerOutcome())
        outcome.interrupted = cut.happened
    return outcome


class Backend:
    """A service's client, over one link after the other, and a link beside it that only pings."""

    def __init__(self, stack: ExitStack, daemon: Server, devices: int) -> None:
        self._daemon = daemon
        self._devices = devices
        self._token = ""
        (self._beside,) = open_device_links(stack, daemon.port, ["bystander"])
        self._link = self._say_hello()
        stack.callback(lambda: self._link.close())
        self._await_welcome(resumed=False)
        attach_all(self._link, devices)

    def _say_hello(self) -> Link:
        link = Link(self._daemon.port, "backend")
        again = bool(self._token)
        link.send(
            Hello([1], "", "backend", "", role="service", as_was=again, only_free=again, instance=INSTANCE,
                  resume=self._token)
        )  # fmt: skip
        return link

    def _await_welcome(self, *, resumed: bool) -> None:
        welcome = self._link.receive_reply(Welcome)
        if welcome.resumed != resumed:
            raise BenchError(f"the backend's link was taken back: {welcome.resumed}; it should be: {resumed}")
        self._token = welcome.resume

    def flap(self, ours: ServerOutcome) -> None:
        """Lose the link, and take all back."""
        before = self._daemon.settled_cpu_ns()
        self._link.reset_on_close()
        self._link.close()
        lost = self._daemon.settled_cpu_ns()
        add_figure(ours, "server_cpu_us_per_device_lost", (lost - before) / 1000 / self._devices)
        began_ns = time.monotonic_ns()
        self._link = self._say_hello()
        self._link.send(Ping(1))
        slowest_ns = self._ping_beside()
        self._await_welcome(resumed=True)
        self._link.receive_reply(Pong)
        add_figure(ours, "return_ms", (time.monotonic_ns() - began_ns) / 1e6)
        add_figure(ours, "slowest_ping_beside_ms", slowest_ns / 1e6)
        back = self._daemon.settled_cpu_ns()
        add_figure(ours, FIGURE, (back - lost) / 1000 / self._devices)
        self._check()

    def _ping_beside(self) -> int:
        """The longest that another link waits for its pong until this one is welcome and has its own."""
        slowest_ns, waited_for = 0, self._link.socket
        while not select.select([waited_for], [], [], 0)[0]:
            began_ns = time.monotonic_ns()
            self._beside.send(Ping(2))
            self._beside.receive_reply(Pong)
            slowest_ns = max(slowest_ns, time.monotonic_ns() - began_ns)
        # The welcome comes at once, and the pong when all is back.
        for _ in range(max(3, self._devices // 500)):
            began_ns = time.monotonic_ns()
            self._beside.send(Ping(2))
            self._beside.receive_reply(Pong)
            slowest_ns = max(slowest_ns, time.monotonic_ns() - began_ns)
        return slowest_ns

    def _check(self) -> None:
        """A beat for each device: what is not held would be told."""
        for start in range(1, self._devices + 1, BEATS_MAX):
            refs = range(start, min(start + BEATS_MAX, self._devices + 1))
            self._link.send(Beats([number for ref in refs for number in (ref, -1)]))
        self._link.send(Ping(3))
        if not isinstance(said := self._link.receive(), Pong):
            raise BenchError(f"a device was not taken back: {said}")


class Crowd:
    """Users who each watch others, and lose their links all at once."""

    def __init__(
        self, stack: ExitStack, daemon: Server, name: str, links: int, watched: int, *, has_token: bool
    ) -> None:
        self._daemon = daemon
        self._name = name
        self._users = [f"{name}{index}" for index in range(links)]
        others = [f"other{index}" for index in range(2 * watched)]
        choose = random.Random(1)
        self._watched = [[PUBLISHER, *choose.sample(others, watched - 1)] for _ in range(links)]
        self._tokens: list[str | None] = ["" if has_token else None] * links
        self._links: list[Link] = []
        self._said = 0
        (self._publisher,) = open_device_links(stack, daemon.port, [PUBLISHER], name)
        stack.callback(self._lose)
        self._come(again=False)

    def flap(self, ours: ServerOutcome) -> None:
        """All lose their links and come back."""
        before = self._daemon.settled_cpu_ns()
        self._lose()
        lost = self._daemon.settled_cpu_ns()
        self._come(again=True)
        back = self._daemon.settled_cpu_ns()
        add_figure(ours, f"server_cpu_us_per_loss_{self._name}", (lost - before) / 1000 / len(self._users))
        add_figure(ours, f"server_cpu_us_per_return_{self._name}", (back - lost) / 1000 / len(self._users))
        self._check(ours.checks)

    def _lose(self) -> None:
        links, self._links = self._links, []
        for link in links:
            link.reset_on_close()
            link.close()

    def _come(self, *, again: bool) -> None:
        """One round trip each: with a token a hello, without one the watch behind it."""
        for start in range(0, len(self._users), OPENING_AT_ONCE):
            places = range(start, min(start + OPENING_AT_ONCE, len(self._users)))
            opened = [Link(self._daemon.port, self._users[place]) for place in places]
            self._links += opened
            for place, link in zip(places, opened, strict=True):
                link.send(
                    Hello([1], "", link.user, "bench", as_was=again, only_free=again, instance=INSTANCE + place,
                          resume=self._tokens[place])
                )  # fmt: skip
                if not self._tokens[place]:
                    link.send(Watch(1, self._watched[place]))
            for place, link in zip(places, opened, strict=True):
                welcome = link.receive_reply(Welcome)
                if welcome.resumed != bool(self._tokens[place]):
                    raise BenchError(f"the link of {link.user} was taken back: {welcome.resumed}")
                if not welcome.resumed:
                    link.receive_reply(Records)
                if self._tokens[place] is not None:
                    self._tokens[place] = welcome.resume

    def _check(self, checks: Checks) -> None:
        """A change of whom all watch is told to each of them, once."""
        self._said += 1
        text = f"{self._name} {self._said}"
        self._publisher.send(SetStatus(1, text=text))
        while not isinstance(self._publisher.receive(), Done):
            pass
        await_ping([self._publisher])
        for link in self._links:
            link.send(Ping(4))
            told = 0
            while isinstance(message := link.receive(), Presence):
                told += message.record.text == text
            checks.deliveries += told
            checks.lost += told == 0
            checks.duplicated += told > 1
