"""The timer wheel against a heap, which is slow, obvious and right."""

from __future__ import annotations

import heapq
import sys
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from presenced.core import wheel as module
from presenced.core.wheel import TICK_BITS, TICK_MS, Timer, Wheel
from tests.support.tiers import samples

HOUR_MS = 3_600_000
YEAR_MS = 365 * 24 * HOUR_MS
ROUND_MS = TICK_MS << 30
"""One turn of all levels: what lies beyond is parked."""

SPANS_MS = [TICK_MS * 64**level for level in range(7)]

delays_ms = st.one_of(
    st.integers(-200, 2_000),
    st.integers(0, HOUR_MS),
    st.integers(0, 20 * YEAR_MS),
    st.builds(lambda span, off: span + off, st.sampled_from(SPANS_MS), st.integers(-130, 130)),
)
jumps_ms = st.one_of(
    st.integers(0, 300),
    st.integers(0, HOUR_MS),
    st.integers(0, 8 * YEAR_MS),
    st.builds(lambda span, off: max(0, span + off), st.sampled_from(SPANS_MS), st.integers(-130, 130)),
)
starts_ms = st.one_of(
    st.integers(0, 10**6),
    st.builds(lambda span, off: max(0, span + off), st.sampled_from(SPANS_MS), st.integers(-9_000, 9_000)),
)


ticks_bits = st.sampled_from((TICK_BITS, 0))
"""As in a daemon, and as fine as the clock."""


class Entry(Timer):
    """What an owner's entry looks like: a subclass with slots of its own."""

    __slots__ = ("name",)

    def __init__(self, name: int) -> None:
        super().__init__()
        self.name = name


class HeapTimers:
    """The slow twin: a heap with dead entries left in it."""

    def __init__(self) -> None:
        self.due_of: dict[int, int] = {}
        self._heap: list[tuple[int, int]] = []

    def schedule(self, name: int, due_ms: int) -> None:
        self.due_of[name] = due_ms
        heapq.heappush(self._heap, (due_ms, name))

    def cancel(self, name: int) -> None:
        self.due_of.pop(name, None)

    def first_ms(self) -> int | None:
        while self._heap and self.due_of.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None


def check_structure(wheel: Wheel) -> None:
    """Every entry knows its slot, and every bit of the bitmaps tells the truth."""
    for number, entries in enumerate(wheel._slots):
        marked = bool(wheel._occupied[number >> 6] >> (number & 63) & 1)
        assert marked == bool(entries), f"slot {number} is marked {marked} and holds {len(entries)}"
        for entry in entries:
            assert entry._slot == number


def advance_fully(wheel: Wheel, now_ms: int, entries_max: int = 1_000) -> list[Any]:
    """Call `advance` as a server does that has nothing else to do: until there is no work by `now_ms`."""
    fired: list[Any] = []
    for _ in range(100_000):
        fired += wheel.advance(now_ms, entries_max)
        next_ms = wheel.next_ms
        if next_ms is None or next_ms > now_ms:
            return fired
    raise AssertionError("advance finds no end")


