"""The questions where notifications go, by a client and the real server over TCP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

import presenced
import presenced.sync
from presenced.errors import AddressError, ProtocolError, RequestError
from presenced.limits import ROUTED_DEVICES_MAX
from presenced.server.server import Server
from presenced.wire.messages import Route, RouteInfo, Routes
from tests.client.fake_server import fake_server
from tests.client.helpers import running, service, url


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running() as server:
        yield server


async def test_of_one_of_many_and_of_oneself(server: Server) -> None:
    async with presenced.connect(url(server, "bob"), meta="token") as bob, service(server) as p:
        found = await p.route("bob", urgency="high")
        assert (found.verdict, found.reason, found.devices[0].meta) == ("now", "carried", "token")
        bob.active()
        await bob.ping()
        found = await p.route("bob", urgency="high")
        assert (found.verdict, found.reason, found.devices[0].meta) == ("now", "in_use", "token")
        assert await bob.route(urgency="high") == found
        bob.set_focus("general")
        await bob.ping()
        assert (await p.route("bob", about="general")).reason == "reading"
        several = await p.routes(["nobody", "bob"], urgency="low")
        assert [(user, route.reason) for user, route in several.items()] == [("nobody", "unknown"), ("bob", "low")]
        assert await p.routes([]) == {}


async def test_more_than_one_answer_holds_are_asked_for_again(server: Server) -> None:
    async with service(server) as p:
        names = [f"u{number}" for number in range(ROUTED_DEVICES_MAX // 10 + 40)]
        await p.attach_many([(name, f"d{number}") for name in names for number in range(10)])
        found = await p.routes(names)
        assert list(found) == names and {len(one.devices) for one in found.values()} == {10}


async def test_what_is_refused(server: Server) -> None:
    async with presenced.connect(url(server, "bob")) as bob, service(server) as p:
        with pytest.raises(RequestError, match="how to notify 'alice'"):
            await presenced.client.route_acts.RouteActs(bob._exchange).route("alice")  # type: ignore[attr-defined]
        with pytest.raises(AddressError, match="not an urgency"):
            await bob.route(urgency="loud")  # type: ignore[arg-type]
        with pytest.raises(AddressError, match="focus name"):
            await p.route("bob", about="a b")
        with pytest.raises(AddressError):
            await p.route("")
        with pytest.raises(AddressError, match="give a list"):
            await p.routes("bob")


async def test_a_server_that_answers_something_else_is_an_error_and_no_loop() -> None:
    async with fake_server() as fake:
        answers: list[list[RouteInfo]] = [[], [RouteInfo("eve", "none", "unknown", 0, 0, [])]]
        plainly = fake.plainly
        fake.answer = lambda message: (
            [Routes(message.id, answers.pop(0))] if isinstance(message, Route) else plainly(message) or []
        )
        async with presenced.connect_service(fake.url("chat", "")) as p:
            for _ in range(2):
                with pytest.raises(ProtocolError, match="routes to others"):
                    await p.routes(["bob"])


async def test_without_await(server: Server) -> None:
    def work() -> tuple[str, str]:
        with presenced.sync.connect(url(server, "bob"), meta="m") as bob:
            bob.set_focus("general")
            bob.active()
            bob.ping()
            return bob.route(about="general").reason, bob.route().reason

    import asyncio

    assert await asyncio.to_thread(work) == ("reading", "in_use")
