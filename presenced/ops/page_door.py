"""The door of the operator's pages. All who ask for them share some hundred answers a second, so that a client that
asks in a loop takes no time from presence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from presenced.config.hosts import is_loopback
from presenced.http.door import Call, answer_failure
from presenced.http.page import text
from presenced.ops.pages import Pages
from presenced.server.clocks import SYSTEM_CLOCKS
from presenced.server.report import Report

REQUEST_GAP_S = 0.005
"""Between two answers; a request that comes sooner waits."""

METHODS = ("GET", "HEAD")


class PageDoor:
    """Answers for the pages, and for every path that no other door takes."""

    is_for_pages = False
    refused_page = staticmethod(text)

    def __init__(self, pages: Pages, report: Report, is_for_all: Callable[[], bool] = lambda: True) -> None:
        """Unless it `is_for_all`, only clients on this machine get pages that tell more than whether it is well."""
        self.pages = pages
        self._report = report
        self._is_for_all = is_for_all
        self._free_s = 0.0
        """When the next answer may be given."""

    def takes(self, path: str) -> bool:
        """It takes what there is."""
        return True

    def is_health(self, path: str) -> bool:
        """Whether the page says only whether the server is well."""
        return self.pages.is_health(path)

    def open(self, call: Call) -> None:
        """Answer with the page at its moment."""
        asyncio.get_running_loop().call_later(self._reserve_s(), self._answer, call)

    def _answer(self, call: Call) -> None:
        request = call.request
        if request.method not in METHODS:
            sentence = f"{request.path[:100]!r} answers only GET and HEAD: the pages are read-only"
            call.answer(text(405, sentence, ("Allow", "GET, HEAD")))
            return
        if not (self._is_for_all() or self.is_health(request.path) or is_loopback(request.peer)):
            sentence = "the pages of the operator are shown on this machine alone (http.pages)"
            call.answer(text(403, sentence))
            return
        try:
            page = self.pages.answer(request.path)
        except Exception:
            answer_failure(call, self._report)
        else:
            call.answer(page)

    def _reserve_s(self) -> float:
        """Reserve the next free moment; returns the seconds until then."""
        now_s = SYSTEM_CLOCKS.monotonic_s()
        self._free_s = max(self._free_s, now_s)
        wait_s = self._free_s - now_s
        self._free_s += REQUEST_GAP_S
        return wait_s
