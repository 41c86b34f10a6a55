"""One node: its process, what it tells of itself, and its life."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence

from presenced.nodes.child import send_signal, start_child
from presenced.nodes.node_life import SILENT_MS, NodeLife
from presenced.nodes.node_plan import NodePlan
from presenced.nodes.notice import Notice
from presenced.nodes.notice_socket import NoticeSocket

PATIENT_SIGNALS = (signal.SIGHUP, signal.SIGUSR1)
"""Blocked until the node has handlers for them: they must not end it in its first tenths of a second."""

_OF_THE_SUPERVISOR = ("NOTIFY_SOCKET", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class NodeProcess:
    """A node that is started as often as its life says. `heard` and `ended` are called with it; `ended` once for each
    start."""

    def __init__(
        self,
        plan: NodePlan,
        program: Sequence[str],
        environ: Mapping[str, str],
        directory: str,
        heard: Callable[[NodeProcess, Notice], object],
        ended: Callable[[NodeProcess, int], object],
    ) -> None:
        """`program` is what runs `presenced serve`; `directory` is for the socket of its notices."""
        self.plan = plan
        self.life = NodeLife(plan.name)
        self._program = program
        self._ended = ended
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._unsent: list[signal.Signals] = []
        """Signals for a process that is about to be."""
        self._notices = NoticeSocket(
            os.path.join(directory, f"notices-{plan.number}"), lambda notice: heard(self, notice)
        )
        kept = {name: value for name, value in environ.items() if name not in _OF_THE_SUPERVISOR}
        self._environ = kept | plan.environ
        self._environ |= {"NOTIFY_SOCKET": self._notices.path, "WATCHDOG_USEC": str(SILENT_MS * 1000)}

    @property
    def pid(self) -> int:
        """Of its process, or of the last one; 0 before the first."""
        return self._process.pid if self._process is not None else 0

    @property
    def is_running(self) -> bool:
        """Whether it has a process that has not ended."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Start it, unless it runs."""
        if not self.is_running:
            self.life.started()
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        argv = (*self._program, *self.plan.options)
        try:
            self._process = await start_child(argv, self._environ, blocked=PATIENT_SIGNALS)
        except OSError:
            # As a shell says that a program cannot be run.
            code = 126
        else:
            for number in self._unsent:
                self.send(number)
            code = await self._process.wait()
        self._unsent.clear()
        self._notices.read_rest()
        asyncio.get_running_loop().call_soon(self._ended, self, code)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self._process is not None and self._process.returncode is None:
            send_signal(self._process, number)
        elif self.is_running:
            self._unsent.append(number)

    def close(self) -> None:
        """Close the socket of its notices. Idempotent."""
        self._notices.close()
