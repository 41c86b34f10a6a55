"""What is taken for a request is one by a second parser as well, and says the same: where two readers differ on where a
request ends, one request is smuggled within another."""

from __future__ import annotations

import h11
import pytest
from hypothesis import example, given, strategies as st

from presenced.http.heads import BadRequest, Exchange
from presenced.http.page import HttpPage

LINES = st.sampled_from(
    [
        b"Host: x",
        b"Host: y",
        b"Content-Length: 5",
        b"Content-Length: 6",
        b"Content-Length: 5, 5",
        b"Content-Length: +5",
        b"Content-Length:",
        b"content-length: 0",
        b"Content-Length : 5",
        b"Content-Length: 99999999999999999999",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: gzip, chunked",
        b"Connection: close",
        b"Connection: keep-alive, Close",
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Expect: 100-continue",
        b"X: \xff\xe9",
        b"X: a\tb ",
        b"X:\t",
        b" folded",
        b"\tfolded",
        b"X: a\rb",
        b"X: a\x00b",
        b"X\x7f: a",
        b": a",
        b"no colon",
        b"",
    ]
) | st.binary(max_size=20).filter(lambda line: b"\n" not in line)
FIRST = st.sampled_from(
    [
        b"GET / HTTP/1.1",
        b"POST /v1/who?a=b HTTP/1.1",
        b"HEAD / HTTP/1.0",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET /\x80 HTTP/1.1",
        b"GET / HTTP/1.2",
        b"GET / HTTP/2.0",
        b"GET / HTTP/0.9",
        b"GET / http/1.1",
        b"get / HTTP/1.1",
        b"GET http://x/y HTTP/1.1",
        b"GET /",
    ]
)


@given(FIRST, st.lists(LINES, max_size=5))
@example(b"POST / HTTP/1.1", [b"Host: x", b"Content-Length: 5", b"Transfer-Encoding: chunked"])
@example(b"POST / HTTP/1.1", [b"Host: x", b"Content-Length: 5"])
def test_whatever_is_taken_another_parser_takes_for_the_same(first: bytes, lines: list[bytes]) -> None:
    if b"" in lines:
        lines = lines[: lines.index(b"")]
    data = b"\r\n".join([first, *lines, b"", b""])
    try:
        head = Exchange().read(data)
    except BadRequest:
        return
    other = h11.Connection(h11.SERVER)
    other.receive_data(data)
    request = other.next_event()
    assert isinstance(request, h11.Request)
    assert request.method.decode() == head.method
    assert request.target.decode().removeprefix("http://x").startswith(head.path)
    names: dict[str, list[str]] = {}
    for name, value in request.headers:
        names.setdefault(name.decode(), []).append(value.decode("latin-1"))
    assert {name: ", ".join(values) for name, values in names.items()} == head.headers
    if head.body_bytes:
        other.receive_data(b"x" * head.body_bytes)
        assert isinstance(other.next_event(), h11.Data)
    assert isinstance(other.next_event(), h11.EndOfMessage)
    assert other.trailing_data == (b"", False)


def asked(line: bytes, *headers: bytes) -> Exchange:
    exchange = Exchange()
    exchange.read(b"\r\n".join([line, b"Host: x", *headers, b"", b""]))
    return exchange


@pytest.mark.parametrize(
    ("line", "headers", "is_last"),
    [
        (b"GET / HTTP/1.1", (), False),
        (b"GET / HTTP/1.1", (b"Connection: keep-alive, Close",), True),
        (b"GET / HTTP/1.0", (), True),
        (b"GET / HTTP/1.0", (b"Connection: keep-alive",), True),
    ],
)
def test_when_a_connection_goes_on(line: bytes, headers: tuple[bytes, ...], is_last: bool) -> None:
    exchange = asked(line, *headers)
    answer = exchange.answer(HttpPage(200, "text/plain", b"abc"))
    assert exchange.is_last == is_last
    assert (b"\r\nConnection: close\r\n" in answer) == is_last
    assert answer.endswith(b"\r\n\r\nabc") and b"\r\nContent-Length: 3\r\n" in answer


def test_an_answer_without_a_length_is_read_by_another_parser() -> None:
    for line in (b"GET / HTTP/1.1", b"GET / HTTP/1.0", b"HEAD / HTTP/1.1"):
        exchange = asked(line)
        data = exchange.begin(HttpPage(200, "text/event-stream", b"", headers=(("A", "b"),)))
        assert b"\r\nConnection: close\r\n" in data and exchange.is_last
        data += exchange.piece(b"one" * 5) + exchange.piece(b"two")
        client = h11.Connection(h11.CLIENT)
        method = line.split()[0]
        client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        client.send(h11.EndOfMessage())
        client.receive_data(data)
        client.receive_data(b"")
        response, body = client.next_event(), b""
        assert isinstance(response, h11.Response)
        while isinstance(event := client.next_event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage)
        assert body == (b"" if method == b"HEAD" else b"one" * 5 + b"two")


def test_what_has_no_content_has_no_length() -> None:
    for status in (204, 304):
        assert b"Content-Length" not in asked(b"GET / HTTP/1.1").answer(HttpPage(status, "text/plain", b""))


def test_a_header_that_would_be_two_is_not_written() -> None:
    for value in ("a\r\nSet-Cookie: b", "a\nb"):
        with pytest.raises(ValueError):
            asked(b"GET / HTTP/1.1").answer(HttpPage(200, "text/plain", b"", headers=(("A", value),)))
