"""`python -m tests.torture.follow --rounds 1000`: the loop of tests/durable/test_following.py for as long as is wanted.

Prints what it counted. At the first broken promise it ends with status 1 and leaves the directory to be looked at.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.durable.following import FollowLoop
from tests.durable.node import Node

SNAPSHOTS: tuple[dict[str, float], ...] = ({}, {"SNAPSHOT_LOG_BYTES": 20_000})
"""As they come, or one nearly all the time."""

REPORT_EVERY_ROUNDS = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--events", type=int, default=300, help="the most events in one round")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="presenced-follow-"))
    print(f"seed {options.seed}, directory {directory}", flush=True)
    began_s = time.monotonic()
    with Node(directory, "--rate", "0") as node:
        loop = FollowLoop(node, options.seed)
        try:
            for number in range(options.rounds):
                node.limits = dict(loop.random.choice(SNAPSHOTS))
                loop.round(options.events)
                if (number + 1) % REPORT_EVERY_ROUNDS == 0:
                    print(f"{time.monotonic() - began_s:.0f} s {loop.counts}", flush=True)
            loop.last()
        except AssertionError as failure:
            print(f"FAILED in round {loop.counts.rounds}: {failure}\n{loop.counts}", flush=True)
            return 1
    shutil.rmtree(directory)
    print(f"passed in {time.monotonic() - began_s:.0f} s: {loop.counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
