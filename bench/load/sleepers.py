"""Users most of whom are away for long: makes data directories of them, and starts engines on these, each in a process
of its own.

`python -m bench.load.sleepers build DIR USERS CONTACTS snapshot|awake|log` fills an empty directory: with a snapshot in
which those who are away sleep, with one in which all are awake, or with the log alone. `start DIR USERS asleep|awake`
reads one back as the daemon does, with users who may sleep or with none who may, and prints what that took; of users
who may sleep it then measures what waking, a login, a sweep and a snapshot take.
"""

from __future__ import annotations

import asyncio
import gc
import json
import secrets
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import uvloop

from bench.load.data_directories import user_name, user_text
from bench.load.directory_maker import FACTS_PER_FRAME, Nowhere
from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.policy import Policy
from presenced.core.records import Fact
from presenced.core.restorer import Restorer
from presenced.limits import SLEEP_AFTER_MS
from presenced.server.heap import give_back
from presenced.server.snapshots import Snapshotting
from presenced.storage.committer import Committer
from presenced.storage.files import OsDirectory
from presenced.storage.journal import Journal
from presenced.storage.recovery import recover
from presenced.storage.store import claim, open_store
from presenced.wire.codec import encode

ONE_LIVE_IN = 10
SAMPLE = 10_000
"""Users who are woken, and who log in, at most; and of all that are known one in twenty."""

BLOCK = 100
"""Logins of sleepers, and then as many of users who are awake, so that both are measured in the same minute."""

PROBE_S = 0.001


def is_live(index: int) -> bool:
    """Whether the user of this number is there; everybody else has come and gone."""
    return index % ONE_LIVE_IN == 0


# --- making directories -------------------------------------------------------------------------------------------


def build(directory: Path, users: int, contacts: int, kind: str) -> None:
    """Fill `directory` and close it in order."""
    place = OsDirectory(directory)
    journal = _new_journal(place)
    engine = _new_engine(sleeps=kind == "snapshot")
    now_ms = engine.ledger.now_ms
    for start in range(0, users, FACTS_PER_FRAME):
        for index in range(start, min(users, start + FACTS_PER_FRAME)):
            _come(engine, index, now_ms)
        _commit_or_drop(journal, engine, kind)
    for start in range(0, users if contacts else 0, FACTS_PER_FRAME):
        for index in range(start, min(users, start + FACTS_PER_FRAME)):
            _befriend(engine, index, users, contacts, now_ms)
        _commit_or_drop(journal, engine, kind)
    if kind != "log":
        _save(journal, engine, now_ms, sleeps=kind == "snapshot")
    journal.close(version=engine.ledger.version)
    place.close()


def _come(engine: Engine, index: int, now_ms: int) -> None:
    session = Session(Nowhere(), user_name(index), "user")
    device = engine.sessions.attach(now_ms, session, "phone", kind="mobile", name="Phone")
    engine.texts.change(device.user, user_text(index), None, 0)
    engine.settle(now_ms)
    if not is_live(index):
        engine.sessions.bye(now_ms, session)
        engine.settle(now_ms)


