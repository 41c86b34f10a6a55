"""A data directory from the outside: claim it, read it, and make it ready to be written.

The order is what makes a restart safe. Nothing is changed until everything has been read and found good. Then,
before anything is served, what may exist only in the page cache (because its sync had not returned, or failed) is
written anew into a fresh segment and synced: whatever was answered from it stays true after the next power cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from presenced.storage.files import Directory, read_file, write_all
from presenced.storage.frames import read_frames, reader_of
from presenced.storage.journal import SEGMENT_BYTES, Journal
from presenced.storage.layout import DATA, segment_name
from presenced.storage.manifest import FORMAT, Manifest, SegmentEntry
from presenced.storage.meter import Progress
from presenced.storage.openings import starts_with, version_gap
from presenced.storage.recovery import Apply, Recovered, Tail, recover

_OURS = re.compile(r"LOCK|MANIFEST(\.copy)?(\.tmp)?|wal-\d{10}\.log(\.tmp)?|snap-\d{10}\.prs(\.tmp)?")

_LIKE_OURS = re.compile(r"(lock|manifest|wal-|snap-).*", re.IGNORECASE)
"""Names that a person would take for ours, and that the store never writes."""

_STRAY = re.compile(r"\..*|nohup\.out|thumbs\.db|desktop\.ini", re.IGNORECASE)
"""Files that appear in a directory by themselves: a new store may be made beside them."""

STRAYS_NAMED_MAX = 5

QUARANTINE = "quarantine"


class DirectoryError(Exception):
    """The directory is not one to keep a store in; nothing in it was changed."""


class Locked(DirectoryError):
    """Another process holds the directory."""


def require_files(directory: Directory) -> None:
    """Raise `DirectoryError` if anything but a regular file has the name of one of ours: no disk has failed then, and
    no restart mends it. Changes nothing."""
    for name in directory.no_files():
        if _OURS.fullmatch(name):
            raise DirectoryError(
                f"{directory.path}/{name} is no regular file, and presenced keeps one under this name; move it away, "
                "and put the file back if there was one"
            )


def look_around(directory: Directory) -> list[str]:
    """Remarks for the operator on a directory that can hold a store: foreign files in it, and permissions that are too
    wide. Raises `DirectoryError` if it cannot hold one. Changes nothing."""
    require_files(directory)
    names = directory.names()
    others = [name for name in names if not _OURS.fullmatch(name)]
    is_store = any(_OURS.fullmatch(name) and name != "LOCK" for name in names)
    for name in others:
        if _LIKE_OURS.fullmatch(name):
            raise DirectoryError(
                f"{directory.path} holds {name}, which has nearly the name of one of presenced's files and is none; "
                "move it away, or give it back its name"
            )
        if not is_store and not _STRAY.fullmatch(name):
            raise DirectoryError(
                f"{directory.path} holds {name} and no store; give presenced a directory of its own (--data-dir), or "
                "move that file away"
            )
    remarks = []
    if others:
        more = len(others) - STRAYS_NAMED_MAX
        named = ", ".join(others[:STRAYS_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
        remarks.append(f"it holds {named}: not presenced's, and passed over")
    if directory.mode() & 0o022:
        remarks.append(
            f"it has mode {directory.mode():04o}: other users can remove and replace what is in it; "
            f"chmod 700 {directory.path}"
        )
    return remarks


def claim(directory: Directory) -> list[str]:
    """Lock the directory for this process, and return the remarks of `look_around`. Raises `DirectoryError` if it
    cannot hold a store, `Locked` if another process has it."""
    remarks = look_around(directory)
    try:
        directory.lock()
    except BlockingIOError:
        raise Locked(f"{directory.path} is in use by another presenced; stop that one first") from None
    return remarks


def open_store(
    directory: Directory,
    apply: Apply,
    *,
    sync_each: bool,
    new_id: Callable[[], tuple[str, int]],
    salts: Callable[[], int],
    wall_ms: Callable[[], int],
    progress: Progress | None = None,
    segment_bytes: int = SEGMENT_BYTES,
    close_ms: int = 0,
    apply_log: Apply | None = None,
) -> tuple[Journal, Recovered]:
    """Read the store into `apply`, and its log into `apply_log` if that is given, and make it ready for writing. The
    directory must have been claimed.

    `new_id` returns the store id (32 hex digits) and the epoch of a new store. Openings less than `close_ms` apart
    count as consecutive, and the manifest keeps their times. Raises `DamageError`, `ManifestError` (nothing was
    changed), `DiskFull` or `OSError` (nothing was lost)."""
    recovered = recover(directory, apply, progress, apply_log)
    manifest = recovered.manifest
    if manifest is None:
        store_id, epoch = new_id()
        manifest = Manifest(FORMAT, store_id, epoch, 0, ())
    elif not manifest.epoch:
        manifest = msgspec.structs.replace(manifest, epoch=new_id()[1])
        recovered = msgspec.structs.replace(recovered, manifest=manifest)
    start_ms = wall_ms()
    # Written down before anybody is served: a second crash, which loses all facts of this run, must leave it.
    if recovered.manifest is not None:
        gap = version_gap(manifest.starts, start_ms, is_clean=recovered.report.clean)
        manifest = msgspec.structs.replace(manifest, version=manifest.version + gap)
    while manifest.snapshots and manifest.snapshots[0].name != recovered.report.snapshot:
        # A newer snapshot that could not be used must not become the second generation of the next one.
        manifest = msgspec.structs.replace(manifest, snapshots=manifest.snapshots[1:])
    manifest = msgspec.structs.replace(manifest, starts=starts_with(manifest.starts, start_ms, close_ms))
    journal = Journal(
        directory, manifest, sync_each=sync_each, salts=salts, wall_ms=wall_ms, segment_bytes=segment_bytes
    )
    tail = recovered.tail
    if tail is None:
        journal.open_segment(manifest, 1)
    else:
        _quarantine(directory, recovered, tail)
        _continue(journal, recovered, manifest, tail)
    journal.remove_unlisted()
    return journal, recovered


def _continue(journal: Journal, recovered: Recovered, manifest: Manifest, tail: Tail) -> None:
    """End the segment that was active where it was surely synced, and copy what lies behind into a new one."""
    entry = tail.entry
    if recovered.report.clean:
        cut, seq, crc, frames = tail.position, recovered.report.next_seq, tail.last_crc, []
    else:
        cut, seq, crc = tail.unwitnessed, tail.unwitnessed_seq, tail.unwitnessed_crc
        frames = _read_payloads(journal.directory, tail)
    segments = manifest.segments[:-1]
    if seq > entry.first_seq:
        segments = (*segments, SegmentEntry(entry.number, entry.first_seq, seq, cut, crc))
    journal.open_segment(
        msgspec.structs.replace(manifest, segments=segments, clean=False, clean_seq=0),
        entry.number + 1,
        frames,
        first_seq=seq,
    )


def _read_payloads(directory: Directory, tail: Tail) -> list[tuple[bytes, int]]:
    data = read_file(directory, segment_name(tail.entry.number))
    frames = read_frames(
        reader_of(data),
        tail.unwitnessed,
        tail.position,
        salt=tail.header.salt,
        crc=tail.unwitnessed_crc,
        seq=tail.unwitnessed_seq,
    )
    return [(frame.payload, frame.header.facts) for frame in frames if frame.header.type == DATA]


def _quarantine(directory: Directory, recovered: Recovered, tail: Tail) -> None:
    """Keep a copy of the bytes that are dropped as torn, for an operator who wants to look at them."""
    report = recovered.report
    if not report.torn_bytes:
        return
    data = read_file(directory, segment_name(tail.entry.number))
    torn = data[tail.position : tail.position + report.torn_bytes]
    place = directory.subdirectory(QUARANTINE)
    name = f"torn-{tail.entry.number:010d}-at-{tail.position}"
    if name in place.names():
        place.unlink(name)
    file = place.open(name, create=True)
    try:
        write_all(file, 0, torn)
        file.sync()
    finally:
        file.close()
    place.sync()
    directory.sync()
