"""Lives random lives of a town until it is stopped, or so many: `python -m tests.cluster [FIRST_SEED] [COUNT]`."""

from __future__ import annotations

import sys
import time

from tests.cluster.lives import FAULTS, Life


def main() -> int:
    first = int(sys.argv[1]) if len(sys.argv) > 1 else time.time_ns() % 1_000_000_000
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000_000
    print(f"lives from seed {first} on")
    for seed in range(first, first + count):
        for kind, faults in FAULTS.items():
            life = Life(seed, faults=faults, is_observed=seed % 2 == 1)
            try:
                life.live(60)
            except Exception as error:
                print(f"seed {seed}, faults {kind}: {error}", *life.trace, sep="\n")
                return 1
    print(f"{count * len(FAULTS)} lives, and nothing wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main())
