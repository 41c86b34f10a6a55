"""Makes and reads data directories with the engine and the journal themselves, in a process of its own.

This part of the load imports the core and the storage, because making a million users over the wire would take minutes
and prove nothing. `python -m bench.load.directory_maker build DIR USERS log|snapshot` fills an empty directory;
`replay DIR` reads one back and prints how long that took. `data_directories` calls both.
"""

from __future__ import annotations

import gc
import json
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.load.data_directories import STATUSES, user_name, user_text
from bench.machine.disk import tree_bytes
from presenced.core.engine import Engine
from presenced.core.model import Edge, Session
from presenced.core.policy import Policy
from presenced.core.records import Fact
from presenced.core.restorer import Restorer
from presenced.storage.files import OsDirectory
from presenced.storage.journal import Journal
from presenced.storage.recovery import recover
from presenced.storage.store import claim, open_store
from presenced.wire.codec import encode

USERS_AT_ONCE = 10_000
FACTS_PER_FRAME = 1000


def build(directory: Path, users: int, kind: str) -> None:
    """Fill `directory` and close it in order."""
    place = OsDirectory(directory)
    claim(place)
    journal, _ = open_store(
        place,
        lambda facts: None,
        sync_each=False,
        new_id=lambda: (secrets.token_hex(16), _wall_ms()),
        salts=lambda: secrets.randbits(32),
        wall_ms=_wall_ms,
    )
    version = 0
    if kind == "log":
        for engine in engines(users):
            version = engine.ledger.version
            _commit(journal, engine.ledger.take_facts())
    else:
        writer = journal.begin_snapshot()
        for engine in engines(users):
            version = engine.ledger.version
            for part in _parts([fact for user in engine.users.order for fact in engine.parts.facts_of(user, 0)]):
                writer.add(encode(part), len(part))
        for _ in journal.finish_snapshot(writer, version):
            pass
    journal.close(version=version)
    place.close()


class Nowhere(Edge):
    """An edge that drops what it is sent."""

    def send(self, data: bytes) -> None:
        """Drop it."""

    def end(self, code: str) -> None:
        """Drop it."""


def engines(users: int) -> Iterator[Engine]:
    """Engines with some of the users each, so that few are in memory at a time; their versions go on."""
    version, nowhere = 0, Nowhere()
    for start in range(0, users, USERS_AT_ONCE):
        wall_ms = _wall_ms()
        engine = Engine(Policy(), now_ms=wall_ms, wall_ms=wall_ms, epoch=1)
        engine.ledger.raise_version(version, wall_ms)
        for index in range(start, min(users, start + USERS_AT_ONCE)):
            session = Session(nowhere, user_name(index), "user")
            device = engine.sessions.attach(wall_ms, session, "phone", kind="mobile", name="Phone")
            engine.settle(wall_ms)
            engine.manual_status.set(
                wall_ms,
                device.user,
                device,
                status=STATUSES[index % 4],  # type: ignore[arg-type]
                text=user_text(index),
                emoji=None,
                for_ms=0,
            )
            engine.settle(wall_ms)
        yield engine
        version = engine.ledger.version


def _commit(journal: Journal, facts: list[Fact]) -> None:
    for part in _parts(facts):
        journal.commit([(encode(part), len(part))])


def _parts(facts: list[Fact]) -> Iterator[list[Fact]]:
    for start in range(0, len(facts), FACTS_PER_FRAME):
        yield facts[start : start + FACTS_PER_FRAME]


def replay(directory: Path) -> dict[str, float]:
    """Read a directory into an engine as the daemon does, and nothing else: facts, seconds and CPU seconds."""
    now_ms = time.monotonic_ns() // 1_000_000
    engine = Engine(Policy(), now_ms=now_ms, wall_ms=_wall_ms(), epoch=1)
    restorer = Restorer(engine, now_ms)
    count = 0

    def apply(facts: list[Fact]) -> None:
        nonlocal count
        count += len(facts)
        restorer.apply(facts)

    gc.disable()
    started_s, cpu_s = time.perf_counter(), time.process_time()
    recover(OsDirectory(directory, create=False), apply)  # type: ignore[arg-type]
    replay_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    restorer.finish(grace_ms=30_000, spread_ms=10_000, version_gap=0)
    finish_s = time.perf_counter() - started_s - replay_s
    return {
        "facts": count,
        "replay_s": replay_s,
        "replay_cpu_s": cpu_s,
        "finish_s": finish_s,
        "bytes": tree_bytes(directory),
    }


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    if sys.argv[1] == "build":
        build(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    else:
        print(json.dumps(replay(Path(sys.argv[2]))))
