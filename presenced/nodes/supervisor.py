"""Runs several nodes as one daemon: it starts them, passes signals on, starts again who dies, and ends with the last.

To systemd and to a terminal it is one daemon: ready when all nodes are for the first time, stopping when it was told
to, with the exit code that one daemon would have. It gives a sign of life of its own, and watches over theirs.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Mapping, Sequence

from presenced.nodes.node_life import NodeLife, ending, sentence_of
from presenced.nodes.node_plan import NodePlan
from presenced.nodes.node_process import NodeProcess
from presenced.nodes.notice import Notice
from presenced.nodes.own_engine import EngineFailed, OwnEngine, RestartPauses
from presenced.ops.notifier import Notifier
from presenced.server.clocks import SYSTEM_CLOCKS

log = logging.getLogger("presenced")


class Supervisor:
    """The nodes of one machine. `run`; the other methods may be called from signal handlers meanwhile."""

    def __init__(
        self,
        plans: Sequence[NodePlan],
        program: Sequence[str],
        *,
        engine: OwnEngine | None,
        directory: str,
        environ: Mapping[str, str],
        notifier: Notifier,
        on_ready: Callable[[], object],
    ) -> None:
        """`engine` is started first and ended last; None = the nodes have another. `directory` is ours alone, `environ`
        is what nodes begin with. `on_ready` is called once, when all nodes are ready."""
        self.nodes = [NodeProcess(plan, program, environ, directory, self._heard, self._node_ended) for plan in plans]
        self._engine = engine
        self._notifier = notifier
        self._on_ready = on_ready
        self._loop = asyncio.get_running_loop()
        self._is_ready = False
        """All nodes were ready at once."""
        self._is_ending = False
        self._code = 0
        self._over = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._watchdog_timer: asyncio.TimerHandle | None = None
        self._engine_task: asyncio.Task[None] | None = None

    @property
    def lives(self) -> list[NodeLife]:
        """How each node is."""
        return [node.life for node in self.nodes]

    async def run(self) -> int:
        """Start everything, and return the exit code when all nodes have ended. Raises `EngineFailed`."""
        try:
            if self._notifier.watchdog_s:
                self._feed_watchdog()
            if self._engine is not None:
                await self._engine.start()
                self._engine_task = self._loop.create_task(self._keep_engine(self._engine))
            if not self._is_ending:
                for node in self.nodes:
                    node.start()
                await self._over.wait()
            # What a node ended with before it was started again is over.
            code = self._code or next((life.code for life in self.lives if life.code), 0)
            return 128 - code if code < 0 else code
        finally:
            await self._close()

    async def _close(self) -> None:
        self._is_ending = True
        for timer in (self._timer, self._watchdog_timer):
            if timer is not None:
                timer.cancel()
        for node in self.nodes:
            node.close()
        if self._engine is not None:
            await self._engine.stop()
        if self._engine_task is not None:
            self._engine_task.cancel()
            await asyncio.gather(self._engine_task, return_exceptions=True)
        self._notifier.close()

    # --- asked from outside -----------------------------------------------------------------------------------

    def begin_stop(self, number: signal.Signals) -> None:
        """Pass the signal on, and start nobody from now on. The second time, each node ends at once."""
        if self._is_ending:
            self._code = 128 + number
        else:
            self._end()
            self._notifier.stopping(f"{len(self.nodes)} nodes drain")
        for node in self.nodes:
            node.send(number)

    def reload(self) -> None:
        """Have every node read its settings again, and start those that had ended: what kept them may be mended."""
        if self._is_ending:
            return
        now_ms = SYSTEM_CLOCKS.monotonic_ms()
        for node in self.nodes:
            node.send(signal.SIGHUP)
            node.life.revive(now_ms)
        self._wake()

    def take_snapshots(self) -> None:
        """Have every node take a snapshot."""
        for node in self.nodes:
            node.send(signal.SIGUSR1)

    # --- what happens to nodes --------------------------------------------------------------------------------

    def _heard(self, node: NodeProcess, notice: Notice) -> None:
        now_ms, life = SYSTEM_CLOCKS.monotonic_ms(), node.life
        if notice.status is not None:
            life.tell(notice.status)
        if notice.is_ready:
            life.ready(now_ms)
        if notice.is_stopping:
            life.stopping()
        if notice.is_alive:
            life.alive(now_ms)
        if notice.wants_time and (self._is_ending or not self._is_ready):
            self._notifier.working(sentence_of(self.lives))
        if not self._is_ready and not self._is_ending and all(life.phase == "ready" for life in self.lives):
            self._is_ready = True
            self._on_ready()
            self._notifier.ready(sentence_of(self.lives))
        self._wake()

    def _node_ended(self, node: NodeProcess, code: int) -> None:
        life = node.life
        life.exited(code, SYSTEM_CLOCKS.monotonic_ms(), wanted=self._is_ending)
        if code and not self._is_ending:
            again = ", and is started again" if life.phase == "waiting" and self._is_ready else ""
            log.error("node %s (process %d) ended with %s%s", life.name, node.pid, ending(code), again)
        if not self._is_ready and not self._is_ending:
            self._code = code
            log.error("not every node could be started; stopping")
            self._end()
            self._notifier.stopping("not every node could be started")
            for other in self.nodes:
                other.send(signal.SIGTERM)
        self._wake()

    def _end(self) -> None:
        self._is_ending = True
        for life in self.lives:
            life.give_up()
        self._wake()

    def _wake(self) -> None:
        """Do what is due, and arm the timer for what is due next. O(nodes)."""
        now_ms = SYSTEM_CLOCKS.monotonic_ms()
        for node in self.nodes:
            if node.life.due_ms is not None and node.life.due_ms <= now_ms:
                self._act(node, now_ms)
        if all(life.phase == "over" for life in self.lives) and not any(node.is_running for node in self.nodes):
            self._over.set()
        if self._is_ready and not self._is_ending:
            self._notifier.status(sentence_of(self.lives))
        due = [life.due_ms for life in self.lives if life.due_ms is not None]
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(0, min(due) - now_ms) / 1000, self._wake) if due else None

    def _act(self, node: NodeProcess, now_ms: int) -> None:
        life = node.life
        if life.phase == "waiting":
            node.start()
        elif life.was_aborted:
            node.send(signal.SIGKILL)
            life.kill()
        else:
            log.error("node %s (process %d) gives no sign of life; ending it", life.name, node.pid)
            # It puts its stack into the log.
            node.send(signal.SIGABRT)
            life.abort(now_ms)

    # --- the engine, and systemd --------------------------------------------------------------------------------

    async def _keep_engine(self, engine: OwnEngine) -> None:
        """Start the engine again whenever it ends. The nodes go on meanwhile, and tell it what they have."""
        pauses = RestartPauses()
        while True:
            began_ms = SYSTEM_CLOCKS.monotonic_ms()
            code = await engine.wait()
            if self._is_ending and self._over.is_set():
                return
            log.error(
                "the engine of the nodes ended with %s, and is started again: %s", ending(code), engine.last_words()
            )
            lived_ms = SYSTEM_CLOCKS.monotonic_ms() - began_ms
            while True:
                await asyncio.sleep(pauses.next_ms(lived_ms) / 1000)
                try:
                    await engine.start()
                    break
                except EngineFailed as error:
                    log.error("the engine of the nodes cannot be started: %s", error)
                    lived_ms = 0

    def _feed_watchdog(self) -> None:
        self._notifier.alive()
        self._watchdog_timer = self._loop.call_later(self._notifier.watchdog_s, self._feed_watchdog)
