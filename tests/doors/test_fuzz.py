"""A share of the random and damaged bytes that `make torture` sends at the doors; see `fuzz`."""

from __future__ import annotations

from random import Random

from tests.doors.fuzz import Fuzz, case, damaged
from tests.support.doors import serving
from tests.support.tiers import samples

SHARE_BYTES = 1_000_000
"""A tenth of the whole, and less by TEST_SHARE."""


def test_random_and_damaged_bytes_break_no_answer_and_disturb_nobody() -> None:
    with serving(grace_ms=0) as (server, port):
        fuzz = Fuzz(server, port, 0)
        fuzz.run(samples(SHARE_BYTES))
        assert {"bad_frame", "400"} <= fuzz.ends.keys(), "the cases have come into both parsers"


def test_a_seed_brings_back_its_cases() -> None:
    assert [case(Random(f"7/{number}")) for number in range(50)] == [
        case(Random(f"7/{number}")) for number in range(50)
    ]
    assert len({damaged(Random(number), b"x" * 100) for number in range(50)}) > 20
