"""A server in this process, on a loop in a thread of its own, so that blocking clients can talk to it and a test can
look inside it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import uvloop

from presenced.config.settings import Settings
from presenced.ops.operations import Operations
from presenced.server.clocks import SYSTEM_CLOCKS, Clocks
from presenced.server.server import Server
from tests.support.until import PATIENCE_S

T = TypeVar("T")
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


class InProcess:
    """Starts on entry; on exit it stops."""

    def __init__(
        self,
        loop: str = "uvloop",
        *,
        operated: bool = True,
        environ: dict[str, str] | None = None,
        clocks: Clocks = SYSTEM_CLOCKS,
        parts: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """`operated`: with the operator's side, as in a daemon, which reads `environ`. `parts` are handed to the server
        as they are."""
        self._clocks = clocks
        self._parts = parts or {}
        self.settings = Settings(**({"dev": True, "listen": "127.0.0.1:0", "check": True} | settings))
        self.loop_errors: list[dict[str, Any]] = []
        """What reached the loop's own handler: exceptions that nobody caught."""
        self._is_operated = operated
        self._environ = environ
        self._loop_factory = LOOPS[loop]
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> InProcess:
        self._thread.start()
        assert self._started.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        if not self.server.admission.is_closed:
            self._stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.stop(), self.loop).result(PATIENCE_S)

    @property
    def port(self) -> int:
        return self.server.port

    def ask(self, question: Callable[[Server], T]) -> T:
        """What `question` says of the server, asked on its loop between two turns."""

        async def answer() -> T:
            return question(self.server)

        return asyncio.run_coroutine_threadsafe(answer(), self.loop).result(PATIENCE_S)

    def carry_out(self, work: Callable[[Server], Coroutine[Any, Any, T]]) -> T:
        """What comes of `work`, which runs on the loop while the server serves."""
        return asyncio.run_coroutine_threadsafe(work(self.server), self.loop).result(PATIENCE_S)

    def until(self, condition: Callable[[Server], bool]) -> None:
        """Return once `condition` holds between two turns; fails if it does not come to hold."""

        async def hold() -> None:
            async with asyncio.timeout(PATIENCE_S):
                while not condition(self.server):
                    await asyncio.sleep(0.005)

        asyncio.run_coroutine_threadsafe(hold(), self.loop).result(PATIENCE_S + 1)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self._loop_factory) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(lambda _, context: self.loop_errors.append(context))
        self.server = Server(self.settings, clocks=self._clocks, **self._parts)
        self.operations = Operations(self.server, environ=self._environ)
        await self.server.start(self.operations if self._is_operated else None)
        self._started.set()
        with contextlib.suppress(Exception):
            # What failed is for the test to look at.
            await self.server.wait_stopped()
        while self.server.links:
            # Aborted ones are told in the next pass.
            await asyncio.sleep(0)
