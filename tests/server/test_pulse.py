"""What the server sees to each second by itself: also where nobody says anything, and where no operator's side is."""

from __future__ import annotations

import logging
import re
import time

import pytest

from presenced.server import heap, pulse, shedding
from presenced.server.clocks import SYSTEM_CLOCKS
from presenced.server.fact_log import MemoryLog
from presenced.server.memory_guard import FREE_BYTES_MAX
from presenced.server.report import BURST_LINES, WINDOW_MS
from presenced.server.server import Server
from tests.server.owing import MIB, owed, with_texts
from tests.support.in_process import LOOPS, InProcess

HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "PULSE_S", 0.01)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_alone_notices_that_memory_is_short_and_ends_the_links_that_are_owed_most(loop: str) -> None:
    def run_short(server: Server) -> None:
        server.memory._resident = lambda: 115 * MIB
        server.memory.set_wanted(100 * MIB)

    with InProcess(loop, operated=False, rate=0, change_spacing_ms=0, check=False) as running:
        service, names = with_texts(running)
        heavy = [owed(running, f"heavy{at}", 16, names) for at in range(shedding.ENDS_MIN)]
        running.ask(run_short)
        running.until(lambda server: server.memory.ended_links == shedding.ENDS_MIN)
        running.until(lambda server: {one.session.user_name for one in server.links if one.session} == {"backend"})
        running.ask(lambda server: setattr(server.memory, "_resident", lambda: 10 * MIB))
        running.until(lambda server: server.memory.level == 0)
        for link in (*heavy, service):
            link.close()


def test_a_quiet_server_gives_free_memory_back(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(heap, "free_bytes", lambda: FREE_BYTES_MAX * 1_000)
    monkeypatch.setattr(heap, "give_back", lambda: given.append(True))
    with InProcess(operated=False) as running:
        running.until(lambda _: given)


def test_lines_that_were_held_back_are_told_though_nothing_more_comes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "presenced")
    with InProcess(operated=False) as running:
        long_ago_ms = SYSTEM_CLOCKS.monotonic_ms() - WINDOW_MS

        def say_too_much(server: Server) -> None:
            for _number in range(BURST_LINES + 3):
                server.report.event(long_ago_ms, "busy", "a link is refused")

        running.ask(say_too_much)
        running.until(lambda _: "busy: 3 more lines in the last 10 s were not written" in caplog.text)


def test_a_clock_that_was_set_is_told_to_the_engine_on_a_quiet_server(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "presenced")
    set_by_ns = 0
    clocks = SYSTEM_CLOCKS._replace(wall_ns=lambda: time.time_ns() + set_by_ns)
    with InProcess(operated=False, clocks=clocks) as running:
        before = running.ask(lambda server: server.stats.turn.count)
        set_by_ns = HOUR_MS * 1_000_000
        running.until(lambda server: server.stats.wall_jumps == 1 and server.stats.turn.count > before)
        # To the millisecond it depends on when either clock was looked at.
        assert re.search(r"clock: the system's clock was set by \+(3599|3600)\d{3} ms", caplog.text)


def test_a_time_zone_that_is_gone_is_told_once_and_so_is_its_return(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "presenced")
    with InProcess(operated=False) as running:
        missing = running.server.engine.schedules.zones_missing
        running.ask(lambda _: missing.update({"Our/Town": None}))
        running.until(lambda _: "knows no time zone Our/Town, so schedules there are off" in caplog.text)
        running.ask(lambda _: missing.clear())
        running.until(lambda _: "the time zone Our/Town is known again" in caplog.text)
        assert caplog.text.count("Our/Town") == 2


class LookedAt(MemoryLog):
    """Counts how often."""

    looks = 0

    def look(self) -> None:
        self.looks += 1


def test_the_log_is_looked_at_until_the_server_has_ended() -> None:
    log = LookedAt()
    with InProcess(operated=False, parts={"log": log}) as running:
        running.until(lambda _: log.looks >= 2)
    assert not running.server.pulse.is_beating
