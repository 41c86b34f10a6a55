"""An answer of the listener, before it has a form on the wire."""

from __future__ import annotations

from typing import NamedTuple

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
JSON = "application/json"
CLOSES = ("Connection", "close")
"""Among the headers of a page: its answer ends the connection."""

NO_CONTENT_POLICY = "default-src 'none'; frame-ancestors 'none'"


class HttpPage(NamedTuple):
    """HTTP status, media type, body, what a browser may do with it, and further headers."""

    status: int
    content_type: str
    body: bytes
    policy: str = NO_CONTENT_POLICY
    headers: tuple[tuple[str, str], ...] = ()


def text(status: int, sentence: str, *headers: tuple[str, str]) -> HttpPage:
    """A page of one line."""
    return HttpPage(status, TEXT, (sentence + "\n").encode(), headers=headers)
