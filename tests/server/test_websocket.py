"""Links by WebSocket: the protocol of TCP in messages of another kind, with the same meaning, bounds and ends."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given, strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from presenced import limits
from presenced.errors import CODES
from presenced.server.transports.close_codes import CLOSE_CODES
from presenced.server.transports.websocket import WebSocketTransport
from presenced.server.transports.websocket_frames import payloads
from presenced.server.transports.websocket_kinds import JsonWebSocket, MsgpackWebSocket
from presenced.wire.frames import frame
from tests.support.certificates import make_certificate
from tests.support.in_process import InProcess
from tests.support.until import PATIENCE_S
from tests.support.wire import DONE, ERROR, GOODBYE, PONG, PRESENCE, RECORDS, WELCOME, opened

KINDS: dict[str, tuple[type[WebSocketTransport], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "presence.v1.json": (JsonWebSocket, json.dumps, json.loads),
    "presence.v1.msgpack": (MsgpackWebSocket, msgpack.packb, msgpack.unpackb),
}
BOTH = pytest.mark.parametrize("kind", KINDS)


class WebLink:
    """One client by WebSocket that says what a test lets it say."""

    def __init__(self, socket: ClientConnection, kind: str) -> None:
        self.socket = socket
        self._encode, self._decode = KINDS[kind][1:]

    def say(self, *message: Any) -> None:
        self.socket.send(self._encode(list(message)))

    def hear(self) -> list[Any]:
        return self._decode(self.socket.recv(timeout=PATIENCE_S))

    def until(self, type_number: int) -> list[Any]:
        while (message := self.hear())[0] != type_number:
            pass
        return message

    def ended(self) -> tuple[list[list[Any]], int, str]:
        """What was said until the end, and the close code and reason."""
        said = []
        try:
            while True:
                said.append(self.hear())
        except ConnectionClosed as error:
            assert error.rcvd is not None, "the server said nothing at the end"
            return said, error.rcvd.code, error.rcvd.reason


@contextmanager
def serving(**settings: Any) -> Iterator[InProcess]:
    with InProcess(http="127.0.0.1:0", **settings) as server:
        yield server


def address(server: InProcess, scheme: str = "ws") -> str:
    assert server.operations.http is not None
    return f"{scheme}://localhost:{server.operations.http.port}/ws"


@contextmanager
def web(server: InProcess, kind: str, user: str = "", device: str = "tab", **options: Any) -> Iterator[WebLink]:
    with connect(address(server), subprotocols=[Subprotocol(kind)], compression=None, **options) as socket:
        link = WebLink(socket, kind)
        if user:
            link.say(1, [1], "", user, device)
            assert link.hear()[0] == WELCOME
        yield link


# --- the same protocol --------------------------------------------------------------------------------------------


@BOTH
def test_a_link_by_websocket_and_one_by_tcp_see_each_other(kind: str) -> None:
    with serving() as server, opened(server.port, "bob") as bob, web(server, kind, "anna") as anna:
        anna.say(9, 1, ["bob"])
        assert anna.until(RECORDS)[4][0][:2] == ["bob", "online"]
        bob.send([9, 2, ["anna"]])
        assert bob.until(RECORDS)[4][0][:2] == ["anna", "online"]
        anna.say(5, 3, "dnd", "am Gerät", "\N{NO ENTRY}")
        assert anna.until(DONE)[1] == 3
        assert bob.until(PRESENCE)[1][:4] == ["anna", "dnd", "am Gerät", "\N{NO ENTRY}"]
        bob.send([5, 4, "away"])
        assert anna.until(PRESENCE)[1][:2] == ["bob", "away"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9), lambda one: st.lists(one)
    )
)
def test_what_is_json_here_is_the_same_in_msgpack(value: Any) -> None:
    payload = msgpack.packb(value)
    assert json.loads(JsonWebSocket.message_of(payload)) == value
    assert msgpack.unpackb(JsonWebSocket.payload_of(json.dumps(value).encode())) == value
    assert MsgpackWebSocket.payload_of(MsgpackWebSocket.message_of(payload)) == payload


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5))
def test_frames_are_told_apart(some: list[bytes]) -> None:
    assert payloads(b"".join(frame(one) for one in some)) == some


@BOTH
def test_a_push_is_made_into_a_message_once_for_all_links_of_a_kind(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = KINDS[kind][0]
    made: list[bytes] = []
    message_of = transport.message_of

    def counted(payload: bytes) -> bytes:
        made.append(payload)
        return message_of(payload)

    monkeypatch.setattr(transport, "message_of", staticmethod(counted))
    with serving() as server, opened(server.port, "bob") as bob:
        stack = [web(server, kind, f"u{number}") for number in range(5)]
        links = [one.__enter__() for one in stack]
        try:
            for link in links:
                link.say(9, 1, ["bob"])
                link.until(RECORDS)
            made.clear()
            bob.send([5, 1, "dnd"])
            assert all(link.until(PRESENCE)[1][1] == "dnd" for link in links)
        finally:
            for one in stack:
                one.__exit__(None, None, None)
    assert len([payload for payload in made if payload[1] == PRESENCE]) == 1


@BOTH
def test_a_message_in_pieces_with_a_ping_between(kind: str) -> None:
    encode_message = KINDS[kind][1]
    with serving() as server, web(server, kind, "anna") as anna:
        message = encode_message([7, 1, ["anna"]])
        pieces = [message[:3], message[3:5], message[5:]]

        def sent() -> Iterator[Any]:
            for piece in pieces:
                yield piece
                anna.socket.ping()

        anna.socket.send(sent())
        assert anna.until(RECORDS)[4][0][0] == "anna"
        assert anna.socket.ping("are you there").wait(PATIENCE_S)


# --- the end ------------------------------------------------------------------------------------------------------


@BOTH
def test_bye_is_answered_by_the_end_and_whoever_watches_sees_it(kind: str) -> None:
    with serving() as server, opened(server.port, "bob") as bob, web(server, kind, "anna") as anna:
        bob.send([9, 1, ["anna"]])
        bob.until(RECORDS)
        anna.say(5, 1, "dnd")
        anna.say(3)
        said, code, reason = anna.ended()
        assert [DONE] == [one[0] for one in said if one[0] != PRESENCE]
        assert (code, reason) == (1000, "")
        while bob.until(PRESENCE)[1][1] != "offline":
            pass


@BOTH
def test_a_close_frame_without_bye_is_a_lost_link(kind: str) -> None:
    with serving(grace_ms=600_000) as server:
        with web(server, kind, "anna"):
            pass
        server.until(lambda server: not server.links)
        with web(server, kind, "bob") as bob:
            bob.say(7, 1, ["anna"])
            assert bob.until(RECORDS)[4][0][1] == "online"


@pytest.mark.parametrize(
    ("kind", "message", "code"),
    [
        ("presence.v1.json", "[1,", "bad_frame"),
        ("presence.v1.json", "", "bad_frame"),
        ("presence.v1.json", "{}", "bad_frame"),
        ("presence.v1.json", "[1.5,[1]]", "bad_frame"),
        ("presence.v1.json", "[" * 10_000, "bad_frame"),
        ("presence.v1.json", "[99999999999999999999999999,7]", "bad_frame"),
        ("presence.v1.json", "[999999999999999999999," + "[" * 5_000 + "]" * 5_000 + "]", "bad_frame"),
        ("presence.v1.json", b"\x92\x02\xc0", "bad_frame"),
        ("presence.v1.msgpack", b"", "bad_frame"),
        ("presence.v1.msgpack", b"\xc1", "bad_frame"),
        ("presence.v1.msgpack", "[2]", "bad_frame"),
        ("presence.v1.json", "[2," + " " * limits.FRAME_BYTES_MAX + "1]", "frame_too_large"),
        ("presence.v1.msgpack", b"\x91\x02" + b"\x00" * limits.FRAME_BYTES_MAX, "frame_too_large"),
    ],
)
def test_what_cannot_be_read_ends_the_link_with_its_code(kind: str, message: str | bytes, code: str) -> None:
    with serving() as server, web(server, kind, "anna") as anna:
        anna.socket.send(message)
        said, close_code, reason = anna.ended()
        assert said[-1][:2] == [GOODBYE, code]
        assert (close_code, reason) == (CLOSE_CODES[code], code)


DEEP = "[" * 5_000 + "]" * 5_000
HUGE = "99999999999999999999999999"
ODD: dict[str, tuple[str, int, str]] = {
    "an id beyond 64 bits": (f"[7,{HUGE}]", 0, "bad_request"),
    "a field just beyond 64 bits": ('[5,3,"dnd",null,null,18446744073709551616]', 3, "bad_request"),
    "a field of many digits": (f'[5,3,"dnd",null,null,-{"9" * 60_000}]', 3, "bad_request"),
    "a field that no float holds": ('[5,3,"dnd",null,null,1e999]', 3, "bad_request"),
    "a field that is nested deep": (f"[11, 3,{DEEP}]", 3, "bad_request"),
    "an unknown element that is nested deep": (f"[4,3,{DEEP}]", 3, "bad_request"),
    "objects that are nested deep": ('[5,3,"dnd",' + '{"a":[' * 3_000 + "]}" * 3_000 + "]", 3, "bad_request"),
    "a heartbeat that is nested deep": (f"[ 2 ,{DEEP}]", 0, "bad_request"),
    "an unknown type that is nested deep": (f"[191,3,{DEEP}]", 3, "unknown_type"),
    "an unknown type and an id beyond 64 bits": (f"[191,-{HUGE},{DEEP}]", 0, "unknown_type"),
}


@pytest.mark.parametrize(("message", "request_id", "code"), ODD.values(), ids=list(ODD))
def test_json_that_msgpack_has_no_form_for_is_answered(message: str, request_id: int, code: str) -> None:
    with serving() as server, web(server, "presence.v1.json", "anna") as anna:
        anna.socket.send(message)
        assert anna.until(ERROR)[1:3] == [request_id, code]
        anna.say(4, 9)
        assert anna.until(PONG)[1] == 9


def test_numbers_that_msgpack_has_no_form_for_are_ignored_where_no_field_is() -> None:
    with serving() as server, web(server, "presence.v1.json", "anna") as anna:
        anna.socket.send(f'[5,8,null,"{HUGE}",null,0,"","",1e999,-{HUGE},{{"a":[{HUGE},{HUGE}.5,{"9" * 60_000}]}}]')
        assert anna.until(DONE)[1] == 8
        anna.say(7, 9, ["anna"])
        assert anna.until(RECORDS)[4][0][2] == HUGE


@BOTH
def test_the_hello_has_a_bound_of_its_own(kind: str) -> None:
    with serving() as server, web(server, kind) as anna:
        anna.say(1, [1], "x" * limits.HELLO_BYTES_MAX, "anna", "tab")
        said, close_code, _ = anna.ended()
        assert said[-1][:2] == [GOODBYE, "frame_too_large"] and close_code == 4001


def test_a_stop_tells_when_to_come_back() -> None:
    with serving() as server, web(server, "presence.v1.json", "anna") as anna:
        server.carry_out(lambda server: server.stop())
        said, code, reason = anna.ended()
        assert said[-1][:2] == [GOODBYE, "going_away"] and said[-1][3] > 0
        assert (code, reason) == (1001, "going_away")


def test_who_finds_no_room_is_told_so_by_a_goodbye() -> None:
    with serving(max_links=1) as server, web(server, "presence.v1.json", "anna"):
        with web(server, "presence.v1.json") as bob:
            said, code, reason = bob.ended()
        assert said[-1][:2] == [GOODBYE, "busy"] and (code, reason) == (4014, "busy")


def test_every_goodbye_has_a_close_code_and_the_document_has_both() -> None:
    assert set(CLOSE_CODES) == {code for code, meaning in CODES.items() if meaning.closes}
    assert len(set(CLOSE_CODES.values())) == len(CLOSE_CODES)
    document = Path("protocol.md").read_text()
    table = document[document.index("### 24.4") :]
    assert {code: int(number) for number, code in re.findall(r"^\| ([0-9]{4}) \| `([a-z_]+)` \|", table, re.M)} == (
        CLOSE_CODES
    )


# --- the handshake ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        ({}, 400, "name one of presence.v1.json, presence.v1.msgpack"),
        ({"subprotocols": ["graphql-ws"]}, 400, "presence.v1.json"),
        ({"subprotocols": ["presence.v1.json"], "origin": "https://evil.example"}, 403, "http.origins"),
        ({"subprotocols": ["presence.v1.json"], "origin": "null"}, 403, "http.origins"),
        ({"subprotocols": ["presence.v1.json"], "additional_headers": {"Host": "evil.example"}}, 421, "http.hosts"),
    ],
)
def test_a_handshake_that_is_refused(options: dict[str, Any], status: int, says: str) -> None:
    with serving() as server:
        if "additional_headers" in options:
            answer = raw_handshake(server, "evil.example")
            assert answer.startswith(f"HTTP/1.1 {status}".encode()) and says.encode() in answer
            return
        with pytest.raises(InvalidStatus) as caught:
            connect(address(server), **options)
        response = caught.value.response
        assert response.status_code == status and says in (response.body or b"").decode()


def raw_handshake(server: InProcess, host: str) -> bytes:
    import socket

    assert server.operations.http is not None
    with socket.create_connection(("127.0.0.1", server.operations.http.port)) as plain:
        plain.sendall(
            f"GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "Sec-WebSocket-Protocol: presence.v1.json\r\n\r\n".encode()
        )
        plain.settimeout(PATIENCE_S)
        return plain.recv(4096)


@pytest.mark.parametrize("origin", ["own", "https://app.example.org", "HTTPS://APP.example.org"])
def test_pages_of_the_listener_and_of_the_list_may_ask(origin: str) -> None:
    with serving(http_origins="https://app.example.org") as server:
        assert server.operations.http is not None
        given = f"http://localhost:{server.operations.http.port}" if origin == "own" else origin
        with web(server, "presence.v1.json", "anna", origin=Origin(given)) as anna:
            anna.say(4, 1)
            assert anna.hear()[0] == 68


def test_compression_is_not_agreed_on() -> None:
    with serving() as server:
        with connect(address(server), subprotocols=[Subprotocol("presence.v1.json")]) as socket:
            assert socket.response is not None and "Sec-WebSocket-Extensions" not in socket.response.headers


def test_over_tls(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "server")
    trust = ssl.create_default_context(cafile=str(certificate))
    with serving(tls_cert=str(certificate), tls_key=str(key), http_tls=True) as server:
        with connect(address(server, "wss"), subprotocols=[Subprotocol("presence.v1.json")], ssl=trust) as socket:
            anna = WebLink(socket, "presence.v1.json")
            anna.say(1, [1], "", "anna", "tab")
            anna.until(WELCOME)
            anna.say(9, 1, [f"u{number}" for number in range(256)])
            assert len(anna.until(RECORDS)[4]) == 256
            anna.say(3)
            assert anna.ended()[1] == 1000


def test_a_trusted_proxy_says_who_asks() -> None:
    with serving(http_trusted_proxies="127.0.0.0/8, ::1") as server:
        headers = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7, 127.0.0.1"}
        with web(server, "presence.v1.json", "anna", additional_headers=headers):
            assert server.ask(lambda server: [link.peer for link in server.links]) == ["198.51.100.7"]
    with serving() as server, web(server, "presence.v1.json", "anna", additional_headers=headers):
        assert server.ask(lambda server: [link.peer.partition(":")[0] for link in server.links]) != ["198.51.100.7"]


# --- who does not read --------------------------------------------------------------------------------------------


def test_who_does_not_read_is_sent_the_latest_alone() -> None:
    """Through a transport that takes nothing for a while: what is owed is the latest record of each user."""
    with serving() as server, opened(server.port, "bob") as bob, web(server, "presence.v1.json", "anna") as anna:
        anna.say(9, 1, ["bob"])
        anna.until(RECORDS)

        def transport_of(served: Any) -> WebSocketTransport:
            return next(link.transport for link in served.links if link.session.user_name == "anna")

        server.ask(lambda served: transport_of(served).pause_writing())
        for number in range(6):
            bob.send([5, number + 1, ("away", "dnd")[number % 2], f"text {number}"])
            bob.until(DONE)
        server.ask(lambda served: transport_of(served).resume_writing())
        assert anna.until(PRESENCE)[1][1:3] == ["dnd", "text 5"]
        anna.say(4, 9)
        assert anna.hear() == [68, 9, pytest.approx(0, abs=2**53)]