class WheelAndHeap(RuleBasedStateMachine):
    """Any sequence of operations, with the same done to the heap."""

    @initialize(start_ms=starts_ms, tick_bits=ticks_bits)
    def start(self, start_ms: int, tick_bits: int) -> None:
        self.now_ms = start_ms
        self.tick_ms = 1 << tick_bits
        self.wheel = Wheel(start_ms, tick_bits)
        self.heap = HeapTimers()
        self.entries = [Entry(name) for name in range(24)]

    @rule(name=st.integers(0, 23), delay_ms=delays_ms)
    def schedule(self, name: int, delay_ms: int) -> None:
        due_ms = self.now_ms + delay_ms
        self.wheel.schedule(self.entries[name], due_ms)
        self.heap.schedule(name, due_ms)

    @rule(delay_ms=delays_ms)
    def schedule_all(self, delay_ms: int) -> None:
        for name in range(24):
            self.schedule(name, delay_ms)

    @rule(name=st.integers(0, 23))
    def cancel(self, name: int) -> None:
        self.wheel.cancel(self.entries[name])
        self.heap.cancel(name)

    @rule(jump_ms=jumps_ms, entries_max=st.integers(1, 8))
    def advance_a_little(self, jump_ms: int, entries_max: int) -> None:
        self.now_ms += jump_ms
        before = [entry._slot for entry in self.entries]
        self.fires(self.wheel.advance(self.now_ms, entries_max))
        touched = sum(entry._slot != slot for entry, slot in zip(self.entries, before, strict=True))
        assert touched <= entries_max

    @rule(jump_ms=jumps_ms, entries_max=st.integers(1, 8))
    def advance(self, jump_ms: int, entries_max: int) -> None:
        self.now_ms += jump_ms
        self.fires(advance_fully(self.wheel, self.now_ms, entries_max))
        first_ms = self.heap.first_ms()
        assert first_ms is None or first_ms > self.now_ms - self.tick_ms, "an entry is later than the tolerance"

    @rule(naps=st.integers(1, 10))
    def sleep_until_next(self, naps: int) -> None:
        for _ in range(naps):
            next_ms = self.wheel.next_ms
            if next_ms is None:
                return
            overdue = {name for name, due_ms in self.heap.due_of.items() if due_ms <= self.now_ms}
            self.now_ms = max(self.now_ms, next_ms)
            fired = self.wheel.advance(self.now_ms, 1_000)
            self.fires(fired)
            for entry in fired:
                assert entry.name in overdue or self.now_ms < entry.due_ms + self.tick_ms, "woken too late"

    @rule(back_ms=st.integers(1, HOUR_MS))
    def go_back_in_time(self, back_ms: int) -> None:
        assert self.wheel.advance(self.now_ms - back_ms, 1_000) == []

    def fires(self, fired: list[Any]) -> None:
        for entry in fired:
            due_ms = self.heap.due_of.pop(entry.name, None)
            assert due_ms is not None, "fired twice, or after it was cancelled"
            assert due_ms <= self.now_ms, "fired early"
            assert due_ms == entry.due_ms
            assert not entry.scheduled

    @invariant()
    def holds_the_same(self) -> None:
        check_structure(self.wheel)
        assert len(self.wheel) == len(self.heap.due_of)
        for entry in self.entries:
            assert entry.scheduled == (entry.name in self.heap.due_of)

    @invariant()
    def next_is_honest(self) -> None:
        next_ms, first_ms = self.wheel.next_ms, self.heap.first_ms()
        assert (next_ms is None) == (first_ms is None)
        if next_ms is not None and first_ms is not None:
            assert next_ms < max(first_ms, self.now_ms) + self.tick_ms


TestWheelAndHeap = WheelAndHeap.TestCase
TestWheelAndHeap.settings = settings(max_examples=samples(120), stateful_step_count=40, deadline=None)


@given(starts_ms, st.lists(delays_ms, max_size=40), st.integers(1, 50))
@settings(max_examples=samples(150), deadline=None)
def test_who_sleeps_until_next_meets_every_deadline(start_ms: int, delays: list[int], entries_max: int) -> None:
    wheel = Wheel(start_ms)
    for name, delay_ms in enumerate(delays):
        wheel.schedule(Entry(name), start_ms + delay_ms)
    now_ms = start_ms
    fired: list[int] = []
    calls = 0
    while (next_ms := wheel.next_ms) is not None:
        calls += 1
        assert calls < 60 * 40, "woken far too often"
        now_ms = max(now_ms, next_ms)
        for entry in wheel.advance(now_ms, entries_max):
            assert entry.due_ms <= now_ms < max(entry.due_ms, start_ms) + TICK_MS
            fired.append(entry.name)
    assert sorted(fired) == list(range(len(delays)))


