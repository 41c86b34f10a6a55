"""A disk in memory that forgets, at a power cut, whatever it was not told to keep.

Implements the protocols of `presenced.storage.files`. Each file has what the page cache shows and what the disk
holds; the writes and truncates in between are its pending changes, and a sync moves them over. Names are the same
one level up: made, renamed and removed names are pending until the directory is synced. What a power cut may do is
what POSIX allows, which is worse than any one file system does:

* every pending change is kept or dropped, each by itself and in whatever order the others went;
* a pending write may also be torn (some of its 512-byte sectors are kept) or leave junk in its sectors: noise, zeros,
  or what a removed file had in that place. Bytes that were synced before are never touched by it, not even in a
  sector that it shares with them: drives promise that much, and no log could do without it;
* after a sync that failed, its changes may be visible until the power cut and on no disk after it (Linux).

Not modelled: damage to what was synced (the tests of the reader do that), and reads that fail.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

SECTOR_BYTES = 512


class SimCrash(BaseException):
    """The machine has stopped. No `Exception`, because nothing may go on after it."""


class Write(NamedTuple):
    offset: int
    data: bytes


class Truncate(NamedTuple):
    size: int


class Link(NamedTuple):
    """A name made, or with `old` a file renamed."""

    name: str
    inode: Inode
    old: str = ""


class Unlink(NamedTuple):
    name: str


class Inode:
    """A file's contents: what is seen, what is on the disk, and what lies between."""

    __slots__ = ("cached", "durable", "pending")

    def __init__(self) -> None:
        self.cached = bytearray()
        self.durable = b""
        self.pending: list[Write | Truncate] = []

    def clone(self) -> Inode:
        twin = Inode()
        twin.cached = bytearray(self.cached)
        twin.durable = self.durable
        twin.pending = self.pending.copy()
        return twin


def apply_change(data: bytearray, change: Write | Truncate) -> None:
    """What the change does to the contents; a gap is filled with zeros."""
    if isinstance(change, Truncate):
        if change.size < len(data):
            del data[change.size :]
        else:
            data.extend(bytes(change.size - len(data)))
        return
    if change.offset > len(data):
        data.extend(bytes(change.offset - len(data)))
    data[change.offset : change.offset + len(change.data)] = change.data


class Decider:
    """Decides what becomes of each pending change. This one keeps those in a bit mask, counted in a fixed order."""

    def __init__(self, mask: int) -> None:
        self._mask = mask

    def keeps(self) -> bool:
        """Whether a change of names, or a truncate, survives."""
        kept = self._mask & 1
        self._mask >>= 1
        return bool(kept)

    def write(self, change: Write, stale: Sequence[bytes]) -> Sequence[Write]:
        """What of a write survives."""
        return (change,) if self.keeps() else ()


