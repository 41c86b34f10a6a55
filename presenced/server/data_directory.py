"""Opens the data directory at a start: claims it for this process, reads it into an engine, and opens the log.

This runs on a thread of its own (`replay`), because with a million users it takes many seconds.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from presenced import limits
from presenced.config.settings import Durability
from presenced.core.engine import Engine
from presenced.core.restorer import Restorer
from presenced.server.clocks import SYSTEM_CLOCKS, Clocks
from presenced.server.heap import everything_stays
from presenced.storage.files import Directory
from presenced.storage.manifest import Manifest
from presenced.storage.meter import Progress
from presenced.storage.port import FactPlace
from presenced.storage.recovery import Recovered, RecoveryFindings
from presenced.storage.snapshot import SnapshotError, taken_wall_ms
from presenced.storage.store import claim, open_store


class Restored(NamedTuple):
    """A store whose state has been read into an engine: a data directory, or one in Redis."""

    place: str
    """Where it is."""
    journal: FactPlace
    """Open at the end of the log."""
    findings: RecoveryFindings
    snapshot_wall_ms: int
    """When the newest snapshot was taken; 0 = there is none that can be read. Only shown to operators."""


CHANCE = random.SystemRandom()
"""Makes the ids of stores and the salts of files. No two may be equal."""


def restore(
    engine: Engine,
    directory: Directory,
    durability: Durability,
    now_ms: int,
    progress: Progress | None = None,
    *,
    clocks: Clocks = SYSTEM_CLOCKS,
    chance: random.Random = CHANCE,
) -> Restored:
    """Claim the directory and bring the engine to the state in it. O(size of the directory).

    May run on any thread while no other thread uses the engine or the directory. `progress` is called on that thread.
    Raises what `storage.store` and `progress` raise, and then the engine cannot be used.
    """
    remarks = claim(directory)
    with filling(engine, now_ms):
        restored = _read(engine, directory, durability, now_ms, progress, clocks, chance)
    restored.findings.add_remarks(remarks)
    return restored


@contextmanager
def filling(engine: Engine, now_ms: int) -> Iterator[None]:
    """While a store is read into a new engine."""
    # Advance the empty wheel first, so that restored deadlines in the past count as overdue.
    engine.wheel.advance(now_ms, 1)
    with everything_stays():
        yield
    # Handle everything that became due while no daemon ran, before a client can ask.
    engine.catch_up(now_ms)


def _read(
    engine: Engine,
    directory: Directory,
    durability: Durability,
    now_ms: int,
    progress: Progress | None,
    clocks: Clocks,
    chance: random.Random,
) -> Restored:
    restorer = Restorer(engine, now_ms)
    journal, recovered = open_store(
        directory,
        restorer.apply,
        apply_log=restorer.apply_log,
        sync_each=durability.policy == "always",
        new_id=lambda: (f"{chance.getrandbits(128):032x}", engine.ledger.epoch),
        salts=lambda: chance.getrandbits(32),
        wall_ms=clocks.wall_ms,
        progress=progress,
        close_ms=max(engine.policy.grace_max_ms, limits.RESTART_GRACE_MS) + limits.RESTART_SPREAD_MS,
    )
    resume(restorer, recovered, journal.manifest)
    snapshot_wall_ms = 0 if recovered.manifest is None else _newest_wall_ms(directory, journal.manifest)
    return Restored(directory.path, journal, recovered.report, snapshot_wall_ms)


def resume(restorer: Restorer, recovered: Recovered, opened: Manifest) -> None:
    """Let the engine of a restorer go on from a store whose facts were all applied.

    `opened` is the manifest as it was written when the store was opened. O(users + devices).
    """
    engine, findings, manifest = restorer.engine, recovered.report, recovered.manifest
    version_gap = 0
    if manifest is not None:
        engine.ledger.continue_from(manifest.epoch, manifest.version, restorer.now_ms)
        version_gap = opened.version - manifest.version
    restorer.finish(
        grace_ms=limits.RESTART_GRACE_MS,
        spread_ms=limits.RESTART_SPREAD_MS,
        version_gap=version_gap,
        stopped_wall_ms=findings.last_wall_ms,
        starts=opened.starts,
    )


def _newest_wall_ms(directory: Directory, manifest: Manifest) -> int:
    for entry in manifest.snapshots:
        try:
            return taken_wall_ms(directory, entry)
        except (SnapshotError, OSError):
            continue
    return 0
