"""The fake: a node's way to an engine in this process. Same calls, same answers: whoever draws the same numbers gets
the same log."""

from __future__ import annotations

import random
from collections.abc import Callable

from presenced.backplane.errors import Unreachable
from presenced.backplane.port import LEASE_MS, Entry, Joined, Renewed
from tests.support.memory_engine import Living, MemoryEngine


class MemoryBackplane:
    """A `port.Backplane` over a `MemoryEngine`. Its attributes are for tests to set."""

    def __init__(
        self,
        engine: MemoryEngine,
        *,
        lease_ms: int = LEASE_MS,
        draw: Callable[[int], int] | None = None,
        wall_ms: Callable[[], int] | None = None,
    ) -> None:
        """`draw` gives so many random bits; by default from a seed that is always the same."""
        self.engine = engine
        """Where this node is connected to. Another one may be set, after a `split`."""
        self.is_cut = False
        """Nothing of this node reaches the engine."""
        self.replies_to_lose = 0
        """So many of the next calls are executed, and their answer is lost."""
        self._lease_ms = lease_ms
        self._draw = draw or random.Random(1).getrandbits
        self._wall_ms = wall_ms or engine.clock_ms
        self._caller = Living("", 0, "")

    async def join(self, node: str, nonce: int, least: int, wall_epoch: int, data: bytes) -> Joined:
        """See `port.Backplane`."""
        joined = self._reached().join(node, nonce, least, wall_epoch, self._lease_ms, self._draw(52), data)
        self._lose_reply()
        self._caller = Living(node, joined.incarnation, joined.history)
        return joined

    async def append(self, batch: int, seen_n: int, seen_tag: int, data: bytes) -> tuple[int, int]:
        """See `port.Backplane`."""
        place = self._reached().append(self._caller, batch, (seen_n, seen_tag), self._draw(52), data)
        self._lose_reply()
        return place

    async def renew(self, read_n: int, read_tag: int) -> Renewed:
        """See `port.Backplane`."""
        renewed = self._reached().renew(self._caller, (read_n, read_tag), self._draw(52))
        self._lose_reply()
        return renewed._replace(wall_offset_ms=renewed.wall_offset_ms - self._wall_ms())

    async def leave(self) -> None:
        """See `port.Backplane`."""
        self._reached().leave(self._caller, self._draw(52))
        self._lose_reply()

    async def read(self, after_n: int, after_tag: int | None = None) -> list[Entry]:
        """See `port.Backplane`."""
        return await self._reached().read(self._caller, after_n, after_tag)

    async def put_parcel(self, joiner: int, number: int, data: bytes) -> None:
        """See `port.Backplane`."""
        self._reached().put_parcel(joiner, number, data)
        self._lose_reply()

    async def take_parcel(self, joiner: int, number: int) -> bytes | None:
        """See `port.Backplane`."""
        data = self._reached().take_parcel(joiner, number)
        self._lose_reply()
        return data

    async def close(self) -> None:
        """See `port.Backplane`."""

    def _reached(self) -> MemoryEngine:
        if self.is_cut:
            raise Unreachable("this node is cut off from the engine")
        return self.engine

    def _lose_reply(self) -> None:
        if self.replies_to_lose:
            self.replies_to_lose -= 1
            raise Unreachable("the answer was lost")
