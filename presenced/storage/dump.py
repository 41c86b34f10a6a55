"""Lists the facts of a store in order, also those after a damaged place. Changes nothing."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

from presenced.core.dormants import Shelf, unpacked
from presenced.core.event_chunks import Rows, names
from presenced.core.records import (
    ContactSet,
    ContactSide,
    ContactsKept,
    ContactsSet,
    EventAdded,
    EventsChunk,
    Fact,
    RecordSet,
    ScheduleSet,
    UsersAsleep,
    flag_words,
)
from presenced.storage.files import Directory, read_file
from presenced.storage.frames import Frame, decode_facts
from presenced.storage.layout import DATA, LayoutError, unpack_segment_header
from presenced.storage.manifest import SnapshotEntry
from presenced.storage.survey import Gap, Piece, survey, walk, walk_piece


class Line(msgspec.Struct, omit_defaults=True):
    """One fact, or one place where facts cannot be read."""

    file: str
    offset: int
    """Where the frame stands in the file, in bytes."""
    seq: int = 0
    """The sequence number; 0 in a snapshot, whose facts have none."""
    time_ms: int = 0
    """Wall time in milliseconds at which the frame was written, or the snapshot begun."""
    fact: str = ""
    fields: dict[str, Any] = {}
    damage: str = ""
    is_loss: bool = False
    """Whether facts are certainly missing here, and not merely a write that no sync had covered."""


def dump(directory: Directory, *, user: str = "", from_seq: int = 0) -> Iterator[Line]:
    """All facts, oldest first: each snapshot at the place where it begins, and the log. A fact has the time of its
    frame.

    `from_seq` leaves out facts of the log before it, and snapshots that begin before it. Raises `NotAStore` and
    `NewerFormat`. O(bytes of the store).
    """
    found = survey(directory)
    if found.problem:
        yield Line("MANIFEST", 0, damage=f"{found.problem}; going by the files themselves", is_loss=True)
    snapshots = [pair for pair in reversed(found.snapshots) if not from_seq or pair[0].start_seq >= from_seq]
    for piece in found.pieces:
        while snapshots and snapshots[0][0].start_seq <= piece.first_seq:
            yield from _snapshot(directory, *snapshots.pop(0), user)
        yield from _piece(directory, piece, user, from_seq)
    for entry, problem in snapshots:
        yield from _snapshot(directory, entry, problem, user)


def _piece(directory: Directory, piece: Piece, user: str, from_seq: int) -> Iterator[Line]:
    if piece.problem:
        yield Line(piece.name, 0, damage=piece.problem, is_loss=True)
        return
    gaps: list[Line] = []
    frames: list[Line] = []
    for one in walk_piece(directory, piece):
        if isinstance(one, Gap):
            is_loss = bool(piece.limit) or one.was_synced
            gaps.append(Line(piece.name, one.position, one.seq, damage=_gap_text(one), is_loss=is_loss))
            frames.append(gaps[-1])
            continue
        # The same rule as recovery's for a torn tail: a later frame says that the lost one was synced.
        for gap in gaps:
            gap.is_loss = gap.is_loss or one.header.durable_seq > gap.seq
        if one.header.end_seq > from_seq and one.header.type == DATA:
            frames.extend(_facts(piece.name, one, user, from_seq, one.header.wall_ms, one.header.first_seq))
        if not gaps:
            yield from frames
            frames = []
    yield from frames


def _snapshot(directory: Directory, entry: SnapshotEntry, problem: str, user: str) -> Iterator[Line]:
    if problem:
        yield Line(entry.name, 0, damage=problem, is_loss=True)
    try:
        data = read_file(directory, entry.name)
        header = unpack_segment_header(data)
    except (FileNotFoundError, LayoutError):
        return
    for one in walk(data, header, 0):
        if isinstance(one, Gap):
            yield Line(entry.name, one.position, damage=_gap_text(one), is_loss=True)
        elif one.header.type == DATA:
            yield from _facts(entry.name, one, user, 0, header.created_ms, 0)


def _facts(name: str, frame: Frame, user: str, from_seq: int, time_ms: int, first_seq: int) -> Iterator[Line]:
    try:
        facts = decode_facts(frame.payload)
    except msgspec.MsgspecError as error:
        yield Line(name, frame.position, first_seq, damage=f"its facts do not read ({error})", is_loss=True)
        return
    for index, fact in enumerate(facts):
        seq = first_seq + index if first_seq else 0
        if isinstance(fact, EventsChunk):
            # Behind the chunk, or in its place if somebody asks about a user: what is in it.
            if not user:
                yield Line(name, frame.position, seq, time_ms, type(fact).__name__, _fields(fact))
            yield from _facts_in_chunk(name, frame, fact, user, time_ms)
        elif isinstance(fact, UsersAsleep):
            for sleeper, both in Shelf(fact.names, fact.sizes, fact.packed).users():
                if not user or sleeper == user.encode():
                    yield from _facts_of_sleeper(name, frame, sleeper.decode(), both, time_ms)
        elif (not user or _is_about(fact, user)) and (not seq or seq >= from_seq):
            yield Line(name, frame.position, seq, time_ms, type(fact).__name__, _fields(fact))


def _facts_in_chunk(name: str, frame: Frame, chunk: EventsChunk, user: str, time_ms: int) -> Iterator[Line]:
    try:
        events = Rows(chunk.data).all()
    except (zlib.error, struct.error, msgspec.MsgspecError) as error:
        yield Line(name, frame.position, damage=f"the events up to {chunk.last} do not read ({error})", is_loss=True)
        return
    for event in events:
        if not user or _is_about(event, user):
            yield Line(name, frame.position, 0, time_ms, type(event).__name__, _fields(event))


def _facts_of_sleeper(name: str, frame: Frame, user: str, both: bytes, time_ms: int) -> Iterator[Line]:
    """What is known of a user who slept, each fact by its own name and with the user's."""
    version, encoded = unpacked(both)
    try:
        facts = decode_facts(encoded)
    except msgspec.MsgspecError as error:
        yield Line(name, frame.position, damage=f"what is known of {user} does not read ({error})", is_loss=True)
        return
    for fact in facts:
        fields = _fields(fact) | {"user": user}
        if isinstance(fact, RecordSet):
            fields["version"] = version
        yield Line(name, frame.position, 0, time_ms, type(fact).__name__, fields)


