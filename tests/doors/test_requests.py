"""Handshakes and requests of HTTP that mean ill, as bytes on a socket: what is answered, and that nothing is twice."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator

import pytest

from presenced.http.listener import HttpServer
from tests.support.doors import serving
from tests.support.in_process import InProcess
from tests.support.raw_websocket import JSON, RawWebSocket, handshake, said
from tests.support.until import PATIENCE_S
from tests.support.wire import Bystander

HOST = b"Host: localhost\r\n"
JSON_BODY = b"Content-Type: application/json\r\n"


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[InProcess, int]]:
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def port(running: tuple[InProcess, int]) -> int:
    return running[1]


@pytest.fixture(scope="module")
def beside(running: tuple[InProcess, int]) -> Iterator[Bystander]:
    bystander = Bystander(running[0].port)
    yield bystander
    bystander.close()


def spoken(port: int, data: bytes) -> bytes:
    """All that comes back for these bytes until the listener closes; what it does not close within a moment waits for
    more."""
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.settimeout(PATIENCE_S)
        try:
            plain.sendall(data)
            plain.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # It has refused the request before all of it was there.
        found = b""
        try:
            while more := plain.recv(65536):
                found += more
        except ConnectionError:
            pass
        return found


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", answers)]


# --- requests within requests ---------------------------------------------------------------------------------------

EVE = b"Presence-User: eve\r\n"
INNER = b"POST /v1/set_status HTTP/1.1\r\n" + HOST + EVE + b"Content-Length: 0\r\n\r\n"
"""What a smuggler wants to be taken for a request of its own."""

POST = b"POST /v1/get_status HTTP/1.1\r\n" + HOST + EVE + JSON_BODY
SMUGGLED: dict[str, bytes] = {
    "a length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in capitals": POST + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n0\r\n\r\n",
    "chunks behind a space": POST + b"Transfer-Encoding : chunked\r\nContent-Length: 2\r\n\r\n{}",
    "chunks behind a tab": POST + b"Transfer-Encoding:\tchunked\r\nContent-Length: 2\r\n\r\n{}",
    "chunks behind a vertical tab": POST + b"Transfer-Encoding:\x0bchunked\r\nContent-Length: 2\r\n\r\n{}",
    "chunks on a folded line": POST + b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 2\r\n\r\n{}",
    "chunks in a folded header": POST + b"X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
    "chunks that are quoted": POST + b'Transfer-Encoding: "chunked"\r\nContent-Length: 2\r\n\r\n{}',
    "chunks of a new kind": POST + b"Transfer-Encoding: xchunked\r\nContent-Length: 2\r\n\r\n{}",
    "identity": POST + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}",
    "two encodings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 100\r\n\r\n{}",
    "the same length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "two lengths in one": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\n{}",
    "a length below zero": POST + b"Content-Length: -2\r\n\r\n{}",
    "a length in hexadecimal": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "a length with an underscore": POST + b"Content-Length: 1_0\r\n\r\n{}        ",
    "a length with a fraction": POST + b"Content-Length: 2.0\r\n\r\n{}",
    "a length of two words": POST + b"Content-Length: 2 0\r\n\r\n{}",
    "a length of nothing": POST + b"Content-Length:\r\n\r\n{}",
    "a length beyond 64 bits": POST + b"Content-Length: 18446744073709551618\r\n\r\n{}",
    "a length on a folded line": POST + b"Content-Length:\r\n 2\r\n\r\n{}",
    "a length behind NUL": POST + b"\0Content-Length: 2\r\n\r\n{}",
    "a carriage return alone": POST + b"X: y\rContent-Length: 2\r\n\r\n{}",
    "a line feed alone": POST + b"X: y\nContent-Length: 2\r\n\r\n{}",
    "an end of line feeds": POST + b"Content-Length: 2\n\n{}",
    "a header before the first": b"POST /v1/get_status HTTP/1.1\r\n X: y\r\n" + HOST + b"\r\n",
    "a body with GET": b"GET /v1/events HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n{}",
    "a length with a handshake": handshake(JSON, "Content-Length: 5"),
    "chunks with a handshake": handshake(JSON, "Transfer-Encoding: chunked"),
    "a version of its own": b"POST /v1/get_status HTTP/1.1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a target with a space": b"GET /v1/get_status /x HTTP/1.1\r\n" + HOST + b"\r\n",
    "two hosts": b"POST /v1/get_status HTTP/1.1\r\n" + HOST + b"Host: other\r\n\r\n",
    "no host": b"POST /v1/get_status HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("data", SMUGGLED.values(), ids=list(SMUGGLED))
def test_where_two_readers_could_differ_the_request_is_refused_and_the_connection_ends(
    port: int, beside: Bystander, data: bytes
) -> None:
    found = statuses(spoken(port, data + INNER))
    assert len(found) == 1 and found[0] in (400, 411, 413, 431), found
    beside.check()


def test_a_whole_request_behind_another_is_one(port: int) -> None:
    """What the tests above would see if something were smuggled."""
    by_somebody = POST + b"Content-Length: 2\r\n\r\n{}"
    assert len(statuses(spoken(port, by_somebody + INNER))) == 2


def test_what_is_behind_a_refused_handshake_is_a_request_and_behind_a_good_one_none(port: int) -> None:
    refused = handshake("graphql-ws")
    assert statuses(spoken(port, refused + b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")) == [
        400,
        200,
    ]
    with RawWebSocket(port, opens=False) as link:
        link.send(handshake() + INNER)
        assert link.head().startswith(b"HTTP/1.1 101 ")
        assert link.ended()[2] == "bad_frame"


def test_a_message_may_come_with_the_handshake(port: int) -> None:
    with RawWebSocket(port, opens=False) as link:
        link.send(handshake() + said(JSON, 1, [1], "", "hasty", "tab"))
        assert link.head().startswith(b"HTTP/1.1 101 ")
        assert link.hear()[:4] == [64, 1, "hasty", "tab"]


# --- who may ask ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost.evil.example", "http://localhost@evil.example", "file://", "x"],
)
def test_a_strangers_page_is_refused_at_each_door(port: int, origin: str) -> None:
    asks = [
        handshake(JSON, f"Origin: {origin}"),
        b"POST /v1/get_status HTTP/1.1\r\n" + HOST + f"Origin: {origin}\r\nContent-Length: 0\r\n\r\n".encode(),
        b"OPTIONS /v1/get_status HTTP/1.1\r\n" + HOST + f"Origin: {origin}\r\n\r\n".encode(),
        b"GET /v1/events HTTP/1.1\r\n" + HOST + f"Origin: {origin}\r\n\r\n".encode(),
    ]
    for ask in asks:
        answer = spoken(port, ask)
        assert statuses(answer) == [403], answer
        assert b"access-control-allow-origin" not in answer.lower()


def test_two_origins_are_not_the_first_of_them(port: int) -> None:
    own = f"Origin: http://localhost:{port}"
    answer = spoken(port, handshake(JSON, own, "Origin: https://evil.example", host=f"localhost:{port}"))
    assert statuses(answer) == [403]


def test_a_program_without_an_origin_may_ask(port: int) -> None:
    with RawWebSocket(port) as link:
        assert link.greet("program")[2] == "program"


HOSTS = ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "localhost:80@evil.example", "[::1].evil"]


@pytest.mark.parametrize("host", HOSTS)
def test_another_name_of_the_machine_is_not_answered_where_everybody_is_believed(port: int, host: str) -> None:
    """A page of a stranger's whose name was pointed to this machine sends no foreign origin."""
    for ask in (handshake(host=host), f"POST /v1/who HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n".encode()):
        assert statuses(spoken(port, ask))[0] in (400, 421)


