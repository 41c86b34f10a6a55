"""Cuts a damaged store back to a part that reads. The daemon never does that by itself: an operator names the fact.

Nothing is overwritten. What goes is copied to `quarantine/` first; then a new segment is made that follows the part
that is kept, and one replacement of the manifest is the moment at which the store is another. A crash at any point
leaves the store as it was, or repaired.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from presenced.storage.files import Directory, read_file, write_all
from presenced.storage.frames import Frame, decode_facts
from presenced.storage.journal import Journal
from presenced.storage.layout import DATA, header_crc
from presenced.storage.manifest import COPY, MANIFEST, SegmentEntry, SnapshotEntry
from presenced.storage.store import QUARANTINE
from presenced.storage.survey import Gap, Piece, StoreSurvey, marked_seq, piece_data, survey, walk, walk_piece


class CannotRepair(Exception):
    """The store cannot be cut at this fact, and nothing was changed. The text says where it can be cut."""


class Extent(NamedTuple):
    """The part of the log that reads without a break."""

    entries: tuple[SegmentEntry, ...]
    """The segments, each up to the end of its readable (or wanted) part."""
    rest: tuple[tuple[bytes, int], ...]
    """The wanted facts of the frame in which the wanted part ends."""
    end_seq: int
    stopped: str
    """Why the part ends there; empty at the end of the log."""


class Option(NamedTuple):
    """A place to start from, and how far the log reads from it."""

    name: str
    start_seq: int
    least_seq: int
    """The log may not be cut before this."""
    end_seq: int
    snapshot: SnapshotEntry | None
    stopped: str


class Repaired(NamedTuple):
    """What the repair did."""

    end_seq: int
    """The first fact that is lost; the next fact gets this number."""
    known_seq: int
    """Facts before this are known to have been written."""
    quarantine: str
    """The directory with the copies."""
    copies: tuple[str, ...]
    remarks: tuple[str, ...]


def options(directory: Directory, found: StoreSurvey) -> list[Option]:
    """From where to where the store can be read, the best option first. O(bytes of the log) for each."""
    starts: list[tuple[str, int, int, SnapshotEntry | None]] = [
        (entry.name, entry.start_seq, entry.end_seq, entry) for entry, problem in found.snapshots if not problem
    ]
    if found.pieces and found.pieces[0].first_seq == 1:
        starts.append(("the log from its beginning", 1, 1, None))
    possible = []
    for name, start_seq, least_seq, snapshot in starts:
        extent = follow(directory, found.pieces, start_seq)
        end_seq = max(extent.end_seq, start_seq)
        if end_seq >= least_seq:
            possible.append(Option(name, start_seq, least_seq, end_seq, snapshot, extent.stopped))
    return possible


def follow(directory: Directory, pieces: tuple[Piece, ...], start_seq: int, until_seq: int | None = None) -> Extent:
    """Read the log without a break from the segment that holds `start_seq`, up to `until_seq` if that is given."""
    entries: list[SegmentEntry] = []
    seq = start_seq
    first = max((index for index, piece in enumerate(pieces) if piece.first_seq <= start_seq), default=len(pieces))
    for piece in pieces[first:]:
        previous = entries[-1] if entries else None
        stopped = _breaks(piece, previous, seq if previous is not None else None)
        if stopped or piece.header is None:
            return Extent(tuple(entries), (), seq, stopped)
        if until_seq is not None and piece.first_seq >= until_seq:
            return Extent(tuple(entries), (), until_seq, "")
        data = piece_data(directory, piece)
        position, crc, seq = piece.header.frames_at, header_crc(data), piece.first_seq
        rest: tuple[tuple[bytes, int], ...] = ()
        for frame in walk(data, piece.header, seq):
            stopped = _unreadable(piece, frame)
            if stopped or isinstance(frame, Gap):
                break
            if until_seq is not None and frame.header.end_seq > until_seq:
                count = until_seq - frame.header.first_seq
                if count:
                    rest = ((msgspec.msgpack.encode(decode_facts(frame.payload)[:count]), count),)
                break
            position, crc, seq = frame.end, frame.header.crc, frame.header.end_seq
        is_cut = bool(stopped) or until_seq is not None and seq + sum(count for _, count in rest) == until_seq
        if seq > piece.first_seq or not is_cut:
            entries.append(SegmentEntry(piece.number, piece.first_seq, seq, position, crc))
        if rest:
            return Extent(tuple(entries), rest, seq + rest[0][1], "")
        if not stopped and piece.limit and position < piece.limit and until_seq is None:
            stopped = f"{piece.name} ends at {position} instead of {piece.limit}"
        if stopped or seq == until_seq:
            return Extent(tuple(entries), (), seq, stopped)
    return Extent(tuple(entries), (), seq, "")


def _breaks(piece: Piece, previous: SegmentEntry | None, seq: int | None) -> str:
    """Why this segment does not follow the one before it, or cannot be used at all."""
    if piece.problem or piece.header is None:
        return f"{piece.name}: {piece.problem}"
    header = piece.header
    if seq is not None and piece.first_seq != seq:
        return f"{piece.name} begins at fact {piece.first_seq} instead of {seq}"
    if previous is not None:
        said = (header.previous_number, header.previous_bytes, header.previous_crc)
        if said != (previous.number, previous.bytes, previous.last_crc):
            return f"{piece.name} does not follow segment {previous.number}"
    return ""


def _unreadable(piece: Piece, frame: Frame | Gap) -> str:
    if isinstance(frame, Gap):
        return f"{piece.name} at {frame.position}: {frame.reason}"
    if frame.header.type != DATA:
        return ""
    try:
        count = len(decode_facts(frame.payload))
    except msgspec.MsgspecError as error:
        return f"{piece.name} at {frame.position}: its facts do not read ({error})"
    return "" if count == frame.header.facts else f"{piece.name} at {frame.position}: not as many facts as it says"


def known_seq(directory: Directory, found: StoreSurvey) -> int:
    """Facts before this are known to have been written, by any trace that reads. O(bytes of the log)."""
    known = max([1, found.manifest.clean_seq, *(entry.end_seq for entry in found.manifest.segments)])
    for entry, problem in found.snapshots:
        known = max(known, 0 if problem else entry.end_seq)
    for piece in found.pieces:
        known = max(known, marked_seq(directory, piece))
        for frame in walk_piece(directory, piece):
            if isinstance(frame, Frame):
                known = max(known, frame.header.end_seq, frame.header.durable_seq)
    return known


def repair(directory: Directory, truncate_at: int, *, salts: Callable[[], int], wall_ms: Callable[[], int]) -> Repaired:
    """Make the store end before fact `truncate_at`. The directory must have been claimed.

    Raises `CannotRepair`, `NotAStore`, `NewerFormat` with nothing changed, `OSError`.
    """
    found = survey(directory)
    possible = options(directory, found)
    chosen = [one for one in possible if one.least_seq <= truncate_at <= one.end_seq]
    if not chosen:
        raise CannotRepair(f"the log cannot be cut at fact {truncate_at}; {_ranges(possible)}")
    snapshots = tuple(one.snapshot for one in chosen if one.snapshot is not None)[:2]
    needed_from = snapshots[-1].start_seq if snapshots else 1
    extent = follow(directory, found.pieces, needed_from, truncate_at)
    if extent.end_seq != truncate_at:
        # The snapshot stands alone: the rest of the log ends before it.
        extent = Extent((), (), truncate_at, "")
    known = known_seq(directory, found)
    kept = {entry.number: entry for entry in extent.entries}
    place, copies = _copy(directory, kept, snapshots, wall_ms())
    manifest = msgspec.structs.replace(
        found.manifest, segments=extent.entries, snapshots=snapshots, clean=False, clean_seq=0, epoch=0
    )
    journal = Journal(directory, manifest, sync_each=True, salts=salts, wall_ms=wall_ms)
    number = 1 + max([0, *(piece.number for piece in found.pieces), *_numbers(directory)])
    first_seq = truncate_at - sum(count for _, count in extent.rest)
    journal.open_segment(manifest, number, extent.rest, first_seq=first_seq)
    journal.abandon()
    journal.remove_unlisted()
    remarks = [problem for entry, problem in found.snapshots if problem]
    if not found.source:
        remarks.append(f"the manifest was put together anew ({found.problem})")
    return Repaired(truncate_at, known, place, tuple(copies), tuple(remarks))


def _numbers(directory: Directory) -> list[int]:
    """The numbers in use: no existing file may be replaced before the manifest is."""
    return [int(name[4:14]) for name in directory.names() if name.startswith("wal-")]


def _ranges(possible: list[Option]) -> str:
    if not possible:
        return "there is nothing to start from: no snapshot and no beginning of the log that reads; restore a backup"
    return "it can be cut " + ", or ".join(
        f"from {one.least_seq} to {one.end_seq} (starting from {one.name})" for one in possible
    )


def _copy(
    directory: Directory,
    kept: dict[int, SegmentEntry],
    snapshots: tuple[SnapshotEntry, ...],
    now_ms: int,
) -> tuple[str, list[str]]:
    """Copy the files that the repair will remove or change to a directory of their own, from where they can be put back
    as they were; durable on return."""
    quarantine = directory.subdirectory(QUARANTINE)
    serial = 0
    while (place := quarantine.subdirectory(f"repair-{now_ms}-{serial}")).names():
        serial += 1
    staying = {entry.name for entry in snapshots}
    copies = []
    for name in directory.names():
        if name in (MANIFEST, COPY) or (name.startswith("snap-") and name not in staying):
            data = read_file(directory, name)
            size = len(data)
        elif name.startswith("wal-"):
            entry = kept.get(int(name[4:14])) if name.endswith(".log") else None
            whole = read_file(directory, name)
            data, size = whole.rstrip(b"\0"), len(whole)
            if entry is not None and len(data) <= entry.bytes:
                continue
        else:
            continue
        file = place.open(name, create=True)
        try:
            write_all(file, 0, data)
            # Without room for the zeros; but a segment that lacks them counts as cut, and may lack the end of a frame.
            file.truncate(size)
            file.sync()
        finally:
            file.close()
        copies.append(name)
    for changed in (place, quarantine, directory):
        changed.sync()
    return place.path, copies
