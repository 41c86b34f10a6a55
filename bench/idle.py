"""Profile `idle`: what a connected device that does nothing costs the daemon in resident memory."""

from __future__ import annotations

import time
from contextlib import ExitStack

from bench.daemon import Cores, Server, need_descriptors, start_daemon
from bench.load import open_device_links
from bench.report import Result

WARM_LINKS = 32
"""Links that are there before the first reading, so that lazy set-up is not charged to the devices."""

STEADY_BYTES_MAX = 64 * 1024
SETTLE_TIMEOUT_S = 10.0


def run(*, links: int, cores: Cores) -> Result:
    """Open `links` links, each its own user and device; the growth of resident memory over their number."""
    need_descriptors(links + WARM_LINKS)
    with ExitStack() as stack:
        daemon = stack.enter_context(start_daemon(cores.server))
        open_device_links(stack, daemon.port, [f"warm{index}" for index in range(WARM_LINKS)])
        before_bytes = steady_resident_bytes(daemon)
        started_s = time.monotonic()
        cpu_ns = daemon.settled_cpu_ns()
        open_device_links(stack, daemon.port, [f"user{index}" for index in range(links)])
        cpu_ns = daemon.settled_cpu_ns() - cpu_ns
        opening_s = time.monotonic() - started_s
        after_bytes = steady_resident_bytes(daemon)
    return {
        "profile": "idle",
        "links": links,
        "rss_bytes_per_device": round((after_bytes - before_bytes) / links),
        "rss_before_bytes": before_bytes,
        "rss_after_bytes": after_bytes,
        "server_cpu_us_per_hello": round(cpu_ns / 1000 / links, 1),
        "opening_s": round(opening_s, 2),
    }


def steady_resident_bytes(server: Server) -> int:
    """Resident memory once the server rests and two readings agree."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    server.settled_cpu_ns()
    before = server.resident_bytes()
    while time.monotonic() < deadline:
        time.sleep(0.2)
        now = server.resident_bytes()
        if abs(now - before) <= STEADY_BYTES_MAX:
            return now
        before = now
    return before
