"""Profile `restart`: the daemon is killed under its clients and started again. What do those who watch see of it?

Users watch each other over real sockets; the daemon keeps its state in a data directory. It is ended, by SIGKILL and by
SIGTERM in turn, and started; the clients return and watch again. Whatever one of them is told of another that is not
as before is a false transition: nobody's status has changed. It listens until the graces are over that
devices have after a restart, when those who were not recognised would be told as gone.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError
from bench.load.contacts import random_graph
from bench.load.daemon import start_daemon
from bench.load.framing import Rests, presences
from bench.load.links import OPENING_AT_ONCE, Link, edge_triggered, read_available
from bench.load.witness import number_of, status_of, text_of
from bench.machine.cores import Cores, need_descriptors
from bench.machine.disk import choose_place, file_system, scratch
from bench.machine.meter import add_figure
from bench.machine.server import Server
from bench.results.histogram import Histogram
from bench.results.outcome import OURS, Checks, Outcome, Progress, ServerOutcome, no_progress, partial
from presenced.limits import RESTART_GRACE_MS, RESTART_SPREAD_MS, USERS_PER_REQUEST_MAX
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Done, Hello, Presence, Record, Records, SetStatus, Watch, Welcome

AFTER_S = (RESTART_GRACE_MS + RESTART_SPREAD_MS) / 1000 + 5
ENDS = ("kill", "term")
DEVICE = "bench"


@dataclass
class Client:
    """One user, who is there before and after."""

    user: str
    watches: list[str]
    number: int
    """That of the user's change, which stands in the text."""
    link: Link | None = None
    versions: dict[str, int] = field(default_factory=dict)
    """The newest version of each contact that it was told since it connected."""


class Clients:
    """All of them, and what they are told."""

    def __init__(self, watches: dict[str, list[str]], checks: Checks) -> None:
        self.checks = checks
        self.all = [Client(user, contacts, number) for number, (user, contacts) in enumerate(watches.items(), 1)]
        self.repeated = 0
        """Notifications that told what was known; harmless."""
        self._numbers = {client.user: client.number for client in self.all}

    def come(self, stack: ExitStack, server: Server, login: Histogram | None = None) -> None:
        """Connect all and let each watch its contacts; the times from connecting to the answer go into `login`."""
        for start in range(0, len(self.all), OPENING_AT_ONCE):
            some = self.all[start : start + OPENING_AT_ONCE]
            started_ns = []
            for client in some:
                started_ns.append(time.monotonic_ns())
                client.versions.clear()
                client.link = Link(server.port, client.user)
                stack.callback(client.link.close)
                client.link.send(Hello([1], "", client.user, DEVICE))
                client.link.send(Watch(1, client.watches))
            for client, began_ns in zip(some, started_ns, strict=True):
                self._await_records(client, judged=login is not None)
                if login is not None:
                    login.record(time.monotonic_ns() - began_ns)

    def change_all(self) -> None:
        """Everybody says something, once, and has it acknowledged."""
        for client in self.all:
            link = linked(client)
            data = frame(encode(SetStatus(2, status_of(client.number), text_of(client.number))))
            link.socket.sendall(data)
        for client in self.all:
            link = linked(client)
            while not isinstance(message := link.receive(), Done):
                if not isinstance(message, Presence):
                    raise BenchError(f"the server answered a change of {client.user} with {message}")

    def listen(self, stack: ExitStack, seconds: float) -> None:
        """Judge whatever anyone is told for so long."""
        by_fd = {linked(client).fd: client for client in self.all}
        rests = Rests()
        for fd, client in by_fd.items():
            self._judge_all(client, rests.whole(fd, linked(client).take_unread()))
        poller = edge_triggered(stack, [linked(client) for client in self.all])
        deadline_s = time.monotonic() + seconds
        while (left_s := deadline_s - time.monotonic()) > 0:
            for fd, _ in poller.poll(left_s):
                self._judge_all(by_fd[fd], rests.whole(fd, read_available(fd)))

    def settle(self, stack: ExitStack) -> None:
        """Read and forget what is under way before the daemon is ended."""
        poller = edge_triggered(stack, [linked(client) for client in self.all])
        while events := poller.poll(0.3):
            for fd, _ in events:
                read_available(fd)

    def _judge_all(self, client: Client, data: bytes) -> None:
        for push in presences(data):
            self._judge(client, push.record, pushed=True)

    def _await_records(self, client: Client, *, judged: bool) -> None:
        link = linked(client)
        while not isinstance(message := link.receive(), Records):
            if isinstance(message, Presence):
                if judged:
                    self._judge(client, message.record, pushed=True)
            elif not isinstance(message, Welcome):
                raise BenchError(f"{client.user} waited for its contacts and got {message}")
        if judged:
            for record in message.records:
                self._judge(client, record, pushed=False)

    def _judge(self, client: Client, record: Record, *, pushed: bool) -> None:
        checks, number = self.checks, self._numbers.get(record.user, 0)
        if record.user not in client.watches:
            checks.wrong += 1
        elif record.text != text_of(number):
            # The text of somebody else would be worse than none.
            checks.wrong += number_of(record.text) != 0
            checks.lost += number_of(record.text) == 0
        elif record.status != status_of(number):
            checks.ghost += 1
        elif record.version < client.versions.get(record.user, 0):
            checks.misordered += 1
        else:
            checks.deliveries += 1
            self.repeated += pushed
        client.versions[record.user] = max(record.version, client.versions.get(record.user, 0))


