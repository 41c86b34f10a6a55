"""The lives that judge a change: the same 4,000 each time in `make check`, and a share of them in `make test`.

`make torture` runs 10,000; `make explore` and `make simulate` run lives that nobody has run before. What fails comes
back by its seed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from unittest.mock import patch

import pytest

from presenced.core.parts.leases import Leases
from tests.sim import __main__ as program
from tests.sim.life import Failure, Life
from tests.sim.running import LIVES, needed_steps, run_lives
from tests.sim.seeded_bugs import BUGS
from tests.sim.world import small_units
from tests.support.tiers import samples

PIECES = 8
"""Tests that the lives are cut into, so that they can be shared out among processors."""
QUICK_PIECES = 5
"""Those of them that `make test` runs: the others would cost it 8 s of processor time more, with its small samples."""

FIRST_LIFE = int(os.environ.get("FIRST_LIFE", "0"))
"""The seed of the first life. `make explore` draws one, so that a change is never judged by lives of its own."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The daemon's log lines of thousands of lives are of no use to anybody."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(before)


@pytest.mark.parametrize(
    "piece", [*range(QUICK_PIECES), *(pytest.param(at, marks=pytest.mark.slow) for at in range(QUICK_PIECES, PIECES))]
)
def test_no_life_goes_wrong(piece: int) -> None:
    lives = samples(LIVES) // PIECES
    failed = run_lives(FIRST_LIFE + piece * lives, lives)
    if failed is not None:
        pytest.fail(f"again: make simulate SEED={failed.seed}\n{failed.error!r}")


@pytest.mark.parametrize("seed", [675444233167, 1560, 1634])
def test_a_life_in_which_a_snapshot_could_not_sync_the_log_goes_well(seed: int) -> None:
    """These ended in a log with a hole; the first one did on a disk that forgot nothing at an ENOSPC.
    `storage/test_crash.py` fails each sync of a snapshot, and stays when a change of the simulator makes other lives
    of these seeds."""
    with small_units():
        assert Life(seed).run() is None


@pytest.mark.parametrize("seed", range(1, 1 + samples(20)))
def test_a_seed_brings_back_the_same_life_byte_for_byte(seed: int) -> None:
    traces: list[list[str]] = [[], []]
    with small_units():
        for trace in traces:
            assert Life(seed, trace=trace).run() is None
    assert traces[0] == traces[1] and len(traces[0]) > 30


def test_lives_see_what_a_server_can_see() -> None:
    """Or nobody would notice that steps have no effect any more."""
    trace: list[str] = []
    with small_units():
        for seed in range(1, 81):
            assert Life(seed, trace=trace).run() is None
    text = "\n".join(trace)
    for what in (
        "the power is cut", "the process is killed", "is stopped in order", "the machine stops during the start",
        "the disk has room for", "stops reading", "is cut off", "nonsense", "-> bye",
        "replaced", "lease_expired", "going_away", "bad_frame", "frame_too_large", "read_only",
        "<- Presence", "<- OwnState", "<- ChannelEvent", "<- Event", "<- Taken", "<- MembersPage", "<- SyncState",
    ):  # fmt: skip
        assert what in text, f"in no life: {what}"


def failing_seed() -> int:
    """Of a life that shows that a grace ends too early."""
    failed = run_lives(1, 1_000)
    assert failed is not None
    return failed.seed


def test_a_failing_life_is_cut_down_to_the_steps_that_matter() -> None:
    with BUGS["ends_a_grace_too_early"]():
        seed = failing_seed()
        with small_units():
            failure = Life(seed).run()
            assert isinstance(failure, Failure)
            steps, shorter = needed_steps(seed, failure)
            assert len(steps) < 10 and "too early" in str(shorter.error)
            skipped = [step for step in range(1, Life(seed).steps + 1) if step not in steps]
            again = Life(seed, skip=skipped).run()
            assert again is not None and str(again.error) == str(shorter.error)


def test_the_program_prints_how_to_bring_a_failure_back(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with BUGS["ends_a_grace_too_early"]():
        seed = failing_seed()
        monkeypatch.setattr("sys.argv", ["sim", "--lives", "1000", "--seed", "1"])
        assert program.main() == 1
        printed = capsys.readouterr().out
        assert f"seed {seed} fails in step " in printed and printed.endswith(f"again: make simulate SEED={seed}\n")
        monkeypatch.setattr("sys.argv", ["sim", "--seed", f"{seed}"])
        assert program.main() == 1
    again = capsys.readouterr()
    assert " connects" in again.out and f"seed {seed}: " in again.out
    assert "is gone" in again.err and "too early" in again.err
    assert program.main() == 0
    assert capsys.readouterr().out == f"the life of seed {seed} goes well\n"


def test_a_failure_of_the_server_itself_is_a_failure_of_the_life() -> None:
    with patch.object(Leases, "device_due", side_effect=ZeroDivisionError):
        failed = run_lives(1, 200)
    assert failed is not None and isinstance(failed.error, ZeroDivisionError)
