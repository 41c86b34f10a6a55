"""Peers that send much, send nothing, or do not read: what they cost the others, counted in passes and not in time."""

from __future__ import annotations

import os
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from presenced import limits
from presenced.server.transports.websocket import LAST_BYTES_MAX, WebSocketTransport
from tests.support.certificates import make_certificate
from tests.support.doors import serving
from tests.support.raw_websocket import (
    CONT,
    JSON,
    MSGPACK,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    client_frame,
    handshake,
)
from tests.support.tiers import samples
from tests.support.until import until
from tests.support.wire import DONE, RECORDS, Bystander, opened

BOTH = pytest.mark.parametrize("kind", [JSON, MSGPACK])


class Passes:
    """How many frames of WebSocket the server reads within one call of the loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most = self.total = self._now = 0
        feed, parse = WebSocketTransport._feed, WebSocketTransport._parse

        def counted(transport: WebSocketTransport, data: bytes) -> None:
            self._now += 1
            self.total += 1
            feed(transport, data)

        def begun(transport: WebSocketTransport) -> None:
            self._now = 0
            parse(transport)
            self.most = max(self.most, self._now)

        monkeypatch.setattr(WebSocketTransport, "_feed", counted)
        monkeypatch.setattr(WebSocketTransport, "_parse", begun)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    return Passes(monkeypatch)


FLOODS = {
    "empty pings": client_frame(PING),
    "pings": client_frame(PING, bytes(125)),
    "pongs that nobody has asked for": client_frame(PONG),
    "empty pieces of a message": client_frame(CONT, fin=False),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=list(FLOODS))
def test_a_flood_is_read_in_pieces_at_the_pace_of_its_user(flood: bytes, passes: Passes) -> None:
    """Others are answered in between: no pass reads more frames than the bound, however many are there."""
    with serving() as (server, port):
        bystander = Bystander(server.port)
        with RawWebSocket(port) as link:
            link.greet("flooding")
            begin = client_frame(TEXT, b"[", fin=False) if flood == FLOODS["empty pieces of a message"] else b""
            many = 2 * limits.RATE_BURST_UNITS
            link.socket.settimeout(0.5)
            try:
                link.socket.sendall(begin + flood * (1 << 18 >> 3))
            except TimeoutError:
                pass  # It is held back, as it should be.
            for _ in range(10):
                bystander.check()
            server.until(lambda served: bool(served.links.shares.over))
            assert passes.most <= limits.FRAMES_PER_WAKE_MAX
            assert passes.total < many + 100 * limits.RATE_UNITS_PER_S, "they are charged to their user"
        bystander.close()


def test_a_flood_over_tls_is_held_back_as_well(passes: Passes, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "server")
    trust = ssl.create_default_context(cafile=str(certificate))
    with serving(tls_cert=str(certificate), tls_key=str(key), http_tls=True) as (server, port):
        bystander = Bystander(server.port, tls=trust)
        with RawWebSocket(port, tls=trust) as link:
            link.greet("flooding")
            link.send(client_frame(PING) * 2_000 + client_frame(TEXT, b"[4,1]"))
            bystander.check()
            server.until(lambda served: bool(served.links.shares.over))
            assert passes.most <= limits.FRAMES_PER_WAKE_MAX and passes.total < 2_000
            bystander.check()
        bystander.close()


@pytest.mark.parametrize("flood", FLOODS.values(), ids=list(FLOODS))
def test_a_flood_before_hello_ends_the_link(flood: bytes) -> None:
    with serving() as (server, port), RawWebSocket(port) as link:
        begin = client_frame(TEXT, b"[", fin=False) if flood == FLOODS["empty pieces of a message"] else b""
        link.send(begin + flood * 100)
        messages, _, reason = link.ended()
        assert messages[-1][1] == reason == "hello_required"


def test_a_peer_that_goes_on_after_goodbye_is_not_read_for_ever(passes: Passes) -> None:
    with serving() as (server, port), RawWebSocket(port) as link:
        link.greet("talkative")
        link.send(client_frame(11))
        flood = client_frame(PING) * 20_000
        assert len(flood) > LAST_BYTES_MAX
        link.send(flood)
        server.until(lambda served: not served.links)
        assert passes.total < LAST_BYTES_MAX / len(client_frame(PING)) + 100


def test_pieces_without_end_keep_no_memory() -> None:
    with serving() as (server, port), RawWebSocket(port) as link:
        link.greet("nothing")
        link.send(client_frame(TEXT, b"[4", fin=False) + client_frame(CONT, fin=False) * 150)

        def pieces(served: Any) -> int:
            (transport,) = [one.transport for one in served.links]
            return len(transport.fragments or ())

        link.send(client_frame(PING, b"all read?"))
        while (found := link.frame()) is not None and found.opcode != PONG:
            pass
        assert server.ask(pieces) == 1
        link.send(client_frame(CONT, b",1]"))
        assert link.until(68)[1] == 1


# --- who does not read ----------------------------------------------------------------------------------------------


@BOTH
def test_who_does_not_read_gets_the_newest_record_of_each_user_and_frames_that_are_whole(kind: str) -> None:
    """Pings are among what it sends meanwhile: a pong must not be written into the middle of a record."""
    changes = samples(400)
    with serving(rate=0) as (server, port):
        with opened(server.port, "bob") as bob, RawWebSocket(port, kind, receive_bytes=4096) as link:
            link.greet("slow")
            link.say(9, 1, ["bob"])
            link.until(RECORDS)
            for number in range(changes):
                bob.send([5, number + 1, "dnd", f"text {number:4} " + "x" * 200])
                bob.until(DONE)
                if number % 8 == 0:
                    link.send(client_frame(PING, b"still here"))
            bob.send([5, changes + 1, "away", "the last"])
            bob.until(DONE)
            texts = []
            while not texts or texts[-1] != "the last":
                got = link.hear()
                if got[0] == 71:
                    texts.append(got[1][2])
        assert texts == sorted(texts, key=lambda text: (text == "the last", text)), "never an older one"
        assert len(texts) == len(set(texts))


def test_a_pong_waits_behind_what_is_unsent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the loop's buffer has may end within a frame, and the kernel may have room again before it is written."""
    straight: list[bytes] = []
    write = WebSocketTransport.write
    with serving() as (server, port), RawWebSocket(port) as link:
        link.greet("pinging")
        monkeypatch.setattr(WebSocketTransport, "unsent_bytes", property(lambda transport: 10))
        monkeypatch.setattr(WebSocketTransport, "write", lambda transport, data: straight.append(data))
        link.send(client_frame(PING, b"behind"))
        while (found := link.frame()) is not None and found != (PONG, b"behind"):
            pass
        assert found is not None and not [data for data in straight if data[:1] == b"\x8a"]
        monkeypatch.setattr(WebSocketTransport, "write", write)


