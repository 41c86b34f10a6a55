"""How the closes of a drain are spread, and when those who are closed may come back, on a clock of its own."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from presenced.server.clocks import Clocks
from presenced.server.drain import LINK_MS, RETURN_MS_MIN, STEP_S, close_links


class Clock:
    """Time passes only in `sleep`, and by more than was asked for where the machine is late."""

    def __init__(self, late: random.Random | None) -> None:
        self.ms = 1_000_000.0
        self._late = late

    def now_ms(self) -> int:
        return int(self.ms)

    async def sleep(self, seconds: float) -> None:
        self.ms += seconds * 1000 * (1 + (self._late.random() * 4 if self._late is not None else 0))


class Links(dict[Any, None]):
    """Each leaves as soon as it is told goodbye."""

    host = SimpleNamespace(is_broken=False)

    def abort_all(self) -> None:
        assert not self, "each has closed by itself"


class FakeLink:
    def __init__(self, links: Links, clock: Clock) -> None:
        self.links, self.clock = links, clock
        self.closed_ms = self.back_ms = 0

    def end(self, code: str, message: str = "", retry_ms: int = 0) -> None:
        assert code == "going_away" and not self.closed_ms
        self.closed_ms = self.clock.now_ms()
        self.back_ms = self.closed_ms + retry_ms
        del self.links[self]


def drained(monkeypatch: pytest.MonkeyPatch, number: int, spread_ms: int, late: random.Random | None) -> list[FakeLink]:
    clock, links = Clock(late), Links()
    monkeypatch.setattr(asyncio, "sleep", clock.sleep)
    everyone = [FakeLink(links, clock) for _ in range(number)]
    links.update(dict.fromkeys(everyone))
    clocks = Clocks(lambda: clock.now_ms() * 1_000_000, lambda: 0)
    closing = close_links(cast(Any, links), clock.now_ms() + 60_000, spread_ms, clocks)
    with pytest.raises(StopIteration):
        closing.send(None)
    assert not links
    return everyone


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_nobody_comes_back_before_the_last_is_closed(monkeypatch: pytest.MonkeyPatch, seed: int | None) -> None:
    late = random.Random(seed) if seed is not None else None
    everyone = drained(monkeypatch, 400, 300, late)
    closed = [link.closed_ms for link in everyone]
    assert closed == sorted(closed), "in the order in which they came"
    assert min(link.back_ms for link in everyone) > closed[-1]
    step_ms = STEP_S * 1000 * (5 if late is not None else 1)
    assert closed[-1] - closed[0] >= 300 - 2 * step_ms, "one after the other"
    assert len({link.back_ms - link.closed_ms for link in everyone}) > 100, "each has a delay of its own"
    assert all(link.back_ms - link.closed_ms >= RETURN_MS_MIN for link in everyone)


def test_a_few_links_end_sooner_than_the_configured_time(monkeypatch: pytest.MonkeyPatch) -> None:
    everyone = drained(monkeypatch, 20, 5_000, None)
    assert everyone[-1].closed_ms - everyone[0].closed_ms <= 20 * LINK_MS + STEP_S * 1000
