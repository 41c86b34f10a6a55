"""What a data directory holds, in whatever state it is: the basis of the tools `check`, `dump` and `repair`.

Recovery stops at the first doubt; a survey goes on behind it. It reads and never writes, takes no lock, and does not
decide what may be dropped: recovery and the operator decide that.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from presenced.storage.files import Directory, read_file
from presenced.storage.frames import Frame, find_frame, read_frames, reader_of
from presenced.storage.layout import (
    SEAL,
    SEGMENT_HEADER_BYTES,
    LayoutError,
    SegmentHeader,
    header_crc,
    newest_mark,
    segment_name,
    unpack_segment_header,
)
from presenced.storage.manifest import FORMAT, Manifest, ManifestError, NewerFormat, SnapshotEntry, read_manifest
from presenced.storage.snapshot import SnapshotError, read_snapshot, verify_snapshot


class NotAStore(Exception):
    """There is no data directory of ours here."""


class Gap(NamedTuple):
    """Bytes that do not read, up to the next readable frame or to the end."""

    position: int
    bytes: int
    seq: int
    """The fact that was expected here."""
    reason: str
    was_synced: bool = False
    """Whether a mark of the segment says that what stood here was synced."""


class Piece(NamedTuple):
    """A segment of the log: what the manifest or its neighbours say of it, and what its file holds."""

    name: str
    number: int
    first_seq: int
    header: SegmentHeader | None
    problem: str
    """Why nothing of it can be used; empty if something can."""
    limit: int
    """Where it ends, in bytes; 0 for one that is open-ended (the active one, as a rule)."""


class StoreSurvey(NamedTuple):
    """All that can be read of a store."""

    manifest: Manifest
    """What was read, or put together from the files' own headers if none reads."""
    source: str
    """The file that the manifest is from; empty if it was put together."""
    problem: str
    """Why no manifest reads, if so."""
    pieces: tuple[Piece, ...]
    snapshots: tuple[tuple[SnapshotEntry, str], ...]
    """Newest first, each with why it cannot be used, or an empty string."""


def survey(directory: Directory) -> StoreSurvey:
    """Read everything once. Raises `NotAStore` and `NewerFormat`. O(bytes of the snapshots)."""
    problem = source = ""
    manifest: Manifest | None = None
    try:
        manifest, remarks = read_manifest(directory)
        source = "MANIFEST.copy" if remarks else "MANIFEST"
    except NewerFormat:
        raise
    except ManifestError as error:
        problem = str(error)
    files = _segment_files(directory)
    if manifest is None:
        if not files and not problem and not _names(directory, "snap-", ".prs"):
            raise NotAStore(f"{directory.path} holds no store: there is no MANIFEST in it")
        manifest = Manifest(FORMAT, _store_id(directory, files), 0, 0, ())
        pieces = _chain([piece for piece in files if _usable(piece, manifest.store_id)])
        if pieces and not _has_frames(directory, pieces[-1]):
            # The last segment was prepared and never used. Nothing is lost without it, and the one before it may have
            # been written to after that.
            pieces = _chain(pieces[:-1]) or pieces
        snapshots = _snapshots_by_themselves(directory, manifest.store_id)
        return StoreSurvey(manifest, "", problem or "there is none", tuple(pieces), tuple(snapshots))
    pieces = _listed(manifest, files)
    if source != "MANIFEST":
        last = pieces[-1].number if pieces else 0
        pieces += [
            piece
            for piece in files
            if piece.number > last and _usable(piece, manifest.store_id) and _has_frames(directory, piece)
        ]
        pieces = _chain(pieces)
    return StoreSurvey(manifest, source, "", tuple(pieces), tuple(_listed_snapshots(directory, manifest)))


def walk(data: bytes, header: SegmentHeader, next_seq: int) -> Iterator[Frame | Gap]:
    """The frames of a file, and the gaps between them; the first frame has to begin at `next_seq`.

    What comes after a gap reads by itself; that it belongs there is not known.
    """
    read = reader_of(data)
    salt, crc, position = header.salt, header_crc(data), header.frames_at
    while position < len(data):
        try:
            for frame in read_frames(read, position, len(data), salt=salt, crc=crc, seq=next_seq):
                yield frame
                position, crc, next_seq = frame.end, frame.header.crc, frame.header.end_seq
        except LayoutError as error:
            end = position + len(data[position:].rstrip(b"\0"))
            if end == position:
                return
            found = find_frame(read, position, end, salt)
            yield Gap(position, (found.position if found else end) - position, next_seq, str(error))
            if found is None:
                return
            yield found
            position, crc, next_seq = found.end, found.header.crc, found.header.end_seq


def piece_data(directory: Directory, piece: Piece) -> bytes:
    """The part of a segment's file that counts."""
    data = read_file(directory, piece.name)
    return data[: piece.limit] if piece.limit else data


def walk_piece(directory: Directory, piece: Piece) -> Iterator[Frame | Gap]:
    """The frames and gaps of a segment; nothing if its header does not read."""
    if piece.header is None or piece.problem:
        return
    data = piece_data(directory, piece)
    mark = None if piece.limit else newest_mark(data, piece.header)
    position, seq = piece.header.frames_at, piece.first_seq
    for found in walk(data, piece.header, piece.first_seq):
        if isinstance(found, Gap):
            yield found._replace(was_synced=mark is not None and found.seq < mark.seq)
            position += found.bytes
        else:
            yield found
            position, seq = found.end, found.header.end_seq
    if len(data) < piece.limit:
        yield Gap(len(data), piece.limit - len(data), 0, "the file ends too early")
    elif mark is not None and mark.seq > seq and mark.position > position:
        reason = f"the log was synced up to fact {mark.seq - 1}, byte {mark.position}"
        yield Gap(position, mark.position - position, seq, reason, was_synced=True)


