"""Stretches of network between clients and servers on the loopback, which a test cuts, stalls and makes lossy: many of
them on one loop in one thread. `proxy` is the simple one."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tests.support.until import PATIENCE_S

T = TypeVar("T")


class Stretch:
    """Passes on bytes between `port`, which it opens, and a server's. Made by `Network.stretch`."""

    def __init__(self, target: int, rewrite: Callable[[bytes], bytes]) -> None:
        self.port = 0
        self.swallowed = 0
        """Replies that were lost so far."""
        self._target = target
        self._rewrite = rewrite
        self._is_cut = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._to_swallow = 0
        self._is_torn = False
        self._ends: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()
        self.server: asyncio.Server | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side or a test ends it."""
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        with contextlib.suppress(asyncio.CancelledError, OSError), contextlib.closing(writer):
            if self._is_cut:
                return
            await self._flowing.wait()
            there, onward = await asyncio.open_connection("127.0.0.1", self._target)
            with contextlib.closing(onward):
                ends = {writer, onward}
                self._ends |= ends
                ways = [
                    asyncio.ensure_future(self._ask(reader, onward)),
                    asyncio.ensure_future(self._answer(there, writer)),
                ]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    self._ends -= ends
                    for way in ways:
                        way.cancel()

    async def _ask(self, reader: asyncio.StreamReader, onward: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                onward.write(data)
                await onward.drain()

    async def _answer(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await there.read(65536):
                await self._flowing.wait()
                if self._to_swallow:
                    self._to_swallow -= 1
                    self.swallowed += 1
                    if self._is_torn:
                        writer.write(data[: len(data) // 2])
                        await writer.drain()
                    return
                writer.write(self._rewrite(data))
                await writer.drain()

    # --- in the loop of the network ----------------------------------------------------------------------------

    async def cut(self) -> None:
        self._is_cut = True
        for end in list(self._ends):
            end.transport.abort()

    async def stall(self) -> None:
        self._flowing.clear()

    async def swallow(self, count: int, is_torn: bool) -> None:
        self._to_swallow, self._is_torn = count, is_torn

    async def mend(self) -> None:
        self._is_cut = False
        self._to_swallow = 0
        self._flowing.set()

    async def close(self) -> None:
        if self.server is not None:
            self.server.close()
        for task in list(self._passing):
            task.cancel()
        if self._passing:
            await asyncio.wait(self._passing)


class Network:
    """All stretches of one test. Used by `with`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._stretches: list[Stretch] = []

    def stretch(self, target: int, rewrite: Callable[[bytes], bytes] = bytes) -> Stretch:
        """A way to this port of the loopback. `rewrite` changes what comes back over it."""

        async def listen() -> Stretch:
            stretch = Stretch(target, rewrite)
            stretch.server = await asyncio.start_server(stretch.serve, "127.0.0.1", 0)
            stretch.port = stretch.server.sockets[0].getsockname()[1]
            self._stretches.append(stretch)
            return stretch

        return self._do(listen())

    def cut(self, *stretches: Stretch) -> None:
        """Connections over these end, and new ones end at once, until `mend`."""
        for stretch in stretches:
            self._do(stretch.cut())

    def stall(self, *stretches: Stretch) -> None:
        """Connections stay, and nothing passes in either direction until `mend`: then all of it does."""
        for stretch in stretches:
            self._do(stretch.stall())

    def lose_replies(self, stretch: Stretch, count: int, *, is_torn: bool = False) -> None:
        """The next replies do not arrive, and the connection ends in their place; with `is_torn` their first half
        does."""
        self._do(stretch.swallow(count, is_torn))

    def mend(self, *stretches: Stretch) -> None:
        """They are whole again."""
        for stretch in stretches:
            self._do(stretch.mend())

    def _do(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(PATIENCE_S)

    def __enter__(self) -> Network:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for stretch in self._stretches:
            self._do(stretch.close())
        # Closed transports are gone one pass later.
        self._do(asyncio.sleep(0.01))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()
