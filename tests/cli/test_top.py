"""`presencectl top`: its figures as a pure function, its pictures, and the program itself on a real terminal."""

from __future__ import annotations

import io
import json
import os
import signal
import termios
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from presenced.cli import exits
from presenced.cli.admin_link import AdminLink
from presenced.cli.output import Output
from presenced.cli.text_lines import columns
from presenced.cli.top import Top
from presenced.cli.top_figures import age, bar, compare, log_pieces, rate, size, sorted_watchers, spark, time_of
from presenced.server.status import ServerStatus, SlowWatcher
from presenced.sync import connect
from tests.cli.commands import Running, ctl
from tests.cli.terminal import Terminal
from tests.support.daemon import Daemon, StartDaemon
from tests.support.healthy import HEALTHY, LOG
from tests.support.until import until

ALTERNATE, BACK = "\x1b[?1049h", "\x1b[?1049l"
CURSOR_HIDDEN, CURSOR_SHOWN = "\x1b[?25l", "\x1b[?25h"
WATCHERS = [
    SlowWatcher("erin/tab", "user", 5, 9_000),
    SlowWatcher("alice/\x1b[2Jevil", "user", 40, 3_000),
    SlowWatcher("shop", "service", 900, 1_000),
]


def later(by_ms: int, **changes: Any) -> ServerStatus:
    return msgspec.structs.replace(HEALTHY, uptime_ms=HEALTHY.uptime_ms + by_ms, **changes)


class TestFigures:
    def test_rates_are_those_of_the_interval(self) -> None:
        now = later(
            2_000,
            deliveries=HEALTHY.deliveries + 3_000,
            changes=HEALTHY.changes + 50,
            frames_in=HEALTHY.frames_in + 7,
            bytes_out=HEALTHY.bytes_out + 4_096,
            hellos=HEALTHY.hellos + 2,
            cpu_ms=HEALTHY.cpu_ms + 500,
        )
        look = compare(HEALTHY, now)
        assert (look.deliveries_per_s, look.changes_per_s, look.frames_per_s) == (1_500, 25, 3.5)
        assert (look.bytes_out_per_s, look.logins_per_s, look.cpu_percent) == (2_048, 1, 25)

    def test_times_are_those_of_the_interval(self) -> None:
        """However many turns were fast before, the slow ones of now are seen."""
        before = [0] * 24
        before[5] = 1_000_000
        after = [*before]
        after[5] += 5
        after[14] += 5
        turns = msgspec.structs.replace(HEALTHY.turn, buckets=before, max_us=20_000)
        now_turns = msgspec.structs.replace(turns, buckets=after)
        now = later(1_000, turn=now_turns)
        look = compare(msgspec.structs.replace(HEALTHY, turn=turns), now)
        assert (look.turn_p50_us, look.turn_p99_us) == (32, 16_384)
        assert compare(now, msgspec.structs.replace(now, uptime_ms=now.uptime_ms + 1)).turn_p99_us == 0, "no turn"

    @pytest.mark.parametrize(
        "changes", [{"pid": 2, "uptime_ms": 90_000_000}, {"pid": 2, "uptime_ms": 500}, {"uptime_ms": 500}]
    )
    def test_another_process_is_not_held_against_the_last(self, changes: dict[str, Any]) -> None:
        now = msgspec.structs.replace(HEALTHY, deliveries=1_000, **changes)
        assert compare(HEALTHY, now).deliveries_per_s == pytest.approx(1_000_000 / now.uptime_ms)
        assert compare(None, now) == compare(HEALTHY, now)

    def test_bars(self) -> None:
        assert spark([], 5) == ""
        assert spark([0, 0], 5) == "▁▁"
        assert spark([0, 1, 2, 4, 8], 4) == "▂▃▅█"
        assert spark([1], 0) == ""
        assert [bar(share, 4) for share in (-1, 0, 0.5, 1, 7)] == ["····", "····", "██··", "████", "████"]

    def test_orders(self) -> None:
        names = {
            sort: [one.who[:4] for one in sorted_watchers(WATCHERS, sort)] for sort in ("owed", "slow for", "name")
        }
        assert names == {
            "owed": ["shop", "alic", "erin"],
            "slow for": ["erin", "alic", "shop"],
            "name": ["alic", "erin", "shop"],
        }

    def test_words(self) -> None:
        assert [rate(value) for value in (0, 0.25, 3, 9.96, 12_345.6)] == ["0", "0.2", "3", "10.0", "12,346"]
        assert [time_of(value) for value in (0, 999, 1_024, 16_384, 2_097_152)] == [
            "0 us",
            "999 us",
            "1.02 ms",
            "16.4 ms",
            "2.1 s",
        ]
        assert [size(value) for value in (0, 1_023, 1 << 20, 3 << 29)] == ["0 B", "1,023 B", "1.0 MiB", "1.5 GiB"]
        assert size(1 << 50) == "1,048,576.0 GiB"
        assert [age(value) for value in (-5, 12, 999, 61_999, 90_061_000)] == ["0ms", "12ms", "999ms", "1m1s", "1d1h"]

    def test_the_log(self) -> None:
        pieces = ["ok (always)", "0 facts wait", "1.0 MiB of log", "snapshot 5m ago (4.0 MiB)"]
        assert log_pieces(HEALTHY) == pieces
        assert log_pieces(msgspec.structs.replace(HEALTHY, log=None)) == ["in memory only"]
        for changes, says in (
            ({"snapshot_running": True}, "taking a snapshot"),
            ({"snapshot_wall_ms": 0}, "no snapshot yet"),
        ):
            log = msgspec.structs.replace(LOG, **changes)
            assert says in log_pieces(msgspec.structs.replace(HEALTHY, log=log))


