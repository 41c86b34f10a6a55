"""How far the wall clock is ahead: one number for as long as nobody sets it, however busy the machine is."""

from __future__ import annotations

import itertools
import time

import pytest

import presenced.sync
from presenced.server.clocks import SYSTEM_CLOCKS, Clocks
from presenced.server.links import Links
from tests.support.in_process import InProcess

AHEAD_MS = 1_700_000_000_123
PUT_ASIDE_NS = 8_000_000


def put_aside_at(*reads: int) -> Clocks:
    """Clocks of a process that stands still for 8 ms before each of these looks at one of them, counted from 0."""
    numbers = itertools.count()
    now_ns = 0

    def look() -> int:
        nonlocal now_ns
        now_ns += PUT_ASIDE_NS if next(numbers) in reads else 50
        return now_ns

    return Clocks(look, lambda: look() + AHEAD_MS * 1_000_000)


@pytest.mark.parametrize("reads", [(), (0,), (1,), (2,), (1, 2), (1, 3, 5), (1, 4, 7), (2, 5, 8, 11, 14)])
def test_the_offset_is_the_same_wherever_the_process_is_put_aside(reads: tuple[int, ...]) -> None:
    # The wall clock is looked at 50 ns before the other, which is less than a whole millisecond more.
    assert put_aside_at(*reads).wall_offset_ms() in (AHEAD_MS - 1, AHEAD_MS)


def test_a_process_that_is_slow_at_every_look_takes_the_closest() -> None:
    steps = itertools.chain([9, 9, 9], [9, 1, 1], itertools.repeat(9))
    now_ns = 0

    def look() -> int:
        nonlocal now_ns
        now_ns += next(steps) * 1_000_000
        return now_ns

    clocks = Clocks(look, lambda: look() + AHEAD_MS * 1_000_000)
    assert clocks.wall_offset_ms() == AHEAD_MS - 1
    assert now_ns < 1_000_000_000, "the number of looks is bounded"


def test_the_end_of_a_lease_stays_as_it_is_told_on_a_server_that_is_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a turn serves before it looks at the wall clock takes time; so does being put aside for another process."""
    held_up_ns = 0
    clocks = Clocks(lambda: time.monotonic_ns() + held_up_ns, lambda: time.time_ns() + held_up_ns)
    run_due = Links.run_due

    def slow(links: Links, now_ms: int) -> None:
        nonlocal held_up_ns
        run_due(links, now_ms)
        held_up_ns += next(delays_ms) * 1_000_000

    delays_ms = itertools.cycle((0, 40, 5, 90))
    monkeypatch.setattr(Links, "run_due", slow)
    with InProcess(clocks=clocks, operated=False) as running:
        with presenced.sync.connect_service(f"presence://jobs@127.0.0.1:{running.port}") as p:
            p.attach("ann", "job", for_at_most=300.0)
            told = [p.get_devices("ann")[0].lease_until_ms for _ in range(12)]
    assert max(told) - min(told) <= 1, f"one lease is told to end at {sorted(set(told))}"


def test_the_clocks_of_this_machine_agree_with_their_offset() -> None:
    offset_ms = SYSTEM_CLOCKS.wall_offset_ms()
    before_ms, wall_ms, after_ms = SYSTEM_CLOCKS.monotonic_ms(), SYSTEM_CLOCKS.wall_ms(), SYSTEM_CLOCKS.monotonic_ms()
    assert before_ms + offset_ms - 1 <= wall_ms <= after_ms + offset_ms + 1
