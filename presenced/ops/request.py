"""The head of an HTTP/1.x request, read strictly: what is doubtful is refused, never guessed.

Leniency here is how requests are smuggled past a proxy in front. Bodies are not read at all.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import urlsplit

HEAD_BYTES_MAX = 8192
HEADERS_MAX = 100

_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/(\d)\.(\d)")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")


class BadRequest(Exception):
    """The request is refused and the connection ends; `status` and `sentence` make the answer."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class Request(NamedTuple):
    """What matters of a request."""

    path: str
    host: str
    """The Host header without its port, in small letters; empty = none was sent."""
    head_only: bool
    keep: bool
    """The connection stays open for another."""


def begins_wrong(data: bytes) -> bool:
    """Whether these first bytes cannot become a request, such as a TLS hello: better said now than after a timeout."""
    if not data:
        return False
    newline = data.find(b"\n")
    return not data[:1].isalpha() or (newline >= 0 and data[newline - 1 : newline] != b"\r")


def parse(head: bytes) -> Request:
    """Read a whole head, without the empty line at its end; raises `BadRequest`. O(bytes)."""
    first, *rest = head.split(b"\r\n")
    line = _LINE.fullmatch(first)
    if line is None:
        raise BadRequest(400, "the request line is not METHOD PATH HTTP/1.1")
    method, target, major, minor = line.groups()
    if major != b"1":
        raise BadRequest(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if method not in (b"GET", b"HEAD"):
        raise BadRequest(405, "only GET and HEAD are answered here: everything is read-only")
    headers = _headers(rest)
    if minor != b"0" and len(headers.get(b"host", ())) != 1:
        raise BadRequest(400, "HTTP/1.1 needs exactly one Host header")
    _refuse_body(headers)
    options = {option.strip().lower() for value in headers.get(b"connection", ()) for option in value.split(b",")}
    host = _host(headers.get(b"host", [b""])[-1])
    return Request(_path(target.decode()), host, method == b"HEAD", minor != b"0" and b"close" not in options)


def _headers(lines: list[bytes]) -> dict[bytes, list[bytes]]:
    if len(lines) > HEADERS_MAX:
        raise BadRequest(431, f"more than {HEADERS_MAX} headers")
    headers: dict[bytes, list[bytes]] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise BadRequest(400, "a header is not NAME: VALUE")
        headers.setdefault(match[1].lower(), []).append(match[2].rstrip())
    return headers


def _refuse_body(headers: dict[bytes, list[bytes]]) -> None:
    lengths = headers.get(b"content-length", [])
    if any(not length.isdigit() for length in lengths):
        raise BadRequest(400, "Content-Length is not a number")
    if b"transfer-encoding" in headers or any(length.strip(b"0") for length in lengths):
        raise BadRequest(413, "no body is taken here")


def _host(header: bytes) -> str:
    text = header.decode("latin-1").strip().lower()
    host, colon, port = text.rpartition(":")
    # An IPv6 address has colons of its own, and is in brackets.
    without_port = host if colon and port.isdecimal() and (":" not in host or host.endswith("]")) else text
    return without_port.removeprefix("[").removesuffix("]").removesuffix(".")


def is_known(host: str, names: Collection[str]) -> bool:
    """Whether a browser that names this host is on a page of ours: it gives an address, `localhost`, or one of `names`.

    Any other name may be that of a stranger's page that had its name point to this machine once it was loaded (DNS
    rebinding), and then reads what it gets. Programs that send no Host are no browsers.
    """
    if not host or host == "localhost" or host.endswith(".localhost") or host in names or "*" in names:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _path(target: str) -> str:
    """The path without its query, from `/path` or, as through a proxy, `http://host/path`."""
    if target.startswith("/"):
        return target.partition("?")[0]
    try:
        parts = urlsplit(target)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise BadRequest(400, "the path does not begin with /")
    return parts.path or "/"
