"""The port between the `committer` and what it writes to: the journal of a data directory, or a store in an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol


class TakenOver(Exception):
    """Another process has taken the place: this one may write nothing there again. The text says which."""


class PlaceAway(Exception):
    """The place cannot be reached at the moment; the text says why."""


class SnapshotFile(Protocol):
    """A snapshot that is being written."""

    def add(self, payload: bytes, count: int) -> None:
        """Add a piece: an encoded list of facts, and how many they are."""

    def abandon(self) -> None:
        """Drop it."""


class FactHost(NamedTuple):
    """What a place may ask of its committer, and tell it, on the committer's thread."""

    is_full_up: Callable[[], bool]
    """Whether so many facts wait that some have to be dropped if they cannot be written now."""
    is_closing: Callable[[], bool]
    """Whether the committer is to end."""
    note_loss: Callable[[], None]
    """Facts that were written are gone: a snapshot has to make up for them."""
    tell: Callable[[], None]
    """Look at `is_late` again."""


class FactPlace(Protocol):
    """Where facts are kept. All but the attributes is for the committer's thread, and may block."""

    bytes_since_snapshot: int
    has_leftovers: bool
    """What the newest snapshot has made superfluous is not all gone."""
    is_late: bool
    """Nothing has come to be durable for so long that durable requests are refused."""
    trouble: str
    """What is in its way, in words; "" = nothing, or only what a committer finds by itself."""

    @property
    def trouble_ms(self) -> int:
        """For how long that has been in its way."""

    @property
    def snapshot_bytes(self) -> int:
        """Of the newest snapshot; 0 = there is none."""

    def attach(self, host: FactHost) -> None:
        """The committer is there. Called once, before anything else."""

    def commit(self, batches: Sequence[tuple[bytes, int]]) -> None:
        """Keep encoded lists of facts, as durably as is promised. Raises `DiskFull` if they do not count."""

    def sync(self) -> None:
        """Make everything that is written durable."""

    @property
    def unsynced(self) -> bool:
        """Whether there is anything to sync."""

    @property
    def unsealed(self) -> bool:
        """Whether the end needs a witness."""

    def witness(self) -> None:
        """Write one."""

    def lost(self) -> str:
        """Look around, once in a while: what is missing from its place, in words; "" if nothing is."""

    def begin_snapshot(self) -> SnapshotFile:
        """Start a snapshot of the state as of now or later."""

    def finish_snapshot(self, writer: Any, version: int, *, alone: bool = False) -> Iterator[None]:
        """Let a snapshot of `begin_snapshot` count; `alone`: nothing from before it stays."""

    def close(self, *, version: int) -> None:
        """Stop in order."""

    def abandon(self) -> None:
        """Leave everything as after a crash."""
