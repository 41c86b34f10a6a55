"""Where a server under test answers over HTTP: requests of backends, WebSockets, and browsers that fetch their client.

A process under test opens and closes in one step, as one that is started and killed does.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from presenced.http.api.door import ApiDoor
from presenced.http.door import Door
from presenced.http.files import FileDoor
from presenced.http.listener import Access, HttpServer
from presenced.http.websocket_door import WebSocketDoor
from presenced.server.server import Server

HOST = "127.0.0.1"


class HttpAddress:
    """An address on the loopback, which stays the same over all starts of the server."""

    def __init__(self) -> None:
        self.port = 0
        self._http: HttpServer | None = None

    @property
    def is_open(self) -> bool:
        """Whether a server answers."""
        return self._http is not None

    def open(self, server: Server) -> None:
        """Let this server answer there. Pages of every origin may ask."""
        self._api = ApiDoor(server.admission, server.active, server.report, lambda: False)
        doors: list[Door] = [WebSocketDoor(server.admission, lambda: False), self._api, FileDoor()]
        self._http = HttpServer(doors, server.report, Access(origins=lambda: ("*",)))
        _begin(self._http.listen(f"{HOST}:{self.port}"))
        self.port = self._http.port

    def close(self) -> None:
        """Nobody answers there any longer. Idempotent."""
        http, self._http = self._http, None
        if http is not None:
            self._api.pool.close()
            self._api.followings.close()
            _begin(http.close())
            for connection in list(http.connections):
                connection.abort()


def _begin(work: Coroutine[Any, Any, None]) -> None:
    """Do what can be done without waiting."""
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
