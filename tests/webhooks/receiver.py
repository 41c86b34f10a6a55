"""A receiver of webhooks on loopback that does what a test tells it, byte by byte, and keeps what it was sent."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from tests.support.until import PATIENCE_S
from tests.webhooks.signing import is_signed

SECRET = bytes(range(32))
SECRET_LINE = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

T = TypeVar("T")


class Posted(NamedTuple):
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events in it."""
        found = json.loads(self.body)
        return found if isinstance(found, list) else [found]


OK = b"HTTP/1.1 204 No Content\r\n\r\n"
Answering = Callable[[Posted, asyncio.StreamWriter], Awaitable[bytes | None]]
"""Returns what to write; None = close the connection without a word, by a reset."""


def status(code: int, *headers: str, body: bytes = b"") -> bytes:
    """An answer."""
    head = "".join(f"{header}\r\n" for header in (f"Content-Length: {len(body)}", *headers))
    return f"HTTP/1.1 {code} Whatever\r\n{head}\r\n".encode() + body


async def take_all(posted: Posted, writer: asyncio.StreamWriter) -> bytes:
    """Accept everything."""
    return OK


class Receiver:
    """Listens until `close`. `answer` may be exchanged at any time."""

    def __init__(self, answer: Answering = take_all) -> None:
        self.answer = answer
        self.posted: list[Posted] = []
        self.connections = 0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self, context: ssl.SSLContext | None = None, port: int = 0) -> str:
        """Listen, and return the URL."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        return f"{'https' if context else 'http'}://localhost:{self.port}/in?k=1"

    async def close(self) -> None:
        """Stop listening, and drop all connections."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        try:
            # A task of a stream that is cancelled would be complained of.
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._serve_one(reader, writer):
                    pass
        finally:
            writer.transport.abort()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        method, path, _ = head[0].split(" ")
        assert method == "POST"
        posted = Posted(path, headers, body)
        assert is_signed(SECRET, headers, body), "the signature is wrong"
        self.posted.append(posted)
        data = await self.answer(posted, writer)
        if data is None:
            return False
        writer.write(data)
        await writer.drain()
        return True


class InThread:
    """A receiver on a loop of its own, for tests that block. Listens until `close`."""

    def __init__(self, answer: Answering = take_all) -> None:
        self.receiver = Receiver(answer)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.url = self._do(self.receiver.open())

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    @property
    def events(self) -> list[dict[str, Any]]:
        """All that was posted, in the order in which it came."""
        return [one for posted in list(self.receiver.posted) for one in posted.events]

    def close(self) -> None:
        """Stop listening."""
        self._do(self.receiver.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    def __enter__(self) -> InThread:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
