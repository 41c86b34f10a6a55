"""The port to the disk: the only module that opens, writes, syncs, renames or removes a data file.

Two protocols and their real implementation. The rule that the callers live by: what is to survive a power cut is
written, then its file synced, then (if a name changed) its directory synced, in that order and each exactly once.
A failed sync is never tried again: Linux marks the pages clean after it, and the second try would succeed without
the data (PostgreSQL's "fsyncgate"; Rebello et al., "Can Applications Recover from fsync Failures?", 2020).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The errors of a disk without room, after which a write may be tried again."""

SPARE_DESCRIPTORS = 8
"""Descriptors that the writer of the directory holds in reserve, and gives up for a file when no other is left."""

T = TypeVar("T")


class DiskFull(Exception):
    """The disk has no room. Nothing that counts was written, and the call may be repeated."""


class TellingFull:
    """A context that turns an error of a full disk into `DiskFull`; other errors pass. Do not use it around a
    truncation or a sync of a file that stays in use: if one of these finds no room, that is final. A file that is
    thrown away after the error may be synced in it."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError) and error.errno in FULL:
            raise DiskFull(str(error)) from None


telling_full = TellingFull()
"""One context for all calls: a context made by a generator costs four times as much, and each commit needs one."""


class File(Protocol):
    """An open data file. Offsets and sizes are in bytes; every call may raise `OSError`."""

    def write_at(self, offset: int, data: bytes) -> int:
        """Write at `offset`, and return how many bytes were written, which may be fewer."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer only at the end of the file."""

    def sync(self) -> None:
        """Return once the contents are on stable storage."""

    def truncate(self, size: int) -> None:
        """Cut or extend (with zeros) to `size`."""

    def size(self) -> int:
        """The file's length."""

    def close(self) -> None:
        """Close the descriptor. Idempotent."""


class Directory(Protocol):
    """A data directory: flat files, and subdirectories by name."""

    path: str

    def names(self) -> list[str]:
        """The names of the files in it, sorted."""

    def no_files(self) -> list[str]:
        """The names of what else is in it, sorted: directories, links, pipes and the like."""

    def open(self, name: str, *, create: bool = False, write: bool = False) -> File:
        """Open a file; `create` makes a new, empty one (and fails if it exists) open for writing."""

    def rename(self, old: str, new: str) -> None:
        """Give a file a new name, replacing what has that name."""

    def unlink(self, name: str) -> None:
        """Remove a file."""

    def sync(self) -> None:
        """Return once names made, changed and removed are on stable storage."""

    def subdirectory(self, name: str) -> Directory:
        """A directory within this one, made if it is missing."""

    def mode(self) -> int:
        """The permission bits of the directory."""

    def lost(self, names: Sequence[str]) -> str:
        """What is missing from its place, in words: the directory, or one of the files `names` in it. "" if all of it
        is there, or if that cannot be known. A removed file can still be written and synced, but nobody finds it."""

    def lock(self) -> None:
        """Hold the directory until the process ends; raises `BlockingIOError` if another process holds it."""


