"""Profile `operate`: what an operator waits for, and what looking at the daemon costs those who use it.

Start, a question from a shell, scrape, reload, and a full house that only sends heartbeats. The way of a ping while the
configuration is read anew tells whether links notice a reload; it is held against the same number of pings before.
"""

from __future__ import annotations

import http.client
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from bench.errors import BenchError
from bench.load.daemon import start_daemon
from bench.load.links import Link, await_ping, open_device_links
from bench.machine.command import run_timed
from bench.machine.cores import Cores, need_descriptors
from bench.machine.disk import choose_place, scratch
from bench.machine.meter import add_figure
from bench.machine.server import Server
from bench.results.outcome import OURS, Outcome, Progress, ServerOutcome, no_progress, partial
from presenced.cli.admin_link import AdminLink
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Heartbeat, Ping, Pong

HEARTBEAT_S = 30.0
ANSWER_S = 10.0
PINGS = 300
GETS = 7
OFFLINE = 1
"""What `presencectl get` ends with if the user is."""
SCRAPES = 20
SCRAPE_EVERY_S = 0.1
"""A page is kept for that long: asked for sooner, it would be a copy."""

BEAT = frame(encode(Heartbeat(1500)))
FILE = """[presence]
grace = "{grace}s"
[log]
level = "{level}"
"""


def run(
    *, links: int = 10_000, seconds: float = 10.0, rounds: int = 5, cores: Cores, progress: Progress = no_progress
) -> Outcome:
    """One daemon with `links` links that are quiet but for a heartbeat each 30 s, for `seconds` in each round."""
    need_descriptors(links)
    ours = ServerOutcome()
    outcome = Outcome("operate", "operate: what an operator waits for, and what looking costs", "scrape_ms")
    outcome.options = {"links": links, "seconds": seconds, "rounds": rounds}
    outcome.servers[OURS] = ours
    with partial() as cut, ExitStack() as stack:
        place = scratch(stack, choose_place(), "operate")
        for number in range(rounds):
            start_once(ours, cores.server, place / f"empty-{number}")
            progress("starts", number + 1, rounds)
        settings = place / "presenced.toml"
        write_settings(settings, 0)
        daemon = stack.enter_context(start(cores.server, place / "data", "--config", str(settings)))
        opened = open_device_links(stack, daemon.port, [f"user{index}" for index in range(links)])
        with AdminLink(str(place / "data.sock"), ANSWER_S) as admin:
            port = http_port(admin.ask("status"))
            for number in range(rounds):
                ask_from_a_shell(ours, cores.load, daemon.port)
                add_figure(ours, "scrape_ms", scrape(port))
                reload_once(ours, admin, settings, number + 1, opened[0])
                add_figure(ours, "server_cpu_percent", beat(daemon, opened, seconds))
                await_ping(opened)  # whoever was dropped would cost nothing
                progress("rounds", number + 1, rounds)
    outcome.interrupted = cut.happened
    return outcome


def start(core: int, data: Path, *options: str) -> Server:
    """The daemon with all that an operator has."""
    looks = ("--admin-socket", f"{data}.sock", "--http", "127.0.0.1:0")
    return start_daemon(core, ("--data-dir", str(data), *looks, *options))


def start_once(ours: ServerOutcome, core: int, data: Path) -> None:
    """From the birth of a process on an empty directory to links being taken (looked at every 10 ms): milliseconds, and
    those of CPU."""
    began_ns = time.monotonic_ns()
    with start(core, data) as daemon:
        add_figure(ours, "ready_ms", round((time.monotonic_ns() - began_ns) / 1e6, 1))
        add_figure(ours, "ready_cpu_ms", round(daemon.cpu_ns() / 1e6, 1))


def ask_from_a_shell(ours: ServerOutcome, core: int, port: int) -> None:
    """`presencectl get` of one user, as a script runs it: the medians of some."""
    program = "from presenced.cli.entry import ctl; ctl()"
    words = [sys.executable, "-c", program, "--url", f"presence://script@127.0.0.1:{port}/shell", "get", "nobody"]
    taken = [run_timed(words, core, OFFLINE) for _ in range(GETS)]
    add_figure(ours, "get_ms", median(one.ms for one in taken))
    add_figure(ours, "get_cpu_ms", median(one.cpu_ms for one in taken))


def write_settings(path: Path, number: int) -> None:
    """A configuration that differs from that of `number - 1` in two keys."""
    path.write_text(FILE.format(grace=15 + number % 2, level="warning" if number % 2 else "info"))


def http_port(status: dict[str, Any]) -> int:
    """Where the daemon's metrics are."""
    for url in status["listeners"]:
        if url.startswith("http://"):
            return int(url.rpartition(":")[2])
    raise BenchError(f"the daemon tells no HTTP address among {status['listeners']}")


def scrape(port: int) -> float:
    """Milliseconds of one GET of the metrics over a connection that stays open: the median of twenty."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    taken = []
    try:
        for _ in range(SCRAPES):
            time.sleep(SCRAPE_EVERY_S)
            began_ns = time.monotonic_ns()
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            if answer.status != 200 or b"presenced_" not in answer.read():
                raise BenchError(f"the daemon answered {answer.status} to a scrape")
            taken.append(time.monotonic_ns() - began_ns)
    finally:
        connection.close()
    return round(sorted(taken)[SCRAPES // 2] / 1e6, 2)


def reload_once(ours: ServerOutcome, admin: AdminLink, settings: Path, number: int, link: Link) -> None:
    """Reload another configuration while one link pings without pause."""
    add_figure(ours, "calm_ping_max_ms", longest_ping_ms(link, PINGS))
    write_settings(settings, number)
    reports: list[dict[str, Any]] = []
    # On a thread, so that the pings go on while the answer is waited for.
    asking = threading.Thread(target=lambda: reports.append(admin.ask("reload")))
    asking.start()
    longest_ms = longest_ping_ms(link, PINGS, while_so=asking.is_alive)
    asking.join()
    if not reports or not reports[0]["ok"]:
        raise BenchError(f"the daemon did not take the new configuration: {reports or 'no answer'}")
    add_figure(ours, "reload_ms", float(reports[0]["took_ms"]))
    add_figure(ours, "reload_ping_max_ms", longest_ms)


def longest_ping_ms(link: Link, count: int, *, while_so: Callable[[], bool] = lambda: False) -> float:
    """The longest of at least `count` pings, one after the other, and of more `while_so`."""
    longest_ns = number = 0
    while number < count or while_so():
        number += 1
        began_ns = time.monotonic_ns()
        link.send(Ping(number))
        link.receive_reply(Pong)
        longest_ns = max(longest_ns, time.monotonic_ns() - began_ns)
    return round(longest_ns / 1e6, 2)


def beat(daemon: Server, links: list[Link], seconds: float) -> float:
    """The daemon's share of a core, in percent, while each link sends a heartbeat every 30 s, evenly spread."""
    between_s = HEARTBEAT_S / len(links)
    began_s, began_ns = time.monotonic(), daemon.cpu_ns()
    number = 0
    while (passed_s := time.monotonic() - began_s) < seconds:
        while number * between_s <= passed_s:
            os.write(links[number % len(links)].fd, BEAT)
            number += 1
        time.sleep(max(0.0, number * between_s - (time.monotonic() - began_s)))
    return round((daemon.cpu_ns() - began_ns) / 1e7 / (time.monotonic() - began_s), 2)
