"""What a user's own devices know of their user, and everything else that a user may ask for themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

import presenced
from presenced import RequestError, Schedule
from presenced.server.server import Server
from presenced.wire.messages import (
    AddActivity,
    Applied,
    ClientMessage,
    DeviceInfo,
    Done,
    Hello,
    Join,
    Leave,
    OwnState,
    Record,
    ServerMessage,
)
from tests.client.fake_server import FakeServer, fake_server
from tests.client.helpers import lose, running, take, url
from tests.support.until import eventually


@pytest.fixture(autouse=True)
def quick_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back without the jitter's wait, which the tests of the backoff measure."""
    monkeypatch.setattr("presenced.client.protocol.backoff.BASE_MS", 1)
    monkeypatch.setattr("presenced.client.protocol.backoff.CAP_MS", 1)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running() as server:
        yield server


@pytest.fixture
async def fake() -> AsyncIterator[FakeServer]:
    async with fake_server() as fake:
        yield fake


def own(version: int, name: str = "") -> OwnState:
    device = DeviceInfo("laptop", "", name, "online", "connected", 0, 1, 1, True)
    return OwnState("alice", version, Record("alice", "online", "", "", 5, 0, "laptop", version), [], 0, [device])


class TestOwnState:
    async def test_all_devices_show_what_one_says(self, server: Server) -> None:
        async with presenced.connect(url(server, "u1", "a")) as a, presenced.connect(url(server, "u1", "b")) as b:
            await a.set_status("dnd", text="busy", until=timedelta(hours=1))
            await eventually(lambda: b.own is not None and b.own.record.status == "dnd")
            assert b.own is not None
            assert [claim.status for claim in b.own.claims] == ["dnd"] and b.own.text_until_ms > b.server_time_ms
            assert [info.device for info in b.own.devices] == ["a", "b"]
            await a.ping()
            await b.ping()
            status = await a.get_sync_status()
            assert (status.user, status.synced, status.total) == ("u1", 2, 2)
            assert status.devices == {"a": status.version, "b": status.version} and status.last_sync_ms > 0

    async def test_it_comes_with_the_welcome(self, server: Server) -> None:
        async with presenced.connect(url(server, "u1")) as me:
            await me.ping()
            assert me.own is not None and me.own.user == "u1"

    async def test_one_is_in_sync_only_after_it_has_applied(self, server: Server) -> None:
        async with presenced.connect(url(server, "u1", "a")) as a, presenced.connect(url(server, "u1", "b")) as b:
            await eventually(lambda: a.own is not None and b.own is not None)
            shown, may_go_on = [], asyncio.Event()

            async def show(state: OwnState) -> None:
                shown.append(state.version)
                await may_go_on.wait()

            may_go_on.set()
            end = b.on_own(show)
            await eventually(lambda: shown)
            may_go_on.clear()
            await a.set_status("dnd")
            await eventually(lambda: len(shown) == 2)
            await b.ping()
            status = await a.get_sync_status()
            assert (status.synced, status.total, status.devices["b"] < status.version) == (1, 2, True)
            may_go_on.set()
            await eventually(lambda: not b._own._is_working)
            await b.ping()
            assert (await a.get_sync_status()).synced == 2
            end()

    async def test_one_that_fails_is_not_in_sync_until_it_is_sent_again(self, server: Server) -> None:
        reported: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(str(context["exception"])))
        async with presenced.connect(url(server, "u1", "a")) as a:
            await eventually(lambda: a.own is not None)
            fails = [True]

            def show(state: OwnState) -> None:
                if fails[0]:
                    raise ValueError("no display")

            a.on_own(show)
            await a.set_status("dnd")
            await eventually(lambda: reported and not a._own._is_working)
            assert (await a.get_sync_status()).synced == 0
            fails[0] = False
            await a.sync()
            await a.ping()
            await eventually(lambda: not a._own._is_working)
            await a.ping()
            assert (await a.get_sync_status()).synced == 1

    async def test_a_slow_callback_gets_the_latest(self, fake: FakeServer) -> None:
        async with presenced.connect(fake.url()) as me:
            shown, may_go_on = [], asyncio.Event()

            async def show(state: OwnState) -> None:
                shown.append(state.version)
                await may_go_on.wait()

            me.on_own(show)
            fake.link.send(*[own(version) for version in range(1, 101)])
            await eventually(lambda: me.own is not None and me.own.version == 100 and shown)
            assert not fake.of(Applied)
            may_go_on.set()
            await fake.until(lambda: fake.of(Applied) and fake.of(Applied)[-1].version == 100)
            assert len(shown) <= 3

    async def test_without_callbacks_it_is_acknowledged_at_once(self, fake: FakeServer) -> None:
        async with presenced.connect(fake.url()):
            fake.link.send(own(7), own(8))
            await fake.until(lambda: [message.version for message in fake.of(Applied)] == [7, 8])
        assert fake.of(Hello)[0].sync

    @pytest.mark.parametrize(("query", "options"), [("?priority=-1", {}), ("", {"sync": False})])
    async def test_one_that_only_looks_in_does_not_count(
        self, server: Server, query: str, options: dict[str, Any]
    ) -> None:
        async with presenced.connect(url(server, "u1", "a", query), **options) as a:
            await a.ping()
            assert a.own is None and (await a.get_sync_status()).total == 0

    async def test_a_new_name_outlives_the_link_wherever_it_was_given(self, fake: FakeServer) -> None:
        async with presenced.connect(fake.url()) as me:
            await me.rename_device("laptop", "Work")
            await lose(me, fake.link.drop)
            await fake.until(lambda: len(fake.of(Hello)) == 2)
            await me.ping()
            fake.link.send(own(7, "Home"))
            await eventually(lambda: me.own is not None)
            await lose(me, fake.link.drop)
            await fake.until(lambda: len(fake.of(Hello)) == 3)
        assert [hello.name for hello in fake.of(Hello)] == ["", "Work", "Home"]


