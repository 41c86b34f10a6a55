"""Calls of the engine that are made until they are answered, or until the node stops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from presenced.backplane.errors import Refused, Unreachable
from presenced.server.clocks import Clocks
from presenced.server.clustering.reach import EngineWay, Reach

RETRY_S: Final = 0.25

_T = TypeVar("_T")


class EngineCalls:
    """The calls of one incarnation, and what they show of the engine."""

    def __init__(self, clocks: Clocks, away: Callable[[bool], object]) -> None:
        """`away` is told that the engine is away, and that it is back."""
        self.reach = Reach(clocks.monotonic_ms(), away)
        self.is_over = False
        """The node stops: what fails is not called again, and nothing else is called."""
        self._serves = False
        self._clocks = clocks

    def note_serving(self) -> None:
        """The node serves: it waits for an engine that refuses it, as for one that is away."""
        self._serves = True

    def end(self) -> None:
        """Make no call any more. Idempotent."""
        self.is_over = True

    def read(self, call: Callable[[], Awaitable[_T]]) -> Awaitable[_T]:
        """As `write`, of a call that only reads."""
        return self._answer(call, "read")

    def write(self, call: Callable[[], Awaitable[_T]]) -> Awaitable[_T]:
        """What the call gives, however often it has to be made. Raises what cannot be mended by that."""
        return self._answer(call, "write")

    async def rest(self) -> None:
        """Wait before something is tried again, or until this is over."""
        until_s = self._clocks.monotonic_s() + RETRY_S
        while not self.is_over and (left_s := until_s - self._clocks.monotonic_s()) > 0:
            await asyncio.sleep(min(left_s, 0.2))

    async def _answer(self, call: Callable[[], Awaitable[_T]], way: EngineWay) -> _T:
        while not self.is_over:
            sent_ms = self._clocks.monotonic_ms()
            try:
                result = await call()
            except (Unreachable, Refused) as error:
                if isinstance(error, Refused) and not (error.is_of_engine and self._serves):
                    raise
                if not self.is_over:
                    self.reach.failed(way, sent_ms, self._clocks.monotonic_ms(), error)
                    await self.rest()
                continue
            self.reach.answered(way, sent_ms)
            return result
        raise Refused("stopped", "this node stops")