class RandomDecider(Decider):
    """Decides by lot: mostly whole changes, with torn and garbled writes among them."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._kept = self._random.choice((0.15, 0.5, 0.85))

    def keeps(self) -> bool:
        return self._random.random() < self._kept

    def write(self, change: Write, stale: Sequence[bytes]) -> Sequence[Write]:
        lot = self._random.random()
        if lot < 0.25:
            return self._torn(change)
        if lot < 0.4:
            return self._garbled(change, stale)
        return (change,) if self.keeps() else ()

    def _torn(self, change: Write) -> list[Write]:
        sectors = split_sectors(change)
        at = self._random.randrange(len(sectors) + 1)
        return sectors[:at] if self._random.random() < 0.7 else sectors[at:]

    def _garbled(self, change: Write, stale: Sequence[bytes]) -> list[Write]:
        survivors = []
        choose = self._random.choice
        for sector in split_sectors(change):
            what = choose(("new", "new", "old", "zeros", "noise", "stale", "stale"))
            size = len(sector.data)
            if what == "new":
                survivors.append(sector)
            elif what == "zeros":
                survivors.append(Write(sector.offset, bytes(size)))
            elif what == "noise":
                survivors.append(Write(sector.offset, self._random.randbytes(size)))
            elif what == "stale" and stale:
                before = choose(stale)[sector.offset : sector.offset + size]
                survivors.append(Write(sector.offset, before.ljust(size, b"\0")))
        return survivors


class StaleDecider(Decider):
    """Keeps everything, but where a write only zeroed, the oldest removed file shows through: what a file system
    without data journalling may do."""

    def __init__(self) -> None:
        super().__init__(0)

    def keeps(self) -> bool:
        return True

    def write(self, change: Write, stale: Sequence[bytes]) -> Sequence[Write]:
        if not stale or change.data.strip(b"\0"):
            return (change,)
        before = stale[0][change.offset : change.offset + len(change.data)]
        return (Write(change.offset, before.ljust(len(change.data), b"\0")),)


def split_sectors(change: Write) -> list[Write]:
    """The write, cut where sectors of the disk begin."""
    pieces = []
    start, end = change.offset, change.offset + len(change.data)
    while start < end:
        stop = min(end, (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
        pieces.append(Write(start, change.data[start - change.offset : stop - change.offset]))
        start = stop
    return pieces


class SimDisk:
    """The machine's disk: directories by path, a counter of operations, and what is to go wrong.

    Operations that change something are counted from 0. `on_operation` is called before each, with what it is and,
    for a write, a function that does the first part of it.
    """

    def __init__(self) -> None:
        self.directories: dict[str, SimNames] = {"data": SimNames()}
        self.graveyard: list[bytes] = []
        """What removed files held."""
        self.operations = 0
        self.syncs = 0
        self.crashed = False
        self.crash_at: int | None = None
        self.faults: dict[int, int] = {}
        """Error numbers by operation."""
        self.sync_faults: set[int] = set()
        """The syncs, counted from 0, that fail."""
        self.sync_error = errno.EIO
        """The error number of these."""
        self.forgets_failed_syncs = True
        """Whether a failed sync leaves its pages looking clean."""
        self.space: int | None = None
        """Bytes that may yet be written; None is no limit."""
        self.short_every = 0
        """Every how many writes one is taken only in part; 0 = never."""
        self.on_operation: Callable[[str, SimFile | None, bytes, int], None] | None = None
        self.log: list[str] | None = None
        """What was done, if a list is put here."""
        self._writes = 0

    @property
    def root(self) -> SimDirectory:
        """The data directory, as a process that starts now sees it."""
        return SimDirectory(self, "data")

    def step(self, what: str, file: SimFile | None = None, data: bytes = b"", offset: int = 0) -> None:
        """Before every operation: count it, and let go wrong what is to."""
        if self.crashed:
            raise SimCrash(f"{what} after the crash")
        number = self.operations
        if self.on_operation is not None:
            self.on_operation(what, file, data, offset)
        if number == self.crash_at:
            self.crashed = True
            raise SimCrash(f"operation {number}: {what}")
        self.operations += 1
        if self.log is not None:
            self.log.append(what)
        code = self.faults.get(number)
        if code is not None:
            raise OSError(code, os.strerror(code), what)

    def take_space(self, size: int) -> int:
        """How many of `size` bytes a write may take."""
        self._writes += 1
        if self.short_every and self._writes % self.short_every == 0 and size > 1:
            size = size // 2
        if self.space is not None:
            if size and not self.space:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            size = min(size, self.space)
            self.space -= size
        return size

    def step_sync(self, what: str, pending: list[Any]) -> None:
        """As `step`, before a sync of the changes `pending`: count it, and let it fail if it is to. A sync that fails
        may forget the changes, whatever its error: the kernel reports ENOSPC once, as it does EIO."""
        try:
            self.step(what)
            self.syncs += 1
            if self.syncs - 1 in self.sync_faults:
                raise OSError(self.sync_error, os.strerror(self.sync_error), what)
        except OSError:
            if self.forgets_failed_syncs:
                pending.clear()
            raise

    def pending(self) -> int:
        """How many changes a power cut would decide on."""
        names = sum(len(directory.pending) for directory in self.directories.values())
        return names + sum(len(inode.pending) for inode in self._inodes())

    def killed(self) -> SimDisk:
        """The disk as a process finds it that starts after another was killed: nothing lost, nothing made durable."""
        twin = SimDisk()
        copies: dict[int, Inode] = {}
        twin.directories = {path: names.clone(copies) for path, names in self.directories.items()}
        twin.graveyard = self.graveyard.copy()
        twin.forgets_failed_syncs = self.forgets_failed_syncs
        return twin

    def cut(self, decider: Decider) -> SimDisk:
        """The disk after a power cut. Changes of names are decided on first, then each file's in turn."""
        twin = SimDisk()
        twin.forgets_failed_syncs = self.forgets_failed_syncs
        stale = self.graveyard
        copies: dict[int, Inode] = {}
        for path, names in self.directories.items():
            if names.settled or decider.keeps():
                twin.directories[path] = SimNames(names.after_cut(decider))
        for names in twin.directories.values():
            for name, inode in names.durable.items():
                survivor = copies.get(id(inode))
                if survivor is None:
                    survivor = copies[id(inode)] = after_cut(inode, decider, stale)
                names.durable[name] = survivor
            names.cached = names.durable.copy()
        twin.graveyard = stale.copy()
        for inode in self._inodes():
            if id(inode) not in copies and inode.cached:
                twin.graveyard.append(bytes(inode.cached))
        return twin

    def bury(self, inode: Inode) -> None:
        """A file's last name is gone: its blocks may show up elsewhere."""
        if inode.cached:
            self.graveyard.append(bytes(inode.cached))

    def _inodes(self) -> list[Inode]:
        found = {}
        for names in self.directories.values():
            for inode in (*names.durable.values(), *names.cached.values()):
                found[id(inode)] = inode
            for change in names.pending:
                if isinstance(change, Link):
                    found[id(change.inode)] = change.inode
        return list(found.values())


