"""`python -m tests.torture.faults`: every system call on data files x every fault x every ordinal.

For each call and fault the ordinal counts up until a life passes in which the fault was never reached. Prints what it
counted; goes on after a failure and ends with status 1.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.durable.faulting import CALLS, FAULTS, Fault, make_template, run_fault


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--call", choices=CALLS, action="append", help="only this one; may be given again")
    parser.add_argument("--fault", choices=list(FAULTS), action="append")
    parser.add_argument("--step", type=int, default=1, help="take every n-th ordinal")
    parser.add_argument("--most", type=int, default=400, help="the highest ordinal")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="presenced-faults-"))
    template = make_template(directory / "template")
    counts: Counter[str] = Counter()
    began_s = time.monotonic()
    for call in options.call or CALLS:
        for kind in options.fault or FAULTS:
            if kind == "nothing written" and call != "pwrite64":
                continue
            for ordinal in range(1, options.most + 1, options.step):
                fault = Fault(call, kind, ordinal)
                place = directory / str(fault)
                try:
                    outcome = run_fault(place, template, fault, seed=ordinal)
                except AssertionError as failure:
                    counts["FAILED"] += 1
                    print(f"FAILED {fault} (kept in {place}): {failure}", flush=True)
                    continue
                shutil.rmtree(place)
                if not outcome.hit:
                    break
                counts["lives with a fault"] += 1
                counts[f"status {outcome.status}"] += 1
                counts["refusals"] += outcome.refusals
            print(f"{time.monotonic() - began_s:.0f} s {call} {kind} up to {ordinal}: {dict(counts)}", flush=True)
    if not counts["FAILED"]:
        shutil.rmtree(directory)
    return 1 if counts["FAILED"] else 0


if __name__ == "__main__":
    sys.exit(main())
