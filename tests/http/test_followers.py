"""Streams of events over HTTP: each event once and in order, over streams that break, and with names."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from presenced import limits
from presenced.http.api.followers import FollowerStream
from presenced.http.connection import HttpConnection
from tests.e2e.tokens import SECRET, signed
from tests.http.asking import APP, Asked, Backend, StreamReader
from tests.support.lowering import lower_in_process
from tests.support.until import PATIENCE_S, until


@pytest.fixture(scope="module")
def server() -> Iterator[Asked]:
    with Asked() as server:
        yield server


@pytest.fixture
def app(server: Asked) -> Iterator[Backend]:
    with server.backend() as app:
        yield app


def test_a_stream_tells_what_happens(server: Asked, app: Backend) -> None:
    with server.stream() as stream:
        assert stream.response.getheader("Content-Type") == "text/event-stream"
        begin = stream.next()
        assert begin["event"] == "following" and begin["data"]["reset"] is False
        assert begin["id"] == f"{begin['data']['epoch']}.{begin['data']['seq']}"
        app.done("attach", user="ann", device="web")
        online = stream.of("ann", "online")
        assert "event" not in online and online["id"] == f"{begin['data']['epoch']}.{online['data']['seq']}"
        app.done("set_status", user="ann", text="à la carte", emoji="📅")
        told = stream.of("ann", "text_change")["data"]
        assert (told["new"], told["new_emoji"]) == ("à la carte", "📅")
        app.done("detach", user="ann", device="web")
        assert stream.of("ann", "offline")["data"]["reason"] == "bye"


def test_a_stream_goes_on_where_it_broke(server: Asked, app: Backend) -> None:
    with server.stream() as stream:
        stream.next()
        app.done("attach", user="bob", device="web")
        seen = stream.of("bob", "online")["id"]
    app.done("set_status", user="bob", status="dnd")
    app.done("detach", user="bob", device="web")
    for query, headers in (
        ("", {"Last-Event-ID": seen}),
        (f"?after={seen}", {}),
        ("?after=1.1", {"Last-Event-ID": seen}),
    ):
        with server.stream(query, {**APP, **headers}) as stream:
            assert stream.next()["id"] == seen
            kinds = [stream.next()["data"]["kind"] for _ in range(4)]
            assert kinds == ["status_change", "status_change", "offline", "status_change"]


def test_a_place_that_is_not_known_is_told(server: Asked) -> None:
    with server.stream("?after=12345.6") as stream:
        assert stream.next()["data"]["reset"] is True


@pytest.mark.parametrize(
    ("query", "headers", "word"),
    [
        ("?after=", {"Last-Event-ID": "abc"}, "Last-Event-ID"),
        ("?after=1", {}, "after"),
        ("?after=1.2.3", {}, "after"),
        ("?after=-1.2", {}, "after"),
        ("?after=%D9%A1.2", {}, "after"),
        ("?after=1." + "9" * 30, {}, "2^53"),
        ("?after=1.99999999999999999", {}, "2^53"),
        ("?befor=1.2", {}, "befor"),
        ("?name=a&name=b", {}, "twice"),
        ("?name", {}, "query"),
        ("?name=%ff", {}, "query"),
        ("?token=x", {}, "Authorization"),
        ("?access_token=x", {}, "Authorization"),
        ("?" + "&".join(f"a{number}=1" for number in range(50)), {}, "query"),
    ],
)
def test_a_question_that_is_wrong_is_refused(server: Asked, query: str, headers: dict[str, str], word: str) -> None:
    with server.stream(query, {**APP, **headers}) as stream:
        said = stream.said()
        assert (stream.status, said["code"]) == (400, "bad_request")
        assert word in said["message"]


def test_who_may_not_follow_is_refused_before_the_stream(server: Asked) -> None:
    with server.stream("", {"Presence-User": "eve", "Presence-Role": "user"}) as stream:
        assert (stream.status, stream.said()["code"]) == (403, "forbidden")
    with server.stream("?name=a/b") as stream:
        assert (stream.status, stream.said()["code"]) == (400, "bad_name")
    with server.stream("", {}) as stream:
        assert (stream.status, stream.said()["code"]) == (401, "bad_token")
    server.until(lambda _: not len(server.door.followings))


def test_a_follower_with_a_name_goes_on_behind_what_it_acknowledged(server: Asked, app: Backend) -> None:
    with server.stream("?name=mail") as stream:
        stream.next()
        app.done("attach", user="cleo", device="web")
        first, second = stream.of("cleo", "online"), stream.next()
        told = app.done("acknowledge", name="mail", id=first["id"])
        assert (told["name"], told["seq"], told["behind"]) == ("mail", first["data"]["seq"], 1)
        assert app.refused("acknowledge", name="mail", id="1.1") == (400, "bad_request")
        assert app.refused("acknowledge", name="mail", id="x") == (400, "bad_request")
        assert app.refused("acknowledge", name="other", id=first["id"]) == (409, "not_followed")
        with server.backend({"Presence-User": "another"}) as another:
            assert another.refused("acknowledge", name="mail", id=first["id"]) == (409, "not_followed")
    server.until(lambda _: not len(server.door.followings))
    assert app.refused("acknowledge", name="mail", id=first["id"]) == (409, "not_followed")
    with server.stream("?name=mail") as stream:
        assert stream.next()["id"] == first["id"]
        assert stream.next() == second
    server.until(lambda _: not len(server.door.followings))
    # Who comes back with a place has handled what is before it.
    with server.stream("?name=mail", {**APP, "Last-Event-ID": second["id"]}) as stream:
        stream.next()
        until(lambda: position(app, "mail") == second["data"]["seq"], "the place is acknowledged")


def position(app: Backend, name: str) -> int:
    (seq,) = [one["seq"] for one in app.done("get_followers", user="app")["followers"] if one["name"] == name]
    return int(seq)


def test_the_last_that_follows_under_a_name_has_it(server: Asked) -> None:
    with server.stream("?name=one") as first, server.stream("?name=one") as second:
        first.next()
        second.next()
        end = first.next()
        assert (end["event"], end["data"]["code"], end["data"]["temporary"]) == ("goodbye", "replaced", False)
        assert first.response.read() == b"", "the stream has ended"


def test_streams_are_bounded(server: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    server.until(lambda _: not len(server.door.followings))
    lower_in_process(monkeypatch, HTTP_STREAMS_PER_USER_MAX=2)
    lower_in_process(monkeypatch, HTTP_STREAMS_MAX=3)
    with server.stream() as one, server.stream() as two:
        one.next()
        two.next()
        with server.stream() as more:
            assert (more.status, more.said()["code"]) == (429, "stream_limit")
        with server.stream("", {"Presence-User": "b"}) as third, server.stream("", {"Presence-User": "c"}) as fourth:
            assert third.next()["event"] == "following"
            assert fourth.status == 429
    server.until(lambda _: not len(server.door.followings))
    with server.stream() as again:
        assert again.status == 200


def test_a_stream_that_is_left_is_over(server: Asked) -> None:
    server.until(lambda _: not len(server.door.followings))
    links = server.ask(lambda server: len(server.links))
    stream = StreamReader(server.http_port)
    stream.next()
    assert server.ask(lambda server: len(server.links)) == links + 1
    stream.reset()
    server.until(lambda server: len(server.links) == links)


def test_silence_is_broken_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    lower_in_process(monkeypatch, HTTP_KEEP_ALIVE_MS=100)
    with Asked(heartbeat_ms=1_000) as server, server.stream() as stream:
        stream.next()
        (session,) = server.ask(lambda server: [link.session for link in server.links])
        for _ in range(3):
            assert stream.response.readline() == b":\n"
            assert stream.response.readline() == b"\n"
        heard_ms = session.heard_ms
        server.until(lambda _: session.heard_ms > heard_ms)
        assert server.ask(lambda server: [link.session for link in server.links]) == [session]


def test_a_reader_that_does_not_read_costs_little_and_misses_nothing(server: Asked, app: Backend) -> None:
    """The events wait in the history, and not for the connection."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.settimeout(PATIENCE_S)
        sock.connect(("127.0.0.1", server.http_port))
        sock.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nPresence-User: app\r\n\r\n")
        read = b""
        while b"following" not in read:
            read += sock.recv(4_096)
        server.ask(lambda _: [lessen(one) for one in server.operations.http.connections])
        app.done("attach", user="max", device="web")
        sent = 0
        while not server.ask(lambda _: any(map(is_holding, server.door.followings))) or sent % 100:
            sent += 1
            app.done("set_status", user="max", text=f"{sent} " + "x" * 480)
            assert sent < 2_000
        unsent = server.ask(
            lambda _: max(one.transport.get_write_buffer_size() for one in server.operations.http.connections)
        )
        assert unsent < limits.SEND_BUFFER_BYTES + 4_096
        while f'"new":"{sent} '.encode() not in read[-8_000:]:
            read += sock.recv(65_536)
        told = [int(text) for text in re.findall(rb'"kind":"text_change"[^{}]*"new":"([0-9]+) ', read)]
        assert told == list(range(1, sent + 1))