class TestPicture:
    def shown(self, status: ServerStatus, width: int = 100, height: int = 30, away: str = "") -> list[str]:
        top = Top(AdminLink("/nowhere", 1), Output(is_json=False, has_colour=False, is_quiet=False), 1, None)
        top._look, top._away = compare(None, status), away
        console = Console(file=io.StringIO(), width=width, height=height)
        console.print(top.picture(width, height))
        assert isinstance(console.file, io.StringIO)
        return [line.rstrip() for line in console.file.getvalue().splitlines()]

    def test_the_slowest_watchers_stand_in_it(self) -> None:
        lines = self.shown(msgspec.structs.replace(HEALTHY, slow_watchers=3, slowest=WATCHERS))
        at = next(number for number, line in enumerate(lines) if line.startswith("slow watcher"))
        assert "owed v" in lines[at]
        assert [line.split()[0] for line in lines[at + 1 : at + 4]] == ["shop", "alice/\ufffd[2Jevil", "erin/tab"]
        assert not any("\x1b" in line for line in lines), "a name is no control sequence"

    @pytest.mark.parametrize(("width", "height"), [(100, 30), (80, 24), (60, 20), (40, 24), (40, 18)])
    def test_it_fits_the_screen(self, width: int, height: int) -> None:
        many = [SlowWatcher(f"user{at}@example.org/tab", "user", at, at) for at in range(20)]
        lines = self.shown(msgspec.structs.replace(HEALTHY, slow_watchers=500, slowest=many), width, height)
        assert len(lines) <= height and max(map(len, lines)) <= width
        assert lines[-1].startswith("q quit") and lines[-1].endswith("(now by owed)"), "the keys are still to be seen"
        labels = [line.split()[0] for line in lines if line.strip()]
        assert {"users", "devices", "links", "deliveries", "process"} <= set(labels), "no word is cut off"
        for piece in ("0 dnd", "4 in grace", "1 service)", "frames in", "stalls", "MiB of memory", "snapshot 5m ago"):
            assert any(piece in line for line in lines), f"{piece} is neither cut off nor broken"
        assert "\u2026" not in "".join(lines), "nothing is cut"

    def test_watchers_come_before_bars_and_names_are_what_is_cut(self) -> None:
        wide = "\u754c" * 20
        many = [SlowWatcher(f"{at}{wide}/tab", "service", 9_000 + at, 99_000) for at in range(20)]
        lines = self.shown(msgspec.structs.replace(HEALTHY, slow_watchers=500, slowest=many), 40, 24)
        at = next(number for number, line in enumerate(lines) if line.startswith("slow watcher"))
        assert "owed v" in lines[at] and not any("\u2588" in line for line in lines)
        assert len(lines) - 1 - at > 3 and all(line.endswith("1m39s") for line in lines[at + 1 : at + 4])
        assert "9,019" in lines[at + 1] and "\u2026" in lines[at + 1] and columns(lines[at + 1]) == 40
        assert any("\u2588" in line for line in self.shown(HEALTHY, 40, 30)), "with room there are bars"

    @pytest.mark.parametrize(("width", "height"), [(30, 12), (20, 5), (10, 2), (3, 1)])
    def test_a_screen_that_is_far_too_small(self, width: int, height: int) -> None:
        lines = self.shown(msgspec.structs.replace(HEALTHY, slow_watchers=3, slowest=WATCHERS), width, height)
        assert len(lines) <= max(height, 2) and max(map(len, lines)) <= width and lines[-1].startswith("q")

    def test_the_reason_why_the_daemon_is_away_is_read_to_its_end(self) -> None:
        lines = self.shown(HEALTHY, 40, 24, away="there is no admin socket at /run/presenced/admin.sock")
        assert lines[:3] == [
            "the daemon is away, retrying  there is",
            "no admin socket at",
            "/run/presenced/admin.sock",
        ]


