"""`python -m tests.torture.crash --states 1000000`: crash states of the store for as long as is wanted, on all cores.

Each round goes through all workloads with lots of its own. The first state that must not be ends it with status 1 and
the command that replays it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time

from tests.storage.crashes import Explorer, Violation
from tests.storage.machine import small_units
from tests.storage.workloads import by_name, engines, failing_operations, failing_syncs, full_disks, plain, walks

STRIDE = 7
REPORT_EVERY_S = 5.0


def tasks(seed: int) -> list[tuple[str, int]]:
    """One round: workloads by name, and the seed."""
    shift = seed % 11
    workloads = (
        *plain(),
        *engines(),
        *walks(seed * 100, 100),
        *full_disks(170 + shift),
        *failing_operations(7 + shift),
        *failing_syncs(2),
    )
    return [(workload.name, seed) for workload in workloads]


def explore(task: tuple[str, int]) -> tuple[int, str]:
    """The states of one workload, and what was wrong, if anything was."""
    name, seed = task
    explorer = Explorer(stride=STRIDE, seed=seed)
    try:
        with small_units():
            explorer.explore(by_name(name))
    except Violation as violation:
        return explorer.states, str(violation)
    return explorer.states, ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--states", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--replay", default="", metavar="PATH", help="go to this one state")
    options = parser.parse_args()
    if options.replay:
        with small_units():
            Explorer(seed=options.seed).replay(options.replay)
        print(f"{options.replay}: as it should be")
        return 0
    states, seed = 0, options.seed
    began_s = said_s = time.monotonic()
    with multiprocessing.Pool(options.processes) as pool:
        while states < options.states:
            for more, wrong in pool.imap_unordered(explore, tasks(seed)):
                states += more
                if wrong:
                    print(wrong, file=sys.stderr)
                    return 1
                now_s = time.monotonic()
                if now_s - said_s > REPORT_EVERY_S:
                    said_s = now_s
                    print(f"{states:,} states, {states / (now_s - began_s):,.0f}/s, seed {seed}", flush=True)
                if states >= options.states:
                    break
            seed += 1
    print(f"{states:,} crash states in {time.monotonic() - began_s:.0f} s, none of them wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main())