@pytest.mark.parametrize("host", ["", "a b", "a\tb", "local\0host", "localhost, evil.example", "x" * 5000])
def test_a_host_that_is_none(port: int, host: str) -> None:
    answer = spoken(port, handshake(host=host))
    assert statuses(answer)[0] in (101, 400, 421) and (not host or b" 101 " not in answer)
    assert b"x" * 200 not in answer, "what was sent is not sent back at length"


def test_a_handshake_in_the_wrong_way(port: int) -> None:
    good = handshake().decode()
    wrong = {
        good.replace("GET", "POST"): 405,
        good.replace("GET", "HEAD"): 405,
        good.replace("Upgrade: websocket", "Upgrade: h2c"): 426,
        good.replace("Connection: Upgrade", "Connection: keep-alive"): 426,
        good.replace("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8"): 426,
        good.replace("AAAAAAAAAAAAAAAAAAAAAA==", "AAAA"): 400,
        good.replace("AAAAAAAAAAAAAAAAAAAAAA==", "not base64 at all!"): 400,
        good.replace("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", ""): 400,
        good.replace("Sec-WebSocket-Protocol: presence.v1.json\r\n", ""): 400,
        good.replace("/ws", "/ws/"): 404,
        good.replace("/ws", "/ws%00"): 404,
    }
    for data, status in wrong.items():
        assert statuses(spoken(port, data.encode())) == [status], data


