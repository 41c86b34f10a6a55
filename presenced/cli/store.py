"""`presenced store` and `presenced backup`: an operator's commands for a data directory. Texts and exit codes only.

The commands work on the files and need no daemon. `check`, `dump` and `backup` work beside a running one.
"""

from __future__ import annotations

import errno
import os
import secrets
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from presenced.cli.asides import print_aside
from presenced.cli.group import SentenceGroup
from presenced.cli.output import json_text, printable
from presenced.ops.formats import counted
from presenced.server.clocks import SYSTEM_CLOCKS
from presenced.storage.backup import CannotBackUp, back_up
from presenced.storage.check import Examined, check as check_store
from presenced.storage.dump import Line, dump as dump_store
from presenced.storage.files import FULL, DiskFull, OsDirectory
from presenced.storage.manifest import ManifestError, NewerFormat
from presenced.storage.recovery import DamageError
from presenced.storage.repair import CannotRepair, Repaired, repair as repair_store
from presenced.storage.store import DirectoryError, Locked, claim
from presenced.storage.survey import NotAStore

DAMAGED = 65
UNUSABLE = 73
DISK_FAILED = 74
TRY_AGAIN = 75
DENIED = 77

CODES = (
    "Exit codes: 0 done; 2 wrong usage; 65 the data is damaged, was written by a later version, or cannot be cut "
    "there; 73 DIR is not a data directory, or it cannot be used; 74 the disk failed or is full; 75 the directory is "
    "in use, try again; 77 no permission."
)


@click.group(cls=SentenceGroup)
def store() -> None:
    """Look into a data directory, and repair it."""


@store.command(epilog=CODES)
@click.argument("directory", metavar="DIR")
@click.option("--json", "is_json", is_flag=True, help="One JSON object, for programs.")
def check(directory: str, is_json: bool) -> None:
    """Show what DIR holds and whether the daemon would start on it.

    The command reads everything and changes nothing; the daemon may be running on DIR. The last line is the verdict:
    "ok", "ok, torn tail of N bytes will be dropped" (nothing in it was acknowledged), or "damaged: ..." with what to
    do. Facts are numbered from 1. A range A..B includes both A and B.
    """

    def work() -> int:
        report = check_store(_existing(directory), _pause)
        if is_json:
            _print(json_text(msgspec.to_builtins(report)))
        else:
            _print_report(report)
        return 0 if report.sound else DAMAGED

    _run(work)


@store.command(epilog=CODES)
@click.argument("directory", metavar="DIR")
@click.option("--user", default="", metavar="NAME", help="Only what concerns this user.")
@click.option(
    "--from",
    "from_seq",
    type=click.IntRange(min=0),
    default=0,
    metavar="SEQ",
    help="Leave out facts before this one, and snapshots that start before it.",
)
@click.option("--json", "is_json", is_flag=True, help="One JSON object per line, for programs.")
def dump(directory: str, user: str, from_seq: int, is_json: bool) -> None:
    """Print the facts in DIR, one on each line, oldest first.

    A line has the fact's number, its time (UTC), file@offset, its kind and its fields. The facts of a snapshot come
    where the snapshot starts, and have no numbers. If a part cannot be read, a line says so, and printing continues
    after that part. The exit code is 65 if facts are certainly missing. The command changes nothing; the daemon may
    be running on DIR.
    """

    def work() -> int:
        code = 0
        for line in dump_store(_existing(directory), user=user, from_seq=from_seq):
            if line.is_loss:
                code = DAMAGED
            _print(json_text(msgspec.to_builtins(line)) if is_json else _fact_line(line))
        return code

    _run(work)


