"""The life of one node: when it is started, when again, and when no more. Pure: times are arguments.

A node that ends is started again, unless its exit code says that no restart can mend it, or that it was asked to end.
Before the first start of all is over, whatever ends a node ends the start.
"""

from __future__ import annotations

from typing import Literal

UNMENDABLE = frozenset({2, 65, 73, 77, 78})
"""Usage, damaged data, unusable data directory, permission, configuration: as RestartPreventExitStatus= of the unit."""

PAUSE_MS = 1_000
PAUSE_MS_MAX = 30_000
"""Before a restart; it doubles with each failure up to the longest."""

WELL_AFTER_MS = 60_000
"""A node that was ready for so long has no failures behind it."""

SILENT_MS = 20_000
"""A node that is ready and gives no sign of life for so long is stuck: as WatchdogSec= of the unit."""

KILLED_AFTER_MS = 10_000
"""After SIGABRT it gets so long to put its stack into the log."""

NodePhase = Literal["waiting", "starting", "ready", "stopping", "over"]
"""`waiting` = for its (next) start, `over` = it ended and is not started again by itself."""


class NodeLife:
    """What is known of one node, and what is to be done. The owner calls it for each thing that happens."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.phase: NodePhase = "waiting"
        self.code = 0
        """Of its last end."""
        self.starts = 0
        self.status = ""
        """What it said last of itself."""
        self.due_ms: int | None = 0
        """When something is to be done for it: its start while it waits, else the end of its silence; None = never."""
        self.was_aborted = False
        """It was told to end because it gave no sign of life."""
        self._comes_back = False
        """It drains, and is started again when it has ended."""
        self._failures = 0
        self._ready_ms = 0

    def started(self) -> None:
        """Its process runs."""
        self.phase, self.due_ms, self.was_aborted = "starting", None, False
        self.starts += 1
        self.code, self.status, self._comes_back = 0, "", False

    def ready(self, now_ms: int) -> None:
        """It serves, for the first time in this life or after a reload."""
        if self.phase == "starting":
            self.phase, self._ready_ms = "ready", now_ms
        self.alive(now_ms)

    def tell(self, status: str) -> None:
        """It said this of itself."""
        self.status = status

    def alive(self, now_ms: int) -> None:
        """It gave a sign of life."""
        if self.phase == "ready" and not self.was_aborted:
            self.due_ms = now_ms + SILENT_MS

    def abort(self, now_ms: int) -> None:
        """It was told to end, as it gave no sign of life for too long. It is killed when it is due once more."""
        self.was_aborted, self.due_ms = True, now_ms + KILLED_AFTER_MS

    def kill(self) -> None:
        """It was killed, and there is nothing more to be done but to wait."""
        self.due_ms = None

    def stopping(self) -> None:
        """It drains; it has bounds of its own for that."""
        if self.phase in ("starting", "ready"):
            self.phase, self.due_ms = "stopping", None

    def exited(self, code: int, now_ms: int, *, wanted: bool) -> None:
        """Its process ended. `wanted`: all are to end."""
        was_stopping, was_ready = self.phase == "stopping", self.phase == "ready"
        self.code, self.status = code, ""
        if was_stopping and code == 0 and self._comes_back and not wanted:
            self.phase, self.due_ms = "waiting", now_ms
            return
        if wanted or (was_stopping and code == 0) or code in UNMENDABLE:
            self.phase, self.due_ms = "over", None
            return
        if was_ready and now_ms - self._ready_ms >= WELL_AFTER_MS:
            self._failures = 0
        self._failures += 1
        self.phase = "waiting"
        self.due_ms = now_ms + min(PAUSE_MS_MAX, PAUSE_MS << min(self._failures - 1, 10))

    def give_up(self) -> None:
        """All are to end, and it is started no more. What it ended with was told, and is no fault of the stop."""
        if self.phase == "waiting":
            self.phase, self.due_ms, self.code = "over", None, 0

    def revive(self, now_ms: int) -> None:
        """The operator has reloaded: it is started, also if it still drains, or has ended just now."""
        if self.phase in ("over", "waiting"):
            self.phase, self.due_ms, self._failures = "waiting", now_ms, 0
        elif self.phase == "stopping":
            self._comes_back = True


def sentence_of(lives: list[NodeLife]) -> str:
    """The line that `systemctl status` shows."""
    ready = sum(life.phase == "ready" for life in lives)
    if ready == len(lives):
        return f"{ready} nodes serve"
    others = [f"{life.name} {_doing(life)}" for life in lives if life.phase != "ready"]
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return f"{ready} of {len(lives)} nodes serve; {', '.join(others[:3])}{more}"


def _doing(life: NodeLife) -> str:
    match life.phase:
        case "starting":
            return f"is starting ({life.status})" if life.status else "is starting"
        case "stopping":
            return f"is stopping ({life.status})" if life.status else "is stopping"
        case "waiting" if life.starts:
            return f"ended with {ending(life.code)} and is started again"
        case "over":
            return f"ended with {ending(life.code)}"
    return "is to be started"


def ending(code: int) -> str:
    """`exit code 70`, or `signal 9`."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"
