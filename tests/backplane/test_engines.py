"""Real engines in all states in which they are met: each that will not do is refused with one clear line, and whatever
passes by itself is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import pytest

from presenced.backplane.access import EngineAccess
from presenced.backplane.errors import Emptied, Fenced, Refused, Rewound, Unreachable
from presenced.backplane.library import ACL_LINE, COMMANDS, keys_of
from presenced.backplane.opener import open_backplane
from presenced.backplane.port import Joined
from presenced.backplane.redis_engine import RedisBackplane
from tests.backplane.stage import LOG_BYTES, library_with_clock
from tests.support.certificates import make_certificate
from tests.support.engines import RedisServer, free_port, redis_server
from tests.support.until import PATIENCE_S

OTHERS = {
    *("+get", "+set", "+xread", "+wait", "+select"),
    *("+hget", "+rpush", "+llen", "+lrange"),
}
"""What a join does not need."""

CLOCK = "{presenced}:clock"
LOG = keys_of("presenced").log

T = TypeVar("T")
StartRedis = Callable[..., RedisServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartRedis]:
    """Start servers with lines of configuration."""
    with ExitStack() as running:

        def begin(*options: str, port: int = 0, sentinel: bool = False, name: str = "redis") -> RedisServer:
            return running.enter_context(redis_server(tmp_path / name, *options, port=port, sentinel=sentinel))

        yield begin


def opened(access: EngineAccess, **options: int | str) -> RedisBackplane:
    return open_backplane(access, **options)  # type: ignore[arg-type]


async def joined(node: RedisBackplane, name: str = "a") -> Joined:
    return await node.join(name, 1, 0, 1, b"")


async def refusal(access: EngineAccess, **options: int | str) -> Refused:
    node = opened(access, **options)
    with pytest.raises(Refused) as raised:
        await joined(node)
    await node.close()
    assert "\n" not in raised.value.sentence
    assert str(raised.value) == raised.value.sentence
    return raised.value


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call as long as the engine is out of reach, as a node does."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await call()
            except Unreachable:
                await asyncio.sleep(0.02)


# --- who is refused -----------------------------------------------------------------------------------------------


async def test_passwords(start: StartRedis) -> None:
    redis = start("requirepass 'right horse'")
    assert "asks for a password" in (await refusal(redis.access)).sentence
    wrong = await refusal(redis.access._replace(password="wrong-horse"))
    assert wrong.code == "password" and "wrong-horse" not in str(wrong)
    node = opened(redis.access._replace(password="right horse"))
    await joined(node)
    assert node.place == f"unix://{redis.socket}"
    await node.close()


async def test_a_database(start: StartRedis) -> None:
    redis = start()
    node = opened(redis.access._replace(database=3))
    await joined(node)
    await node.close()
    assert redis.send("DBSIZE") == "0" and redis.send("DBSIZE", database=3) == "3"
    assert (await refusal(redis.access._replace(database=99))).code == "bad_address"


async def test_a_password_that_is_changed_while_a_node_is_connected(start: StartRedis) -> None:
    redis = start()
    node = opened(redis.access)
    one = await joined(node)
    redis.send("CONFIG", "SET", "requirepass", "new")
    redis.send("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", password="new")
    with pytest.raises(Unreachable):
        await node.append(0, one.n, one.tag, b"")
    with pytest.raises(Refused) as raised:
        await node.append(0, one.n, one.tag, b"")
    assert raised.value.code == "password"
    await node.close()


async def test_the_user_of_the_documentation_can_do_all_and_nothing_else(start: StartRedis) -> None:
    redis = start()
    redis.send(*ACL_LINE.replace("PASSWORD", "secret").split())
    access = redis.access._replace(user="presenced", password="secret")
    node = opened(access)
    one = await joined(node)
    n, tag = await node.append(0, one.n, one.tag, b"x")
    assert len(await node.read(0)) == 2
    await node.renew(n, tag)
    await node.put_parcel(1, 1, b"x")
    assert await node.take_parcel(1, 1) == b"x"
    with pytest.raises(Exception, match="dropped|holds entries"):
        await node.read(0)
    await node.leave()
    await node.close()
    assert (await refusal(access, prefix="other")).code == "permission"


@pytest.mark.parametrize("word", sorted({word for word in COMMANDS.split() if word not in OTHERS}))
async def test_a_user_who_lacks_a_command_is_refused_before_anything_is_written(start: StartRedis, word: str) -> None:
    redis = start()
    redis.send(*ACL_LINE.replace("PASSWORD", "secret").split())
    redis.send("ACL", "SETUSER", "presenced", word.replace("+", "-"))
    refused = await refusal(redis.access._replace(user="presenced", password="secret"))
    assert refused.code == "permission"
    name = word.removeprefix("+").replace("|", " ")
    assert name.split()[0] in refused.sentence.lower() and COMMANDS in refused.sentence
    assert redis.send("KEYS", "*") == ""


@pytest.mark.parametrize("word", sorted({word for word in COMMANDS.split() if word not in {*OTHERS, "+function|load"}}))
async def test_a_right_that_is_taken_away_leaves_nothing_half_done_and_is_named(start: StartRedis, word: str) -> None:
    """A node that serves waits until an operator gives it back, as for an engine that is away."""
    redis = start()
    redis.send(*ACL_LINE.replace("PASSWORD", "secret").split())
    access, library = redis.access._replace(user="presenced", password="secret"), library_with_clock(CLOCK, LOG_BYTES)
    node, dead, new = (RedisBackplane(access, library=library) for _ in range(3))
    redis.send("SET", CLOCK, "0")
    one = await joined(node)
    await joined(dead, "dead")
    # Each of these has much to do: the log is full, and a node is past its lease.
    n, tag = await node.append(0, one.n, one.tag, bytes(LOG_BYTES - 400))
    for ms in range(0, 12_000, 1_000):
        redis.send("SET", CLOCK, str(ms))
        if ms <= 10_000:
            await node.append(0, n, tag, b"")

    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: node.append(1, n, tag, bytes(400)),
        lambda: node.renew(n, tag),
        lambda: joined(new, "new"),
        lambda: node.append(2, n, tag, b""),
        lambda: node.leave(),
    ]
    redis.send("ACL", "SETUSER", "presenced", word.replace("+", "-"))
    refusals = 0
    for call in calls[:3]:
        before = stored(redis)
        try:
            await call()
        except Refused as refused:
            refusals += 1
            assert refused.code == "permission" and refused.is_of_engine
            assert word[1:].partition("|")[0] in refused.sentence.partition("; it needs")[0].lower()
            assert stored(redis) == before
    assert refusals
    redis.send("ACL", "SETUSER", "presenced", word)
    for call in calls:
        await call()
    ids = redis.send("XRANGE", LOG, "-", "+").splitlines()
    found = [int(line.partition("-")[0]) for line in ids if re.fullmatch(r"\d+-\d+", line)]
    assert found == list(range(found[0], found[-1] + 1))
    for backplane in (node, dead, new):
        await backplane.close()


def stored(redis: RedisServer) -> dict[str, str]:
    """All keys, and what they hold."""
    return {key: redis.send("DUMP", key) for key in redis.send("KEYS", "*").split()}


KEYS = list(keys_of("presenced")[1:])
SOME_KEYS = [list(some) for count in (1, 2, 3) for some in itertools.combinations(KEYS, count)]


@pytest.mark.parametrize("some", SOME_KEYS, ids=lambda some: "+".join(key.rpartition(":")[2] for key in some))
async def test_a_log_of_which_a_key_was_deleted_is_one_that_was_emptied(start: StartRedis, some: list[str]) -> None:
    redis = start()
    node, other, new = (opened(redis.access) for _ in range(3))
    one = await joined(node)
    two = await joined(other, "b")
    n, tag = await node.append(0, two.n, two.tag, b"not read yet")
    redis.send("DEL", *some)
    with contextlib.suppress(Emptied):
        # Of the log nothing is asked to append to it.
        await node.append(1, n, tag, b"")
    with pytest.raises(Emptied):
        await node.renew(n, tag)
    again = await node.join("a", 2, one.incarnation, one.epoch, b"")
    assert (again.n, len(again.nodes)) == (1, 1) and again.history != one.history
    with pytest.raises(Emptied):
        await other.renew(two.n, two.tag)
    assert (await other.join("b", 2, two.incarnation, one.epoch, b"")).history == again.history
    assert len((await joined(new, "c")).nodes) == 3
    await node.renew(again.n, again.tag)
    for backplane in (node, other, new):
        await backplane.close()


@pytest.mark.parametrize("fields", [("h", "x", "d", "y"), ("mine", "1")])
@pytest.mark.parametrize("behind_ms", [0, 10**12])
async def test_a_log_to_which_somebody_else_has_written_is_one_that_was_emptied(
    start: StartRedis, fields: tuple[str, ...], behind_ms: int
) -> None:
    redis = start()
    node, other = opened(redis.access), opened(redis.access)
    one = await joined(node)
    two = await joined(other, "b")
    n = two.n + 1 + behind_ms
    redis.send("XADD", LOG, f"{n}-18446744073709551615", *fields)
    with pytest.raises(Rewound):
        await other.read(two.n)
    with pytest.raises(Emptied):
        await node.append(0, two.n, two.tag, b"")
    again = await node.join("a", 2, one.incarnation, one.epoch, b"")
    redis.send("XADD", LOG, f"{n}-18446744073709551615", *fields)
    with pytest.raises(Emptied):
        await node.renew(again.n, again.tag)
    await other.join("b", 2, two.incarnation, one.epoch, b"")
    for backplane in (node, other):
        await backplane.close()


@pytest.mark.parametrize("key", KEYS)
async def test_a_node_that_begins_finds_no_half_of_a_log(start: StartRedis, key: str) -> None:
    """Nobody would tell it of nodes that live, or hear of it."""
    redis = start()
    node, new = opened(redis.access), opened(redis.access)
    one = await joined(node)
    redis.send("DEL", key)
    two = await joined(new, "b")
    assert two.history != one.history and len(two.nodes) == 1
    with pytest.raises(Emptied):
        await node.append(0, one.n, one.tag, b"")
    for backplane in (node, new):
        await backplane.close()


async def test_who_is_gone_does_not_take_the_log_for_emptied(start: StartRedis) -> None:
    redis = start()
    node, other = opened(redis.access), opened(redis.access)
    one = await joined(node)
    two = await joined(other, "b")
    await node.leave()
    with pytest.raises(Fenced):
        await node.renew(one.n, one.tag)
    await other.renew(two.n, two.tag)
    for backplane in (node, other):
        await backplane.close()


async def test_a_user_who_may_not_look_is_refused(start: StartRedis) -> None:
    redis = start()
    redis.send("ACL", "SETUSER", "poor", "on", ">secret", "~*", "-@all", "+fcall")
    assert (await refusal(redis.access._replace(user="poor", password="secret"))).code == "permission"


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
async def test_an_engine_that_drops_keys(start: StartRedis, policy: str) -> None:
    redis = start(f"maxmemory-policy {policy}")
    refused = await refusal(redis.access)
    assert refused.code == "evicts"
    assert policy in refused.sentence and "noeviction" in refused.sentence
    redis.send("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    node = opened(redis.access)
    await joined(node)
    await node.close()


async def test_a_replica(start: StartRedis) -> None:
    port = free_port()
    start(port=port)
    replica = start(f"replicaof 127.0.0.1 {port}", name="replica")
    refused = await refusal(replica.access)
    assert refused.code == "replica" and "address of its primary" in refused.sentence


async def test_a_cluster_and_a_sentinel(start: StartRedis) -> None:
    port, sentinel_port = free_port(), free_port()
    cluster = start("cluster-enabled yes", f"cluster-port {free_port()}", port=port)
    assert (await refusal(cluster.access)).code == "sharded"
    start(port=sentinel_port, sentinel=True, name="sentinel")
    refused = await refusal(EngineAccess((("127.0.0.1", sentinel_port),)))
    assert refused.code == "is_sentinel"
    refused = await refusal(EngineAccess((("127.0.0.1", sentinel_port),), service="nobody"))
    assert refused.code == "no_service" and "'nobody'" in refused.sentence


@pytest.mark.parametrize(
    "commands",
    [
        [("SET", "{presenced}:cluster", "mine")],
        [("RPUSH", "{presenced}:cluster:log", "mine")],
        [("XADD", "{presenced}:cluster:log", "*", "mine", "1")],
        [("HSET", "{presenced}:cluster", "mine", "1")],
        [("HSET", "{presenced}:cluster", "history", "1", "time", "0", "clock", "0", "format", "another")],
        [("SADD", "{presenced}:cluster:nodes", "mine")],
    ],
)
async def test_keys_of_somebody_else_are_left_alone(start: StartRedis, commands: list[tuple[str, ...]]) -> None:
    redis = start()
    for command in commands:
        redis.send(*command)
    before = [redis.send("DUMP", key) for key in redis.send("KEYS", "*").split()]
    refused = await refusal(redis.access)
    assert refused.code == "foreign_keys" and "another prefix" in refused.sentence
    assert [redis.send("DUMP", key) for key in redis.send("KEYS", "*").split()] == before
    node = opened(redis.access, prefix="ours")
    await joined(node)
    await node.close()
    assert all(key.startswith(("{ours}:", "{presenced}:")) for key in redis.send("KEYS", "*").split())


async def test_certificates(start: StartRedis, tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "engine")
    other, other_key = make_certificate(tmp_path, "other")
    port = free_port()
    start(f"tls-port {port}", f"tls-cert-file {cert}", f"tls-key-file {key}", f"tls-ca-cert-file {other}")
    trusting = ssl.create_default_context(cafile=str(cert))
    trusting.load_cert_chain(other, other_key)
    strict = ssl.create_default_context(cafile=str(other))
    strict.load_cert_chain(other, other_key)
    access = EngineAccess((("localhost", port),), tls=trusting)
    for wrong in (access._replace(tls=strict), access._replace(tls=ssl.create_default_context())):
        refused = await refusal(wrong)
        assert refused.code == "certificate" and "tls_ca" in refused.sentence
    node = opened(access)
    one = await joined(node)
    await node.append(0, one.n, one.tag, bytes(100_000))
    assert [len(entry.data) for entry in await node.read(1)] == [100_000]
    await node.close()
    # Whoever speaks no TLS there, has no certificate, or finds nobody, is told that the engine cannot be reached.
    nameless = ssl.create_default_context(cafile=str(cert))
    assert "; if it speaks TLS, begin the URL with rediss://" in await why_away(access._replace(tls=None))
    assert "; if it asks for a certificate, name one with tls_cert" in await why_away(access._replace(tls=nameless))
    assert (await why_away(access._replace(hosts=(("localhost", 1),)))).endswith("Connection refused")


async def why_away(access: EngineAccess) -> str:
    node = opened(access)
    with pytest.raises(Unreachable) as raised:
        await joined(node)
    await node.close()
    return str(raised.value)


async def test_tls_with_an_engine_that_speaks_none(start: StartRedis) -> None:
    """It waits for the rest of what it takes for a command."""
    port = free_port()
    start(port=port)
    said = await why_away(EngineAccess((("localhost", port),), tls=ssl.create_default_context()))
    assert said.endswith("does not speak TLS in time; if it speaks none, begin the URL with redis://")


async def test_tls_with_what_answers_in_another_language() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-ERR what?\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        said = await why_away(EngineAccess((("127.0.0.1", port),), tls=ssl.create_default_context()))
    assert "; if it speaks none, begin the URL with redis://" in said


async def test_a_certificate_of_another_name(start: StartRedis, tmp_path: Path) -> None:
    """Its authority is known: naming that would change nothing."""
    cert, key = make_certificate(tmp_path, "engine")
    port = free_port()
    tls = (f"tls-port {port}", f"tls-cert-file {cert}", f"tls-key-file {key}", f"tls-ca-cert-file {cert}")
    start("bind 127.0.0.2", *tls, "tls-auth-clients no")
    refused = await refusal(EngineAccess((("127.0.0.2", port),), tls=ssl.create_default_context(cafile=str(cert))))
    assert refused.code == "certificate" and "tls_ca" not in refused.sentence
    assert "is for another name: " in refused.sentence and "write a name in the URL that it has" in refused.sentence


async def test_a_certificate_whose_time_is_over(start: StartRedis, tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "engine", days=-1)
    port = free_port()
    tls = (f"tls-port {port}", f"tls-cert-file {cert}", f"tls-key-file {key}", f"tls-ca-cert-file {cert}")
    start(*tls, "tls-auth-clients no")
    refused = await refusal(EngineAccess((("127.0.0.1", port),), tls=ssl.create_default_context(cafile=str(cert))))
    assert refused.code == "certificate" and refused.sentence.endswith("; renew it")


def test_a_missing_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("redis_engine", "connection", "wire"):
        monkeypatch.delitem(sys.modules, f"presenced.backplane.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "hiredis", None)
    with pytest.raises(Refused) as raised:
        opened(EngineAccess((("localhost", 1),)))
    assert raised.value.code == "no_library" and "presenced[cluster]" in raised.value.sentence


# --- what passes --------------------------------------------------------------------------------------------------


async def test_an_engine_that_is_away_and_comes_back_empty(start: StartRedis) -> None:
    redis = start()
    node = opened(redis.access)
    one = await joined(node)
    redis.kill()
    for call in (node.append(0, one.n, one.tag, b""), node.renew(one.n, one.tag), node.read(one.n), node.leave()):
        with pytest.raises(Unreachable):
            await call
    redis.start()
    with pytest.raises(Emptied):
        await node.append(0, one.n, one.tag, b"")
    again = await node.join("a", 2, one.incarnation, one.epoch, b"")
    assert again.history != one.history and again.n == 1
    await node.close()


async def test_an_engine_that_keeps_its_log_over_a_restart(start: StartRedis) -> None:
    redis = start("appendonly yes", "appendfsync always")
    node = opened(redis.access)
    one = await joined(node)
    n, tag = await node.append(0, one.n, one.tag, b"kept")
    redis.kill()
    redis.start()
    assert (await insist(lambda: node.append(0, one.n, one.tag, b"kept"))) == (n, tag)
    assert [entry.data for entry in await node.read(1)] == [b"kept"]
    await node.close()


async def test_functions_that_are_missing_are_given_again(start: StartRedis) -> None:
    redis = start()
    node = opened(redis.access)
    one = await joined(node)
    redis.send("FUNCTION", "FLUSH")
    assert (await node.append(0, one.n, one.tag, b""))[0] == 2
    await node.close()


async def test_a_stopped_engine_is_given_up_in_time_and_its_late_answer_is_nobodys(start: StartRedis) -> None:
    redis = start()
    node = opened(redis.access)
    one = await joined(node)
    await node.put_parcel(1, 1, b"old")
    assert redis.process is not None
    redis.process.send_signal(signal.SIGSTOP)
    with pytest.raises(Unreachable):
        await node.take_parcel(1, 1)
    redis.process.send_signal(signal.SIGCONT)
    assert (await node.append(0, one.n, one.tag, b""))[0] == 2
    await node.close()


async def test_a_call_that_is_cancelled_half_way_ends_its_connection_and_nothing_else(start: StartRedis) -> None:
    redis = start()
    node = opened(redis.access)
    one = await joined(node)
    redis.send("CLIENT", "PAUSE", "300", "WRITE")
    call = asyncio.create_task(node.append(0, one.n, one.tag, b""))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await insist(lambda: node.renew(one.n, one.tag))
    await node.close()


async def test_an_engine_that_is_told_later_to_evict_is_known_for_it_within_a_minute(start: StartRedis) -> None:
    redis, now_s = start(), 100.0
    node = RedisBackplane(redis.access, monotonic_s=lambda: now_s)
    one = await joined(node)
    redis.send("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")

    async def known() -> str:
        await node.renew(one.n, one.tag)
        assert node.engine is not None
        return node.engine.eviction

    assert await known() == "noeviction"
    asked = redis.send("INFO", "commandstats").partition("cmdstat_info:calls=")[2].partition(",")[0]
    now_s += 60.0
    assert await known() == "allkeys-lru", "it serves on, and the doctor is to tell"
    redis.send("CONFIG", "SET", "maxmemory-policy", "noeviction")
    now_s += 59.0
    assert await known() == "allkeys-lru"
    again = redis.send("INFO", "commandstats").partition("cmdstat_info:calls=")[2].partition(",")[0]
    assert int(again) - int(asked) == 2, "one of the node, and one of this test"
    now_s += 1.0
    assert await known() == "noeviction"
    await node.close()


async def test_replicas_that_must_have_an_append(start: StartRedis) -> None:
    port = free_port()
    redis = start("repl-diskless-sync-delay 0", port=port)
    node = opened(redis.access, replicas=1)
    one = await joined(node)
    with pytest.raises(
        Unreachable,
        match="no replica of .* has what was changed.*; connect a replica to it, or set",
    ):
        await node.append(0, one.n, one.tag, b"")
    start(f"replicaof 127.0.0.1 {port}", name="replica")
    assert (await insist(lambda: node.append(0, one.n, one.tag, b"")))[0] == 2
    await node.close()


async def test_an_engine_without_the_replicas_it_demands(start: StartRedis) -> None:
    redis = start()
    node = opened(redis.access)
    one = await joined(node)
    redis.send("CONFIG", "SET", "min-replicas-to-write", "1")
    with pytest.raises(Unreachable):
        await node.append(0, one.n, one.tag, b"")
    redis.send("CONFIG", "SET", "min-replicas-to-write", "0")
    await node.append(0, one.n, one.tag, b"")
    await node.close()


async def test_a_full_engine(start: StartRedis) -> None:
    redis = start()
    node = opened(redis.access)
    one = await joined(node)
    redis.send("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(Unreachable):
        await node.append(0, one.n, one.tag, b"")
    redis.send("CONFIG", "SET", "maxmemory", "0")
    assert (await node.append(0, one.n, one.tag, b""))[0] == 2
    await node.close()


async def test_sentinels_name_the_new_primary(start: StartRedis) -> None:
    ports = [free_port() for _ in range(5)]
    primary = start(port=ports[0], name="primary")
    start(f"replicaof 127.0.0.1 {ports[0]}", port=ports[1], name="replica")
    watch = (f"sentinel monitor home 127.0.0.1 {ports[0]} 2", "sentinel down-after-milliseconds home 500")
    for port in ports[2:]:
        start(*watch, "sentinel failover-timeout home 5000", port=port, sentinel=True, name=f"sentinel-{port}")
    access = EngineAccess(tuple(("127.0.0.1", port) for port in (free_port(), *ports[2:])), service="home")
    node = opened(access, replicas=1)
    one = await insist(lambda: joined(node))
    assert node.place == f"127.0.0.1:{ports[0]}"
    n, tag = await insist(lambda: node.append(0, one.n, one.tag, b"before"))
    primary.kill()
    with pytest.raises(Unreachable):
        await node.renew(n, tag)
    plain = opened(access)
    assert (await insist(lambda: plain.join("b", 1, 0, 1, b""))).history == one.history
    assert plain.place == f"127.0.0.1:{ports[1]}"
    await insist(lambda: node.renew(n, tag))
    entries = await insist(lambda: node.read(one.n))
    assert [entry.data for entry in entries] == [b"before", b""]
    await plain.close()
    await node.close()


async def test_a_reader_that_does_not_see_what_was_appended_is_connected_anew(start: StartRedis) -> None:
    now_s = 100.0
    redis = start()
    node = RedisBackplane(redis.access, monotonic_s=lambda: now_s)
    one = await joined(node)
    n, _ = await node.append(0, one.n, one.tag, b"mine")
    # Its connection leads to another engine from now on, as to a primary that was demoted and does not know it.
    other = start(name="other")
    node._reader._access = other.access
    assert await node.read(one.n) == []
    node._reader._access = redis.access
    assert await node.read(one.n) == [], "it may only be slow"
    now_s += 2.1
    assert [entry.n for entry in await node.read(one.n)] == [n]
    await node.close()


async def test_two_daemons_of_one_name_on_a_real_clock(start: StartRedis) -> None:
    redis = start()
    older, newer = opened(redis.access), opened(redis.access)
    one = await older.join("a", 1, 0, 1, b"")
    two = await newer.join("a", 2, 0, 1, b"")
    assert abs((await newer.renew(two.n, two.tag)).wall_offset_ms) < 60_000
    with pytest.raises(Fenced) as raised:
        await older.append(0, one.n, one.tag, b"")
    assert raised.value.by == two.incarnation
    await older.close()
    await newer.close()