def test_the_version_that_would_do_is_said(port: int) -> None:
    answer = spoken(port, handshake().replace(b"Version: 13", b"Version: 7, 8"))
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in answer


def test_a_key_said_twice_is_none(port: int) -> None:
    assert statuses(spoken(port, handshake(JSON, "Sec-WebSocket-Key: BBBBBBBBBBBBBBBBBBBBBB=="))) == [400]


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits; server_no_context_takeover",
        "x-webkit-deflate-frame, permessage-bzip2",
        "a" * 3000,
        '"',
    ],
)
def test_no_extension_is_agreed_on(port: int, offer: str) -> None:
    with RawWebSocket(port, opens=False) as link:
        link.send(handshake(JSON, f"Sec-WebSocket-Extensions: {offer}"))
        head = link.head()
        assert b"sec-websocket-extensions" not in head.lower()
        assert head.startswith((b"HTTP/1.1 101 ", b"HTTP/1.1 400 "))


PATHS = [
    "/client/../../../../etc/passwd",
    "/client/..%2f..%2fetc%2fpasswd",
    "/client/%2e%2e/%2e%2e/etc/passwd",
    "/client/....//....//etc/passwd",
    "/client//etc/passwd",
    "/client/presence.js/../../__init__.py",
    "/client/presence.js%00.d.ts",
    "/client/..\\\\..\\\\etc\\\\passwd",
    "/client/~root",
    "/client/",
    "/client",
    "/demo.css/../../../pyproject.toml",
    "/v1/../metrics",
    "/v1/%67et_status",
    "/V1/get_status",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_anywhere_else(port: int, path: str) -> None:
    answer = spoken(port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert statuses(answer)[0] in (400, 404), answer[:200]
    for word in (b"root:", b"presenced_", b"import ", b"[project]"):
        assert word not in answer


# --- bodies ---------------------------------------------------------------------------------------------------------

BODIES: dict[str, bytes] = {
    "arrays within arrays": b"[" * 30_000 + b"]" * 30_000,
    "objects within objects": b'{"users":' * 5_000 + b"1" + b"}" * 5_000,
    "nested deep within a field": b'{"users":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "a number of a thousand digits": b'{"users":' + b"9" * 1_000 + b"}",
    "a number of sixty thousand digits": b'{"users":' + b"9" * 60_000 + b"}",
    "an exponent without end": b'{"users":1e999999999}',
    "the same field twice": b'{"users":["a"],"users":["b"]}',
    "half an object": b'{"users":["a"]',
    "no UTF-8": b'{"users":["\xff"]}',
    "half of a surrogate pair": b'{"users":["\\ud800"]}',
    "UTF-16": '{"users":["a"]}'.encode("utf-16"),
    "NUL": b'{"users":["a"]}\0',
    "a string": b'"users"',
    "ten thousand fields": b"{" + b",".join(b'"f%d":1' % number for number in range(5_000)) + b"}",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
def test_a_body_that_is_no_request(port: int, beside: Bystander, body: bytes) -> None:
    head = POST + f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    answer = spoken(port, head + body)
    assert statuses(answer) == [400], answer[:300]
    error = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert error["error"]["code"] == "bad_request" if "error" in error else error["code"] == "bad_request"
    assert len(answer) < 2_000
    beside.check()


# --- slow ones ------------------------------------------------------------------------------------------------------


def test_who_is_slow_with_a_head_or_a_body_is_cut_off_and_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then does not prolong the time for the whole."""
    assert HttpServer.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(HttpServer.__init__.__kwdefaults__, "idle_s", 0.3)
    with serving() as (server, port):
        bystander = Bystander(server.port)
        slow = [
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 4000,
            POST + b"Content-Length: 5000\r\n\r\n" + b" " * 4000,
            b"",
        ]
        sockets = [socket.create_connection(("127.0.0.1", port)) for _ in slow]
        begun_s, at = time.monotonic(), 0
        left = dict(zip(sockets, slow, strict=True))
        while left and time.monotonic() - begun_s < PATIENCE_S:
            for one, data in list(left.items()):
                one.settimeout(0.02)
                try:
                    if at < len(data):
                        one.sendall(data[at : at + 1])
                    got = one.recv(4096)
                except TimeoutError:
                    continue
                except ConnectionError:
                    got = b""
                del left[one]
                assert got == b"" if not data else statuses(got) == [408] or got == b""
            at += 1
            bystander.check()
        assert not left and at < 4000, "they were cut off before they were whole"
        for one in sockets:
            one.close()
        bystander.close()
