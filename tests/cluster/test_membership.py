"""A server that is a node, or becomes one, on a real loop over the fake backplane: what it decides before it serves
itself, and when it acknowledges what it has decided."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from presenced.backplane.errors import Refused
from presenced.cluster.links.beats import GatheredBeats
from presenced.config.settings import Settings, SettingsError
from presenced.core.model import Session
from presenced.server.clocks import Clocks
from presenced.server.closed_links import ClosedLinks, LinksToClose
from presenced.server.clustering import entrance, membership, operators as operators_module, pump, reach
from presenced.server.clustering.membership import Membership
from presenced.server.clustering.status import EngineStatus
from presenced.server.listeners import CannotListen
from presenced.server.node_faults import NodeFault
from presenced.server.server import Server
from presenced.server.turn import LATE
from presenced.wire.messages import SetStatus
from tests.cluster.memberships import Ear, Joining, new_engine
from tests.support.memory_backplane import MemoryBackplane
from tests.support.memory_engine import MemoryEngine
from tests.support.until import PATIENCE_S, eventually

NAMES = [f"user{number}" for number in range(450)]
"""More than a node says in one go that it is their home."""


class Held:
    """A node that joins another, with users whom its own disk alone knows. It has said of the first of them that it is
    their home, and appends nothing more until it may."""

    def __init__(self, engine: MemoryEngine, first: Joining) -> None:
        self.node = Joining(engine, "second")
        self.may_append = asyncio.Event()
        self._first = first.membership._node
        self._append = self.node.backplane.append
        self.appends = 0

    async def begin(self) -> None:
        self.node.know(NAMES, "old")
        self.node.backplane.append = self._append_held  # type: ignore[method-assign]
        self.joining = asyncio.create_task(self.node.membership.join())
        first = self._first
        assert first is not None
        await eventually(lambda: self.appends > 1 and len(first.homes))
        self.name = next(name for name in NAMES if first.homes.of(name).name == "second")
        """One of whom it has said so."""

    async def _append_held(self, *args: Any) -> tuple[int, int]:
        self.appends += 1
        if self.appends > 1:
            await self.may_append.wait()
        return await self._append(*args)


async def joined_by_a_knower(*, asks_behind_ready: bool) -> tuple[Joining, Joining, str]:
    """A node that serves, and one that joins it with users whom its own disk alone knows. A service at the first asks
    for one of these before the other serves, or in the entry behind that which says that it does."""
    engine = new_engine()
    first = Joining(engine, "first")
    await first.membership.join()
    held = Held(engine, first)
    second = held.node
    may_read, read = asyncio.Event(), second.backplane.read

    async def held_read(after_n: int, after_tag: int) -> Any:
        entries = await read(after_n, after_tag)
        if held.appends > 1 and entries and not may_read.is_set():
            await may_read.wait()
            entries += await read(entries[-1].n)
        return entries

    if asks_behind_ready:
        second.backplane.read = held_read  # type: ignore[method-assign]
    await held.begin()
    known = first.membership._node
    assert known is not None
    if asks_behind_ready:
        held.may_append.set()
        await eventually(lambda: all(one.is_ready for one in known.nodes))
    entries = known.position
    first.say(7, held.name, "new")
    await eventually(lambda: known.position > entries)
    if not asks_behind_ready:
        second_known = second.membership._node
        assert second_known is not None and not second_known.is_ready
        await eventually(lambda: second.text_of(held.name) == "new")
        assert not held.joining.done()
    held.may_append.set()
    may_read.set()
    await held.joining
    return first, second, held.name


@pytest.mark.parametrize("asks_behind_ready", [False, True], ids=["before it serves", "as it begins to"])
async def test_what_a_node_decides_for_others_before_it_serves_itself_all_nodes_know(asks_behind_ready: bool) -> None:
    first, second, name = await joined_by_a_knower(asks_behind_ready=asks_behind_ready)
    try:
        await eventually(lambda: first.answered)
        assert (second.text_of(name), first.text_of(name)) == ("new", "new")
        assert not first.failures and not second.failures
    finally:
        await second.membership.leave()
        await first.membership.leave()


async def test_a_join_that_fails_leaves_nothing_of_the_node() -> None:
    engine = new_engine()
    first, second = Joining(engine, "first"), Joining(engine, "second")
    await first.membership.join()
    known = first.membership._node
    assert known is not None
    tasks, own_log = asyncio.all_tasks(), second.server.pacing.log

    async def refuse(*_: object) -> None:
        raise Refused("evicts", "it drops keys")

    second.backplane.renew = refuse  # type: ignore[method-assign,assignment]
    try:
        with pytest.raises(Refused, match="it drops keys"):
            await second.membership.join()
        await eventually(lambda: [member.name for member in known.nodes] == ["first"])
        assert known.nodes.fences == 0, "it has left, and nobody takes it for dead"
        assert second.server.pacing.log is own_log
        await eventually(lambda: asyncio.all_tasks() <= tasks)
    finally:
        await first.membership.leave()


async def test_a_join_that_is_broken_off_while_the_engine_hangs_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "LEAVE_S", 0.05)
    monkeypatch.setattr(membership, "SETTLE_MS", 50)
    engine = new_engine()
    first, second = Joining(engine, "first"), Joining(engine, "second")
    await first.membership.join()
    tasks = asyncio.all_tasks()

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    second.backplane.append = second.backplane.leave = hang  # type: ignore[method-assign,assignment]
    try:
        joining = asyncio.create_task(second.membership.join())
        await eventually(lambda: second.membership._node is not None)
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
        await eventually(lambda: asyncio.all_tasks() <= tasks)
    finally:
        await first.membership.leave()


async def test_a_start_that_fails_behind_the_join_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = new_engine()
    first = Joining(engine, "first")
    await first.membership.join()
    known = first.membership._node
    assert known is not None
    monkeypatch.setattr(
        entrance, "open_backplane", lambda *_, **__: MemoryBackplane(engine, draw=Random(2).getrandbits)
    )
    monkeypatch.setattr(entrance, "engine_status", lambda *_: EngineStatus("", "", "", ""))
    ours = socket.socket()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    ours.bind(("127.0.0.1", 0))
    with socket.socket() as theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        theirs.bind(ours.getsockname())
        theirs.listen()
        second = Server(Settings(dev=True, cluster_url="redis://127.0.0.1:1", cluster_node="second"), listener=ours)
        try:
            with pytest.raises(CannotListen):
                await second.start()
            assert second.state == "stopped"
            await eventually(lambda: [member.name for member in known.nodes] == ["first"])
            assert known.nodes.fences == 0, "it has left, and nobody takes it for dead"
        finally:
            await first.membership.leave()


async def test_a_kick_waits_for_a_node_that_is_still_joining_only_if_it_decides_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = new_engine()
    first = Joining(engine, "first")
    await first.membership.join()
    operators = first.membership.operators
    assert operators is not None
    held = Held(engine, first)
    await held.begin()
    try:
        with monkeypatch.context() as patched:
            patched.setattr(operators_module, "ANSWER_S", 0.05)
            assert await operators.close_links(LinksToClose(held.name)) == ClosedLinks(0, [])
            with pytest.raises(NodeFault, match="the node second is still starting"):
                await operators.drain("second")
        monkeypatch.setattr(operators_module, "ANSWER_S", PATIENCE_S)
        expelled: list[str] = []
        moderation = held.node.server.engine.moderation
        monkeypatch.setattr(moderation, "kick", lambda now_ms, name, user: expelled.append(name))
        closing = asyncio.create_task(operators.close_links(LinksToClose(held.name, gone=True)))
        await eventually(lambda: expelled)
        assert not held.joining.done() and expelled == [held.name]
        held.may_append.set()
        assert await closing == ClosedLinks(0, [])
    finally:
        held.may_append.set()
        await held.joining
        await held.node.membership.leave()
        await first.membership.leave()


async def test_what_replicas_are_to_have_is_acknowledged_as_soon_as_they_have_it() -> None:
    """The log has the entry, and this node has read it, before the replicas have it: nothing else wakes the node."""
    node = Joining(new_engine(), "one", lease_ms=3_000_000, acks_by_replica=True)
    await node.membership.join()
    # No deadline of anything else either.
    node.server.pacing._arm = lambda *_: None  # type: ignore[method-assign]
    append = node.backplane.append

    async def slow_append(*args: Any) -> tuple[int, int]:
        appended = await append(*args)
        known = node.membership._node
        assert known is not None
        await eventually(lambda: known.position >= appended[0])
        for _ in range(100):
            await asyncio.sleep(0)
        assert not node.answered
        return appended

    node.backplane.append = slow_append  # type: ignore[method-assign]
    try:
        node.say(7, "anna", "hello")
        await eventually(lambda: node.answered)
    finally:
        await node.membership.leave()


async def test_what_has_waited_for_an_engine_that_is_away_is_answered_once_it_is_away_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reach, "BUSY_MS", 300)
    engine = new_engine()
    first, second = Joining(engine, "first"), Joining(engine, "second")
    for node in (first, second):
        await node.membership.join()
    try:
        first.say(7, "anna", "before")
        await eventually(lambda: first.answered and second.text_of("anna") == "before")
        told = len(first.answered)
        engine.is_down = True
        first.say(8, "anna", "meanwhile")
        await eventually(lambda: first.text_of("anna") == "meanwhile" and len(first.answered) > told)
        assert LATE.encode() in first.answered[told:] and b"log_busy" in first.answered[told:]
        told = len(first.answered)
        engine.is_down = False
        await eventually(lambda: second.text_of("anna") == "meanwhile")
        first.say(9, "anna", "after")
        await eventually(lambda: second.text_of("anna") == "after" and len(first.answered) > told)
        assert LATE.encode() not in first.answered[told:]
        assert len(first.answered) - told < len(LATE), "it is answered once"
    finally:
        for node in (first, second):
            await node.membership.leave()


async def test_heartbeats_wait_for_an_engine_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []
    monkeypatch.setattr(GatheredBeats, "hold", lambda self, is_held, now_ms: told.append(is_held))
    engine = new_engine()
    node = Joining(engine, "first")
    await node.membership.join()
    try:
        engine.is_down = True
        node.say(7, "anna", "meanwhile")
        await eventually(lambda: told)
        engine.is_down = False
        await eventually(lambda: len(told) > 1)
        assert told == [True, False]
    finally:
        await node.membership.leave()


async def test_what_ended_while_a_node_was_down_ends_only_once_it_has_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its home may be another node by now, and the user may have said something since."""
    settings = Settings(dev=True, listen="127.0.0.1:0", data_dir=str(tmp_path / "data"))
    server = Server(settings)
    await server.start()
    now_ms = server.pacing.begin()
    session = Session(Ear(), "shop", "service", 1)
    server.engine.sessions.open_without_device(now_ms, session)
    server.links.requests.handle(server.engine, session, now_ms, SetStatus(1, "dnd", "old", None, 60_000, "alice"))
    await server.stop()

    shown: list[str] = []

    async def join(self: Membership) -> None:
        user = self._engine.users.get("alice")
        shown.append(user.record.text if user is not None else "")
        raise Refused("evicts", "it drops keys")

    def late_ns() -> int:
        return time.time_ns() + 3_600_000_000_000

    with monkeypatch.context() as patched:
        patched.setattr(Membership, "join", join)
        patched.setattr(entrance, "open_backplane", lambda *_, **__: MemoryBackplane(new_engine()))
        node = msgspec.structs.replace(settings, cluster_url="redis://127.0.0.1:1", cluster_node="one")
        with pytest.raises(SettingsError, match="it drops keys"):
            await Server(node, clocks=Clocks(time.monotonic_ns, late_ns)).start()
    assert shown == ["old"]
    alone = Server(settings, clocks=Clocks(time.monotonic_ns, late_ns))
    await alone.start()
    assert alone.engine.users["alice"].record.text == ""
    await alone.stop()


