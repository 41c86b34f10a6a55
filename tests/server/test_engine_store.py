"""A store in a real Redis that something happens to while a daemon that starts reads it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from presenced.backplane.errors import Unreachable
from presenced.backplane.store_engine import StoreClaim, StoreEngine, StoreHolder
from presenced.core.engine import Engine
from presenced.core.policy import Policy
from presenced.server.clocks import Clocks
from presenced.server.engine_store import StorePlace, restore_from_engine
from presenced.storage.port import PlaceAway
from presenced.storage.recovery import DamageError
from presenced.storage.store import Locked
from presenced.wire.codec import encode
from tests.support.engines import RedisServer, redis_server

LOG = "{presenced}:store:log"
PIECES, ENTRIES = 5, 10


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as server:
        yield server


def aside(work: Callable[[], Any]) -> Any:
    """Do something on a thread of its own, where no loop runs yet, and wait for it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


async def filled(redis: RedisServer) -> None:
    """A store of facts that say nothing, which nobody holds."""
    store = StoreEngine(redis.access)
    await store.claim("writer", "writer", new_id="id", new_epoch=7)
    for number in range(PIECES):
        await store.write_piece(1, number, encode([]))
    await store.finish(1, PIECES, PIECES, 0, 0, 1, 1)
    for _ in range(ENTRIES):
        await store.write(encode([]), 1)
    await store.release(1)
    await store.close()


async def claimed_by_another(redis: RedisServer, *, takes_over: bool) -> StoreClaim | StoreHolder:
    store = StoreEngine(redis.access)
    claimed = await store.claim("other", "another", new_id="x", new_epoch=1, takes_over=takes_over)
    await store.close()
    return claimed


def restored(redis: RedisServer, progress: Callable[[int, int], None]) -> Engine:
    """Read the store by a clock on which a second passes at each look."""
    seconds = itertools.count()
    clocks = Clocks(lambda: next(seconds) * 1_000_000_000, lambda: 1_800_000_000_000_000_000)
    engine = Engine(Policy(), now_ms=0, wall_ms=1_800_000_000_000, epoch=1)
    restore_from_engine(engine, StorePlace(redis.access, "presenced", False), 0, progress, clocks=clocks)
    return engine


def test_who_reads_a_large_store_is_heard_of_meanwhile(redis: RedisServer) -> None:
    asyncio.run(filled(redis))
    heard_ms: list[int] = []

    def ask(done: int, total: int) -> None:
        held = aside(lambda: asyncio.run(claimed_by_another(redis, takes_over=False)))
        assert isinstance(held, StoreHolder)
        heard_ms.append(held.heard_ms)

    assert restored(redis, ask).ledger.epoch == 7
    assert len(heard_ms) == PIECES + ENTRIES
    assert len(set(heard_ms)) > len(heard_ms) // 2 and heard_ms == sorted(heard_ms)


@pytest.mark.parametrize(
    ("happens", "error", "text"),
    [
        ("takeover", Locked, "its store was taken over by another"),
        ("FLUSHALL", PlaceAway, "the engine has lost the store while it was read"),
        (f"DEL {LOG}", DamageError, f"has 0 entries in its log, where {ENTRIES} belong"),
    ],
)
def test_what_happens_while_it_is_read_is_said(
    redis: RedisServer, happens: str, error: type[Exception], text: str
) -> None:
    asyncio.run(filled(redis))

    def happen(done: int, total: int) -> None:
        if done == 1 and happens == "takeover":
            taken = aside(lambda: asyncio.run(claimed_by_another(redis, takes_over=True)))
            assert isinstance(taken, StoreClaim)
        elif done == 1:
            redis.send(*happens.split())

    with pytest.raises(error, match=text):
        restored(redis, happen)


def test_a_link_too_slow_for_many_entries_brings_them_one_by_one(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(filled(redis))
    call = StoreEngine._read_some
    asked: list[int] = []

    async def slow(store: StoreEngine, after_n: int, count: int) -> Any:
        asked.append(count)
        if count > 1:
            raise Unreachable("it does not answer in time")
        return await call(store, after_n, count)

    monkeypatch.setattr(StoreEngine, "_read_some", slow)
    assert restored(redis, lambda done, total: None).ledger.epoch == 7
    assert asked.count(1) == ENTRIES + 1
