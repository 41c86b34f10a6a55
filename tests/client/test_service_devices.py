"""Devices that a service holds while others hold them too, and calls that are cancelled half way."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

import presenced
from presenced.client.values import Taken
from presenced.core.model import CONNECTED
from presenced.errors import ConnectionLost, RequestError
from presenced.server.server import Server
from presenced.wire.messages import Attach, ClientMessage, Detach, Done, Error, Hello, Join, ServerMessage, SetDevice
from tests.client.fake_server import FakeServer, fake_server, of_fake
from tests.client.helpers import (
    attachments_of,
    away,
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
        fake.answer = lambda message: fake.plainly(message) or ([Done(message.id, 1)] if hasattr(message, "id") else [])
        yield fake


def holder(server: Server, user: str, device: str) -> int:
    """The number of the client that the server says holds it; 0 = nobody does."""
    known = server.engine.users.get(user)
    found = known.devices.get(device) if known is not None else None
    return found.holder if found is not None and found.session is not None else 0


def number(client: Any) -> int:
    return int(client._connection.identity.instance)


class TestMoved:
    async def test_pages_that_move_while_their_backend_has_no_link_stay_online(self, server: Server) -> None:
        pages = [(f"u{n}", "tab") for n in range(100)]
        async with service(server) as b1, service(server) as b2, presenced.connect(url(server, "bob")) as bob:
            await b1.attach_many(pages)
            async with bob.watch(*[user for user, _ in pages]) as watch:
                await take(watch, 100)
                may_return = await away(b1, server)
                leaving = [asyncio.ensure_future(b1.detach(*page, lost=n % 2 == 0)) for n, page in enumerate(pages)]
                for page in pages:
                    await b2.attach(*page)
                may_return.set()
                await asyncio.gather(*leaving)
                assert await has_nothing(watch, b1, b2, bob)
            assert b1.attached == [] and sorted(b2.attached) == sorted(pages)
            assert not attachments_of(b1).leaving and not attachments_of(b1)._by_ref
            assert {holder(server, *page) for page in pages} == {number(b2)}

    async def test_what_was_let_go_without_a_link_and_has_not_moved_ends_on_the_next(self, server: Server) -> None:
        async with service(server) as b1, service(server) as b2:
            await b1.attach_many([("u1", "tab"), ("u2", "tab"), ("u3", "tab")])
            may_return = await away(b1, server)
            gone, lost = [asyncio.ensure_future(b1.detach(f"u{n}", "tab", lost=n == 2)) for n in (1, 2)]
            await asyncio.sleep(0)
            assert b1.attached == [("u3", "tab")]
            may_return.set()
            await asyncio.gather(gone, lost)
            devices = [(await b2.get_devices(f"u{n}"))[0].state for n in (1, 2, 3)]
            assert devices == ["gone", "grace", "connected"]

    async def test_a_backend_that_comes_back_leaves_what_has_moved_where_it_is(self, server: Server) -> None:
        told: list[Taken] = []
        async with service(server) as b1, service(server) as b2:
            b1.on_taken(told.append)
            await b1.attach_many([("u1", "tab"), ("u2", "tab")])
            may_return = await away(b1, server)
            await b2.attach("u1", "tab")
            may_return.set()
            await eventually(lambda: told)
            assert told == [Taken("u1", "tab", "replaced")] and b1.attached == [("u2", "tab")]
            assert (holder(server, "u1", "tab"), holder(server, "u2", "tab")) == (number(b2), number(b1))


class TestTaken:
    async def test_a_service_that_loses_a_device_is_told_and_says_so(self, server: Server) -> None:
        told: list[Taken] = []
        more: list[Taken] = []
        async with service(server) as b1, service(server) as b2:
            b1.on_taken(told.append)
            end = b1.on_taken(more.append)
            await b1.attach_many([("u1", "tab"), ("u2", "tab"), ("u3", "laptop")])
            end()
            await b2.attach("u1", "tab")
            async with presenced.connect(url(server, "u3")):
                await eventually(lambda: len(told) == 2)
            assert told == [Taken("u1", "tab", "replaced"), Taken("u3", "laptop", "replaced")] and more == []
            assert b1.attached == [("u2", "tab")]
            with pytest.raises(RequestError, match="on_taken"):
                b1.active("u1", "tab")
            await b1.detach("u1", "tab")
            with pytest.raises(RequestError, match="attach it first"):
                await b1.detach("u1", "tab")
            assert (await b2.get_status("u1")).status == "online" and b2.attached == [("u1", "tab")]
            await b2.detach("u1", "tab")
            assert (await b2.get_status("u1")).status == "offline", "the last one that closes it ends it"
            await b1.attach("u1", "tab")
            assert set(b1.attached) == {("u1", "tab"), ("u2", "tab")}

    async def test_what_it_was_late_for_it_attaches_again_by_itself(self, server: Server) -> None:
        told: list[Taken] = []
        async with service(server) as p, presenced.connect(url(server, "bob")) as bob, bob.watch("u1") as watch:
            p.on_taken(told.append)
            await take(watch, 1)
            await p.attach("u1", "tab")
            await take(watch, 1)
            device = server.engine.users["u1"].devices["tab"]
            server.engine.sessions.release(server.pacing.begin(), device, lost=True)
            await p.ping()
            await eventually(lambda: device.session is not None and attachments_of(p).get("u1", "tab").is_live)
            assert told == [] and p.attached == [("u1", "tab")] and await has_nothing(watch, p, bob)

    async def test_a_refusal_that_time_heals_is_asked_again_with_the_heartbeats(self, fake: FakeServer) -> None:
        plain, refusals = fake.answer, [True]

        def full(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, Attach) and message.as_was and refusals:
                refusals.clear()
                return [Error(message.id, "device_limit", "too many")]
            return plain(message)

        fake.answer = full
        async with of_fake(fake) as p:
            await p.attach("u1", "tab")
            await lose(p, fake.link.drop)
            await eventually(lambda: p.state == "connected" and p.attached == [])
            attachments_of(p).beats(reconnect_of(p).now_ms())
            await eventually(lambda: p.attached == [("u1", "tab")])

    async def test_one_that_does_not_heal_is_told(self, fake: FakeServer) -> None:
        plain = fake.answer

        def refuse(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, Attach) and message.as_was:
                return [Error(message.id, "bad_text", "not any more")]
            return plain(message)

        fake.answer = refuse
        told: list[Taken] = []
        async with of_fake(fake) as p:
            p.on_taken(told.append)
            await p.attach("u1", "tab")
            await lose(p, fake.link.drop)
            await eventually(lambda: told)
            assert told == [Taken("u1", "tab", "bad_text")] and p.attached == []


class TestAsItWas:
    async def test_a_reconnect_leaves_what_others_set_as_it_is(self, server: Server) -> None:
        alices = presenced.connect(url(server, "alice"))
        async with alices as alice, service(server) as app, service(server) as p, p.watch_all() as watch:
            await take(watch, 1)
            await app.attach("u1", "tab")
            async with p.watch_channel("general") as room:
                await alice.join("general")
                await app.join("u1", "tab", "general")
                await take(watch, 1)
                await take(room, 2)
                for user, device in (("alice", "laptop"), ("u1", "tab")):
                    await p.set_device(user, device, status="dnd", priority=4)
                    await p.leave(user, device, "general")
                await take(watch, 2)
                await take(room, 2)
                drop_links(server)
                for client in (alice, app, p):
                    await client.ping()
                await eventually(lambda: all(client.state == "connected" for client in (alice, app, p)))
                assert await has_nothing(watch, alice, app, p) and await has_nothing(room, alice, app, p)
            for user, device in (("alice", "laptop"), ("u1", "tab")):
                info = (await p.get_devices(user))[0]
                assert (info.device, info.status, info.priority) == (device, "dnd", 4)
            assert await p.count_online("general") == 0

    async def test_only_who_comes_back_says_so(self, fake: FakeServer) -> None:
        async with of_fake(fake) as p:
            await p.attach("u1", "tab")
            await p.join("u1", "tab", "general")
            await lose(p, fake.link.drop)
            await p.ping()
        assert (
            [hello.as_was for hello in fake.of(Hello)] == [hello.only_free for hello in fake.of(Hello)] == [False, True]
        )
        assert len({hello.instance for hello in fake.of(Hello)}) == 1 and fake.of(Hello)[0].instance > 0
        assert [(attach.as_was, attach.only_free) for attach in fake.of(Attach)] == [(False, False), (True, True)]
        assert [join.as_was for join in fake.of(Join)] == [False, True]

    async def test_a_user_whose_device_went_to_another_program_meanwhile_does_not_take_it_back(
        self, server: Server
    ) -> None:
        async with presenced.connect(url(server, "alice")) as first:
            may_return = await away(first, server)
            async with presenced.connect(url(server, "alice")) as second:
                may_return.set()
                await eventually(lambda: first.state == "closed")
                assert first.reason is not None and first.reason.code == "replaced" and second.state == "connected"
                await second.ping()


class TestCancelled:
    async def test_of_calls_that_are_cancelled_at_random_nothing_is_left_behind(self, server: Server) -> None:
        """Each pair may end after any number of turns of the loop, before and after its reply, with the link cut now
        and then. What is held afterwards is what the server holds, and it is only what a call has kept."""
        dice = random.Random(5)
        kept: dict[tuple[str, str], None] = {}

        async def life(p: Any, user: str) -> None:
            await p.attach(user, "tab")
            kept[user, "tab"] = None
            try:
                for _ in range(dice.randrange(3)):
                    await asyncio.sleep(0)
            finally:
                del kept[user, "tab"]
                await p.detach(user, "tab", lost=dice.random() < 0.5)

        async with service(server) as p, service(server) as other:
            for batch in range(40):
                lives = [asyncio.ensure_future(life(p, f"u{dice.randrange(30)}-{n}")) for n in range(50)]
                for one in lives:
                    if dice.random() < 0.8:
                        asyncio.get_running_loop().call_later(dice.random() * 0.01, one.cancel)
                if batch % 5 == 4:
                    reconnect_of(p)._link._transport.abort()
                done = await asyncio.gather(*lives, return_exceptions=True)
                assert all(one is None or isinstance(one, asyncio.CancelledError) for one in done)
            await eventually(lambda: p.state == "connected" and not attachments_of(p).leaving)
            await p.ping()
            assert (
                kept == {} and p.attached == [] and attachments_of(p).devices == {} and attachments_of(p)._by_ref == {}
            )
            held = [device for user in server.engine.users.values() for device in user.devices.values() if device.ref]
            assert held == [] and not other.attached
            await eventually(lambda: not session_of(p)._pending)

    @pytest.mark.parametrize("answered", [True, False])
    async def test_an_attach_that_is_cancelled_is_let_go_also_if_its_reply_was_there(
        self, server: Server, answered: bool
    ) -> None:
        async with service(server) as p:
            call = asyncio.ensure_future(p.attach("u1", "tab"))
            await asyncio.sleep(0)
            if answered:
                await eventually(lambda: attachments_of(p).get("u1", "tab").is_granted)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
            await eventually(lambda: not attachments_of(p).leaving)
            await p.ping()
            if not call.cancelled():
                # It had come to its end before.
                await p.detach("u1", "tab")
            assert p.attached == [] and server.engine.users["u1"].devices["tab"].state != CONNECTED

    async def test_one_of_two_that_attach_the_same_is_cancelled_and_the_other_has_it(self, server: Server) -> None:
        async with service(server) as p:
            calls = [asyncio.ensure_future(p.attach("u1", "tab")) for _ in range(2)]
            await asyncio.sleep(0)
            calls[0].cancel()
            await calls[1]
            assert p.attached == [("u1", "tab")] and holder(server, "u1", "tab") == number(p)
            await p.detach("u1", "tab")
            assert (await p.get_status("u1")).status == "offline"

    async def test_an_attach_without_a_link_that_is_cancelled_was_never_there(self, fake: FakeServer) -> None:
        async with of_fake(fake) as p:
            await p.attach("u1", "tab")
            may_return = await away(p, None)  # type: ignore[arg-type]
            leaving = asyncio.ensure_future(p.detach("u1", "tab", lost=True))
            call = asyncio.ensure_future(p.attach("u1", "tab"))
            await asyncio.sleep(0.001)
            call.cancel()
            await asyncio.wait({call})
            may_return.set()
            await leaving
            await p.ping()
        assert [(message.lost, message.user) for message in fake.of(Detach)] == [(True, "u1")]
        assert len(fake.of(Attach)) == 1

    async def test_a_page_that_is_lost_and_back_within_the_outage_is_not_let_go(self, fake: FakeServer) -> None:
        async with of_fake(fake) as p:
            await p.attach("u1", "tab")
            may_return = await away(p, None)  # type: ignore[arg-type]
            leaving = asyncio.ensure_future(p.detach("u1", "tab", lost=True))
            call = asyncio.ensure_future(p.attach("u1", "tab"))
            await asyncio.sleep(0.001)
            may_return.set()
            await asyncio.gather(leaving, call)
            assert p.attached == [("u1", "tab")]
        assert fake.of(Detach) == []

    async def test_a_cancelled_set_device_is_kept_if_the_server_has_it(self, fake: FakeServer) -> None:
        plain = fake.answer
        fake.answer = lambda message: [] if isinstance(message, SetDevice) else plain(message)
        async with of_fake(fake) as p:
            await p.attach("u1", "tab")
            call = asyncio.ensure_future(p.set_device_status("u1", "tab", "dnd"))
            await fake.until(lambda: fake.of(SetDevice))
            call.cancel()
            fake.link.send(Done(fake.of(SetDevice)[0].id, 1))
            await p.ping()
            assert attachments_of(p).get("u1", "tab").status == "dnd"

    async def test_a_detach_that_waits_when_the_client_is_closed_says_so(self, fake: FakeServer) -> None:
        async with of_fake(fake) as p:
            await p.attach("u1", "tab")
            await away(p, None)  # type: ignore[arg-type]
            leaving = asyncio.ensure_future(p.detach("u1", "tab"))
            await asyncio.sleep(0.001)
        with pytest.raises(ConnectionLost, match="closed"):
            await leaving


class TestAtOnce:
    async def test_a_detach_ends_an_attach_that_waits_for_a_link(self, fake: FakeServer) -> None:
        """Whoever comes later wins, and the other call is told."""
        async with of_fake(fake) as p:
            may_return = await away(p, None)  # type: ignore[arg-type]
            call = asyncio.ensure_future(p.attach("u1", "tab"))
            await asyncio.sleep(0.001)
            leaving = asyncio.ensure_future(p.detach("u1", "tab"))
            with pytest.raises(RequestError, match="while it was being attached"):
                await call
            may_return.set()
            await leaving
            await p.ping()
            assert p.attached == [] and not attachments_of(p)._by_ref
        assert fake.of(Attach) == []

    async def test_a_description_given_without_a_link_is_told_on_the_next_and_channels_follow(
        self, server: Server
    ) -> None:
        async with service(server) as p, service(server) as other:
            await p.attach("u1", "tab")
            await p.join("u1", "tab", "general")
            may_return = await away(p, server)
            await other.attach("u1", "tab")
            await other.detach("u1", "tab")
            call = asyncio.ensure_future(p.attach("u1", "tab", status="dnd"))
            await asyncio.sleep(0.001)
            await other.attach("u1", "tab")
            may_return.set()
            await call
            await p.ping()
            assert p.attached == [("u1", "tab")] and holder(server, "u1", "tab") == number(p)
            assert (await p.get_status("u1")).status == "dnd"
            assert await p.count_online("general") == 1
