"""Servers in this process that are nodes of a cluster, over the fake backplane: their `Membership` on a real loop."""

from __future__ import annotations

import time
from random import Random

from presenced.config.settings import Settings
from presenced.core.model import Edge, Session
from presenced.server.clocks import SYSTEM_CLOCKS
from presenced.server.clustering.entrance import choices_of
from presenced.server.clustering.membership import Membership
from presenced.server.clustering.status import EngineStatus
from presenced.server.drain import Stopping
from presenced.server.server import Server
from presenced.wire.messages import SetStatus
from tests.support.memory_backplane import MemoryBackplane
from tests.support.memory_engine import MemoryEngine

DEV = Settings(dev=True)


class Ear(Edge):
    """A link that hears what is said to it."""

    def __init__(self) -> None:
        self.got = b""

    def send(self, data: bytes) -> None:
        self.got += data

    def end(self, code: str) -> None:
        raise AssertionError(code)

    def fail(self, now_ms: int) -> None:
        raise AssertionError("serving it failed")


def new_engine() -> MemoryEngine:
    """The engine of a cluster."""
    return MemoryEngine(lambda: time.monotonic_ns() // 1_000_000, waits=True)


class Joining:
    """A server with its part in the cluster, which has not joined yet."""

    def __init__(
        self,
        engine: MemoryEngine,
        name: str,
        settings: Settings = DEV,
        *,
        lease_ms: int = 60_000,
        acks_by_replica: bool = False,
    ) -> None:
        self.failures: list[BaseException] = []
        self.server = Server(settings)
        self.server.pacing.start(self.server.links, on_failure=self.failures.append)
        self.backplane = MemoryBackplane(engine, draw=Random(name).getrandbits)
        self.membership = Membership(
            self.backplane,
            name,
            self.server.links,
            self.server.pacing,
            SYSTEM_CLOCKS,
            linger_ms=0,
            lease_ms=lease_ms,
            engine_status=lambda away_ms, trouble: EngineStatus("", "", "", "", away_ms, trouble),
            acks_by_disk=False,
            acks_by_replica=acks_by_replica,
            on_failure=self.failures.append,
            drain=lambda: Stopping(0, 0, 0),
            choices=lambda: choices_of(settings),
        )
        self._service: Session | None = None
        self._ear = Ear()

    @property
    def answered(self) -> bytes:
        """All that the service here was told."""
        return self._ear.got

    def say(self, number: int, name: str, text: str) -> None:
        """A service here sets the user's status."""
        engine, now_ms = self.server.engine, SYSTEM_CLOCKS.monotonic_ms()
        if self._service is None:
            self._service = Session(self._ear, "shop", "service", 1)
            engine.sessions.open_without_device(now_ms, self._service)
        self.server.links.requests.handle(engine, self._service, now_ms, SetStatus(number, "dnd", text, user=name))
        self.server.pacing.begin()

    def know(self, names: list[str], text: str) -> None:
        """The own disk has said this of these users."""
        engine, now_ms = self.server.engine, SYSTEM_CLOCKS.monotonic_ms()
        session = Session(Ear(), "disk", "service", 1)
        engine.sessions.open_without_device(now_ms, session)
        for number, name in enumerate(names, 1):
            self.server.links.requests.handle(engine, session, now_ms, SetStatus(number, "dnd", text, user=name))
        self.server.pacing.run_first()

    def text_of(self, name: str) -> str:
        """What is shown of the user here."""
        user = self.server.engine.users.get(name)
        return user.record.text if user is not None else ""
