"""What the HTTP listener can be asked for, and what it answers: metrics, health, and the status page.

Every page is made from one `Status`. The costly ones are kept for a tenth of a second, so that whoever asks in a loop
gets copies and takes no time from presence.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from presenced.ops import metrics, statusz
from presenced.ops.doctor import Finding
from presenced.ops.health import not_ready
from presenced.ops.history import History
from presenced.ops.starting import Starting
from presenced.server.status import Status

KEPT_MS = 100
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
JSON = "application/json"
NO_CONTENT_POLICY = "default-src 'none'; frame-ancestors 'none'"


class Page(NamedTuple):
    """An answer: HTTP status, media type, body, and what a browser may do with it."""

    status: int
    content_type: str
    body: bytes
    policy: str = NO_CONTENT_POLICY


class Pages:
    """The pages of one server: `take` gives its status now, `history` what it was in the last minutes, and `examine`
    what the doctor says of a status. While `starting` gives anything, none of them is asked."""

    def __init__(
        self,
        take: Callable[[], Status],
        history: History,
        examine: Callable[[Status], list[Finding]],
        starting: Callable[[], Starting | None] = lambda: None,
    ) -> None:
        self._take = take
        self._history = history
        self._examine = examine
        self._starting = starting
        self._registry = metrics.registry_of(take)
        self._kept: dict[str, tuple[int, Page]] = {}
        self._routes: dict[str, Callable[[], Page]] = {
            "/": self._index,
            "/metrics": self._metrics,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/statusz": self._statusz,
            "/statusz.json": self._statusz_json,
        }
        self._costly = ("/metrics", "/statusz", "/statusz.json")

    def answer(self, path: str) -> Page:
        """The page at `path`; 404 with the paths there are if there is none. O(1) in links and users."""
        make = self._routes.get(path)
        if make is None:
            return text(404, f"there is no {path!r} here, only: {', '.join(self._routes)}")
        starting = self._starting()
        if starting is not None:
            return _while_starting(path, starting) or make()
        if path not in self._costly:
            return make()
        now_ms = time.monotonic_ns() // 1_000_000
        made_ms, page = self._kept.get(path, (0, None))
        if page is None or now_ms - made_ms >= KEPT_MS:
            page = make()
            self._kept[path] = (now_ms, page)
        return page

    def _index(self) -> Page:
        return Page(200, HTML, statusz.index(self._routes), statusz.POLICY)

    def _metrics(self) -> Page:
        return Page(200, metrics.CONTENT_TYPE, metrics.render(self._registry))

    def _healthz(self) -> Page:
        # That this runs is the answer: the loop goes round.
        return text(200, "ok")

    def _readyz(self) -> Page:
        reason = not_ready(self._take())
        return text(503, f"not ready: {reason}") if reason else text(200, "ready")

    def _statusz(self) -> Page:
        status = self._take()
        return Page(200, HTML, statusz.page(status, self._history, self._examine(status)), statusz.POLICY)

    def _statusz_json(self) -> Page:
        return Page(200, JSON, msgspec.json.encode(self._take()))


def _while_starting(path: str, starting: Starting) -> Page | None:
    """The page at `path` where there is another one as long as the server starts. /metrics is answered: for Prometheus
    a refusal would be a server that is down."""
    match path:
        case "/metrics":
            return Page(200, metrics.CONTENT_TYPE, starting.metrics())
        case "/readyz":
            return text(503, f"not ready: {starting.sentence}")
        case "/statusz":
            return Page(503, HTML, statusz.starting(starting.sentence), statusz.POLICY)
        case "/statusz.json":
            return Page(503, JSON, msgspec.json.encode({"state": "starting", "message": starting.sentence}))
    return None


def text(status: int, sentence: str) -> Page:
    """A page of one line."""
    return Page(status, TEXT, (sentence + "\n").encode())
