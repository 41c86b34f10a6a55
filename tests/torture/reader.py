"""Every cut and every flipped bit of every kind of log, against the oracle: `python -m tests.torture.reader`.

About 600,000 cases of a 64 KiB log and 480,000 of smaller ones; 15 to 30 minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from multiprocessing import Pool

from tests.storage.oracle import BYTES, Log, Oracle, check_cut, check_flip, make_log, rearranged, verdict_of

CASES_AT_ONCE = 2000

_logs: dict[str, tuple[Log, Oracle]] = {}


def _log(kind: str) -> tuple[Log, Oracle]:
    if kind not in _logs:
        log = make_log(kind, BYTES[kind])
        _logs[kind] = (log, Oracle(log))
    return _logs[kind]


def _piece(work: tuple[str, str, int, int]) -> tuple[Counter[str], list[str]]:
    kind, what, first, last = work
    log, oracle = _log(kind)
    check = check_flip if what == "flip" else check_cut
    seen: Counter[str] = Counter()
    wrong = []
    for number in range(first, last):
        try:
            seen[f"{what}: {check(log, oracle, number)}"] += 1
        except Exception as error:
            wrong.append(f"{kind}: {type(error).__name__}: {error}")
    return seen, wrong


def _pieces(kind: str) -> list[tuple[str, str, int, int]]:
    size = len(_log(kind)[0].data)
    return [
        (kind, what, first, min(first + CASES_AT_ONCE, total))
        for what, total in (("cut", size + 1), ("flip", 8 * size))
        for first in range(0, total, CASES_AT_ONCE)
    ]


def main() -> int:
    """0 if every verdict was the oracle's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=list(BYTES), action="append", help="only this kind of log; may be repeated")
    kinds = parser.parse_args().kind or list(BYTES)
    wrong: list[str] = []
    with Pool(os.cpu_count()) as pool:
        for kind in kinds:
            log, oracle = _log(kind)
            pieces = _pieces(kind)
            seen: Counter[str] = Counter()
            began_s = time.monotonic()
            for done, (some, bad) in enumerate(pool.imap_unordered(_piece, pieces), 1):
                seen.update(some)
                wrong += bad
                if done % 20 == 0 or done == len(pieces):
                    part = f"{100 * done // len(pieces)} %, {time.monotonic() - began_s:.0f} s, {len(wrong)} wrong"
                    print(f"\r{kind}: {part}", end="", file=sys.stderr, flush=True)
            for what, data in rearranged(log):
                seen["rearranged"] += 1
                got, expected = verdict_of(log, data), oracle.changed(data)
                if got != expected:
                    wrong.append(f"{kind}: {what}: {got}, and should be {expected}")
            print(file=sys.stderr)
            print(f"{kind}: {len(log.data)} bytes, {len(log.table)} frames, {seen.total()} cases:", dict(seen))
    for line in wrong[:20]:
        print(line)
    print(f"{len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
