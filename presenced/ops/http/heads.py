"""Reads the head of a request and writes the answer, by h11 (RFC 9112). No sockets and no clock in here.

h11 judges the syntax. This module adds what the listener accepts of it: GET and HEAD, no body, and few headers.
Leniency about where a head ends is how requests are smuggled past a proxy, so a line feed alone ends no line here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

import h11

from presenced.ops.http.page import HttpPage

HEAD_BYTES_MAX = 8192

HEADERS_MAX = 100
"""h11 takes 20 us for each header, so a head of 8 KiB with 1,300 of them would hold up presence for 27 ms."""

METHODS = (b"GET", b"HEAD")


class BadRequest(Exception):
    """The request is refused and the connection ends. `status` and `sentence` make the answer."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class HttpRequest(NamedTuple):
    """The parts of a request that decide the answer."""

    path: str
    """Without its query."""
    host: str
    """The Host header without its port, in small letters; empty if there was none."""


class Exchange:
    """The requests and answers of one connection, one at a time."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.SERVER)
        self._is_head = False

    def read(self, head: bytes) -> HttpRequest:
        """The request that a whole head asks, including its empty line; raises `BadRequest`. O(bytes)."""
        lines = head.count(b"\n")
        if lines != head.count(b"\r\n"):
            raise BadRequest(400, "a line of the request ends with a line feed alone; HTTP/1.1 wants CR LF")
        if lines > HEADERS_MAX + 2:
            raise BadRequest(431, f"the request has more than {HEADERS_MAX} headers")
        try:
            self._http.receive_data(head)
            request, rest = self._http.next_event(), None
            if isinstance(request, h11.Request):
                rest = self._http.next_event()
        except h11.RemoteProtocolError as error:
            # What follows a colon in h11's words is the peer's own text.
            raise BadRequest(error.error_status_hint, f"the request cannot be read: {_reason(error)}") from None
        assert isinstance(request, h11.Request), "the head is whole"
        if request.http_version[:1] != b"1":
            raise BadRequest(505, "this listener speaks only HTTP/1.1 and HTTP/1.0")
        if request.method not in METHODS:
            raise BadRequest(405, "this listener answers only GET and HEAD: everything here is read-only")
        if rest is h11.NEED_DATA:
            raise BadRequest(413, "this listener takes no request with a body")
        self._is_head = request.method == b"HEAD"
        host = next((value for name, value in request.headers if name == b"host"), b"")
        return HttpRequest(_path(request.target.decode("latin-1")), _host(host.decode("latin-1")))

    def answer(self, page: HttpPage, *, is_last: bool = False) -> bytes:
        """The answer to the request that was read last, or to one that could not be read."""
        headers = [
            ("Date", formatdate(usegmt=True)),
            ("Content-Type", page.content_type),
            ("Content-Length", str(len(page.body))),
            ("Content-Security-Policy", page.policy),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
            *([("Allow", "GET, HEAD")] if page.status == 405 else []),
            *([("Connection", "close")] if is_last else []),
        ]
        status = HTTPStatus(page.status)
        parts = [self._http.send(h11.Response(status_code=status, headers=headers, reason=status.phrase))]
        if not self._is_head:
            parts.append(self._http.send(h11.Data(data=page.body)))
        parts.append(self._http.send(h11.EndOfMessage()))
        return b"".join(part for part in parts if part)

    @property
    def is_last(self) -> bool:
        """Whether the peer wants the answer that was written last to end the connection."""
        return self._http.our_state is not h11.DONE

    def next(self) -> None:
        """Begin with another request. Only after an answer that was not the last."""
        self._http.start_next_cycle()


def _reason(error: h11.RemoteProtocolError) -> str:
    return str(error).partition(": ")[0].lower()


def begins_wrong(data: bytes) -> bool:
    """Whether these first bytes cannot become a request, such as a TLS hello. The peer learns it at once, and not by a
    timeout."""
    if not data:
        return False
    newline = data.find(b"\n")
    return not data[:1].isalpha() or (newline >= 0 and data[newline - 1 : newline] != b"\r")


def is_known(host: str, names: Collection[str]) -> bool:
    """Whether a browser that names this host shows a page of ours: it names an address, `localhost`, or one of `names`.

    Another name may belong to a stranger's page that pointed its name to this machine after it was loaded (DNS
    rebinding), and that page would read the answer. A program that sends no Host is no browser.
    """
    if not host or host == "localhost" or host.endswith(".localhost") or host in names or "*" in names:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _host(header: str) -> str:
    text = header.strip().lower()
    host, colon, port = text.rpartition(":")
    # An IPv6 address has colons of its own, and stands in brackets.
    without_port = host if colon and port.isdecimal() and (":" not in host or host.endswith("]")) else text
    return without_port.removeprefix("[").removesuffix("]").removesuffix(".")


def _path(target: str) -> str:
    """The path of `/path?query` or, as through a proxy, of `http://host/path?query`."""
    if target.startswith("/"):
        return target.partition("?")[0]
    try:
        parts = urlsplit(target)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise BadRequest(400, "the path of the request does not begin with /")
    return parts.path or "/"
