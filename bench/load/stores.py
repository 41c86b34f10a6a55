"""Two stores for the same facts, one behind the other's interface: presenced's log, and SQLite as one would use it.

Both get the facts of a turn at once, write on a thread of their own whatever has gathered meanwhile (group commit), and
acknowledge what the disk has. SQLite runs in WAL mode with `synchronous=FULL`, which is what makes a commit survive a
power cut, and holds one row for each thing that a fact is about: a new fact of the same thing replaces the row.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from bench.results.outcome import OURS
from presenced.core.records import ClaimSet, Fact, RecordSet, TextSet
from presenced.storage.committer import Committer
from presenced.storage.files import OsDirectory
from presenced.storage.journal import Journal
from presenced.storage.recovery import Apply, recover
from presenced.storage.store import claim, open_store

SQLITE = "sqlite"
FACTS_PER_FRAME = 1000

TABLE = "CREATE TABLE facts (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
UPSERT = "INSERT INTO facts VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Fact).decode


class Store(Protocol):
    """Keeps facts on a disk. All methods are for one thread."""

    def submit(self, facts: Sequence[Fact], waiting: tuple[int, ...]) -> None:
        """Hand in facts, and who waits until they are on the disk."""

    def take_done(self) -> Sequence[int]:
        """Whose facts are on the disk, since the last call."""

    def close(self) -> None:
        """Write what was handed in and close the files."""


class LogStore:
    """presenced's: an append-only log with a checksum for each frame, synced for each commit."""

    def __init__(self, directory: Path, wake: threading.Event) -> None:
        self._place = OsDirectory(directory)
        journal = _new_journal(self._place)
        self._committer = Committer(journal, wake.set, policy="always", interval_s=0.0, clock=time.monotonic)
        self._committer.start()

    def submit(self, facts: Sequence[Fact], waiting: tuple[int, ...]) -> None:
        """See `Store.submit`."""
        self._committer.submit(b"".join(map(_encode, facts)), len(facts), waiting)

    def take_done(self) -> Sequence[int]:
        """See `Store.take_done`."""
        return self._committer.take_done()

    def close(self) -> None:
        """See `Store.close`."""
        self._committer.close(version=1)
        self._place.close()

    @staticmethod
    def read(directory: Path, apply: Apply) -> None:
        """Hand in what a start reads. O(facts written since the last snapshot)."""
        recover(OsDirectory(directory, create=False), apply)


class SqliteStore:
    """SQLite behind a thread of its own, which commits whatever has gathered while the commit before it was synced."""

    def __init__(self, directory: Path, wake: threading.Event) -> None:
        self._path = directory / "facts.db"
        self._wake = wake
        self._changed = threading.Condition()
        self._rows: list[tuple[bytes, bytes]] = []
        self._waiting: list[int] = []
        self._done: list[int] = []
        self._closing = False
        link = _connected(self._path)
        link.execute(TABLE)
        link.close()
        self._thread = threading.Thread(target=self._write, name="sqlite")
        self._thread.start()

    def submit(self, facts: Sequence[Fact], waiting: tuple[int, ...]) -> None:
        """See `Store.submit`."""
        rows = [(_key(fact), _encode(fact)) for fact in facts]
        with self._changed:
            self._rows += rows
            self._waiting += waiting
            self._changed.notify()

    def take_done(self) -> Sequence[int]:
        """See `Store.take_done`."""
        with self._changed:
            done, self._done = self._done, []
        return done

    def close(self) -> None:
        """See `Store.close`."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    @staticmethod
    def read(directory: Path, apply: Apply) -> None:
        """Hand in what a start reads. O(rows)."""
        link = _connected(directory / "facts.db")
        rows = link.execute("SELECT value FROM facts")
        while part := rows.fetchmany(FACTS_PER_FRAME):
            apply([_decode(value) for (value,) in part])
        link.close()

    def _write(self) -> None:
        link = _connected(self._path)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._rows or self._closing)
                rows, self._rows = self._rows, []
                waiting, self._waiting = self._waiting, []
            if not rows:
                break
            link.execute("BEGIN IMMEDIATE")
            link.executemany(UPSERT, rows)
            link.execute("COMMIT")
            with self._changed:
                self._done += waiting
            self._wake.set()
        link.close()


STORES: dict[str, type[LogStore] | type[SqliteStore]] = {OURS: LogStore, SQLITE: SqliteStore}


def write_snapshot(directory: Path, facts: Sequence[Fact]) -> None:
    """A store of ours in an empty directory with these facts in a snapshot and nothing in the log, as after a stop in
    order."""
    place = OsDirectory(directory)
    journal = _new_journal(place)
    writer = journal.begin_snapshot()
    for start in range(0, len(facts), FACTS_PER_FRAME):
        part = facts[start : start + FACTS_PER_FRAME]
        writer.add(_encode(part), len(part))
    for _ in journal.finish_snapshot(writer, 1):
        pass
    journal.close(version=1)
    place.close()


def facts_of_change(user: str, number: int) -> list[Fact]:
    """What one change of a status with a text writes."""
    now_ms = _wall_ms()
    text = f"in a call until late, no. {number:07d}"
    return [
        ClaimSet(user, "dnd" if number % 2 else "away", now_ms, 0),
        TextSet(user, text, "", 0),
        RecordSet(user, "dnd" if number % 2 else "away", now_ms, now_ms, "phone", number),
    ]


def _new_journal(place: OsDirectory) -> Journal:
    claim(place)
    journal, _ = open_store(
        place,
        lambda facts: None,
        sync_each=True,
        new_id=lambda: (secrets.token_hex(16), _wall_ms()),
        salts=lambda: secrets.randbits(32),
        wall_ms=_wall_ms,
    )
    return journal


def _key(fact: Fact) -> bytes:
    """What the fact is about: a fact of the same thing replaces it."""
    parts = [str(type(fact).__struct_config__.tag), fact.user]
    if isinstance(fact, ClaimSet):
        parts.append(fact.claim)
    return "\0".join(parts).encode()


def _connected(path: Path) -> sqlite3.Connection:
    link = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    link.execute("PRAGMA journal_mode = WAL")
    link.execute("PRAGMA synchronous = FULL")
    return link


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
