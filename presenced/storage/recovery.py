"""Reads a store back: what is there, whether it can be trusted, and what may be dropped. Changes nothing.

`segment_end` decides whether the log ends in order, in a torn write, or in damage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from presenced.core.records import Fact
from presenced.storage.files import Directory, read_file
from presenced.storage.frames import Frame, decode_facts, read_frames, reader_of
from presenced.storage.layout import (
    DATA,
    SEAL,
    SEGMENT_HEADER_BYTES,
    SKIPPABLE,
    LayoutError,
    Mark,
    SegmentHeader,
    header_crc,
    newest_mark,
    segment_name,
    unpack_segment_header,
)
from presenced.storage.manifest import Manifest, SegmentEntry, SnapshotEntry, read_manifest
from presenced.storage.meter import Meter, Progress, segment_bytes
from presenced.storage.segment_end import judge
from presenced.storage.snapshot import SnapshotError, read_snapshot, verify_snapshot

Apply = Callable[[Sequence[Fact]], None]


class DamageError(Exception):
    """Acknowledged data is damaged or missing; the text names file and offset and says what can be done."""


class RecoveryFindings(msgspec.Struct):
    """What recovery found."""

    snapshot: str = ""
    """The snapshot it started from; empty for none."""
    facts: int = 0
    """Facts replayed from the log."""
    next_seq: int = 1
    """The sequence number that the next fact gets."""
    clean: bool = False
    durable_seq: int = 1
    """Facts before this were known to be synced."""
    last_wall_ms: int = 0
    """Wall time of the last frame, in milliseconds; 0 = there is no frame."""
    torn_bytes: int = 0
    """Bytes of the active segment that are not zeros and are dropped."""
    torn_at: str = ""
    """Where they begin."""
    remarks: list[str] = msgspec.field(default_factory=list)

    def add_remarks(self, remarks: list[str]) -> None:
        """Note what else was found that somebody should know of."""
        self.remarks += remarks


class Tail(msgspec.Struct):
    """Where the readable part of the active segment ends."""

    entry: SegmentEntry
    header: SegmentHeader
    mark: Mark | None
    position: int
    last_crc: int = 0
    unwitnessed: int = 0
    """Where the first frame begins that was not known to be synced; `unwitnessed_seq` and `_crc` stand before it."""
    unwitnessed_seq: int = 0
    unwitnessed_crc: int = 0


class Recovered(msgspec.Struct):
    """The result: the manifest it went by (None for an empty directory), the report, and the tail."""

    manifest: Manifest | None
    report: RecoveryFindings
    tail: Tail | None = None


def recover(
    directory: Directory, apply: Apply, progress: Progress | None = None, apply_log: Apply | None = None
) -> Recovered:
    """Hand all facts of the store to `apply`, oldest first, and report what was found; those of the log to `apply_log`,
    if there is one. O(bytes).

    Raises `DamageError` if something acknowledged is damaged or missing, `ManifestError` if the manifest does not
    read. `apply` may have been called before that: throw away what it built.
    """
    manifest, remarks = read_manifest(directory)
    report = RecoveryFindings(remarks=remarks)
    if manifest is None:
        _refuse_orphans(directory)
        return Recovered(None, report)
    report.clean = manifest.clean
    _check_files(directory, manifest, report)
    snapshot = _choose_snapshot(directory, manifest, report)
    from_seq = 1 if snapshot is None else snapshot.start_seq
    segments = [entry for entry in manifest.segments if not entry.sealed or entry.end_seq > from_seq]
    total = sum(segment_bytes(directory, entry) for entry in segments) + (snapshot.bytes if snapshot else 0)
    meter = Meter(progress, total)
    if snapshot is not None:
        try:
            read_snapshot(directory, snapshot, apply, meter.at)
        except SnapshotError as error:
            # Its bytes are those that were written, so the snapshot before it is no remedy.
            raise DamageError(f"{error}, though it is whole; another version of the program wrote it") from None
        report.snapshot = snapshot.name
        meter.file_done(snapshot.bytes)
    reader = _LogReader(directory, manifest, report, apply_log or apply, from_seq, meter)
    for entry in segments:
        meter.file_done(reader.read_segment(entry))
    if snapshot is not None and reader.next_seq < snapshot.end_seq:
        raise DamageError(
            f"{snapshot.name} needs the log up to {snapshot.end_seq - 1}, and the log ends at {reader.next_seq - 1}; "
            + _ADVICE
        )
    if manifest.clean and reader.next_seq != manifest.clean_seq:
        raise DamageError(
            f"the daemon stopped cleanly after fact {manifest.clean_seq - 1}, and the log ends at "
            f"{reader.next_seq - 1}; {_ADVICE}"
        )
    report.next_seq = reader.next_seq
    report.durable_seq = reader.durable_seq
    return Recovered(manifest, report, reader.tail)


_ADVICE = "restore a backup, or see `presenced store check` and `presenced store repair`"


def _refuse_orphans(directory: Directory) -> None:
    """Raise `DamageError` for a store that has lost its manifest. A first start that was interrupted leaves only
    temporary files and segments without frames, since these are made before the manifest."""
    for name in directory.names():
        if name.endswith(".tmp") or not name.startswith(("wal-", "snap-")):
            continue
        if name.startswith("snap-") or _is_written(directory, name):
            raise DamageError(f"{directory.path} holds {name} and no MANIFEST, and is not taken for empty; {_ADVICE}")


def _check_files(directory: Directory, manifest: Manifest, report: RecoveryFindings) -> None:
    """Every listed segment must be there. One that is not listed must be a successor that was never used."""
    names = directory.names()
    copy_read = bool(report.remarks)
    listed = {segment_name(entry.number) for entry in manifest.segments}
    for name in sorted(listed):
        if name not in names:
            raise DamageError(f"{name} is listed in the MANIFEST and missing; {_ADVICE}")
    last = max(listed, default="")
    for name in names:
        if name.startswith("wal-") and name.endswith(".log") and name not in listed and name > last:
            # A segment is listed before the first acknowledgement from it. So an unlisted one is a leftover of a
            # crash, unless it is the MANIFEST that was damaged and its copy, one change behind, is what was read.
            if copy_read and _is_written(directory, name):
                raise DamageError(f"{name} holds frames and the MANIFEST that lists it is damaged; {_ADVICE}")
            report.remarks.append(f"{name} was prepared and never used")


def _is_written(directory: Directory, name: str) -> bool:
    """Whether anything was ever written behind the header, readable or not. In doubt nothing is dropped."""
    data = read_file(directory, name)
    try:
        frames_at = unpack_segment_header(data).frames_at
    except LayoutError:
        frames_at = SEGMENT_HEADER_BYTES
    return bool(data[frames_at:].strip(b"\0"))


def _choose_snapshot(directory: Directory, manifest: Manifest, report: RecoveryFindings) -> SnapshotEntry | None:
    for entry in manifest.snapshots:
        try:
            verify_snapshot(directory, entry)
            return entry
        except SnapshotError as error:
            has_older = entry is not manifest.snapshots[-1]
            report.remarks.append(f"{error}{'; going back to the one before' if has_older else ''}")
    if manifest.snapshots:
        raise DamageError(f"no snapshot can be used ({'; '.join(report.remarks)}); {_ADVICE}")
    return None


class _LogReader:
    """Reads segments in order, and keeps what links each one to the next."""

    def __init__(
        self,
        directory: Directory,
        manifest: Manifest,
        report: RecoveryFindings,
        apply: Apply,
        from_seq: int,
        meter: Meter,
    ) -> None:
        self.next_seq = 0
        self.durable_seq = 1
        self.tail: Tail | None = None
        self._directory = directory
        self._manifest = manifest
        self._report = report
        self._apply = apply
        self._from_seq = from_seq
        self._meter = meter
        self._previous: SegmentEntry | None = None

    def read_segment(self, entry: SegmentEntry) -> int:
        """Replay one segment, and return its size in bytes."""
        name = segment_name(entry.number)
        file = self._directory.open(name)
        try:
            data = file.read_at(0, entry.bytes if entry.sealed else file.size())
        finally:
            file.close()
        if self.next_seq and entry.first_seq != self.next_seq:
            raise DamageError(f"{name} begins at fact {entry.first_seq}, and the one before ends before it; {_ADVICE}")
        if not self.next_seq:
            if entry.first_seq > self._from_seq:
                raise DamageError(
                    f"the log begins at fact {entry.first_seq} and is needed from {self._from_seq}; {_ADVICE}"
                )
        self.next_seq = entry.first_seq
        header = self._segment_header(name, entry, data)
        mark = None if entry.sealed else self._mark(name, header, data)
        tail = Tail(entry, header, mark, header.frames_at)
        self._read_frames(name, data, tail)
        if entry.sealed:
            if (tail.position, tail.last_crc, self.next_seq) != (entry.bytes, entry.last_crc, entry.end_seq):
                raise DamageError(f"{name} does not end as the MANIFEST says; {_ADVICE}")
            self.durable_seq = entry.end_seq
            self._previous = entry
        else:
            self.tail = tail
        return len(data)

    def _segment_header(self, name: str, entry: SegmentEntry, data: bytes) -> SegmentHeader:
        try:
            header = unpack_segment_header(data)
        except LayoutError as error:
            raise DamageError(f"{name}: {error}; {_ADVICE}") from None
        previous = self._previous
        expected = (
            bytes.fromhex(self._manifest.store_id),
            entry.number,
            entry.first_seq,
        )
        if (header.store_id, header.number, header.first_seq) != expected:
            raise DamageError(f"{name} is not the segment that the MANIFEST lists (another store or number); {_ADVICE}")
        if previous is not None:
            said = (header.previous_number, header.previous_last_seq, header.previous_bytes, header.previous_crc)
            if said != (previous.number, previous.end_seq - 1, previous.bytes, previous.last_crc):
                raise DamageError(f"{name} does not follow {segment_name(previous.number)}; {_ADVICE}")
        return header

    def _mark(self, name: str, header: SegmentHeader, data: bytes) -> Mark | None:
        mark = newest_mark(data, header)
        if mark is None and header.unit_bytes:
            # One of the two marks is synced at any time.
            raise DamageError(f"{name}: neither of its marks reads, so this is damage; {_ADVICE}")
        return mark

    def _read_frames(self, name: str, data: bytes, tail: Tail) -> None:
        salt, mark, reason = tail.header.salt, tail.mark, ""
        tail.last_crc = header_crc(data)
        ends = [(self.next_seq, tail.position, tail.last_crc)]
        frames = read_frames(reader_of(data), tail.position, len(data), salt=salt, crc=tail.last_crc, seq=self.next_seq)
        try:
            for frame in frames:
                header = frame.header
                end_seq = header.end_seq
                if header.type == DATA:
                    if end_seq > self._from_seq:
                        self._replay(frame, name)
                    ends.append((end_seq, frame.end, header.crc))
                elif header.type != SEAL and not header.type & SKIPPABLE:
                    raise LayoutError(f"the frame has the unknown type {header.type}")
                self.durable_seq = max(self.durable_seq, header.durable_seq)
                self._report.last_wall_ms = max(self._report.last_wall_ms, header.wall_ms)
                self.next_seq = end_seq
                tail.position, tail.last_crc = frame.end, header.crc
                if mark is not None and mark.position == frame.end and (mark.seq, mark.crc) != (end_seq, header.crc):
                    raise DamageError(f"{name} at {frame.end}: its marks are of other frames; {_ADVICE}")
                self._meter.at(frame.end)
        except LayoutError as error:
            reason = str(error)
        self._judge(name, data, tail, reason)
        if mark is not None:
            self.durable_seq = max(self.durable_seq, mark.seq)
        # A seal at the end does not count: it is a witness for the frames before it, and has no witness itself.
        for end_seq, end, crc in reversed(ends):
            if end_seq <= self.durable_seq or end == tail.header.frames_at:
                tail.unwitnessed, tail.unwitnessed_seq, tail.unwitnessed_crc = end, end_seq, crc
                break

    def _replay(self, frame: Frame, name: str) -> None:
        try:
            facts = decode_facts(frame.payload)
        except msgspec.MsgspecError as error:
            raise DamageError(
                f"{name} at {frame.position}: the frame is whole and its facts do not read ({error}); it was written "
                "by another version of the program, use that one"
            ) from None
        self._report.facts += len(facts)
        self._apply(facts)

    def _judge(self, name: str, data: bytes, tail: Tail, reason: str) -> None:
        """Behind the last readable frame stands one that does not read (`reason`), or none. Return if the log ends
        there or the tail is torn; raise `DamageError` if it is damage."""
        where = f"{name} at {tail.position}: {reason or 'the log ends here'}"
        if tail.entry.sealed:
            if reason:
                raise DamageError(f"{where}; the segment was complete, so this is damage; {_ADVICE}")
            return
        ending = judge(
            data,
            tail.header,
            tail.position,
            self.next_seq,
            durable_seq=self.durable_seq,
            mark=tail.mark,
            is_clean=self._manifest.clean,
        )
        if ending.damage:
            raise DamageError(f"{where}; {ending.damage}; {_ADVICE}")
        if ending.torn_bytes:
            self._report.torn_bytes = ending.torn_bytes
            self._report.torn_at = where