def after_cut(inode: Inode, decider: Decider, stale: Sequence[bytes]) -> Inode:
    """The file with what survives of its pending changes."""
    survivor = Inode()
    survivor.cached = bytearray(inode.durable)
    for change in inode.pending:
        if isinstance(change, Write):
            for part in decider.write(change, stale):
                apply_change(survivor.cached, part)
        elif decider.keeps():
            apply_change(survivor.cached, change)
    survivor.durable = bytes(survivor.cached)
    return survivor


class SimNames:
    """A directory's names: what is seen, what is on the disk, and the changes in between."""

    def __init__(self, durable: dict[str, Inode] | None = None) -> None:
        self.durable: dict[str, Inode] = durable or {}
        self.cached: dict[str, Inode] = self.durable.copy()
        self.pending: list[Link | Unlink] = []
        self.settled = True
        """Whether the directory itself has become durable."""

    def clone(self, copies: dict[int, Inode]) -> SimNames:
        def copy(inode: Inode) -> Inode:
            if id(inode) not in copies:
                copies[id(inode)] = inode.clone()
            return copies[id(inode)]

        twin = SimNames({name: copy(inode) for name, inode in self.durable.items()})
        twin.cached = {name: copy(inode) for name, inode in self.cached.items()}
        twin.settled = self.settled
        twin.pending = [
            change._replace(inode=copy(change.inode)) if isinstance(change, Link) else change for change in self.pending
        ]
        return twin

    def after_cut(self, decider: Decider) -> dict[str, Inode]:
        names = self.durable.copy()
        for change in self.pending:
            if decider.keeps():
                apply_name(names, change)
        return names


def apply_name(names: dict[str, Inode], change: Link | Unlink) -> None:
    """What the change does to the names."""
    if isinstance(change, Unlink):
        names.pop(change.name, None)
        return
    if change.old and names.get(change.old) is change.inode:
        del names[change.old]
    names[change.name] = change.inode


