"""Each failure does what it says, and is over at its end."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

import presenced
from presenced.testing import TestServer, TestServerError


async def test_a_lost_link_is_repaired_and_nobody_sees_it() -> None:
    async with TestServer(check=True) as server:
        anna, bob = await server.connect("anna"), await server.connect("bob")
        states: list[str] = []
        anna.on_state(lambda state, reason: states.append(state))
        await server.lose_link(anna)
        assert anna.state == "connecting" and anna.reason is not None and anna.reason.code == "link_lost"
        assert bob.state == "connected"
        await server.until_connected(anna)
        assert server.statuses_of("anna") == ["online"]
        for who in ("anna", "anna/laptop"):
            await server.lose_link(who)
            await server.until_connected(anna)
        assert states == ["connecting", "connected"] * 3
        with pytest.raises(TestServerError, match="no link of anna/phone; there are anna/laptop, bob/laptop"):
            await server.lose_link("anna/phone")
        with pytest.raises(TestServerError, match="is no client"):
            await server.lose_link(server)


async def test_a_link_is_ended_by_the_server_with_a_reason() -> None:
    async with TestServer() as server:
        anna = await server.connect("anna")
        service = await server.connect_service("backend")
        await server.lose_link("backend", code="going_away")
        assert service.state == "connecting" and service.reason is not None and service.reason.code == "going_away"
        await server.lose_link(anna, code="replaced")
        assert anna.state == "closed" and anna.reason is not None and anna.reason.code == "replaced"
        with pytest.raises(TestServerError, match="'read_only' is no code with which a server ends a link"):
            await server.lose_link(service, code="read_only")


async def test_who_is_cut_off_comes_back_when_that_is_over() -> None:
    async with TestServer(grace="15s") as server:
        anna, bob = await server.connect("anna"), await server.connect("bob")
        with server.cut_off(anna) as fault:
            assert fault.is_active
            await server.advance(10)
            assert await server.status_of("anna") == "online", "within the grace nobody is told"
            await server.advance(5)
            assert await server.status_of("anna") == "offline"
            assert (anna.state, bob.state) == ("connecting", "connected")
            assert server.history("anna")[-1].reason == "lost"
        assert not fault.is_active
        await server.until_connected(anna)
        assert await server.status_of("anna") == "online"
        everybody = server.cut_off()
        await server.settle()
        assert (anna.state, bob.state) == ("connecting", "connecting")
        with pytest.raises(presenced.ConnectionLost):
            await server.connect("carl")
        everybody.end()
        await server.connect("carl")


async def test_nobody_notices_a_frozen_link_until_a_deadline_has_passed() -> None:
    async with TestServer(heartbeat="20s", grace="10s") as server:
        anna, bob = await server.connect("anna"), await server.connect("bob")
        service = await server.connect_service()
        async with anna.watch("bob") as watch:
            await anext(watch)
            with server.freeze(anna):
                await bob.set_status("dnd")
                await server.advance(15)
                assert watch.records["bob"].status == "online" and anna.state == "connected"
                answer = asyncio.create_task(anna.get_status("bob"))
                await server.advance(5)
                assert not answer.done()
            await server.settle()
            assert (await answer).status == watch.records["bob"].status == "dnd"
            assert server.statuses_of("anna") == ["online"]
            with server.freeze("anna"):
                await server.advance(49)
                assert await server.status_of("anna") == "online"
                await server.advance(12)
                assert await server.status_of("anna") == "offline", "the lease of 2.5 heartbeats, and the grace"
            await server.until_connected(anna)
            assert await server.status_of("anna") == "online"
        assert (await service.get_status("anna")).status == "online"


async def test_a_client_that_does_not_read_is_told_the_latest_alone() -> None:
    async with TestServer(change_spacing=0) as server:
        reader = await server.connect("reader")
        service = await server.connect_service()
        users = [f"user-{number}" for number in range(40)]
        await service.attach_many([(user, "web") for user in users])
        seen: list[str] = []

        async def watch() -> None:
            async for change in reader.watch(*users):
                seen.append(change.new.text)

        task = asyncio.create_task(watch())
        await server.settle()
        seen.clear()
        with server.freeze(reader):
            for number in range(30):
                for user in users:
                    await service.set_text(user, f"{number} " + "x" * 200)
            await server.settle()
            assert seen == []
            (link,) = (one for one in server._network if one.hello is not None and one.hello.user == "reader")
            assert link.unsent_bytes < 100_000, "of 300 KB"
        await server.settle()
        assert {text.split()[0] for text in seen[-40:]} == {"29"}
        assert len(seen) < 30 * 40, "what it would have missed is not kept for it"
        task.cancel()


async def test_a_slow_network_takes_its_time_each_way() -> None:
    async with TestServer() as server:
        anna = await server.connect("anna")
        began = server.now
        with server.slow("250ms"):
            task = asyncio.create_task(anna.ping())
            await server.advance(0.499)
            assert not task.done()
            await server.advance(0.001)
            assert await task == pytest.approx(0.5)
            task = asyncio.create_task(anna.ping())
            await server.advance(0.3)
        with pytest.raises(presenced.ConnectionLost), server.slow("1m"):
            connecting = asyncio.ensure_future(_connect(server, "bob"))
            await server.advance(10)
            await connecting
        await server.settle()
        assert await task
        assert server.now == began + timedelta(seconds=10.8)


async def _connect(server: TestServer, user: str) -> presenced.Client:
    return await server.connect(user)


async def test_a_server_that_stands_still_answers_later_and_expires_nobody() -> None:
    async with TestServer(heartbeat="10s", grace="5s") as server:
        anna, bob = await server.connect("anna", request_timeout_s=300, timeout_s=300), await server.connect("bob")
        with server.pause():
            patient = asyncio.create_task(anna.set_status("dnd"))
            impatient = asyncio.create_task(bob.set_status("dnd"))
            newcomer = asyncio.create_task(_connect(server, "carl"))
            await server.advance(9)
            assert not patient.done() and not impatient.done()
            with pytest.raises(presenced.ConnectionLost, match="said nothing for 5 s"):
                await newcomer
            await server.advance(20)
            with pytest.raises(presenced.PresenceError):
                await impatient
            assert bob.state == "connecting"
            assert anna.state == "connected"
        # A process that stood still looks once more at its sockets before anything else, for a millisecond.
        await server.advance(0.001)
        assert patient.done(), "what was sent meanwhile is read at once"
        await server.until_connected(bob)
        assert server.statuses_of("anna") == ["online", "dnd"]
        assert "offline" not in server.statuses_of("bob")


async def test_a_server_that_cannot_save_refuses_what_must_last() -> None:
    async with TestServer() as server:
        anna, bob = await server.connect("anna"), await server.connect("bob")
        await anna.set_status("dnd")
        with server.read_only():
            with pytest.raises(presenced.RequestError) as caught:
                await anna.set_status("away")
            assert caught.value.code == "read_only" and caught.value.temporary
            assert (await bob.get_status("anna")).status == "dnd"
            async with server.connect("carl"):
                assert await server.status_of("carl") == "online", "presence goes on"
        await anna.set_status("away")
        with server.read_only("log_busy"):
            with pytest.raises(presenced.RequestError, match="does not keep up"):
                await anna.set_text("lunch")
            await server.connect("dora")
            await server.kill()
            server.start()
            assert (await server.record_of("dora")).since_ms == 0, "what came meanwhile is lost"
        await server.until_connected(anna)
        assert (await server.record_of("anna")).status == "away"
        with pytest.raises(TestServerError, match="give read_only or log_busy"):
            server.read_only("full")


async def test_links_are_refused_with_the_code_that_was_asked_for() -> None:
    async with TestServer() as server:
        anna = await server.connect("anna")
        with server.refuse("busy", retry=30):
            with pytest.raises(presenced.ConnectionLost) as caught:
                await server.connect("bob")
            assert (caught.value.code, caught.value.retry_ms) == ("busy", 30_000)
            assert anna.state == "connected"
            await server.lose_link(anna)
            await server.advance(60)
            assert anna.state == "connecting" and anna.reason is not None and anna.reason.code == "busy"
        await server.until_connected(anna)
        with server.refuse("token_expired", "bob", message="it was Monday"):
            with pytest.raises(presenced.AuthError, match="it was Monday"):
                await server.connect("bob")
            await server.connect("carl")
        await server.connect("bob")
        with pytest.raises(TestServerError, match="no code with which a server ends a link; give one of bad_frame"):
            server.refuse("bad_mood")


async def test_requests_fail_or_are_never_answered() -> None:
    async with TestServer() as server:
        anna, bob = await server.connect("anna"), await server.connect("bob")
        with server.fail("set_text", "memory_low", anna, retry="2s"):
            with pytest.raises(presenced.RequestError) as caught:
                await anna.set_text("lunch")
            assert (caught.value.code, caught.value.retry_ms) == ("memory_low", 2_000)
            await bob.set_text("lunch")
            await anna.get_status("bob")
        with server.fail("get_status", None):
            task = asyncio.create_task(anna.get_status("bob"))
            await server.advance(10)
            with pytest.raises(presenced.RequestTimeout):
                await task
        assert (await anna.get_status("bob")).text == "lunch"
        assert (await server.record_of("anna")).text == ""
        with pytest.raises(TestServerError, match="did you mean set_status"):
            server.fail("set_stats", "forbidden")
        with pytest.raises(TestServerError, match="'busy' is no code with which a server refuses a request"):
            server.fail("set_status", "busy")


async def test_what_was_acknowledged_survives_a_kill() -> None:
    async with TestServer(check=True) as server:
        anna = await server.connect("anna", idle=None)
        await server.connect("bob", idle=None)
        service = await server.connect_service()
        await service.set_contacts("anna", ["bob"])
        await anna.set_status("dnd", text="busy", until=3600)
        before = (await server.record_of("anna")).version
        await server.kill()
        assert anna.state == "connecting"
        with pytest.raises(presenced.ConnectionLost, match="cannot reach"):
            await server.connect("carl")
        await server.advance(5)
        server.start()
        await server.until_connected()
        record = await server.record_of("anna")
        assert (record.status, record.text) == ("dnd", "busy")
        assert record.version > before + 2**31, "versions that were told and not saved must not come again"
        assert [contact.contact for contact in (await anna.get_contacts()).contacts] == ["bob"]
        assert server.statuses_of("anna") == ["online", "dnd"]
        await server.advance("1h")
        assert await server.status_of("anna") == "online"


async def test_a_restart_in_order_shows_nobody_as_offline() -> None:
    async with TestServer(check=True) as server:
        anna = await server.connect("anna", idle=None)
        service = await server.connect_service()
        await service.attach("bob", "web")
        seen: list[str] = []

        async def watch() -> None:
            async for change in service.watch_all():
                seen.append(f"{change.kind} {change.user} {change.new.status}")

        task = asyncio.create_task(watch())
        await server.settle()
        seen.clear()
        for _ in range(3):
            await server.restart(down="3s")
            await server.until_connected(anna, service)
        await server.advance("2m")
        assert seen == []
        assert await server.status_of("bob") == "online"
        task.cancel()


async def test_a_server_whose_disk_is_lost_begins_again() -> None:
    async with TestServer() as server:
        anna = await server.connect("anna", idle=None)
        await anna.set_text("lunch")
        epoch = anna.welcome.epoch
        await server.kill()
        server.lose_disk()
        server.start()
        await server.until_connected(anna)
        assert anna.welcome.epoch != epoch
        assert (await server.record_of("anna")).text == ""
        assert server.statuses_of("anna") == ["online"]
        await anna.set_text("tea")
        server.lose_disk()
        await server.kill()
        server.start()
        assert (await server.record_of("anna")).text == ""


async def test_failures_may_overlap_and_are_over_when_the_server_is_closed() -> None:
    async with TestServer() as server:
        anna, bob = await server.connect("anna"), await server.connect("bob")
        slow, frozen = server.slow(1), server.freeze(anna)
        refused = server.refuse("busy")
        assert repr(frozen).startswith("<fault freeze(<presenced.Client anna/laptop")
        task = asyncio.create_task(anna.ping())
        await server.advance(2)
        frozen.end()
        frozen.end()
        await server.advance(1)
        assert task.done()
        refused.end()
        slow.end()
        assert repr(refused) == "<fault refuse('busy'), over>"
        server.pause()
        server.freeze(bob)
        server.slow("1h")
    assert (anna.state, bob.state) == ("closed", "closed")
