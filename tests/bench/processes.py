"""Processes that the bench starts: a daemon that delivers one thing wrongly, and waiting for its children."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.support.until import PATIENCE_S

FAULTY = Path(__file__).parent / "faulty_daemon.py"


def wait_for_children(pid: int, count: int) -> list[int]:
    """The ids of the children once there are `count`."""
    listing = Path(f"/proc/{pid}/task/{pid}/children")
    deadline = time.monotonic() + PATIENCE_S
    while len(children := [int(child) for child in listing.read_text().split()]) < count:
        assert time.monotonic() < deadline, "the bench did not start its servers"
        os.sched_yield()
    return children