def _is_about(fact: Fact, user: str) -> bool:
    """Whether it is a fact about the user; one about a pair is about both."""
    if isinstance(fact, ContactSet):
        return user in (fact.user, fact.contact)
    if isinstance(fact, EventAdded):
        return names(fact, user)
    return fact.user == user or (isinstance(fact, ContactsSet | ContactsKept) and user in fact.contacts)


def _fields(fact: Fact) -> dict[str, Any]:
    fields = {name: getattr(fact, name) for name in fact.__struct_fields__}
    if isinstance(fact, EventsChunk):
        fields["data"], fields["index"] = len(fact.data), len(fact.index)
    elif isinstance(fact, ScheduleSet):
        # A window that says nothing of its own reads as it always has.
        windows = [list(msgspec.to_builtins(window)) for window in fact.windows]
        fields["windows"] = [window if window[-1] else window[:-1] for window in windows]
    elif isinstance(fact, ContactSet):
        fields["flags"], fields["other_flags"] = flag_words(fact.flags), flag_words(fact.other_flags)
        for side in ("side", "other_side"):
            fields[side] = _side(fields[side])
    elif isinstance(fact, ContactsKept):
        fields["flags"] = [flag_words(flags) for flags in fact.flags]
        fields["sides"] = [(fact.contacts[place], _side(side)) for place, side in fact.sides]
        fields["changes"] = len(fact.changes.changes) if fact.changes is not None else 0
    elif isinstance(fact, ContactsSet):
        fields["flags"] = [f"{flag_words(both & 0xFF)}, {flag_words(both >> 8)}" for both in fact.flags]
        fields["sides"] = [(fact.contacts[place], _side(side), _side(other)) for place, side, other in fact.sides]
    return fields


def _side(side: ContactSide | None) -> dict[str, Any] | None:
    """What is known of a contact, but for what is empty."""
    if side is None:
        return None
    fields = {name: getattr(side, name) for name in side.__struct_fields__}
    return {name: value for name, value in fields.items() if value}


def _gap_text(gap: Gap) -> str:
    return f"{gap.bytes} bytes do not read: {gap.reason}"