def lessen(connection: HttpConnection) -> None:
    connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)


def is_holding(stream: FollowerStream) -> bool:
    return stream._is_holding


def test_a_server_that_stops_says_when_to_come_back(tmp_path: Path) -> None:
    with Asked(data_dir=str(tmp_path / "data")) as server, server.stream() as stream, server.backend() as app:
        stream.next()
        app.done("attach", user="ann", device="web")
        seen = stream.of("ann", "status_change")["id"]
        server.ask(lambda server: server.begin_stop())
        end = stream.next()
        assert (end["event"], end["data"]["code"], end["data"]["temporary"]) == ("goodbye", "going_away", True)
        assert int(end["retry"]) == end["data"]["retry_ms"] > 0
    with Asked(data_dir=str(tmp_path / "data")) as server, server.backend() as app:
        with server.stream("", {**APP, "Last-Event-ID": seen}) as stream:
            begin = stream.next()
            assert begin["data"]["reset"] is False
            app.done("set_status", user="ann", status="dnd")
            assert stream.of("ann", "status_change")["data"]["new"] == "dnd"


def test_a_stream_ends_with_its_token(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    with Asked(dev=False, secret_file=str(tmp_path / "secret")) as server:
        service = {"Authorization": f"Bearer {signed(sub='app', role='service')}"}
        with server.backend(service) as app, server.stream("", service) as stream:
            stream.next()
            app.done("kick", user="app")
            end = stream.next()
            assert (end["event"], end["data"]["code"]) == ("goodbye", "kicked")
        narrow = {"Authorization": f"Bearer {signed(sub='app', role='service', presence={'see': ['x-*']})}"}
        with server.backend(service) as app, server.stream("", narrow) as stream:
            stream.next()
            app.done("attach", user="ann", device="web")
            app.done("attach", user="x-1", device="web")
            assert stream.next()["data"]["user"] == "x-1"
