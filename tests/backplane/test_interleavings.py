"""Random lives of several nodes on one engine: the fake, a real Redis and the twin answer alike, call by call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from presenced.backplane.errors import BackplaneError, Refused
from presenced.backplane.port import Backplane
from tests.backplane.stage import LEASE_MS, LOG_BYTES, MemoryStage, RedisStage, Stage
from tests.backplane.twin import Twin
from tests.support.engines import RedisServer
from tests.support.tiers import samples

NODES = 3

NODE = st.integers(0, NODES - 1)
ARGUMENTS: dict[str, tuple[int, st.SearchStrategy[Any]]] = {
    "join": (2, st.tuples(NODE, st.booleans(), st.sampled_from([0, 0, 9]))),
    "append": (9, st.tuples(NODE, st.sampled_from([1, 1, 1, 0]), st.integers(0, 3))),
    "burst": (3, st.tuples(NODE, st.sampled_from([1, 5, 40]), st.sampled_from([0, 900]))),
    "renew": (8, st.tuples(NODE, st.integers(0, 2), st.none())),
    "read": (12, st.tuples(NODE, st.sampled_from([0, 0, 0, 0, 1, 20]), st.none())),
    "leave": (1, st.tuples(NODE, st.none(), st.none())),
    "pass": (6, st.tuples(st.sampled_from([0, 300, 1_999, 2_000, 2_500, -500]), st.integers(1, 6), st.none())),
    "keep": (2, st.tuples(st.none(), st.none(), st.none())),
    "put_back": (1, st.tuples(st.none(), st.none(), st.none())),
    "empty": (1, st.tuples(st.none(), st.integers(0, 5), st.none())),
}
"""Steps, how often each comes, and what is drawn for it."""

KINDS = [kind for kind, (often, _) in ARGUMENTS.items() for _ in range(often)]
STEPS = st.lists(
    st.sampled_from(KINDS).flatmap(lambda kind: ARGUMENTS[kind][1].map(lambda drawn: (kind, *drawn))),
    min_size=30,
    max_size=60,
)
Step = tuple[Any, ...]


class Draws:
    """Random numbers that a test knows: of each node the next one, until it is used."""

    def __init__(self) -> None:
        self.next = 1

    def __call__(self, bits: int) -> int:
        return self.next


class Actor:
    """A node as its callers know it: what it joined as, what it has read, what it appends next."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nonce = 1
        self.incarnation, self.history = 0, ""
        self.batch = 0
        self.seen: list[tuple[int, int]] = [(0, 0)]
        """Positions and tags read in this life; the last is the newest."""

    def seen_at(self, back: int) -> tuple[int, int]:
        return self.seen[max(0, len(self.seen) - 1 - back)]


