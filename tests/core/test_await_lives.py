"""Awaits in random lives, held against an obvious twin, and against what the awaited do who may not be seen.

The twin knows nothing of how awaits are kept. After each turn it looks, for each await, at what its link is shown of
the user, and notes since when that has been as it was wanted.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple, get_args

import pytest

from presenced.core.merge import countable
from presenced.core.policy import Policy
from presenced.wire.messages import (
    Approve,
    Await,
    Awaited,
    Block,
    Cancel,
    CancelAwait,
    Erase,
    HideFrom,
    Join,
    Leave,
    SetAudience,
    SetStatus,
    ShowAgain,
    ShowTo,
    Status,
    StopShowing,
    Subscribe,
    Unblock,
)
from tests.core.world import TICK_MS, FakeLink, World
from tests.support.tiers import samples

NAMES = ("ann", "bob", "carol", "dave")
STATUSES = get_args(Status)
KINDS = ("phone", "desktop")
POLICIES = (
    Policy(grace_ms=2_000),
    Policy(grace_ms=2_000, grounds=("contacts",)),
    Policy(grace_ms=2_000, grounds=("channels",)),
    Policy(grace_ms=2_000, grounds=("contacts", "channels"), reciprocal=True),
)


class Wanted(NamedTuple):
    link: FakeLink
    asked: Await
    until_ms: int


class Twin:
    """What each await should be answered, by looking at all of them after each turn."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.wanted: dict[int, Wanted] = {}
        self.held: dict[int, int | None] = {}
        """From when on each has held, by what its link was shown after each turn."""
        self.met = self.unmet = 0

    def look(self) -> None:
        """A turn is over: whatever was answered is right, and what should have been answered was."""
        now_ms = self.world.now_ms
        answers = {told.id: told for link in self.world.links for told in link.messages if isinstance(told, Awaited)}
        for link in self.world.links:
            link.forget()
        for number, (link, asked, until_ms) in list(self.wanted.items()):
            if not link.open:
                assert number not in answers
                del self.wanted[number]
                continue
            held_ms = self._held_ms(link, asked)
            is_met = held_ms is not None and held_ms + asked.for_at_least_ms <= now_ms
            told = answers.get(number)
            if told is None:
                if link.reading:
                    due_ms = until_ms if held_ms is None else min(until_ms, held_ms + asked.for_at_least_ms)
                    assert now_ms < due_ms + TICK_MS, f"{asked} is {now_ms - due_ms} ms late"
                continue
            del self.wanted[number]
            assert told.met == is_met, f"{asked} held since {held_ms} and was answered {told} at {now_ms}"
            assert told.met or now_ms >= until_ms, f"{asked} was given up too early"
            assert told.record.status == self._shown(link, asked.user)[0]
            self.met, self.unmet = self.met + is_met, self.unmet + (not is_met)

    def _shown(self, link: FakeLink, name: str) -> tuple[Status, int]:
        user = self.world.engine.users.get(name)
        if user is None:
            return "offline", 0
        record = self.world.engine.sight.shown(link.session, user)
        return record.status, record.since_ms

    def _held_ms(self, link: FakeLink, asked: Await) -> int | None:
        status, since_ms = self._shown(link, asked.user)
        wanted = asked.statuses or [one for one in STATUSES if one != "offline"]
        user = self.world.engine.users.get(asked.user)
        devices = user.devices.values() if user is not None else ()
        holds = status in wanted and (
            not asked.kinds or any(countable(device) and device.kind in asked.kinds for device in devices)
        )
        before = self.held.get(asked.id)
        if not holds:
            self.held[asked.id] = None
        elif before is None:
            now_ms = self.world.now_ms
            known = since_ms and not asked.kinds
            self.held[asked.id] = now_ms - (self.world.wall_ms - since_ms) if known else now_ms
        return self.held[asked.id]


