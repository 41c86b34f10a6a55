"""A journal that writes nothing, for a committer to be held against."""

from __future__ import annotations

import threading
from typing import Any

from presenced.storage.files import DiskFull
from tests.support.until import PATIENCE_S


class Disk:
    """A journal on a disk that can be full, and that can hang."""

    def __init__(self) -> None:
        self.unsynced = self.unsealed = False
        self.is_full = False
        self.gone = ""
        self.may_write = threading.Event()
        self.may_write.set()
        self.attempts = 0
        self.closed = ""

    is_late = False

    def attach(self, host: Any) -> None: ...

    def lost(self) -> str:
        return self.gone

    def commit(self, frames: Any) -> None:
        self.attempts += 1
        assert self.may_write.wait(PATIENCE_S)
        self._take()

    def witness(self) -> None:
        self.attempts += 1
        self._take()

    def _take(self) -> None:
        if self.is_full:
            raise DiskFull("no room")

    def close(self, *, version: int) -> None:
        self._take()
        self.closed = "clean"

    def abandon(self) -> None:
        self.closed = self.closed or "abandoned"
