"""`python -m tests.torture.nodes --kills 1000 --failovers 200 --towns 4`: three real daemons behind a real Redis
with replicas and Sentinels, of which something fails in each round, or the network between them, while people speak; as
many of these side by side as there are towns, since most of the time each waits.

After each round the newest text that was acknowledged is what every node tells, everybody who was there is online and
was told offline to nobody, versions have risen on each link and each stands for one record, and all nodes agree on how
many users have their home where. In the end all who went without a word are offline. Prints what it counted; at the
first broken promise it ends with status 1.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.torture.node_faults import Faults
from tests.torture.rounds import (
    FAILOVERS,
    KINDS,
    NODE_KILLS,
    OF_ENGINES,
    OF_NODES,
    OTHERS,
    Round,
    bring_about,
    drawn_groups,
    single,
)
from tests.torture.stage import Stage


def torture(stage: Stage, rounds: list[Round], *, told_s: float = 10.0) -> None:
    """These rounds, one after the other. Says how far it is every `told_s` seconds."""
    faults = Faults(stage)
    began_s = said_s = time.monotonic()
    for what in rounds:
        stage.wait_heard()
        stage.leave_ghost()
        failovers = stage.engines.failovers
        bring_about(faults, what)
        if "engine_split" in what.kinds:
            stage.history.forget_records()
        stage.wait_heard()
        # On a busy machine the Sentinels may give up a primary that nothing was done to.
        is_surprise = what.may_lose_with_failover() and stage.engines.failovers != failovers
        stage.check(may_lose=what.may_lose(stage.ack) or is_surprise)
        stage.tally.update(what.kinds)
        if time.monotonic() - said_s > told_s:
            said_s = time.monotonic()
            print(f"{said_s - began_s:.0f} s {summary(stage)}", flush=True)


def summary(stage: Stage) -> str:
    """What was done, and what was seen."""
    ends = {f"ended with {status}": count for status, count in stage.ends.items()}
    return f"{dict(stage.tally)} {dict(stage.history.tally)} {ends}"


def planned(chance: random.Random, options: argparse.Namespace) -> list[Round]:
    """The rounds that the options ask for."""
    rounds: list[Round] = []
    for count, group in ((options.kills, NODE_KILLS), (options.failovers, FAILOVERS), (options.others, OTHERS)):
        allowed = [kind for kind in group if not options.only or kind in options.only]
        rounds += [single(chance.choice(allowed)) for _ in range(count if allowed else 0)]
    rounds += [Round((chance.choice(OF_NODES),), (chance.choice(OF_ENGINES),)) for _ in range(options.pairs)]
    chance.shuffle(rounds)
    return rounds + drawn_groups(chance, options.grouped)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=0, help="rounds in which a node is killed")
    parser.add_argument("--failovers", type=int, default=0, help="rounds in which the engine fails over")
    parser.add_argument("--others", type=int, default=0, help="rounds with any of the other faults")
    parser.add_argument(
        "--pairs", type=int, default=0, help="rounds with a fault of a node and one of the engine at once"
    )
    parser.add_argument("--grouped", type=int, default=0, help="faults that come about ten in a round")
    parser.add_argument("--only", choices=KINDS, action="append", help="of these kinds alone; may be repeated")
    parser.add_argument("--ack", choices=("engine", "replica"), default="engine", help="cluster.ack")
    parser.add_argument("--towns", type=int, default=1, help="so many side by side, which share the rounds")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    return side_by_side(options) if options.towns > 1 else alone(options)


def alone(options: argparse.Namespace) -> int:
    """One town."""
    chance = random.Random(options.seed)
    rounds = planned(chance, options)
    folder = Path(tempfile.mkdtemp(prefix="presenced-nodes-"))
    print(f"seed {options.seed}, folder {folder}, {len(rounds)} rounds", flush=True)
    began_s = time.monotonic()
    with Stage(folder, chance, ack=options.ack) as stage:
        try:
            torture(stage, rounds)
            stage.check_ghosts()
        except AssertionError as failure:
            print(f"FAILED after {summary(stage)}:\n{failure}", flush=True)
            return 1
        print(f"passed in {time.monotonic() - began_s:.0f} s: {summary(stage)}")
    shutil.rmtree(folder)
    return 0


def side_by_side(options: argparse.Namespace) -> int:
    """Each town is this program again, with its part of the rounds and a seed of its own, which it prints."""
    towns = []
    for town in range(options.towns):
        words = ["--seed", str(options.seed + town), "--ack", options.ack]
        for name in ("kills", "failovers", "others", "pairs", "grouped"):
            count = getattr(options, name)
            words += [f"--{name}", str(count // options.towns + (town < count % options.towns))]
        for kind in options.only or ():
            words += ["--only", kind]
        towns.append(subprocess.Popen([sys.executable, "-m", "tests.torture.nodes", *words]))
    return max(town.wait() for town in towns)


if __name__ == "__main__":
    sys.exit(main())