def run(
    *,
    users: int = 2000,
    contacts: int = 20,
    after_s: float = AFTER_S,
    seed: int = 1,
    rounds: int = 3,
    place: Path | None = None,
    cores: Cores,
    progress: Progress = no_progress,
) -> Outcome:
    """Run the profile: `rounds` restarts, the first by SIGKILL, the second by SIGTERM, and so on; after each it listens
    for `after_s`."""
    if contacts > USERS_PER_REQUEST_MAX:
        raise BenchError(f"{contacts} contacts do not fit one request; ask for at most {USERS_PER_REQUEST_MAX}")
    watches = random_graph(users, contacts, seed)
    need_descriptors(users)
    place = choose_place(place)
    disk = file_system(place)
    ours = ServerOutcome()
    outcome = Outcome("restart", "restart: what watchers see of one", "server_cpu_us_per_login")
    outcome.options = {
        "users": users,
        "contacts": contacts,
        "after_s": after_s,
        "rounds": rounds,
        "seed": seed,
        "file_system": f"{disk.kind} on {disk.device}, {place}",
    }
    outcome.servers[OURS] = ours
    login = Histogram()
    clients = Clients(watches, ours.checks)
    with ExitStack() as stack:
        options = ("--data-dir", str(scratch(stack, place, "restart") / "data"))
        server = stack.enter_context(start_daemon(cores.server, options))
        with ExitStack() as connected, partial() as cut:
            progress("connecting", 0, rounds)
            clients.come(connected, server)
            clients.change_all()
            for number in range(rounds):
                progress("restarts", number, rounds)
                clients.settle(connected)
                server = restart(stack, server, options, ENDS[number % 2], ours, cores)
                connected.close()
                come_back(connected, clients, server, ours, login, after_s)
            progress("restarts", rounds, rounds)
    outcome.interrupted = cut.happened
    ours.latency["login"] = login.latency()
    if after_s < AFTER_S:
        outcome.notes.append(f"it listened for {after_s} s: who is gone is told {AFTER_S - 5:.0f} s after a restart")
    outcome.notes.append("rounds are restarts after SIGKILL and SIGTERM in turn; false transitions count as ghost")
    return outcome


def restart(
    stack: ExitStack, server: Server, options: tuple[str, ...], end: str, ours: ServerOutcome, cores: Cores
) -> Server:
    """End the daemon and start another on its directory; returns once it listens."""
    # What was said last is on its way to the disk until the daemon rests.
    server.settled_cpu_ns()
    began_s = time.perf_counter()
    if end == "kill":
        server.kill()
    else:
        server.stop()
    add_figure(ours, f"{end}_stop_s", round(time.perf_counter() - began_s, 3))
    began_s = time.perf_counter()
    server = stack.enter_context(start_daemon(cores.server, options))
    add_figure(ours, f"{end}_ready_s", round(time.perf_counter() - began_s, 3))
    return server


def come_back(
    stack: ExitStack, clients: Clients, server: Server, ours: ServerOutcome, login: Histogram, after_s: float
) -> None:
    """All clients return; what they are told then, and until the graces are over, is judged."""
    cpu_ns, began_s, repeated, ghosts = (
        server.settled_cpu_ns(),
        time.monotonic(),
        clients.repeated,
        clients.checks.ghost,
    )
    clients.come(stack, server, login)
    return_s = time.monotonic() - began_s
    add_figure(ours, "server_cpu_us_per_login", (server.settled_cpu_ns() - cpu_ns) / 1000 / len(clients.all))
    add_figure(ours, "return_s", round(return_s, 3))
    clients.listen(stack, after_s)
    add_figure(ours, "false_transitions", clients.checks.ghost - ghosts)
    add_figure(ours, "told_again", clients.repeated - repeated)


def linked(client: Client) -> Link:
    """Its link, which it has by now."""
    if client.link is None:
        raise BenchError(f"{client.user} is not connected")
    return client.link
