"""The bytes between us and an engine: commands out, answers in, parsed by hiredis. No task, timer or stream for a
command, since each turn that changes anything makes one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import hiredis

EngineCommand = tuple[bytes | str | int, ...]


class EngineFault(Exception):
    """An error that the engine has answered with, as it is."""


class Wire(asyncio.Protocol):
    """One connection. Only one exchange at a time; one that fails, is late or is cancelled ends the connection, because
    nobody could tell its answer from the next."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=EngineFault, protocolError=ConnectionError)
        self._transport: asyncio.Transport | None = None
        self._answers: list[Any] = []
        self._expected = 0
        self._done: asyncio.Future[list[Any]] | None = None
        self._deadline_s = 0.0
        self._watch: asyncio.TimerHandle | None = None
        """Looks at the deadline now and then, while there is any: one for many exchanges."""

    @property
    def is_open(self) -> bool:
        """Whether the connection is there, as far as is known."""
        return self._transport is not None

    async def exchange(self, commands: Sequence[EngineCommand], wait_s: float) -> list[Any]:
        """Send commands in one go, and return their answers, in order; an error among these is an `EngineFault`. Raises
        `OSError` (which includes `TimeoutError`) if they did not all come."""
        if self._transport is None:
            raise ConnectionError("the connection was closed")
        self._answers, self._expected = [], len(commands)
        self._done = self._loop.create_future()
        self._deadline_s = self._loop.time() + wait_s
        if self._watch is None or self._watch.when() > self._deadline_s:
            self._look_at(self._deadline_s)
        self._transport.write(b"".join([hiredis.pack_command(cast(Any, command)) for command in commands]))
        try:
            return await self._done
        except BaseException:
            self.abort()
            raise
        finally:
            self._done = None

    def abort(self) -> None:
        """End it at once."""
        transport, self._transport = self._transport, None
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if transport is not None:
            transport.abort()

    # --- asyncio.Protocol -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets()) is not False:
                self._answers.append(answer)
        except ConnectionError as error:
            self._fail(ConnectionError(f"it does not speak the protocol of Redis: {error}"))
            return
        if self._done is not None and not self._done.done() and len(self._answers) >= self._expected:
            self._done.set_result(self._answers)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error if isinstance(error, OSError) else ConnectionError("the connection was closed"))
        self.abort()

    def _fail(self, error: OSError) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    def _look_at(self, deadline_s: float) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self._loop.call_at(deadline_s, self._look)

    def _look(self) -> None:
        self._watch = None
        if self._done is None or self._done.done():
            return
        if self._loop.time() < self._deadline_s:
            self._look_at(self._deadline_s)
        else:
            self._fail(TimeoutError("it does not answer in time"))
