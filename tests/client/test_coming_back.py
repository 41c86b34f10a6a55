"""A client that comes back over TCP, to a server that does what a test says and to the real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import presenced
from presenced import AddressError
from presenced.client.client_base import connection_of
from presenced.config.settings import Settings
from presenced.digests import digest
from presenced.server.server import Server
from presenced.wire.messages import (
    Check,
    Checked,
    ClientMessage,
    Compare,
    ContactRecords,
    Error,
    Goodbye,
    Hello,
    MembersPage,
    Presence,
    Record,
    Records,
    ServerMessage,
    Watch,
    WatchChannel,
)
from tests.client.fake_server import FakeServer, fake_server
from tests.client.helpers import drop_links, has_nothing, lose, running, service, take, url
from tests.support.until import PATIENCE_S, eventually


@pytest.fixture(autouse=True)
def quick_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back without the jitter's wait, which the tests of the backoff measure."""
    monkeypatch.setattr("presenced.client.protocol.backoff.BASE_MS", 1)
    monkeypatch.setattr("presenced.client.protocol.backoff.CAP_MS", 1)


@pytest.fixture
async def fake() -> AsyncIterator[FakeServer]:
    async with fake_server() as fake:
        yield fake


def record(user: str, status: Any = "online", version: int = 1) -> Record:
    return Record(user, status, "", "", 5, 0, "web", version)


def steps(changes: list[presenced.Change]) -> list[tuple[str, str, str]]:
    return [(change.kind, change.user, change.new.status) for change in changes]


def comparing(fake: FakeServer) -> None:
    """The fake server answers what differs, and gives a checksum over all of its records."""

    def answer(message: ClientMessage) -> list[ServerMessage]:
        if isinstance(message, Watch | Compare) and message.have is not None:
            pairs = zip(message.users, message.have, strict=True)
            records = [fake.records[user] for user, had in pairs if digest(fake.records[user]) != had]
            return [Records(message.id, 1, 1, records)]
        if isinstance(message, Check):
            total = sum(map(digest, fake.records.values())) % 2**32
            return [Checked(message.id, 1, 1, len(fake.records), total)]
        return fake.plainly(message)

    fake.answer = answer