@store.command(epilog=CODES)
@click.argument("directory", metavar="DIR")
@click.option(
    "--truncate-at",
    type=click.IntRange(min=1),
    required=True,
    metavar="SEQ",
    help="The first fact to drop; facts up to SEQ - 1 stay. `presenced store check` shows the highest possible SEQ.",
)
def repair(directory: str, truncate_at: int) -> None:
    """Cut the log in DIR so that it ends before fact SEQ, and rebuild the manifest if necessary.

    This drops acknowledged facts: if a backup is newer than what stays, restore the backup instead. The daemon must
    not be running on DIR. Everything that is dropped or changed is first copied to a new directory under
    DIR/quarantine. Afterwards the daemon starts on DIR. Clients see a new epoch and fetch everything again.
    """

    def work() -> int:
        place = _existing(directory)
        if not any(name.startswith(("MANIFEST", "wal-", "snap-")) for name in place.names()):
            raise NotAStore(f"{directory} holds no store: there is no MANIFEST in it")
        claim(place)
        done = repair_store(place, truncate_at, salts=lambda: secrets.randbits(32), wall_ms=SYSTEM_CLOCKS.wall_ms)
        _print_repaired(done)
        report = check_store(place, _pause)
        _print(report.verdict)
        return 0 if report.sound else DAMAGED

    _run(work)


@click.command(epilog=CODES)
@click.argument("directory", metavar="DIR")
@click.argument("target", metavar="TARGET")
def backup(directory: str, target: str) -> None:
    """Copy the data directory DIR to TARGET. The daemon may be running on DIR.

    TARGET must be empty or not exist. The copy is consistent and holds everything that was acknowledged before the
    command started. It is synced and read back before the command reports success. To restore, start the daemon with
    --data-dir on the copy, or on a copy of it. Clients then see a new epoch and fetch everything again.
    """

    def work() -> int:
        source = _existing(directory)
        done = back_up(source, _empty(target), _pause)
        report = done.report
        _print(
            f"{target}: {counted(done.files, 'file')}, {done.bytes} bytes, facts up to {report.next_seq - 1}"
            + (f", starting from {report.snapshot}" if report.snapshot else "")
            + "; read back: ok"
        )
        return 0

    _run(work)


# --- directories -------------------------------------------------------------------------------------------------


def _existing(path: str) -> OsDirectory:
    return OsDirectory(path, create=False)


def _empty(path: str) -> OsDirectory:
    """Make the directory, or take it if it is empty and belongs to us. Its name is synced too.

    In a directory such as /tmp another user can create the name first. So no link of another user is followed, neither
    at the name itself nor above it.
    """
    if os.path.islink(path):
        raise DirectoryError(f"{path} is a symbolic link; name the directory that it points to")
    link = _foreign_link(path)
    if link:
        raise DirectoryError(f"{link} is a symbolic link of another user; name a directory that is not below it")
    if os.path.lexists(path):
        if not os.path.isdir(path) or os.listdir(path):
            raise DirectoryError(f"{path} exists and is not an empty directory; name one that does not exist")
        if os.stat(path).st_uid != os.geteuid():
            raise DirectoryError(f"{path} belongs to another user; name one that does not exist")
    parent = OsDirectory(Path(path).absolute().parent, create=False)
    try:
        directory = OsDirectory(path, follow=False)
        parent.sync()
    finally:
        parent.close()
    return directory


def _foreign_link(path: str) -> str:
    """The first symbolic link above `path` that belongs neither to us nor to root; "" if there is none."""
    for place in reversed(Path(path).absolute().parents):
        if place.is_symlink() and os.lstat(place).st_uid not in (0, os.geteuid()):
            return str(place)
    return ""


def _pause() -> None:
    time.sleep(0.05)


