"""Levels of memory and when they change, with made-up readings; and what a server does at each, in one process."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, strategies as st

from presenced import limits
from presenced.config.settings import Settings
from presenced.limits import MEMORY_GLANCE_MS, MEMORY_PATIENCE_MS
from presenced.ops.checks.finding import Patient
from presenced.ops.checks.room import memory as finding
from presenced.ops.doctor import Facts
from presenced.ops.operations import status_line
from presenced.server import heap, shedding
from presenced.server.clocks import SYSTEM_CLOCKS
from presenced.server.memory import (
    ENDING,
    LEVELS,
    LIMIT_EVERY_MS,
    NEVER_MS,
    OK,
    REFUSING,
    Memory,
    level_of,
    resident_bytes,
)
from presenced.server.memory_guard import MemoryGuard
from presenced.server.report import Report
from presenced.server.server import Server
from presenced.server.status_report import take_status
from presenced.wire.messages import Get, Heartbeat, Ping, Watch
from tests.server.owing import MIB, owed, with_texts
from tests.support.in_process import LOOPS, InProcess
from tests.support.wire import PONG, RECORDS, Bystander, Wire, hello, opened


def levels(readings: Iterable[int]) -> list[int]:
    """The levels that follow on each other, with a budget of 1000."""
    level, seen = OK, []
    for used in readings:
        level = level_of(level, used, 1000)
        seen.append(level)
    return seen


class TestLevels:
    def test_over_the_budget_and_far_over_it(self) -> None:
        assert levels([0, 999, 1000, 1149, 1150, 5000]) == [OK, OK, REFUSING, REFUSING, ENDING, ENDING]

    def test_each_is_left_below_where_it_was_entered(self) -> None:
        assert levels([1000, 999, 950, 949, 999, 1000]) == [REFUSING, REFUSING, REFUSING, OK, OK, REFUSING]
        assert levels([1150, 1149, 1100, 1099, 1149, 1150]) == [ENDING, ENDING, ENDING, REFUSING, REFUSING, ENDING]

    def test_from_the_worst_to_well_at_once(self) -> None:
        assert levels([2000, 10]) == [ENDING, OK]

    def test_without_a_budget_there_is_no_level(self) -> None:
        assert [level_of(level, 1 << 60, 0) for level in (OK, REFUSING, ENDING)] == [OK, OK, OK]

    @given(st.lists(st.integers(0, 2000)), st.integers(0, 2000))
    def test_what_is_steady_keeps_its_level(self, before: list[int], used: int) -> None:
        after = levels([*before, used, used, used])[-3:]
        assert len(set(after)) == 1, "a reading that does not change must not change the level"


class Readings:
    """What a `Memory` reads, as a test says."""

    def __init__(self, wanted: int | None) -> None:
        self.resident = 10
        self.charged = 0
        self.limit = 0
        self.limits_read = 0
        self.memory = Memory(
            wanted, resident=lambda: self.resident, charged=lambda: self.charged, limit=self._read_limit
        )

    def _read_limit(self) -> int:
        self.limits_read += 1
        return self.limit


class TestMemory:
    def test_the_budget_is_seven_tenths_of_the_limit(self) -> None:
        made = Readings(None)
        made.limit = 1000
        assert not made.memory.look(5) and made.memory.budget_bytes == 700
        made.resident = 700
        assert made.memory.look(6) and LEVELS[made.memory.level] == "refusing"

    def test_another_limit_is_seen_within_ten_seconds(self) -> None:
        made = Readings(None)
        made.limit = 1000
        made.memory.look(5)
        made.limit = 2000
        made.memory.look(5 + LIMIT_EVERY_MS - 1)
        assert (made.memory.budget_bytes, made.limits_read) == (700, 1)
        made.memory.look(5 + LIMIT_EVERY_MS)
        assert (made.memory.budget_bytes, made.limits_read) == (1400, 2)

    @pytest.mark.parametrize("wanted", [None, 0])
    def test_without_a_budget_no_turn_looks(self, wanted: int | None) -> None:
        made = Readings(wanted)
        made.charged = 1 << 40
        assert not made.memory.glance(1)
        assert (made.memory.budget_bytes, made.memory.next_ms, made.memory.used_bytes) == (0, NEVER_MS, 10)

    def test_the_log_tells_when_it_runs_short_and_for_how_long_it_did(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, logger="presenced")
        made = Readings(100 << 20)
        engine = cast(Any, SimpleNamespace(set_memory_level=lambda level: None))
        guard = MemoryGuard(made.memory, engine, Report(), SYSTEM_CLOCKS)
        for now_ms, mebibytes in ((1_000, 50), (2_000, 101), (3_000, 101), (4_500, 50), (5_000, 50)):
            made.resident = mebibytes << 20
            guard.check(now_ms)
        assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
            ("ERROR", "memory: 101 of 100 MiB: refusing new links and requests that need more memory"),
            ("INFO", "memory: 50 of 100 MiB: there is room again after 2s500ms, and nothing is refused"),
        ]

    def test_the_setting_counts_before_the_limit(self) -> None:
        made = Readings(100)
        made.limit = 50
        made.memory.look(1)
        assert (made.memory.budget_bytes, made.limits_read) == (100, 0)

    def test_another_setting_is_gone_by_at_once(self) -> None:
        made = Readings(100)
        made.memory.look(1)
        made.memory.set_wanted(10)
        assert made.memory.next_ms == 0
        assert made.memory.glance(2) and made.memory.level == REFUSING

    def test_what_the_kernel_holds_for_it_counts(self) -> None:
        made = Readings(100)
        made.charged = 99
        assert not made.memory.look(1) and made.memory.used_bytes == 99
        made.resident = 11
        assert made.memory.glance(2) and made.memory.used_bytes == 100, "the kernel's part is that of the last look"
        made.charged = 5
        made.memory.look(3)
        assert made.memory.used_bytes == 11, "less than what is resident is no reading to go by"

    def test_without_descriptors_all_is_as_it_was(self) -> None:
        made = Readings(None)
        made.limit, made.charged = 1000, 99
        made.memory.look(1)

        def fail() -> int:
            raise OSError(errno.EMFILE, "Too many open files")

        made.memory._limit = made.memory._charged = fail
        made.memory.look(1 + LIMIT_EVERY_MS)
        assert (made.memory.budget_bytes, made.memory.used_bytes) == (700, 99)

    def test_reading_takes_no_descriptor(self) -> None:
        assert resident_bytes() > MIB
        before = len(os.listdir("/proc/self/fd"))
        assert all(resident_bytes() > MIB for _ in range(3))
        assert len(os.listdir("/proc/self/fd")) == before

    def test_looks_lie_apart(self) -> None:
        made = Readings(100)
        made.memory.glance(1000)
        assert made.memory.next_ms == 1000 + MEMORY_GLANCE_MS

    def test_since_when(self) -> None:
        made = Readings(100)
        made.memory.look(1)
        assert made.memory.since_wall_ms == 0
        made.resident = 100
        made.memory.look(2)
        since = made.memory.since_wall_ms
        assert since > 0
        made.resident = 200
        made.memory.look(3)
        assert made.memory.since_wall_ms == since, "it is the same shortage"
        made.resident = 10
        made.memory.look(4)
        assert made.memory.since_wall_ms == 0

    def test_room_is_made_at_once_if_it_is_far_too_much_else_after_a_while(self) -> None:
        made = Readings(100)
        made.memory.look(1)
        assert not made.memory.wants_room(1 + MEMORY_PATIENCE_MS)
        made.resident = 100
        made.memory.look(2)
        assert not made.memory.wants_room(1 + MEMORY_PATIENCE_MS)
        assert made.memory.wants_room(2 + MEMORY_PATIENCE_MS)
        made.resident = 115
        made.memory.look(3)
        assert made.memory.wants_room(3)


def check_memory(server: Server) -> None:
    """What the pulse does each second, now."""
    now_ms = server.pacing.begin()
    server.pulse._guard.check(now_ms)
    server.pulse._shedding.check(now_ms)


class Pressed(InProcess):
    """A server whose memory is what the test says, in percent of the budget."""

    def press(self, percent: int) -> None:
        def change(server: Server) -> None:
            server.memory._resident = lambda: percent * MIB
            server.memory.set_wanted(100 * MIB)
            check_memory(server)

        self.ask(change)

    def look(self) -> None:
        self.ask(check_memory)

    @staticmethod
    def now_ms(server: Server) -> int:
        return server.pacing.begin()


@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_at_each_level(loop: str) -> None:
    with Pressed(loop, change_spacing_ms=0) as running:
        bystander = Bystander(running.port)
        late = Wire(running.port)
        running.until(lambda server: len(server.links) == 3)
        running.press(100)
        goodbye = Wire(running.port).ended_with("busy")
        assert 2_000 <= goodbye[3] <= 8_000
        late.send(hello("late"))
        late.ended_with("busy")
        bystander.watcher.send(Watch(1, ["marker", "nobody"]))
        assert bystander.watcher.refused_with("memory_low", 1)[4] == 2_000
        bystander.watcher.send(Watch(2, ["marker"]), Get(3, ["marker"]), Heartbeat())
        assert [bystander.watcher.next()[:2] for _ in range(2)] == [[RECORDS, 2], [RECORDS, 3]]
        bystander.check()
        assert "memory short: refusing" in running.ask(lambda server: status_line(take_status(server)))

        running.press(115)
        bystander.watcher.send(Get(4, ["marker"]), Ping(5))
        bystander.watcher.refused_with("memory_low", 4)
        assert bystander.watcher.next()[:2] == [PONG, 5]
        bystander.check()
        status = running.ask(take_status)
        assert status.memory.level == "ending" and status.memory.budget_bytes == 100 * MIB
        assert (status.memory.refused_links, status.memory.refused_hellos) == (1, 1)
        assert (status.memory.refused_requests, status.memory.ended_links) == (2, 0), "nobody was owed much"
        assert status.goodbyes == {"busy": 2} and status.memory.turned_away == 2

        running.press(94)
        opened(running.port, "newcomer").close()
        bystander.watcher.send(Watch(6, ["nobody"]))
        assert bystander.watcher.next()[:2] == [RECORDS, 6]
        bystander.check()
        status = running.ask(take_status)
        [said] = finding(Patient(status, Settings(memory_bytes=100 * MIB, dev=True), Facts()))
        assert said[0] == "warning" and "2 links and 2 requests were turned away" in said[1]
        bystander.close()


@pytest.mark.parametrize("loop", LOOPS)
def test_the_links_that_are_owed_most_are_ended_few_at_a_time_and_keep_their_grace(loop: str) -> None:
    with Pressed(loop, rate=0, change_spacing_ms=0, check=False) as running:
        service, names = with_texts(running)
        watcher = opened(running.port, "watcher")
        light = [owed(running, f"light{at}", 3, names) for at in range(2)]
        heavy = [owed(running, f"heavy{at}", 16, names) for at in range(shedding.ENDS_MIN)]
        watcher.send(Watch(1, [f"heavy{at}" for at in range(shedding.ENDS_MIN)]))
        assert watcher.next()[0] == RECORDS
        running.press(115)
        running.until(lambda server: server.memory.ended_links == shedding.ENDS_MIN)
        running.until(lambda server: {one.session.user_name for one in server.links if one.session} >= {"light0"})
        left = running.ask(lambda server: {one.session.user_name for one in server.links if one.session})
        assert left == {"backend", "watcher", "light0", "light1"}
        assert running.ask(lambda server: server.stats.goodbyes["busy"]) == shedding.ENDS_MIN
        watcher.send(Ping(2))
        assert watcher.next()[0] == PONG and watcher.quiet(), "they are in grace, and nobody is told"
        running.look()
        running.until(lambda server: server.memory.ended_links == shedding.ENDS_MIN + 2)
        for link in (*light, *heavy, watcher, service):
            link.close()


def test_what_is_asked_at_once_is_answered_in_several_turns() -> None:
    """Fifty links ask for far more than is made in one turn, and each gets all of it."""
    asked = 8
    with InProcess(rate=0, change_spacing_ms=0, check=False) as running:
        service, names = with_texts(running)
        links = [opened(running.port, f"reader{number}") for number in range(50)]
        steps: list[int] = []

        def count_turns(server: Server) -> None:
            pacing, outboxes = cast(Any, server.pacing), server.engine.outboxes
            turn = pacing._run
            before = [outboxes.reply_bytes]

            def counted() -> None:
                steps.append(outboxes.reply_bytes - before[0])
                before[0] = outboxes.reply_bytes
                turn()

            pacing._run = counted

        running.ask(count_turns)
        running.ask(lambda server: [link.send(*(Get(at + 1, names) for at in range(asked))) for link in links])
        for link in links:
            assert [link.next()[:2] for _ in range(asked)] == [[RECORDS, at + 1] for at in range(asked)]
        # One batch of one link may go beyond.
        assert max(steps) < limits.REPLY_BYTES_PER_TURN + asked * 200_000
        assert sum(steps) > 4 * limits.REPLY_BYTES_PER_TURN
        for link in (*links, service):
            link.close()


def test_while_memory_is_short_who_does_not_read_is_not_read() -> None:
    with Pressed(rate=0, change_spacing_ms=0, check=False) as running:
        service, names = with_texts(running)
        link = owed(running, "alice", 3, names)
        running.press(100)
        link.send(Ping(4))
        running.until(lambda server: any(one.intake.paused for one in server.links))
        link.send(Ping(5))
        assert [link.until(PONG)[1] for _ in range(2)] == [4, 5], "it reads, and is read again"
        running.until(lambda server: not any(one.intake.paused for one in server.links))
        link.close()
        service.close()


def test_what_the_c_library_holds_for_nobody_is_given_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    if heap.mallinfo() is None or heap.malloc_trim() is None:
        pytest.skip("this C library cannot be asked")
    server = Server(Settings(dev=True, listen="127.0.0.1:0", memory_bytes=0))
    # A quarter of what the process has, which may be much by the tests before: less than an eighth is not given back.
    count = max(1_000, resident_bytes() // 400_000)
    held = [(bytes(100_000), bytes(3_000)) for _ in range(count)]
    full = resident_bytes()
    # The small ones stay, so that nothing goes back by itself.
    small = [kept for _, kept in held]
    held.clear()
    assert full - resident_bytes() < 16 * MIB, "it went back by itself"
    guard = MemoryGuard(server.memory, server.engine, server.report, SYSTEM_CLOCKS)
    guard.check(1_000_000)
    assert full - resident_bytes() > count * 50_000 and len(small) == count
    calls: list[int] = []
    server.memory.give_back_ms = 0
    monkeypatch.setattr(heap, "give_back", lambda: calls.append(1))
    for second in range(1, 120):
        guard.check(1_000_000 + second * 1_000)
    assert not calls, "what was given back is given back once"


@pytest.mark.parametrize("loop", LOOPS)
def test_unread_replies_are_bounded_beside_what_the_transport_holds(loop: str) -> None:
    """The replies that wait and those that the transport was given and has not got rid of count together."""
    names = [f"somebody-with-a-long-name-{number:0>90}" for number in range(256)]

    def unread(server: Server) -> int:
        (link,) = server.links
        assert link.session is not None and link.transport is not None
        return link.session.reply_bytes + link.transport.unsent_bytes

    with InProcess(loop, rate=0) as node, opened(node.port, "asker", receive_bytes=4096) as link:
        link.send(Get(1, names))
        reply_bytes = len(str(link.next()))
        link.socket.settimeout(0.2)
        sent = 1
        with contextlib.suppress(TimeoutError):
            while sent < 4_000:
                sent += 1
                link.send(Get(sent, names))
        assert sent < 4_000, "the server went on reading"
        # The last reply of a read may pass the bound, and so may the first of the turn that writes them: until then
        # nobody knows that the peer does not take them.
        most = limits.OUTBOX_BYTES_MAX + 2 * reply_bytes
        assert (found := node.ask(unread)) <= most, f"{found} bytes of replies are kept, and {most} may be"


def test_replies_that_wait_for_one_who_does_not_read_weigh() -> None:
    def weights(server: Server) -> tuple[int, int]:
        (link,) = server.links
        assert link.session is not None
        link.session.reply_bytes = 300_000
        before = link.unread_bytes
        link.hold()  # type: ignore[attr-defined]
        return before, link.unread_bytes

    with InProcess(check=False) as running, opened(running.port, "alice"):
        before, held = running.ask(weights)
        assert before < shedding.HEAVY_BYTES < 300_000 <= held, "who reads is owed nothing for long"
