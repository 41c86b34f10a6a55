"""Events over restarts, kills, snapshots under way and erasures, held against a twin that keeps every event."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from presenced.core.parts import event_history
from presenced.core.policy import Policy
from presenced.core.records import EventsChunk, Fact
from presenced.core.rights import rights_of
from presenced.wire.messages import (
    Attach,
    Erase,
    Event,
    Follow,
    Following,
    GetHistory,
    HistoryPage,
    SetStatus,
    Subscribe,
)
from tests.core.fake_link import FakeLink
from tests.core.world import World

SIGHTS: tuple[Mapping[str, object] | None, ...] = (None, {"see": ["a*"]}, {"see": ["bea", "cid"], "act": ["*"]})
USERS = ("ann", "abe", "bea", "cid")
LEAP = 2**31


class Reader:
    """A service that follows and keeps its cursor, and everything that it was ever told."""

    def __init__(self, sight: Mapping[str, object] | None) -> None:
        self.sight = sight
        self.epoch = self.seq = 0
        self.told: list[Event] = []
        self.link: FakeLink | None = None

    def come(self, world: World) -> None:
        link = self.link = world.open("reader", role="service", rights=self.sight)
        link.told.seq = self.seq
        following = link.expect(Follow(link.next_id(), self.epoch, self.seq), Following)
        assert not following.reset, f"{self.sight} had {self.epoch}-{self.seq}"
        self.epoch, self.seq = following.epoch, following.seq

    def read(self) -> None:
        """Take what the link was told."""
        assert self.link is not None
        for event in self.link.told.events:
            assert event.seq == self.seq + 1 or event.seq > self.seq + LEAP
            self.seq = event.seq
        self.told += self.link.told.events
        self.seq = self.link.told.seq
        self.link.told.events.clear()

    def go(self) -> None:
        self.read()
        assert self.link is not None
        self.link.lose()
        self.link = None


def without_numbers(events: list[Event]) -> list[tuple[object, ...]]:
    return [(event.at_ms, event.kind, event.user, event.old, event.new, event.reason) for event in events]


class Life:
    """A world that is restarted in every way, and readers that must never miss an event."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.world = World(Policy(events_keep=1_000))
        self.readers = [Reader(sight) for sight in SIGHTS]
        self.snapshot: tuple[list[Fact], int] | None = None
        self.kills = 0
        self.versions = 0
        for reader in self.readers:
            reader.come(self.world)
        self.app = self.world.open("app", role="service")

    def step(self) -> None:
        what = self.dice.random()
        if what < 0.8:
            self.act()
        elif what < 0.9:
            self.move_a_reader()
        elif what < 0.94:
            self.snapshot = (self.world.snapshot(), len(self.world.log.facts))
        else:
            self.restart()

    def act(self) -> None:
        dice, app, user = self.dice, self.app, self.dice.choice(USERS)
        ref = USERS.index(user) + 1
        what = dice.random()
        if what < 0.25:
            app.say(Attach(app.next_id(), ref, user, dice.choice(("web", "phone"))))
        elif what < 0.7:
            app.say(SetStatus(app.next_id(), dice.choice(("dnd", "away", "offline")), dice.choice("ab"), user=user))
        elif what < 0.9 and ref in (app.session.refs or {}):
            app.release(ref, lost=dice.random() < 0.3)
        else:
            app.say(Subscribe(app.next_id(), dice.choice([one for one in USERS if one != user]), user=user))
        self.world.turn()
        if dice.random() < 0.3:
            self.world.advance(dice.choice((1, 20_000)))
            for link in (app, *(reader.link for reader in self.readers)):
                if link is not None:
                    link.beat()

    def move_a_reader(self) -> None:
        reader = self.dice.choice(self.readers)
        if reader.link is not None:
            reader.go()
        else:
            reader.come(self.world)

    def restart(self) -> None:
        for reader in self.readers:
            if reader.link is not None:
                reader.go()
        self.app.lose()
        self.world.turn()
        facts: list[Fact] = list(self.world.log.facts)
        if self.snapshot is not None and self.dice.random() < 0.7:
            # A snapshot may have begun before and hold what came later: the log is read over it from its beginning.
            begun = max(0, self.snapshot[1] - self.dice.choice((0, 3, 50)))
            facts = [*self.snapshot[0], *facts[begun:]]
        is_kill = self.dice.random() < 0.5
        self.kills += is_kill
        gap = 2**32 if is_kill else 0
        version = self.world.engine.ledger.version
        self.world = self.world.restarted(1_000, facts=facts, version_gap=gap, version=version)
        self.snapshot = None
        self.app = self.world.open("app", role="service")
        if self.dice.random() < 0.3:
            self.app.done(Erase(self.app.next_id(), "nobody"))

    def finish(self) -> None:
        for reader in self.readers:
            if reader.link is None:
                reader.come(self.world)
        while self.world.engine.events.is_behind:
            self.world.turn()
        for reader in self.readers:
            reader.read()