# --- printing ----------------------------------------------------------------------------------------------------


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _print_report(report: Examined) -> None:
    _print(f"{report.directory}")
    if report.format:
        end = "stopped cleanly" if report.clean else "in use or not stopped cleanly"
        _print(
            f"format {report.format}, store {report.store_id}, epoch {report.epoch or 'new at the next start'}, "
            f"manifest generation {report.generation}, {end}"
        )
    for snapshot in report.snapshots:
        state = printable(snapshot.problem) or "ok"
        _print(
            f"snapshot {snapshot.name}: {snapshot.facts} facts, {snapshot.bytes} bytes, "
            f"needs the log from {snapshot.start_seq} to {snapshot.end_seq}: {state}"
        )
    for segment in report.segments:
        state = printable(segment.problem) or "ok"
        _print(
            f"segment {segment.name}: {segment.state}, facts {_range(segment.first_seq, segment.end_seq)}, "
            f"{segment.frames} frames, {segment.bytes} bytes: {state}"
        )
    if report.sound:
        start = report.started_from or "no snapshot"
        _print(f"recovery: from {start}, {report.facts} facts read, the next one is fact {report.next_seq}")
    if report.torn_bytes:
        _print(f"torn tail: {printable(report.torn_at)}; {report.torn_bytes} bytes")
    for remark in report.remarks:
        _print(f"remark: {printable(remark)}")
    if report.truncate_at:
        _print(
            f"to drop what cannot be read: presenced store repair {report.directory} --truncate-at "
            f"{report.truncate_at} (this loses {report.lost_facts} facts of which there are traces)"
        )
    _print(printable(report.verdict))


def _range(first_seq: int, end_seq: int) -> str:
    return f"{first_seq}..{end_seq - 1}" if end_seq > first_seq else f"none (the next is {first_seq})"


def _fact_line(line: Line) -> str:
    place = f"{line.file}@{line.offset}"
    if line.damage:
        return f"{'!!' if line.is_loss else '!'}  {place}  {printable(line.damage)}"
    when = datetime.fromtimestamp(line.time_ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")[:23]
    values = msgspec.to_builtins(line.fields)  # `json` cannot encode the windows of a schedule.
    fields = " ".join(f"{name}={json_text(value)}" for name, value in values.items())
    return printable(f"{line.seq or '-'}  {when}  {place}  {line.fact} {fields}")


def _print_repaired(done: Repaired) -> None:
    lost = done.known_seq - done.end_seq
    gone = (
        f"facts {done.end_seq}..{done.known_seq - 1} are gone ({lost})" if lost > 0 else "no fact is known to be lost"
    )
    _print(f"the log ends before fact {done.end_seq}; {gone}")
    _print(f"copies of {', '.join(done.copies)} are in {done.quarantine}")
    for remark in done.remarks:
        _print(f"remark: {printable(remark)}")


# --- ending ------------------------------------------------------------------------------------------------------


def _run(work: Callable[[], int]) -> None:
    """Do the work and exit with the code that it returns. An error becomes one line on stderr."""
    try:
        code = work()
    except KeyboardInterrupt:
        code = 130
    except (
        NotAStore,
        DirectoryError,
        NewerFormat,
        ManifestError,
        DamageError,
        CannotRepair,
        CannotBackUp,
        DiskFull,
        OSError,
    ) as error:
        sentence, code = _explain(error)
        print_aside(f"presenced: {printable(sentence)}")
    sys.exit(code)


def _explain(error: Any) -> tuple[str, int]:
    match error:
        case Locked():
            return str(error), TRY_AGAIN
        case CannotBackUp():
            return str(error), TRY_AGAIN
        case NotAStore() | DirectoryError():
            return str(error), UNUSABLE
        case CannotRepair() | ManifestError() | DamageError():
            return str(error), DAMAGED
        case DiskFull():
            return f"the disk is full: {error}; free some space and try again", DISK_FAILED
        case PermissionError():
            return f"no permission for {error.filename}: {error.strerror}", DENIED
        case FileNotFoundError() | NotADirectoryError():
            return f"{error.filename}: {error.strerror}", UNUSABLE
        case OSError() if error.errno in FULL:
            return "the disk is full; free some space and try again", DISK_FAILED
        case OSError() if error.errno == errno.EROFS:
            return f"{error.filename}: {error.strerror}", UNUSABLE
    return f"the disk failed: {error}", DISK_FAILED


COMMANDS: tuple[click.Command, ...] = (store, backup)
