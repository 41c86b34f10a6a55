"""How much of a store has been read, for the log line of a long start."""

from __future__ import annotations

from collections.abc import Callable

from presenced.storage.files import Directory
from presenced.storage.layout import segment_name
from presenced.storage.manifest import SegmentEntry

Progress = Callable[[int, int], None]
"""Called at intervals with the bytes read and the bytes in all. An exception that it raises ends the reading."""

PROGRESS_BYTES = 1 << 18
"""The interval: at least so many bytes are read between two calls, within one file."""

ZEROS_BYTES = 1 << 12
"""The end of the zeros is searched for in pieces of this size."""


class Meter:
    """Calls `progress` at intervals."""

    def __init__(self, progress: Progress | None, total_bytes: int) -> None:
        self._progress = progress
        self._total_bytes = total_bytes
        self._done_bytes = 0
        """Bytes of the files that were read whole."""
        self._next = 0

    def at(self, position: int) -> None:
        """The file that is read now has been read up to here. Called for each frame."""
        if position >= self._next and self._progress is not None:
            self._next = position + PROGRESS_BYTES
            self._progress(self._done_bytes + position, self._total_bytes)

    def file_done(self, file_bytes: int) -> None:
        """A file has been read; the next begins."""
        self._next = 0
        self.at(file_bytes)
        self._next = 0
        self._done_bytes += file_bytes


def segment_bytes(directory: Directory, entry: SegmentEntry) -> int:
    """How many bytes of a segment are to be read. For the active segment no list says that: it is all before the zeros
    at its end, where the log goes on. O(zeros)."""
    if entry.sealed:
        return entry.bytes
    file = directory.open(segment_name(entry.number))
    try:
        used_bytes = file.size()
        while used_bytes > 0 and not file.read_at(max(0, used_bytes - ZEROS_BYTES), ZEROS_BYTES).strip(b"\0"):
            used_bytes -= ZEROS_BYTES
        return max(0, used_bytes)
    finally:
        file.close()
