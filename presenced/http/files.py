"""The door of the files that come with the package: the client for browsers under `/client/`.

A file is read once and kept. A browser keeps it as well, and asks each time whether it is still the same (RFC 9110,
8.8.3): so an upgraded server is never spoken to by the client of the one before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Final

from presenced.http.door import Call, HttpRequest
from presenced.http.page import TEXT, HttpPage, text

METHODS: Final = ("GET", "HEAD")
REVALIDATED: Final = ("Cache-Control", "no-cache")
TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "ts": "application/typescript; charset=utf-8",
}
CLIENT_FILES: Final = {
    "/client/presence.js": "web/presence.js",
    "/client/presence.d.ts": "web/presence.d.ts",
    "/client/node-websocket.js": "web/node-websocket.js",
}
"""Paths and the files of the package that are served there."""


class FileDoor:
    """Answers for all paths under one prefix with these files, and with 404 for others."""

    is_for_pages = True
    refused_page = staticmethod(text)

    def __init__(self, prefix: str = "/client/", files: Mapping[str, str] = CLIENT_FILES) -> None:
        """`files`: the paths, and for each the file's place in the package."""
        self._prefix = prefix
        self._files = files
        self._pages: dict[str, HttpPage] = {}

    def takes(self, path: str) -> bool:
        """Whether the path is under the prefix."""
        return path.startswith(self._prefix)

    def is_health(self, path: str) -> bool:
        """None of them is."""
        return False

    def open(self, call: Call) -> None:
        """Answer with the file, or that the asker has it already."""
        request = call.request
        if request.path not in self._files:
            call.answer(text(404, f"there is no {request.path[:100]!r} here, only: {', '.join(self._files)}"))
        elif request.method not in METHODS:
            call.answer(text(405, f"{request.path!r} answers only GET and HEAD", ("Allow", "GET, HEAD")))
        else:
            page = self._page(request.path)
            call.answer(_not_modified(page) if _is_had(request, page) else page)

    def _page(self, path: str) -> HttpPage:
        page = self._pages.get(path)
        if page is None:
            name = self._files[path]
            body = resources.files("presenced").joinpath(name).read_bytes()
            tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            kind = TYPES.get(name.rpartition(".")[2], TEXT)
            page = self._pages[path] = HttpPage(200, kind, body, headers=(("ETag", tag), REVALIDATED))
        return page


def _is_had(request: HttpRequest, page: HttpPage) -> bool:
    """Whether the request names the page's tag (RFC 9110, 13.1.2)."""
    named = [word.strip().removeprefix("W/") for word in request.headers.get("if-none-match", "").split(",")]
    return "*" in named or dict(page.headers)["ETag"] in named


def _not_modified(page: HttpPage) -> HttpPage:
    return page._replace(status=304, body=b"")
