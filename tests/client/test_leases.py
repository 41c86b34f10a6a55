"""A service's leases and graces of its own, and what it is told of the devices that it loses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest

import presenced
from presenced.client.protocol.attachments import Attachments
from presenced.client.values import Taken, lasting_ms
from presenced.errors import AddressError, ConnectionLost, RequestError
from presenced.limits import DURATION_MS_MAX
from presenced.server.server import Server
from presenced.wire.messages import Attach, Detach, Done, Error
from tests.client.fake_server import FakeServer, fake_server, of_fake
from tests.client.helpers import attachments_of, away, reconnect_of, running, service, take, url
from tests.support.until import eventually

TAB = ("u1", "tab")


@pytest.fixture(autouse=True)
def quick_return(monkeypatch: pytest.MonkeyPatch) -> None:
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


async def state(p: Any, user: str = "u1") -> str:
    return str((await p.get_devices(user))[0].state)


class TestLeases:
    async def test_a_device_with_a_lease_outlives_its_program_and_then_is_gone(self, server: Server) -> None:
        async with service(server) as p, service(server) as other:
            before_ms = other.server_time_ms
            await p.attach(*TAB, for_at_most=timedelta(seconds=0.8))
            until_ms = (await other.get_devices("u1"))[0].lease_until_ms
            assert 700 <= until_ms - before_ms <= 3_000
            await p.close()
            assert await state(other) == "grace"
            await eventually_gone(other)
            record = await other.get_status("u1")
            assert -5 <= record.since_ms - until_ms <= 500

    async def test_the_end_of_a_lease_is_told_and_the_device_is_not_attached_again(self, server: Server) -> None:
        told: list[Taken] = []
        async with service(server) as p, service(server) as other:
            p.on_taken(told.append)
            await p.attach(*TAB, for_at_most=0.2)
            assert p.attached == [TAB]
            await eventually(lambda: told)
            assert told == [Taken(*TAB, "ended")] and p.attached == []
            assert await state(other) == "gone"
            await p.detach(*TAB)
            with pytest.raises(RequestError, match="attach it first"):
                await p.detach(*TAB)

    async def test_a_lost_link_does_not_renew_a_lease(self, server: Server) -> None:
        async with service(server) as p, service(server) as other:
            await p.attach(*TAB, for_at_most=60)
            until_ms = (await other.get_devices("u1"))[0].lease_until_ms
            may_return = await away(p)
            assert await state(other) == "grace"
            may_return.set()
            await p.ping()
            (device,) = await other.get_devices("u1")
            assert device.state == "connected" and abs(device.lease_until_ms - until_ms) <= 1
            await p.attach(*TAB, for_at_most=120)
            assert (await other.get_devices("u1"))[0].lease_until_ms > until_ms
            await p.attach(*TAB)
            assert (await other.get_devices("u1"))[0].lease_until_ms == 0

    async def test_a_lease_that_ends_while_there_is_no_link_is_told_then(self, server: Server) -> None:
        async with service(server) as p:
            await p.attach(*TAB, for_at_most=0.1)
            await p.attach("u2", "tab")
            may_return = await away(p)
            async with p.losses() as losses:
                await eventually(lambda: attachments_of(p).devices[TAB].is_over(reconnect_of(p).now_ms()))
                may_return.set()
                assert await take(losses, 1) == [Taken(*TAB, "ended")]
            assert p.attached == [("u2", "tab")]

    async def test_a_lease_that_ends_while_the_server_refuses_the_device_is_told_and_it_is_not_asked_for_again(
        self, fake: FakeServer
    ) -> None:
        fake.welcome = msgspec.structs.replace(fake.welcome, heartbeat_ms=20)
        async with of_fake(fake) as p, p.losses() as losses:
            await p.attach(*TAB, for_at_most=0.2)
            plainly = fake.answer
            fake.answer = lambda message: (
                [Error(message.id, "memory_low", "no", 10)] if isinstance(message, Attach) else plainly(message)
            )
            fake.link.drop()
            assert await take(losses, 1) == [Taken(*TAB, "ended")]
            asked = len(fake.of(Attach))
            assert asked > 1 and all(one.as_was for one in fake.of(Attach)[1:])
            await p.ping()
            assert len(fake.of(Attach)) == asked and p.attached == []

    async def test_what_is_asked_for_without_a_link_has_the_rest_of_its_time(self, fake: FakeServer) -> None:
        async with of_fake(fake) as p:
            await p.attach("u9", "tab", for_at_most=90)
            may_return, begun_ms = await away(p), reconnect_of(p).now_ms()
            attaching = asyncio.ensure_future(p.attach(*TAB, for_at_most=60))
            leaving = asyncio.ensure_future(p.detach("u9", "tab", within=60))
            await eventually(lambda: reconnect_of(p).now_ms() - begun_ms > 50)
            may_return.set()
            await asyncio.gather(attaching, leaving)
            (attach,) = [one for one in fake.of(Attach) if one.user == "u1"]
            (detach,) = fake.of(Detach)
            assert 55_000 < attach.for_at_most_ms <= 59_960 and detach.within_ms is not None
            assert 55_000 < detach.within_ms <= 59_960 and not detach.lost


class TestWithin:
    async def test_a_device_is_in_a_grace_of_its_own_and_gone_after_it(self, server: Server) -> None:
        async with service(server) as p, service(server) as other:
            await p.attach_many([TAB, ("u2", "tab"), ("u3", "tab")])
            await p.detach(*TAB, within=0.2)
            await p.detach("u2", "tab", within=timedelta(minutes=5))
            await p.detach("u3", "tab", within=0)
            assert [await state(other, f"u{number}") for number in (2, 3)] == ["grace", "gone"]
            await eventually_gone(other)
            assert await state(other, "u2") == "grace"


class TestLosses:
    async def test_a_service_whose_beats_come_late_is_told_and_has_the_device_back(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        silent, beats = [True], Attachments.beats
        monkeypatch.setattr(Attachments, "beats", lambda self, now_ms: [] if silent else beats(self, now_ms))
        taken: list[Taken] = []
        async with running(heartbeat_ms=60, grace_ms=60_000) as server, service(server) as p:
            p.on_taken(taken.append)
            async with p.losses() as losses:
                await p.attach(*TAB)
                assert await take(losses, 1) == [Taken(*TAB, "lost")]
                silent.clear()
                await p.ping()
            assert taken == [] and p.attached == [TAB] and await state(p) == "connected"

    async def test_losses_are_told_in_order_with_the_latest_of_each_device(self, server: Server) -> None:
        async with service(server) as p, service(server) as other, p.losses() as losses:
            await p.attach_many([TAB, ("u2", "laptop"), ("u3", "tab")])
            await other.attach(*TAB)
            async with presenced.connect(url(server, "u2")):
                await other.kick("u3")
                await p.ping()
                told = await take(losses, 3)
            assert told == [Taken(*TAB, "replaced"), Taken("u2", "laptop", "replaced"), Taken("u3", "tab", "kicked")]
            assert [one.is_over for one in told] == [True] * 3 and not Taken(*TAB, "lost").is_over
            await p.attach(*TAB)
            await other.attach(*TAB)
            await p.ping()
            await p.attach(*TAB)
            await other.attach(*TAB)
            await p.ping()
            assert await take(losses, 1) == [Taken(*TAB, "replaced")]
            assert losses._feed.take() is None

    async def test_the_stream_ends_with_the_client(self, server: Server) -> None:
        async with service(server) as p:
            losses = p.losses()
            await losses.start()
        assert [one async for one in losses] == []
        async with service(server) as p:
            pass
        with pytest.raises(ConnectionLost):
            await p.losses().start()


class TestBadInput:
    @pytest.mark.parametrize("lasting", [0, -1, float("nan"), float("inf"), DURATION_MS_MAX, timedelta(0)])
    async def test_a_lease_of_no_time_or_for_ever_is_refused_before_anything_is_sent(
        self, fake: FakeServer, lasting: Any
    ) -> None:
        async with of_fake(fake) as p:
            with pytest.raises(AddressError, match="no duration of more than 0 and up to 366 days"):
                await p.attach(*TAB, for_at_most=lasting)
            assert not fake.of(Attach) and p.attached == []

    @pytest.mark.parametrize("within", [-0.001, float("nan"), DURATION_MS_MAX])
    async def test_so_is_a_grace(self, fake: FakeServer, within: Any) -> None:
        async with of_fake(fake) as p:
            await p.attach(*TAB)
            with pytest.raises(AddressError, match="no duration of 0 or more and up to 366 days"):
                await p.detach(*TAB, within=within)
            assert not fake.of(Detach) and p.attached == [TAB]

    def test_the_bounds(self) -> None:
        assert lasting_ms(0.0001) == 1 and lasting_ms(0, or_none=True) == 0
        assert lasting_ms(timedelta(days=366)) == DURATION_MS_MAX

    @pytest.mark.parametrize("lasting", [None, "10", True])
    def test_other_types_are_named(self, lasting: Any) -> None:
        with pytest.raises(AddressError, match=f"of type {type(lasting).__name__}; give a number of seconds"):
            lasting_ms(lasting)


async def eventually_gone(p: Any, user: str = "u1") -> None:
    async with asyncio.timeout(10):
        while await state(p, user) != "gone":
            await asyncio.sleep(0.02)