def test_a_peer_that_does_not_read_is_held_and_told_the_latest_alone() -> None:
    changes = samples(3000)
    with serving(rate=0) as (server, port):
        with opened(server.port, "bob") as bob, RawWebSocket(port, receive_bytes=2048) as link:
            link.greet("asleep")
            link.say(9, 1, ["bob"])
            link.until(RECORDS)

            def is_held(served: Any) -> bool:
                return any(one.is_held for one in served.links if one.session and one.session.user_name == "asleep")

            sent = 0
            while not server.ask(is_held):
                bob.send(*[[5, sent + number + 1, "dnd", f"{sent + number}" + "x" * 250] for number in range(20)])
                sent += 20
                while bob.next()[:2] != [DONE, sent]:
                    pass
                assert sent < 200_000
            for number in range(changes):
                bob.send([5, sent + number + 1, ("dnd", "away")[number % 2], f"held {number}"])
                bob.until(DONE)
            told = []
            while not told or told[-1] != f"held {changes - 1}":
                told.append(link.until(71)[1][2])
            assert len([text for text in told if text.startswith("held")]) == 1


@BOTH
def test_who_does_not_read_over_tls_gets_frames_that_are_whole(kind: str, tmp_path: Path) -> None:
    """There the server keeps what the peer has not taken, and makes frames of it later."""
    certificate, key = make_certificate(tmp_path, "server")
    trust = ssl.create_default_context(cafile=str(certificate))
    names = [f"{'n' * 120}{number}" for number in range(256)]
    with serving(tls_cert=str(certificate), tls_key=str(key), http_tls=True, rate=0) as (server, port):
        with opened(server.port, "bob", tls=trust) as bob:
            with RawWebSocket(port, kind, receive_bytes=4096, tls=trust) as link:
                link.greet("slow")
                link.say(9, 1, ["bob"])
                link.until(RECORDS)
                for number in range(20):
                    link.say(7, 100 + number, names)
                for number in range(100):
                    bob.send([5, number + 1, "dnd", f"text {number}"])
                    bob.until(DONE)
                answers, texts = [], []
                while len(answers) < 20 or "text 99" not in texts:
                    got = link.hear()
                    if got[0] == RECORDS:
                        answers.append(got[1])
                        assert len(got[4]) == 256
                    else:
                        texts.append(got[1][2])
                assert answers == list(range(100, 120)) and len(texts) < 100


