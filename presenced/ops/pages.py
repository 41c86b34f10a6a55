"""The table of routes: what the listener can be asked for, and how each page is made.

Every page is made from one `ServerStatus`. Costly pages are reused for a tenth of a second, so that a client that asks
in a loop gets copies and takes no time from presence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from presenced.http.page import HTML, JSON, HttpPage, text
from presenced.ops import metrics, statusz
from presenced.ops.doctor import Finding
from presenced.ops.health import not_ready
from presenced.ops.history import History
from presenced.ops.startup import Starting
from presenced.server.clocks import SYSTEM_CLOCKS
from presenced.server.status import ServerStatus

REUSED_MS = 100


class PageMaker(NamedTuple):
    """One page."""

    make: Callable[[], HttpPage]
    while_starting: Callable[[Starting], HttpPage] | None = None
    """The page while the server starts; None = the same as ever."""
    is_costly: bool = False
    """The page is made once in `REUSED_MS` and reused in between."""
    is_health: bool = False
    """The page is told under any host name, since it says nothing and load balancers ask for it, and also while all
    other places are taken."""


class Pages:
    """The pages of one server. `take` is its status now, `history` its last minutes, and `examine` what the doctor says
    of a status. None of them is asked while `starting` returns something."""

    def __init__(
        self,
        take: Callable[[], ServerStatus],
        history: History,
        examine: Callable[[ServerStatus], list[Finding]],
        starting: Callable[[], Starting | None] = lambda: None,
    ) -> None:
        self._take = take
        self._history = history
        self._examine = examine
        self._starting = starting
        # Late, so that a test can have another status.
        self._registry = metrics.registry_of(lambda: self._take())
        self._made: dict[str, tuple[int, HttpPage]] = {}
        self._routes = {
            "/": PageMaker(self._index),
            "/status-index": PageMaker(self._index),
            "/metrics": PageMaker(self._metrics, _starting_metrics, is_costly=True),
            "/healthz": PageMaker(self._healthz, is_health=True),
            "/readyz": PageMaker(self._readyz, _starting_readyz, is_health=True),
            "/statusz": PageMaker(self._statusz, _starting_statusz, is_costly=True),
            "/statusz.json": PageMaker(self._statusz_json, _starting_json, is_costly=True),
        }

    def is_health(self, path: str) -> bool:
        """Whether the page at `path` is one of those that say whether the server is well."""
        route = self._routes.get(path)
        return route is not None and route.is_health

    def answer(self, path: str) -> HttpPage:
        """The page at `path`, or 404 with the paths that there are. O(1) in links and users."""
        route = self._routes.get(path)
        if route is None:
            return text(404, f"there is no {path!r} here; the pages are {', '.join(self._routes)}")
        starting = self._starting()
        if starting is not None:
            return route.while_starting(starting) if route.while_starting is not None else route.make()
        if not route.is_costly:
            return route.make()
        now_ms = SYSTEM_CLOCKS.monotonic_ms()
        made_ms, page = self._made.get(path, (0, None))
        if page is None or now_ms - made_ms >= REUSED_MS:
            page = route.make()
            self._made[path] = (now_ms, page)
        return page

    def _index(self) -> HttpPage:
        return HttpPage(200, HTML, statusz.index(self._routes), statusz.POLICY)

    def _metrics(self) -> HttpPage:
        return HttpPage(200, metrics.CONTENT_TYPE, metrics.render(self._registry))

    def _healthz(self) -> HttpPage:
        # That this code runs is the answer: the event loop turns.
        return text(200, "ok")

    def _readyz(self) -> HttpPage:
        reason = not_ready(self._take())
        return text(503, f"not ready: {reason}") if reason else text(200, "ready")

    def _statusz(self) -> HttpPage:
        status = self._take()
        return HttpPage(200, HTML, statusz.page(status, self._history, self._examine(status)), statusz.POLICY)

    def _statusz_json(self) -> HttpPage:
        return HttpPage(200, JSON, msgspec.json.encode(self._take()))


# --- while the server starts --------------------------------------------------------------------------------------


def _starting_metrics(starting: Starting) -> HttpPage:
    # Status 200: Prometheus would take a refusal for a server that is down.
    return HttpPage(200, metrics.CONTENT_TYPE, metrics.render_starting(starting))


def _starting_readyz(starting: Starting) -> HttpPage:
    return text(503, f"not ready: {starting.sentence}")


def _starting_statusz(starting: Starting) -> HttpPage:
    return HttpPage(503, HTML, statusz.starting(starting.sentence), statusz.POLICY)


def _starting_json(starting: Starting) -> HttpPage:
    return HttpPage(503, JSON, msgspec.json.encode({"state": "starting", "message": starting.sentence}))