def run_script(script: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    wheel = Wheel(0)
    entries = [Entry(name) for name in range(50)]
    fired: list[tuple[int, int]] = []
    now_ms = 0
    for name, delay_ms, jump_ms in script:
        wheel.schedule(entries[name], now_ms + delay_ms)
        now_ms += jump_ms
        fired += [(now_ms, entry.name) for entry in wheel.advance(now_ms, 3)]
    fired += [(-1, entry.name) for entry in advance_fully(wheel, now_ms + YEAR_MS)]
    return fired


@given(st.lists(st.tuples(st.integers(0, 49), st.integers(0, 20_000), st.integers(0, 400)), max_size=120))
@settings(max_examples=samples(50), deadline=None)
def test_the_same_calls_give_the_same_order(script: list[tuple[int, int, int]]) -> None:
    first = run_script(script)
    displaced = [Entry(name) for name in range(7)]  # other addresses for the second run's objects
    assert run_script(script) == first
    del displaced


def test_a_new_timer_waits_nowhere() -> None:
    entry = Entry(1)
    assert (entry.due_ms, entry.scheduled) == (0, False)
    wheel = Wheel(0)
    wheel.cancel(entry)
    assert wheel.next_ms is None
    assert len(wheel) == 0
    assert not hasattr(entry, "__dict__"), "an entry of a million costs no dict"


@pytest.mark.parametrize("delay_ms", [ROUND_MS - 64, ROUND_MS, 2 * ROUND_MS + 1, 5 * ROUND_MS + 12_345])
def test_an_entry_beyond_the_top_level_is_parked_and_still_punctual(delay_ms: int) -> None:
    wheel = Wheel(1_000)
    entry = Entry(1)
    wheel.schedule(entry, 1_000 + delay_ms)
    due_ms = 1_000 + delay_ms
    assert advance_fully(wheel, due_ms - 1) == []
    assert advance_fully(wheel, due_ms + TICK_MS) == [entry]


class CountingWheel(Wheel):
    """Counts how often the wheel looks for its next slot."""

    __slots__ = ("looks",)

    def __init__(self, now_ms: int) -> None:
        super().__init__(now_ms)
        self.looks = 0

    def _ahead(self) -> tuple[int, int] | None:
        self.looks += 1
        return super()._ahead()


def test_a_jump_over_a_million_empty_ticks_costs_nothing() -> None:
    wheel = CountingWheel(0)
    entry, later = Entry(1), Entry(2)
    wheel.schedule(entry, 999_000 * TICK_MS)
    wheel.schedule(later, 1_000_001 * TICK_MS)
    assert wheel.advance(1_000_000 * TICK_MS, 100) == [entry]
    assert wheel.looks < 10
    assert wheel.next_ms is not None and wheel.next_ms <= 1_000_001 * TICK_MS


def test_an_entry_cancelled_in_a_coarse_slot_leaves_nothing_behind() -> None:
    wheel = Wheel(0)
    entry = Entry(1)
    wheel.schedule(entry, HOUR_MS)
    assert wheel.next_ms is not None and wheel.next_ms > HOUR_MS // 2
    wheel.cancel(entry)
    wheel.cancel(entry)
    assert wheel.next_ms is None
    assert advance_fully(wheel, 2 * HOUR_MS) == []
    check_structure(wheel)


def test_a_coarse_slot_is_spread_piece_by_piece_while_entries_come_and_go() -> None:
    wheel = Wheel(0)
    entries = [Entry(name) for name in range(100)]
    for entry in entries:
        wheel.schedule(entry, HOUR_MS + entry.name)
    spread_ms = wheel.next_ms
    assert spread_ms is not None and spread_ms < HOUR_MS

    assert wheel.advance(spread_ms, 10) == []
    assert wheel.next_ms == spread_ms, "ninety entries still lie in the coarse slot"
    soon, past = Entry(100), Entry(101)
    wheel.schedule(soon, spread_ms + 1)
    wheel.schedule(past, spread_ms - 1)
    wheel.cancel(entries[0])
    wheel.cancel(entries[99])
    wheel.schedule(entries[50], spread_ms + 2)

    fired = advance_fully(wheel, spread_ms + TICK_MS, 10)
    assert sorted(entry.name for entry in fired) == [50, 100, 101]
    fired = advance_fully(wheel, HOUR_MS + 100 + TICK_MS, 10)
    assert sorted(entry.name for entry in fired) == [name for name in range(1, 99) if name != 50]


def test_a_million_due_at_once_would_come_in_bounded_pieces() -> None:
    wheel = Wheel(0)
    for name in range(10_000):
        wheel.schedule(Entry(name), 5_000)
    pieces = [len(wheel.advance(6_000, 256)) for _ in range(40)]
    assert max(pieces) <= 256
    assert sum(pieces) == 10_000
    assert sum(sys.getsizeof(slot) for slot in wheel._slots) < 64 * 1024, "the storm's memory is kept"


def test_an_owner_that_keeps_re_arming_in_the_past_does_not_starve_the_others() -> None:
    wheel = Wheel(0)
    greedy = [Entry(name) for name in range(5)]
    for entry in greedy:
        wheel.schedule(entry, 0)
    other = Entry(99)
    wheel.schedule(other, 1_000)
    fired: list[Timer] = []
    for _ in range(3):
        for entry in (batch := wheel.advance(2_000, 5)):
            if entry is not other:
                wheel.schedule(entry, 0)
        fired += batch
    assert other in fired


def test_a_past_due_time_fires_at_the_very_next_call() -> None:
    wheel = Wheel(1_000)
    entry = Entry(1)
    wheel.schedule(entry, 999)
    assert wheel.next_ms == 1_000
    assert wheel.advance(1_000, 10) == [entry]


def test_rescheduling_moves_an_entry_and_never_copies_it() -> None:
    wheel = Wheel(0)
    entry = Entry(1)
    for due_ms in (100, HOUR_MS, 101, YEAR_MS, 50, 700):
        wheel.schedule(entry, due_ms)
        assert len(wheel) == 1
    assert advance_fully(wheel, 640) == []
    assert advance_fully(wheel, 704) == [entry]
    assert advance_fully(wheel, 9 * YEAR_MS) == []


def test_the_stated_reach_is_the_real_one() -> None:
    assert module._ROUND_BITS == 30
    assert 2.1 < ROUND_MS / YEAR_MS < 2.3