@pytest.fixture
def half_open() -> Iterator[list[socket.socket]]:
    sockets: list[socket.socket] = []
    yield sockets
    for one in sockets:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()


TURNS_MAX = 60
"""Turns that it may take to tell one change and to answer one ping: a few, and those of newcomers between."""


def turns_of(served: Any) -> int:
    count: int = served.stats.turn.count
    return count


def connected(port: int) -> socket.socket:
    one = socket.socket()
    one.settimeout(30)
    one.connect(("127.0.0.1", port))
    return one


def test_two_thousand_half_open_handshakes_disturb_nobody(half_open: list[socket.socket]) -> None:
    """Connections without a byte, with half a head, with a head whose body does not come, and WebSockets without a
    hello. Those who are here are served in the same turns as ever, and newcomers find a place."""
    with serving(grace_ms=0) as (server, port):
        bystander = Bystander(server.port)
        with RawWebSocket(port) as web:
            web.greet("here")
            starts = (
                b"",
                b"GET /ws HTTP/1.1\r\nHost: local",
                b"POST /v1/get_status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n{",
                handshake(),
            )
            for number in range(2_000):
                one = connected(port)
                half_open.append(one)
                one.sendall(starts[number % 4])
                if number % 100 == 0:
                    turns = server.ask(turns_of)
                    bystander.check()
                    web.say(4, number + 1)
                    assert web.until(68)[1] == number + 1
                    assert server.ask(turns_of) - turns <= TURNS_MAX
            with RawWebSocket(port, MSGPACK) as newcomer:
                newcomer.greet("new")
            bystander.check()
        bystander.close()


def test_tls_handshakes_that_nobody_finishes_are_bounded(half_open: list[socket.socket], tmp_path: Path) -> None:
    """They take a descriptor each before they take a place, and the listener of presence needs some as well."""
    certificate, key = make_certificate(tmp_path, "server")
    trust = ssl.create_default_context(cafile=str(certificate))
    options = {"tls_cert": str(certificate), "tls_key": str(key), "http_tls": True, "http_max_connections": 32}
    with serving(**options) as (server, port):
        before = len(os.listdir("/proc/self/fd"))
        half_open += [connected(port) for _ in range(100)]
        with RawWebSocket(port, tls=trust) as newcomer:
            newcomer.greet("new")
            http = server.operations.http
            assert http is not None and server.ask(lambda served: len(http._opening)) <= 32
            # Ours, theirs that are left, and the newcomer's two.
            until(lambda: len(os.listdir("/proc/self/fd")) - before <= 100 + 32 + 10, "the others are closed")
            newcomer.say(4, 1)
            assert newcomer.until(68)[1] == 1
