"""A daemon that keeps its state in Redis: what it acknowledged is there on another machine, whatever ended it, and
whatever happened to the engine meanwhile."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis

from presenced.wire.messages import SetStatus
from tests.durable.killing import KillLoop
from tests.durable.node import Node
from tests.durable.swarm import DONE, ERROR, STATUS, TEXT, USER, Swarm, ask, opened, operator
from tests.support.daemon import Daemon, StartFailed
from tests.support.engines import RedisServer, redis_server
from tests.support.until import until

FAST = """
from presenced.backplane import store_engine
from presenced.server import engine_journal, engine_store
from presenced.storage import committer
store_engine.STORE_LEASE_MS = 1_500
engine_store.ASK_S = 0.2
engine_journal.RENEW_S = 0.1
engine_journal.LATE_S = {late_s}
committer.GONE_LOOK_S = 0.1
"""
"""Leases of seconds instead of many."""

ROUNDS = 6

SMALL = {"GRACE_MS": 600_000, "RESTART_GRACE_MS": 600_000}

MakeNode = Callable[..., Node]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def make_node(tmp_path: Path, redis: RedisServer) -> Iterator[MakeNode]:
    """Daemons on one store, each with a directory of its own that holds nothing but its log."""
    numbers = itertools.count()
    made: list[Node] = []

    def make(*options: str, late_s: float = 5.0, patches: str = "") -> Node:
        made.append(
            Node(
                tmp_path / f"machine-{next(numbers)}",
                *("--rate", "0", "--check", *options),
                kept_by=("--storage", f"unix://{redis.socket}"),
                limits=SMALL,
                patches=FAST.format(late_s=late_s) + patches,
            )
        )
        return made[-1]

    yield make
    for node in made:
        node.kill()


def say(swarm: Swarm, names: list[str], text: str) -> None:
    """Let users say something, each acknowledged."""
    for name in names:
        assert opened(swarm, name).answer(SetStatus(1, text=f"{text} of {name}", status="dnd"))[0] == DONE


def said(node: Node, names: list[str]) -> list[tuple[str, int, str]]:
    """What a service is told of them."""
    with Swarm(node.port) as swarm:
        records, _ = ask(operator(swarm), names)
    return sorted((records[name][USER], records[name][STATUS], records[name][TEXT]) for name in names)


NAMES = [f"user-{number:03d}" for number in range(60)]


@pytest.mark.parametrize("ends", [("stop",), ("kill",), ("kill", "kill"), ("stop", "kill")], ids="-then-".join)
def test_another_machine_goes_on_with_all_that_was_acknowledged(make_node: MakeNode, ends: tuple[str, ...]) -> None:
    node = make_node().start()
    with Swarm(node.port) as swarm:
        say(swarm, NAMES, "first")
        before = said(node, NAMES)
        for number, end in enumerate(ends):
            if end == "kill":
                node.kill()
            else:
                node.stop(swarm.drain)
            node = make_node().start()
            assert said(node, NAMES) == before
            with Swarm(node.port) as more:
                say(more, NAMES[number : number + 1], f"after {number}")
                before = said(node, NAMES)
    node.kill()
    assert said(make_node().start(), NAMES) == before


def test_kill_under_writers(make_node: MakeNode) -> None:
    loop = KillLoop(make_node(), 60, seed=1)
    for _ in range(ROUNDS):
        loop.round(acks_max=1_000)
    loop.last()
    assert loop.counts.rounds == ROUNDS and loop.counts.lost == loop.counts.false_offline == 0


def test_a_stop_without_the_engine_says_so(make_node: MakeNode, redis: RedisServer) -> None:
    node = make_node(late_s=0.2, patches="engine_journal.CLOSE_S = 0.5\n").start()
    with Swarm(node.port) as swarm:
        say(swarm, NAMES[:3], "first")
        redis.kill()
        peer = opened(swarm, NAMES[0])
        peer.send(SetStatus(2, text="never saved"))
        node.daemon.until_log("nothing can be saved (log_busy), presence goes on")
        node.signal(signal.SIGTERM)
        swarm.drain()
        assert not any(got[0] == DONE for got in peer.told)
    assert node.wait() == 74
    assert "the store of storage.url failed" in node.log() and "Traceback" not in node.log()


def test_snapshots_take_the_place_of_the_log(make_node: MakeNode, redis: RedisServer) -> None:
    node = make_node().start()
    log = "{presenced}:store:log"
    with Swarm(node.port) as swarm:
        say(swarm, NAMES, "first")
        assert int(redis.send("XLEN", log)) > 0
        node.signal(signal.SIGUSR1)
        node.daemon.until_log("snapshot: finished")
        assert redis.send("XLEN", log) == "0"
        say(swarm, NAMES[:3], "second")
        before = said(node, NAMES)
        node.signal(signal.SIGUSR1)
        node.daemon.until_log("snapshot: finished", times=2)
        say(swarm, NAMES[5:6], "third")
        before = said(node, NAMES)
        assert [key for key in sorted(redis.send("KEYS", "*").split()) if "snapshot" in key] == [
            "{presenced}:store:snapshot:2"
        ]
    node.kill()
    assert said(make_node().start(), NAMES) == before


def test_an_engine_that_is_emptied_is_filled_anew(make_node: MakeNode, redis: RedisServer) -> None:
    node = make_node().start()
    with Swarm(node.port) as swarm:
        say(swarm, NAMES, "first")
        before = said(node, NAMES)
        redis.send("FLUSHALL")
        node.daemon.until_log("snapshot: finished")
    assert "has lost what was saved in it" in node.log()
    node.kill()
    again = make_node().start()
    assert said(again, NAMES) == before
    assert "had lost what was saved" not in again.log()


LOG = "{presenced}:store:log"

DELETIONS = [
    f"DEL {LOG}",
    f"XTRIM {LOG} MAXLEN 3",
    f"XADD {LOG} * mine 1",
    "DEL {presenced}:store:snapshot:1",
    "DEL {presenced}:store",
    "HDEL {presenced}:store state",
]


def with_snapshot_and_log(node: Node, swarm: Swarm) -> list[tuple[str, int, str]]:
    """Have some records saved in a snapshot, and some in the log behind it."""
    say(swarm, NAMES, "first")
    node.signal(signal.SIGUSR1)
    node.daemon.until_log("snapshot: finished")
    say(swarm, NAMES[:10], "second")
    return said(node, NAMES)


@pytest.mark.parametrize("command", DELETIONS)
def test_a_part_of_the_store_that_is_deleted_is_noticed(make_node: MakeNode, redis: RedisServer, command: str) -> None:
    node = make_node().start()
    with Swarm(node.port) as swarm:
        before = with_snapshot_and_log(node, swarm)
        redis.send(*command.split())
        node.daemon.until_log("snapshot: finished", times=2)
        assert node.log().count("has lost what was saved in it") == 1
        say(swarm, NAMES[20:30], "third")
        before = said(node, NAMES)
    node.kill()
    again = make_node().start()
    assert said(again, NAMES) == before
    assert "had lost what was saved" not in again.log()


@pytest.mark.parametrize("command", [f"DEL {LOG}", f"XADD {LOG} * mine 1"])
def test_a_write_notices_it_and_is_in_the_next_snapshot(make_node: MakeNode, redis: RedisServer, command: str) -> None:
    node = make_node(patches="engine_journal.RENEW_S = 1_000.0\n").start()
    with Swarm(node.port) as swarm:
        with_snapshot_and_log(node, swarm)
        redis.send(*command.split())
        say(swarm, NAMES[20:21], "third")
        node.daemon.until_log("snapshot: finished", times=2)
        before = said(node, NAMES)
    node.kill()
    assert said(make_node().start(), NAMES) == before


def test_a_stop_saves_what_somebody_has_deleted_just_before(make_node: MakeNode, redis: RedisServer) -> None:
    node = make_node(patches="engine_journal.RENEW_S = 1_000.0\n").start()
    with Swarm(node.port) as swarm:
        before = with_snapshot_and_log(node, swarm)
        redis.send("DEL", LOG)
        node.stop(swarm.drain)
    again = make_node().start()
    assert said(again, NAMES) == before
    assert "had lost what was saved" not in again.log()


def test_a_stop_that_cannot_save_it_any_more_says_so(make_node: MakeNode, redis: RedisServer) -> None:
    """Nothing has changed since the last snapshot, so that the stop takes none before its last facts."""
    node = make_node(patches="engine_journal.RENEW_S = 1_000.0\n").start()
    with Swarm(node.port) as swarm:
        say(swarm, NAMES, "first")
    node.signal(signal.SIGUSR1)
    node.daemon.until_log("snapshot: finished")
    redis.send("DEL", "{presenced}:store:snapshot:1")
    node.signal(signal.SIGTERM)
    assert node.wait() == 74
    assert "the store of storage.url failed: some of what was to be kept is in memory alone" in node.log()
    assert "Traceback" not in node.log()
    again = make_node().start()
    assert "had lost what was saved" in again.log()


def test_an_engine_that_drops_keys_by_now_is_named_once_one_is_gone(make_node: MakeNode, redis: RedisServer) -> None:
    node = make_node(late_s=0.2).start()
    with Swarm(node.port) as swarm:
        before = with_snapshot_and_log(node, swarm)
        redis.send("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        redis.send("DEL", LOG)
        node.daemon.until_log("set maxmemory-policy noeviction: nothing can be saved (log_busy), presence goes on")
        redis.send("CONFIG", "SET", "maxmemory-policy", "noeviction")
        node.daemon.until_log("snapshot: finished", times=2)
    node.kill()
    assert said(make_node().start(), NAMES) == before


@pytest.mark.parametrize("is_soon", [True, False])
def test_who_takes_an_emptied_store_for_a_free_one(make_node: MakeNode, redis: RedisServer, is_soon: bool) -> None:
    lease_ms = 60_000 if is_soon else 0
    node = make_node(patches=f"engine_journal.STORE_LEASE_MS = {lease_ms}\n").start()
    with Swarm(node.port) as swarm:
        say(swarm, NAMES[:5], "first")
        before = said(node, NAMES[:5])
        node.signal(signal.SIGSTOP)
        redis.send("FLUSHALL")
        other = make_node().start()
        node.signal(signal.SIGCONT)
        if is_soon:
            assert other.wait() == 78 and "was taken over by" in other.log()
            node.daemon.until_log("snapshot: finished")
            assert said(node, NAMES[:5]) == before
            node.kill()
            assert said(make_node().start(), NAMES[:5]) == before
        else:
            assert node.wait() == 78
            swarm.drain()


def test_an_engine_that_loses_its_newest_entries_is_given_them_again(make_node: MakeNode, redis: RedisServer) -> None:
    node = make_node().start()
    keys = ("{presenced}:store", "{presenced}:store:log")
    client = Redis(unix_socket_path=redis.socket)
    with Swarm(node.port) as swarm, closing(client):
        say(swarm, NAMES[:10], "kept")
        kept = [client.dump(key) for key in keys]
        say(swarm, NAMES, "lost")
        before = said(node, NAMES)
        # As a replica has it that becomes the primary too early.
        pipe = client.pipeline()
        for key, value in zip(keys, kept, strict=True):
            pipe.delete(key).restore(key, 0, value)
        pipe.execute()
        node.daemon.until_log("snapshot: finished")
    node.kill()
    assert said(make_node().start(), NAMES) == before


@pytest.mark.parametrize("loses", [False, True], ids=["keeps", "forgets"])
def test_presence_goes_on_without_the_engine(
    make_node: MakeNode, redis: RedisServer, loses: bool, request: pytest.FixtureRequest
) -> None:
    node = make_node(late_s=0.3).start()
    with Swarm(node.port) as swarm:
        say(swarm, NAMES, "first")
        watcher = operator(swarm)
        ask(watcher, ["new"])
        if loses:
            redis.kill()
        else:
            assert redis.process is not None
            redis.process.send_signal(signal.SIGSTOP)
        peer = opened(swarm, "early")
        peer.send(SetStatus(1, text="waits"))
        node.daemon.until_log("nothing can be saved (log_busy), presence goes on")
        error = opened(swarm, "late").answer(SetStatus(1, text="is refused"))
        assert (error[0], error[2]) == (ERROR, "log_busy")
        assert ask(watcher, ["early"])[0]["early"][TEXT] == "waits"
        # What was asked before is answered as well; it holds, and is saved once the engine is back.
        swarm.run(lambda: any(got[0] == ERROR and got[2] == "log_busy" for got in peer.told), "what waits is answered")
        if loses:
            redis.start()
        else:
            assert redis.process is not None
            redis.process.send_signal(signal.SIGCONT)
        if loses:
            node.daemon.until_log("snapshot: finished")
        else:
            assert "snapshot: finished" not in node.log()
        until(
            lambda: opened(swarm, "late").answer(SetStatus(2, text="is taken"))[0] == DONE, "requests are taken again"
        )
        assert not any(got[0] == DONE for got in peer.told), "one request has one answer"
        names = [*NAMES, "early", "late"]
        before = said(node, names)
    assert "all is well again" in node.daemon.until_log("all is well again")
    node.kill()
    assert said(make_node().start(), names) == before


def test_too_much_for_an_engine_that_is_away_is_made_up_for(make_node: MakeNode, redis: RedisServer) -> None:
    patches = "from presenced.storage import write_queue\nwrite_queue.PENDING_BYTES_MAX = 3_000\n"
    node = make_node(late_s=0.2, patches=patches).start()
    with Swarm(node.port) as swarm:
        say(swarm, NAMES, "first")
        assert redis.process is not None
        redis.process.send_signal(signal.SIGSTOP)
        peers = [opened(swarm, f"later-{number:03d}", name="a long label " * 4) for number in range(100)]
        node.daemon.until_log("nothing can be saved (log_busy), presence goes on")
        redis.process.send_signal(signal.SIGCONT)
        node.daemon.until_log("snapshot: finished")
        names = [*NAMES, *(f"later-{number:03d}" for number in range(100))]
        before = said(node, names)
        assert len(peers) == 100 and all(status for _, status, _ in before)
    node.kill()
    assert said(make_node().start(), names) == before


def test_a_second_daemon_is_refused_while_the_first_lives(make_node: MakeNode) -> None:
    node = make_node().start()
    with Swarm(node.port) as swarm:
        say(swarm, NAMES[:3], "first")
        with pytest.raises(StartFailed) as refused:
            make_node().start()
        assert refused.value.status == 75
        assert "is in use by" in str(refused.value) and "--takeover" in str(refused.value)
        say(swarm, NAMES[3:6], "still")
        before = said(node, NAMES[:6])
    node.stop()
    assert said(make_node().start(), NAMES[:6]) == before


def test_a_second_daemon_takes_over_if_it_is_told_to(make_node: MakeNode) -> None:
    node = make_node().start()
    with Swarm(node.port) as swarm:
        say(swarm, NAMES, "first")
        before = said(node, NAMES)
        newer = make_node("--takeover").start()
        assert said(newer, NAMES) == before
        swarm.drain()
    assert node.wait() == 78
    assert "was taken over by" in node.log() and "Traceback" not in node.log()
    with Swarm(newer.port) as swarm:
        say(swarm, NAMES[:1], "second")
    newer.stop()


def test_what_a_stopped_daemon_wrote_late_is_not_taken(make_node: MakeNode) -> None:
    node = make_node().start()
    with Swarm(node.port) as swarm:
        say(swarm, NAMES[:5], "first")
        before = said(node, NAMES[:5])
        peer = opened(swarm, NAMES[0])
        node.signal(signal.SIGSTOP)
        peer.send(SetStatus(1, text="from the past"))
        newer = make_node().start()  # after the lease
        node.signal(signal.SIGCONT)
        assert node.wait() == 78
        swarm.drain()
        assert not any(got[0] == DONE for got in peer.told)
    assert said(newer, NAMES[:5]) == before


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (f"XTRIM {LOG} MAXLEN 3", "has 3 entries in its log, where"),
        (f"DEL {LOG}", "has 0 entries in its log, where"),
        ("DEL {presenced}:store", "lacks its state, and has some of its log"),
        ("DEL {presenced}:store:snapshot:1", "pieces of its snapshot"),
        ("LSET {presenced}:store:snapshot:1 0 x", "has piece 0 of its snapshot, which does not read"),
    ],
)
def test_damage_is_not_started_from(make_node: MakeNode, redis: RedisServer, command: str, text: str) -> None:
    node = make_node().start()
    with Swarm(node.port) as swarm:
        say(swarm, NAMES[:20], "first")
        node.signal(signal.SIGUSR1)
        node.daemon.until_log("snapshot: finished")
        say(swarm, NAMES[:10], "second")
    node.kill()
    assert int(redis.send("XLEN", "{presenced}:store:log")) > 5
    redis.send(*command.split())
    left = redis.send("KEYS", "*"), redis.send("XRANGE", LOG, "-", "+")
    for _ in range(2):
        with pytest.raises(StartFailed) as refused:
            make_node().start()
        assert refused.value.status == 65 and text in str(refused.value)
        assert "Traceback" not in str(refused.value)
    assert (redis.send("KEYS", "*"), redis.send("XRANGE", LOG, "-", "+")) == left


def test_engines_that_will_not_do(tmp_path: Path, redis: RedisServer) -> None:
    redis.send("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")

    def status(*options: str) -> tuple[int, str]:
        with pytest.raises(StartFailed) as refused:
            Daemon(tmp_path / "daemon.log", *options)
        assert "Traceback" not in str(refused.value)
        return refused.value.status, str(refused.value)

    code, text = status("--storage", f"unix://{redis.socket}")
    assert code == 78 and "storage.url: the engine drops any key" in text
    code, text = status("--storage", "unix:///nowhere/redis.sock")
    assert code == 75 and "cannot be reached" in text
    code, text = status("--storage", "redis://127.0.0.1:1")
    assert code == 75 and "127.0.0.1:1 cannot be reached: Connection refused" in text
    code, text = status("--storage", f"unix://{redis.socket}", "--data-dir", str(tmp_path / "data"))
    assert code == 78 and "leave one of them out" in text
    redis.send("CONFIG", "SET", "maxmemory-policy", "noeviction")
    redis.send("SET", "{presenced}:store", "mine")
    code, text = status("--storage", f"unix://{redis.socket}")
    assert code == 78 and "another prefix" in text
    assert redis.send("GET", "{presenced}:store") == "mine"
