"""`python -m tests.torture.returns --rounds 1000`: the loop of tests/durable/test_returns.py for as long as is wanted.

Every round is of another kind: as it comes, every change pushed, or a snapshot being taken nearly all the time.
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

from tests.durable.node import Node
from tests.durable.returning import ReturnLoop
from tests.torture.kill import KINDS, REPORT_EVERY_ROUNDS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--writers", type=int, default=50)
    parser.add_argument("--watchers", type=int, default=200)
    parser.add_argument("--acks", type=int, default=1_000, help="the most acknowledgements in one round")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="presenced-returns-"))
    print(f"seed {options.seed}, directory {directory}", flush=True)
    began_s = time.monotonic()
    with Node(directory) as node:
        loop = ReturnLoop(node, options.writers, options.watchers, options.seed)
        try:
            for number in range(options.rounds):
                node.options, node.limits = loop.random.choice(KINDS)
                node.options = ("--rate", "0", *node.options)
                loop.round(options.acks)
                if (number + 1) % REPORT_EVERY_ROUNDS == 0:
                    print(f"{time.monotonic() - began_s:.0f} s {loop.tally}", flush=True)
            loop.last()
        except AssertionError as failure:
            print(f"FAILED in round {loop.tally.rounds}: {failure}\n{loop.tally}", flush=True)
            return 1
    shutil.rmtree(directory)
    print(f"passed in {time.monotonic() - began_s:.0f} s: {loop.tally}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
