"""What of the machine a run takes: the cores of the servers and of the load, and file descriptors."""

from __future__ import annotations

import os
import resource
from typing import NamedTuple

from bench.errors import BenchError

DESCRIPTORS_SPARE = 192
"""For everything but the links: the daemon keeps back 128."""


class Cores(NamedTuple):
    """The core of the servers and that of the load; the same one if there is no second."""

    server: int
    load: int

    @property
    def shared(self) -> bool:
        """Must servers and load take turns on it?"""
        return self.server == self.load


def take_cores() -> Cores:
    """Pin this process to the first core it may use and name the last for the servers."""
    allowed = sorted(os.sched_getaffinity(0))
    cores = Cores(server=allowed[-1], load=allowed[0])
    os.sched_setaffinity(0, {cores.load})
    return cores


def need_descriptors(links: int) -> None:
    """Raise the soft limit of open files to the hard one; `BenchError` if `links` links do not fit beside the rest."""
    count = links + DESCRIPTORS_SPARE
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if count > hard:
        raise BenchError(
            f"this run needs {count} file descriptors in one process and the limit is {hard}; "
            f"raise it (ulimit -Hn {count}) or ask for fewer links"
        )
