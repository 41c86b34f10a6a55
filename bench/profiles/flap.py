"""Profile `flap`: links that are lost and come back, as on a train. Within the grace nobody may be told of it.

First all devices lose their links at once (half by a reset, half by a close without bye) and return within the grace:
what that costs the server, and that their watchers are told nothing. Then some stay away longer: each of their watchers
is told of each of them twice, offline when the grace is over and online when they return. The spacing of changes is on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack

from bench.errors import BenchError
from bench.load.daemon import start_daemon
from bench.load.framing import Rests, presences
from bench.load.links import Link, edge_triggered, open_device_links, read_available, watch
from bench.machine.cores import Cores, need_descriptors
from bench.machine.meter import Meter, add_figure
from bench.machine.server import Server
from bench.results.outcome import OURS, Checks, Outcome, Progress, ServerOutcome, no_progress, partial

TARGET_US = 200
WATCH_MAX = 1000
SPACING_MS = 200
AFTER_GRACE_S = 30.0
"""How long the end of a grace may take to be told, on a busy machine."""

AFTERMATH_S = 0.5
"""How long it listens for what should not come."""


class Flappers:
    """Devices that come and go, and links that watch them. `watchers` watch each of them."""

    def __init__(self, stack: ExitStack, server: Server, links: int, watchers: int) -> None:
        self.server = server
        self.users = [f"user{index}" for index in range(links)]
        self.links: dict[str, Link] = {}
        self.told: dict[tuple[int, str], list[str]] = {}
        """The statuses that a watcher was told of a user since they were last looked at."""
        self.lost_ns: dict[str, int] = {}
        self._watched: dict[int, set[str]] = {}
        self._versions: dict[tuple[int, str], int] = {}
        self._rests = Rests()
        stack.callback(self.drop, self.users, tell=False)
        self.come(self.users)
        shares = [self.users[start : start + WATCH_MAX] for start in range(0, links, WATCH_MAX)]
        names = [f"watcher{index}" for index in range(watchers * len(shares))]
        opened = open_device_links(stack, server.port, names)
        watch(opened, shares * watchers)
        for link, share in zip(opened, shares * watchers, strict=True):
            self._watched[link.fd] = set(share)
        self._poller = edge_triggered(stack, opened)

    def drop(self, users: Sequence[str], *, tell: bool = True) -> None:
        """Lose the links of these users: every other one by a reset, the rest by a close without bye."""
        for number, user in enumerate(users):
            link = self.links.pop(user, None)
            if link is None:
                continue
            if number % 2:
                link.reset_on_close()
            link.close()
            if tell:
                self.lost_ns[user] = time.monotonic_ns()

    def come(self, users: Sequence[str]) -> float:
        """Connect these users again, on the same devices; gives the longest that one of them was away, in seconds."""
        longest_ns = 0
        for start in range(0, len(users), 256):
            some = list(users[start : start + 256])
            with ExitStack() as opening:
                opened = open_device_links(opening, self.server.port, some)
                # From here on they are closed by `drop`, in the way that it chooses.
                opening.pop_all()
            now_ns = time.monotonic_ns()
            for link in opened:
                self.links[link.user] = link
                longest_ns = max(longest_ns, now_ns - self.lost_ns.pop(link.user, now_ns))
        return longest_ns / 1e9

    def listen(self, checks: Checks, *, until: int = 0, timeout_s: float = AFTERMATH_S) -> int:
        """Read what watchers are told until there are `until` notifications (0 = for the whole time); gives how many
        there were."""
        count = 0
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0 and not (until and count >= until):
            for fd, _ in self._poller.poll(left_s):
                count += self._take(fd, checks)
        return count

    def _take(self, fd: int, checks: Checks) -> int:
        pushes = presences(self._rests.whole(fd, read_available(fd)))
        for push in pushes:
            record = push.record
            key = (fd, record.user)
            before = self._versions.get(key, 0)
            self._versions[key] = max(before, record.version)
            if record.user not in self._watched[fd]:
                checks.wrong += 1
            elif record.version == before:
                checks.duplicated += 1
            elif record.version < before:
                checks.misordered += 1
            else:
                self.told.setdefault(key, []).append(record.status)
        return len(pushes)


def run(
    *,
    links: int = 10_000,
    watchers: int = 5,
    late: int = 1000,
    grace_s: float = 10.0,
    rounds: int = 3,
    cores: Cores,
    progress: Progress = no_progress,
) -> Outcome:
    """Run the profile: `rounds` times all of `links` devices flap, each watched by `watchers`; then `late` of them come
    back after the grace."""
    late = min(late, links)
    need_descriptors(links + watchers * (links // WATCH_MAX + 1))
    ours = ServerOutcome()
    outcome = Outcome("flap", "flap: links that are lost and come back", "server_cpu_us_per_flap")
    outcome.options = {"links": links, "watchers": watchers, "late": late, "grace_s": grace_s, "rounds": rounds}
    outcome.options["change_spacing"] = f"{SPACING_MS} ms"
    outcome.servers[OURS] = ours
    outcome.notes.append(f"change spacing is on ({SPACING_MS} ms), unlike in the other profiles")
    options = ("--grace", f"{round(grace_s * 1000)}ms", "--change-spacing", f"{SPACING_MS}ms")
    with ExitStack() as stack:
        progress("connecting", 0, rounds + 1)
        server = stack.enter_context(start_daemon(cores.server, options))
        flappers = Flappers(stack, server, links, watchers)
        flappers.listen(ours.checks)
        flappers.told.clear()
        with partial() as cut:
            for number in range(rounds):
                progress("rounds", number, rounds + 1)
                within_grace(flappers, ours, grace_s)
            progress("after the grace", rounds, rounds + 1)
            if late:
                after_grace(flappers, ours, late, watchers, grace_s)
            progress("rounds", rounds + 1, rounds + 1)
    outcome.interrupted = cut.happened
    if costs := ours.figures.get(outcome.main_figure):
        kept = "met" if sorted(costs)[len(costs) // 2] <= TARGET_US else "missed"
        outcome.notes.append(f"the target of {TARGET_US} us of server CPU for a flap is {kept}")
    return outcome


def within_grace(flappers: Flappers, ours: ServerOutcome, grace_s: float) -> None:
    """All lose their links and return in time: whatever a watcher is told is a ghost."""
    with Meter(flappers.server) as meter:
        started_s = time.monotonic()
        flappers.drop(flappers.users)
        dropped_s = time.monotonic() - started_s
        away_s = flappers.come(flappers.users)
    if away_s >= grace_s:
        raise BenchError(
            f"{len(flappers.users)} links took {away_s:.1f} s to return, longer than the grace of {grace_s:.1f} s; "
            "raise --grace-s or ask for fewer --links"
        )
    ours.checks.ghost += flappers.listen(ours.checks)
    flappers.told.clear()
    add_figure(ours, "server_cpu_us_per_flap", meter.cpu_us_per(len(flappers.users)))
    add_figure(ours, "drop_s", round(dropped_s, 3))
    add_figure(ours, "longest_away_s", round(away_s, 3))
    meter.note(ours)


def after_grace(flappers: Flappers, ours: ServerOutcome, late: int, watchers: int, grace_s: float) -> None:
    """Some return too late: exactly one offline and one online each, to each watcher."""
    some, checks = flappers.users[:late], ours.checks
    cpu_ns = flappers.server.settled_cpu_ns()
    flappers.drop(some)
    early = flappers.listen(checks, timeout_s=grace_s * 0.8)
    checks.ghost += early
    flappers.listen(checks, until=late * watchers - early, timeout_s=grace_s + AFTER_GRACE_S)
    flappers.come(some)
    flappers.listen(checks, until=late * watchers, timeout_s=AFTER_GRACE_S)
    flappers.listen(checks)
    cpu_ns = flappers.server.settled_cpu_ns() - cpu_ns
    add_figure(ours, "server_cpu_us_per_late_return", round(cpu_ns / 1000 / late, 3))
    judge(flappers, some, watchers, checks)


def judge(flappers: Flappers, some: Sequence[str], watchers: int, checks: Checks) -> None:
    """Hold what watchers were told of those who were away too long against the truth."""
    told = {key: list(statuses) for key, statuses in flappers.told.items()}
    flappers.told.clear()
    away = set(some)
    complete = 0
    for (_, user), statuses in told.items():
        if user not in away:
            checks.ghost += len(statuses)
            continue
        complete += 1
        checks.deliveries += len(statuses)
        checks.lost += max(0, 2 - len(statuses))
        checks.duplicated += max(0, len(statuses) - 2)
        if statuses != ["offline", "online"]:
            checks.stale += statuses[-1] != "online"
            checks.misordered += statuses[:2] == ["online", "offline"]
    checks.lost += 2 * (len(some) * watchers - complete)