class TestAgainstAScript:
    async def test_what_is_held_leaves_with_the_hello(self, fake: FakeServer) -> None:
        comparing(fake)
        fake.records = {"bob": record("bob"), "carol": record("carol")}
        async with presenced.connect(fake.url()) as me, me.watch("bob", "carol") as watch:
            await take(watch, 2)
            # No token was given, so that there is nothing to take back.
            assert fake.of(Hello)[0].resume == ""
            fake.records["bob"] = record("bob", "dnd")
            await lose(me, fake.link.drop)
            assert steps(await take(watch, 1)) == [("status", "bob", "dnd")]
            again = fake.received[-2:]
            assert isinstance(again[0], Hello) and isinstance(again[1], Watch), "in one write, and once"
            assert again[1].have == [digest(record("bob")), digest(record("carol"))]
            assert await has_nothing(watch, me)

    async def test_a_link_that_is_taken_back_asks_for_the_checksum(self, fake: FakeServer) -> None:
        comparing(fake)
        fake.records = {"bob": record("bob"), "carol": record("carol")}
        fake.welcome = msgspec.structs.replace(fake.welcome, resume="token", resume_ms=60_000)
        async with presenced.connect(fake.url()) as me, me.watch("bob", "carol") as watch:
            await take(watch, 2)
            fake.welcome = msgspec.structs.replace(fake.welcome, resumed=True, resume="another")
            await lose(me, fake.link.drop)
            await fake.until(lambda: fake.of(Check))
            assert await has_nothing(watch, me)
            assert fake.of(Hello)[1].resume == "token" and len(fake.of(Watch)) == 1 and not fake.of(Compare)
            fake.records["bob"] = record("bob", "dnd", 2)
            await lose(me, fake.link.drop)
            assert steps(await take(watch, 1)) == [("status", "bob", "dnd")]
            assert fake.of(Hello)[2].resume == "another" and len(fake.of(Watch)) == 1 and len(fake.of(Compare)) == 1
            assert fake.of(Compare)[0].failed is False, "nothing was lost but the link"

    @pytest.mark.parametrize("code", ["going_away", "kicked"])
    async def test_a_server_that_has_said_goodbye_is_shown_no_token(self, fake: FakeServer, code: str) -> None:
        comparing(fake)
        fake.records = {"bob": record("bob")}
        fake.welcome = msgspec.structs.replace(fake.welcome, resume="token", resume_ms=60_000)
        async with presenced.connect(fake.url()) as me, me.watch("bob") as watch:
            await take(watch, 1)
            await lose(me, lambda: fake.link.send(Goodbye(code, "later")))
            await fake.until(lambda: len(fake.of(Watch)) == 2)
            assert fake.of(Hello)[1].resume == "" and not fake.of(Check)

    async def test_a_channel_is_told_what_is_held_of_it(self, fake: FakeServer) -> None:
        pages: list[MembersPage] = [
            MembersPage(0, "general", 1, 3, [0, 3, 0, 0, 0], "", [record("a"), record("b"), record("c")]),
            MembersPage(0, "general", 2, 3, [0, 2, 0, 0, 1], "", [record("b", "dnd"), record("d")], ["c"], True),
        ]

        def answer(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, WatchChannel):
                return [msgspec.structs.replace(pages.pop(0), id=message.id)]
            return fake.plainly(message)

        fake.answer = answer
        async with presenced.connect(fake.url()) as me, me.watch_channel("general") as members:
            await take(members, 3)
            await lose(me, fake.link.drop)
            seen = [(change.kind, change.user) for change in await take(members, 3)]
            assert sorted(seen) == [("change", "b"), ("join", "d"), ("leave", "c")]
            assert sorted(members.members) == ["a", "b", "d"] and members.is_complete
            again = fake.of(WatchChannel)[1]
            assert again.users == ["a", "b", "c"] and again.have == [digest(record(user)) for user in "abc"]

    async def test_a_check_on_the_timer_repairs_and_counts(
        self, fake: FakeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        comparing(fake)
        monkeypatch.setattr("presenced.client.view_timer.random.random", lambda: 0.0)
        fake.records = {"bob": record("bob")}
        async with presenced.connect(fake.url(), check_every=1) as me, me.watch("bob") as watch:
            await take(watch, 1)
            await eventually(lambda: me.view_checks.made == 1)
            # A push that is lost on its way.
            fake.records["bob"] = record("bob", "dnd", 2)
            assert steps(await take(watch, 1)) == [("status", "bob", "dnd")]
            assert me.view_checks.failed == 1
            assert [message.failed for message in fake.of(Compare)] == [True]
            assert "is not what this client shows" in caplog.text
        with pytest.raises(AddressError, match="check_every is 0.5"):
            await presenced.connect(fake.url(), check_every=0.5)

    async def test_who_will_not_come_back_wants_no_token(self, fake: FakeServer) -> None:
        async with presenced.connect(fake.url(), reconnect=False):
            assert fake.of(Hello)[0].resume is None

    async def test_a_watch_that_is_refused_leaves_the_rest_as_it_was(self, fake: FakeServer) -> None:
        comparing(fake)
        fake.records = {"bob": record("bob")}
        plain = fake.answer

        def refusing(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, Watch) and "carol" in message.users:
                return [Error(message.id, "watch_limit", "too many")]
            return plain(message)

        fake.answer = refusing
        async with presenced.connect(fake.url()) as me, me.watch("bob") as watch:
            await take(watch, 1)
            with pytest.raises(presenced.RequestError):
                await watch.add("carol")
            await checked(me)

    async def test_a_server_that_knows_nothing_of_it_tells_everything(self, fake: FakeServer) -> None:
        """An older one passes over fields that it does not know, and refuses messages that it does not know."""
        fake.records = {"bob": record("bob"), "carol": record("carol")}

        def older(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, Compare | Check):
                return [Error(message.id, "unknown_type", "there is no such message")]
            if isinstance(message, Hello):
                return [*fake.plainly(message), ContactRecords(1, 1, [fake.records["carol"]], False)]
            return fake.plainly(message)

        fake.answer = older
        async with (
            presenced.connect(fake.url(), contacts=True) as me,
            me.watch("bob") as watch,
            me.contacts() as contacts,
        ):
            await take(watch, 1)
            await take(contacts, 1)
            fake.records = {"bob": record("bob", "dnd"), "carol": record("carol", "away")}
            await lose(me, fake.link.drop)
            assert steps(await take(watch, 1)) == [("status", "bob", "dnd")]
            assert steps(await take(contacts, 1)) == [("status", "carol", "away")]
            assert await has_nothing(contacts, me)


class TestPositions:
    async def test_only_what_differs_is_yielded_by_the_next_program(self, fake: FakeServer) -> None:
        comparing(fake)
        fake.records = {"bob": record("bob"), "carol": record("carol"), "dora": record("dora", "offline", 0)}
        async with presenced.connect(fake.url()) as me:
            watch = me.watch("bob", "carol", "dora")
            assert watch.position == me.watch("x").position, "nothing was yielded"
            await take(watch, 2)
            position = watch.position
        fake.records["bob"] = record("bob", "away", 7)
        async with presenced.connect(fake.url()) as me, me.watch("carol", "bob", "dora", since=position) as watch:
            # Dora was not yielded before the position was taken.
            assert sorted(steps(await take(watch, 2))) == [("snapshot", "bob", "away"), ("snapshot", "dora", "offline")]
            assert await has_nothing(watch, me) and "carol" not in watch.records
            last = watch.position
            # What is known by its digest alone is watched as anything else.
            fake.link.send(Presence(record("carol", "dnd", 9)))
            assert steps(await take(watch, 1)) == [("snapshot", "carol", "dnd")]
            assert watch.position != last
            await lose(me, fake.link.drop)
            fake.records["carol"] = record("carol", "dnd", 9)
            assert await has_nothing(watch, me)
        with pytest.raises(AddressError, match="not a position"):
            me.watch("bob", since=position[:-1])

    async def test_a_second_watch_of_what_is_known_by_a_digest_gets_the_record(self, fake: FakeServer) -> None:
        comparing(fake)
        fake.records = {"bob": record("bob")}
        async with presenced.connect(fake.url()) as me:
            async with me.watch("bob") as watch:
                await take(watch, 1)
                position = watch.position
            async with me.watch("bob", since=position) as since, me.watch("bob") as whole:
                assert steps(await take(whole, 1)) == [("snapshot", "bob", "online")]
                assert await has_nothing(since, me)


def settled(*clients: presenced.Client) -> bool:
    """They are connected, and what they hold has been held against the server's."""
    return all(
        client.state == "connected" and connection_of(client).users.is_settled for client in clients
    ) and not any(connection_of(client).view._is_catching_up for client in clients)


async def checked(*clients: presenced.Client) -> None:
    """Each one's view is the server's, by its checksum."""
    await eventually(lambda: settled(*clients))
    for client in clients:
        view = connection_of(client).view
        made = view.checks
        view.check()
        async with asyncio.timeout(PATIENCE_S):
            while view.checks == made:
                await client.ping()
        assert view.failed == 0


class TestAgainstTheServer:
    async def test_a_lost_link_is_no_transition(self) -> None:
        async with (
            running() as server,
            presenced.connect(url(server, "bob")) as bob,
            presenced.connect(url(server, "carol")) as carol,
            presenced.connect(url(server, "me")) as me,
            me.watch("bob", "carol", "me", "nobody") as watch,
        ):
            await take(watch, 4)
            for round in range(3):
                await lose(me, lambda: drop_links(server))
                await carol.set_text(f"round {round}")
                assert [(step.kind, step.user) for step in await take(watch, 1)] == [("text", "carol")]
                await checked(me)
                assert await has_nothing(watch, bob, carol, me)
            assert me.welcome.resumed

    async def test_ten_thousand_contacts_come_back_in_pages(self) -> None:
        names = [f"u{number:05}" for number in range(10_000)]
        async with running(check=False, rate=0) as server, service(server) as app:
            await app.set_contacts("me", names[:-1])
            async with presenced.connect(url(server, "me"), contacts=True) as me, me.contacts() as seen:
                await eventually(lambda: len(seen.records) == 9_999)
                for change in range(9_999):
                    assert seen._feed.take() is not None, change
                mine = next(link for link in server.links if link.session and link.session.user_name == "me")
                connection_of(me).exchange._resumption._token = ""
                await lose(me, mine.abort)
                await app.attach("u00007", "web")
                await app.set_contacts("me", names[1:])
                changes = {change.user: change.new.status for change in await take(seen, 2)}
                assert changes["u00007"] == "online"
                await checked(me)
                await eventually(lambda: seen.records.keys() == set(names[1:]))

    async def test_a_restart_is_no_transition(self, tmp_path: Path) -> None:
        data = str(tmp_path / "data")
        settings = Settings(dev=True, listen="127.0.0.1:0", data_dir=data, change_spacing_ms=0)
        server = Server(settings)
        await server.start()
        port = server.port
        bob = await presenced.connect(url(server, "bob"))
        me = await presenced.connect(url(server, "me"), contacts=True)
        watch = me.watch("bob", "nobody")
        try:
            await bob.set_status("dnd", text="in a meeting")
            await take(watch, 2)
            for _ in range(2):
                drop_links(server)
                await server.stop()
                server = Server(msgspec.structs.replace(settings, listen=f"127.0.0.1:{port}"))
                await server.start()
                await eventually(lambda: bob.state == "connected")
                await checked(me)
                assert await has_nothing(watch, bob, me)
            await bob.set_status("away")
            assert steps(await take(watch, 1)) == [("status", "bob", "away")]
        finally:
            await me.close()
            await bob.close()
            await server.stop()

    @pytest.mark.parametrize("contacts", [False, True])
    async def test_sight_that_is_lost_and_won_meanwhile(self, contacts: bool) -> None:
        async with running(grounds=("contacts",)) as server, service(server) as app:
            await app.set_contacts("me", ["bob", "carol", "dora"])
            await app.set_contacts("emil", [])
            async with (
                presenced.connect(url(server, "bob")) as bob,
                presenced.connect(url(server, "carol")),
                presenced.connect(url(server, "emil")),
                presenced.connect(url(server, "me"), contacts=contacts) as me,
                me.contacts() if contacts else me.watch("bob", "carol", "dora", "emil") as seen,
            ):
                await take(seen, 3 if contacts else 4)
                mine = next(link for link in server.links if link.session and link.session.user_name == "me")
                if contacts:
                    connection_of(me).exchange._resumption._token = ""
                await lose(me, mine.abort)
                await bob.block("me")
                await app.set_contacts("me", ["bob", "dora", "emil"])
                # Whoever is no contact any longer is seen no longer.
                changes = sorted(steps(await take(seen, 3)))
                assert changes[:2] == [("offline", "bob", "offline"), ("offline", "carol", "offline")]
                assert changes[2] == (("snapshot" if contacts else "online"), "emil", "online")
                await checked(me)
                assert await has_nothing(seen, me)

    async def test_a_services_devices_are_taken_back(self) -> None:
        async with running() as server, service(server) as app, presenced.connect(url(server, "me")) as me:
            async with me.watch("u1", "u2") as watch:
                await take(watch, 2)
                await app.attach("u1", "web")
                await app.attach("u2", "web")
                await take(watch, 2)
                link = next(link for link in server.links if link.session and link.session.user_name == "chat")
                await lose(app, link.abort)
                await eventually(lambda: app.state == "connected")
                assert app.welcome.resumed
                await app.set_device("u1", "web", status="dnd")
                assert steps(await take(watch, 1)) == [("status", "u1", "dnd")]
                assert sorted(app.attached) == [("u1", "web"), ("u2", "web")]
                assert await has_nothing(watch, me)


def test_the_synchronous_client_goes_on_from_a_position() -> None:
    from tests.support.in_process import InProcess

    with InProcess() as server, presenced.sync.connect(f"presence://me@127.0.0.1:{server.port}/x") as me:
        with me.watch("me", "nobody") as watch:
            assert {next(watch).user, next(watch).user} == {"me", "nobody"}
            position = watch.position
        me.set_text("hello")
        with me.watch("me", "nobody", since=position) as watch:
            assert next(watch).new.text == "hello"
        assert me.view_checks == (0, 0)
