"""The client and the real server together, in one process and over TCP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import presenced
from presenced.config.settings import Settings
from presenced.server.identity import mint
from presenced.server.server import Server
from tests.client.helpers import running, service, url
from tests.support.until import PATIENCE_S, eventually

SECRET = b"k" * 48


async def take(watch: presenced.Watch, count: int = 1) -> list[tuple[str, str]]:
    """Kind and status of the next changes."""
    async with asyncio.timeout(PATIENCE_S):
        return [(change.kind, change.new.status) for change in [await anext(watch) for _ in range(count)]]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running(change_spacing_ms=0) as server:
        yield server


class TestSeeing:
    async def test_a_watcher_sees_each_step_at_once(self, server: Server) -> None:
        async with presenced.connect(url(server, "bob")) as bob, bob.watch("alice") as watch:
            assert await take(watch) == [("snapshot", "offline")]
            async with presenced.connect(url(server, "alice")) as alice:
                assert await take(watch) == [("online", "online")]
                await alice.set_status("dnd", text="busy")
                assert await take(watch) == [("status", "dnd")]
                await alice.set_text("lunch", emoji="\U0001f334")
                assert await take(watch) == [("text", "dnd")]
                assert watch.records["alice"].text == "lunch"
                await alice.clear()
                assert await take(watch) == [("status", "online")]
                await alice.set_device(status="away")
                assert await take(watch) == [("status", "away")]
                await alice.set_status("offline")
                assert await take(watch) == [("offline", "offline")]
                await alice.set_status("auto")
                assert await take(watch) == [("online", "away")]
            assert await take(watch) == [("offline", "offline")], "leaving the block is a bye, so no grace"
            assert watch.records["alice"].last_seen_ms > 0

    async def test_a_watch_begun_while_many_are_removed_goes_on(self, server: Server) -> None:
        names = [f"u{number:03}" for number in range(300)]
        async with presenced.connect(url(server, "me")) as me, presenced.connect(url(server, names[-1])) as last:
            async with me.watch(*names) as watch:
                removing = asyncio.ensure_future(watch.remove(*names))
                await asyncio.sleep(0)
                async with me.watch(names[-1]) as later:
                    assert await take(later) == [("snapshot", "online")]
                    await removing
                    await last.set_status("dnd")
                    assert await take(later) == [("status", "dnd")]

    async def test_setting_one_thing_leaves_what_a_service_set(self, server: Server) -> None:
        async with presenced.connect(url(server, "alice")) as alice, service(server) as p:
            await p.set_device("alice", "laptop", status="away")
            await alice.set_device(priority=5)
            assert [(info.status, info.priority) for info in await alice.get_devices()] == [("away", 5)]

    async def test_what_was_asked_for_is_answered(self, server: Server) -> None:
        async with presenced.connect(url(server, "alice")) as alice, presenced.connect(url(server, "bob")):
            await alice.set_status("away", text="tea")
            assert (await alice.get_status("alice")).text == "tea"
            found = await alice.get_statuses(["nobody", "bob"])
            assert [(user, record.status) for user, record in found.items()] == [
                ("nobody", "offline"),
                ("bob", "online"),
            ]
            page = await alice.who(limit=1)
            assert (page.total, page.next, [record.user for record in page.records]) == (2, "alice", ["alice"])
            assert [record.user async for record in alice.online_users()] == ["alice", "bob"]
            assert await alice.ping() > 0
            assert abs(alice.server_time_ms - time.time() * 1000) < 5000

    async def test_a_status_ends_when_it_was_said_to(self, server: Server) -> None:
        async with presenced.connect(url(server, "alice")) as alice, alice.watch("alice") as watch:
            await take(watch)
            await alice.set_status("dnd", until=0.05)
            assert await take(watch, 2) == [("status", "dnd"), ("status", "online")]
            await alice.set_text("soon", until=datetime.now(UTC) + timedelta(milliseconds=300))
            assert await take(watch, 2) == [("text", "online"), ("text", "online")]

    async def test_input_brings_a_person_back_at_once(self) -> None:
        async with running(away_after_ms=300_000, change_spacing_ms=0) as server:
            async with (
                presenced.connect(url(server, "alice"), idle=301) as alice,
                alice.watch("alice") as watch,
            ):
                assert await take(watch) == [("snapshot", "away")]
                alice.active()
                assert await take(watch) == [("status", "online")]


class TestLasting:
    async def test_heartbeats_keep_a_device_alive(self) -> None:
        """Several times the lease passes; only heartbeats renew it, as the device asks for nothing."""
        async with running(heartbeat_ms=200, grace_ms=0, change_spacing_ms=0) as server:
            async with presenced.connect(url(server, "bob")) as bob, bob.watch("alice") as watch:
                async with presenced.connect(url(server, "alice")) as alice:
                    loop = asyncio.get_running_loop()
                    ends_s = loop.time() + 3 * alice.welcome.timeout_ms / 1000
                    await eventually(lambda: loop.time() > ends_s)
                    assert (alice.state, server.stats.goodbyes["lease_expired"]) == ("connected", 0)
                    assert watch.records["alice"].status == "online"

    async def test_a_link_lost_for_a_moment_is_seen_by_nobody(self, server: Server) -> None:
        async with presenced.connect(url(server, "bob")) as bob, bob.watch("alice") as watch:
            async with presenced.connect(url(server, "alice")) as alice:
                assert await take(watch) == [("snapshot", "online")]
                states: list[str] = []
                alice.on_state(lambda state, reason: states.append(state))
                for link in list(server.links):
                    link.abort()
                await eventually(lambda: states == ["connecting", "connected"])
                await eventually(lambda: bob.state == "connected")
                await alice.set_status("dnd")
                assert await take(watch) == [("status", "dnd")], "the watch is back, and without a second snapshot"

    async def test_a_restarted_server_is_found_again(self) -> None:
        """Its history is lost, so the epoch is new and all versions start over."""
        first = Server(Settings(dev=True, listen="127.0.0.1:0"))
        await first.start()
        settings = Settings(dev=True, listen=f"127.0.0.1:{first.port}", change_spacing_ms=0)
        bob = await presenced.connect(url(first, "bob"))
        watch = bob.watch("bob")
        await bob.set_text("here")
        assert await take(watch) == [("snapshot", "online")]
        for link in list(first.links):
            link.abort()  # Without a goodbye, whose advice would have to be waited for.
        await first.stop()
        await eventually(lambda: bob.state == "connecting")
        second = Server(settings)
        await second.start()
        try:
            assert await take(watch) == [("text", "online")], "only the text was lost with the history"
            await bob.set_status("away")
            assert await take(watch) == [("status", "away")]
        finally:
            await bob.close()
            await second.stop()

    async def test_a_second_program_on_the_device_ends_the_first(self, server: Server) -> None:
        async with presenced.connect(url(server, "alice")) as first:
            async with presenced.connect(url(server, "alice")) as second:
                await eventually(lambda: first.state == "closed")
                assert first.reason is not None and first.reason.code == "replaced"
                with pytest.raises(presenced.ConnectionLost):
                    await first.get_status("alice")
                assert (await second.get_status("alice")).status == "online"

    async def test_uvloop_serves_as_well(self) -> None:
        import uvloop

        def run() -> list[tuple[str, str]]:
            async def work() -> list[tuple[str, str]]:
                async with running() as server, presenced.connect(url(server, "alice")) as alice:
                    async with alice.watch("alice") as watch:
                        await alice.set_status("dnd")
                        while watch.records["alice"].status != "dnd":
                            await alice.ping()
                        return await take(watch)

            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(work())

        assert await asyncio.to_thread(run) == [("snapshot", "dnd")]


class TestTokens:
    async def test_a_good_one_a_bad_one_and_an_old_one(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_bytes(SECRET)
        now_s = int(time.time())
        async with running(secret_file=str(secret)) as server:
            good = mint(SECRET, "alice", "user", now_s, 600)
            async with presenced.connect(url(server, "alice"), token=good) as alice:
                assert (await alice.get_status("alice")).status == "online"
            for token, code in (("nonsense", "bad_token"), ("", "bad_token")):
                with pytest.raises(presenced.AuthError) as caught:
                    await presenced.connect(url(server, "alice"), token=token)
                assert caught.value.code == code
            old = mint(SECRET, "alice", "user", now_s - 700, 600)
            with pytest.raises(presenced.AuthError, match="expired"):
                await presenced.connect(url(server, "alice"), token=old)
            tokens = iter([old, good])
            async with presenced.connect(url(server, "alice"), token=lambda: next(tokens)) as alice:
                assert alice.state == "connected"
