"""What wants to know of a server's life without the server knowing what it is."""

from __future__ import annotations


class Observer:
    """Told in this order; each does nothing here. `ops.operations` is the one that an operator has."""

    def replaying(self, percent: int) -> None:
        """The data directory is being read, and it takes a while."""

    async def open(self) -> None:
        """The clients' address is bound, and the state is not read yet. What is raised here ends the start."""

    def ready(self) -> None:
        """Links are taken."""

    def stopping(self) -> None:
        """The drain begins."""

    def closing(self) -> None:
        """The links are gone; what is left is the disk, which may take a while."""

    async def close(self) -> None:
        """All is done, whether in order or not. To be idempotent."""
