"""The store of one daemon in a real Redis: who may write there, and that every call can be repeated."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis import Redis

from presenced.backplane.connection import EngineConnection
from presenced.backplane.errors import Emptied, EngineFull, Refused, Rewound
from presenced.backplane.library import ACL_LINE, COMMANDS
from presenced.backplane.store_engine import (
    READ_BYTES,
    STORE_LEASE_MS,
    StoreBroken,
    StoreClaim,
    StoreEngine,
    StoreHolder,
    StoreTaken,
)
from tests.support.engines import RedisServer

STATE, LOG = "{presenced}:store", "{presenced}:store:log"


class Stores:
    """Daemons on one store."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.redis = Redis(unix_socket_path=server.socket)
        self.redis.flushall()
        self.made: list[StoreEngine] = []

    def store(self) -> StoreEngine:
        self.made.append(StoreEngine(self.server.access))
        return self.made[-1]

    def contents(self) -> dict[bytes, object]:
        """All that is in the engine."""
        ways: dict[bytes, Callable[[bytes], object]] = {
            b"hash": self.redis.hgetall,
            b"stream": self.redis.xrange,
            b"list": lambda key: self.redis.lrange(key, 0, -1),
        }
        keys: list[bytes] = self.redis.keys("*")  # type: ignore[assignment]
        return {key: ways[self.redis.type(key)](key) for key in keys}  # type: ignore[index]

    async def claimed(self, name: str = "one", **options: bool) -> tuple[StoreEngine, StoreClaim]:
        store = self.store()
        claim = await store.claim(f"nonce of {name}", name, new_id=f"id of {name}", new_epoch=7, **options)
        assert isinstance(claim, StoreClaim)
        return store, claim


@pytest.fixture
async def stores(redis: RedisServer) -> AsyncIterator[Stores]:
    stores = Stores(redis)
    yield stores
    for store in stores.made:
        await store.close()
    stores.redis.close()


async def entries(store: StoreEngine, after_n: int = 0) -> list[tuple[int, bytes]]:
    return [(n, data) async for n, _, data in store.read_entries(after_n)]


async def test_what_is_written_is_read_in_order(stores: Stores) -> None:
    store, claim = await stores.claimed()
    assert (claim.store_id, claim.epoch, claim.version, claim.is_whole, claim.is_clean) == (
        "id of one",
        7,
        0,
        True,
        True,
    )
    for number in range(150):
        await store.write(b"entry %d" % number, 1_000 + number)
    assert await entries(store) == [(number + 1, b"entry %d" % number) for number in range(150)]
    assert store.bytes == sum(len(b"entry %d" % number) for number in range(150))


