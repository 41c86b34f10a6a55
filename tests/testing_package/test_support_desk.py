"""A support desk with routing and on-duty times, tested as its author would: over a working week."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from presenced.testing import TestServer
from tests.testing_package.applications.support_desk import Desk, Ticket

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
MONDAY = datetime(2026, 3, 2, 7, 30, tzinfo=BERLIN)


@asynccontextmanager
async def desk_on(server: TestServer) -> AsyncIterator[Desk]:
    """Anna works in Berlin, and Bob in New York."""
    presence = await server.connect_service("desk")
    desk = Desk(presence, ["anna", "bob"], "manager")
    await desk.hire("anna", "Europe/Berlin", ("mon-fri", "08:00", "16:00"))
    await desk.hire("bob", "America/New_York", ("mon-fri", "08:00", "16:00"))
    yield desk


async def test_a_ticket_of_the_early_morning_waits_for_who_comes_on_duty() -> None:
    async with TestServer(now=MONDAY, heartbeat="4m") as server, desk_on(server) as desk:
        anna = await server.connect("anna", idle=None)
        assert await server.status_of("anna") == "online"
        await server.advance_to(datetime(2026, 3, 2, 18, 0, tzinfo=BERLIN))
        assert await server.status_of("anna") == "dnd"
        await server.advance_to(datetime(2026, 3, 3, 7, 30, tzinfo=BERLIN))
        ticket = Ticket("printer")
        work = asyncio.create_task(desk.work(ticket))
        await server.advance(minutes=29)
        assert ticket.agent == ""
        await server.advance(minutes=1)
        assert ticket.agent == "anna"
        ticket.answered.set()
        assert await work == "anna"
        await anna.close()


async def test_a_ticket_moves_on_from_who_has_gone_to_lunch() -> None:
    async with TestServer(now=datetime(2026, 3, 3, 10, 0, tzinfo=NEW_YORK)) as server, desk_on(server) as desk:
        await server.connect("anna")
        bob = await server.connect("bob", idle=None)
        ticket = Ticket("printer")
        work = asyncio.create_task(desk.work(ticket))
        await server.settle()
        assert ticket.agent == "bob", "in Berlin it is four in the afternoon"
        await bob.set_status("away", until=3600)
        await server.advance(minutes=9)
        assert ticket.agent == "bob"
        await bob.clear()
        await server.advance(minutes=11)
        assert ticket.trail == ["bob"], "back in time"
        await bob.close()
        await server.advance(minutes=10)
        assert ticket.trail == ["bob"]
        await server.advance(minutes=29, seconds=59)
        assert not work.done() and ticket.agent == "bob"
        await server.advance(1)
        assert ticket.trail == ["bob", "manager"], "an hour after it came nobody else was there"
        ticket.answered.set()
        assert await work == "manager"


async def test_tickets_are_shared_among_those_who_are_there() -> None:
    async with TestServer(now=datetime(2026, 3, 3, 9, 0, tzinfo=NEW_YORK)) as server, desk_on(server) as desk:
        for agent in desk.agents:
            await server.connect(agent, idle=None)
        await desk.hire("anna", "Europe/Berlin", ("mon-fri", "08:00", "22:00"))
        tickets = [Ticket(name) for name in ("printer", "screen", "keyboard", "mouse")]
        tasks = []
        for ticket in tickets:
            tasks.append(asyncio.create_task(desk.work(ticket)))
            await server.settle()
        assert [ticket.agent for ticket in tickets] == ["anna", "bob", "anna", "bob"]
        for ticket in tickets:
            ticket.answered.set()
        assert await asyncio.gather(*tasks) == ["anna", "bob", "anna", "bob"]


async def test_the_desk_goes_on_over_a_restart_of_the_server() -> None:
    async with TestServer(now=datetime(2026, 3, 3, 9, 0, tzinfo=NEW_YORK)) as server, desk_on(server) as desk:
        ticket = Ticket("printer")
        work = asyncio.create_task(desk.work(ticket))
        await server.advance(minutes=10)
        await server.kill()
        await server.advance(minutes=1)
        server.start()
        await server.advance(minutes=1)
        await server.connect("bob", idle=None)
        await server.settle()
        assert ticket.agent == "bob"
        ticket.answered.set()
        assert await work == "bob"


async def test_a_week_of_duty_is_as_it_was_planned() -> None:
    async with TestServer(now=MONDAY, heartbeat="4m") as server, desk_on(server):
        await server.connect("anna", idle=None)
        await server.advance(days=5)
        told = [(f"{change.at.astimezone(BERLIN):%a %H:%M}", change.new) for change in server.history("anna")]
    assert told == [
        ("Mon 07:30", "online"),
        ("Mon 16:00", "dnd"),
        ("Tue 08:00", "online"),
        ("Tue 16:00", "dnd"),
        ("Wed 08:00", "online"),
        ("Wed 16:00", "dnd"),
        ("Thu 08:00", "online"),
        ("Thu 16:00", "dnd"),
        ("Fri 08:00", "online"),
        ("Fri 16:00", "dnd"),
    ]


async def test_what_the_desk_was_told_in_utc_is_what_berlin_reads() -> None:
    async with TestServer(now=MONDAY) as server:
        assert server.now == MONDAY and server.now.tzinfo is UTC
