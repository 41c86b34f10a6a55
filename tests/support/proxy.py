"""A stretch of network between a client and a server, which a test can cut and mend."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tests.support.until import PATIENCE_S

T = TypeVar("T")


class Proxy:
    """Passes on bytes in both directions between `port` of the loopback, which it opens, and another one. Used by
    `with`; it has a thread of its own."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._whole = asyncio.Event()
        self._whole.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """The connections end, and new ones get no answer before `mend`: then they are as if they had just come."""
        self._do(self._cut)

    def mend(self) -> None:
        """The network is whole again."""
        self._do(self._mend)

    @property
    def connections(self) -> int:
        """How many pass through it, or wait for that."""
        return len(self._passing)

    async def _cut(self) -> None:
        self._whole.clear()
        for writer in self._writers:
            writer.close()

    async def _mend(self) -> None:
        self._whole.set()

    def _do(self, what: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(what(), self._loop).result(PATIENCE_S)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        # The end cancels it, which asyncio's own callback for such tasks would take for a failure.
        with contextlib.suppress(asyncio.CancelledError), contextlib.closing(writer):
            await self._whole.wait()
            there, onward = await asyncio.open_connection("127.0.0.1", self._target)
            with contextlib.closing(onward):
                ends = {writer, onward}
                self._writers |= ends
                ways = [asyncio.create_task(_pass_on(*way)) for way in ((reader, onward), (there, writer))]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    self._writers -= ends
                    for way in ways:
                        way.cancel()

    async def _end(self) -> None:
        self._server.close()
        for task in list(self._passing):
            task.cancel()
        if self._passing:
            await asyncio.wait(self._passing)
        # Closed transports are gone one pass later.
        await asyncio.sleep(0.01)

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._do(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
