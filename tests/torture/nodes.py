"""`python -m tests.torture.nodes --kills 1000 --failovers 200`: three real daemons behind a real Redis
with replicas and Sentinels, of which something fails in each round, or the network between them, while people speak.

After each round the newest text that was acknowledged is what every node tells, everybody who was there is online and
was told offline to nobody, versions have risen on each link and each stands for one record, and all nodes agree on how
many users have their home where. In the end all who went without a word are offline. Prints what it counted; at the
first broken promise it ends with status 1.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.torture.node_faults import (
    FAILOVERS,
    KINDS,
    NODE_KILLS,
    OF_ENGINES,
    OF_NODES,
    OTHERS,
    Faults,
    bring_about,
    may_lose,
)
from tests.torture.stage import Stage


def torture(stage: Stage, kinds: list[str], *, told_s: float = 10.0) -> None:
    """One round for each of these faults. Says how far it is every `told_s` seconds."""
    faults = Faults(stage)
    began_s = said_s = time.monotonic()
    for kind in kinds:
        stage.wait_heard()
        stage.leave_ghost()
        bring_about(faults, kind)
        if "engine_split" in kind:
            stage.history.forget_records()
        stage.wait_heard()
        stage.check(may_lose=may_lose(kind, stage.ack))
        stage.tally[kind] += 1
        if time.monotonic() - said_s > told_s:
            said_s = time.monotonic()
            print(f"{said_s - began_s:.0f} s {summary(stage)}", flush=True)


def summary(stage: Stage) -> str:
    """What was done, and what was seen."""
    ends = {f"ended with {status}": count for status, count in stage.ends.items()}
    return f"{dict(stage.tally)} {dict(stage.history.tally)} {ends}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=0, help="rounds in which a node is killed")
    parser.add_argument("--failovers", type=int, default=0, help="rounds in which the engine fails over")
    parser.add_argument("--others", type=int, default=0, help="rounds with any of the other faults")
    parser.add_argument(
        "--pairs", type=int, default=0, help="rounds with a fault of a node and one of the engine at once"
    )
    parser.add_argument("--only", choices=KINDS, action="append", help="of these kinds alone; may be repeated")
    parser.add_argument("--ack", choices=("engine", "replica"), default="engine", help="cluster.ack")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    chance = random.Random(options.seed)
    kinds: list[str] = []
    for count, group in ((options.kills, NODE_KILLS), (options.failovers, FAILOVERS), (options.others, OTHERS)):
        allowed = [kind for kind in group if not options.only or kind in options.only]
        kinds += [chance.choice(allowed) for _ in range(count if allowed else 0)]
    kinds += [f"{chance.choice(OF_NODES)}+{chance.choice(OF_ENGINES)}" for _ in range(options.pairs)]
    chance.shuffle(kinds)
    folder = Path(tempfile.mkdtemp(prefix="presenced-nodes-"))
    print(f"seed {options.seed}, folder {folder}, {len(kinds)} rounds", flush=True)
    began_s = time.monotonic()
    with Stage(folder, chance, ack=options.ack) as stage:
        try:
            torture(stage, kinds)
            stage.check_ghosts()
        except AssertionError as failure:
            print(f"FAILED after {summary(stage)}:\n{failure}", flush=True)
            return 1
        print(f"passed in {time.monotonic() - began_s:.0f} s: {summary(stage)}")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