def _befriend(engine: Engine, index: int, users: int, contacts: int, now_ms: int) -> None:
    """Everybody and the users next to them are contacts of each other."""
    user = engine.users[user_name(index)]
    for step in range(1, contacts // 2 + 1):
        other = engine.users[user_name((index + step) % users)]
        engine.contacts.subscribe(user, other.name, "", now_ms)
        engine.contacts.approve(other, user.name, now_ms)
        engine.contacts.subscribe(other, user.name, "", now_ms)
        engine.contacts.approve(user, other.name, now_ms)
    engine.settle(now_ms)


def _commit_or_drop(journal: Journal, engine: Engine, kind: str) -> None:
    facts = engine.ledger.take_facts()
    for part in _parts(facts if kind == "log" else ()):
        journal.commit([(encode(part), len(part))])


def _save(journal: Journal, engine: Engine, now_ms: int, *, sleeps: bool) -> None:
    if sleeps:
        for user in list(engine.users.order):
            engine.sleep.put_to_sleep(user, now_ms)
    writer = journal.begin_snapshot()
    for part in _parts(_saved(engine, now_ms)):
        writer.add(encode(part), len(part))
    for _ in journal.finish_snapshot(writer, engine.ledger.version):
        pass


def _saved(engine: Engine, now_ms: int) -> Iterator[Fact]:
    yield from (fact for shelf in range(engine.shelves) if (fact := engine.dump_asleep(shelf)))
    for user in list(engine.users.order):
        yield from engine.dump(now_ms, user)
    yield from engine.dump_general(now_ms)


def _parts(facts: Iterable[Fact]) -> Iterator[list[Fact]]:
    left = iter(facts)
    while part := list(islice(left, FACTS_PER_FRAME)):
        yield part


def _new_journal(place: OsDirectory) -> Journal:
    claim(place)
    journal, _ = open_store(
        place,
        lambda facts: None,
        sync_each=False,
        new_id=lambda: (secrets.token_hex(16), _wall_ms()),
        salts=lambda: secrets.randbits(32),
        wall_ms=_wall_ms,
    )
    return journal


def _new_engine(*, sleeps: bool) -> Engine:
    policy = Policy(sleep_after_ms=SLEEP_AFTER_MS if sleeps else 0)
    return Engine(policy, now_ms=time.monotonic_ns() // 1_000_000, wall_ms=_wall_ms(), epoch=1)


# --- starting on them ---------------------------------------------------------------------------------------------


def start(directory: Path, users: int, *, sleeps: bool) -> dict[str, float]:
    """Read the directory as the daemon does. What follows is done if `sleeps` alone. Turns are measured by the CPU time
    of their thread, since a wait for a core is no work of theirs."""
    gc.disable()
    before = _resident_bytes()
    cpu_s = time.process_time()
    engine = _new_engine(sleeps=sleeps)
    now_ms = engine.ledger.now_ms
    restorer = Restorer(engine, now_ms)
    recover(OsDirectory(directory, create=False), restorer.apply, apply_log=restorer.apply_log)
    # Nobody's grace ends while it is measured.
    restorer.finish(grace_ms=10 * SLEEP_AFTER_MS, spread_ms=10_000, version_gap=0)
    engine.catch_up(now_ms)
    ready_s = time.process_time() - cpu_s
    gc.freeze()
    found: dict[str, float] = {"ready_s": ready_s, "unknown": users - engine.users.known}
    if not sleeps:
        found["rss_bytes"] = _resident_bytes() - before
        return found
    engine.ledger.take_facts()
    found["longest_sweep_turn_cpu_ms"] = _sweep(engine, now_ms)
    found["rss_bytes"] = _resident_bytes() - before
    found["asleep"] = len(engine.users.dormants)
    found["longest_snapshot_turn_cpu_ms"] = _take_snapshot(engine)
    found |= _wake_and_login(engine, users, now_ms)
    return found


def _sweep(engine: Engine, now_ms: int) -> float:
    """Let everybody fall asleep who may, in as many turns as it takes: the CPU milliseconds of the longest."""
    longest_ns = 0
    while (due_ms := engine.sleep.next_ms) is not None and due_ms < now_ms + SLEEP_AFTER_MS // 2:
        began_ns = time.thread_time_ns()
        engine.sleep.tick(due_ms)
        longest_ns = max(longest_ns, time.thread_time_ns() - began_ns)
    return longest_ns / 1e6


def _wake_and_login(engine: Engine, users: int, now_ms: int) -> dict[str, float]:
    """Wake some, let others log in from their sleep, and as many who were woken before: microseconds for each."""
    away = [user_name(index) for index in range(users) if not is_live(index)]
    sample = away[:: max(10, len(away) // (2 * SAMPLE))]
    woken, sleepers = sample[::2], sample[1::2]
    was_asleep = len(engine.users.dormants)
    began_ns = time.thread_time_ns()
    for name in woken:
        engine.users.get(name)
    waking_ns = time.thread_time_ns() - began_ns
    engine.settle(now_ms)
    found = {"waking_cpu_us": waking_ns / 1000 / max(1, was_asleep - len(engine.users.dormants))}
    taken = {True: 0, False: 0}
    for block in range(0, len(woken), BLOCK):
        for is_asleep, names in ((True, sleepers), (False, woken)):
            began_ns = time.thread_time_ns()
            for name in names[block : block + BLOCK]:
                _login(engine, name, now_ms)
            taken[is_asleep] += time.thread_time_ns() - began_ns
    found["asleep_login_cpu_us"] = taken[True] / 1000 / len(sleepers)
    found["awake_login_cpu_us"] = taken[False] / 1000 / len(woken)
    return found | {"longest_resweep_turn_cpu_ms": _resweep(engine, now_ms)}


def _login(engine: Engine, name: str, now_ms: int) -> None:
    session = Session(Nowhere(), name, "user")
    engine.sessions.attach(now_ms, session, "phone", kind="mobile", name="Phone")
    engine.settle(now_ms)
    engine.ledger.take_facts()


def _resweep(engine: Engine, now_ms: int) -> float:
    """Wake all, and let them fall asleep again."""
    while engine.users.wake_some(FACTS_PER_FRAME):
        engine.settle(now_ms)
    gc.freeze()
    return _sweep(engine, now_ms + SLEEP_AFTER_MS)


def _take_snapshot(engine: Engine) -> float:
    """Take a snapshot as the daemon does: the CPU milliseconds of the longest turn of its loop."""
    with tempfile.TemporaryDirectory() as directory:
        loop = uvloop.new_event_loop()
        place = OsDirectory(Path(directory) / "data")
        committer = Committer(
            _new_journal(place), lambda: None, policy="interval", interval_s=1.0, clock=time.monotonic
        )
        committer.start()
        try:
            return loop.run_until_complete(_watched_snapshot(loop, engine, committer)) / 1e6
        finally:
            committer.close(version=engine.ledger.version)
            place.close()
            loop.close()


async def _watched_snapshot(loop: asyncio.AbstractEventLoop, engine: Engine, committer: Committer) -> int:
    ended: asyncio.Future[None] = loop.create_future()

    def end(error: BaseException | None) -> None:
        if error is not None:
            ended.set_exception(error)
        else:
            ended.set_result(None)

    Snapshotting(loop, engine, committer.journal, committer, end, is_logged=False).begin()
    longest_ns = 0
    while not ended.done():
        began_ns = time.thread_time_ns()
        await asyncio.sleep(PROBE_S)
        longest_ns = max(longest_ns, time.thread_time_ns() - began_ns)
    ended.result()
    return longest_ns


def _resident_bytes() -> int:
    """After what is free was given back, as the daemon does it when memory is short."""
    give_back()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    if sys.argv[1] == "build":
        build(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
    else:
        print(json.dumps(start(Path(sys.argv[2]), int(sys.argv[3]), sleeps=sys.argv[4] == "asleep")))
