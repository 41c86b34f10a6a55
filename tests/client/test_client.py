"""The client against a scripted server: links, retries, timeouts, errors, callbacks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

import presenced
from presenced.client.protocol.backoff import Backoff
from presenced.errors import (
    CODES,
    AddressError,
    AuthError,
    ConnectionLost,
    PresenceError,
    ProtocolError,
    RequestError,
    RequestTimeout,
)
from presenced.wire.messages import (
    Bye,
    ClientMessage,
    Error,
    Goodbye,
    Heartbeat,
    Hello,
    Ping,
    Presence,
    Record,
    ServerMessage,
    SetDevice,
    SetStatus,
    Unwatch,
    Watch,
)
from tests.client.fake_server import FakeServer, fake_server
from tests.client.helpers import reconnect_of, session_of, users_of
from tests.support import REPOSITORY
from tests.support.daemon import Daemon
from tests.support.until import PATIENCE_S, eventually


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as server:
        yield server


@pytest.fixture(autouse=True)
def quick_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back without the jitter's wait, which the tests of the backoff measure."""
    monkeypatch.setattr("presenced.client.protocol.backoff.BASE_MS", 1)
    monkeypatch.setattr("presenced.client.protocol.backoff.CAP_MS", 1)


def record(user: str, status: str = "online", version: int = 1, text: str = "") -> Record:
    return Record(user, status, text, "", 5, 0, "phone", version)  # type: ignore[arg-type]


async def take(watch: presenced.Watch, count: int) -> list[tuple[str, str, str]]:
    async with asyncio.timeout(PATIENCE_S):
        return [(change.user, change.kind, change.new.status) for change in [await anext(watch) for _ in range(count)]]