class TestProgram:
    def test_lines_for_programs(self, admin_daemon: Daemon, admin_path: str) -> None:
        with connect(admin_daemon.url("alice", "laptop")):
            done = ctl("--socket", admin_path, "top", "-n", "3", "--interval", "100ms")
        looks = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 0 and len(looks) == 3
        assert [look["users_online"] for look in looks] == [1, 1, 1]
        assert looks[0]["uptime_ms"] + 100 <= looks[1]["uptime_ms"]

    def test_it_shows_quits_and_sorts(self, admin_daemon: Daemon, admin_path: str, on_terminal: Any) -> None:
        with connect(admin_daemon.url("alice", "laptop")):
            terminal: Terminal = on_terminal("--socket", admin_path, "top", "--interval", "100ms")
            before = mode_of(terminal)
            terminal.until(ALTERNATE)
            shown = terminal.until("q quit")
            assert "1 online of 1" in shown and "1 connected" in shown and "(1 user)" in shown
            assert not mode_of(terminal)[3] & (termios.ICANON | termios.ECHO), "keys come at once and unseen"
            terminal.until("now by owed")
            terminal.type("x")
            terminal.until("now by owed")
            terminal.type("s")
            terminal.until("now by slow for")
            terminal.type("ss")
            terminal.until("now by owed")
            terminal.type("q")
            assert terminal.end() == 0
        assert_put_back(terminal, before)

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, exits.INTERRUPTED), (signal.SIGTERM, 143)])
    def test_the_terminal_is_put_back(
        self, admin_daemon: Daemon, admin_path: str, on_terminal: Any, number: signal.Signals, code: int
    ) -> None:
        terminal: Terminal = on_terminal("--socket", admin_path, "top")
        before = mode_of(terminal)
        terminal.until("q quit")
        if number == signal.SIGINT:
            os.killpg(terminal.process.pid, number)
        else:
            terminal.process.send_signal(number)
        assert terminal.end() == code
        assert_put_back(terminal, before)
        assert "Traceback" not in terminal.shown

    def test_so_many_looks_and_the_last_one_stays(
        self, admin_daemon: Daemon, admin_path: str, on_terminal: Any
    ) -> None:
        terminal: Terminal = on_terminal("--socket", admin_path, "top", "-n", "2", "--interval", "100ms")
        before = mode_of(terminal)
        assert terminal.end() == 0
        screen, _, after = terminal.shown.partition(BACK)
        assert screen.count("q quit") == 2
        assert "users" in after and "process" in after
        assert mode_of(terminal) == before

    def test_a_daemon_that_restarts(self, start_daemon: StartDaemon, admin_path: str, on_terminal: Any) -> None:
        first = start_daemon("--admin-socket", admin_path)
        terminal: Terminal = on_terminal("--socket", admin_path, "top", "--interval", "100ms")
        terminal.until(f"pid {first.process.pid}")
        first.stop()
        terminal.until("the daemon is away, retrying")
        second = start_daemon("--admin-socket", admin_path)
        terminal.until(f"pid {second.process.pid}")
        terminal.type("q")
        assert terminal.end() == 0

    def test_lines_over_a_restart(self, start_daemon: StartDaemon, admin_path: str, tmp_path: Path) -> None:
        first = start_daemon("--admin-socket", admin_path)
        running = Running("--socket", admin_path, "top", "--interval", "100ms")
        try:
            assert running.json()["state"] == "serving"
            first.stop()
            assert "the daemon is away, retrying" in running.line("stderr")
            start_daemon("--admin-socket", admin_path)

            def is_the_second() -> bool:
                look = running.json()
                return look["uptime_ms"] <= 60_000 and look["state"] == "serving"

            until(is_the_second, "the second daemon is shown")
        finally:
            running.kill()

    def test_no_daemon_at_all(self, admin_path: str, on_terminal: Any) -> None:
        terminal: Terminal = on_terminal("--socket", admin_path, "top")
        assert terminal.end() == exits.UNREACHABLE
        assert "there is no admin socket" in terminal.shown and ALTERNATE not in terminal.shown

    def test_an_interval_that_is_too_short(self, admin_path: str) -> None:
        assert ctl("--socket", admin_path, "top", "--interval", "99ms").returncode == exits.USAGE


def mode_of(terminal: Terminal) -> list[Any]:
    return termios.tcgetattr(terminal.controller)


def assert_put_back(terminal: Terminal, before: list[Any]) -> None:
    """As it was: the screen from before, the cursor, and what keys do."""
    assert BACK in terminal.shown
    assert terminal.shown.rfind(CURSOR_SHOWN) > terminal.shown.rfind(CURSOR_HIDDEN)
    assert mode_of(terminal) == before