@pytest.mark.parametrize("seed", range(6))
def test_each_event_is_told_once_to_who_keeps_a_cursor_whatever_happens(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_history, "CHUNK_FACTS", 7)
    life = Life(seed)
    for _ in range(250):
        life.step()
    life.finish()
    whole, *narrow = life.readers
    assert len(whole.told) > 100 and life.kills
    for reader in narrow:
        rights = rights_of(reader.sight, "reader", "service")
        expected = [
            event
            for event in whole.told
            if rights.sees(event.user)
            and (event.kind != "contact_request" or rights.sees(event.new))
            and (event.kind != "contact_change" or rights.sees(event.reason))
        ]
        assert without_numbers(reader.told) == without_numbers(expected)
    status: dict[str, str] = {}
    for event in whole.told:
        if event.kind == "status_change":
            assert status.get(event.user, "offline") == event.old
            status[event.user] = event.new
    for name in USERS:
        if name in life.world.engine.users:
            assert status.get(name, "offline") == life.world.record(name).status


@pytest.mark.parametrize("seed", range(4))
def test_the_history_of_a_user_is_that_of_the_events(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_history, "CHUNK_FACTS", 5)
    life = Life(seed)
    for _ in range(200):
        life.step()
    life.finish()
    kinds = ("online", "offline", "status_change", "text_change", "device_change")
    told = [event for event in life.readers[0].told if event.kind in kinds]
    times = sorted({event.at_ms for event in told})
    for _ in range(40):
        user = life.dice.choice(USERS)
        since_ms, until_ms = sorted(life.dice.choices(times, k=2))
        expected = [event for event in told if event.user == user and since_ms <= event.at_ms < until_ms]
        limit = life.dice.choice((1, 2, 5, 64))
        found: list[Event] = []
        page = ask(life.app, GetHistory(life.app.next_id(), user, since_ms, until_ms, 0, limit))
        earlier = [e for e in told if e.user == user and e.kind == "status_change" and e.at_ms < since_ms]
        assert without_numbers([page.before] if page.before else []) == without_numbers(earlier[-1:])
        found += page.events
        while page.next:
            at_ms = page.events[-1].at_ms
            page = ask(life.app, GetHistory(life.app.next_id(), user, at_ms, until_ms, page.next, limit))
            assert page.before is None
            found += page.events
        assert without_numbers(found) == without_numbers(expected)
        assert all(event.seq == 0 for event in found)


@pytest.mark.parametrize("left", [3, 0, -1])
def test_what_is_dropped_while_a_snapshot_is_taken_is_missed_by_no_cursor(
    left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks behind those that the snapshot has already are dropped, but for some; -1 = all is forgotten."""
    monkeypatch.setattr(event_history, "CHUNK_FACTS", 2)
    world = World()
    app = world.open("app", role="service")

    def texts(count: int) -> None:
        for _ in range(count):
            app.done(SetStatus(app.next_id(), text=f"after {world.engine.events.seq}", user="alice"))

    texts(16)
    events, history = world.engine.events, world.engine.events.history
    facts: list[Fact] = []
    for fact in world.engine.dump_general(world.now_ms):
        facts.append(fact)
        if isinstance(fact, EventsChunk) and fact.last == 4:
            if left < 0:
                events.stop()
                events.begin(world.now_ms)
            while len(history.chunks) > max(0, left):
                history._drop_oldest()
            texts(1 if left == 0 else 3)
    after = world.restarted(1_000, facts=facts).engine.events
    assert after.seq == events.seq
    after.history.check()
    assert [seq for seq in range(events.seq + 1) if after.history.knows(seq)] == [
        seq for seq in range(events.seq + 1) if history.knows(seq)
    ]
    assert after.known_from_ms == events.known_from_ms


def ask(link: FakeLink, request: GetHistory) -> HistoryPage:
    return link.expect(request, HistoryPage)
