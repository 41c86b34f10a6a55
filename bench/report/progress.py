"""A bar on stderr while a profile runs, if somebody looks.

It draws only when it is called, never from a thread of its own: a thread would take the generator's core in the middle
of what is measured.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

EVERY_S = 0.1


class Bar:
    """What `progress` of a profile is: call it with what is done. A context manager; draws nothing unless stderr is a
    terminal and `quiet` is false."""

    def __init__(self, title: str, *, quiet: bool = False) -> None:
        self._title = title
        self._drawn: Any = None
        self._task: Any = None
        self._next_s = 0.0
        self._looked_at = sys.stderr.isatty() and not quiet

    def __enter__(self) -> Bar:
        if self._looked_at:
            # rich costs 80 ms to import, which only somebody who looks at it pays.
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[what]}"))
            self._drawn = Progress(
                *columns, TimeElapsedColumn(), console=Console(stderr=True), auto_refresh=False, transient=True
            )
            self._task = self._drawn.add_task(self._title, total=None, what="starting")
            self._drawn.start()
            self._drawn.refresh()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn is not None:
            self._drawn.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` of `what` is done."""
        if self._drawn is None:
            return
        now_s = time.monotonic()
        if now_s < self._next_s and done < total:
            return
        self._next_s = now_s + EVERY_S
        shown = f"{what} {done:,} of {total:,}" if total > 1 else what
        self._drawn.update(self._task, completed=done, total=total or None, what=shown)
        self._drawn.refresh()
