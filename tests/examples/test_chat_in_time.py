"""The chat over minutes and hours, in this process and on a virtual clock (`presenced.testing`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from presenced.examples.chat import HELP, Chat
from presenced.testing import TestServer


class Person:
    """Somebody at nc, over a real socket on the same loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def says(self, line: str) -> None:
        self.writer.write(f"{line}\n".encode())
        await self.writer.drain()

    async def reads(self, *lines: str) -> None:
        """Exactly these come next."""
        assert [(await self.reader.readline()).decode().removesuffix("\n") for _ in lines] == [*lines]


class Stage:
    """A server, a chat on it, and who calls."""

    def __init__(self, server: TestServer, port: int) -> None:
        self.server = server
        self.port = port
        self.people: list[Person] = []

    async def call(self, first_line: str, *lines: str) -> Person:
        person = Person(*await asyncio.open_connection("127.0.0.1", self.port))
        self.people.append(person)
        await person.reads("Your name?")
        await person.says(first_line)
        await person.reads(*lines, HELP)
        return person


@asynccontextmanager
async def stage(**options: Any) -> AsyncIterator[Stage]:
    async with TestServer(check=True, patience_s=1, **options) as server:
        presence = await server.connect_service("chat")
        tasks: Any = asyncio.get_running_loop()
        listener = await asyncio.start_server(Chat(presence, tasks).connected, "127.0.0.1", 0)
        made = Stage(server, listener.sockets[0].getsockname()[1])
        yield made
        listener.close()
        for person in made.people:
            person.writer.close()
            # The chat has read the end of it once it closes its own.
            while await person.reader.readline():
                pass
        await server.settle()


async def test_who_says_nothing_for_five_minutes_is_shown_as_away() -> None:
    async with stage() as on:
        alice = await on.call("alice", "* lobby has 1 online: alice (online)")
        bob = await on.call("bob", "* lobby has 2 online: alice (online), bob (online)")
        await alice.reads("* bob comes")
        await on.server.advance(minutes=4)
        await bob.says("still here?")
        await alice.reads("<bob> still here?")
        await on.server.advance(minutes=1)
        await bob.reads("<bob> still here?", "* alice is away")
        await alice.says("/presence away for 30m")
        await on.server.advance(minutes=31)
        assert on.server.statuses_of("alice")[:2] == ["online", "away"]


async def test_a_connection_that_is_cut_is_waited_for() -> None:
    async with stage(grace="15s") as on:
        alice = await on.call("alice/pc", "* lobby has 1 online: alice (online)")
        bob = await on.call("bob", "* lobby has 2 online: alice (online), bob (online)")
        for is_back in (True, False):
            alice.writer.close()
            while await alice.reader.readline():
                pass
            await on.server.advance(14)
            assert await on.server.status_of("alice") == "online"
            if is_back:
                alice = await on.call("alice/pc", "* lobby has 2 online: alice (online), bob (online)")
        await on.server.advance(1)
        await bob.reads("* alice goes")
        assert on.server.history("alice")[-1].reason == "lost"


async def test_people_see_nothing_of_a_server_that_is_killed() -> None:
    async with stage() as on:
        alice = await on.call("alice", "* lobby has 1 online: alice (online)")
        await on.call("bob", "* lobby has 2 online: alice (online), bob (online)")
        await alice.reads("* bob comes")
        await on.server.kill()
        await on.server.advance(5)
        on.server.start()
        await on.server.advance(minutes=2)
        await alice.says("hello")
        await alice.reads("<alice> hello")
        assert on.server.statuses_of("bob") == ["online"]
