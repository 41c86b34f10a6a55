"""Durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from presenced.durations import format_duration, parse_duration_ms, parse_span_ms
from presenced.limits import DURATION_MS_MAX


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [
        ("0", 0),
        ("200ms", 200),
        ("90s", 90_000),
        ("30m", 1_800_000),
        ("1h30m", 5_400_000),
        ("2d", 172_800_000),
        ("1w1d", 691_200_000),
        ("1s200ms", 1_200),
        (" 5m ", 300_000),
        ("366d", DURATION_MS_MAX),
    ],
)
def test_written_durations_are_read(text: str, duration_ms: int) -> None:
    assert parse_duration_ms(text) == duration_ms


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("30", "no unit"),
        ("", "not a duration"),
        ("m", "not a duration"),
        ("1.5h", "not a duration"),
        ("-3s", "not a duration"),
        ("3 s", "not a duration"),
        ("\u0663s", "not a duration"),
        ("30m1h", "large to small"),
        ("1h1h", "large to small"),
        ("367d", "longer than 366 days"),
        ("9" * 400 + "d", "not a duration"),
    ],
)
def test_others_are_refused_with_what_to_write(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_duration_ms(text)


@given(st.integers(min_value=0, max_value=DURATION_MS_MAX))
def test_what_is_shown_is_the_largest_part_and_can_be_written(duration_ms: int) -> None:
    shown_ms = parse_duration_ms(format_duration(duration_ms))
    assert shown_ms <= duration_ms
    # Two neighbouring units at most are shown: what is cut is less than the smaller of them could be.
    assert duration_ms - shown_ms < 3_600_000 * 24


@given(st.text(max_size=12))
def test_whatever_is_written_gives_a_duration_or_a_value_error(text: str) -> None:
    try:
        assert 0 <= parse_duration_ms(text) <= DURATION_MS_MAX
    except ValueError as error:
        assert type(error) is ValueError


@pytest.mark.parametrize("text", ["0", "0m", " 0s ", "0h0ms"])
def test_how_long_something_holds_is_never_zero(text: str) -> None:
    assert parse_duration_ms(text) == 0
    with pytest.raises(ValueError, match=f"{text.strip()!r} is no time at all"):
        parse_span_ms(text)
    assert parse_span_ms("1ms") == 1
