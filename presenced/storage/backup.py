"""Copies a store while the daemon writes to it.

All files are opened first, and the manifest is read once more after that: if it is the same, the open files are a
consistent set, whatever the daemon renames or removes from then on. The log only ever grows, so that a copy of its
beginning is the store at a moment, and everything acknowledged before the copy began is in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from presenced.storage.files import Directory, File, discard, write_all
from presenced.storage.layout import (
    FRAMES_AT,
    MARK_BYTES,
    SEGMENT_HEADER_BYTES,
    LayoutError,
    Mark,
    SegmentHeader,
    header_crc,
    newest_mark,
    pack_mark,
    segment_name,
    unpack_segment_header,
)
from presenced.storage.manifest import Manifest, SegmentEntry, read_manifest, write_manifest
from presenced.storage.recovery import DamageError, RecoveryFindings, recover
from presenced.storage.survey import Gap, NotAStore, walk

TRIES_MAX = 50
COPY_BYTES = 4 << 20


class CannotBackUp(Exception):
    """No consistent copy can be made; the text says why."""


class BackedUp(NamedTuple):
    """What the copy holds."""

    report: RecoveryFindings
    files: int
    bytes: int


def back_up(source: Directory, target: Directory, pause: Callable[[], None]) -> BackedUp:
    """Copy the store in `source` to the empty directory `target`, durably, and read the copy as recovery would.

    Raises `CannotBackUp`, `NotAStore`, `ManifestError`, `DamageError` (what was copied is damaged), `OSError`.
    O(bytes of the store).
    """
    try:
        return _back_up(source, target, pause)
    except BaseException:
        # Half a copy is worth nothing, and would prevent the next attempt.
        for name in target.names():
            discard(target, name)
        raise


def _back_up(source: Directory, target: Directory, pause: Callable[[], None]) -> BackedUp:
    manifest, files = _open_all(source, pause)
    try:
        total = 0
        for entry in manifest.snapshots:
            total += _copy(files[entry.name], target, entry.name, entry.bytes)
        for segment in manifest.segments:
            name = segment_name(segment.number)
            if segment.sealed:
                total += _copy(files[name], target, name, segment.bytes)
            else:
                data = _active(files[name], segment, name, pause)
                total += _write(target, name, data)
    finally:
        for file in files.values():
            file.close()
    target.sync()
    # A daemon that starts from the copy starts from an earlier state, and versions are used a second time. The copy has
    # no epoch, so that its first opening begins one and watchers do not trust the versions that they know.
    write_manifest(target, manifest.changed(clean=False, clean_seq=0, epoch=0))
    return BackedUp(recover(target, lambda facts: None).report, len(files), total)


def _open_all(source: Directory, pause: Callable[[], None]) -> tuple[Manifest, dict[str, File]]:
    for _ in range(TRIES_MAX):
        manifest, _remarks = read_manifest(source)
        if manifest is None:
            raise NotAStore(f"{source.path} holds no store: there is no MANIFEST in it")
        files: dict[str, File] = {}
        missing = ""
        for name in [
            *(one.name for one in manifest.snapshots),
            *(segment_name(one.number) for one in manifest.segments),
        ]:
            try:
                files[name] = source.open(name)
            except FileNotFoundError:
                missing = name
                break
        again, _remarks = read_manifest(source)
        if not missing and again is not None and again.generation == manifest.generation:
            return manifest, files
        for file in files.values():
            file.close()
        if missing and again is not None and again.generation == manifest.generation:
            raise DamageError(f"{missing} is listed in the MANIFEST and missing; see `presenced store check`")
        pause()
    raise CannotBackUp(f"{source.path} changed each of the {TRIES_MAX} times it was looked at; try again")


def _active(file: File, entry: SegmentEntry, name: str, pause: Callable[[], None]) -> bytes:
    """The bytes of the active segment, up to the first frame that is not whole."""
    failed_at = -1
    for _ in range(TRIES_MAX):
        data = file.read_at(0, file.size())
        try:
            header = unpack_segment_header(data)
        except LayoutError as error:
            raise DamageError(f"{name}: {error}; see `presenced store check`") from None
        mark, behind = Mark(header.frames_at, entry.first_seq, header_crc(data)), 0
        gap: Gap | None = None
        for one in walk(data, header, entry.first_seq):
            if isinstance(one, Gap):
                gap = gap or one
            elif gap is None:
                mark = Mark(one.end, one.header.end_seq, one.header.crc)
            else:
                behind = max(behind, one.header.durable_seq)
        # The marks are read first, so they may say less than the frames, but never more.
        marked = newest_mark(data, header)
        behind = max(behind, marked.seq if marked is not None else 0)
        if behind <= mark.seq or (gap is not None and behind <= gap.seq):
            return _marked(data, header, mark)
        # A later frame or a mark says that the missing part is synced. Either the daemon was writing it while we read,
        # or it is damaged; a second attempt shows which.
        if failed_at == mark.position:
            reason = gap.reason if gap is not None else "the log ends too early"
            raise DamageError(f"{name} at {mark.position}: {reason}; see `presenced store check`")
        failed_at = mark.position
        pause()
    raise CannotBackUp(f"{name} changed each of the {TRIES_MAX} times it was looked at; try again")


def _marked(data: bytes, header: SegmentHeader, mark: Mark) -> bytes:
    """The segment up to the mark, with marks that say that all of it is there, in case the copy is cut one day."""
    if not header.unit_bytes:
        return data[: mark.position]
    marks = pack_mark(mark, header.salt).ljust(MARK_BYTES, b"\0") * 2
    whole = (mark.position // header.unit_bytes + 1) * header.unit_bytes
    return (data[:SEGMENT_HEADER_BYTES] + marks + data[FRAMES_AT : mark.position]).ljust(whole, b"\0")


def _copy(file: File, target: Directory, name: str, size: int) -> int:
    """Copy the first `size` bytes, a piece at a time."""
    copy = target.open(name, create=True)
    try:
        for offset in range(0, size, COPY_BYTES):
            part = file.read_at(offset, min(COPY_BYTES, size - offset))
            write_all(copy, offset, part)
        copy.sync()
    finally:
        copy.close()
    return size


def _write(target: Directory, name: str, data: bytes) -> int:
    copy = target.open(name, create=True)
    try:
        write_all(copy, 0, data)
        copy.sync()
    finally:
        copy.close()
    return len(data)