class Life:
    """Some users whose links come and go, who say things about each other, and who await each other."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = World(POLICIES[seed % len(POLICIES)])
        self.world.standing_max = 50
        self.twin = Twin(self.world)
        self.links: dict[str, FakeLink] = {}
        self.app = self.world.open("app", role="service")
        self.number = 10_000
        world, turn = self.world, self.world.turn

        def looked_at() -> None:
            turn()
            self.twin.look()

        world.turn = looked_at  # type: ignore[method-assign]

    def step(self) -> None:
        """One act, and some time."""
        act = self.rng.choice(self.acts())
        act()
        self.world.turn()
        if self.rng.random() < 0.6:
            self.world.advance(self.rng.choice((1, 63, 200, 1_000, 2_500, 10_000)))
            for link in [self.app, *self.links.values()]:
                if link.open:
                    link.beat()

    def acts(self) -> list[Callable[[], object]]:
        return [*[self.ask] * 6, self.come, self.come, self.leave, self.status, self.status, self.status, self.pair,
                self.pair, self.pair, self.audience, self.erase, self.stall, self.cancel, self.room]  # fmt: skip

    def id(self) -> int:
        self.number += 1
        return self.number

    def pick(self) -> FakeLink | None:
        """A link of a user that is open."""
        self.links = {address: link for address, link in self.links.items() if link.open}
        return self.rng.choice([*self.links.values()]) if self.links else None

    def come(self) -> None:
        address = f"{self.rng.choice(NAMES)}/{self.rng.choice(('one', 'two'))}"
        link = self.links.get(address)
        if link is None or not link.open:
            self.links[address] = self.world.open(address, kind=self.rng.choice(KINDS))

    def leave(self) -> None:
        if (link := self.pick()) is not None:
            link.bye() if self.rng.random() < 0.5 else link.lose()

    def status(self) -> None:
        if (link := self.pick()) is not None:
            link.say(SetStatus(self.id(), self.rng.choice((*STATUSES, "auto"))))

    def pair(self) -> None:
        link, other = self.pick(), self.rng.choice(NAMES)
        if link is not None and other != link.session.user_name:
            kind = self.rng.choice(
                (Block, Unblock, Unblock, HideFrom, ShowAgain, ShowTo, StopShowing, Subscribe, Approve, Approve, Cancel)
            )
            link.say(kind(self.id(), other))

    def audience(self) -> None:
        if (link := self.pick()) is not None:
            link.say(SetAudience(self.id(), last_seen=self.rng.choice(("everyone", "nobody", "contacts"))))

    def room(self) -> None:
        if (link := self.pick()) is not None:
            link.say(self.rng.choice((Join, Join, Leave))(self.id(), self.rng.choice(("hall", "yard"))))

    def erase(self) -> None:
        if self.rng.random() < 0.2:
            self.app.say(Erase(self.id(), self.rng.choice(NAMES)))

    def stall(self) -> None:
        link = self.pick()
        if link is None:
            return
        if link.reading:
            link.fill()
        else:
            link.drain()

    def cancel(self) -> None:
        if self.twin.wanted and self.rng.random() < 0.3:
            number = self.rng.choice([*self.twin.wanted])
            link = self.twin.wanted.pop(number).link
            if link.open:
                link.say(CancelAwait(self.id(), number))

    def ask(self) -> None:
        link = self.pick() if self.rng.random() < 0.8 else self.app
        if link is None:
            return
        rng, name = self.rng, self.rng.choice((*NAMES, "nobody"))
        is_private = link is self.app or name == link.session.user_name
        message = Await(
            self.id(),
            name,
            rng.choice((1, 500, 5_000, 30_000, 60_000)),
            rng.sample(STATUSES, rng.randint(0, 3)),
            rng.sample(KINDS, rng.randint(0, 1)) if is_private else [],
            rng.choice((0, 0, 1, 1_000, 5_000, 20_000)),
        )
        self.twin.wanted[message.id] = Wanted(link, message, self.world.now_ms + message.for_at_most_ms)
        link.say(message)


@pytest.mark.parametrize("seed", range(samples(60)))
def test_in_random_lives_each_await_is_answered_when_it_should_be(seed: int) -> None:
    life = Life(seed)
    for _ in range(150):
        life.step()
    for link in life.links.values():
        if link.open and not link.reading:
            link.drain()
    life.world.advance(61_000)
    left = [one for one in life.twin.wanted.values() if one.link.open]
    assert left == []
    assert life.twin.met and life.twin.unmet, "the life was too quiet to show anything"


@pytest.mark.parametrize("seed", range(samples(20)))
def test_who_may_not_see_learns_nothing(seed: int) -> None:
    """Two worlds, which differ in nothing but what somebody does who is hidden from the one who waits: the bytes, and
    when they come, are the same."""

    def told(lives: bool) -> list[tuple[int, bytes]]:
        rng, hidden = random.Random(seed), random.Random(seed + 1)
        world = World(Policy(grounds=("contacts",), grace_ms=2_000))
        eve = world.open("eve/laptop")
        links: list[FakeLink] = []
        heard: list[tuple[int, bytes]] = []
        number = 1_000
        for _ in range(60):
            number += 1
            least_ms, most_ms = rng.choice((0, 1, 2_000)), rng.choice((1, 1_000, 20_000))
            statuses: list[Status] = rng.sample(STATUSES, rng.randint(0, 3))
            eve.say(Await(number, "bob", most_ms, statuses, [], least_ms))
            if rng.random() < 0.2:
                eve.say(CancelAwait(100_000 + number, number - 1))
            if lives:
                _live(world, links, hidden)
            world.turn()
            for _ in range(rng.randint(0, 3)):
                world.now_ms += rng.choice((1, 64, 700, 3_000))
                world.turn()
                eve.beat()
                for link in links:
                    if link.open:
                        link.beat()
                heard += [(world.now_ms, payload) for payload in eve.raw]
                eve.forget()
        return heard

    assert told(lives=True) == told(lives=False) != []


def _live(world: World, links: list[FakeLink], rng: random.Random) -> None:
    """Bob does something."""
    links[:] = [link for link in links if link.open]
    if not links or rng.random() < 0.3:
        links.append(world.open(f"bob/device{rng.randint(1, 3)}"))
        return
    link = rng.choice(links)
    acts: list[Callable[[], object]] = [
        lambda: link.say(SetStatus(2, rng.choice((*STATUSES, "auto")), str(rng.random()))),
        lambda: link.say(SetStatus(2, rng.choice((*STATUSES, "auto")))),
        link.bye,
        link.lose,
        lambda: link.say(Block(2, rng.choice(("eve", "zoe")))),
        lambda: link.say(Unblock(2, "eve")),
        lambda: link.say(ShowTo(2, "zoe")),
        lambda: link.say(SetAudience(2, "nobody", always=["zoe"])),
    ]
    rng.choice(acts)()