class TestOpening:
    async def test_the_hello_says_who_and_on_which_device(self, server: FakeServer) -> None:
        url = f"presence://al%40x:to%3Aken@127.0.0.1:{server.port}/laptop?kind=desktop&name=My%20Mac&priority=5"
        async with presenced.connect(url, status="chat") as me:
            assert (me.user, me.device, me.state) == ("al@x", "laptop", "connected")
        hello = server.of(Hello)[0]
        assert (hello.user, hello.token, hello.device, hello.kind) == ("al@x", "to:ken", "laptop", "desktop")
        assert (hello.name, hello.priority, hello.status, hello.idle_ms) == ("My Mac", 5, "chat", None)

    async def test_it_can_be_awaited_as_well(self, server: FakeServer) -> None:
        me = await presenced.connect(server.url())
        assert await me.ping() >= 0
        await me.close()
        assert me.state == "closed"
        with pytest.raises(ConnectionLost, match="this client is closed"):
            await me.ping()

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("presence://127.0.0.1:1/laptop", "names no user"),
            ("presence://alice@127.0.0.1:1", "names no device; write presence://alice@127.0.0.1:1/laptop"),
            ("http://alice@127.0.0.1:1/laptop", "does not start with presence://"),
        ],
    )
    async def test_an_address_that_cannot_work_says_what_to_write(self, url: str, reason: str) -> None:
        with pytest.raises(AddressError, match=reason):
            await presenced.connect(url)

    async def test_the_parts_of_the_address_may_be_given_as_they_are(self, server: FakeServer) -> None:
        options: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "token": "to:k@n/?#%"}
        user, device, name = "x@evil.example:9", "desk#1?a=b%", "My Mac & me"
        async with presenced.connect(user=user, device=device, name=name, kind="web", priority=-1, **options) as me:
            assert (me.user, me.device) == (user, device)
        async with presenced.connect_service(user=user, **options):
            pass
        mine, theirs = server.of(Hello)
        assert (mine.user, mine.device, mine.kind, mine.name, mine.priority) == (user, device, "web", name, -1)
        assert mine.token == theirs.token == options["token"] and (theirs.user, theirs.device) == (user, "")

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({}, "give a URL, or its parts"),
            ({"user": "alice", "device": "d"}, "give a URL, or its parts"),
            ({"url": "presence://alice@h/d", "host": "h"}, "a URL was given, and host as well"),
            ({"url": "presence://alice@h/d", "user": "bob", "tls": False}, "a URL was given, and user, tls as well"),
            ({"host": "h", "device": "d"}, "names no user"),
            ({"host": "h", "user": "alice"}, "names no device"),
            ({"host": "", "user": "alice", "device": "d"}, "names no host"),
            ({"host": "h:5250", "user": "alice", "device": "d"}, "port, user and device are given apart"),
            ({"host": "evil@h", "user": "alice", "device": "d"}, "port, user and device are given apart"),
            ({"host": "h/x", "user": "alice", "device": "d"}, "port, user and device are given apart"),
            ({"host": "h", "port": 0, "user": "alice", "device": "d"}, "has port 0"),
            ({"host": "h", "user": "a/b", "device": "d"}, "user name holds U\\+002F"),
            ({"host": "h", "user": "alice", "device": "d", "priority": 128}, "from -128 to 127"),
        ],
    )
    async def test_parts_that_cannot_be_meant_are_refused(self, options: dict[str, Any], says: str) -> None:
        with pytest.raises(AddressError, match=says):
            await presenced.connect(**options)

    async def test_a_service_needs_no_device(self, server: FakeServer) -> None:
        async with presenced.connect_service(server.url("app", "")):
            assert server.of(Hello)[0].role == "service"

    async def test_nobody_there(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            with pytest.raises(ConnectionLost, match="Connection refused.*is presenced running") as caught:
                await presenced.connect(f"presence://alice@127.0.0.1:{port}/laptop")
        assert (caught.value.code, caught.value.temporary) == ("unreachable", True)

    async def test_a_peer_that_says_nothing_is_not_waited_for_longer_than_asked(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            with pytest.raises(ConnectionLost, match="said nothing for 0.05 s") as caught:
                await presenced.connect(f"presence://alice@127.0.0.1:{port}/laptop", timeout_s=0.05)
        assert caught.value.code == "no_answer"

    @pytest.mark.parametrize(
        ("answer", "kind", "code"),
        [
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", ProtocolError, "not_presenced"),
            (b"\0\0\0\0", ProtocolError, "not_presenced"),
            (b"\0\0\0\x01\xc0", ProtocolError, "not_presenced"),
            (b"\0\0\0\x03\x92\x43\x01", ProtocolError, "not_presenced"),
            (b"\0\0\0\x04\x93\x44\x01\x01", ProtocolError, "not_presenced"),
            (b"", ConnectionLost, "no_answer"),
            (b"\0\0", ConnectionLost, "link_lost"),
        ],
    )
    async def test_a_peer_that_is_not_presenced(self, answer: bytes, kind: type[PresenceError], code: str) -> None:
        async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(answer)
            writer.close()

        async with await asyncio.start_server(reply, "127.0.0.1", 0) as listener:
            port = listener.sockets[0].getsockname()[1]
            with pytest.raises(kind) as caught:
                await presenced.connect(f"presence://alice@127.0.0.1:{port}/laptop")
        assert caught.value.code == code
        assert "split the request" not in str(caught.value), "that is for who sends, and here the server did"

    @pytest.mark.parametrize(
        ("code", "kind", "temporary"),
        [
            ("bad_token", AuthError, False),
            ("token_expired", AuthError, False),
            ("bad_version", ProtocolError, False),
            ("busy", ConnectionLost, True),
            ("device_limit", ConnectionLost, True),
        ],
    )
    async def test_a_refusal_keeps_its_code(
        self, server: FakeServer, code: str, kind: type[PresenceError], temporary: bool
    ) -> None:
        server.refusals = [Goodbye(code, "no", 700)] * 5
        with pytest.raises(kind) as caught:
            await presenced.connect(server.url(), token="t")
        assert (caught.value.code, caught.value.temporary, caught.value.retry_ms) == (code, temporary, 700)
        assert len(server.of(Hello)) == 1

    async def test_plain_tcp_where_tls_was_asked_for(self, server: FakeServer) -> None:
        with pytest.raises(ConnectionLost, match="broke off the TLS handshake.*write presence://") as caught:
            await presenced.connect(server.url().replace("presence:", "presences:"))
        assert (caught.value.code, caught.value.temporary) == ("tls_failed", True), "so does one that is restarted"

    async def test_a_peer_that_answers_something_else_than_tls(self) -> None:
        over = asyncio.Event()

        async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                await reader.read(1)
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                await reader.read()
            writer.close()
            over.set()

        async with await asyncio.start_server(reply, "127.0.0.1", 0) as listener:
            port = listener.sockets[0].getsockname()[1]
            with pytest.raises(ConnectionLost, match="does not speak TLS.*write presence://") as caught:
                await presenced.connect(f"presences://alice@127.0.0.1:{port}/laptop")
            await over.wait()
        assert (caught.value.code, caught.value.temporary) == ("tls_failed", False)

    async def test_cancelling_leaves_nothing_open(self, server: FakeServer) -> None:
        server.answer = lambda message: []
        attempt = asyncio.ensure_future(_open(server.url()))
        await server.until(lambda: server.of(Hello))
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        await server.link.closed.wait()


async def _open(url: str) -> presenced.Client:
    return await presenced.connect(url)


class TestTokens:
    async def test_a_function_is_asked_at_each_attempt(self, server: FakeServer) -> None:
        tokens = iter(["t1", "t2"])
        async with presenced.connect(server.url(), token=lambda: next(tokens)):
            server.link.drop()
            await server.until(lambda: len(server.of(Hello)) == 2)
        assert [hello.token for hello in server.of(Hello)] == ["t1", "t2"]

    async def test_an_async_function_may_replace_a_refused_token_once(self, server: FakeServer) -> None:
        tokens = iter(["old", "new"])

        async def fresh() -> str:
            return next(tokens)

        server.refusals = [Goodbye("token_expired", "over")]
        async with presenced.connect(server.url(), token=fresh):
            assert [hello.token for hello in server.of(Hello)] == ["old", "new"]

    async def test_and_only_once(self, server: FakeServer) -> None:
        server.refusals = [Goodbye("token_expired", "over")] * 9
        with pytest.raises(AuthError, match="over"):
            await presenced.connect(server.url(), token=lambda: "t")
        assert len(server.of(Hello)) == 2

    async def test_an_expiry_on_the_way_is_healed_by_a_function(self, server: FakeServer) -> None:
        async with presenced.connect(server.url(), token=lambda: "t") as me:
            for count in (2, 3):
                server.link.send(Goodbye("token_expired", "over"))
                await server.until(lambda count=count: len(server.of(Hello)) == count)
                await eventually(lambda: me.state == "connected")

    @pytest.mark.parametrize("code", ["bad_token", "token_expired"])
    async def test_coming_back_a_function_is_asked_until_its_token_is_taken(
        self, server: FakeServer, code: str
    ) -> None:
        """While the secret is exchanged, the backend and the server do not agree for a moment."""
        tokens = iter(f"t{number}" for number in range(99))
        async with presenced.connect(server.url(), token=lambda: next(tokens)) as me:
            server.refusals = [Goodbye(code, "not this one")] * 9
            server.link.drop()
            await server.until(lambda: len(server.of(Hello)) == 11)
            await eventually(lambda: me.state == "connected")
        assert [hello.token for hello in server.of(Hello)] == [f"t{number}" for number in range(11)]

    async def test_a_token_from_ahead_is_shown_again(self, server: FakeServer) -> None:
        """The clock that is ahead would put the next one as far ahead."""
        tokens = iter(f"t{number}" for number in range(99))
        async with presenced.connect(server.url(), token=lambda: next(tokens)):
            server.refusals = [Goodbye("token_early", "from ahead", 1)] * 2
            server.link.drop()
            await server.until(lambda: len(server.of(Hello)) == 4)
        assert [hello.token for hello in server.of(Hello)] == ["t0", "t1", "t1", "t1"]

    async def test_also_if_it_is_a_string(self, server: FakeServer) -> None:
        async with presenced.connect(server.url(), token="t") as me:
            server.refusals = [Goodbye("token_early", "from ahead", 1)]
            server.link.drop()
            await server.until(lambda: len(server.of(Hello)) == 3)
            await eventually(lambda: me.state == "connected")

    async def test_and_ends_a_client_with_a_fixed_token(self, server: FakeServer) -> None:
        async with presenced.connect(server.url(), token="t") as me:
            server.link.send(Goodbye("token_expired", "over"))
            await eventually(lambda: me.state == "closed")
            assert isinstance(me.reason, AuthError)

    async def test_what_the_function_raises_is_told(self, server: FakeServer) -> None:
        def fail() -> str:
            raise OSError("vault is down")

        with pytest.raises(AuthError, match="vault is down") as caught:
            await presenced.connect(server.url(), token=fail)
        assert (caught.value.code, caught.value.temporary) == ("token_failed", True)


class TestRequests:
    async def test_until_is_sent_as_a_duration_and_missing_fields_stay_null(self, server: FakeServer) -> None:
        async with presenced.connect(server.url()) as me:
            await me.set_status("dnd", until=90)
            await me.set_text("lunch", emoji="\U0001f334")
            await me.clear()
            await me.set_device(priority=7)
        assert [msgspec.structs.replace(message, id=1) for message in server.of(SetStatus)] == [
            SetStatus(1, "dnd", None, None, 90_000),
            SetStatus(1, None, "lunch", "\U0001f334", 0),
            SetStatus(1, "auto", "", "", 0),
        ]
        assert [(message.status, message.priority) for message in server.of(SetDevice)] == [(None, 7)]

    async def test_wrong_arguments_are_refused_before_anything_is_sent(self, server: FakeServer) -> None:
        async with presenced.connect(server.url()) as me:
            attempts: list[Any] = [
                lambda: me.set_status("lunch"),  # type: ignore[arg-type]
                lambda: me.set_status("dnd", text="a\nb"),
                lambda: me.set_text("x" * 513),
                lambda: me.set_device(status="offline"),  # type: ignore[arg-type]
                lambda: me.set_device(priority=128),
                lambda: me.get_status(""),
                lambda: me.who(limit=257),
            ]
            for attempt in attempts:
                with pytest.raises(AddressError):
                    await attempt()
            with pytest.raises(AddressError):
                me.idle(float("nan"))
        assert not server.of(SetStatus) and not server.of(SetDevice)

    async def test_many_users_are_asked_for_in_pieces(self, server: FakeServer) -> None:
        server.welcome = msgspec.structs.replace(server.welcome, users_per_request_max=3)
        names = [f"u{number}" for number in range(8)]
        async with presenced.connect(server.url()) as me:
            assert list(await me.get_statuses(names)) == names
            assert await me.get_statuses([]) == {}

    async def test_a_refused_request_raises_its_code_and_disturbs_no_other(self, server: FakeServer) -> None:
        def answer(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, SetStatus):
                return [Error(message.id, "overloaded", "failed", 300)]
            return server.plainly(message)

        server.answer = answer
        async with presenced.connect(server.url()) as me:
            refused, rtt = await asyncio.gather(me.set_status("dnd"), me.ping(), return_exceptions=True)
        assert isinstance(refused, RequestError)
        assert (refused.code, refused.temporary, refused.retry_ms) == ("overloaded", True, 300)
        assert isinstance(rtt, float)

    async def test_a_server_that_does_not_answer(self, server: FakeServer) -> None:
        server.answer = lambda message: server.plainly(message) if isinstance(message, Hello) else []
        async with presenced.connect(server.url(), request_timeout_s=0.05) as me:
            with pytest.raises(RequestTimeout, match=r"within 0\.05 s"):
                await me.set_status("dnd")
            assert not session_of(me)._pending

    async def test_a_reply_of_another_kind_is_the_servers_fault(self, server: FakeServer) -> None:
        def answer(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, Ping):
                return server.plainly(SetStatus(message.id))
            return server.plainly(message)

        server.answer = answer
        async with presenced.connect(server.url()) as me:
            with pytest.raises(ProtocolError, match="answered with a Done"):
                await me.ping()


class TestReturning:
    async def test_requests_in_flight_are_sent_again(self, server: FakeServer) -> None:
        def lose_the_first(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, SetStatus) and len(server.links) == 1:
                server.link.drop()
                return []
            return server.plainly(message)

        server.answer = lose_the_first
        async with presenced.connect(server.url()) as me:
            await me.set_status("dnd")
        assert [message.status for message in server.of(SetStatus)] == ["dnd", "dnd"]

    async def test_offline_only_the_last_own_state_is_kept(self, server: FakeServer) -> None:
        async with presenced.connect(server.url()) as me:
            server.refusals = [Goodbye("busy", "full", 50)]
            server.link.drop()
            await eventually(lambda: me.state == "connecting")
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*[me.set_status(status) for status in ("away", "xa", "dnd")])
        assert [message.status for message in server.of(SetStatus)] == ["dnd"]

    async def test_without_a_link_a_request_ends_with_the_reason(self, server: FakeServer) -> None:
        async with presenced.connect(server.url(), request_timeout_s=0.05) as me:
            server.refusals = [Goodbye("busy", "full", 1)] * 10_000
            server.link.drop()
            await eventually(lambda: me.state == "connecting")
            await eventually(lambda: me.reason is not None and me.reason.code == "busy")
            with pytest.raises(ConnectionLost, match=r"no link to the server for 0\.05 s: full"):
                await me.get_status("bob")

    async def test_the_servers_advice_reaches_the_backoff(
        self, server: FakeServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        advice: list[int] = []

        def delay_ms(backoff: Backoff, retry_ms: int = 0) -> int:
            advice.append(retry_ms)
            return 0

        monkeypatch.setattr(Backoff, "delay_ms", delay_ms)
        async with presenced.connect(server.url()):
            server.refusals = [Goodbye("busy", "full", 1234)]
            server.link.send(Goodbye("going_away", "stopping", 777))
            await server.until(lambda: len(server.of(Hello)) == 3)
        assert advice == [777, 1234]

    async def test_the_device_comes_back_as_it_was_left(self, server: FakeServer) -> None:
        async with presenced.connect(server.url()) as me:
            await me.set_device(status="dnd", priority=3)
            me.idle(1000)
            server.link.drop()
            await server.until(lambda: len(server.of(Hello)) == 2)
        hello = server.of(Hello)[1]
        assert (hello.status, hello.priority) == ("dnd", 3)
        assert hello.idle_ms is not None and hello.idle_ms >= 1_000_000, "coming back is not activity"

    async def test_nothing_comes_back_that_was_refused_or_never_answered(self, server: FakeServer) -> None:
        def answer(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, SetDevice):
                return [Error(message.id, "read_only", "full")] if message.status == "xa" else []
            return server.plainly(message)

        server.answer = answer
        async with presenced.connect(server.url(), request_timeout_s=0.2) as me:
            with pytest.raises(RequestError, match="full"):
                await me.set_device(status="xa")
            with pytest.raises(RequestTimeout):
                await me.set_device(priority=9)
            with pytest.raises(RequestTimeout):
                await me.rename_device("laptop", "new")
            server.link.drop()
            await server.until(lambda: len(server.of(Hello)) == 2)
        hello = server.of(Hello)[1]
        assert (hello.status, hello.priority, hello.name) == ("online", 0, "")

    async def test_of_what_was_set_without_a_link_the_last_comes_back(self, server: FakeServer) -> None:
        async with presenced.connect(server.url()) as me:
            server.refusals = [Goodbye("busy", "full", 50)]
            server.link.drop()
            await eventually(lambda: me.state == "connecting")
            await asyncio.gather(*[me.set_device(status=status) for status in ("away", "xa", "dnd")])
            assert [message.status for message in server.of(SetDevice)] == ["dnd"], "one stands for all"
            server.link.drop()
            await server.until(lambda: len(server.of(Hello)) == 4)
        assert server.of(Hello)[-1].status == "dnd"

    @pytest.mark.parametrize("code", [*(code for code, kind in CODES.items() if kind.closes), "of_a_later_version"])
    async def test_it_comes_back_after_what_is_temporary_and_nothing_else(self, server: FakeServer, code: str) -> None:
        temporary = code not in CODES or CODES[code].temporary
        async with presenced.connect(server.url(), token="t") as me:
            reasons: list[PresenceError | None] = []
            me.on_state(lambda state, reason: reasons.append(reason))
            server.link.send(Goodbye(code, "for a reason"))
            await eventually(lambda: reasons and me.state != "connecting")
            assert me.state == ("connected" if temporary else "closed")
            assert reasons[0] is not None and (reasons[0].code, reasons[0].temporary) == (code, temporary)
        assert len(server.of(Hello)) == 1 + temporary

    @pytest.mark.parametrize(
        "said", [b"HTTP/1.0 503 Service Unavailable\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\0\0\0\0"]
    )
    async def test_it_comes_back_where_something_else_answers_for_a_while(
        self, server: FakeServer, said: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A proxy does so while the server behind it is restarted."""
        async with presenced.connect(server.url()) as me:

            def answer(message: ClientMessage) -> list[ServerMessage]:
                if isinstance(message, Hello) and 1 < len(server.of(Hello)) < 5:
                    server.link.writer.write(said)
                    return []
                return server.plainly(message)

            server.answer = answer
            server.link.drop()
            await eventually(lambda: me.state == "connected" and len(server.links) == 5)
            assert await me.ping() >= 0
        assert caplog.text.count("does not speak presenced's protocol") == 3

    @pytest.mark.parametrize("code", ["replaced", "bad_frame", "bad_version"])
    async def test_where_returning_would_repeat_it_the_client_ends(self, server: FakeServer, code: str) -> None:
        server.answer = lambda message: server.plainly(message) if isinstance(message, Hello | Watch) else []
        async with presenced.connect(server.url()) as me:
            watch = me.watch("bob")
            assert await take(watch, 1) == [("bob", "snapshot", "offline")]
            waiting = asyncio.ensure_future(me.get_status("bob"))
            iterating = asyncio.ensure_future(anext(watch))  # type: ignore[arg-type]
            await eventually(lambda: session_of(me)._waiting)
            server.link.send(Goodbye(code, "never again"))
            for future in (waiting, iterating):
                with pytest.raises(PresenceError, match="never again") as caught:
                    await future
                assert caught.value.code == code
            with pytest.raises(PresenceError, match="never again"):
                await me.ping()
            with pytest.raises(PresenceError, match="never again"):
                await anext(watch)
        assert len(server.of(Hello)) == 1

    async def test_without_reconnect_the_first_loss_is_the_end(self, server: FakeServer) -> None:
        async with presenced.connect(server.url(), reconnect=False) as me:
            server.link.drop()
            await eventually(lambda: me.state == "closed")
            assert me.reason is not None and me.reason.code == "link_lost"

    async def test_a_silent_server_is_asked_and_then_given_up(self, server: FakeServer) -> None:
        server.welcome = msgspec.structs.replace(server.welcome, heartbeat_ms=20)
        server.answer = lambda message: server.plainly(message) if isinstance(message, Hello) else []
        async with presenced.connect(server.url(), timeout_s=2.0) as me:
            reasons: list[PresenceError | None] = []
            me.on_state(lambda state, reason: reasons.append(reason))
            await server.until(lambda: len(server.of(Hello)) == 2)
            assert server.of(Ping) and server.of(Heartbeat)
            assert reasons[0] is not None and reasons[0].code == "silent"

    async def test_a_server_that_talks_nonsense_is_left_and_called_again(self, server: FakeServer) -> None:
        async with presenced.connect(server.url()) as me:
            reasons: list[PresenceError | None] = []
            me.on_state(lambda state, reason: reasons.append(reason))
            server.link.writer.write(b"\0\0\0\x01\xc0")
            await server.until(lambda: len(server.of(Hello)) == 2)
            await eventually(lambda: me.state == "connected")
            assert reasons[0] is not None and (reasons[0].code, reasons[0].temporary) == ("garbled", True)

    async def test_messages_of_a_later_version_are_passed_over(self, server: FakeServer) -> None:
        async with presenced.connect(server.url()) as me:
            server.link.writer.write(b"\0\0\0\x03\x92\x7f\x01")
            await me.ping()
        assert len(server.of(Hello)) == 1


class TestLog:
    """What the logger `presenced.client` says of a client's links."""

    async def test_a_lost_link_the_attempts_and_the_return(
        self, server: FakeServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "presenced.client")
        async with presenced.connect(server.url(), token=lambda: "S3CRET") as me:
            server.refusals = [Goodbye(code, "full") for code in ("busy", "busy", "bad_token", "bad_token")]
            server.link.drop()
            await eventually(lambda: me.state == "connected" and len(server.links) == 6)
        peer = f"alice/laptop at 127.0.0.1:{server.port}"
        lines = [(record.levelname, record.getMessage()) for record in caplog.records]
        assert lines[0] == ("INFO", f"{peer}: connected")
        assert lines[1][0] == "WARNING"
        assert lines[1][1].startswith(f"{peer}: the link is lost, reconnecting: the link to 127.0.0.1:")
        assert [level for level, _ in lines[2:]] == ["WARNING", "ERROR", "ERROR", "INFO"], "busy is told once"
        assert lines[2][1].endswith("s: full (busy)") and "trying again in 0.0 s" in lines[3][1]
        assert lines[-1][1].startswith(f"{peer}: connected again after ")
        assert "S3CRET" not in caplog.text

    async def test_the_end(self, server: FakeServer, caplog: pytest.LogCaptureFixture) -> None:
        async with presenced.connect(server.url()) as me:
            server.link.send(Goodbye("replaced", "by another"))
            await eventually(lambda: me.state == "closed")
        assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
            ("ERROR", f"alice/laptop at 127.0.0.1:{server.port}: ended for good: by another (replaced)")
        ]

    async def test_a_callback_that_holds_the_loop(
        self, server: FakeServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("presenced.client.callbacks.SLOW_S", 0.05)
        monkeypatch.setattr("presenced.client.reconnect.LATE_MS", 50)
        server.welcome = msgspec.structs.replace(server.welcome, heartbeat_ms=20)

        def hold(state: str, reason: PresenceError | None) -> None:
            until_s = time.monotonic() + 0.15
            while time.monotonic() < until_s:
                pass

        async with presenced.connect(server.url()) as me:
            me.on_state(hold)
            server.link.drop()
            await eventually(lambda: "a heartbeat is" in caplog.text)
        assert re.search(r"a state callback \(.*hold\) held the event loop for 0\.\d s: heartbeats", caplog.text)
        assert "alice/laptop at 127.0.0.1" in caplog.text and "the event loop stood still" in caplog.text


class TestLeftUnclosed:
    async def test_one_that_is_dropped_says_so_and_leaves(self, server: FakeServer) -> None:
        me = await presenced.connect(server.url())
        with pytest.warns(ResourceWarning, match="unclosed <presenced.Client alice/laptop at .*, connected>"):
            del me
        await server.until(lambda: server.of(Bye))
        await server.link.closed.wait()

    async def test_a_service_too(self, server: FakeServer) -> None:
        p = await presenced.connect_service(server.url("app", ""))
        with pytest.warns(ResourceWarning, match="unclosed <presenced.Service app at .*, connected>"):
            del p
            gc.collect()
        await server.until(lambda: server.of(Bye))

    @pytest.mark.parametrize("kind", ["on_state", "on_own", "on_taken", "on"])
    async def test_a_callback_is_a_use_until_it_is_ended(self, server: FakeServer, kind: str) -> None:
        is_service = kind in ("on", "on_taken")
        client: Any = await (presenced.connect_service(server.url("app", "")) if is_service else _open(server.url()))
        end = client.on("online", print) if kind == "on" else getattr(client, kind)(print)
        link_state = client._connection.link_state
        del client
        gc.collect()
        server.link.drop()
        await eventually(lambda: len(server.of(Hello)) == 2 and link_state.state == "connected")
        assert not server.of(Bye)
        with pytest.warns(ResourceWarning, match="unclosed"):
            end()
            del end
            await eventually(lambda: gc.collect() is not None and server.of(Bye))

    async def test_a_watch_is_a_use_too(self, server: FakeServer) -> None:
        watch = (await presenced.connect(server.url())).watch("bob")
        gc.collect()
        assert await take(watch, 1) == [("bob", "snapshot", "offline")]
        await watch._owner.close(bye=True)

    async def test_one_that_never_came_about_or_was_closed_is_silent(self, server: FakeServer) -> None:
        server.refusals = [Goodbye("busy", "full")]
        with pytest.raises(ConnectionLost):
            await presenced.connect(server.url())
        me = await presenced.connect(server.url())
        await me.close()
        del me
        gc.collect()

    def test_a_program_that_ends_without_closing_is_told(self, daemon: Daemon) -> None:
        code = f"import asyncio, presenced\nasync def main(): me = await presenced.connect({daemon.url('u', 'd')!r})\n"
        done = subprocess.run(
            [sys.executable, "-W", "always::ResourceWarning", "-c", f"{code}asyncio.run(main())"],
            cwd=REPOSITORY, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert "ResourceWarning: unclosed <presenced.Client u/d at" in done.stderr
        assert "Traceback" not in done.stderr and "never retrieved" not in done.stderr and done.returncode == 0


async def test_clients_and_what_they_give_show_what_they_are_and_no_token(server: FakeServer) -> None:
    url = server.url().replace("alice@", "alice:S3CRET@")
    async with presenced.connect(url, token="S3CRET") as me, presenced.connect_service(server.url("app", "")) as p:
        peer = f"127.0.0.1:{server.port}"
        assert repr(me) == f"<presenced.Client alice/laptop at {peer}, connected>"
        assert repr(p) == f"<presenced.Service app at {peer}, connected>"
        assert repr(reconnect_of(me)._link) == f"<Link to {peer}, open>"
        assert repr(me.watch("bob", "carol")) == "<presenced.Watch of bob, carol>"
        assert repr(me.watch(*[f"u{number}" for number in range(9)])) == "<presenced.Watch of u0, u1, u2 and 6 more>"
        assert repr(me.watch_channel("general")) == "<presenced.ChannelWatch of general>"
        assert "S3CRET" not in repr(me._connection.identity) + repr(me._connection.identity.url)
    assert repr(me) == f"<presenced.Client alice/laptop at {peer}, closed>"


class TestWatching:
    async def test_a_snapshot_of_each_and_then_changes(self, server: FakeServer) -> None:
        server.records["bob"] = record("bob")
        async with presenced.connect(server.url()) as me, me.watch("bob", "carol") as watch:
            assert await take(watch, 2) == [("bob", "snapshot", "online"), ("carol", "snapshot", "offline")]
            server.link.send(Presence(record("bob", "dnd", 5)), Presence(record("carol", "away", 6)))
            assert await take(watch, 2) == [("bob", "status", "dnd"), ("carol", "online", "away")]
            assert watch.records["bob"].status == "dnd"

    async def test_after_a_lost_link_only_differences(self, server: FakeServer) -> None:
        server.records = {"bob": record("bob"), "carol": record("carol")}
        async with presenced.connect(server.url()) as me, me.watch("bob", "carol") as watch:
            await take(watch, 2)
            server.records = {"bob": record("bob"), "carol": record("carol", "dnd", 1)}
            server.new_epoch()
            server.link.drop()
            assert await take(watch, 1) == [("carol", "status", "dnd")]
            assert watch._feed.take() is None

    async def test_a_slow_consumer_gets_the_latest_only(self, server: FakeServer) -> None:
        async with presenced.connect(server.url()) as me, me.watch("bob") as watch:
            await take(watch, 1)
            for version in range(1, 3001):
                server.link.send(Presence(record("bob", ("away", "dnd")[version % 2], version)))
            server.link.send(Presence(record("bob", "xa", 4000)))
            await eventually(lambda: watch.records["bob"].version == 4000)
            assert await take(watch, 1) == [("bob", "online", "xa")]
            assert watch._feed.take() is None

    async def test_a_record_of_version_0_is_always_taken(self, server: FakeServer) -> None:
        async with presenced.connect(server.url()) as me, me.watch("bob") as watch:
            await take(watch, 1)
            server.link.send(Presence(record("bob", "dnd", 90)))
            assert await take(watch, 1) == [("bob", "online", "dnd")]
            server.link.send(Presence(record("bob", "away", 89)), Presence(record("bob", "offline", 0)))
            assert await take(watch, 1) == [("bob", "offline", "offline")]
            # And what is known of the user again need not be newer than it was.
            server.link.send(Presence(record("bob", "away", 90)))
            assert await take(watch, 1) == [("bob", "online", "away")]

    async def test_overlapping_watches_ask_the_server_once(self, server: FakeServer) -> None:
        async with presenced.connect(server.url()) as me:
            async with me.watch("bob") as first:
                async with me.watch("bob", "carol") as second:
                    await take(first, 1)
                    await take(second, 2)
                await server.until(lambda: server.of(Unwatch))
            await server.until(lambda: len(server.of(Unwatch)) == 2)
        assert [message.users for message in server.of(Watch)] == [["bob"], ["carol"]]
        assert [message.users for message in server.of(Unwatch)] == [["carol"], ["bob"]]

    async def test_users_can_be_added_and_removed(self, server: FakeServer) -> None:
        async with presenced.connect(server.url()) as me, me.watch("bob") as watch:
            await watch.add("carol", "bob")
            assert await take(watch, 2) == [("bob", "snapshot", "offline"), ("carol", "snapshot", "offline")]
            await watch.remove("bob")
            assert watch.users == ["carol"] and "bob" not in watch.records
            server.link.send(Presence(record("bob", "dnd", 5)), Presence(record("carol", "away", 6)))
            assert await take(watch, 1) == [("carol", "online", "away")]

    async def test_removing_many_cuts_off_no_later_watch(self, server: FakeServer) -> None:
        names = [f"u{number:03}" for number in range(300)]
        async with presenced.connect(server.url()) as me, me.watch(*names) as watch:
            await take(watch, 300)
            removing = asyncio.ensure_future(watch.remove(*names))
            await asyncio.sleep(0)
            async with me.watch(names[-1]) as later:
                await take(later, 1)
                await removing
                told = [message for message in server.received if isinstance(message, Watch | Unwatch)]
        assert [(type(message), len(message.users)) for message in told] == [
            (Watch, 256),
            (Watch, 44),
            (Unwatch, 256),
            (Unwatch, 44),
            (Watch, 1),
        ], "the last word about this user is that they are watched"

    async def test_a_refused_removal_is_told_once_all_is_answered(self, server: FakeServer) -> None:
        def answer(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, Unwatch):
                return [Error(message.id, "overloaded", "failed")]
            return server.plainly(message)

        server.answer = answer
        names = [f"u{number:03}" for number in range(600)]
        async with presenced.connect(server.url()) as me, me.watch(*names) as watch:
            with pytest.raises(RequestError, match="failed"):
                await watch.remove(*names)
            await me.ping()
            assert watch.users == [] and not session_of(me)._waiting and not session_of(me)._pending

    async def test_breaking_out_and_dropping_it_unwatches(self, server: FakeServer) -> None:
        async with presenced.connect(server.url()) as me:
            async for _ in me.watch("bob"):
                break
            gc.collect()
            await server.until(lambda: server.of(Unwatch))
            assert not users_of(me)._users and not users_of(me)._feeds

    async def test_a_refused_watch_raises_and_leaves_nothing_behind(self, server: FakeServer) -> None:
        def answer(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, Watch):
                return [Error(message.id, "watch_limit", "too many")]
            return server.plainly(message)

        server.answer = answer
        async with presenced.connect(server.url()) as me:
            with pytest.raises(RequestError, match="too many"):
                async with me.watch("bob"):
                    raise AssertionError("it was entered")
            with pytest.raises(RequestError, match="too many"):
                await anext(me.watch("bob"))
            assert not users_of(me)._users

    async def test_closing_the_client_ends_the_iteration(self, server: FakeServer) -> None:
        async with presenced.connect(server.url()) as me:
            watch = me.watch("bob")
            await take(watch, 1)
            iterating = asyncio.ensure_future(_count(watch))
        async with asyncio.timeout(PATIENCE_S):
            assert await iterating == 0
        with pytest.raises(ConnectionLost):
            await watch.add("carol")


async def _count(watch: presenced.Watch) -> int:
    return len([change async for change in watch])


class TestIdle:
    async def test_without_reports_heartbeats_say_nothing_of_the_person(self, server: FakeServer) -> None:
        server.welcome = msgspec.structs.replace(server.welcome, heartbeat_ms=20)
        async with presenced.connect(server.url()):
            await server.until(lambda: len(server.of(Heartbeat)) >= 3)
        assert {message.idle_ms for message in server.of(Heartbeat)} == {None}

    async def test_the_first_report_is_told_at_once(self, server: FakeServer) -> None:
        async with presenced.connect(server.url()) as me:
            me.active()
            me.active()
            await me.ping()
        assert [message.idle_ms for message in server.of(Heartbeat)] == [0]

    async def test_input_after_absence_is_told_at_once(self, server: FakeServer) -> None:
        async with presenced.connect(server.url(), idle=400) as me:
            me.active()
            me.active()
            await me.ping()
        hello_idle_ms = server.of(Hello)[0].idle_ms
        assert hello_idle_ms is not None and 400_000 <= hello_idle_ms < 460_000
        assert len(server.of(Heartbeat)) == 1 and server.of(Heartbeat)[0].idle_ms == 0


class TestCallbacks:
    async def test_states_are_told_in_order(self, server: FakeServer) -> None:
        states: list[tuple[str, str]] = []
        async with presenced.connect(server.url()) as me:
            end = me.on_state(lambda state, reason: states.append((state, reason.code if reason else "")))
            server.link.drop()
            await eventually(lambda: len(states) == 2)
            end()
        assert states == [("connecting", "link_lost"), ("connected", "")]

    async def test_one_may_await_the_client(self, server: FakeServer) -> None:
        async with presenced.connect(server.url()) as me:
            told: list[float] = []

            async def callback(state: str, reason: PresenceError | None) -> None:
                told.append(await me.ping())

            me.on_state(callback)
            server.link.drop()
            await eventually(lambda: len(told) == 2)

    async def test_one_that_raises_is_reported_and_hurts_nobody(self, server: FakeServer) -> None:
        reported: list[str] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: reported.append(str(context["exception"]))
        )

        def plain(state: str, reason: PresenceError | None) -> None:
            raise ValueError(f"plain {state}")

        async def waiting(state: str, reason: PresenceError | None) -> None:
            raise ValueError(f"async {state}")

        async with presenced.connect(server.url()) as me:
            me.on_state(plain)
            me.on_state(waiting)
            server.link.drop()
            await eventually(lambda: len(reported) == 4)
            await me.ping()
            assert sorted(reported) == ["async connected", "async connecting", "plain connected", "plain connecting"]
            me._connection.link_state._told.clear()


class TestLeaving:
    async def test_leaving_the_block_says_bye(self, server: FakeServer) -> None:
        async with presenced.connect(server.url()):
            pass
        assert isinstance(server.received[-1], Bye)

    async def test_an_exception_leaves_without_bye(self, server: FakeServer) -> None:
        with pytest.raises(ZeroDivisionError):
            async with presenced.connect(server.url()):
                raise ZeroDivisionError
        await server.link.closed.wait()
        assert not server.of(Bye)

    async def test_so_does_close_if_asked(self, server: FakeServer) -> None:
        me = await presenced.connect(server.url())
        await me.close(bye=False)
        await me.close()
        await server.link.closed.wait()
        assert not server.of(Bye)

    async def test_cancelling_says_bye_and_ends_all_tasks(self, server: FakeServer) -> None:
        async def program() -> None:
            async with presenced.connect(server.url()) as me, me.watch("bob") as watch:
                async for _ in watch:
                    pass

        running = asyncio.ensure_future(program())
        await server.until(lambda: server.of(Watch))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert server.of(Bye)
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("presenced client")]

    async def test_closing_while_coming_back(self, server: FakeServer) -> None:
        server.refusals = []
        me = await presenced.connect(server.url())
        server.refusals = [Goodbye("busy", "full", 60_000)]
        server.link.drop()
        await eventually(lambda: me.reason is not None and me.reason.code == "busy")
        waiting = asyncio.ensure_future(me.get_status("bob"))
        await eventually(lambda: session_of(me)._waiting)
        async with asyncio.timeout(PATIENCE_S):
            await me.close()
        with pytest.raises(ConnectionLost, match="closed"):
            await waiting


class TestKeeping:
    async def test_a_ping_may_be_answered_late(self, server: FakeServer) -> None:
        """Over a slow network: as late as any other reply."""
        server.welcome = msgspec.structs.replace(server.welcome, heartbeat_ms=50, timeout_ms=125)
        server.answer = lambda message: [] if isinstance(message, Ping) else server.plainly(message)
        async with presenced.connect(server.url(), timeout_s=PATIENCE_S) as me:
            await server.until(lambda: server.of(Ping))
            beats = len(server.of(Heartbeat))
            await server.until(lambda: len(server.of(Heartbeat)) >= beats + 3)
            assert len(server.of(Hello)) == 1 and me.state == "connected", "its link was given up for a late answer"

    async def test_the_backoff_is_told_how_long_each_link_held(
        self, server: FakeServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Otherwise every loss after one outage would wait as long as the last of that outage."""
        told: list[int] = []

        class Told(Backoff):
            def link_ended(self, lasted_ms: int) -> None:
                told.append(lasted_ms)
                super().link_ended(lasted_ms)

        monkeypatch.setattr("presenced.client.reconnect.Backoff", Told)
        async with presenced.connect(server.url()) as me:
            for number in (1, 2):
                server.link.drop()
                await server.until(lambda number=number: len(server.of(Hello)) == number + 1)
                await eventually(lambda: me.state == "connected")
        assert len(told) == 2 and min(told) >= 0
