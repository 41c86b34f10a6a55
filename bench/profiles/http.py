"""Profile `http`: server CPU for each request over HTTP, on connections that stay.

A backend asks as fast as it is answered, over some connections at once: a closed loop, which finds what one core can
do. The same requests are sent over one connection as well, where the server rests in between and nothing is shared.
"""

from __future__ import annotations

from contextlib import ExitStack

from bench.load.daemon import start_daemon
from bench.load.http_clients import HttpClients, request
from bench.machine.cores import Cores
from bench.machine.kernel import free_port
from bench.machine.meter import Meter, add_figure
from bench.machine.server import Server
from bench.peers.presenced import Presenced
from bench.results.outcome import OURS, Latency, Outcome, Progress, ServerOutcome, no_progress, partial

FIGURE = "server_cpu_us_per_get_status"
RATE = "get_status_per_cpu_s"
USER = "user0"

ASKED = {
    "get_status": request("get_status", {"users": [USER]}, "backend"),
    "set_status": request("set_status", {"user": USER, "text": "in the office"}, "backend"),
    "who": request("who", {}, "backend"),
}


def run(*, connections: int, requests: int, rounds: int, cores: Cores, progress: Progress = no_progress) -> Outcome:
    """Run the profile; `BenchError` if a request was not answered with 200."""
    options = {"connections": connections, "requests": requests, "rounds": rounds}
    outcome = Outcome("http", "http: server CPU for each request over HTTP", FIGURE, options)
    ours = ServerOutcome(Presenced.find())
    outcome.servers = {OURS: ours}
    took_ns: list[int] = []
    with ExitStack() as stack:
        port = free_port()
        daemon = stack.enter_context(start_daemon(cores.server, ("--http", f"127.0.0.1:{port}")))
        with HttpClients(port, 1) as one:
            one.ask(request("attach", {"user": USER, "device": "web", "for_at_most_ms": 86_400_000}, "backend"), 1)
        with partial() as cut:
            for number in range(rounds + 1):
                # The listener closes connections that rest, as between two rounds.
                with HttpClients(port, connections) as clients:
                    _round(daemon, clients, requests, ours if number else ServerOutcome(), took_ns)
                with HttpClients(port, 1) as one:
                    alone_us = _asked(daemon, one, "get_status", max(1, requests // 10), [])
                if number:
                    add_figure(ours, "server_cpu_us_per_get_status_alone", round(alone_us, 1))
                progress("round", number, rounds)
        outcome.interrupted = cut.happened
    ours.latency["get_status"] = Latency.of_ns(took_ns)
    return outcome


def _round(daemon: Server, clients: HttpClients, requests: int, told: ServerOutcome, took_ns: list[int]) -> None:
    for name in ASKED:
        cpu_us = _asked(daemon, clients, name, requests, took_ns if name == "get_status" else [])
        add_figure(told, f"server_cpu_us_per_{name}", round(cpu_us, 1))
        if name == "get_status":
            add_figure(told, RATE, round(1e6 / cpu_us))


def _asked(daemon: Server, clients: HttpClients, name: str, requests: int, took_ns: list[int]) -> float:
    """Server CPU in microseconds for each of so many requests."""
    with Meter(daemon) as meter:
        took_ns += clients.ask(ASKED[name], requests)
    return meter.cpu_ns / 1000 / requests
