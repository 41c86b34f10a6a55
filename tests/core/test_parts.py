"""A new kind of per-user state is one part: added once, it is saved, restored, keeps its user known, and is ticked.

The part of this test counts the pets of users. Nothing else in the core knows of pets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import pytest

from presenced.core import invariants
from presenced.core.ledger import Ledger
from presenced.core.model import Device, Session, User
from presenced.core.part import Jump, Part, Restoring, Start, TakeUp
from presenced.core.parts.users import Users
from presenced.core.records import Fact
from presenced.core.restorer import Restorer as EngineRestorer
from presenced.wire.messages import Erase
from tests.core.world import START_MS, WALL_MS, World

HOUR_MS = 3_600_000


class PetsSet(msgspec.Struct, array_like=True, frozen=True, tag=99):
    """The user has so many pets, which grow up at a wall time."""

    user: str
    count: int
    grown_wall_ms: int


class Pets(Part):
    """Pets by user, until they are grown up."""

    def __init__(self, users: Users, ledger: Ledger, offset_ms: int) -> None:
        self.count: dict[str, int] = {}
        self.grown_ms: dict[str, int] = {}
        self.log: list[str] = []
        self.is_wrong = False
        self._users = users
        self._ledger = ledger
        self._offset_ms = offset_ms

    def adopt(self, user: User, count: int, grown_ms: int) -> None:
        self.count[user.name], self.grown_ms[user.name] = count, grown_ms
        self._ledger.add(self._fact(user.name))

    def _fact(self, name: str) -> Fact:
        fact: object = PetsSet(name, self.count[name], self.grown_ms[name] + self._offset_ms)
        return fact  # type: ignore[return-value]  # the log's own kinds are a closed union

    def facts_of(self, user: User, now_ms: int) -> Iterable[Fact]:
        return [self._fact(user.name)] if user.name in self.count else []

    def restorers(self) -> Mapping[type, TakeUp]:
        return {PetsSet: self._restore}

    def _restore(self, source: Restoring, fact: PetsSet) -> None:
        source.user(fact.user)
        self.count[fact.user] = fact.count
        self.grown_ms[fact.user] = fact.grown_wall_ms - source.offset_ms

    def resume(self, users: Sequence[User], start: Start) -> None:
        self.log.append(f"resumed with {len(users)}")

    def keeps(self, user: User) -> bool:
        return user.name in self.count

    def erase(self, user: User, now_ms: int) -> None:
        self.count.pop(user.name, None)
        self.grown_ms.pop(user.name, None)

    def end_device(self, device: Device, now_ms: int) -> None:
        self.log.append(f"{device.user.name}/{device.id} is gone")

    def clock_jumped(self, user: User, jump: Jump, now_ms: int) -> None:
        self.log.append(f"{user.name} hears of {jump.jump_ms}")

    def end_session(self, session: Session, now_ms: int) -> None:
        self.log.append(f"a session of {session.user_name} ended")

    def resume_session(self, session: Session) -> None:
        self.log.append(f"a session of {session.user_name} reads again")

    @property
    def next_ms(self) -> int | None:
        return min(self.grown_ms.values(), default=None)

    def tick(self, now_ms: int) -> None:
        for name in [name for name, due_ms in self.grown_ms.items() if due_ms <= now_ms]:
            del self.count[name], self.grown_ms[name]
            self.log.append(f"the pets of {name} are grown up")
            self._users.forget_if_blank(self._users[name])

    def settle(self, now_ms: int) -> None:
        self.log.append("settled")

    def check(self, users: Iterable[User]) -> None:
        assert not self.is_wrong, "the pets are wrong"


def with_pets(world: World) -> Pets:
    pets = Pets(world.engine.users, world.engine.ledger, world.engine.clock.offset_ms)
    world.engine.parts.add(pets)
    return pets


def restarted(facts: Sequence[Fact], down_ms: int = 0) -> tuple[World, Pets]:
    world = World(now_ms=900_000, wall_ms=WALL_MS + down_ms)
    pets = with_pets(world)
    restorer = EngineRestorer(world.engine, world.now_ms)
    restorer.apply(facts)
    restorer.finish(grace_ms=30_000, spread_ms=0, version_gap=0)
    world.turn()
    return world, pets


@pytest.mark.parametrize("way", ["log", "snapshot"])
def test_what_a_part_knows_survives_a_restart_and_keeps_its_user(way: str) -> None:
    world = World()
    pets = with_pets(world)
    pets.adopt(world.engine.users.for_request("alice"), 3, START_MS + HOUR_MS)
    world.engine.users.for_request("bob")
    world.turn()
    assert list(world.engine.users) == ["alice"], "nothing is known of bob"
    after, restored = restarted(world.log.facts if way == "log" else world.snapshot())
    assert restored.count == {"alice": 3} and list(after.engine.users) == ["alice"]
    assert restored.log[0] == "resumed with 1"
    after.advance(HOUR_MS)
    assert restored.log.count("the pets of alice are grown up") == 1
    assert not after.engine.users, "and then nothing keeps her"


def test_a_part_is_told_of_devices_sessions_and_the_clock() -> None:
    world = World()
    pets = with_pets(world)
    laptop = world.open("alice/laptop")
    laptop.fill()
    laptop.drain()
    world.set_clock(world.wall_ms + HOUR_MS)
    laptop.bye()
    told = [line for line in pets.log if line != "settled"]
    assert told == [
        "a session of alice reads again",
        f"alice hears of {HOUR_MS}",
        "a session of alice ended",
        "alice/laptop is gone",
        "a session of alice ended",
    ], "ended twice: by the bye, and by the link"


def test_a_part_is_asked_whether_its_state_is_right() -> None:
    world = World()
    pets = with_pets(world)
    invariants.check(world.engine)
    pets.is_wrong = True
    with pytest.raises(AssertionError, match="the pets are wrong"):
        invariants.check(world.engine)


def test_a_part_forgets_a_user_who_is_erased_at_once_and_when_that_is_read() -> None:
    world = World()
    pets = with_pets(world)
    for name in ("alice", "bob"):
        pets.adopt(world.engine.users.for_request(name), 3, START_MS + HOUR_MS)
    world.turn()
    service = world.open("service", role="service")
    service.done(Erase(service.next_id(), "alice"))
    assert pets.count == {"bob": 3} and "alice" not in world.engine.users
    after, restored = restarted(world.log.facts)
    assert restored.count == {"bob": 3} and "alice" not in after.engine.users
