"""Waiting for somebody's status: over lost links and restarts, without a link, cancelled, refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

import presenced
import presenced.sync
from presenced.client.protocol.awaited_statuses import AwaitedStatus, AwaitedStatuses
from presenced.errors import AddressError, ConnectionLost, RequestError, RequestTimeout
from presenced.limits import AWAIT_MS_MAX
from presenced.wire.messages import Await, Awaited, CancelAwait, Done, Error, Hello, Record
from tests.client.fake_server import FakeServer, fake_server
from tests.client.helpers import drop_links, lose, running, service, session_of, url
from tests.support.in_process import InProcess
from tests.support.until import PATIENCE_S, eventually

BOB = Record("bob", "online", "", "", 1_700_000_000_000, 0, "phone", 7)


@asynccontextmanager
async def waiting(server: FakeServer, **options: Any) -> AsyncIterator[tuple[presenced.Client, asyncio.Task[Any]]]:
    """A client of a fake server that awaits bob."""
    async with presenced.connect(server.url(), **options) as me:
        task = asyncio.create_task(me.await_status("bob", for_at_least=10, timeout=3_600))
        await server.until(lambda: server.of(Await))
        yield me, task
        task.cancel()
        await asyncio.wait({task})


# --- with the real server ----------------------------------------------------------------------------------------


async def test_the_record_that_is_met_and_none_that_is_not() -> None:
    async with running() as server, presenced.connect(url(server, "alice")) as alice:
        waits = asyncio.create_task(alice.await_status("bob", timeout=60))
        assert await alice.await_status("bob", timeout=0.05) is None
        async with presenced.connect(url(server, "bob")) as bob:
            async with asyncio.timeout(PATIENCE_S):
                record = await waits
            assert record == await alice.get_status("bob")
            await bob.set_status("dnd")
            assert await alice.await_status("bob", not_dnd=True, timeout=0.05) is None
            busy = await alice.await_status("bob", statuses=["dnd"], for_at_least=0.01, timeout=60)
            assert busy is not None and busy.status == "dnd"


async def test_a_service_waits_for_a_kind_of_device() -> None:
    async with running() as server, service(server) as p:
        waits = asyncio.create_task(p.await_status("bob", kinds=["phone"], timeout=60))
        async with presenced.connect(url(server, "bob")):
            assert await p.await_status("bob", kinds=["phone"], timeout=0.05) is None
            async with presenced.connect(url(server, "bob", "mobile", "?kind=phone")), asyncio.timeout(PATIENCE_S):
                assert (await waits).user == "bob"


async def test_it_goes_on_over_lost_links_and_restarts() -> None:
    async with running() as server:
        port = server.port
        alice = await presenced.connect(url(server, "alice"))
        waits = asyncio.create_task(alice.await_status("bob", timeout=600))
        await alice.ping()
        await lose(alice, lambda: drop_links(server))
        assert server.engine.awaits.count == 0
        await eventually(lambda: server.engine.awaits.count == 1)
    async with running(listen=f"127.0.0.1:{port}") as server:
        await eventually(lambda: server.engine.awaits.count == 1)
        async with presenced.connect(url(server, "bob")), asyncio.timeout(PATIENCE_S):
            assert (await waits).status == "online"
        await alice.close()


async def test_who_turns_away_leaves_nothing_with_the_server() -> None:
    async with running() as server, presenced.connect(url(server, "alice")) as alice:
        waits = asyncio.create_task(alice.await_status("bob", timeout=600))
        await eventually(lambda: server.engine.awaits.count == 1)
        waits.cancel()
        await asyncio.wait({waits})
        await eventually(lambda: server.engine.awaits.count == 0)
        await alice.ping()
        assert session_of(alice)._pending == {}


def test_without_await() -> None:
    with InProcess() as server, presenced.sync.connect(f"presence://alice@127.0.0.1:{server.port}/laptop") as me:
        assert me.await_status("bob", timeout=0.05) is None
        record = me.await_status("alice", available=True, not_dnd=True, timeout=60)
        assert record is not None and record.status == "online"


# --- with one that does what the test says -----------------------------------------------------------------------


async def test_it_is_asked_again_with_the_rest_of_its_time() -> None:
    async with fake_server() as server, waiting(server) as (me, task):
        (first,) = server.of(Await)
        assert (first.for_at_least_ms, first.for_at_most_ms, first.kinds) == (10_000, 3_600_000, [])
        assert first.statuses == ["chat", "online", "away", "xa", "dnd"]
        begun_s = asyncio.get_running_loop().time()
        await eventually(lambda: asyncio.get_running_loop().time() > begun_s + 0.06)
        server.link.drop()
        await server.until(lambda: len(server.of(Await)) == 2)
        second = server.of(Await)[1]
        assert 3_500_000 < second.for_at_most_ms <= first.for_at_most_ms - 50
        assert msgspec.structs.replace(second, id=1, for_at_most_ms=1) == msgspec.structs.replace(
            first, id=1, for_at_most_ms=1
        )
        server.link.send(Awaited(second.id, True, BOB))
        async with asyncio.timeout(PATIENCE_S):
            assert await task == BOB
        await me.ping()
        assert server.of(CancelAwait) == []


async def test_whoever_is_cancelled_says_so_once() -> None:
    async with fake_server() as server, waiting(server) as (me, task):
        (asked,) = server.of(Await)
        task.cancel()
        await server.until(lambda: server.of(CancelAwait))
        assert server.of(CancelAwait)[0].request == asked.id
        server.link.send(Awaited(asked.id, False, BOB), Done(server.of(CancelAwait)[0].id, 1))
        await me.ping()
        server.link.drop()
        await server.until(lambda: len(server.of(Hello)) == 2)
        await me.ping()
        assert len(server.of(Await)) == len(server.of(CancelAwait)) == 1


async def test_without_a_link_the_time_is_over_as_well() -> None:
    async with fake_server() as server, presenced.connect(server.url(), reconnect=True) as me:
        server.refusals = []
        answer, server.answer = server.answer, lambda message: [] if isinstance(message, Hello) else answer(message)
        waits = asyncio.create_task(me.await_status("bob", timeout=0.1))
        await server.until(lambda: server.of(Await))
        server.link.drop()
        async with asyncio.timeout(PATIENCE_S):
            assert await waits is None


async def test_a_server_that_does_not_answer_in_time_is_told_of() -> None:
    async with fake_server() as server, presenced.connect(server.url(), request_timeout_s=0.05) as me:
        with pytest.raises(RequestTimeout):
            await me.await_status("bob", timeout=0.01)
        await server.until(lambda: server.of(CancelAwait))


async def test_a_refusal_and_the_end_of_the_client_raise() -> None:
    async with fake_server() as server:
        async with waiting(server) as (me, task):
            server.link.send(Error(server.of(Await)[0].id, "await_limit", "no more"))
            with pytest.raises(RequestError, match="no more") as caught:
                await task
            assert caught.value.code == "await_limit"
            waits = asyncio.create_task(me.await_status("bob", timeout=60))
            await server.until(lambda: len(server.of(Await)) == 2)
        with pytest.raises(ConnectionLost, match="closed"):
            await waits
        with pytest.raises(ConnectionLost, match="closed"):
            await me.await_status("bob", timeout=60)


async def test_awaits_do_not_use_up_what_may_be_on_its_way() -> None:
    async with fake_server() as server:
        server.welcome = msgspec.structs.replace(server.welcome, rate_units_per_s=50)
        async with presenced.connect(server.url()) as me:
            waits = [asyncio.create_task(me.await_status(f"user{n}", timeout=60)) for n in range(100)]
            await server.until(lambda: len(server.of(Await)) == 100)
            await me.ping()
            for wait in waits:
                wait.cancel()
            await asyncio.wait(waits)
            await server.until(lambda: server.of(CancelAwait))


# --- what cannot be meant ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"timeout": 0}, "no duration"),
        ({"timeout": -1}, "no duration"),
        ({"timeout": AWAIT_MS_MAX / 1000 + 1}, "longer than 7 days"),
        ({"timeout": 1, "for_at_least": -1}, "no duration"),
        ({"timeout": 1, "for_at_least": 700_000}, "longer than 7 days"),
        ({"timeout": 1, "statuses": ["busy"]}, "'busy' is not a status"),
        ({"timeout": 1, "statuses": "dnd"}, "a list of statuses"),
        ({"timeout": 1, "statuses": []}, "no status is left"),
        ({"timeout": 1, "statuses": ["dnd", "offline"], "available": True, "not_dnd": True}, "no status is left"),
        ({"timeout": 1, "kinds": "phone"}, "a list of kinds"),
        ({"timeout": 1, "kinds": ["a\nb"]}, "kind"),
        ({"timeout": 1, "kinds": [str(n) for n in range(17)]}, "more than 16"),
    ],
)
async def test_what_cannot_be_meant_is_refused_before_anything_is_sent(arguments: dict[str, Any], says: str) -> None:
    async with fake_server() as server, presenced.connect(server.url()) as me:
        with pytest.raises(AddressError, match=says):
            await me.await_status("bob", **arguments)
        with pytest.raises(AddressError, match="user name"):
            await me.await_status("two words", timeout=1)
        await me.ping()
        assert server.of(Await) == []


async def test_what_is_left_out_of_the_statuses() -> None:
    async with fake_server() as server, presenced.connect(server.url()) as me:
        for arguments, wanted in (
            ({}, ["chat", "online", "away", "xa", "dnd"]),
            ({"not_dnd": True}, ["chat", "online", "away", "xa"]),
            ({"statuses": ["offline", "dnd", "xa"], "available": True}, ["xa", "dnd"]),
            ({"statuses": ["dnd", "offline"], "not_dnd": True}, ["offline"]),
        ):
            waits = asyncio.create_task(me.await_status("bob", timeout=60, **arguments))
            count = len(server.of(Await))
            await server.until(lambda count=count: len(server.of(Await)) > count)  # type: ignore[misc]
            assert server.of(Await)[-1].statuses == wanted
            waits.cancel()


# --- the part ----------------------------------------------------------------------------------------------------


def test_an_answer_of_an_earlier_link_counts_for_nothing() -> None:
    sent: list[Any] = []
    told: list[Any] = []
    part = AwaitedStatuses(lambda make, on_reply: sent.append((make(1), on_reply)))
    one = AwaitedStatus("bob", ["online"], [], 0, 1_000, told.append)
    part.add(one, 0)
    ((make, on_reply),) = part.standing(400)
    again = make(9)
    assert isinstance(again, Await) and again.for_at_most_ms == 600
    _, late = sent[0]
    late(Awaited(1, True, BOB))
    assert told == []
    assert on_reply is not None
    on_reply(Awaited(9, True, BOB))
    on_reply(Awaited(9, False, BOB))
    assert told == [Awaited(9, True, BOB)]
    part.release(one)
    assert len(sent) == 1 and list(part.standing(2_000)) == []


def test_a_time_that_is_over_is_asked_for_the_shortest() -> None:
    part = AwaitedStatuses(lambda make, on_reply: None)
    part.add(AwaitedStatus("bob", [], [], 0, 1_000, lambda said: None), 0)
    ((make, _),) = part.standing(5_000)
    asked = make(3)
    assert isinstance(asked, Await) and asked.for_at_most_ms == 1
