"""The door of the demo: one page about presence, for whoever has just started a daemon with `--dev`.

The page is a client like any other, and this module only hands out its files. A browser lets it load nothing from
elsewhere, and put no text of a person into the page as HTML.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from html import escape
from importlib import resources
from pathlib import Path
from typing import Final

from presenced.http.door import Call
from presenced.http.files import METHODS, FileDoor
from presenced.http.page import HTML, HttpPage, text

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src blob:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types default"
)
"""The client's worker keeps its time while the page is in the background; the page's own policy of trusted types lets
it start that and nothing else."""

PREFIX: Final = "/demo/"
FILES: Final = {f"{PREFIX}{name}": f"web/demo/{name}" for name in ("demo.css", "demo.js", "look.js", "icon.svg")}


class DemoDoor:
    """Answers for `/` and for what the page there needs. `addresses` are those at which the server listens, as URLs,
    and `program` is the word with which this daemon was started."""

    is_for_pages = False
    refused_page = staticmethod(text)

    def __init__(self, addresses: Callable[[], Iterable[str]], program: str = "") -> None:
        self._addresses = addresses
        self._command = command_beside(program)
        self._files = FileDoor(PREFIX, FILES)

    def takes(self, path: str) -> bool:
        """Whether it is a path of the demo."""
        return path == "/" or self._files.takes(path)

    def is_health(self, path: str) -> bool:
        """No path here says whether the server is well."""
        return False

    def open(self, call: Call) -> None:
        """Answer with the page, or with a file of it."""
        request = call.request
        if request.path != "/":
            self._files.open(call)
        elif request.method not in METHODS:
            call.answer(text(405, "the demo answers only GET and HEAD", ("Allow", ", ".join(METHODS))))
        else:
            page = resources.files("presenced").joinpath("web/demo/index.html").read_text(encoding="utf-8")
            call.answer(HttpPage(200, HTML, self._filled(page), POLICY))

    def _filled(self, page: str) -> bytes:
        """The page with what a terminal on this machine needs."""
        clients = (url for url in self._addresses() if url.startswith(("presence://", "presences://")))
        values = {"{address}": next(clients, "presence://127.0.0.1:5250"), "{command}": self._command}
        for place, value in values.items():
            page = page.replace(place, escape(value))
        return page.encode()


def command_beside(program: str) -> str:
    """How a shell in the daemon's directory calls presencectl: from where the daemon itself came, if it lies there."""
    beside = Path(program).with_name("presencectl") if Path(program).name == "presenced" else None
    return shlex.quote(str(beside)) if beside is not None and beside.exists() else "presencectl"
