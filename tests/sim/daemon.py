"""One process of the server: the real restore, engine, log, turn and links, on a simulated machine.

What stands in for the program around them is small and is in here: who asks for turns, and who is believed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

from presenced.config.settings import Durability
from presenced.core import invariants
from presenced.core.engine import Engine, no_calendar
from presenced.core.model import Session
from presenced.core.policy import Policy
from presenced.core.records import Fact
from presenced.limits import STALL_MS
from presenced.server.accounts import UNLIMITED
from presenced.server.conversation import Conversation
from presenced.server.data_directory import restore
from presenced.server.durable import DurableLog
from presenced.server.fact_log import Ack
from presenced.server.identity import Identity
from presenced.server.links import Links
from presenced.server.memory import Memory
from presenced.server.report import Report
from presenced.server.stats import Stats
from presenced.server.turn import run_turn
from presenced.storage.files import Directory
from presenced.wire.messages import Hello, Role
from tests.sim.loop import Handle, Loop, StepRunner, Time
from tests.sim.promises import Face, face_of
from tests.support.requests import REQUESTS


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


class Daemon:
    """A running server. For its links it is their `links.Host`."""

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
        """Start on a directory. Raises what `restore` raises. `born` is called once that was read, and `ended_turn` at
        the end of each turn with what the log was given in it."""
        self.loop = Loop(time)
        self.runner = StepRunner(time)
        self.is_broken = False
        self.stalls = 0
        self._time = time
        self._rate = rate
        self._ended_turn = ended_turn
        loop = cast(asyncio.AbstractEventLoop, self.loop)
        now_ms, wall_ms = time.now_ms, time.wall_ms
        self.engine = SimEngine(policy, now_ms=now_ms, wall_ms=wall_ms, epoch=wall_ms, calendar=no_calendar)
        restored = restore(self.engine, directory, durability, now_ms, clocks=time.clocks, chance=chance)
        self.findings = restored.findings
        durable = DurableLog(
            self.engine,
            restored,
            durability,
            loop=loop,
            wake=self.begin,
            on_failure=self._failed,
            clocks=time.clocks,
            runner=self.runner,
        )
        durable.start()
        self.log = WitnessedLog(durable)
        memory = Memory(0, resident=lambda: 0, charged=lambda: 0, limit=lambda: 0)
        self.links = Links(self, self.engine, REQUESTS, Stats(now_ms, wall_ms), Report(), memory)
        self.links.waiting.clock_ns = time.clocks.monotonic_ns
        self._is_scheduled = self.is_stopping = False
        self._timer: Handle | None = None
        self._timer_ms = 0
        born(self)
        self._arm(run_turn(self.engine, self.log, now_ms))
        self._note_turn()

    # --- links.Host ---------------------------------------------------------------------------------------------

    def begin(self) -> int:
        if not self._is_scheduled:
            self._is_scheduled = True
            self.loop.call_soon(self._turn)
        return self._time.now_ms

    def heartbeat(self, link: Conversation, session: Session, idle_ms: int) -> None:
        if self.engine.heartbeat(session, self._time.now_ms, None if idle_ms < 0 else idle_ms):
            self.begin()

    def identify(self, hello: Hello) -> Identity:
        return Identity(hello.user, hello.role, 0)

    def rate_for(self, role: Role) -> tuple[int, int]:
        return (self._rate, 4 * self._rate) if self._rate else (0, UNLIMITED)

    def deadline_of(self, now_ms: int, wall_ms: int) -> int:
        return now_ms + max(1, wall_ms - self._time.wall_ms) if wall_ms else 0

    # --- the turn, as `server.Server` has it --------------------------------------------------------------------

    def _turn(self) -> None:
        now_ms = self._time.now_ms
        self.links.waiting.look_at(now_ms)
        self.links.accounts.look_at(now_ms)
        self._is_scheduled = False
        self.engine.set_wall(now_ms, self._time.wall_ms)
        self.log.given = None
        next_ms = run_turn(self.engine, self.log, now_ms, stopping=self.is_stopping)
        if not self._is_scheduled:
            invariants.check(self.engine)
        self._note_turn()
        self._arm(next_ms)

    def _note_turn(self) -> None:
        self._ended_turn(self.log.given)
        self.log.given = None

    def _arm(self, next_ms: int | None) -> None:
        due = [ms for ms in (next_ms, self.links.waiting.next_ms, self.links.accounts.next_ms) if ms is not None]
        if not due:
            return
        next_ms = min(due)
        if next_ms == 0:
            self.begin()
            return
        next_ms = max(next_ms, self._time.now_ms)
        if self._timer is not None:
            if self._timer_ms <= next_ms:
                return
            self._timer.cancel()
        self._timer_ms = next_ms
        self._timer = self.loop.call_later((next_ms - self._time.now_ms) / 1000, self._wake)

    def _wake(self) -> None:
        self._timer = None
        if self._time.now_ms - self._timer_ms > STALL_MS:
            self.stalls += 1
            self._timer_ms = self._time.now_ms
            self._timer = self.loop.call_later(0.001, self._wake)
            return
        self.begin()

    def _failed(self, error: BaseException | None) -> None:
        self.is_broken = True

    # --- links --------------------------------------------------------------------------------------------------

    def admit(self) -> Conversation:
        """A connection has come in."""
        link = Conversation(self.links, self.begin())
        self.links.add(self._time.now_ms, link)
        return link

    # --- the end in order ---------------------------------------------------------------------------------------

    def begin_stop(self) -> None:
        """Say goodbye to everybody, and let no time pass for them."""
        self.is_stopping = True
        self.engine.stop()
        self.begin()
        if self.log.has_news and not self.log.refusal:
            self.log.take_snapshot()
        self.log.hurry()
        for link in list(self.links):
            link.end("going_away")

    def finish_stop(self) -> None:
        """The last turn, and the end of the log; `log.error` says whether it worked."""
        for link in list(self.links):
            link.abort()
        self.loop.run_pass()
        run_turn(self.engine, self.log, self._time.now_ms, stopping=True)
        self._note_turn()
        _finish(self.log.close(self.engine.ledger.version))


def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Run what waits for nothing."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits for something")
