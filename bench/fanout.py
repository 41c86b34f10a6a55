"""Profile `fanout`: publishers change, every watcher must be told, one step at a time.

With one publisher this is the star: the cost of a single notification. With several, all of them change at once
(the server stands still until the last change is in its sockets) and the step ends when every watcher has every
change: what coalescing saves.

The C limit runs at the same time on links of its own. After each step of the daemon its publishers send
exactly the bytes that the daemon delivered, so that both sides see the same machine to within milliseconds,
the same payload and the same generator. The ratio is taken for each round; the rounds' median is the result.

The generator polls without sleeping: one that sleeps makes the server pay for waking it, and the faster
server pays less often, because it keeps the generator busy. Real watchers are on other machines and cost no
wake-up.
"""

from __future__ import annotations

import gc
from contextlib import ExitStack

from bench.daemon import BenchError, Cores, need_descriptors, start_daemon, start_limit, stop_limit
from bench.disk import choose_place, scratch
from bench.load import Link, open_device_links, open_limit_links, watch
from bench.report import Result, latency_us, median, spread
from bench.side import Side, Step, Told
from presenced.wire.frames import frame
from presenced.wire.messages import SetStatus, Status, encode


def run(
    *, watchers: int, changes: int, publishers: int, rounds: int, warmup: int, durable: bool = False, cores: Cores
) -> Result:
    """Run the profile. Faulty deliveries are in the result; `BenchError` means that there is no result."""
    need_descriptors(2 * (watchers + publishers))
    watcher_users = [f"w{index}" for index in range(watchers)]
    publisher_users = [f"p{index}" for index in range(publishers)]
    mode = "star" if publishers == 1 else "coalesced"
    spin = not cores.shared
    with ExitStack() as stack:
        if durable:
            directory = scratch(stack, choose_place(), "fanout")
            daemon = stack.enter_context(start_daemon(cores.server, ("--data-dir", str(directory))))
        else:
            daemon = stack.enter_context(start_daemon(cores.server))
        limit = stack.enter_context(start_limit(cores.server, mode))
        publisher_links = open_device_links(stack, daemon.port, publisher_users)
        watcher_links = open_device_links(stack, daemon.port, watcher_users)
        watch(watcher_links, [publisher_users] * watchers)
        a = Side(stack, daemon, publisher_links, watcher_links, spin=spin)
        publisher_links = open_limit_links(stack, limit.port, publisher_users, b"P")
        watcher_links = open_limit_links(stack, limit.port, watcher_users, b"W")
        b = Side(stack, limit, publisher_links, watcher_links, spin=spin)
        frame_bytes = run_rounds(a, b, changes=changes, rounds=rounds, warmup=warmup)
        if a.tally.clean:
            stop_limit(limit)
            if b.tally != a.tally:
                raise BenchError(f"the C server's run is void: daemon {a.tally}, C server {b.tally}")
    return {
        "profile": "fanout",
        "watchers": watchers,
        "publishers": publishers,
        "changes": changes,
        "rounds": rounds,
        "durable": durable,
        "limit_mode": mode,
        "frame_bytes": frame_bytes,
        **compared(a, b),
    }


def run_rounds(a: Side, b: Side, *, changes: int, rounds: int, warmup: int) -> int:
    """A warm-up and `rounds` rounds on both sides; stops at a fault. Returns the last step's bytes per
    frame.
    """
    source = Changes(a.publishers)
    replayed = Step([], {})
    for number in range(rounds + 1):
        gc.collect()
        gc.disable()
        a.begin()
        b.begin()
        for _ in range(changes if number else warmup):
            step = source.next_step()
            told = a.run_step(step)
            if not a.tally.clean:
                break
            replayed = replay(step, told, b.publishers)
            b.run_step(replayed)
        a.end()
        b.end()
        gc.enable()
        if not a.tally.clean:
            break
        if number == 0:
            a.forget()
            b.forget()
    return max((len(data) for _, data in replayed.sends), default=0)


class Changes:
    """The endless sequence of steps: the publishers alternate between two statuses, with a new text each
    time.
    """

    def __init__(self, publishers: list[Link]) -> None:
        self.publishers = publishers
        self.count = 0

    def next_step(self) -> Step:
        self.count += 1
        status: Status = "dnd" if self.count % 2 else "away"
        text = f"in a call, no. {self.count:06d}"
        data = frame(encode(SetStatus(self.count, status, text)))
        return Step(
            [(link.fd, data) for link in self.publishers],
            {link.user: (status, text) for link in self.publishers},
        )


def replay(step: Step, told: Told, publishers: list[Link]) -> Step:
    """The same step for the C server: what the daemon delivered is what its publishers send."""
    return Step([(link.fd, frame(encode(told[link.user]))) for link in publishers], step.expected)


def compared(a: Side, b: Side) -> Result:
    """The figures of both sides and their ratio; zeros where a fault ended the run before its first round."""
    server = a.figures.cpu_us_per_delivery or [0.0]
    limit = b.figures.cpu_us_per_delivery or [0.0]
    ratios = [one / other if other else 0.0 for one, other in zip(server, limit, strict=False)]
    return {
        "server_cpu_us_per_delivery": median(server),
        "server_spread": spread(server),
        "limit_cpu_us_per_delivery": median(limit),
        "limit_spread": spread(limit),
        "ratio": median(ratios),
        "ratio_spread": spread(ratios),
        **latency_us(a.figures.latencies_ns, ""),
        **latency_us(b.figures.latencies_ns, "limit_"),
        "deliveries": a.tally.deliveries,
        "lost": a.tally.lost,
        "duplicated": a.tally.duplicated,
        "wrong": a.tally.wrong,
        "core_taken_by_others": median(a.figures.core_taken or [0.0]),
    }