async def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, or how it fails, in a form to compare."""
    try:
        found = call()
        return await found if hasattr(found, "__await__") else found
    except Refused as error:
        return ("Refused", error.code)
    except BackplaneError as error:
        return (type(error).__name__, error.__dict__)


class Play:
    """The same steps on all stages and the twin."""

    def __init__(self, *stages: Stage) -> None:
        self.stages = stages
        self.twin = Twin(LOG_BYTES, LEASE_MS)
        self.actors = [Actor(name) for name in "abc"]
        self.draws = Draws()
        self.nodes = [[stage.node(self.draws) for _ in range(NODES)] for stage in stages]
        self.met: Counter[str] = Counter()
        self.kept: tuple[list[object], dict[str, object]] | None = None

    async def same(self, who: int, real: Callable[[Backplane], Any], twin: Callable[[], Any], step: Step) -> Any:
        expected = await outcome(twin)
        for stage, nodes in zip(self.stages, self.nodes, strict=True):
            # All draw the same.
            found = await outcome(lambda nodes=nodes: real(nodes[who]))  # type: ignore[misc]
            assert found == expected, f"{type(stage).__name__} after {step}"
        self.draws.next += 1
        if isinstance(expected, tuple) and expected[0] in ("Fenced", "Emptied", "Rewound"):
            self.met[expected[0]] += 1
        return expected

    async def steps(self, steps: list[Step]) -> None:
        """All of them. Who is told that their life or their place in the log is over begins anew, mostly."""
        for step in [("join", 0, False, 0), ("join", 1, False, 0), *steps]:
            before = self.met.total()
            await self.step(step)
            if self.met.total() > before and step[0] in ("append", "burst", "renew", "read") and self.draws.next % 3:
                await self.step(("join", step[1], True, 0))

    async def step(self, step: Step) -> None:
        kind, who, one, two = step
        now_ms, random = self.stages[0].now_ms, self.draws.next
        actor = self.actors[who] if kind not in ("pass", "keep", "put_back", "empty") else self.actors[0]
        life = (actor.name, actor.incarnation, actor.history)
        if kind == "join":
            actor.nonce += one
            what = (actor.name, actor.nonce, two, 77)
            joined = await self.same(
                who, lambda node: node.join(*what, b"me"), lambda: self.twin.join(now_ms, *what, random, b"me"), step
            )
            if (joined.incarnation, joined.history) != (actor.incarnation, actor.history):
                actor.batch = 0
            actor.incarnation, actor.history = joined.incarnation, joined.history
            actor.seen = [(joined.n, joined.tag)]
        elif kind in ("append", "burst"):
            for _ in range(one if kind == "burst" else 1):
                actor.batch += 1 if kind == "burst" else one
                seen, data = actor.seen_at(two if kind == "append" else 0), bytes(two if kind == "burst" else one)
                told = (actor.batch, *seen, data)
                await self.same(
                    who, lambda node, told=told: node.append(*told),  # type: ignore[misc]
                    lambda told=told: self.twin.append(now_ms, *life, told[0], told[1:3], self.draws.next, told[3]),  # type: ignore[misc]
                    step,
                )  # fmt: skip
        elif kind == "renew":
            read = actor.seen_at(one)
            await self.same(
                who, lambda node: node.renew(*read), lambda: self.twin.renew(now_ms, *life, read, random), step
            )
        elif kind == "leave":
            await self.same(who, lambda node: node.leave(), lambda: self.twin.leave(now_ms, *life, random), step)
        elif kind == "read":
            await self.read(who, max(0, actor.seen_at(0)[0] - one), step)
        elif kind == "pass":
            for _ in range(one):
                for stage in self.stages:
                    stage.pass_ms(who)
                for busy in self.actors[: one % NODES]:
                    # Who is heard of meanwhile stays alive.
                    await self.step(("renew", self.actors.index(busy), 0, None))
        elif kind == "keep":
            self.kept = ([stage.keep() for stage in self.stages], self.twin.kept())
        elif kind == "put_back" and self.kept is not None:
            for stage, kept in zip(self.stages, self.kept[0], strict=True):
                stage.put_back(kept)
            self.twin.put_back(self.kept[1])
        elif kind == "empty" and not one:
            for stage in self.stages:
                stage.empty()
            self.twin.empty()

    async def read(self, who: int, after_n: int, step: Step) -> None:
        actor = self.actors[who]
        if after_n >= len(self.twin.log):
            return  # nobody waits here
        after_tag = dict(actor.seen).get(after_n)
        found = await self.same(
            who,
            lambda node: node.read(after_n, after_tag),
            lambda: self.twin.read(actor.history, after_n, after_tag),
            step,
        )
        if isinstance(found, tuple):
            return
        if actor.seen[-1][0] == after_n or found[0].n > actor.seen[-1][0]:
            actor.seen += [(entry.n, entry.tag) for entry in found]

    async def close(self) -> None:
        for stage in self.stages:
            await stage.close()


@settings(max_examples=samples(100))
@given(STEPS)
async def test_the_fake_is_the_twin(steps: list[Step]) -> None:
    play = Play(MemoryStage())
    await play.steps(steps)


@pytest.fixture(scope="module")
def socket(redis: RedisServer) -> str:
    return redis.socket


@settings(max_examples=samples(25))
@given(steps=STEPS)
async def test_a_real_engine_is_the_fake(socket: str, steps: list[Step]) -> None:
    play = Play(MemoryStage(), RedisStage(socket))
    try:
        await play.steps(steps)
    finally:
        await play.close()
