"""The real core in front of the store: what it says in facts must come back as the same users, and no version that
anybody was told may ever be given to another record, durable or not."""

from __future__ import annotations

import random
from collections.abc import Sequence

from presenced.core.engine import Engine
from presenced.core.model import GONE, Edge, Session
from presenced.core.policy import Policy
from presenced.core.records import ClaimSet, DeviceSet, EventAdded, Fact, TextSet
from presenced.core.restorer import Restorer
from presenced.server.data_directory import resume
from presenced.storage.recovery import Recovered
from tests.storage.machine import EPOCH, USERS, Machine, State, apply_facts

START_MS = 5_000_000
WALL_MS = 1_700_000_000_000


class NoLink(Edge):
    """A client that is told nothing."""

    def send(self, data: bytes) -> None:
        return None

    def end(self, code: str) -> None:
        return None


def meant(state: State) -> State:
    """The facts that say something of a user: a cleared text or claim is the same as none, and what has happened is
    nobody's state (`core/test_events.py`)."""
    return {
        key: fact
        for key, fact in state.items()
        if fact.user
        and not isinstance(fact, EventAdded)
        and not (isinstance(fact, ClaimSet) and not fact.status)
        and not (isinstance(fact, TextSet) and not fact.text and not fact.emoji)
    }


class EngineMachine(Machine):
    """A machine whose facts are the engine's."""

    engine: Engine
    now_ms = START_MS

    def restored(self, recovered: Recovered, facts: Sequence[Fact]) -> None:
        """The engine from what the store gave back, by the server's own restart."""
        # The monotonic clock begins anew with the process, the wall clock goes on.
        self.now_ms = START_MS
        devices = [fact for fact in self.history.asked.state.values() if isinstance(fact, DeviceSet)]
        wall_ms = max([WALL_MS, *(max(device.last_seen_ms, device.active_ms) for device in devices)])
        engine = Engine(Policy(change_spacing_ms=0), now_ms=START_MS, wall_ms=wall_ms, epoch=EPOCH)
        restorer = Restorer(engine, START_MS)
        restorer.apply(facts)
        state: State = {}
        for user in engine.users.order:
            apply_facts(state, engine.parts.facts_of(user, self.now_ms))
        assert meant(state) == meant(self.history.asked.state), "the engine restored something else"
        assert self.journal is not None
        resume(restorer, recovered, self.journal.manifest)
        assert engine.ledger.version >= self.history.told, (
            f"versions go on from {engine.ledger.version}, and {self.history.told} was given out before"
        )
        self.engine = engine

    def new_facts(self, count: int) -> Sequence[Fact]:
        """Some turns of the engine."""
        engine = self.engine
        for _ in range(count):
            self.history.serial += 1
            self._act(random.Random(self.history.serial))
            engine.settle(self.now_ms)
            engine.obligations.acks.clear()
            engine.obligations.closing.clear()
        self.history.told = max(self.history.told, engine.ledger.version)
        return engine.ledger.take_facts()

    def _act(self, luck: random.Random) -> None:
        engine = self.engine
        self.now_ms += 1000
        name = luck.choice(USERS)
        user = engine.users.get(name)
        lot = luck.random()
        if user is None or lot < 0.35:
            session = Session(NoLink(), name, "user")
            engine.sessions.attach(
                self.now_ms, session, luck.choice(("phone", "desk")), status=luck.choice(("online", "dnd"))
            )
        elif lot < 0.7:
            text = luck.choice(("", f"no. {self.history.serial}"))
            status = luck.choice((None, "auto", "away", "offline"))
            engine.manual_status.set(
                self.now_ms, user, None, status=status, text=text, emoji=None, for_ms=luck.choice((0, 60_000))
            )
        elif lot < 0.85:
            live = [d.session for d in user.devices.values() if d.state != GONE and d.session is not None]
            if live:
                engine.sessions.bye(self.now_ms, live[0])
        else:
            engine.tick(self.now_ms)

    @property
    def version(self) -> int:
        return self.engine.ledger.version
