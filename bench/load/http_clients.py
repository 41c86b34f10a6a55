"""Clients that ask over HTTP, one request after the other on each connection, as a backend with a pool of connections
does: a closed loop."""

from __future__ import annotations

import json
import re
import select
import socket
import time
from collections.abc import Mapping

from bench.errors import BenchError

TIMEOUT_S = 30.0
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


def request(name: str, fields: Mapping[str, object], user: str) -> bytes:
    """The bytes of `POST /v1/NAME`, by this user of a server in development."""
    body = json.dumps(fields).encode()
    head = f"POST /v1/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\nPresence-User: {user}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class HttpClients:
    """So many connections to one listener. A context manager."""

    def __init__(self, port: int, connections: int) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._poller = select.epoll()
        for _ in range(connections):
            client = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[client.fileno()] = client
            self._poller.register(client, select.EPOLLIN)

    def __enter__(self) -> HttpClients:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._sockets.values():
            client.close()
        self._poller.close()

    def ask(self, data: bytes, requests: int) -> list[int]:
        """Send this so many times over all connections, each when the answer to the one before is there; returns how
        long each answer took, in nanoseconds. Raises `BenchError` if one is not 200."""
        clock = time.monotonic_ns
        took_ns: list[int] = []
        parts = dict.fromkeys(self._sockets, b"")
        sent_ns: dict[int, int] = {}
        left = requests
        for fd, client in self._sockets.items():
            if left:
                left -= 1
                sent_ns[fd] = clock()
                client.sendall(data)
        while sent_ns:
            events = self._poller.poll(TIMEOUT_S)
            if not events:
                raise BenchError(f"{len(sent_ns)} requests over HTTP were not answered within {TIMEOUT_S:.0f} s")
            for fd, _ in events:
                client = self._sockets[fd]
                answer = parts[fd] + client.recv(65_536)
                if not _is_whole(answer):
                    parts[fd] = answer
                    continue
                parts[fd] = b""
                took_ns.append(clock() - sent_ns.pop(fd))
                if left:
                    left -= 1
                    sent_ns[fd] = clock()
                    client.sendall(data)
        return took_ns


def _is_whole(answer: bytes) -> bool:
    """Whether all of an answer is here. Raises `BenchError` if it is not 200."""
    if not answer.startswith(b"HTTP/1.1 200 "[: len(answer)]) or not answer:
        raise BenchError(f"a request over HTTP was answered by {answer[:300]!r}")
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    length = _LENGTH.search(answer, 0, end)
    if length is None:
        raise BenchError("an answer over HTTP has no length")
    return len(answer) >= end + 4 + int(length[1])