async def test_a_log_of_large_and_small_entries_is_read_a_mebibyte_at_a_time(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = await stores.claimed()
    written = [bytes(300_000 if 40 <= number < 110 else 10) for number in range(150)]
    for data in written:
        await store.write(data, 1)
    sizes: list[int] = []
    call = EngineConnection.call

    async def counted(connection: EngineConnection, *command: bytes | str | int, **options: float) -> Any:
        answer = await call(connection, *command, **options)
        if command[0] == "XRANGE":
            sizes.append(sum(len(fields[3]) for _, fields in answer))
        return answer

    monkeypatch.setattr(EngineConnection, "call", counted)
    assert [data for _, data in await entries(store)] == written
    assert len(sizes) < 30
    # The first large ones are met among as many as were asked for of the small ones.
    assert sorted(sizes)[-2] <= 1.5 * READ_BYTES


async def test_an_entry_whose_answer_was_lost_is_one_entry(stores: Stores) -> None:
    store, _ = await stores.claimed()
    await store.write(b"first", 1)
    store._batch -= 1  # as if nothing had been heard
    store.n -= 1
    await store.write(b"first", 1)
    await store.write(b"second", 2)
    assert await entries(store) == [(1, b"first"), (2, b"second")]


async def test_only_one_daemon_has_a_store(stores: Stores) -> None:
    one, _ = await stores.claimed("one")
    await one.write(b"first", 1)
    two = stores.store()
    held = await two.claim("other", "two", new_id="x", new_epoch=1)
    assert isinstance(held, StoreHolder) and held.name == "one"
    await one.renew()
    later = await two.claim("other", "two", new_id="x", new_epoch=1)
    assert isinstance(later, StoreHolder) and later.heard_ms >= held.heard_ms
    taken = await two.claim("other", "two", new_id="x", new_epoch=1, takes_over=True)
    assert isinstance(taken, StoreClaim)
    assert (taken.store_id, taken.epoch, taken.is_clean) == ("id of one", 7, False)
    for call in (one.write(b"late", 2), one.renew(), one.write_piece(1, 0, b""), one.release(1)):
        with pytest.raises(StoreTaken, match="taken over by two"):
            await call
    assert await entries(two) == [(1, b"first")]


async def test_a_lease_that_is_over_is_taken_without_a_word(stores: Stores) -> None:
    await stores.claimed("one")
    two = stores.store()
    assert isinstance(await two.claim("other", "two", new_id="x", new_epoch=1), StoreHolder)
    # The lease clock moves by 2 s a call at most: as if so many calls had come over so long a time.
    fields = list(struct.unpack(">12q", stores.redis.hget(STATE, "state")))  # type: ignore[arg-type]
    fields[6] -= STORE_LEASE_MS + 1
    stores.redis.hset(STATE, "state", struct.pack(">12q", *fields))
    assert isinstance(await two.claim("other", "two", new_id="x", new_epoch=1), StoreClaim)


async def test_a_store_that_was_given_back_is_free_and_clean(stores: Stores) -> None:
    one, _ = await stores.claimed("one")
    await one.renew(5, (10, 20))
    await one.write(b"first", 123)
    await one.release(99)
    _, claim = await stores.claimed("two")
    assert (claim.is_clean, claim.version, claim.wall_ms, claim.starts) == (True, 99, 123, (10, 20))
    _, again = await stores.claimed("two")
    assert not again.is_clean, "who claimed it has not given it back"


async def test_a_snapshot_takes_the_place_of_the_log_before_it(stores: Stores) -> None:
    store, _ = await stores.claimed()
    await store.write(b"before", 1)
    from_n, from_bytes = store.n, store.bytes
    await store.write(b"during", 2)
    for number, piece in enumerate([b"piece 0", b"piece 0", b"piece 1"]):
        await store.write_piece(1, max(0, number - 1), piece)
    for _ in range(2):
        await store.finish(1, 2, 14, from_n, from_bytes, 50, 1_234)
    await store.write(b"after", 3)
    _, claim = await stores.claimed("two", takes_over=True)
    assert (claim.snapshot, claim.pieces, claim.snapshot_bytes, claim.snapshot_ms) == (1, 2, 14, 1_234)
    assert (claim.from_n, claim.log_bytes, claim.version) == (1, len(b"duringafter"), 50)
    store = stores.made[-1]
    assert [piece async for piece in store.read_pieces(claim)] == [b"piece 0", b"piece 1"]
    assert await entries(store, claim.from_n) == [(2, b"during"), (3, b"after")]
    # What the daemon before has left of a second one is no part of the next.
    await store.write_piece(2, 0, b"old")
    await store.write_piece(2, 1, b"old")
    await store.write_piece(2, 0, b"new")
    await store.finish(2, 1, 3, store.n, store.bytes, 60, 2_000)
    assert sorted(stores.redis.keys("*")) == sorted(  # type: ignore[type-var]
        key.encode() for key in (STATE, LOG, f"{STATE}:snapshot:2")
    )
    assert await entries(store) == []


async def test_an_engine_that_lost_something_is_noticed(stores: Stores) -> None:
    store, _ = await stores.claimed()
    await store.write(b"first", 1)
    kept = {key: stores.redis.dump(key) for key in (STATE, LOG)}
    await store.write(b"lost", 2)
    for key, value in kept.items():
        stores.redis.delete(key)
        stores.redis.restore(key, 0, value)
    with pytest.raises(Rewound):
        await store.renew()
    with pytest.raises(Rewound):
        await store.write(b"third", 3)
    claim = await store.claim("nonce of one", "one", new_id="x", new_epoch=1, has_lost=True)
    assert isinstance(claim, StoreClaim) and not claim.is_whole
    await store.write(b"third", 3)
    assert await entries(store) == [(1, b"first"), (2, b"third")]
    stores.redis.flushall()
    for call in (store.renew(), store.write(b"x", 4), store.write_piece(1, 0, b""), store.finish(1, 0, 0, 0, 0, 1, 1)):
        with pytest.raises(Emptied):
            await call
    fence = store.fence
    claim = await store.claim("nonce of one", "one", new_id="the same", new_epoch=7, has_lost=True)
    assert isinstance(claim, StoreClaim) and not claim.is_whole and store.fence > fence
    await store.write_piece(1, 0, b"all")
    await store.finish(1, 1, 3, store.n, store.bytes, 1, 1)
    _, claim = await stores.claimed("two", takes_over=True)
    assert claim.is_whole and claim.store_id == "the same"


SNAPSHOT = f"{STATE}:snapshot:2"

DAMAGES = {
    f"DEL {LOG}": "has 0 entries in its log, where 4 belong",
    f"XTRIM {LOG} MAXLEN 3": "has 3 entries in its log, where 4 belong",
    f"XDEL {LOG} 4-0": "has 3 entries in its log, where 4 belong",
    f"XADD {LOG} * a b": "has 5 entries in its log, where 4 belong",
    f"DEL {SNAPSHOT}": "has 0 of the 2 pieces of its snapshot",
    f"RPOP {SNAPSHOT}": "has 1 of the 2 pieces of its snapshot",
    f"RPUSH {SNAPSHOT} x": "has 3 of the 2 pieces of its snapshot",
    f"HDEL {STATE} from": "has 4 entries in its log, where 6 belong",
    f"HDEL {STATE} snapshot": "has 0 of the 2 pieces of its snapshot",
}
"""What somebody does to a store, and what is said of it."""

SLY_DAMAGES = {
    f"XDEL {LOG} 4-0;XADD {LOG} 6-1 a b": "has an entry of somebody else in its log: 6-1",
    f"HDEL {STATE} format": "lacks some of its state",
    f"HDEL {STATE} epoch": "lacks some of its state",
}
"""What only a renewal sees."""


async def with_snapshot(stores: Stores) -> StoreEngine:
    """A store with a snapshot of two pieces, and the entries 3 to 6 behind it."""
    store, _ = await stores.claimed()
    for number in range(6):
        await store.write(b"entry", number + 1)
    for number in range(2):
        await store.write_piece(2, number, b"piece")
    await store.finish(2, 2, 10, 2, 10, 50, 1)
    return store


async def mended(stores: Stores, store: StoreEngine) -> None:
    """The daemon claims it again and saves all anew, and nothing else is left."""
    claim = await store.claim("nonce of one", "one", new_id="id of one", new_epoch=7, has_lost=True, is_broken=True)
    assert isinstance(claim, StoreClaim) and not claim.is_whole
    await store.renew(50)
    _, between = await stores.claimed("two", takes_over=True)
    assert not between.is_whole and (between.store_id, between.epoch) == ("id of one", 7)
    claim = await store.claim("nonce of one", "one", new_id="x", new_epoch=1, takes_over=True)
    assert isinstance(claim, StoreClaim)
    await store.write(b"next", 9)
    number = claim.snapshot + 1
    await store.write_piece(number, 0, b"all")
    await store.finish(number, 1, 3, store.n, store.bytes, 60, 2_000)
    await store.write(b"after", 10)
    await store.renew()
    _, claim = await stores.claimed("three", takes_over=True)
    assert claim.is_whole and (claim.store_id, claim.epoch, claim.pieces) == ("id of one", 7, 1)
    reader = stores.made[-1]
    assert [piece async for piece in reader.read_pieces(claim)] == [b"all"]
    assert [data for _, data in await entries(reader, claim.from_n)] == [b"after"]
    keys = {STATE, LOG, f"{STATE}:snapshot:{claim.snapshot}"}
    assert {key.decode() for key in stores.redis.keys("*")} == keys  # type: ignore[union-attr]


@pytest.mark.parametrize("damage", [*DAMAGES, *SLY_DAMAGES])
async def test_a_store_of_which_a_part_is_gone_is_noticed_and_mended(stores: Stores, damage: str) -> None:
    store = await with_snapshot(stores)
    for command in damage.split(";"):
        stores.redis.execute_command(*command.split())
    before = stores.contents()
    calls: list[Awaitable[object]] = [store.renew()]
    if damage in DAMAGES:
        calls.append(store.write(b"x", 9))
    for call in calls:
        with pytest.raises(StoreBroken) as raised:
            await call
        assert raised.value.what == {**DAMAGES, **SLY_DAMAGES}[damage]
    # A start changes nothing either: the daemon that has lost it may live.
    with pytest.raises((StoreBroken, Refused)):
        await stores.claimed("other", takes_over=True)
    assert stores.contents() == before
    await mended(stores, store)


@pytest.mark.parametrize("last", ["9-0", "18446744073709551615-18446744073709551615"])
async def test_a_log_that_takes_no_next_entry_is_noticed_and_mended(stores: Stores, last: str) -> None:
    store = await with_snapshot(stores)
    stores.redis.execute_command("XADD", LOG, last, "a", "b")
    stores.redis.execute_command("XDEL", LOG, last)
    with pytest.raises(StoreBroken, match="takes no entry behind the last of its log"):
        await store.write(b"x", 9)
    await mended(stores, store)


async def test_what_is_left_of_a_broken_store_is_kept_until_the_next_snapshot(stores: Stores) -> None:
    store = await with_snapshot(stores)
    stores.redis.xtrim(LOG, 3, approximate=False)
    with pytest.raises(StoreBroken):
        await store.renew()
    await store.claim("nonce of one", "one", new_id="id of one", new_epoch=7, has_lost=True, is_broken=True)
    await store.write(b"next", 9)
    _, claim = await stores.claimed("two", takes_over=True)
    assert not claim.is_whole
    reader = stores.made[-1]
    assert [piece async for piece in reader.read_pieces(claim)] == [b"piece", b"piece"]
    assert await entries(reader, claim.from_n) == [(7, b"next")]


@pytest.mark.parametrize("has_field", [False, True], ids=["key", "field"])
async def test_a_store_without_its_state_is_noticed_and_mended(stores: Stores, has_field: bool) -> None:
    store = await with_snapshot(stores)
    if has_field:
        stores.redis.hdel(STATE, "state")
    else:
        stores.redis.delete(STATE)
    for call in (store.renew(), store.write(b"x", 9)):
        with pytest.raises(Emptied):
            await call
    with pytest.raises(StoreBroken, match="lacks its state, and has some of its log"):
        await stores.claimed("other")
    assert stores.redis.xlen(LOG) == 4
    await mended(stores, store)


async def test_a_snapshot_counts_only_with_the_log_that_goes_with_it(stores: Stores) -> None:
    store = await with_snapshot(stores)
    stores.redis.delete(LOG)
    await store.write_piece(3, 0, b"begun before")
    with pytest.raises(StoreBroken):
        await store.write(b"x", 9)
    await store.claim("nonce of one", "one", new_id="id of one", new_epoch=7, has_lost=True, is_broken=True)
    for from_n in (5, 7):
        with pytest.raises(Rewound):
            await store.finish(3, 1, 12, from_n, 0, 60, 2_000)


async def test_an_engine_without_memory_takes_what_frees_some(stores: Stores) -> None:
    store = await with_snapshot(stores)
    await store.write_piece(3, 0, b"begun")
    stores.redis.config_set("maxmemory", 1)
    try:
        for call in (store.write(b"x", 9), store.write_piece(3, 1, b"x")):
            with pytest.raises(EngineFull):
                await call
        await store.drop(3)
        assert {key.decode() for key in stores.redis.keys("*")} == {STATE, LOG, SNAPSHOT}  # type: ignore[union-attr]
        await store.drop(2)
        assert stores.redis.llen(SNAPSHOT) == 2, "the one that counts is not dropped"
        stores.redis.config_set("maxmemory", 0)
        await store.write_piece(3, 0, b"whole")
        stores.redis.config_set("maxmemory", 1)
        await store.finish(3, 1, 5, 6, 30, 60, 2_000)
        assert stores.redis.xlen(LOG) == 0 and not stores.redis.exists(SNAPSHOT)
    finally:
        stores.redis.config_set("maxmemory", 0)
    two, _ = await stores.claimed("two", takes_over=True)
    await two.write_piece(4, 0, b"of two")
    with pytest.raises(StoreTaken):
        await store.drop(4)
    assert stores.redis.llen(f"{STATE}:snapshot:4") == 1


async def test_a_claim_that_was_lost_is_no_takeover(stores: Stores) -> None:
    one, _ = await stores.claimed("one")
    kept = stores.redis.dump(STATE)
    two, _ = await stores.claimed("two", takes_over=True)
    stores.redis.delete(STATE)
    stores.redis.restore(STATE, 0, kept)  # type: ignore[arg-type]
    with pytest.raises(Rewound):
        await two.renew()
    await one.renew()


@pytest.mark.parametrize(
    "command", [("SET", STATE, "mine"), ("RPUSH", LOG, "mine"), ("HSET", STATE, "state", "x" * 96)]
)
async def test_keys_of_somebody_else_are_left_alone(stores: Stores, command: tuple[str, ...]) -> None:
    stores.redis.execute_command(*command)
    before = stores.redis.dump(command[1])
    with pytest.raises(Refused) as raised:
        await stores.claimed()
    assert raised.value.code == "foreign_keys"
    assert stores.redis.dump(command[1]) == before and stores.redis.dbsize() == 1


async def test_the_user_of_the_documentation_can_do_all(stores: Stores) -> None:
    stores.server.send(*ACL_LINE.replace("PASSWORD", "secret").split())
    store = StoreEngine(stores.server.access._replace(user="presenced", password="secret"))
    claim = await store.claim("n", "one", new_id="x", new_epoch=1)
    assert isinstance(claim, StoreClaim)
    await store.write(b"x", 1)
    await store.write_piece(1, 0, b"piece")
    await store.finish(1, 1, 5, 1, 1, 1, 1)
    claim = await store.claim("n", "one", new_id="x", new_epoch=1)
    assert isinstance(claim, StoreClaim)
    assert [piece async for piece in store.read_pieces(claim)] == [b"piece"]
    assert await entries(store) == []
    await store.renew()
    await store.release(1)
    await store.close()
    stores.server.send("ACL", "SETUSER", "presenced", "-rpush")
    poor = StoreEngine(stores.server.access._replace(user="presenced", password="secret"), prefix="presenced")
    with pytest.raises(Refused, match="RPUSH"):
        await poor.claim("m", "two", new_id="x", new_epoch=1)
    await poor.close()
    stores.server.send("ACL", "DELUSER", "presenced")


RIGHTS = [word for word in COMMANDS.split() if word not in ("+function|load", "+info")]


@pytest.mark.parametrize("word", RIGHTS)
async def test_a_right_that_is_taken_away_leaves_nothing_half_done_and_is_named(stores: Stores, word: str) -> None:
    """Whatever was refused is done when the right is back, and nothing is there twice."""
    stores.server.send(*ACL_LINE.replace("PASSWORD", "secret").split())
    store = StoreEngine(stores.server.access._replace(user="presenced", password="secret"))
    assert isinstance(await store.claim("n", "one", new_id="x", new_epoch=1), StoreClaim)
    await store.write(b"first", 1)
    await store.write_piece(1, 0, b"old")
    await store.finish(1, 1, 3, 0, 0, 1, 1)
    stores.server.send("ACL", "SETUSER", "presenced", word.replace("+", "-"))
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: store.write(b"second", 1),
        lambda: store.renew(),
        lambda: store.write_piece(2, 0, b"piece"),
        lambda: store.finish(2, 1, 5, 1, 5, 1, 1),
        lambda: store.drop(3),
    ]
    for call in calls:
        try:
            await call()
        except Refused as refused:
            assert refused.code == "permission"
            assert word[1:] in refused.sentence.partition("; it needs")[0].lower()
            stores.server.send("ACL", "SETUSER", "presenced", word)
            await call()
            stores.server.send("ACL", "SETUSER", "presenced", word.replace("+", "-"))
    stores.server.send("ACL", "SETUSER", "presenced", word)
    assert await entries(store) == [(2, b"second")]
    claim = await store.claim("n", "one", new_id="x", new_epoch=1)
    assert isinstance(claim, StoreClaim) and claim.snapshot == 2
    assert [piece async for piece in store.read_pieces(claim)] == [b"piece"]
    assert STATE + ":snapshot:1" not in stores.server.send("KEYS", "*").split()
    await store.close()
