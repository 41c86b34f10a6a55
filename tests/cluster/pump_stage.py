"""One node with its pump, on a real loop over the fake backplane."""

from __future__ import annotations

import time

from presenced.backplane.port import Joined
from presenced.cluster.log.join_data import JoinData
from presenced.cluster.log.log_reader import LogReader
from presenced.cluster.log.node import Node
from presenced.core.copies import Copies
from presenced.core.engine import Engine
from presenced.core.policy import Policy
from presenced.server.clocks import SYSTEM_CLOCKS, Clocks
from presenced.server.clustering.pump import Pump
from presenced.wire.codec import encode
from tests.support.memory_backplane import MemoryBackplane
from tests.support.memory_engine import MemoryEngine


class Nobody:
    """No link acts elsewhere."""

    def receive(self, sender: int, message: bytes, now_ms: int) -> None: ...

    def node_gone(self, node: int, last_ms: int, now_ms: int) -> None: ...

    def homes_changed(self, names: object, now_ms: int) -> None: ...


class Stage:
    """One node with its pump, which serves when this is made."""

    def __init__(self, clocks: Clocks = SYSTEM_CLOCKS, linger_ms: int = 0) -> None:
        self.clocks = clocks
        self.linger_ms = linger_ms
        self.log = MemoryEngine(lambda: time.monotonic_ns() // 1_000_000, waits=True)
        self.backplane = MemoryBackplane(self.log)
        self.away: list[bool] = []
        self.failures: list[Exception] = []

    def begin(self) -> int:
        return SYSTEM_CLOCKS.monotonic_ms()

    async def join(self) -> Joined:
        return await self.backplane.join("one", 1, 0, 77, encode(JoinData(7)))

    async def start(self, *, waits: bool = True) -> Stage:
        joined = await self.join()
        now_ms = self.begin()
        engine = Engine(Policy(), now_ms=now_ms, wall_ms=1_700_000_000_000, epoch=77)
        self.node = Node(engine, Copies(engine), "one", 7, joined)
        self.reader = LogReader(self.node, Nobody())
        self.pump = Pump(
            self.node,
            self.reader,
            self.backplane,
            self,
            self.clocks,
            renew_ms=20,
            linger_ms=self.linger_ms,
            saved=lambda: None,
            away=self.away.append,
            on_failure=self.failures.append,
        )
        self.reader.begin(now_ms)
        self.pump.start()
        if waits:
            await self.pump.wait_ready()
        return self
