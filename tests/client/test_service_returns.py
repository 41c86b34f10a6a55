"""A service whose lost link is taken back by the server: it attaches nothing anew that is held still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

import presenced
from presenced.core.model import CONNECTED
from presenced.server.server import Server
from presenced.wire.messages import (
    Attach,
    Beats,
    ClientMessage,
    Detach,
    Done,
    Focus,
    Hello,
    Join,
    ServerMessage,
    Taken,
)
from tests.client.fake_server import FakeServer, fake_server
from tests.client.helpers import attachments_of, lose, running, service, take, url
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
    """A server that takes back whatever a token is shown for, and acknowledges everything."""
    async with fake_server() as fake:

        def answer(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, Hello):
                resumed = bool(message.resume)
                return [msgspec.structs.replace(fake.welcome, resume="t", resume_ms=60_000, resumed=resumed)]
            plain = fake.plainly(message)
            return plain or ([Done(message.id, 1)] if hasattr(message, "id") else [])

        fake.answer = answer
        yield fake


def of_fake(fake: FakeServer, **options: Any) -> Any:
    return presenced.connect_service(fake.url("chat", ""), **options)


def link_of_service(server: Server) -> Any:
    return next(link for link in server.links if link.session is not None and link.session.role == "service")


async def test_a_thousand_devices_are_taken_back_with_one_hello(server: Server) -> None:
    async with service(server) as p, presenced.connect(url(server, "bob")) as bob:
        names = [f"u{number:04}" for number in range(1_500)]
        assert await p.attach_many((name, "web") for name in names) == {}
        async with bob.watch(*names[:1_000]) as watch:
            await take(watch, 1_000)
            before = server.engine.publisher.changed
            for number in range(1, 4):
                frames = server.stats.frames_in
                await lose(p, link_of_service(server).abort)
                await p.ping()
                assert server.engine.resumptions.outcomes["resumed"] == number
                assert server.stats.frames_in - frames <= 6, "the hello, a ping, and the beats of all"
                assert len(p.attached) == 1_500 == sum(held.is_live for held in attachments_of(p).devices.values())
                assert server.engine.leases.connected == 1_501
            assert server.engine.publisher.changed == before
            await p.detach("u0001", "web")
            assert [change.user for change in await take(watch, 1)] == ["u0001"]


async def test_what_others_have_by_then_is_told_and_what_is_gone_is_attached_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.engine.policy.grace_by_kind = {"short": 1}
    monkeypatch.setattr("presenced.client.protocol.backoff.Backoff.delay_ms", lambda self, retry_ms: 300)
    async with service(server) as p, presenced.connect_service(f"presence://other@127.0.0.1:{server.port}") as other:
        taken: list[presenced.Taken] = []
        p.on_taken(taken.append)
        await p.attach_many([("u1", "web"), ("u2", "web"), ("u4", "web")])
        await p.attach("u3", "web", kind="short")
        await p.join("u3", "web", "general")
        mine = next(link for link in server.links if link.session is not None and link.session.user_name == "chat")
        await lose(p, mine.abort)
        await other.attach("u1", "web")
        await other.kick("u4")
        await eventually(lambda: "u3" not in server.engine.publisher.online)
        await p.ping()
        await eventually(lambda: len(taken) == 2)
        assert sorted(taken) == [presenced.Taken("u1", "web", "replaced"), presenced.Taken("u4", "web", "kicked")]
        await eventually(lambda: list(server.engine.users["u3"].channels or ()) == ["general"])
        assert sorted(p.attached) == [("u2", "web"), ("u3", "web")]
        assert server.engine.users["u3"].devices["web"].state == CONNECTED
        assert server.engine.resumptions.outcomes["resumed"] == 1


async def test_how_idle_people_are_and_what_they_look_at_is_told_at_once(fake: FakeServer) -> None:
    async with of_fake(fake) as p:
        await p.attach_many([("u1", "web"), ("u2", "web")])
        p.set_focus("u1", "web", "general")
        p.idle("u2", "web", 500)
        await p.join("u2", "web", "general")
        seen = len(fake.received)
        await lose(p, fake.link.drop)
        await fake.until(lambda: any(isinstance(message, Focus) for message in fake.received[seen:]))
        again = fake.received[seen:]
    assert [message.resume for message in fake.of(Hello)] == ["", "t"]
    assert not [message for message in again if isinstance(message, Attach | Join)]
    (beats,) = [message.beats for message in again if isinstance(message, Beats)]
    refs = [message.ref for message in fake.of(Attach)]
    assert beats[::2] == refs and beats[1] == -1 and beats[3] >= 500_000
    assert [message for message in again if isinstance(message, Focus)] == [Focus(refs[0], "general")]


async def test_what_was_never_answered_is_said_again_and_nothing_else(fake: FakeServer) -> None:
    plain, silent = fake.answer, {"u2", "u3"}

    def answer(message: ClientMessage) -> list[ServerMessage]:
        if isinstance(message, Attach | Detach) and message.user in silent:
            return []
        return plain(message)

    fake.answer = answer
    async with of_fake(fake) as p:
        await p.attach_many([("u1", "web"), ("u4", "web")])
        silent.add("u4")
        waiting = [asyncio.ensure_future(p.attach("u2", "web")), asyncio.ensure_future(p.attach("u3", "web"))]
        waiting.append(asyncio.ensure_future(p.detach("u4", "web")))
        await fake.until(lambda: len(fake.of(Attach)) == 4 and fake.of(Detach))
        waiting[1].cancel()
        seen = len(fake.received)
        silent.clear()
        await lose(p, fake.link.drop)
        await asyncio.gather(*waiting, return_exceptions=True)
        await p.ping()
        said = [(type(m), m.user) for m in fake.received[seen:] if isinstance(m, Attach | Detach)]
        assert sorted(said, key=repr) == [(Attach, "u2"), (Detach, "u3"), (Detach, "u4")]
        assert sorted(p.attached) == [("u1", "web"), ("u2", "web")]


async def test_one_that_the_server_took_and_did_not_reach_the_client_with_is_found_out_by_the_beats(
    fake: FakeServer,
) -> None:
    plain = fake.answer

    def answer(message: ClientMessage) -> list[ServerMessage]:
        if isinstance(message, Beats):
            return [Taken(message.beats[0], "not_held")]
        return plain(message)

    async with of_fake(fake) as p:
        await p.attach("u1", "web")
        fake.answer = answer
        seen = len(fake.received)
        await lose(p, fake.link.drop)
        await fake.until(lambda: any(isinstance(message, Attach) for message in fake.received[seen:]))
        (attach,) = [message for message in fake.received[seen:] if isinstance(message, Attach)]
    assert (attach.user, attach.only_free, attach.as_was) == ("u1", True, True)


async def test_without_a_token_that_is_good_all_is_attached_again(fake: FakeServer) -> None:
    plain = fake.answer

    def answer(message: ClientMessage) -> list[ServerMessage]:
        if isinstance(message, Hello):
            return [msgspec.structs.replace(fake.welcome, resume="t", resume_ms=60_000)]
        return plain(message)

    fake.answer = answer
    async with of_fake(fake) as p:
        await p.attach_many([("u1", "web"), ("u2", "web")])
        await lose(p, fake.link.drop)
        await fake.until(lambda: len(fake.of(Attach)) == 4)
        await p.ping()
        assert not fake.of(Beats), "each attach tells how idle its person is"


async def test_what_the_lost_link_had_not_been_answered_is_not_taken_for_held(fake: FakeServer) -> None:
    plain = fake.answer

    def answer(message: ClientMessage) -> list[ServerMessage]:
        if isinstance(message, Hello):
            resumed = len(fake.of(Hello)) > 2
            return [msgspec.structs.replace(fake.welcome, resume="t", resume_ms=60_000, resumed=resumed)]
        if isinstance(message, Attach) and len(fake.of(Hello)) == 2 and message.user == "u2":
            return []
        return plain(message)

    fake.answer = answer
    async with of_fake(fake) as p:
        await p.attach_many([("u1", "web"), ("u2", "web")])
        await lose(p, fake.link.drop)
        await fake.until(lambda: len(fake.of(Attach)) == 4)
        await p.ping()
        await lose(p, fake.link.drop)
        await p.ping()
        assert [message.user for message in fake.of(Attach)[4:]] == ["u2"]
