"""A log cut at any byte, with any bit flipped, and with its parts rearranged: recovery says what the oracle says.

A sample, the same in each run; `python -m tests.torture.reader` does all of them.
"""

from __future__ import annotations

import random
import struct
import tracemalloc
import zlib
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st

from tests.storage.oracle import (
    BYTES,
    FRAMES_AT,
    HEADER_BYTES,
    UNIT_BYTES,
    Log,
    Oracle,
    Verdict,
    check_cut,
    check_flip,
    make_log,
    read_independently,
    rearranged,
    verdict_of,
)
from tests.support.tiers import samples, spaced

SAMPLES = {"unclean": samples(500), "clean": samples(1000), "sealed": samples(1000), "behind": samples(1000)}
"""How many flips of each; a third as many cuts."""


@pytest.fixture(scope="module", params=list(SAMPLES))
def case(request: pytest.FixtureRequest) -> tuple[str, Log, Oracle]:
    log = make_log(request.param, BYTES[request.param])
    return request.param, log, Oracle(log)


def test_the_log_is_what_the_cases_need(case: tuple[str, Log, Oracle]) -> None:
    kind, log, oracle = case
    assert verdict_of(log, log.data) == Verdict("ok", len(log.facts), 0)
    assert read_independently(log) == log.facts[log.before :][: sum(row.facts for row in log.table)]
    watermarks = [row.durable_seq for row in log.table]
    assert watermarks == sorted(watermarks) and len(set(watermarks)) > 10
    assert any(not row.facts for row in log.table[:-1]), "a seal amid the frames"
    assert all(before.end == after.start for before, after in pairwise(log.table))
    kinds = {oracle.flipped(byte).kind for byte in range(0, len(log.data), 8)}
    assert kinds == {"damage", "ok"} | (set() if log.is_whole else {"torn"})


def test_every_flip_of_a_sample(case: tuple[str, Log, Oracle]) -> None:
    kind, log, oracle = case
    chance = random.Random(f"flips of {kind}")
    bits = chance.sample(range(HEADER_BYTES * 8, len(log.data) * 8), SAMPLES[kind])
    bits += chance.sample(range(HEADER_BYTES * 8), samples(300))
    # The end is where the verdicts differ: a third of all bits of the last frames.
    bits += list(range(log.table[-3].start * 8, min(log.end + 16, len(log.data)) * 8, spaced(3)))
    seen = Counter(check_flip(log, oracle, bit) for bit in bits)
    assert seen.total() == len(bits)
    assert seen["damage"] and (log.is_whole or seen["torn"])


def test_every_cut_of_a_sample(case: tuple[str, Log, Oracle]) -> None:
    kind, log, oracle = case
    chance = random.Random(f"cuts of {kind}")
    sizes = chance.sample(range(len(log.data) + 1), SAMPLES[kind] // 3)
    sizes += [
        edge + step
        for row in [*log.table[: -3 : spaced(1)], *log.table[-3:]]
        for edge in (row.start, row.end)
        for step in (-1, 0, 1)
    ]
    seen = Counter(check_cut(log, oracle, size) for size in sizes)
    assert seen.total() == len(sizes)


def test_rearranged(case: tuple[str, Log, Oracle]) -> None:
    kind, log, oracle = case
    cases = list(rearranged(log))
    for what, data in random.Random(f"rearranged {kind}").sample(cases, samples(len(cases))):
        assert verdict_of(log, data) == oracle.changed(data), what


def test_a_frame_of_another_segment_does_not_pass() -> None:
    """Bytes of an earlier life of the file are whole frames, with another salt."""
    log = make_log("behind", FRAMES_AT + 4000)
    other = log.files["wal-0000000001.log"][FRAMES_AT:].rstrip(b"\0")
    last = log.table[-1]
    oracle = Oracle(log)
    data = log.data[: last.start] + other.ljust(-(-len(other) // 8) * 8, b"\0")
    assert verdict_of(log, data) == oracle.changed(data) == Verdict("torn", len(log.facts) - last.facts, last.start)


@pytest.mark.parametrize("claimed", [0, 1, 4096, 1 << 20, (16 << 20) - 1, 16 << 20, (16 << 20) + 1, 1 << 31, 2**32 - 1])
def test_a_length_is_no_reason_to_allocate(claimed: int) -> None:
    """Headers that are whole in themselves and claim any length, all over the rest of the file. One that reaches beyond
    the file's end was never written into a file of this length."""
    log = make_log("unclean", FRAMES_AT + 4000)
    (salt,) = struct.unpack_from("<I", log.data, _SALT_AT)
    forged = _forged(claimed, salt, len(log.facts) + 1)
    data = _whole_units(log.data[: log.end] + forged * 200)
    tracemalloc.start()
    try:
        verdict = verdict_of(log, data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    is_cut = claimed <= 16 << 20 and log.end + len(forged) + claimed >= len(data)
    assert verdict == (Verdict("damage", 0, 0) if is_cut else Verdict("torn", len(log.facts), log.end))
    assert peak < 1 << 20


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=400), st.integers(0, 40))
def test_any_bytes_behind_the_log(garbage: bytes, zeros: int) -> None:
    data = _whole_units(_SMALL.data[: _SMALL.end] + bytes(8 * zeros) + garbage)
    expected = "torn" if any(garbage) else "ok"
    verdict = verdict_of(_SMALL, data)
    assert (verdict.kind, verdict.facts) == (expected, len(_SMALL.facts))


def _whole_units(data: bytes) -> bytes:
    """As long as a file is made, with more room than a frame's head takes."""
    return data.ljust((len(data) + 48 + UNIT_BYTES) // UNIT_BYTES * UNIT_BYTES, b"\0")


_SMALL = make_log("unclean", FRAMES_AT + 1500)
_SALT_AT = 8 + 2 + 2 + 4 + 16 + 8 * 5 + 4


def _forged(length: int, salt: int, first_seq: int) -> bytes:
    fields = (length, first_seq, 1, 1, 0, 1, 0)
    check = zlib.crc32(struct.pack("<IIQIBBHIIQQ", 0, *fields, 0, 1, 1), salt)
    return struct.pack("<IIQIBBHIIQQ", 0, *fields, check, 1, 1)
