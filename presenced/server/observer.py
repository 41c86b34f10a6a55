"""The port through which a server tells of its life. The operator's side is one observer; a server needs none."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Told of the start and the end, in this order."""

    def replaying(self, percent: int) -> None:
        """The data directory is being read, and that takes a while."""

    async def open(self) -> None:
        """The clients' address is bound, and the state is not read yet. What is raised here ends the start."""

    def ready(self) -> None:
        """Links are taken from now on."""

    def stopping(self) -> None:
        """The drain begins."""

    def closing(self) -> None:
        """The links are gone. What is left is the disk, which may take a while."""

    async def close(self) -> None:
        """The server has ended, in order or not. Idempotent."""


class NoObserver:
    """The observer of a server that nobody looks at."""

    def replaying(self, percent: int) -> None:
        """Nothing."""

    async def open(self) -> None:
        """Nothing."""

    def ready(self) -> None:
        """Nothing."""

    def stopping(self) -> None:
        """Nothing."""

    def closing(self) -> None:
        """Nothing."""

    async def close(self) -> None:
        """Nothing."""
