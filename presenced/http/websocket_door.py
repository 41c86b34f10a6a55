"""The door of WebSockets: a request for `/ws` becomes a link (protocol.md, section 24)."""

from __future__ import annotations

import logging
from collections.abc import Callable

from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from presenced.http.door import Call, HttpRequest
from presenced.http.page import HttpPage, text
from presenced.server.admission import Admission
from presenced.server.transports.websocket_kinds import KINDS, refusal_messages

PATH = "/ws"
VERSION = "13"

_quiet = logging.getLogger("presenced.websocket")


class WebSocketDoor:
    """Lets clients in as `admission` allows; not while `is_starting`."""

    is_for_pages = True
    refused_page = staticmethod(text)

    def __init__(self, admission: Admission, is_starting: Callable[[], bool]) -> None:
        self._admission = admission
        self._is_starting = is_starting

    def takes(self, path: str) -> bool:
        """It takes one path."""
        return path == PATH

    def is_health(self, path: str) -> bool:
        """It says nothing of that."""
        return False

    def open(self, call: Call) -> None:
        """Answer the handshake (RFC 6455, 4.2.2), and make a link of the connection."""
        if self._is_starting():
            call.answer(text(503, "the daemon is starting; try again in a second", ("Retry-After", "1")))
            return
        # The rest of the head was judged before: it has one Host, and no body follows.
        handshake = ServerProtocol(subprotocols=[Subprotocol(name) for name in KINDS], logger=_quiet)
        response = handshake.accept(_request(call.request))
        if response.status_code != 101:
            call.answer(_refusal(call.request, response))
            return
        subprotocol = handshake.subprotocol
        assert subprotocol is not None
        conversation = self._admission.admit()
        connection, rest = call.upgrade()
        connection.write(response.serialize())
        if conversation is None:
            connection.write(refusal_messages(subprotocol, self._admission.refusal()))
            connection.close()
            return
        transport = KINDS[subprotocol](conversation, call.request.peer)
        connection.set_protocol(transport)
        transport.connection_made(connection)
        if rest:
            transport.data_received(rest)


def _request(request: HttpRequest) -> Request:
    headers = Headers()
    for name, value in request.headers.items():
        headers[name] = value
    return Request(request.path, headers, method=request.method)


def _refusal(request: HttpRequest, response: Response) -> HttpPage:
    version = request.headers.get("sec-websocket-version", VERSION)
    if version != VERSION:
        # Which one would do is said in a header of its own (RFC 6455, 4.4), and the library says it in words alone.
        sentence = f"this server speaks version {VERSION} of WebSocket, not {version[:20]!r}"
        return text(426, sentence, ("Sec-WebSocket-Version", VERSION), ("Upgrade", "websocket"))
    if response.status_code == 400 and "sec-websocket-protocol" not in request.headers:
        sentence = f"no subprotocol was named; name one of {', '.join(KINDS)} in Sec-WebSocket-Protocol"
        return text(400, sentence)
    more = tuple((name, value) for name, value in response.headers.raw_items() if name in ("Allow", "Upgrade"))
    body = bytes(response.body or b"")
    sentence = " ".join(body.decode("utf-8", "replace").split())
    return text(response.status_code, sentence, *more)