class TestForOneself:
    async def test_devices(self, server: Server) -> None:
        async with presenced.connect(url(server, "u1", "a")) as a:
            async with presenced.connect(url(server, "u1", "b")) as b:
                await a.rename_device("b", "Phone")
                assert [(info.device, info.name) for info in await b.get_devices()] == [("a", ""), ("b", "Phone")]
                with pytest.raises(RequestError):
                    await a.forget_device("b")
            await a.forget_device("b")
            assert [info.device for info in await a.get_devices()] == ["a"]

    async def test_claims_and_schedule(self, server: Server) -> None:
        async with presenced.connect(url(server, "u1")) as me:
            await me.add_claim("call-7", "call", "dnd", until=60)
            assert [claim.claim for claim in await me.get_claims()] == ["call-7"]
            assert (await me.get_status("u1")).status == "dnd"
            await me.end_claim("call-7")
            assert await me.get_claims() == []
            await me.set_schedule("UTC", [("mon-sun", "00:00", "24:00")], status="xa")
            assert (await me.get_status("u1")).status == "xa"
            assert isinstance(await me.get_schedule(), Schedule)
            await me.clear_schedule()
            assert await me.get_schedule() is None and (await me.get_status("u1")).status == "online"

    async def test_activity_and_commands(self, server: Server) -> None:
        async with presenced.connect(url(server, "u1", "a")) as me:
            await me.record_activity("edit", channel="docs", payload="x")
            (done,) = await me.get_activity(limit=5, since=timedelta(hours=1))
            assert (done.activity, done.channel, done.device, done.payload) == ("edit", "docs", "a", "x")
            answer = await me.command("/presence dnd for 30m")
            assert answer.ok and (await me.get_status("u1")).status == "dnd"

    async def test_channels(self, server: Server) -> None:
        async with presenced.connect(url(server, "u1")) as me, presenced.connect(url(server, "u2")) as other:
            async with other.watch_channel("general") as watch:
                await me.join("general")
                assert [(change.kind, change.user, change.total) for change in await take(watch, 1)] == [
                    ("join", "u1", 1)
                ]
                page = await other.get_members("general")
                assert (page.total, [record.user for record in page.records]) == (1, ["u1"])
                await me.leave("general")
                assert (await take(watch, 1))[0].kind == "leave"

    async def test_a_channel_is_joined_again_on_a_new_link(self, fake: FakeServer) -> None:
        def answer(message: ClientMessage) -> list[ServerMessage]:
            return [Done(message.id, 1)] if isinstance(message, Join | Leave) else fake.plainly(message)

        fake.answer = answer
        async with presenced.connect(fake.url()) as me:
            await me.join("general")
            await me.join("other")
            await me.leave("other")
            await lose(me, fake.link.drop)
            await me.ping()
        assert [message.channel for message in fake.of(Join)] == ["general", "other", "general"]

    async def test_an_activity_is_not_recorded_twice(self, fake: FakeServer) -> None:
        def lose_it(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, AddActivity):
                fake.link.drop()
                return []
            return fake.plainly(message)

        fake.answer = lose_it
        async with presenced.connect(fake.url()) as me:
            with pytest.raises(presenced.ConnectionLost, match="may or may not"):
                await me.record_activity("edit")
            await me.ping()
        assert len(fake.of(AddActivity)) == 1
