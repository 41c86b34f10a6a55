"""`python -m tests.sim`: many lives, one after the other; or one of them again, with all that happens in it."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter

from tests.sim.running import one_again, run_lives


def main() -> int:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--lives", type=int, default=0, help="how many (default: 1000, or one with a seed)")
    parser.add_argument("--seed", type=int, help="of the first life (default: from the clock)")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if given.seed is not None and given.lives in (0, 1):
        return one_again(given.seed)
    first = given.seed if given.seed is not None else time.time_ns() % 1_000_000_000
    lives = given.lives or 1_000
    began_s = time.process_time()
    tally: Counter[str] = Counter()
    failed = run_lives(first, lives, tally)
    print(f"{lives:,} lives from seed {first} in {time.process_time() - began_s:.1f} s of CPU")
    print(", ".join(f"{count:,} {what}" for what, count in tally.items()))
    if failed is None:
        return 0
    print(f"seed {failed.seed} fails in step {failed.step}: {failed.error!r}\nagain: make simulate SEED={failed.seed}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
