"""Where the bench puts data: a directory on a real disk, what that disk is, and how often it was flushed.

Knows nothing of what is written there. A file system in memory is refused: its sync costs nothing, and a figure
from it would be a lie about disks.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench.errors import BenchError
from bench.paths import BUILD

IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")


class FileSystem(NamedTuple):
    """What a path lies on."""

    kind: str
    device: str
    """As the mount names it, such as /dev/vda."""
    number: str
    """major:minor, the key into /proc/diskstats."""

    def flushes(self) -> int:
        """Cache flushes that the whole disk has completed, whoever asked for them; 0 if it has no such count."""
        for line in Path("/proc/diskstats").read_text().splitlines():
            fields = line.split()
            if ":".join(fields[:2]) == self.number and len(fields) > 18:
                return int(fields[18])
        return 0


def file_system(path: Path, mounts: str = "/proc/self/mountinfo") -> FileSystem:
    """The file system that `path` (which exists) lies on."""
    best = ("", FileSystem("unknown", "unknown", ""))
    real = os.path.realpath(path)
    for line in Path(mounts).read_text().splitlines():
        # The fields before the dash vary in number: mountinfo has optional ones (proc(5)).
        before, _, after = line.partition(" - ")
        number, point = before.split()[2], before.split()[4]
        kind, device = after.split()[:2]
        # Of two mounts on one point the later hides the earlier.
        if os.path.commonpath([real, point]) == point and len(point) >= len(best[0]):
            best = (point, FileSystem(kind, device, number))
    return best[1]


def choose_place(wanted: Path | None = None) -> Path:
    """An existing directory on a real disk: `wanted`, or the first that will do; `BenchError` if there is none."""
    BUILD.mkdir(exist_ok=True)
    candidates = [wanted] if wanted is not None else [BUILD, Path(tempfile.gettempdir())]
    for place in candidates:
        if file_system(place).kind not in IN_MEMORY:
            return place
    named = ", ".join(f"{place} ({file_system(place).kind})" for place in candidates)
    raise BenchError(f"in memory, where a sync costs nothing: {named}; name a directory on a disk with --place")


def scratch(stack: ExitStack, place: Path, name: str) -> Path:
    """A new directory in `place`, removed with everything in it when `stack` closes."""
    made = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=place))
    stack.callback(shutil.rmtree, made, ignore_errors=True)
    return made


def tree_bytes(directory: Path) -> int:
    """Bytes that the files in `directory` take on the disk."""
    return sum(file.stat().st_blocks * 512 for file in directory.rglob("*") if file.is_file())


def forget_cached(directory: Path) -> None:
    """Drop the files' clean pages from the page cache, so that the next reader waits for the disk."""
    for file in directory.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
