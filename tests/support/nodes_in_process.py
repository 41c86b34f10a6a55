"""Several nodes of one cluster in this process: real servers with real links, on one loop in a thread of its own, over
a Redis server of their own. A suite that knows one server by its port runs on them as it is."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from presenced.cli.daemon import serve
from presenced.cluster.log.node import Node
from presenced.config.loader import load
from presenced.config.settings import Settings
from presenced.ops.operations import Operations
from presenced.server.clustering.membership import Membership
from presenced.server.server import Server
from tests.support.dealt_port import DealtPort
from tests.support.engines import RedisServer
from tests.support.until import PATIENCE_S

ROUNDS: Final = 6
"""Through so many hands at most goes what a link says until all nodes are told: a link says hello on one node, the home
hands the user over, what waited behind the hello goes to a third, which decides it."""

DEV: Final = Settings(dev=True, check=True, listen="127.0.0.1:0")

LEASE_MS: Final = 60_000
"""Nobody is taken for dead because the machine is busy."""

PASSES: Final = 3
"""Of the loop, in which what has arrived on sockets is read and turns run."""


class NodesInProcess:
    """Starts on entry; on exit all nodes stop. Skips the test without redis-server."""

    def __init__(self, folder: Path, nodes: int = 3, settings: Settings = DEV) -> None:
        """`settings` are those of each node, but for what the cluster is."""
        self._engine = RedisServer(folder / "redis")
        cluster = {"cluster_url": f"unix://{self._engine.socket}", "cluster_lease_ms": LEASE_MS}
        self._settings = [
            msgspec.structs.replace(settings, **cluster, cluster_node=f"node-{number}")
            for number in range(1, nodes + 1)
        ]
        self.servers: list[Server] = []
        self.operations: list[Operations] = []
        self.loop_errors: list[dict[str, Any]] = []
        """What reached the loop's own handler: exceptions that nobody caught."""
        self._failure: BaseException | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> NodesInProcess:
        self._thread.start()
        assert self._started.wait(PATIENCE_S)
        if self._failure is not None:
            self._engine.stop()
            raise self._failure
        self.port = DealtPort([server.port for server in self.servers], self.settle)
        """Where clients connect."""
        return self

    def __exit__(self, *_: object) -> None:
        try:
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(PATIENCE_S)
            self._thread.join(PATIENCE_S)
            assert not self._thread.is_alive()
        finally:
            self._engine.stop()
        assert self.loop_errors == []

    def settle(self) -> None:
        """Return once each node has told the others what it knew when this was called, and what came of that."""
        asyncio.run_coroutine_threadsafe(self.settled(), self._loop).result(PATIENCE_S)

    async def settled_elsewhere(self) -> None:
        """As `settle`, for a loop that is not that of the nodes."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.settled(), self._loop))

    # --- on the loop of the nodes -----------------------------------------------------------------------------

    async def settled(self) -> None:
        """As `settle`. Others may go on meanwhile: what they say is not waited for."""
        for _ in range(ROUNDS):
            for _ in range(PASSES):
                await asyncio.sleep(0)
            if self._at_rest():
                return
            parts = [self._membership(server)._node for server in self.servers]
            await self._exchanged([part for part in parts if part is not None])

    async def _exchanged(self, nodes: list[Node]) -> None:
        """Return once all nodes have read what any of them has to say now."""
        added = [node.batches.added for node in nodes]
        await self._until(lambda: all(node.batches.confirmed >= said for node, said in zip(nodes, added, strict=True)))
        # Who has read its own batch back knows the end.
        end = max(node.position for node in nodes)
        await self._until(lambda: all(node.position >= end for node in nodes))

    def _at_rest(self) -> bool:
        positions = set()
        for server in self.servers:
            part = self._membership(server)
            node, pump = part._node, part._pump
            assert node is not None and pump is not None
            positions.add(node.position)
            if (
                node.batches.confirmed != node.batches.added
                or pump._reader.slices.has_work
                or part._pacing._is_scheduled
            ):
                return False
        return len(positions) == 1

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            for server in self.servers:
                if server.pacing.failure is not None:
                    raise server.pacing.failure
            await asyncio.sleep(0.0005)

    @staticmethod
    def _membership(server: Server) -> Membership:
        membership = server._lifecycle.membership
        assert membership is not None
        return membership

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda _, context: self.loop_errors.append(context))
        try:
            for settings in self._settings:
                server = Server(settings)
                operations = Operations(server)
                await server.start(operations)
                self.servers.append(server)
                self.operations.append(operations)
        except BaseException as error:
            self._failure = error
            await self._stop()
            raise
        finally:
            self._started.set()
        for server in self.servers:
            with contextlib.suppress(Exception):
                await server.wait_stopped()
        while any(server.links for server in self.servers):
            # Aborted ones are told in the next pass.
            await asyncio.sleep(0)

    async def _stop(self) -> None:
        for server in self.servers:
            await server.stop()


def settings_of(*options: str, dev: bool = True) -> Settings:
    """What these options of `presenced serve` mean, beside those with which a daemon of the tests is started."""
    words = [*(["--dev"] if dev else []), "--listen", "127.0.0.1:0", *options]
    flags = serve.make_context("serve", words).params
    return load({name: value for name, value in flags.items() if name != "config"}, {}, None).settings
