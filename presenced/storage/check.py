"""Examines a store without touching it: what recovery would say of it, and in what state each file is.

Works beside a running daemon. It takes no lock, so that files may change under its eyes: bad news counts only if a
second look brings the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from presenced.core.records import Fact
from presenced.storage.files import Directory
from presenced.storage.frames import Frame
from presenced.storage.layout import SEGMENT_HEADER_BYTES, segment_name
from presenced.storage.manifest import ManifestError, NewerFormat
from presenced.storage.recovery import DamageError, recover
from presenced.storage.repair import known_seq, options
from presenced.storage.store import look_around, require_files
from presenced.storage.survey import Gap, Piece, StoreSurvey, survey, walk_piece

LOOKS_MAX = 10


class SegmentSeen(msgspec.Struct):
    """A segment of the log."""

    name: str
    state: str
    """`sealed`, `active`, or `unlisted`."""
    first_seq: int
    end_seq: int
    bytes: int
    frames: int
    problem: str


class SnapshotSeen(msgspec.Struct):
    """A snapshot."""

    name: str
    start_seq: int
    end_seq: int
    bytes: int
    facts: int
    problem: str


class Examined(msgspec.Struct):
    """The report. A sequence number named `end` is the one after the last fact."""

    directory: str
    verdict: str = ""
    sound: bool = False
    """Whether the daemon would start on it."""
    format: int = 0
    store_id: str = ""
    epoch: int = 0
    generation: int = 0
    clean: bool = False
    version: int = 0
    snapshots: list[SnapshotSeen] = []
    segments: list[SegmentSeen] = []
    started_from: str = ""
    facts: int = 0
    """How many facts recovery reads, from the snapshot and the log together."""
    next_seq: int = 0
    torn_bytes: int = 0
    torn_at: str = ""
    remarks: list[str] = []
    truncate_at: int = 0
    """For a damaged store: the fact to name to `repair` so that least is lost; 0 = there is none."""
    lost_facts: int = 0
    """How many facts that repair would lose, as far as traces of them exist."""


def check(directory: Directory, pause: Callable[[], None]) -> Examined:
    """Examine the store until two results agree, with a `pause` between them; one is enough for a sound store.

    Raises `NotAStore`, `NewerFormat`, `DirectoryError` (as a start does), `OSError`. O(bytes of the store).
    """
    last: Examined | None = None
    for _ in range(LOOKS_MAX):
        try:
            seen = _look(directory)
        except FileNotFoundError:
            # The file was listed a moment ago, and the running daemon has removed it since.
            pause()
            continue
        problems = [one.problem for one in seen.segments] + [one.problem for one in seen.snapshots]
        troubled = seen.torn_bytes or any(problems)
        if seen.sound and not troubled:
            return seen
        if last is not None and (seen.verdict, seen.torn_at) == (last.verdict, last.torn_at):
            return seen
        last = seen
        pause()
    return last if last is not None else _look(directory)


def _look(directory: Directory) -> Examined:
    require_files(directory)
    found = survey(directory)
    remarks = look_around(directory)
    manifest = found.manifest
    report = Examined(
        directory.path,
        format=manifest.format if found.source else 0,
        store_id=manifest.store_id,
        epoch=manifest.epoch,
        generation=manifest.generation,
        clean=manifest.clean,
        version=manifest.version,
        remarks=remarks,
        segments=[_segment(directory, found, piece) for piece in found.pieces],
        snapshots=[
            SnapshotSeen(entry.name, entry.start_seq, entry.end_seq, entry.bytes, entry.facts, problem)
            for entry, problem in found.snapshots
        ],
    )
    _judge(directory, found, report)
    if not report.sound:
        possible = options(directory, found)
        report.truncate_at = max((one.end_seq for one in possible), default=0)
        if report.truncate_at:
            report.lost_facts = max(0, known_seq(directory, found) - report.truncate_at)
    return report


def _judge(directory: Directory, found: StoreSurvey, report: Examined) -> None:
    """Let recovery decide, and add what recovery does not examine."""

    def count(facts: Sequence[Fact]) -> None:
        report.facts += len(facts)

    try:
        findings = recover(directory, count).report
    except NewerFormat:
        raise
    except (DamageError, ManifestError) as error:
        report.verdict = f"damaged: {error}"
        return
    report.sound = True
    report.started_from = findings.snapshot
    report.next_seq = findings.next_seq
    report.torn_bytes, report.torn_at = findings.torn_bytes, findings.torn_at
    report.remarks = [*findings.remarks, *report.remarks]
    report.verdict = "ok"
    if findings.torn_bytes:
        report.verdict = f"ok, torn tail of {findings.torn_bytes} bytes will be dropped"
    used = next((entry.start_seq for entry, _ in found.snapshots if entry.name == findings.snapshot), 1)
    for segment in report.segments:
        if segment.problem and segment.end_seq <= used and segment.state == "sealed":
            report.remarks.append(
                f"{segment.name} is damaged ({segment.problem}); only the older snapshot would need it"
            )


def _segment(directory: Directory, found: StoreSurvey, piece: Piece) -> SegmentSeen:
    entry = next((one for one in found.manifest.segments if segment_name(one.number) == piece.name), None)
    state = "unlisted" if entry is None else "sealed" if entry.sealed else "active"
    size = piece.header.frames_at if piece.header is not None else SEGMENT_HEADER_BYTES
    end_seq, frames, problem = piece.first_seq, 0, piece.problem
    for one in walk_piece(directory, piece):
        if isinstance(one, Frame):
            end_seq, size, frames = max(end_seq, one.header.end_seq), one.end, frames + 1
        elif isinstance(one, Gap) and not problem:
            problem = f"at {one.position}: {one.reason}"
    if entry is not None and entry.sealed:
        end_seq, size = entry.end_seq, entry.bytes
    return SegmentSeen(piece.name, state, piece.first_seq, end_seq, size, frames, problem)
