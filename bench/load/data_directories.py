"""A data directory with many users in it: made once, kept for later runs, and copied to be served from.

`directory_maker` makes it and reads it back, in a process of its own, so that its memory is not counted as the bench's.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench.load.daemon import start_daemon
from bench.machine.cores import Cores
from bench.machine.disk import scratch
from bench.machine.server import Server
from bench.machine.subprocesses import run_apart
from bench.paths import REPOSITORY

STATUSES = ("dnd", "away", "chat", "online")
MAKER = "bench.load.directory_maker"
SLEEPERS = "bench.load.sleepers"
APART_TIMEOUT_S = 900
START_TIMEOUT_S = 300.0


def filled(place: Path, users: int, kind: str) -> Path:
    """A directory in `place` with `users` users, only in the log or only in a snapshot; made if there is none yet.

    Not to be served from: serve from a copy.
    """
    return kept(
        place,
        f"users-{users}-{kind}",
        lambda partial: run_apart(MAKER, "build", str(partial), str(users), kind, timeout_s=APART_TIMEOUT_S),
    )


def kept(place: Path, name: str, make: Callable[[Path], object]) -> Path:
    """The directory of this name in `place`, made by `make` if there is none yet of the present format."""
    found = place / f"{name}-{_format_digest()}"
    if found.exists():
        return found
    for outdated in place.glob(f"{name}-*"):
        shutil.rmtree(outdated, ignore_errors=True)
    partial = place / f"{found.name}.{os.getpid()}"
    try:
        make(partial)
        partial.rename(found)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return found


def copy_of(stack: ExitStack, place: Path, users: int, kind: str) -> Path:
    """A directory with `users` users that may be written to; removed with `stack`."""
    return writable(stack, place, filled(place, users, kind))


def writable(stack: ExitStack, place: Path, source: Path) -> Path:
    """A copy of a directory that may be written to; removed with `stack`."""
    directory = scratch(stack, place, source.name) / "data"
    shutil.copytree(source, directory)
    return directory


def sleepers(place: Path, users: int, contacts: int, kind: str) -> Path:
    """A directory with `users` users of whom nine in ten are away, each with `contacts` contacts; made if there is none
    yet. Of the kind `snapshot` those who are away sleep. Not to be served from."""
    return kept(
        place,
        f"sleepers-{users}-{contacts}-{kind}",
        lambda partial: run_apart(
            SLEEPERS, "build", str(partial), str(users), str(contacts), kind, timeout_s=APART_TIMEOUT_S
        ),
    )


def replayed(directory: Path, core: int) -> dict[str, float]:
    """Read a directory on `core` as the daemon does, and nothing else: facts, bytes, seconds and CPU seconds."""
    read: dict[str, float] = json.loads(
        run_apart(MAKER, "replay", str(directory), core=core, timeout_s=APART_TIMEOUT_S)
    )
    return read


def start_full(directory: Path, cores: Cores) -> Server:
    """The daemon on a directory whose devices were live: a long grace, so that they do not all leave while it is
    measured."""
    return start_daemon(cores.server, ("--data-dir", str(directory), "--grace", "1h"), timeout_s=START_TIMEOUT_S)


def user_name(index: int) -> str:
    """The name of a user, in the form of an address."""
    return f"user{index:07d}@example.org"


def user_text(index: int) -> str:
    """The text of a user."""
    return f"in a call until late, no. {index:07d}"


def _format_digest() -> str:
    digest = hashlib.sha256()
    root = REPOSITORY / "presenced"
    # The parts say which facts there are of a user.
    parts = sorted((root / "core" / "parts").glob("*.py"))
    core = [root / "core/records.py", root / "core/dormants.py", *parts]
    for path in (*core, root / "storage/layout.py", root / "storage/manifest.py"):
        digest.update(path.read_bytes())
    for maker in ("data_directories.py", "directory_maker.py", "sleepers.py"):
        digest.update(Path(__file__).with_name(maker).read_bytes())
    return digest.hexdigest()[:12]