def marked_seq(directory: Directory, piece: Piece) -> int:
    """The fact up to which the segment's marks say that it was synced; 0 if none reads."""
    if piece.header is None:
        return 0
    file = directory.open(piece.name)
    try:
        mark = newest_mark(file.read_at(0, piece.header.frames_at), piece.header)
    finally:
        file.close()
    return mark.seq if mark is not None else 0


# --- segments ----------------------------------------------------------------------------------------------------


def _names(directory: Directory, head: str, tail: str) -> list[str]:
    """The names of our files with this head and tail; a name that only looks like one does not count."""
    whole = re.compile(rf"{head}\d{{10}}{re.escape(tail)}")
    return [name for name in directory.names() if whole.fullmatch(name)]


def _segment_files(directory: Directory) -> list[Piece]:
    return [_piece(directory, name) for name in _names(directory, "wal-", ".log")]


def _piece(directory: Directory, name: str) -> Piece:
    number = int(name.removeprefix("wal-").removesuffix(".log"))
    file = directory.open(name)
    try:
        header = unpack_segment_header(file.read_at(0, SEGMENT_HEADER_BYTES))
    except LayoutError as error:
        return Piece(name, number, 0, None, str(error), 0)
    finally:
        file.close()
    problem = "" if header.number == number else f"its header is that of segment {header.number}"
    return Piece(name, number, header.first_seq, header, problem, 0)


def _usable(piece: Piece, store_id: str) -> bool:
    return piece.header is not None and not piece.problem and piece.header.store_id.hex() == store_id


def _listed(manifest: Manifest, files: list[Piece]) -> list[Piece]:
    """The segments that the manifest lists, each with its file."""
    by_number = {piece.number: piece for piece in files}
    pieces = []
    for entry in manifest.segments:
        name = segment_name(entry.number)
        piece = by_number.get(entry.number) or Piece(name, entry.number, 0, None, "the file is missing", 0)
        problem = piece.problem
        if piece.header is not None and not problem:
            if piece.header.store_id.hex() != manifest.store_id:
                problem = "it belongs to another store"
            elif piece.header.first_seq != entry.first_seq:
                problem = f"it begins at fact {piece.header.first_seq} instead of {entry.first_seq}"
        pieces.append(piece._replace(first_seq=entry.first_seq, problem=problem, limit=entry.bytes))
    return pieces


def _chain(pieces: list[Piece]) -> list[Piece]:
    """Give each segment the end that the header of its successor states."""
    chained = []
    successors: list[Piece | None] = [*pieces[1:], None]
    for piece, successor in zip(pieces, successors, strict=False):
        header = successor.header if successor is not None else None
        follows = header is not None and header.previous_number == piece.number
        chained.append(piece._replace(limit=header.previous_bytes) if header is not None and follows else piece)
    return chained


def _has_frames(directory: Directory, piece: Piece) -> bool:
    """Whether any frame reads; without one the segment is of no use."""
    return any(isinstance(found, Frame) for found in walk_piece(directory, piece._replace(limit=0)))


def _store_id(directory: Directory, files: list[Piece]) -> str:
    """The id of the store, from the newest segment or else the newest snapshot; empty if none reads."""
    headers = [piece.header for piece in files if piece.header is not None]
    for name in _names(directory, "snap-", ".prs"):
        try:
            headers.insert(0, unpack_segment_header(read_file(directory, name)))
        except LayoutError:
            continue
    return headers[-1].store_id.hex() if headers else ""


# --- snapshots ---------------------------------------------------------------------------------------------------


def _listed_snapshots(directory: Directory, manifest: Manifest) -> Iterator[tuple[SnapshotEntry, str]]:
    for entry in manifest.snapshots:
        try:
            verify_snapshot(directory, entry)
            read_snapshot(directory, entry, lambda facts: None)
        except SnapshotError as error:
            yield entry, str(error)
        else:
            yield entry, ""


def _snapshots_by_themselves(directory: Directory, store_id: str) -> Iterator[tuple[SnapshotEntry, str]]:
    """Without a manifest: each snapshot tells where it begins and, in its seal, where it ends."""
    for name in reversed(_names(directory, "snap-", ".prs")):
        data = read_file(directory, name)
        entry = SnapshotEntry(name, 0, 0, len(data), hashlib.blake2b(data, digest_size=32).hexdigest(), 0)
        try:
            header = unpack_segment_header(data)
        except LayoutError as error:
            yield entry, f"{name}: {error}"
            continue
        found = list(walk(data, header, 0))
        last = found[-1] if found else None
        if store_id and header.store_id.hex() != store_id:
            yield entry, f"{name}: it belongs to another store"
        elif any(isinstance(one, Gap) for one in found) or not isinstance(last, Frame) or last.header.type != SEAL:
            yield entry, f"{name}: it is damaged or not complete"
        else:
            end_seq, facts = last.header.durable_seq, last.header.end_seq
            yield msgspec.structs.replace(entry, start_seq=header.first_seq, end_seq=end_seq, facts=facts), ""