async def test_a_node_that_waits_for_the_engine_at_its_start_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    node = Joining(new_engine(), "first")
    node.backplane.is_cut = True
    joining = asyncio.create_task(node.membership.join())

    def lines() -> list[str]:
        return [record.getMessage() for record in caplog.records if "not there yet" in record.msg]

    await eventually(lines)
    node.backplane.is_cut = False
    await joining
    await node.membership.leave()
    [line] = lines()
    assert line.startswith("cluster: the engine is not there yet, and this node tries again: ")


async def test_a_process_that_ends_while_its_node_joins_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = new_engine()
    first = Joining(engine, "first")
    await first.membership.join()
    known = first.membership._node
    assert known is not None
    backplane = MemoryBackplane(engine, draw=Random(2).getrandbits)
    may_append = asyncio.Event()
    append = backplane.append

    async def held_append(*args: Any) -> tuple[int, int]:
        await may_append.wait()
        return await append(*args)

    backplane.append = held_append  # type: ignore[method-assign]
    monkeypatch.setattr(entrance, "open_backplane", lambda *_, **__: backplane)
    monkeypatch.setattr(entrance, "engine_status", lambda *_: EngineStatus("", "", "", ""))
    second = Server(Settings(dev=True, listen="127.0.0.1:0", cluster_url="redis://127.0.0.1:1", cluster_node="second"))
    starting = asyncio.create_task(second.start())
    try:
        await eventually(lambda: [member.name for member in known.nodes] == ["first", "second"])
        leaving = asyncio.create_task(second.leave_early())
        may_append.set()
        await leaving
        await eventually(lambda: [member.name for member in known.nodes] == ["first"])
        assert known.nodes.fences == 0, "it has left, and nobody takes it for dead"
    finally:
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await first.membership.leave()
