"""Reads the head of a request and writes the answer (RFC 9112). No sockets in here.

httptools judges the syntax of headers: it is llhttp, the parser of Node. This module adds what the listener accepts of
it: four methods, few headers, one Host, and a body whose length is given before it. Leniency about where a head or a
body ends is how requests are smuggled past a proxy, so a line feed alone ends no line here, and no body comes in
chunks. h11 judges the same, and takes more time for it than all the rest of a request does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

import httptools

from presenced import limits
from presenced.http.page import CLOSES, HttpPage
from presenced.server.clocks import SYSTEM_CLOCKS

HEAD_BYTES_MAX = 8192

HEADERS_MAX = 100
"""Nobody needs more, and each takes time before anybody is known to ask."""

BODY_BYTES_MAX = limits.FRAME_BYTES_MAX
"""As much as a frame of a link may have."""

METHODS = (b"GET", b"HEAD", b"POST", b"OPTIONS")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""What a client is told that wants to know whether its body is welcome (RFC 9110, 10.1.1)."""


class BadRequest(Exception):
    """The request is refused and the connection ends. `status` and `sentence` make the answer."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


def path_of(head: bytes) -> str:
    """The path that the begin of a head asks for; empty if it cannot be read."""
    line = _FIRST_LINE.match(head)
    try:
        return _parts(line[2].decode())[0] if line is not None else ""
    except BadRequest:
        return ""


class Head(NamedTuple):
    """What the head of a request says."""

    method: str
    path: str
    query: str
    host: str
    """The Host header without its port, in small letters; empty if there was none."""
    headers: Mapping[str, str]
    body_bytes: int
    """How long the body is that follows."""
    waits: bool
    """Whether the peer sends the body once it is told to (`CONTINUE`)."""


class Exchange:
    """The requests and answers of one connection, one at a time."""

    def __init__(self) -> None:
        self._is_head = False
        self._is_last = True
        """Whether the next answer ends the connection, as it does until a request was read."""
        self._headers: list[tuple[bytes, bytes]] = []

    def read(self, head: bytes) -> Head:
        """What a whole head asks, including its empty line; raises `BadRequest`. O(bytes)."""
        lines = head.count(b"\n")
        if lines != head.count(b"\r\n"):
            raise BadRequest(400, "a line of the request ends with a line feed alone; HTTP/1.1 wants CR LF")
        if lines > HEADERS_MAX + 2:
            raise BadRequest(431, f"the request has more than {HEADERS_MAX} headers")
        method, target, is_1_1 = _first_line(head)
        headers = self._read_headers(head)
        hosts = headers.get("host")
        if hosts is None and is_1_1:
            raise BadRequest(400, "the request has no Host, and HTTP/1.1 wants one")
        if hosts is not None and sum(name.lower() == b"host" for name, _ in self._headers) > 1:
            raise BadRequest(400, "the request has several Hosts")
        if "transfer-encoding" in headers:
            raise BadRequest(411, "this listener takes a body whose Content-Length is given, and none in chunks")
        body_bytes = int(headers.get("content-length", "0"))
        if body_bytes and method != "POST":
            raise BadRequest(413, "this listener takes a body only with POST")
        if body_bytes > BODY_BYTES_MAX:
            raise BadRequest(413, f"the body is longer than {BODY_BYTES_MAX} bytes; split the request")
        path, query = _parts(target)
        self._is_head = method == "HEAD"
        self._is_last = not is_1_1 or "close" in _words(headers.get("connection", ""))
        waits = body_bytes > 0 and is_1_1 and headers.get("expect", "").lower() == "100-continue"
        return Head(method, path, query, without_port(hosts or ""), headers, body_bytes, waits)

    def _read_headers(self, head: bytes) -> dict[str, str]:
        self._headers = []
        parser = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            # What follows the head is not for the parser anyway.
            pass
        except httptools.HttpParserError as error:
            raise BadRequest(400, f"the request cannot be read: {str(error)[:100].lower()}") from None
        return _joined(self._headers)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser for each header."""
        self._headers.append((name, value))

    def answer(self, page: HttpPage, *, is_last: bool = False) -> bytes:
        """The answer to the request that was read last, or to one that could not be read."""
        if CLOSES in page.headers:
            self._is_last, page = True, page._replace(headers=tuple(one for one in page.headers if one != CLOSES))
        # What has not changed (304) has no length of its own, and what has no content (204) may have none.
        length = b"" if page.status in (204, 304) else b"Content-Length: %d\r\n" % len(page.body)
        body = b"" if self._is_head else page.body
        return b"%b%b%b\r\n%b" % (_head(page), length, CLOSE if is_last or self._is_last else b"", body)

    def begin(self, page: HttpPage) -> bytes:
        """The head of an answer whose length nobody knows, and the body that it begins with. The body goes on until the
        connection ends, and comes in no chunks: simple clients, such as that of PHP, wait for many of these before they
        hand on the first."""
        self._is_last = True
        return b"%b%b\r\n%b" % (_head(page), CLOSE, b"" if self._is_head else page.body)

    def piece(self, data: bytes) -> bytes:
        """A piece of its body."""
        return b"" if self._is_head else data

    @property
    def is_last(self) -> bool:
        """Whether the peer wants the answer that was written last to end the connection."""
        return self._is_last

    def next(self) -> None:
        """Begin with another request. Only after an answer that was not the last."""
        self._is_head, self._is_last = False, True


