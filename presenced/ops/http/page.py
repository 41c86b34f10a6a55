"""An answer of the listener, before it has a form on the wire."""

from __future__ import annotations

from typing import NamedTuple

TEXT = "text/plain; charset=utf-8"
NO_CONTENT_POLICY = "default-src 'none'; frame-ancestors 'none'"


class HttpPage(NamedTuple):
    """HTTP status, media type, body, and what a browser may do with it."""

    status: int
    content_type: str
    body: bytes
    policy: str = NO_CONTENT_POLICY


def text(status: int, sentence: str) -> HttpPage:
    """A page of one line."""
    return HttpPage(status, TEXT, (sentence + "\n").encode())
