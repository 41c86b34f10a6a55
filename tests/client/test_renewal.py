"""A client whose token is a function brings a new one before the old one ends, and keeps its link."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

import presenced
from presenced.client.protocol.token_end import WAIT_MS_MIN, end_ms, wait_ms
from presenced.client.reconnect import Reconnect
from presenced.server.identity import mint
from presenced.wire.messages import ClientMessage, Done, Error, Goodbye, Hello, Renew, ServerMessage
from tests.client.fake_server import WELCOME, FakeServer, fake_server
from tests.client.helpers import reconnect_of, running, url
from tests.support.until import PATIENCE_S, eventually

SECRET = b"k" * 48
NOW_S = WELCOME.server_time_ms // 1000
LAST = "a token whose end nobody can read, so that it is the last"


def token(ttl_s: int, user: str = "alice") -> str:
    return mint(SECRET, user, "user", NOW_S, ttl_s)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renew without waiting; how long a client waits is tested below, by numbers."""
    monkeypatch.setattr("presenced.client.renewal.wait_ms", lambda left_ms, jitter: 1)
    monkeypatch.setattr("presenced.client.protocol.backoff.BASE_MS", 1)
    monkeypatch.setattr("presenced.client.protocol.backoff.CAP_MS", 1)


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as server:
        yield server


def renewing(server: FakeServer, *refusals: Error) -> Callable[[ClientMessage], list[ServerMessage]]:
    """Answers as the fake server does, and renewals with these errors first, then with Done."""
    left = list(refusals)

    def answer(message: ClientMessage) -> list[ServerMessage]:
        if not isinstance(message, Renew):
            return server.plainly(message)
        if left:
            error = left.pop(0)
            return [Error(message.id, error.code, error.message, error.retry_ms)]
        return [Done(message.id, 1)]

    return answer


class TestTheToken:
    """What the client reads of it, and when it brings the next."""

    def test_its_end_is_read(self) -> None:
        assert end_ms(token(600)) == (NOW_S + 600) * 1000

    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b"{}",
            b"[]",
            b'{"exp":"1"}',
            b'{"exp":1.5}',
            b'{"exp":0}',
            b'{"exp":-1}',
            b'{"exp":1e99}',
            b"\xff",
            b"[" * 9000,
        ],
    )
    def test_what_has_no_end_is_not_renewed(self, payload: bytes) -> None:
        assert end_ms(f"h.{base64.urlsafe_b64encode(payload).decode()}.s") is None

    @pytest.mark.parametrize("text", ["", "t", "a.b", "a.b.c.d", "a.\u00fc.c", "a.b.c"])
    def test_what_is_no_token_is_not_renewed(self, text: str) -> None:
        assert end_ms(text) is None

    def test_the_next_comes_at_80_to_90_percent_of_what_is_left(self) -> None:
        assert (wait_ms(3_600_000, 0.0), wait_ms(3_600_000, 1.0)) == (2_880_000, 3_240_000)
        assert wait_ms(10, 1.0) == WAIT_MS_MIN, "tokens that end at once are not asked for without a pause"


