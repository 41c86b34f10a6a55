"""What an operator reads of a trouble: when it begins, and when it has ended."""

from __future__ import annotations

import logging

import pytest

from presenced.server.trouble import QUIET_MS, Trouble


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(record.levelno, record.getMessage()) for record in caplog.records]


@pytest.fixture(autouse=True)
def every_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="presenced")


def test_one_line_when_it_begins_and_one_when_it_has_ended(caplog: pytest.LogCaptureFixture) -> None:
    trouble = Trouble("log")
    trouble.see(0, "")
    for now_ms in range(1_000, 62_000, 500):
        trouble.see(now_ms, "full", f"no room at {now_ms}")
    assert lines(caplog) == [(logging.ERROR, "log: no room at 1000")] and trouble.is_on
    trouble.see(62_000, "")
    assert len(caplog.records) == 1, "it may be back in a moment"
    trouble.see(61_500 + QUIET_MS, "")
    assert lines(caplog)[1:] == [(logging.INFO, "log: all is well again, after 1m500ms")]
    assert not trouble.is_on
    trouble.see(70_000, "")
    assert len(caplog.records) == 2


def test_one_that_comes_and_goes_is_one(caplog: pytest.LogCaptureFixture) -> None:
    trouble = Trouble("log")
    for now_ms in range(0, 100_000, 100):
        trouble.see(now_ms, "busy" if now_ms % 200 else "", "too slow")
    assert len(caplog.records) == 1


def test_one_that_becomes_another_is_told_and_counts_from_the_first(caplog: pytest.LogCaptureFixture) -> None:
    trouble = Trouble("log")
    trouble.see(0, "busy", "too slow")
    trouble.see(5_000, "full", "no room")
    trouble.see(10_000, "", "")
    assert [text for _, text in lines(caplog)] == ["log: too slow", "log: no room", "log: all is well again, after 5s"]


def test_one_that_is_told_late_counts_from_when_it_began(caplog: pytest.LogCaptureFixture) -> None:
    """As that of an engine, which is told once it has been away for a while."""
    trouble = Trouble("log")
    trouble.see(20_000, "away", "it is away", for_ms=5_800)
    trouble.see(25_000, "away", "it is away", for_ms=10_800)
    trouble.see(25_000 + QUIET_MS, "")
    assert [text for _, text in lines(caplog)][1:] == ["log: all is well again, after 10s800ms"]
