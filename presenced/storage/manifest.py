"""The manifest: which snapshots and segments make up the store. Replaced atomically, kept twice.

Two lines of text, so that an operator can read it: JSON, and its checksum. The second copy is there for a disk that
loses one of the two; it is at most one change behind, and a segment that it does not list shows that it is.
"""

from __future__ import annotations

import errno
import zlib

import msgspec

from presenced.storage.files import FULL, Directory, durable_replace, read_file

MANIFEST = "MANIFEST"
COPY = "MANIFEST.copy"
FORMAT = 2
"""The format that is written. Format 1, whose segments have no marks, is read too, and an opening upgrades it."""


class SegmentEntry(msgspec.Struct, frozen=True):
    """A segment of the log. A sealed one has its end; the active one, always the last, has zeros."""

    number: int
    first_seq: int
    end_seq: int = 0
    """The sequence number after its last fact."""
    bytes: int = 0
    last_crc: int = 0

    @property
    def sealed(self) -> bool:
        """Whether it is complete: nothing will be written to it again."""
        return self.bytes > 0


class SnapshotEntry(msgspec.Struct, frozen=True):
    """A complete, verified snapshot."""

    name: str
    start_seq: int
    """Facts before this are in it; from here on the log is replayed over it."""
    end_seq: int
    """Facts from here on are certainly not in it: the log must reach this far for it to be usable."""
    bytes: int
    digest: str
    facts: int


class Manifest(msgspec.Struct, frozen=True):
    """The store at one moment. A change is a new value with the next generation."""

    format: int
    store_id: str
    epoch: int
    """0 = the store was set back to an earlier state by a backup or a repair; its next opening begins a new epoch."""
    generation: int
    segments: tuple[SegmentEntry, ...]
    snapshots: tuple[SnapshotEntry, ...] = ()
    """Newest first; the one before it is kept until the next."""
    version: int = 0
    """What the version counter had come to when the manifest was written, or from where it goes on after a kill."""
    clean: bool = False
    """The daemon stopped in order: every frame of the log must be there and whole."""
    clean_seq: int = 0
    """At a clean stop, the sequence number after the last fact."""
    starts: tuple[int, ...] = ()
    """Wall times of the last openings that followed each other closely: the first of them, and the newest."""

    def changed(self, **fields: object) -> Manifest:
        """This manifest with some fields replaced, the generation counted up, and of the format that is written."""
        return msgspec.structs.replace(self, **{"format": FORMAT, "generation": self.generation + 1, **fields})


class ManifestError(Exception):
    """The manifest cannot be used; the text says why."""


class NewerFormat(ManifestError):
    """The store was written by a later version of the program."""


def write_manifest(directory: Directory, manifest: Manifest) -> None:
    """Make `manifest` the current one; it is durable on return."""
    line = msgspec.json.encode(manifest)
    data = line + b"\n%08x\n" % zlib.crc32(line)
    durable_replace(directory, MANIFEST, data)
    try:
        durable_replace(directory, COPY, data)
    except OSError as error:
        if error.errno not in FULL:
            raise
        # The manifest already counts, so this is no failure. But an outdated copy would count if the manifest were
        # damaged. No copy is better, and takes no room.
        try:
            for name in (COPY, f"{COPY}.tmp"):
                if name in directory.names():
                    directory.unlink(name)
            directory.sync()
        except OSError as failure:
            # It is not "nothing happened, try again" either: what the manifest lists must stay.
            text = f"{MANIFEST} was replaced, and {COPY} can be neither replaced nor removed: {failure.strerror}"
            raise OSError(errno.EIO, text) from failure


def read_manifest(directory: Directory) -> tuple[Manifest | None, list[str]]:
    """The manifest (None: there is none) and remarks on copies that could not be used; raises `ManifestError`."""
    names = directory.names()
    present = [name for name in (MANIFEST, COPY) if name in names]
    remarks: list[str] = []
    if present == [COPY]:
        remarks.append(f"{MANIFEST}: it is missing")
    for name in present:
        try:
            manifest = _parse(read_file(directory, name))
        except NewerFormat:
            # The copy is no substitute: it may have the format before, from just before the store was upgraded.
            raise
        except ManifestError as error:
            remarks.append(f"{name}: {error}")
            continue
        if remarks:
            remarks.append(f"{name} was used in its place")
        return manifest, remarks
    if present:
        raise ManifestError("; ".join(remarks))
    return None, remarks


def _parse(data: bytes) -> Manifest:
    line, _, rest = data.partition(b"\n")
    if not data:
        raise ManifestError("it is empty")
    if rest != b"%08x\n" % zlib.crc32(line):
        raise ManifestError("its checksum does not match")
    try:
        written = msgspec.json.decode(line, type=_Format).format
        if written > FORMAT:
            raise NewerFormat(f"the store has format {written}, and this version reads up to {FORMAT}")
        return msgspec.json.decode(line, type=Manifest)
    except msgspec.MsgspecError as error:
        raise ManifestError(f"it does not read: {error}") from None


class _Format(msgspec.Struct):
    format: int
