"""What the listener asks for an answer: a door, and the call that is put to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from presenced.http.page import HttpPage, text
from presenced.server.clocks import SYSTEM_CLOCKS
from presenced.server.report import Report


class HttpRequest(NamedTuple):
    """One request, whole."""

    method: str
    path: str
    """Without its query."""
    query: str
    host: str
    """The Host header without its port, in small letters; empty if there was none."""
    headers: Mapping[str, str]
    """By names in small letters; of a header that came several times the values with commas between."""
    body: bytes
    peer: str
    """The client's address: that of the connection, or the one that a trusted proxy names."""
    is_secure: bool
    """Whether it came over TLS, to this listener or to a trusted proxy."""


class BodyStream(Protocol):
    """An answer without an end of its own. Nothing here raises, also when the peer is gone."""

    def write(self, data: bytes) -> None:
        """Send a piece of the body."""

    def close(self) -> None:
        """End the answer. Idempotent."""

    @property
    def is_full(self) -> bool:
        """Whether the peer does not read as fast: what is written now stays in memory."""

    def on_drain(self, call: Callable[[], object]) -> None:
        """Call this each time when the peer has read all and `is_full` is over."""


class Call(Protocol):
    """One request that waits for its answer. It is answered once, from the loop's thread, now or later; an answer to a
    peer that is gone is dropped."""

    @property
    def request(self) -> HttpRequest:
        """What is asked."""

    def answer(self, page: HttpPage) -> None:
        """Answer with a page."""

    def stream(self, head: HttpPage) -> BodyStream:
        """Answer with status, type and headers of this page, and a body that comes piece by piece."""

    def upgrade(self) -> tuple[asyncio.Transport, bytes]:
        """Take the connection out of HTTP (RFC 9110, 7.8): the loop's transport, and what was read behind the request.
        The caller sets the transport's protocol at once, and nothing here touches it any more."""

    def on_gone(self, call: Callable[[], object]) -> None:
        """Call this if the peer goes before the answer, or before the end of a stream. So does then, as far as can be
        told, a peer that has ended its half of the connection."""


class Door(Protocol):
    """A part of the paths, and who answers for it."""

    def takes(self, path: str) -> bool:
        """Whether requests for this path are put to it."""

    def open(self, call: Call) -> None:
        """Answer a call, now or later. What it raises becomes the answer 500."""

    @property
    def is_for_pages(self) -> bool:
        """Whether pages of other origins may ask, if they are on the list (`http.origins`). Those of origins that are
        not are refused. A door that is not for pages leaves the origin to the browser, which shows no answer."""

    def is_health(self, path: str) -> bool:
        """Whether the answer says only whether the server is well: it is given also while all places are taken."""

    def refused_page(self, status: int, sentence: str) -> HttpPage:
        """How the door says what is refused before it is asked, or what failed in it."""


def answer_failure(call: Call, report: Report, form: Callable[[int, str], HttpPage] = text) -> None:
    """Answer 500 to a call, in the form of its door, and log the exception that is being handled. Reaches nothing
    else."""
    sentence = f"while answering {call.request.path[:200]!r}"
    report.event(SYSTEM_CLOCKS.monotonic_ms(), "http", sentence, level=logging.ERROR, exc=True)
    call.answer(form(500, "the server failed while answering this; its log says why"))