class OsFile:
    """A file of the operating system."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write_at(self, offset: int, data: bytes) -> int:
        """pwrite(2)."""
        return os.pwrite(self._descriptor, data, offset)

    def read_at(self, offset: int, size: int) -> bytes:
        """pread(2), repeated until the size or the end of the file is reached."""
        parts = []
        while size > 0:
            part = os.pread(self._descriptor, min(size, 1 << 30), offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def sync(self) -> None:
        """fdatasync(2): the contents and the length, without the times."""
        os.fdatasync(self._descriptor)

    def truncate(self, size: int) -> None:
        """ftruncate(2)."""
        os.ftruncate(self._descriptor, size)

    def size(self) -> int:
        """fstat(2)."""
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        """close(2), once."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class OsDirectory:
    """A directory of the operating system, made private (0700) if it has to be made."""

    def __init__(self, path: str | Path, *, create: bool = True, follow: bool = True) -> None:
        """`follow`: whether `path` itself may be a symbolic link."""
        self.path = str(path)
        if create and not os.path.lexists(self.path):
            os.makedirs(self.path, mode=0o700, exist_ok=True)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        self._descriptor = os.open(self.path, flags)
        self._lock = -1
        self._spares: list[int] = []

    def names(self) -> list[str]:
        """Regular files only."""
        return self._listed(are_files=True)

    def no_files(self) -> list[str]:
        """A link is none, wherever it leads."""
        return self._listed(are_files=False)

    def _listed(self, *, are_files: bool) -> list[str]:
        def listed() -> list[str]:
            # This lists the directory that is open, wherever it is now.
            with os.scandir(self._descriptor) as entries:
                return sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False) == are_files)

        return self._with_room(listed)

    def open(self, name: str, *, create: bool = False, write: bool = False) -> OsFile:
        """openat(2); files are 0600 and never follow a link. A pipe in the place of one is not waited for."""
        flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | (os.O_RDWR if write or create else os.O_RDONLY)
        if create:
            flags |= os.O_CREAT | os.O_EXCL
        return OsFile(self._with_room(lambda: self._open(name, flags)))

    def _open(self, name: str, flags: int) -> int:
        try:
            return os.open(name, flags, 0o600, dir_fd=self._descriptor)
        except OSError as error:
            # For whoever reads of it, the name alone is no place.
            error.filename = f"{self.path}/{name}"
            raise

    def _with_room(self, open_it: Callable[[], T]) -> T:
        """Call `open_it`, with a spare descriptor if no other is left: a burst of connections, which takes all
        descriptors, must not end the log. There are several spares, because another thread may take one first."""
        while True:
            try:
                opened = open_it()
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE) or not self._spares:
                    raise
                os.close(self._spares.pop())
            else:
                if self._lock >= 0:
                    self._keep_spares()
                return opened

    def _keep_spares(self) -> None:
        with contextlib.suppress(OSError):
            while len(self._spares) < SPARE_DESCRIPTORS:
                self._spares.append(fcntl.fcntl(self._descriptor, fcntl.F_DUPFD_CLOEXEC, 0))

    def rename(self, old: str, new: str) -> None:
        """renameat(2). Every reader sees the old file or the new one; durable only after `sync`."""
        os.rename(old, new, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def unlink(self, name: str) -> None:
        """unlinkat(2)."""
        os.unlink(name, dir_fd=self._descriptor)

    def sync(self) -> None:
        """fsync(2) on the directory: without it a rename can be undone by a power cut."""
        os.fsync(self._descriptor)

    def subdirectory(self, name: str) -> OsDirectory:
        """Made 0700 if it is missing."""
        return OsDirectory(Path(self.path) / name)

    def mode(self) -> int:
        """fstat(2)."""
        return stat.S_IMODE(os.fstat(self._descriptor).st_mode)

    def lost(self, names: Sequence[str]) -> str:
        """stat(2) of the path, which may lead elsewhere by now, and of each file."""
        with contextlib.suppress(OSError):
            own = os.fstat(self._descriptor)
            try:
                there = os.stat(self.path)
                if (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino):
                    return f"{self.path} is another directory than the one in use"
                for name in names:
                    os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError) as error:
                return f"{error.filename if error.filename == self.path else f'{self.path}/{error.filename}'} is gone"
        return ""

    def lock(self) -> None:
        """flock(2) on the directory and on the file LOCK in it; the kernel lets go of both however the process ends.

        The directory, because LOCK can be deleted and made anew by another; the file as well, because NFS has no locks
        for directories.
        """
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
        if self._lock < 0:
            self._lock = self._open("LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._keep_spares()

    def close(self) -> None:
        """Give up the lock and the descriptor. Idempotent."""
        for descriptor in (self._lock, self._descriptor, *self._spares):
            if descriptor >= 0:
                os.close(descriptor)
        self._lock = self._descriptor = -1
        self._spares.clear()


def write_all(file: File, offset: int, data: bytes) -> None:
    """Write everything at `offset`, going on after short writes."""
    written = file.write_at(offset, data)
    while written < len(data):
        more = file.write_at(offset + written, data[written:])
        if more <= 0:
            raise OSError("the disk accepts no bytes, without a reason")
        written += more


def durable_replace(directory: Directory, name: str, data: bytes) -> None:
    """Make `name` hold exactly `data`, so that after a crash it holds the old bytes or the new, never a mix."""
    temporary = f"{name}.tmp"
    if temporary in directory.names():
        directory.unlink(temporary)
    file = directory.open(temporary, create=True)
    try:
        write_all(file, 0, data)
        file.sync()
    except OSError:
        discard(directory, temporary)
        raise
    finally:
        file.close()
    directory.rename(temporary, name)
    try:
        directory.sync()
    except OSError as error:
        # The new bytes are in place and not durable. This is not "nothing happened, try again", whatever the reason.
        raise OSError(errno.EIO, f"{name} was replaced and could not be synced: {error.strerror}") from error


def discard(directory: Directory, name: str) -> None:
    """Remove a file that an error has left incomplete, so that it takes no room on a full disk. If that fails too, the
    next start removes it."""
    with contextlib.suppress(OSError):
        directory.unlink(name)


def read_file(directory: Directory, name: str) -> bytes:
    """The whole of a small file."""
    file = directory.open(name)
    try:
        return file.read_at(0, file.size())
    finally:
        file.close()
