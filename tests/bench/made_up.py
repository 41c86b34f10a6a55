"""Outcomes that nobody measured, for the tests of what is made of outcomes."""

from __future__ import annotations

import math

from bench.results.files import ResultFile
from bench.results.outcome import CHANGE_TO_WATCHER, LIMIT, OURS, Checks, Latency, Outcome, ServerOutcome

MACHINE: dict[str, object] = {
    "date": "2026-02-03T04:05:06+00:00",
    "command_line": "python -m bench fanout --rounds 5",
    "commit": "0123456789ab",
    "dirty": True,
    "cpu": "Imagined CPU <9000>",
    "cpu_count": 2,
    "memory_bytes": 8 << 30,
    "kernel": "6.18.0",
    "python": "3.11.9",
    "uvloop": "0.23.0",
    "msgspec": "0.22.0",
    "pinning": "servers on core 1, load on core 0",
    "change_spacing": "off unless a profile sets it",
    "presenced": "0.1.0",
    "rate_limit": "off",
}
COSTS = {OURS: 3.5, LIMIT: 2.9, "redis": 7.2, "nats": 8.7, "mosquitto": 9.4, "ejabberd": 38.9, "prosody": 80.0}
VERSIONS = {OURS: "0.1.0", "redis": "7.0.15", "nats": "2.9.10", "ejabberd": "23.01", "prosody": "0.12.3"}


def rounds(middle: float, count: int = 5, width: float = 0.04) -> list[float]:
    """`count` values around `middle`, which is their median."""
    return [round(middle * (1 + width * math.sin(2.4 * number)), 4) for number in range(1, count + 1)] or [middle]


def latency(scale: float, count: int = 20_000) -> Latency:
    """With a tail."""
    return Latency.of_ns([int(scale * (60_000 + 400 * (at % 97) + 9e7 / (1 + count - at))) for at in range(count)])


def fanout(scale: float = 1.0, count: int = 5) -> Outcome:
    """Seven servers, two of which are far more expensive."""
    servers = {
        name: ServerOutcome(
            VERSIONS.get(name, ""),
            {
                "server_cpu_us_per_delivery": rounds(cost * scale, count),
                "deliveries_per_s": rounds(200_000 / cost, count),
                "rss_bytes": rounds(cost * 9e6, count, 0.001),
                "core_taken_by_others": rounds(0.01, count),
            },
            Checks(deliveries=200_000 * count),
            {CHANGE_TO_WATCHER: latency(cost)},
        )
        for name, cost in COSTS.items()
        if name != "mosquitto"
    }
    return Outcome(
        "fanout",
        "fan-out: server CPU for each delivery",
        "server_cpu_us_per_delivery",
        {"watchers": 1000, "changes": 200, "publishers": 1, "rounds": count},
        servers,
        {"mosquitto": "install one: apt-get install mosquitto"},
        ["Redis: a change is <SET> and PUBLISH", "the peers keep no presence: they pass bytes on"],
    )


def core() -> Outcome:
    """One server, no rounds, and cost against scale."""
    points = {"change_us_by_users": [(1e4, 9.1), (1e5, 9.4), (1e6, 10.0)]}
    figures = {"change_us": [10.0], "bytes_per_user": [612.0], "bytes_per_live_device": [988.0]}
    server = ServerOutcome("0.1.0", figures, series=points)
    return Outcome(
        "core", "core: the engine without sockets", "change_us", {"users": [10_000, 1_000_000]}, {OURS: server}
    )


def idle() -> Outcome:
    """Memory, without a peer."""
    server = ServerOutcome("0.1.0", {"rss_bytes_per_device": [3072.0], "server_cpu_us_per_hello": [41.0]})
    return Outcome("idle", "idle: memory of a device that does nothing", "rss_bytes_per_device", {}, {OURS: server})


def result(*outcomes: Outcome, name: str = "made-up.json") -> ResultFile:
    """A file of them."""
    return ResultFile(dict(MACHINE), list(outcomes) or [fanout(), core(), idle()], name=name)
