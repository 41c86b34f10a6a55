"""A service that watches everybody and comes back: what has changed since its position is told, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

import presenced
from presenced.server.server import Server
from presenced.wire.messages import (
    Check,
    Checked,
    ClientMessage,
    Done,
    Error,
    Get,
    Position,
    Presence,
    Record,
    Records,
    ServerMessage,
    WatchAll,
    Who,
    WhoPage,
)
from tests.client.fake_server import FakeServer, fake_server
from tests.client.helpers import away, connection_of, lose, running, service, take
from tests.support.until import eventually

EPOCH = 7


@pytest.fixture(autouse=True)
def quick_return(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.client.protocol.backoff.BASE_MS", 1)
    monkeypatch.setattr("presenced.client.protocol.backoff.CAP_MS", 1)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running() as server:
        yield server


def position_of(p: Any) -> tuple[int, int] | None:
    found: tuple[int, int] | None = connection_of(p).everyone._position
    return found


async def placed(p: Any) -> None:
    """Wait until the client has a position of now: of another millisecond than all that was said before."""
    before = connection_of(p).exchange.server_time_ms
    await eventually(lambda: connection_of(p).exchange.server_time_ms > before + 1)
    known = position_of(p)
    connection_of(p).everyone.beat()
    await eventually(lambda: position_of(p) not in (None, known))


def record(user: str, status: str, version: int, text: str = "") -> Record:
    return Record(user, status, text, "", 1_000, 0, "tab", version)  # type: ignore[arg-type]


class Everybody:
    """What the fake server tells of everybody."""

    def __init__(self, fake: FakeServer) -> None:
        self.fake = fake
        self.records: dict[str, Record] = {}
        self.changed: list[Record] = []
        """What is told for a position."""
        self.reset = False
        self.version = 100
        self.refusal = ""
        self.gives_positions = True
        fake.answer = self.answer

    def answer(self, message: ClientMessage) -> list[ServerMessage]:
        match message:
            case WatchAll(epoch=0):
                return [Done(message.id, self.version)]
            case WatchAll() if self.refusal:
                return [Error(message.id, self.refusal, "no")]
            case WatchAll():
                told: list[ServerMessage] = [] if self.reset else [Presence(one) for one in self.changed]
                return [*told, Position(message.id, EPOCH, self.version, self.reset)]
            case Who():
                online = [one for one in self.records.values() if one.status != "offline"]
                return [WhoPage(message.id, EPOCH, self.version, len(online), "", online)]
            case Get():
                found = [self.records.get(user, Record(user, "offline", "", "", 0, 0, "", 0)) for user in message.users]
                return [Records(message.id, EPOCH, self.version, found)]
            case Check():
                return [Checked(message.id, EPOCH if self.gives_positions else 0, self.version, 0, 0)]
        return self.fake.plainly(message)

    def asked(self) -> list[str]:
        """What was asked since the last call, but for heartbeats and hellos."""
        names = [type(one).__name__ for one in self.fake.received]
        self.fake.received.clear()
        return [name for name in names if name in ("WatchAll", "Who", "Get", "Check")]


@pytest.fixture
async def fake() -> AsyncIterator[FakeServer]:
    async with fake_server() as fake:
        yield fake


class TestOnTheRealServer:
    async def test_only_who_has_changed_is_told_and_yielded(self, server: Server) -> None:
        async with service(server) as app, service(server) as p, p.watch_all() as watch:
            await app.attach_many([(f"u{number}", "tab") for number in range(20)])
            await eventually(lambda: len(watch.records) == 20)
            await take(watch, 20)
            await placed(p)
            told_before = server.engine.outboxes.deliveries
            may_return = await away(p)
            await app.set_status("u3", "dnd")
            await app.detach("u4", "tab")
            may_return.set()
            changes = {change.new.user: change.new.status for change in await take(watch, 2)}
            assert changes == {"u3": "dnd", "u4": "offline"}
            assert server.engine.outboxes.deliveries - told_before <= 2 + 2
            await app.set_status("u5", "away")
            assert (await take(watch, 1))[0].new.user == "u5"

    async def test_nothing_is_told_where_nothing_has_changed(self, server: Server) -> None:
        async with service(server) as app, service(server) as p, p.watch_all() as watch:
            await app.attach_many([(f"u{number}", "tab") for number in range(20)])
            await take(watch, 20)
            await placed(p)
            for _ in range(3):
                told_before = server.engine.outboxes.deliveries
                await lose(p, lambda: connection_of(p).reconnect._link._transport.abort())  # type: ignore[union-attr]
                await p.ping()
                assert server.engine.outboxes.deliveries == told_before
            assert watch._feed.take() is None and len(watch.records) == 20

    async def test_an_erased_user_is_gone_after_a_return(self, server: Server) -> None:
        async with service(server) as app, service(server) as p, p.watch_all() as watch:
            await app.attach("u1", "tab")
            await app.attach("u2", "tab")
            await take(watch, 2)
            await app.detach("u1", "tab")
            await take(watch, 1)
            await placed(p)
            may_return = await away(p)
            await app.erase("u1")
            may_return.set()
            await eventually(lambda: watch.records["u1"].version == 0)


class TestAnswers:
    async def test_what_was_told_after_the_position_and_not_again_is_asked_for(self, fake: FakeServer) -> None:
        """The server was killed, and has lost a change that it had told."""
        everybody = Everybody(fake)
        everybody.records = {name: record(name, "online", 50) for name in ("a", "b", "c")}
        async with presenced.connect_service(fake.url("root", "")) as p, p.watch_all() as watch:
            await eventually(lambda: position_of(p))
            await take(watch, 3)
            fake.link.send(Presence(record("b", "dnd", 120)), Presence(record("c", "offline", 130)))
            await take(watch, 2)
            everybody.asked()
            everybody.changed, everybody.version = [record("c", "away", 900)], 1_000
            fake.link.drop()
            changes = {change.new.user: change.new.status for change in await take(watch, 2)}
            assert changes == {"b": "online", "c": "away"}
            await eventually(lambda: position_of(p) == (EPOCH, 1_000))
            assert everybody.asked() == ["WatchAll", "Get", "Check"]

    @pytest.mark.parametrize("why", ["reset", "bad_position"])
    async def test_a_position_that_is_not_good_any_more_is_followed_by_everything(
        self, fake: FakeServer, why: str
    ) -> None:
        everybody = Everybody(fake)
        everybody.records = {name: record(name, "online", 50) for name in ("a", "b", "c")}
        async with presenced.connect_service(fake.url("root", "")) as p, p.watch_all() as watch:
            await eventually(lambda: position_of(p))
            await take(watch, 3)
            everybody.asked()
            everybody.reset, everybody.refusal, everybody.version = why == "reset", why * (why != "reset"), 7
            everybody.records = {"a": record("a", "online", 3), "c": record("c", "dnd", 4)}
            fake.link.drop()
            changes = {change.new.user: change.new.status for change in await take(watch, 2)}
            assert changes == {"b": "offline", "c": "dnd"}
            await eventually(lambda: position_of(p) == (EPOCH, 7))
            again = ["WatchAll"] * (why != "reset")
            assert everybody.asked() == ["WatchAll", *again, "Who", "Get", "Check"]

    async def test_a_server_without_positions_is_asked_for_everything_each_time(self, fake: FakeServer) -> None:
        everybody = Everybody(fake)
        everybody.gives_positions = False
        everybody.records = {"a": record("a", "online", 50)}
        async with presenced.connect_service(fake.url("root", "")) as p, p.watch_all() as watch:
            await take(watch, 1)
            await eventually(lambda: len(fake.of(Check)) == 2)
            await p.ping()
            assert everybody.asked() == ["WatchAll", "Who", "Check", "WatchAll", "Who", "Check"], (
                "once more, not for ever"
            )
            everybody.records = {"a": record("a", "dnd", 60)}
            fake.link.drop()
            assert (await take(watch, 1))[0].new.status == "dnd"
            assert position_of(p) is None

    async def test_no_position_is_taken_before_everybody_is_listed_and_none_is_kept_of_another_watch(
        self, fake: FakeServer
    ) -> None:
        everybody = Everybody(fake)
        everybody.records = {"a": record("a", "online", 50)}
        async with presenced.connect_service(fake.url("root", "")) as p:
            connection_of(p).everyone.beat()
            async with p.watch_all():
                await eventually(lambda: position_of(p))
            assert position_of(p) is None
            await p.ping()
            everybody.asked()
            async with p.watch_all() as watch:
                await take(watch, 1)
                await eventually(lambda: position_of(p))
            assert everybody.asked()[:2] == ["WatchAll", "Who"]
            assert all(not one.epoch for one in fake.of(WatchAll))