_FIRST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/([0-9])\.([0-9])\r\n")


def _first_line(head: bytes) -> tuple[str, str, bool]:
    """Method, target, and whether it is HTTP/1.1; raises `BadRequest`. The parser would let spaces and old versions
    pass."""
    line = _FIRST_LINE.match(head)
    if line is None:
        raise BadRequest(400, "the request cannot be read: its first line is none of HTTP/1.1")
    method, target, major, minor = line.groups()
    if major != b"1":
        raise BadRequest(505 if major != b"0" else 400, "this listener speaks only HTTP/1.1 and HTTP/1.0")
    if method not in METHODS:
        raise BadRequest(405, "this listener answers only GET, HEAD, POST and OPTIONS")
    return method.decode(), target.decode(), minor != b"0"


CLOSE = b"Connection: close\r\n"


def _head(page: HttpPage) -> bytes:
    """The first lines of an answer, without what says where it ends."""
    status, content_type, _, policy, more = page
    head = _usual_head(status, content_type, policy)
    given = {name.lower() for name, _ in more}
    if "cache-control" not in given:
        head += b"Cache-Control: no-store\r\n"
    if status == 405 and "allow" not in given:
        head += b"Allow: %b\r\n" % b", ".join(METHODS)
    for name, value in more:
        # A value may repeat something of the request, such as its origin.
        if "\r" in value or "\n" in value:
            raise ValueError(f"the header {name} would not be one line")
        head += f"{name}: {value}\r\n".encode("latin-1")
    return b"%bDate: %b\r\n" % (head, _date(SYSTEM_CLOCKS.wall_ms() // 1000))


@lru_cache(maxsize=256)
def _usual_head(status: int, content_type: str, policy: str) -> bytes:
    return (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Security-Policy: {policy}\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
    ).encode("latin-1")


@lru_cache(maxsize=1)
def _date(now_s: int) -> bytes:
    return formatdate(now_s, usegmt=True).encode()


def begins_wrong(data: bytes) -> bool:
    """Whether these first bytes cannot become a request, such as a TLS hello. The peer learns it at once, and not by a
    timeout."""
    if not data:
        return False
    newline = data.find(b"\n")
    return not data[:1].isalpha() or (newline >= 0 and data[newline - 1 : newline] != b"\r")


def without_port(header: str) -> str:
    """The host of a Host header or of an address, in small letters, without its port, brackets and last dot."""
    text = header.strip().lower()
    host, colon, port = text.rpartition(":")
    # An IPv6 address has colons of its own, and stands in brackets.
    without_port = host if colon and port.isdecimal() and (":" not in host or host.endswith("]")) else text
    return without_port.removeprefix("[").removesuffix("]").removesuffix(".")


def _parts(target: str) -> tuple[str, str]:
    """Path and query of `/path?query` or, as through a proxy, of `http://host/path?query`."""
    if target.startswith("/"):
        path, _, query = target.partition("?")
        return path, query
    try:
        parts = urlsplit(target)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise BadRequest(400, "the path of the request does not begin with /")
    return parts.path or "/", parts.query


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        key, words = name.decode("ascii").lower(), value.decode("latin-1").strip(" \t")
        joined[key] = f"{joined[key]}, {words}" if key in joined else words
    return joined


def _words(header: str) -> list[str]:
    """What stands between the commas of a header, in small letters."""
    return [word.strip() for word in header.lower().split(",")]
