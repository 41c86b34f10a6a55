"""One message on every link, and then a rest, so that two never share a read."""

from __future__ import annotations

import os
from collections.abc import Callable

from bench.errors import BenchError
from bench.load.links import Link
from bench.machine.server import Server
from presenced.wire.messages import ServerMessage


def swept(
    daemon: Server,
    links: list[Link],
    data: bytes | Callable[[str], bytes],
    answer: type[ServerMessage] | None,
    sweeps: int,
) -> int:
    """CPU that `sweeps` sweeps of this message cost the server, in nanoseconds. One that differs is made of the name of
    the link's user."""
    sent = [data(link.user) if callable(data) else data for link in links]
    before = daemon.settled_cpu_ns()
    for _ in range(sweeps):
        for link, frame in zip(links, sent, strict=True):
            os.write(link.fd, frame)
        daemon.settled_cpu_ns()
        if answer is not None:
            for link in links:
                if not isinstance(said := link.receive(), answer):
                    raise BenchError(f"{link.user} was told {said}")
    return daemon.settled_cpu_ns() - before
