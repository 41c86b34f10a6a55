"""A service whose link is lost, whose process is killed, whose server is restarted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

import presenced
from presenced.client import service_devices
from presenced.config.settings import Settings
from presenced.errors import ConnectionLost, RequestError, RequestTimeout
from presenced.limits import BEATS_MAX
from presenced.server.server import Server
from presenced.wire.messages import (
    AddActivity,
    AddClaim,
    Attach,
    Beats,
    Bye,
    ClientMessage,
    Detach,
    Done,
    Error,
    Follow,
    Following,
    Goodbye,
    Heartbeat,
    Hello,
    Join,
    ServerMessage,
    SetDevice,
    SetStatus,
    Watch,
)
from tests.client.fake_server import FakeServer, fake_server
from tests.client.helpers import (
    attachments_of,
    drop_links,
    has_nothing,
    lose,
    reconnect_of,
    running,
    service,
    session_of,
    take,
    url,
)
from tests.support.until import PATIENCE_S, eventually


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

        def answer(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, Follow):
                return [Following(message.id, 1, message.seq, False)]
            plain = fake.plainly(message)
            if plain or not hasattr(message, "id"):
                return plain
            return [Done(message.id, 1)]

        fake.answer = answer
        yield fake


def of_fake(fake: FakeServer, **options: Any) -> Any:
    return presenced.connect_service(fake.url("chat", ""), **options)


class TestWithTheServer:
    async def test_a_thousand_devices_come_back_and_nobody_sees_it(self, server: Server) -> None:
        async with service(server) as p, presenced.connect(url(server, "bob")) as bob:
            names = [f"u{number:04}" for number in range(1000)]
            assert await p.attach_many((name, "web") for name in names) == {}
            await asyncio.gather(*[p.join(name, "web", "general") for name in names])
            async with (
                bob.watch(*names) as watch,
                bob.watch_channel("general") as room,
                p.watch_all() as everyone,
                p.events() as events,
            ):
                await take(watch, 1000)
                await take(room, 1000)
                await take(everyone, 1001)
                mine = next(
                    link for link in server.links if link.session is not None and link.session.role == "service"
                )
                await lose(p, mine.abort)
                await p.set_status("u0500", "dnd")
                assert [change.user for change in await take(watch, 1)] == ["u0500"]
                assert [(change.kind, change.user) for change in await take(room, 1)] == [("change", "u0500")]
                assert [change.user for change in await take(everyone, 1)] == ["u0500"]
                assert [event.user for event in await take(events, 1)] == ["u0500"]
                for stream in (watch, room, everyone, events):
                    assert await has_nothing(stream, p, bob)
                assert len(p.attached) == 1000 == server.engine.leases.live - 1
                assert all(held.is_live for held in attachments_of(p).devices.values())

    async def test_another_service_takes_over(self, server: Server) -> None:
        async with presenced.connect(url(server, "bob")) as bob, bob.watch("u1", "u2") as watch:
            await take(watch, 2)
            first = await service(server)
            await first.attach_many([("u1", "web"), ("u2", "web")])
            await take(watch, 2)
            await first.close(bye=False)
            async with service(server) as second:
                await second.attach_many([("u1", "web"), ("u2", "web")])
                assert await has_nothing(watch, second, bob)
                await second.detach("u2", "web")
                assert [(change.user, change.kind) for change in await take(watch, 1)] == [("u2", "offline")]

    async def test_two_services_hold_different_devices_of_a_user(self, server: Server) -> None:
        async with service(server) as first, service(server) as second:
            await first.attach("u1", "web")
            await second.attach("u1", "phone", status="dnd")
            assert (await first.get_status("u1")).status == "dnd"
            await second.detach("u1", "phone")
            assert (await first.get_status("u1")).status == "online"

    async def test_a_device_that_another_took_is_let_go_quietly(self, server: Server) -> None:
        async with service(server) as first, service(server) as second:
            await first.attach("u1", "web")
            await second.attach("u1", "web")
            await first.detach("u1", "web")
            assert (await second.get_status("u1")).status == "online" and attachments_of(first)._by_ref == {}

    async def test_what_was_joined_is_joined_again_after_the_grace(self) -> None:
        async with running(grace_ms=0) as server, service(server) as p:
            await p.attach("u1", "web")
            await p.join("u1", "web", "general")
            await p.join("u1", "web", "other")
            await p.leave("u1", "web", "other")
            await lose(p, lambda: drop_links(server))
            assert await p.count_online("general") == 1
            assert await p.count_online("other") == 0

    async def test_events_over_lost_links_each_once(self, server: Server) -> None:
        told: list[str] = []
        async with service(server) as p, service(server) as other, p.events() as events:
            p.on("status_change", lambda event: told.append(event.cursor))
            await other.attach("u1", "web")
            for number in range(50):
                if number % 10 == 5:
                    for link in list(server.links):
                        if link.session is p_session(server, p):
                            link.abort()
                await other.set_status("u1", ("dnd", "away")[number % 2])
            await eventually(lambda: p.state == "connected")
            got = [event for event in await take(events, 52) if event.kind == "status_change"]
            assert [event.new for event in got] == ["online"] + ["dnd", "away"] * 25
            await eventually(lambda: len(told) == 51)
            assert told == [event.cursor for event in got]
            assert await has_nothing(events, p, other)

    async def test_a_restarted_server_is_told_everything_anew(self) -> None:
        first = Server(Settings(dev=True, listen="127.0.0.1:0"))
        await first.start()
        async with service(first) as p:
            await p.attach("u1", "web", name="Firefox")
            await p.join("u1", "web", "general")
            async with p.events() as events, p.watch("u1") as watch, p.watch_channel("general") as room:
                await take(watch, 1)
                await take(room, 1)
                drop_links(first)
                await first.stop()
                second = Server(Settings(dev=True, listen=f"127.0.0.1:{first.port}", change_spacing_ms=0))
                await second.start()
                try:
                    reset = (await take(events, 1))[0]
                    assert (reset.kind, reset.cursor.split("-")[0]) == ("reset", str(second.engine.events.epoch))
                    await p.set_status("u1", "dnd")
                    kinds = []
                    while "dnd" not in kinds:
                        kinds.append((await take(watch, 1))[0].new.status)
                    assert "offline" not in kinds
                    assert [info.name for info in await p.get_devices("u1")] == ["Firefox"]
                    await eventually(lambda: room.counts["dnd"] == 1)
                finally:
                    await p.close()
                    await second.stop()

    async def test_who_went_while_the_link_was_lost_is_told_to_those_who_watch_all(self, server: Server) -> None:
        async with service(server) as p, service(server) as other, p.watch_all() as everyone:
            await other.attach_many([("u1", "web"), ("u2", "web")])
            await take(everyone, 2)
            p_link(server, p).abort()
            await other.detach("u1", "web")
            await other.attach("u3", "web")
            changes = await take(everyone, 2)
            assert sorted((change.user, change.kind) for change in changes) == [("u1", "offline"), ("u3", "online")]
            assert await has_nothing(everyone, p, other)


def p_session(server: Server, p: presenced.Service) -> object:
    return p_link(server, p).session


def p_link(server: Server, p: presenced.Service) -> Any:
    """The server's end of a service's link; the one that connected first if there are several."""
    port = reconnect_of(p)._link._transport.get_extra_info("sockname")[1] if reconnect_of(p)._link is not None else 0  # type: ignore[union-attr]
    for link in server.links:
        if link.peer.rpartition(":")[2] == str(port):
            return link
    return _NoLink()


class _NoLink:
    session = object()

    def abort(self) -> None:
        pass


class TestWithAScript:
    async def test_attachments_do_not_wait_for_each_other(self, fake: FakeServer) -> None:
        silent = fake.answer
        fake.answer = lambda message: [] if isinstance(message, Attach) else silent(message)
        async with of_fake(fake) as p:
            attaching = asyncio.ensure_future(p.attach_many((f"u{number}", "web") for number in range(500)))
            await fake.until(lambda: len(fake.of(Attach)) == 500)
            fake.link.send(*[Done(message.id, 1) for message in fake.of(Attach)])
            assert await attaching == {}
        assert len({message.ref for message in fake.of(Attach)}) == 500

    async def test_beats_are_few_and_hold_each_devices_idle_time(self, fake: FakeServer) -> None:
        async with of_fake(fake) as p:
            await p.attach_many((f"u{number}", "web") for number in range(BEATS_MAX + 1))
            await p.attach("idle", "web", idle=100)
            beats = attachments_of(p).beats(reconnect_of(p).now_ms() + 1000)
            assert [len(message.beats) for message in beats] == [2 * BEATS_MAX, 4]
            assert set(beats[0].beats[1::2]) == {-1}
            assert 101_000 <= beats[1].beats[3] < 111_000
            assert fake.of(Attach)[-1].idle_ms is not None and fake.of(Attach)[0].idle_ms is None

    async def test_they_are_sent_at_the_interval_instead_of_its_own_heartbeat(self, fake: FakeServer) -> None:
        fake.welcome = msgspec.structs.replace(fake.welcome, heartbeat_ms=20)
        async with of_fake(fake) as p:
            await fake.until(lambda: fake.of(Heartbeat))
            await p.attach("u1", "web")
            await fake.until(lambda: len(fake.of(Beats)) >= 3)
            last = fake.of(Beats)[-1]
            await p.detach("u1", "web")
            count = len(fake.of(Heartbeat))
            await fake.until(lambda: len(fake.of(Heartbeat)) > count)
        assert last.beats == [fake.of(Attach)[0].ref, -1]

    async def test_urgent_reports_of_one_turn_share_a_frame(self, fake: FakeServer) -> None:
        async with of_fake(fake) as p:
            await p.attach_many([("u1", "web"), ("u2", "web"), ("u3", "web")])
            for user in ("u1", "u2", "u3"):
                p.active(user, "web")
                p.active(user, "web")
            await p.ping()
            assert [len(message.beats) for message in fake.of(Beats)] == [6]

    async def test_a_new_link_gets_the_devices_before_anything_else(self, fake: FakeServer) -> None:
        async with of_fake(fake) as p, p.watch("bob") as watch, p.events():
            await take(watch, 1)
            await p.attach("u1", "web", name="old")
            await p.join("u1", "web", "general")
            await p.set_device("u1", "web", status="dnd", priority=3, name="new")
            p.idle("u1", "web", 400)
            seen = len(fake.received)
            await lose(p, fake.link.drop)
            await p.set_status("u1", "away")
            again = fake.received[seen:]
        kinds = [type(message) for message in again if not isinstance(message, Beats | Bye)]
        assert kinds[:5] == [Hello, Attach, Join, Follow, Watch]
        attach = next(message for message in again if isinstance(message, Attach))
        assert (attach.name, attach.status, attach.priority) == ("new", "dnd", 3)
        assert attach.idle_ms is not None and attach.idle_ms >= 400_000, "coming back is not activity"

    async def test_a_detach_in_flight_is_made_good(self, fake: FakeServer) -> None:
        plain = fake.answer

        def lose_the_first(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, Detach) and len(fake.links) == 1:
                fake.link.drop()
                return []
            return plain(message)

        fake.answer = lose_the_first
        async with of_fake(fake) as p:
            await p.attach("u1", "web")
            await p.detach("u1", "web")
            assert not attachments_of(p)._by_ref
        kinds = [type(message) for message in fake.received if isinstance(message, Attach | Detach)]
        assert kinds == [Attach, Detach, Detach], (
            "a new link lets go by name: to attach first would take it from others"
        )

    async def test_even_if_nobody_waits_any_more(self, fake: FakeServer) -> None:
        async with of_fake(fake, request_timeout_s=0.05) as p:
            await p.attach("u1", "web")
            fake.refusals = [Goodbye("busy", "full", 1)] * 10_000
            await lose(p, fake.link.drop)
            with pytest.raises(ConnectionLost):
                await p.detach("u1", "web")
            assert p.attached == []
            fake.refusals = []
            await fake.until(lambda: fake.of(Detach))
            await eventually(lambda: not attachments_of(p)._by_ref)

    async def test_an_attach_without_an_answer_is_taken_back(self, fake: FakeServer) -> None:
        silent = fake.answer
        fake.answer = lambda message: [] if isinstance(message, Attach) else silent(message)
        async with of_fake(fake, request_timeout_s=0.05) as p:
            with pytest.raises(RequestTimeout):
                await p.attach("u1", "web")
            assert p.attached == []
            await fake.until(lambda: fake.of(Detach))
            assert fake.of(Detach)[0].ref == fake.of(Attach)[0].ref
            fake.link.drop()
            await fake.until(lambda: len(fake.of(Hello)) == 2)
            await p.ping()
        assert len(fake.of(Attach)) == 1

    async def test_what_is_held_stays_as_it_was_if_it_may_not_change(self, fake: FakeServer) -> None:
        plain = fake.answer

        def refuse(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, Attach) and message.name == "refused":
                return [Error(message.id, "read_only", "full")]
            if isinstance(message, Attach) and message.name == "unanswered":
                return []
            return plain(message)

        fake.answer = refuse
        async with of_fake(fake, request_timeout_s=0.2) as p:
            await p.attach("u1", "web", kind="browser", name="old", priority=1, status="away")
            with pytest.raises(RequestError, match="full"):
                await p.attach("u1", "web", kind="tab", name="refused", priority=2, status="dnd")
            with pytest.raises(RequestTimeout):
                await p.attach("u1", "web", kind="tab", name="unanswered", priority=3, status="dnd")
            await lose(p, fake.link.drop)
            await p.ping()
            again = fake.of(Attach)[-1]
            assert (again.kind, again.name, again.priority, again.status) == ("browser", "old", 1, "away")
            await p.attach("u1", "web", name="new")
            await lose(p, fake.link.drop)
            await p.ping()
        assert (fake.of(Attach)[-1].kind, fake.of(Attach)[-1].name) == ("", "new")

    async def test_one_in_flight_is_sent_again_once(self, fake: FakeServer) -> None:
        plain = fake.answer

        def lose_the_first(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, Attach) and len(fake.links) == 1:
                fake.link.drop()
                return []
            return plain(message)

        fake.answer = lose_the_first
        async with of_fake(fake) as p:
            await p.attach("u1", "web")
        assert [message.ref for message in fake.of(Attach)] == [1, 1]

    async def test_one_that_may_not_come_back_for_now_is_not_listed(
        self, fake: FakeServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        plain = fake.answer

        def refuse_the_second(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, Attach) and len(fake.links) == 2 and message.user == "u1":
                return [Error(message.id, "device_limit", "too many")]
            return plain(message)

        fake.answer = refuse_the_second
        async with of_fake(fake) as p:
            await p.attach_many([("u1", "web"), ("u2", "web")])
            fake.link.drop()
            await eventually(lambda: p.attached == [("u2", "web")])
            assert "u1/web could not be attached again: too many" in caplog.text

    async def test_more_than_fit_on_their_way_at_once(self, fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(service_devices, "MANY", 3)
        async with of_fake(fake) as p:
            assert await p.attach_many([(f"u{number}", "web") for number in range(8)]) == {}
            assert len(p.attached) == 8

    async def test_what_is_not_to_be_done_twice_is_not_sent_twice(self, fake: FakeServer) -> None:
        plain = fake.answer

        def lose(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, AddActivity | AddClaim) and len(fake.links) == 1:
                fake.link.drop()
                return []
            return plain(message)

        fake.answer = lose
        async with of_fake(fake) as p:
            claiming = asyncio.ensure_future(p.add_claim("u1", "call-7", "call", "dnd", until=60))
            with pytest.raises(ConnectionLost, match="may or may not have been applied") as caught:
                await p.record_activity("u1", "message")
            assert (caught.value.code, caught.value.temporary) == ("link_lost", True)
            async with asyncio.timeout(PATIENCE_S):
                await claiming
            assert len(fake.of(AddActivity)) == 1 and len(fake.of(AddClaim)) == 2
            assert not session_of(p)._waiting and not session_of(p)._pending

    async def test_what_was_never_sent_waits_for_a_link(self, fake: FakeServer) -> None:
        async with of_fake(fake) as p:
            fake.refusals = [Goodbye("busy", "full", 50)]
            await lose(p, fake.link.drop)
            assert p.state == "connecting"
            await p.record_activity("u1", "message")
        assert len(fake.of(AddActivity)) == 1

    async def test_and_after_that_wait_only_once(self, fake: FakeServer) -> None:
        plain = fake.answer

        def lose_it(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, AddActivity):
                fake.link.drop()
                return []
            return plain(message)

        fake.answer = lose_it
        async with of_fake(fake) as p:
            fake.refusals = [Goodbye("busy", "full", 50)]
            await lose(p, fake.link.drop)
            with pytest.raises(ConnectionLost, match="may or may not"):
                await p.record_activity("u1", "message")
            await p.ping()
        assert len(fake.of(AddActivity)) == 1

    async def test_offline_only_the_last_status_of_each_user_is_kept(self, fake: FakeServer) -> None:
        async with of_fake(fake) as p:
            fake.refusals = [Goodbye("busy", "full", 50)]
            await lose(p, fake.link.drop)
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(
                    *[p.set_status(user, status) for status in ("away", "dnd") for user in ("u1", "u2")],
                    p.rename_device("u1", "web", "new"),
                    p.set_device_status("u1", "web", "xa"),
                )
        assert [(message.user, message.status) for message in fake.of(SetStatus)] == [("u1", "dnd"), ("u2", "dnd")]
        assert [(message.name, message.status) for message in fake.of(SetDevice)] == [("new", None), (None, "xa")]

    async def test_and_that_one_comes_back(self, fake: FakeServer) -> None:
        async with of_fake(fake) as p:
            await p.attach("u1", "web")
            fake.refusals = [Goodbye("busy", "full", 50)]
            await lose(p, fake.link.drop)
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*[p.set_device_status("u1", "web", status) for status in ("away", "xa", "dnd")])
            await lose(p, fake.link.drop)
            await p.ping()
        assert fake.of(Attach)[-1].status == "dnd"

    async def test_closing_ends_streams_and_callbacks(self, fake: FakeServer) -> None:
        async with of_fake(fake) as p:
            events, everyone, room = p.events(), p.watch_all(), p.watch_channel("general")
            await events.start()
            p.on("online", lambda event: None)
            iterating = asyncio.ensure_future(_read(events))
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_S):
            assert await iterating == 0
        await eventually(lambda: not p._connection.callbacks._tasks)
        for stream in (everyone, room):
            with pytest.raises(ConnectionLost, match="closed"):
                await stream.start()

    async def test_a_stream_without_an_answer_says_so(self, fake: FakeServer) -> None:
        fake.answer = lambda message: fake.plainly(message) if isinstance(message, Hello) else []
        async with of_fake(fake, request_timeout_s=0.05) as p:
            for stream in (p.events(), p.watch_all(), p.watch_channel("general")):
                with pytest.raises(RequestTimeout):
                    await stream.start()
            assert (
                not p._connection.events._feeds
                and not p._connection.everyone._feeds
                and not p._connection.channels._channels
            )


async def _read(events: presenced.Events) -> int:
    return len([event async for event in events])
