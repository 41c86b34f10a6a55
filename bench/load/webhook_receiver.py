"""A receiver of webhooks that does nothing but count events, on a thread of the load."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
EVENT = b'"type":'
"""It stands once in each event."""

START_S = 10.0


class _Counting(asyncio.Protocol):
    def __init__(self, receiver: EventCounter) -> None:
        self._receiver = receiver
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (head_end := self._held.find(HEAD_END)) >= 0:
            head = self._held[:head_end].lower() + b"\r"
            length = int(head[head.index(LENGTH) + len(LENGTH) :].partition(b"\r")[0])
            end = head_end + len(HEAD_END) + length
            if len(self._held) < end:
                return
            self._receiver.count(self._held[head_end:end].count(EVENT))
            self._held = self._held[end:]
            self._transport.write(ANSWER)


class EventCounter:
    """Listens on a port of its own until `stack` ends."""

    def __init__(self, stack: ExitStack) -> None:
        self.events = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._listens = threading.Event()
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(self._loop.call_soon_threadsafe, self._loop.stop)
        self._listens.wait(START_S)

    def count(self, events: int) -> None:
        """So many more have come."""
        self.events += events

    def _run(self) -> None:
        loop = self._loop
        server = loop.run_until_complete(loop.create_server(lambda: _Counting(self), "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._listens.set()
        loop.run_forever()
        server.close()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
