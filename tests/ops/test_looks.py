"""What is seen to each second, also where nobody says anything."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from presenced.ops import operations
from presenced.server.report import BURST_LINES, WINDOW_MS
from tests.ops.certificates import make_certificate
from tests.server.in_process import InProcess

HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "LOOK_S", 0.01)


def test_lines_that_were_held_back_are_told_though_nothing_more_comes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "presenced")
    with InProcess() as server:
        long_ago_ms = operations._monotonic_ms() - WINDOW_MS

        def say_too_much(_: object) -> None:
            for _number in range(BURST_LINES + 3):
                server.server.report.event(long_ago_ms, "busy", "a link is refused")

        server.ask(say_too_much)
        server.until(lambda _: "busy: 3 more lines in the last 10 s were not written" in caplog.text)


def test_a_clock_that_was_set_is_told_to_the_engine_on_a_quiet_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "presenced")
    real = operations._wall_offset_ms
    with InProcess() as server:
        before = server.ask(lambda one: one.stats.turn.count)
        monkeypatch.setattr(operations, "_wall_offset_ms", lambda: real() + HOUR_MS)
        server.until(lambda one: one.stats.wall_jumps == 1 and one.stats.turn.count > before)
        assert "clock: the system's clock was set by +3600" in caplog.text


def test_a_time_zone_that_is_gone_is_told_once_and_so_is_its_return(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "presenced")
    with InProcess() as server:
        missing = server.server.engine.claims.zones_missing
        server.ask(lambda _: missing.update({"Our/Town": None}))
        server.until(lambda _: "knows no time zone Our/Town, so schedules there are off" in caplog.text)
        server.ask(lambda _: missing.clear())
        server.until(lambda _: "the time zone Our/Town is not missing any more" in caplog.text)
        assert caplog.text.count("Our/Town") == 2


def test_a_certificate_that_comes_to_its_end_is_warned_of_each_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = make_certificate(tmp_path, "used")
    day_ms = operations.CERTIFICATE_LOOK_MS
    days = 0
    now_ms = operations._monotonic_ms
    monkeypatch.setattr(operations, "_monotonic_ms", lambda: now_ms() + days * day_ms)
    with InProcess(tls_cert=str(cert), tls_key=str(key)) as server:
        said = f"TLS: the certificate {cert} ends within 1 day; renew it, then reload"
        for days in range(1, 4):
            server.until(lambda _, times=days: caplog.text.count(said) == times)  # type: ignore[misc]
