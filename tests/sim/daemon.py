"""One process of the server: the real restore, engine, log, turn and links, on a simulated machine.

What stands in for the program around them is small and is in here: who is believed, and the start and the stop.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from presenced.config.settings import Durability
from presenced.core.engine import Engine
from presenced.core.parts.schedules import no_calendar
from presenced.core.policy import Policy
from presenced.core.records import Fact
from presenced.server.accounts import UNLIMITED
from presenced.server.admission import Admission
from presenced.server.collector import Collector
from presenced.server.conversation import Conversation
from presenced.server.data_directory import restore
from presenced.server.durable_log import DurableLog
from presenced.server.fact_log import Ack
from presenced.server.identity import Identity
from presenced.server.links import Links
from presenced.server.memory import Memory
from presenced.server.memory_guard import MemoryGuard
from presenced.server.pacing import Pacing
from presenced.server.report import Report
from presenced.server.stats import Stats
from presenced.storage.files import Directory
from presenced.wire.messages import Hello, Role
from tests.sim.loop import Loop, StepRunner, Time
from tests.sim.promises import Face, face_of
from tests.support.requests import REQUESTS

LINKS_MAX = 1_000


class SimEngine(Engine):
    """Keeps how users stood before what was due by the start came about."""

    restored: Face

    def catch_up(self, now_ms: int) -> None:
        self.restored = face_of(self)
        super().catch_up(now_ms)


class WitnessedLog:
    """The log, and what it was given in the turn under way."""

    def __init__(self, log: DurableLog) -> None:
        self._log = log
        self.given: list[Ack] | None = None
        """The acknowledgements; None = it was given nothing at all."""

    def append(self, facts: Sequence[Fact], acks: Sequence[Ack]) -> None:
        self.given = list(acks)
        self._log.append(facts, acks)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


class EndOfTurn:
    """Stands for the collector of garbage, which is asked at the end of each turn whether it is due: it never is."""

    def __init__(self, tell: Callable[[], object]) -> None:
        self._tell = tell

    @property
    def due(self) -> bool:
        self._tell()
        return False


class Daemon:
    """A running server."""

    def __init__(
        self,
        time: Time,
        directory: Directory,
        durability: Durability,
        policy: Policy,
        chance: random.Random,
        *,
        rate: int,
        ended_turn: Callable[[list[Ack] | None], None],
        born: Callable[[Daemon], None],
    ) -> None:
        """Start on a directory. Raises what `restorer` raises. `born` is called once that was read, and `ended_turn` at
        the end of each turn with what the log was given in it."""
        self.loop = Loop(time)
        self.runner = StepRunner(time)
        self.is_broken = self.is_stopping = False
        self._time = time
        self._rate = rate
        self._ended_turn = ended_turn
        loop = cast(asyncio.AbstractEventLoop, self.loop)
        now_ms, wall_ms = time.now_ms, time.wall_ms
        self.engine = SimEngine(policy, now_ms=now_ms, wall_ms=wall_ms, epoch=wall_ms, calendar=no_calendar)
        memory = Memory(0, resident=lambda: 0, charged=lambda: 0, limit=lambda: 0)
        report, stats = Report(), Stats(now_ms, wall_ms)
        self.pacing = Pacing(
            self.engine,
            MemoryGuard(memory, self.engine, report, time.clocks),
            stats,
            report,
            time.clocks,
            check=True,
            collector=cast(Collector, EndOfTurn(self._note_turn)),
        )
        restored = restore(self.engine, directory, durability, now_ms, clocks=time.clocks, chance=chance)
        self.findings = restored.findings
        durable = DurableLog(
            self.engine,
            restored,
            durability,
            loop=loop,
            wake=self.pacing.begin,
            on_failure=self._log_failed,
            clocks=time.clocks,
            runner=self.runner,
        )
        durable.start()
        self.log = WitnessedLog(durable)
        self.links = Links(self.pacing, self, self.engine, REQUESTS, stats, report, memory)
        self._admission = Admission(self.links, LINKS_MAX)
        with _running(loop):
            self.pacing.start(self.links, on_failure=self._turn_failed)
        self.pacing.use_log(self.log)
        born(self)
        self.pacing.run_first()
        self._note_turn()

    # --- links.Authority ----------------------------------------------------------------------------------------

    def identify(self, hello: Hello) -> Identity:
        return Identity(hello.user, hello.role, 0)

    def verify_token(self, token: str) -> None:
        return None

    def rate_for(self, role: Role) -> tuple[int, int]:
        return (self._rate, 4 * self._rate) if self._rate else (0, UNLIMITED)

    def deadline_of(self, now_ms: int, wall_ms: int) -> int:
        return now_ms + max(1, wall_ms - self._time.wall_ms) if wall_ms else 0

    # --- turns --------------------------------------------------------------------------------------------------

    def _note_turn(self) -> None:
        given, self.log.given = self.log.given, None
        self._ended_turn(given)

    def _log_failed(self, error: BaseException | None) -> None:
        self.is_broken = True

    def _turn_failed(self, error: BaseException) -> None:
        raise error

    # --- links --------------------------------------------------------------------------------------------------

    def admit(self) -> Conversation:
        """A connection has come in."""
        link = self._admission.admit()
        assert link is not None
        return link

    # --- the end in order ---------------------------------------------------------------------------------------

    def begin_stop(self) -> None:
        """Say goodbye to everybody, and let no time pass for them."""
        self.is_stopping = True
        self.pacing.stop_time()
        self.engine.stop()
        self.pacing.begin()
        if self.log.has_news and not self.log.refusal:
            self.log.take_snapshot()
        self.log.hurry()
        for link in list(self.links):
            link.end("going_away")

    def finish_stop(self) -> None:
        """The last turn, and the end of the log; `log.error` says whether it worked."""
        self.links.abort_all()
        self.loop.run_pass()
        self.pacing.stop_timer()
        self.pacing.run_last()
        self._note_turn()
        _finish(self.log.close(self.engine.ledger.version))


@contextmanager
def _running(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """The loop is the one that runs, for whoever asks."""
    before = asyncio._get_running_loop()
    asyncio._set_running_loop(loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(before)


def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Run what waits for nothing."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits for something")