class TestRenewing:
    async def test_a_person_and_a_service_renew_again_and_again_on_one_link(self, server: FakeServer) -> None:
        server.answer = renewing(server)
        for connect, address in (
            (presenced.connect, server.url()),
            (presenced.connect_service, f"presence://app@127.0.0.1:{server.port}"),
        ):
            tokens = [token(600), token(700), token(800), LAST]
            given = iter(tokens)
            async with connect(address, token=lambda given=given: next(given)) as client:  # type: ignore[operator]
                await server.until(lambda: len(server.of(Renew)) == 3)
                assert await client.ping() >= 0
            assert [hello.token for hello in server.of(Hello)] == tokens[:1]
            assert [renew.token for renew in server.of(Renew)] == tokens[1:]
            server.received.clear()

    async def test_the_time_that_is_left_is_by_the_servers_clock(
        self, server: FakeServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        left: list[int] = []

        def noted(left_ms: int, jitter: float) -> int:
            left.append(left_ms)
            return 1_000_000

        monkeypatch.setattr("presenced.client.renewal.wait_ms", noted)
        async with presenced.connect(server.url(), token=lambda: token(600)):
            assert len(left) == 1 and 590_000 < left[0] <= 600_000

    async def test_a_string_is_not_renewed_nor_a_token_that_cannot_be_read(self, server: FakeServer) -> None:
        server.answer = renewing(server)
        for given in (token(600), lambda: LAST):
            async with presenced.connect(server.url(), token=given) as me:  # type: ignore[arg-type]
                assert not is_renewing(reconnect_of(me))

    async def test_what_fails_is_tried_again_and_told_once(
        self, server: FakeServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING, "presenced.client")
        server.answer = renewing(server, Error(0, "bad_token", "no such key", 0), Error(0, "token_early", "ahead", 1))
        tokens = iter([token(600), None, token(601), token(602), LAST])

        async def fresh() -> str:
            given = next(tokens)
            if given is None:
                raise OSError("the token service is down")
            return given

        async with presenced.connect(server.url(), token=fresh) as me:
            await server.until(lambda: len(server.of(Renew)) == 3)
            assert me.state == "connected"
        assert [renew.token for renew in server.of(Renew)] == [token(601), token(602), LAST]
        assert [line.getMessage() for line in caplog.records] == [
            f"alice/laptop at 127.0.0.1:{server.port}: the token is not renewed yet: "
            "the token function failed: OSError('the token service is down') (token_failed)"
        ]

    async def test_a_function_that_keeps_its_token_is_asked_until_it_has_another(self, server: FakeServer) -> None:
        server.answer = renewing(server)
        tokens = iter([token(600)] * 5 + [LAST])
        async with presenced.connect(server.url(), token=lambda: next(tokens)):
            await server.until(lambda: server.of(Renew))
        assert [renew.token for renew in server.of(Renew)] == [LAST]

    async def test_nothing_is_tried_once_the_token_has_ended(self, server: FakeServer) -> None:
        """The server ends the link then, or is in dev mode, where it does not matter."""
        asked = 0

        def same() -> str:
            nonlocal asked
            asked += 1
            return token(600)

        async with presenced.connect(server.url(), token=same) as me:
            await eventually(lambda: asked > 1)
            exchange = reconnect_of(me)._renewal._exchange
            exchange._clock_ms += 600_000
            await eventually(lambda: not is_renewing(reconnect_of(me)))
            assert me.state == "connected"

    async def test_a_server_that_knows_no_renewal_is_asked_once_for_each_link(self, server: FakeServer) -> None:
        server.answer = renewing(server, *[Error(0, "unknown_type", "there is no message type 35", 0)] * 2)
        async with presenced.connect(server.url(), token=lambda: token(600 + len(server.received))) as me:
            await eventually(lambda: server.of(Renew) and not is_renewing(reconnect_of(me)))
            assert me.state == "connected"
            server.link.send(Goodbye("token_expired", "over"))
            await server.until(lambda: len(server.of(Renew)) == 2)
            await eventually(lambda: not is_renewing(reconnect_of(me)))

    async def test_a_renewal_that_is_not_answered_ends_with_the_link(self, server: FakeServer) -> None:
        """The next link comes with a token of its own, and an older one must not be brought on it."""
        server.answer = lambda message: [] if isinstance(message, Renew) else server.plainly(message)
        tokens = iter([token(600), token(601), LAST])
        async with presenced.connect(server.url(), token=lambda: next(tokens)) as me:
            await server.until(lambda: server.of(Renew))
            server.link.drop()
            await server.until(lambda: len(server.of(Hello)) == 2)
            await eventually(lambda: me.state == "connected")
            await me.set_status("dnd")
        assert [hello.token for hello in server.of(Hello)] == [token(600), LAST]
        assert [renew.token for renew in server.of(Renew)] == [token(601)]

    async def test_a_client_that_is_closed_leaves_nothing_behind(self, server: FakeServer) -> None:
        server.answer = lambda message: [] if isinstance(message, Renew) else server.plainly(message)
        tokens = iter([token(600), token(601)])
        me = await presenced.connect(server.url(), token=lambda: next(tokens))
        await server.until(lambda: server.of(Renew))
        await me.close()
        assert not is_renewing(reconnect_of(me))
        assert [task for task in asyncio.all_tasks() if "renewal" in task.get_name() and not task.cancelling()] == []

    async def test_a_token_that_is_no_string_is_reported_and_the_link_goes_on(self, server: FakeServer) -> None:
        reported: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["message"]))
        tokens = iter([token(600), 5])
        async with presenced.connect(server.url(), token=lambda: next(tokens)) as me:  # type: ignore[arg-type, return-value]
            await eventually(lambda: reported)
            assert await me.ping() >= 0
        assert reported == ["the renewal of a token failed"]


async def test_with_a_real_server_the_end_of_the_link_moves(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    now_s = int(time.time())
    tokens = iter([mint(SECRET, "alice", "user", now_s, ttl_s) for ttl_s in (600, 7_200)])
    last = mint(SECRET, "alice", "user", now_s, 90_000)
    async with running(secret_file=str(secret)) as server:
        async with presenced.connect(url(server, "alice"), token=lambda: next(tokens, last)) as me:

            def left_ms() -> int:
                (link,) = server.links
                assert link.session is not None
                return link.session.expires_ms - server.pacing.begin()

            async with asyncio.timeout(PATIENCE_S):
                await eventually(lambda: left_ms() > 80_000_000)
            assert await me.ping() >= 0
            assert server.stats.accepted == 1, "the client came back instead"


def is_renewing(reconnect: Reconnect) -> bool:
    """Whether a renewal waits for its time or is under way."""
    renewal = reconnect._renewal
    return renewal._timer is not None or (renewal._task is not None and not renewal._task.done())
