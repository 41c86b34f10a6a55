"""`python -m tests.mutation [WORD]`: makes each change of the list (or those whose title has the word) in a copy of the
repository and runs the nearest tests. The exit code is 1 if they notice fewer than nine in ten."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutation.mutants import NOTICED_SHARE, Mutant, applied, copy_repository, read

RUN_S = 900.0


def notices(mutant: Mutant, place: Path) -> bool:
    """Whether one of the nearest tests fails with the change; the copy is as before afterwards."""
    file = place / mutant.file
    before = file.read_text()
    file.write_text(applied(mutant, before))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutant.tests],
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=RUN_S,
        )
    except subprocess.TimeoutExpired:
        # A change that lets something wait for ever is noticed.
        return True
    finally:
        file.write_text(before)
    assert done.returncode in (0, 1), f"{mutant.title}: pytest ended with {done.returncode}\n{done.stdout[-2000:]}"
    return done.returncode == 1


def main(words: list[str]) -> int:
    """Try the list; returns the exit code."""
    chosen = [mutant for mutant in read() if all(word in mutant.title for word in words)]
    noticed = 0
    with tempfile.TemporaryDirectory(prefix="presenced-mutation-") as directory:
        place = Path(directory)
        copy_repository(place)
        for mutant in chosen:
            began_s = time.monotonic()
            found = notices(mutant, place)
            noticed += found
            print(
                f"{'noticed' if found else 'LIVED':8} {time.monotonic() - began_s:6.1f} s  {mutant.title}", flush=True
            )
    print(f"{noticed} of {len(chosen)} changes were noticed")
    return 0 if noticed >= NOTICED_SHARE * len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
