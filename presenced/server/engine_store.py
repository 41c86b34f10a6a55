"""Opens a store in Redis at a start: claims it for this process, reads it into an engine, and makes it ready to be
written. Runs on a thread of its own (`replay`), as for a data directory."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from typing import NamedTuple, NoReturn

import msgspec

from presenced import limits
from presenced.backplane.access import EngineAccess
from presenced.backplane.errors import Emptied, Refused, Rewound, Unreachable
from presenced.backplane.store_engine import (
    STORE_LEASE_MS,
    StoreBroken,
    StoreClaim,
    StoreEngine,
    StoreHolder,
    StoreTaken,
)
from presenced.config.settings import Settings, SettingsError
from presenced.core.engine import Engine
from presenced.core.restorer import Restorer
from presenced.server.clocks import SYSTEM_CLOCKS, Clocks
from presenced.server.data_directory import CHANCE, Restored, filling, resume
from presenced.server.engine_access import access_to_engine
from presenced.server.engine_journal import EngineJournal
from presenced.storage.frames import decode_facts
from presenced.storage.manifest import FORMAT, Manifest
from presenced.storage.meter import Progress
from presenced.storage.openings import starts_with, version_gap
from presenced.storage.port import PlaceAway
from presenced.storage.recovery import DamageError, Recovered, RecoveryFindings
from presenced.storage.store import Locked

ASK_S = 1.0
"""Between two questions whether the holder of the store still lives."""

_ADVICE = "restore a backup of the engine, or begin anew with another storage.prefix"


class StorePlace(NamedTuple):
    """Which store a daemon is to have."""

    access: EngineAccess
    prefix: str
    takes_over: bool
    """Even if another daemon holds it, and lives."""


def store_place(settings: Settings) -> StorePlace:
    """What the settings say. Reads the files. Raises `SettingsError`."""
    return StorePlace(access_to_engine(settings, "storage"), settings.storage_prefix, settings.storage_takeover)


def restore_from_engine(
    engine: Engine,
    place: StorePlace,
    now_ms: int,
    progress: Progress,
    *,
    clocks: Clocks = SYSTEM_CLOCKS,
    chance: random.Random = CHANCE,
) -> Restored:
    """Claim the store and bring the engine to the state in it. O(size of the store).

    Raises `Locked` if another daemon holds the store and lives, `DamageError`, `SettingsError` where somebody has to
    change something, `PlaceAway`, and what `progress` raises; then the engine cannot be used.
    """
    reading = _Reading(engine, place, now_ms, progress, clocks, chance)
    try:
        return asyncio.run(reading.run())
    except Refused as refused:
        raise SettingsError(f"storage.url: {refused.sentence}") from None
    except Unreachable as error:
        raise PlaceAway(f"storage.url: {error}") from None
    except StoreTaken as error:
        raise Locked(f"the store {place.prefix!r} at {place.access} cannot be had: {error}") from None
    except (Emptied, Rewound) as error:
        raise PlaceAway(f"storage.url: the engine has lost the store while it was read ({error})") from None


class _Reading:
    """One restoration."""

    def __init__(
        self, engine: Engine, place: StorePlace, now_ms: int, progress: Progress, clocks: Clocks, chance: random.Random
    ) -> None:
        self._engine = engine
        self._place = place
        self._now_ms = now_ms
        self._progress = progress
        self._clocks = clocks
        self._store = StoreEngine(place.access, prefix=place.prefix)
        self._nonce = f"{chance.getrandbits(128):032x}"
        self._new_id = f"{chance.getrandbits(128):032x}"
        self._renewed_s = clocks.monotonic_s()
        self._holder = f"{socket.gethostname()}, process {os.getpid()}"

    async def run(self) -> Restored:
        try:
            claimed = await self._claim()
            with filling(self._engine, self._now_ms):
                opened, findings = await self._read(claimed)
        except StoreBroken as error:
            self._damaged(error.what)
        finally:
            # The committer's thread has a loop of its own, and makes a connection there.
            await self._store.close()
        journal = EngineJournal(self._store, opened, self._holder, self._nonce, wall_ms=self._clocks.wall_ms)
        return Restored(self._name, journal, findings, claimed.snapshot_ms)

    @property
    def _name(self) -> str:
        return str(self._place.access)

    async def _claim(self) -> StoreClaim:
        """Take the store, or wait until its holder's lease is over. Raises `Locked` once it has been heard of."""
        heard_ms = -1
        while True:
            claimed = await self._store.claim(
                self._nonce,
                self._holder,
                new_id=self._new_id,
                new_epoch=self._engine.ledger.epoch,
                takes_over=self._place.takes_over,
            )
            if not isinstance(claimed, StoreHolder):
                return claimed
            if 0 <= heard_ms < claimed.heard_ms:
                raise Locked(_held(self._name, self._place.prefix, claimed))
            heard_ms = claimed.heard_ms
            self._progress(0, 1)
            await asyncio.sleep(ASK_S)

    async def _read(self, claimed: StoreClaim) -> tuple[StoreClaim, RecoveryFindings]:
        """Read it all, and write down this start before anybody is served. Returns the store as it is then."""
        restorer = Restorer(self._engine, self._now_ms)
        done_bytes, total_bytes = 0, claimed.snapshot_bytes + claimed.log_bytes
        pieces = facts = last_wall_ms = 0
        async for data in self._store.read_pieces(claimed):
            self._apply(restorer, data, f"piece {pieces} of its snapshot")
            pieces += 1
            done_bytes += len(data)
            await self._note_progress(done_bytes, total_bytes)
        if pieces != claimed.pieces:
            self._damaged(f"has {pieces} of the {claimed.pieces} pieces of its snapshot")
        n = claimed.from_n
        async for number, wall_ms, data in self._store.read_entries(claimed.from_n):
            if number != n + 1:
                self._damaged(f"lacks entry {n + 1} of its log")
            n, last_wall_ms = number, wall_ms
            facts += self._apply(restorer, data, f"entry {number} of its log")
            done_bytes += len(data)
            await self._note_progress(done_bytes, total_bytes)
        if n != self._store.n:
            self._damaged(f"lacks entry {n + 1} of its log")
        findings = RecoveryFindings(
            snapshot=f"snapshot {claimed.snapshot}" if claimed.snapshot else "",
            facts=facts,
            clean=claimed.is_clean,
            last_wall_ms=max(last_wall_ms, claimed.wall_ms),
            remarks=self._remarks(claimed),
        )
        return await self._go_on(restorer, claimed, findings), findings

    async def _note_progress(self, done_bytes: int, total_bytes: int) -> None:
        """Also let the engine know that this daemon lives: to read a large store takes longer than a lease lasts."""
        self._progress(done_bytes, total_bytes)
        if self._clocks.monotonic_s() - self._renewed_s >= ASK_S:
            await self._store.renew()
            self._renewed_s = self._clocks.monotonic_s()

    async def _go_on(self, restorer: Restorer, claimed: StoreClaim, findings: RecoveryFindings) -> StoreClaim:
        start_ms = self._clocks.wall_ms()
        is_new = not claimed.wall_ms and not claimed.snapshot and not claimed.starts
        gap = 0 if is_new else version_gap(claimed.starts, start_ms, is_clean=claimed.is_clean)
        close_ms = max(self._engine.policy.grace_max_ms, limits.RESTART_GRACE_MS) + limits.RESTART_SPREAD_MS
        starts = starts_with(claimed.starts, start_ms, close_ms)
        before = Manifest(FORMAT, claimed.store_id, claimed.epoch, 0, (), version=claimed.version)
        opened = msgspec.structs.replace(before, version=claimed.version + gap, starts=starts)
        # Written down before anybody is served: a second crash, which loses all facts of this run, must leave it.
        await self._store.renew(opened.version, starts)
        resume(restorer, Recovered(None if is_new else before, findings), opened)
        return claimed._replace(version=opened.version, starts=starts)

    def _apply(self, restorer: Restorer, data: bytes, what: str) -> int:
        try:
            facts = decode_facts(data)
        except msgspec.MsgspecError as error:
            self._damaged(f"has {what}, which does not read ({error}), or another version of the program wrote it")
        restorer.apply(facts)
        return len(facts)

    def _damaged(self, what: str) -> NoReturn:
        raise DamageError(f"the store {self._place.prefix!r} at {self._name} {what}; {_ADVICE}")

    def _remarks(self, claimed: StoreClaim) -> list[str]:
        found = []
        if not claimed.is_whole:
            sentence = "the engine had lost what was saved, and the daemon ended before all was saved anew"
            found.append(f"{sentence}: only what it kept and what changed since is there")
        info = self._store.engine
        if info is not None and not info.is_kept:
            sentence = "the engine appends nothing to a file, and a restart of it forgets"
            found.append(f"{sentence} what this daemon saves; set appendonly yes")
        return found


def _held(place: str, prefix: str, holder: StoreHolder) -> str:
    return (
        f"the store {prefix!r} at {place} is in use by {holder.name}, which was heard of within the last "
        f"{STORE_LEASE_MS // 1000} s; stop that one first, give storage.prefix, or take the store over with --takeover"
    )
