"""What people do in an ordinary hour, done by a crowd for a while, and what that cost."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass

from bench.errors import BenchError
from bench.load.agenda import Arrivals, Merged, Until, now_ns
from bench.load.contacts import random_graph
from bench.load.crowd import Crowd
from bench.load.daemon import start_daemon
from bench.machine.cores import Cores, need_descriptors
from bench.machine.meter import Meter, add_figure
from bench.results.outcome import CHANGE_TO_WATCHER, OURS, Outcome, ServerOutcome
from presenced.limits import USERS_PER_REQUEST_MAX

ONLINE_SHARE = 0.9
HEARTBEAT_S_MIN = 10.0
PER_S = "server_cpu_ms_per_s_per_1000_users"


@dataclass(frozen=True)
class Mix:
    """What one person who is online does in an hour; `--speed` multiplies it."""

    changes: float = 4.0
    """Status and text, said by hand."""
    pauses: float = 3.0
    """Leaving the desk for 1 to 5 minutes: away, and back."""
    logouts: float = 0.5
    """And as many logins."""
    flaps: float = 2.0
    """Links lost for 0.5 to 3 seconds."""
    queries: float = 6.0
    """The records of all contacts."""

    def sentence(self, speed: float, heartbeat_s: float) -> str:
        """For the notes."""
        told = ", ".join(f"{value * speed:g} {name}" for name, value in asdict(self).items())
        return (
            f"in an hour each person online does {told}, as many logins as logouts, and "
            f"{3600 / heartbeat_s:g} heartbeats; arrivals are Poisson"
        )


def open_crowd(stack: ExitStack, cores: Cores, users: int, contacts: int, heartbeat_s: float, seed: int) -> Crowd:
    """The daemon and everybody, nine tenths of them connected. Devices count as away after one and a half heartbeats
    without input, so that a pause of a minute shows."""
    if contacts > USERS_PER_REQUEST_MAX:
        raise BenchError(f"{contacts} contacts do not fit one request; ask for at most {USERS_PER_REQUEST_MAX}")
    if heartbeat_s < HEARTBEAT_S_MIN:
        raise BenchError(
            f"with a heartbeat of {heartbeat_s:g} s leases would end between two rounds; ask for {HEARTBEAT_S_MIN:g} s"
        )
    watches = random_graph(users, contacts, seed)
    need_descriptors(users)
    options = ("--heartbeat", f"{round(heartbeat_s * 1000)}ms", "--away-after", f"{round(heartbeat_s * 1500)}ms")
    server = stack.enter_context(start_daemon(cores.server, options))
    crowd = Crowd(stack, server, watches, spin=not cores.shared, seed=seed)
    crowd.gather(ONLINE_SHARE)
    return crowd


def live(
    crowd: Crowd, ours: ServerOutcome, mix: Mix, speed: float, seconds: float, heartbeat_s: float, seed: int
) -> None:
    """Let people live for a while, and note what it cost."""
    online = crowd.online
    hourly = online * speed / 3600
    streams = (
        (mix.changes, crowd.change),
        (mix.pauses, crowd.pause),
        (mix.logouts, crowd.log_out),
        (mix.logouts, crowd.log_in),
        (mix.flaps, crowd.flap),
        (mix.queries, crowd.query),
    )
    crowd.loop.new_round()
    before = crowd.checks.deliveries
    with Meter(crowd.server) as meter:
        crowd.resume()
        end_ns = now_ns() + int(seconds * 1e9)
        agendas = [
            Arrivals(rate * hourly, seconds, do, seed=seed * 100 + number) for number, (rate, do) in enumerate(streams)
        ]
        beats = Arrivals(len(crowd.people) / heartbeat_s, seconds, crowd.heartbeat)
        crowd.loop.run(Until(end_ns, Merged(beats, *agendas, crowd.returns)))
    crowd.suspend(end_ns)
    # The quiet time at the end is not a part of the round.
    meter.taken_ns = max(crowd.loop.span_ns, int(seconds * 1e9))
    add_figure(ours, PER_S, meter.cpu_ns / 1e6 / (meter.taken_ns / 1e9) / online * 1000)
    add_figure(ours, "online", online)
    add_figure(ours, "deliveries_per_s", round((crowd.checks.deliveries - before) / (meter.taken_ns / 1e9), 1))
    add_figure(ours, "generator_lag_p99_us", crowd.loop.lag.percentile_ns(99) / 1000)
    meter.note(ours)


def tell(outcome: Outcome, crowd: Crowd, mix: str) -> None:
    """The waits, what was done, and the notes."""
    ours, hearing = outcome.servers[OURS], crowd.hearing
    waits = {CHANGE_TO_WATCHER: hearing.changes, "login": hearing.logins, "query": hearing.queries}
    ours.latency = {name: histogram.latency() for name, histogram in waits.items() if histogram.count}
    done = ", ".join(f"{count:,} {what}" for what, count in crowd.done.items())
    outcome.notes += [mix, f"done: {done or 'nothing'}", *crowd.loop.notes()]
