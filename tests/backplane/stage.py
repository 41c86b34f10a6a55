"""An engine with a clock that a test moves, in memory or a real one, and what can be done to either."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable

from redis import Redis

from presenced.backplane.access import EngineAccess
from presenced.backplane.library import LIBRARY_SOURCE, Library, keys_of, library_of
from presenced.backplane.port import Backplane
from presenced.backplane.redis_engine import RedisBackplane
from tests.support.memory_backplane import MemoryBackplane
from tests.support.memory_engine import MemoryEngine

LOG_BYTES = 20_000
"""The most that the log of a stage holds."""

LEASE_MS = 10_000


def library_with_clock(key: str, log_bytes: int) -> Library:
    """The library, but for its clock and the bound of its log."""
    source = LIBRARY_SOURCE.replace("LOG_BYTES_MAX = 268435456", f"LOG_BYTES_MAX = {log_bytes}")
    begin, end = source.index("local function now_ms()"), source.index("local function id_of")
    return library_of(
        f"{source[:begin]}local function now_ms() return tonumber(redis.call('GET', '{key}')) end\n\n{source[end:]}"
    )


class Stage(ABC):
    """Several nodes on one engine. `now_ms` is its wall clock."""

    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000
        self.nodes: list[Backplane] = []

    @abstractmethod
    def node(self, draw: Callable[[int], int] | None = None) -> Backplane:
        """A node that has not joined."""

    def pass_ms(self, ms: int) -> None:
        """Let time pass, or set the clock back."""
        self.now_ms += ms

    @abstractmethod
    def empty(self) -> None:
        """FLUSHALL."""

    @abstractmethod
    def keep(self) -> object:
        """All that the engine has now, for `put_back`."""

    @abstractmethod
    def put_back(self, kept: object) -> None:
        """Let the engine be as it was."""

    async def close(self) -> None:
        """End all connections."""
        for node in self.nodes:
            await node.close()


class MemoryStage(Stage):
    """The fake."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = MemoryEngine(lambda: self.now_ms, log_bytes_max=LOG_BYTES, waits=True)

    def node(self, draw: Callable[[int], int] | None = None) -> Backplane:
        draw = draw or random.Random(len(self.nodes)).getrandbits
        self.nodes.append(MemoryBackplane(self.engine, lease_ms=LEASE_MS, draw=draw, wall_ms=lambda: 1_000))
        return self.nodes[-1]

    def empty(self) -> None:
        self.engine.empty()

    def keep(self) -> object:
        return self.engine.split()

    def put_back(self, kept: object) -> None:
        assert isinstance(kept, MemoryEngine)
        self.engine.kept, self.engine.entries = kept.kept, dict(kept.entries)


class RedisStage(Stage):
    """A real engine, which is emptied first."""

    def __init__(self, socket: str) -> None:
        super().__init__()
        self.access = EngineAccess(path=socket)
        self.redis = Redis(unix_socket_path=socket)
        self.redis.flushall()
        self.library = library_with_clock("clock", LOG_BYTES)
        self.pass_ms(0)

    def node(self, draw: Callable[[int], int] | None = None) -> Backplane:
        draw = draw or random.Random(len(self.nodes)).getrandbits
        self.nodes.append(
            RedisBackplane(self.access, lease_ms=LEASE_MS, library=self.library, random=draw, wall_ms=lambda: 1_000)
        )
        return self.nodes[-1]

    def pass_ms(self, ms: int) -> None:
        super().pass_ms(ms)
        self.redis.set("clock", self.now_ms)

    def empty(self) -> None:
        self.redis.flushall()
        self.pass_ms(0)

    def keep(self) -> object:
        return {key: self.redis.dump(key) for key in keys_of("presenced")[1:]}

    def put_back(self, kept: object) -> None:
        assert isinstance(kept, dict)
        for key, value in kept.items():
            self.redis.delete(key)
            if value is not None:
                self.redis.restore(key, 0, value)

    async def close(self) -> None:
        await super().close()
        self.redis.close()