class SimDirectory:
    """`presenced.storage.files.Directory` on a `SimDisk`."""

    def __init__(self, disk: SimDisk, path: str) -> None:
        self.path = path
        self.disk = disk

    @property
    def _names(self) -> SimNames:
        return self.disk.directories[self.path]

    def names(self) -> list[str]:
        return sorted(self._names.cached)

    def no_files(self) -> list[str]:
        return []

    def open(self, name: str, *, create: bool = False, write: bool = False) -> SimFile:
        names = self._names
        if create:
            self.disk.step(f"create {name}")
            if name in names.cached:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
            inode = names.cached[name] = Inode()
            names.pending.append(Link(name, inode))
            return SimFile(self.disk, inode, name, writable=True)
        if name not in names.cached:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return SimFile(self.disk, names.cached[name], name, writable=write)

    def rename(self, old: str, new: str) -> None:
        self.disk.step(f"rename {old} to {new}")
        names = self._names
        if old not in names.cached:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), old)
        replaced = names.cached.get(new)
        change = Link(new, names.cached[old], old)
        apply_name(names.cached, change)
        names.pending.append(change)
        if replaced is not None:
            self.disk.bury(replaced)

    def unlink(self, name: str) -> None:
        self.disk.step(f"unlink {name}")
        names = self._names
        if name not in names.cached:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        self.disk.bury(names.cached.pop(name))
        names.pending.append(Unlink(name))

    def sync(self) -> None:
        names = self._names
        self.disk.step_sync(f"sync directory {self.path}", names.pending)
        for change in names.pending:
            apply_name(names.durable, change)
        names.pending = []
        for path, below in self.disk.directories.items():
            if path.startswith(f"{self.path}/"):
                below.settled = True

    def subdirectory(self, name: str) -> SimDirectory:
        path = f"{self.path}/{name}"
        if path not in self.disk.directories:
            self.disk.step(f"make directory {path}")
            self.disk.directories[path] = SimNames()
            self.disk.directories[path].settled = False
        return SimDirectory(self.disk, path)

    def mode(self) -> int:
        return 0o700

    def lost(self, names: Sequence[str]) -> str:
        return ""

    def lock(self) -> None:
        return None


class SimFile:
    """`presenced.storage.files.File` on a `SimDisk`."""

    def __init__(self, disk: SimDisk, inode: Inode, name: str, *, writable: bool) -> None:
        self.name = name
        self._disk = disk
        self._inode = inode
        self._writable = writable
        self._closed = False

    def write_at(self, offset: int, data: bytes) -> int:
        self._check(write=True)
        self._disk.step(f"write {len(data)} bytes at {offset} of {self.name}", self, data, offset)
        taken = self._disk.take_space(len(data))
        self.put(Write(offset, bytes(data[:taken])))
        return taken

    def put(self, change: Write | Truncate) -> None:
        """Change the contents as the page cache shows them."""
        apply_change(self._inode.cached, change)
        self._inode.pending.append(change)

    def read_at(self, offset: int, size: int) -> bytes:
        self._check()
        return bytes(self._inode.cached[offset : offset + size])

    def sync(self) -> None:
        self._check()
        inode = self._inode
        self._disk.step_sync(f"sync {self.name}", inode.pending)
        if inode.pending:
            data = bytearray(inode.durable)
            for change in inode.pending:
                apply_change(data, change)
            inode.durable = bytes(data)
            inode.pending = []

    def truncate(self, size: int) -> None:
        self._check(write=True)
        self._disk.step(f"truncate {self.name} to {size}")
        self.put(Truncate(size))

    def size(self) -> int:
        self._check()
        return len(self._inode.cached)

    def close(self) -> None:
        self._closed = True

    def _check(self, *, write: bool = False) -> None:
        if self._closed or (write and not self._writable):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self.name)
