"""Events under a name, and what was, against the real server."""

from __future__ import annotations

from datetime import timedelta

import pytest

import presenced
from presenced.errors import AddressError, PresenceError
from tests.client.helpers import running, service, take


async def test_a_named_reader_goes_on_behind_what_was_handled() -> None:
    async with running() as server, service(server) as p:
        async with p.events(name="index") as events:
            await p.set_text("u1", "a")
            await p.set_text("u1", "b")
            await p.set_text("u1", "c")
            assert [event.new for event in await take(events, 3)] == ["a", "b", "c"]
        (info,) = await p.followers()
        assert (info.name, info.behind) == ("index", 1), "the last one was not asked to be acknowledged"
        async with p.events(name="index") as events:
            (again,) = await take(events, 1)
            assert again.new == "c"
            events.acknowledge()
            with pytest.raises(AddressError):
                await p.events().start()
        assert [info.behind for info in await p.followers()] == [0]
        await p.forget_follower("index")
        assert await p.followers() == []


async def test_another_client_takes_the_name() -> None:
    async with running() as server, service(server) as first, service(server) as second:
        async with first.events(name="index") as events, second.events(name="index"):
            with pytest.raises(PresenceError) as raised:
                await take(events, 1)
            assert raised.value.code == "follower_replaced"


async def test_what_was_is_asked_for_page_by_page() -> None:
    async with running() as server, service(server) as p:
        for number in range(150):
            await p.set_text("u1", str(number))
        found = await p.history("u1", since=timedelta(hours=1))
        assert [event.new for event in found.events] == [str(number) for number in range(150)] and found.is_whole
        some = await p.history("u1", limit=70)
        assert len(some.events) == 70 and not some.is_whole
        assert (await p.history("u1", until=timedelta(hours=1))).events == []
        assert isinstance(found, presenced.UserHistory) and found.begins_ms
        with pytest.raises(presenced.AddressError, match="since is later than until"):
            await p.history("u1", timedelta(hours=1), timedelta(hours=2))
