"""Peers that ask several things and end their half at once: what has an end is answered, and the rest ends."""

from __future__ import annotations

import json
import socket

import pytest

from tests.http.asking import Asked
from tests.support.in_process import LOOPS
from tests.support.raw_websocket import JSON, handshake, said
from tests.support.until import PATIENCE_S

EVENTS = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nPresence-User: app\r\n\r\n"


def question(name: str, **fields: object) -> bytes:
    body = json.dumps(fields).encode()
    head = f"POST /v1/{name} HTTP/1.1\r\nHost: localhost\r\nPresence-User: app\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


LONG = {
    "events": EVENTS,
    "await": question("await_status", user="anna", statuses=["chat"], for_at_most_ms=300_000),
    "websocket": handshake() + said(JSON, 1, [1], "", "max", "tab"),
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("long", LONG)
def test_nothing_without_an_end_is_kept_for_who_has_said_all(loop: str, long: str) -> None:
    """The half ends while the request before is being answered, and so before anybody looks at the next one."""
    with Asked(loop) as server:
        with socket.create_connection(("127.0.0.1", server.http_port), PATIENCE_S) as peer:
            peer.sendall(question("get_status", users=["anna"]) + LONG[long])
            peer.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := peer.recv(65_536):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 200 ") and b'"user":"anna"' in answer
        server.until(lambda server: all(link.session is None or not link.session.device for link in server.links))
        server.until(lambda _: not len(server.door.followings))
