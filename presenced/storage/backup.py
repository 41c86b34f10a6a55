"""A copy of a store while the daemon goes on writing to it.

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
from presenced.storage.recovery import DamageError, Findings, recover
from presenced.storage.survey import Gap, NotAStore, walk

TRIES_MAX = 50
COPY_BYTES = 4 << 20


class CannotBackUp(Exception):
    """There is no consistent copy to be had; the text says why."""


class BackedUp(NamedTuple):
    """What the copy holds."""

    report: Findings
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
        # Half a copy is worth nothing, and stands in the way of the next attempt.
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
    # Whoever starts from the copy starts from an earlier state: what watchers know of the versions since then must
    # not pass for knowledge of what comes now. Hence no epoch; the first opening begins one.
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
    """The frames of the active segment, up to the first that is not whole."""
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
        # What was read first, the marks, may say less than what was read last, and never more.
        marked = newest_mark(data, header)
        behind = max(behind, marked.seq if marked is not None else 0)
        if behind <= mark.seq or (gap is not None and behind <= gap.seq):
            return _marked(data, header, mark)
        # A later frame, or a mark, knows what is missing to be synced: either it was being written as we read past it,
        # or it is damaged. Another look tells.
        if failed_at == mark.position:
            reason = gap.reason if gap is not None else "the log ends too early"
            raise DamageError(f"{name} at {mark.position}: {reason}; see `presenced store check`")
        failed_at = mark.position
        pause()
    raise CannotBackUp(f"{name} changed each of the {TRIES_MAX} times it was looked at; try again")


def _marked(data: bytes, header: SegmentHeader, mark: Mark) -> bytes:
    """The segment up to the mark, and marks that say that all of it is there, for a copy that is cut one day."""
    if not header.unit_bytes:
        return data[: mark.position]
    marks = pack_mark(mark, header.salt).ljust(MARK_BYTES, b"\0") * 2
    whole = (mark.position // header.unit_bytes + 1) * header.unit_bytes
    return (data[:SEGMENT_HEADER_BYTES] + marks + data[FRAMES_AT : mark.position]).ljust(whole, b"\0")


def _copy(file: File, target: Directory, name: str, size: int) -> int:
    """The first `size` bytes, a piece at a time."""
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
