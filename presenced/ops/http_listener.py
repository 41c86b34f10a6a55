"""The HTTP listener of a server, with its doors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from presenced.http.api.door import ApiDoor
from presenced.http.demo import DemoDoor
from presenced.http.door import Door
from presenced.http.files import FileDoor
from presenced.http.listener import Access, HttpServer
from presenced.http.origins import words
from presenced.http.websocket_door import WebSocketDoor
from presenced.ops.examination import Examination
from presenced.ops.history import History
from presenced.ops.page_door import PageDoor
from presenced.ops.pages import Pages
from presenced.ops.startup import Starting
from presenced.server.listeners import http_connections_for

if TYPE_CHECKING:
    from presenced.server.server import Server


def http_listener(
    server: Server, examination: Examination, history: History, starting: Callable[[], Starting | None]
) -> HttpServer:
    """The listener for these settings; it does not listen yet."""
    settings = server.settings

    def pages_are_open() -> bool:
        return server.settings.http_pages == "everyone"

    access = Access(
        names=lambda: server.settings.http_names(),
        origins=lambda: words(server.settings.http_origins),
        trusted=lambda: words(server.settings.http_trusted_proxies),
        is_trusting=settings.dev,
        pages_are_open=pages_are_open,
        tls=(lambda: server.active.tls) if settings.http_tls else (lambda: None),
    )
    doors: list[Door] = []
    if settings.http_websocket:
        doors += [WebSocketDoor(server.admission, lambda: starting() is not None), FileDoor()]
    if settings.has_demo:
        doors.append(DemoDoor(lambda: server.listeners, sys.argv[0]))
    if settings.http_api:
        doors.append(ApiDoor(server.admission, server.active, server.report, lambda: starting() is not None))
    pages = Pages(examination.status, history, examination.findings, starting)
    doors.append(PageDoor(pages, server.report, pages_are_open))
    return HttpServer(doors, server.report, access, connections_max=http_connections_for(settings))
