"""A client inside of the process: it is served as a link is, and told of everything later than it asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from presenced import limits
from presenced.config.settings import Settings
from presenced.errors import ProtocolError
from presenced.server.identity import Identity
from presenced.server.local_link import LocalLink
from presenced.server.server import Server
from presenced.wire.messages import (
    Attach,
    Bye,
    Done,
    Error,
    Get,
    Goodbye,
    Hello,
    Ping,
    Pong,
    Presence,
    Records,
    ServerMessage,
    SetStatus,
    Watch,
    Welcome,
)
from tests.support.until import PATIENCE_S


class Program:
    """What a program in the process is told."""

    def __init__(self, server: Server, name: str = "backend", rate: int = 0) -> None:
        self.told: list[ServerMessage] = []
        self.goodbyes: list[Goodbye] = []
        self._news = asyncio.Event()
        identity = Identity(name, "service", 0)
        hello = Hello([1], "", name, "", role="service")
        self.link = LocalLink.open(
            server.admission, hello, identity, receive=self._receive, closed=self._closed, peer="a test"
        )
        assert not self.told, "nothing is told inside of the call"

    def _receive(self, message: ServerMessage) -> None:
        self.told.append(message)
        self._news.set()

    def _closed(self, goodbye: Goodbye) -> None:
        self.goodbyes.append(goodbye)
        self._news.set()

    async def hear(self, kind: type[ServerMessage], count: int = 1) -> list[ServerMessage]:
        async with asyncio.timeout(PATIENCE_S):
            while len(found := [one for one in self.told if type(one) is kind]) < count and not self.goodbyes:
                self._news.clear()
                await self._news.wait()
        return found

    async def end(self) -> Goodbye:
        async with asyncio.timeout(PATIENCE_S):
            while not self.goodbyes:
                self._news.clear()
                await self._news.wait()
        return self.goodbyes[0]


@asynccontextmanager
async def serving(**settings: object) -> AsyncIterator[Server]:
    server = Server(Settings(**({"dev": True, "listen": "127.0.0.1:0", "check": True} | settings)))  # type: ignore[arg-type]
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
        assert not server.links


async def test_it_is_welcomed_answered_and_told_as_a_link_is() -> None:
    async with serving() as server:
        one, other = Program(server), Program(server, "other")
        one.link.ask(Watch(1, ["bob"]))
        await one.hear(Records)
        assert type(one.told[0]) is Welcome and one.told[0].role == "service"
        other.link.ask(SetStatus(1, "dnd", user="bob", text="x"))
        assert (await other.hear(Done)) == [Done(1, server.engine.ledger.version)]
        other.link.ask(Get(2, ["bob"]))
        await other.hear(Records)
        assert server.links.roles["service"] == 2
        assert [one.peer for one in server.links] == ["a test", "a test"]


async def test_what_is_asked_from_within_an_answer_is_served() -> None:
    async with serving() as server:
        program = Program(server)
        count = 0

        def ask_again(message: ServerMessage) -> None:
            nonlocal count
            if type(message) in (Welcome, Pong) and count < 50:
                count += 1
                program.link.ask(Ping(count))

        receive = program.link._receive
        program.link._receive = lambda message: (receive(message), ask_again(message))
        assert len(await program.hear(Pong, 50)) == 50


async def test_bye_and_leaving_end_it_once_each() -> None:
    async with serving() as server:
        polite, rude = Program(server), Program(server, "rude")
        await polite.hear(Welcome)
        polite.link.ask(Ping(7))
        polite.link.ask(Bye())
        assert await polite.end() == Goodbye("", "") and type(polite.told[-1]) is Pong
        rude.link.leave()
        rude.link.leave()
        rude.link.ask(Ping(1))
        assert await rude.end() == Goodbye("", "")
        await asyncio.sleep(0)
        assert len(polite.goodbyes) == len(rude.goodbyes) == 1
        assert not server.links


async def test_a_stop_says_goodbye() -> None:
    async with serving() as server:
        program = Program(server)
        await program.hear(Welcome)
        await server.stop()
        assert (await program.end()).code == "going_away"


async def test_no_room_is_raised() -> None:
    async with serving(max_links=1) as server:
        Program(server)
        with pytest.raises(ProtocolError) as caught:
            Program(server, "other")
        assert caught.value.code == "busy" and caught.value.retry_ms


async def test_over_the_rate_it_waits_and_all_is_answered() -> None:
    async with serving(rate=1_000) as server:
        program = Program(server)
        await program.hear(Welcome)
        held = False
        for number in range(4_500):
            program.link.ask(Ping(number + 1))
            held = held or program.link.is_held
        assert held
        await program.hear(Pong, 4_500)
        assert [one.id for one in program.told if type(one) is Pong] == list(range(1, 4_501))
        assert not program.link.is_held


async def test_who_takes_nothing_is_told_the_latest_afterwards() -> None:
    async with serving() as server:
        one, other = Program(server), Program(server, "other")
        other.link.ask(Attach(99, 1, "bob", "desk"))
        await other.hear(Done)
        one.link.ask(Watch(1, ["bob"]))
        await one.hear(Records)
        one.link.hold()
        for number in range(5):
            other.link.ask(SetStatus(number + 1, ("away", "dnd")[number % 2], user="bob"))
            await other.hear(Done, number + 2)
        assert not [message for message in one.told if type(message) is Presence]
        one.link.take_on()
        (told,) = await one.hear(Presence)
        assert isinstance(told, Presence) and told.record.status == "away"


async def test_a_request_that_is_too_large_is_refused_by_a_goodbye() -> None:
    async with serving() as server:
        program = Program(server)
        await program.hear(Welcome)
        program.link.ask(Get(1, ["x" * 300] * (limits.FRAME_BYTES_MAX // 256)))
        assert (await program.end()).code == "frame_too_large"


async def test_bad_requests_are_answered() -> None:
    async with serving() as server:
        program = Program(server)
        program.link.ask(Get(1, ["a b"]))
        program.link.ask(Get(2, []))
        assert [(one.id, one.code) for one in await program.hear(Error, 2) if isinstance(one, Error)] == [
            (1, "bad_name"),
            (2, "bad_request"),
        ]
