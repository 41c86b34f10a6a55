"""The store of one daemon in an engine: a log, and snapshots, held by one daemon at a time.

Every call is safe to repeat after `Unreachable`: entries and pieces are numbered. Only one call at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from presenced.backplane.access import EngineAccess
from presenced.backplane.connection import EngineConnection
from presenced.backplane.errors import BackplaneError, Emptied, Fenced, Refused, Rewound, Unreachable
from presenced.backplane.functions import Functions
from presenced.backplane.inspection import EngineInfo
from presenced.backplane.library import DEFAULT_PREFIX, STORE_LIBRARY, Library, key_prefix
from presenced.backplane.wire import EngineFault

STORE_LEASE_MS = 6_000
"""Another daemon may take the store of one that has not been heard of for so long, by the engine's clock."""

ENTRIES_READ = 64
READ_BYTES = 1 << 20
"""About so much is asked for in one go, as in a piece of a snapshot: a slow link has to bring it while a call lasts."""


class StoreHolder(NamedTuple):
    """Who has the store."""

    name: str
    heard_ms: int
    """When it was last heard of, by the engine's lease clock: it rises while the holder lives."""


class StoreClaim(NamedTuple):
    """The store as it was when it was claimed."""

    store_id: str
    epoch: int
    version: int
    wall_ms: int
    """The holder's wall clock at its last write; 0 = there was none."""
    is_whole: bool
    """Nothing that was acknowledged is missing, unless the engine has lost it."""
    is_clean: bool
    """The holder before left it in order, or there was none."""
    starts: tuple[int, ...]
    snapshot: int
    """The number of the newest snapshot; 0 = none."""
    pieces: int
    snapshot_bytes: int
    snapshot_ms: int
    from_n: int
    """The log goes on behind this entry."""
    log_bytes: int
    """Since then."""


class StoreTaken(Fenced):
    """Another daemon has taken the store over: this one is to end."""

    def __init__(self, holder: str) -> None:
        super().__init__(0)
        self.holder = holder

    def __str__(self) -> str:
        return f"its store was taken over by {self.holder or 'another daemon'}"


class StoreBroken(BackplaneError):
    """Somebody has deleted a part of the store, or added to it. Nothing was done. `what` is said behind "the store"."""

    def __init__(self, what: str) -> None:
        super().__init__(f"it {what}")
        self.what = what


class StoreEngine:
    """One daemon's way to a store. `claim` it before anything else."""

    def __init__(self, access: EngineAccess, *, prefix: str = DEFAULT_PREFIX, library: Library = STORE_LIBRARY) -> None:
        self.fence = 0
        self.n = 0
        """The last entry of the log."""
        self.bytes = 0
        """Of all entries ever."""
        self._keys = f"{key_prefix(prefix)}store"
        self._connection = EngineConnection(access)
        self._functions = Functions(self._connection, library)
        self._batch = 0
        self._snapshot = 0
        """The newest that counts."""

    @property
    def engine(self) -> EngineInfo | None:
        """The engine, as it was when it was last connected to."""
        return self._connection.info

    @property
    def place(self) -> str:
        """Where it is."""
        return self._connection.place

    async def claim(
        self,
        nonce: str,
        holder: str,
        *,
        new_id: str,
        new_epoch: int,
        has_lost: bool = False,
        is_broken: bool = False,
        takes_over: bool = False,
    ) -> StoreClaim | StoreHolder:
        """Take the store, unless another holds it. A new one gets the id and the epoch. Whoever held it before is
        fenced.

        `has_lost`: the caller has held it, and the engine has lost some of it. It is the caller's, id and all, and not
        whole before the next snapshot. `is_broken`: that was `StoreBroken`, and what is not of one piece is dropped.
        Without them a store that is not of one piece raises `StoreBroken`, and stays as it is."""
        self._batch = 0
        missing = "" if not has_lost else "broken" if is_broken else "end"
        answer = await self._call(
            "claim", [self._snapshot_key(self._snapshot)], nonce, holder, STORE_LEASE_MS, int(takes_over), self.fence,
            new_id, new_epoch, missing,
        )  # fmt: skip
        if answer[0] == b"held":
            return StoreHolder(answer[1].decode(), answer[2])
        _, self.fence, self.n, self.bytes, version, wall_ms, is_whole, is_clean, fields = answer
        said = {key.decode(): value for key, value in zip(fields[::2], fields[1::2], strict=True)}
        numbers = {
            key: int(said.get(key, 0)) for key in ("snapshot", "pieces", "snapshot_bytes", "snapshot_ms", "from")
        }
        self._snapshot = numbers["snapshot"]
        return StoreClaim(
            store_id=said["id"].decode(),
            epoch=int(said["epoch"]),
            version=version,
            wall_ms=wall_ms,
            is_whole=bool(is_whole),
            is_clean=bool(is_clean),
            starts=tuple(map(int, said.get("starts", b"").split())),
            snapshot=numbers["snapshot"],
            pieces=numbers["pieces"],
            snapshot_bytes=numbers["snapshot_bytes"],
            snapshot_ms=numbers["snapshot_ms"],
            from_n=numbers["from"],
            log_bytes=self.bytes - int(said.get("from_bytes", 0)),
        )

    async def write(self, data: bytes, wall_ms: int) -> None:
        """Append an entry."""
        self.n = await self._call("write", [], self.fence, self._batch + 1, self.n, wall_ms, data)
        self._batch += 1
        self.bytes += len(data)

    async def renew(self, version: int = 0, starts: tuple[int, ...] = ()) -> None:
        """Say that the holder lives, and note down more of it."""
        await self._call("renew", [], self.fence, self.n, version, " ".join(map(str, starts)))

    async def write_piece(self, snapshot: int, number: int, data: bytes) -> None:
        """Add a piece, numbered from 0, to a snapshot that does not count yet."""
        await self._call("piece", [self._snapshot_key(snapshot)], self.fence, number, data)

    async def finish(
        self, snapshot: int, pieces: int, size: int, from_n: int, from_bytes: int, version: int, wall_ms: int
    ) -> None:
        """Let a snapshot count: it takes the place of the one before, and of the log up to an entry."""
        keys = [self._snapshot_key(snapshot), self._snapshot_key(snapshot - 1)]
        await self._call("finish", keys, self.fence, snapshot, pieces, size, from_n, from_bytes, version, wall_ms)
        self._snapshot = snapshot

    async def drop(self, snapshot: int) -> None:
        """Drop a snapshot that does not count. An engine whose memory is full does so as well, and `finish`."""
        await self._call("drop", [self._snapshot_key(snapshot)], self.fence)

    async def release(self, version: int) -> None:
        """Give the store back, in order."""
        await self._call("release", [], self.fence, version)

    async def read_pieces(self, claimed: StoreClaim) -> AsyncIterator[bytes]:
        """The pieces of the snapshot; fewer than there should be if some are missing."""
        for number in range(claimed.pieces):
            found = await self._connection.call("LRANGE", self._snapshot_key(claimed.snapshot), number, number)
            if not found:
                return
            yield found[0]

    async def read_entries(self, after_n: int) -> AsyncIterator[tuple[int, int, bytes]]:
        """The entries of the log: number, the writer's wall clock, data."""
        count, most = 1, ENTRIES_READ
        while True:
            try:
                found = await self._read_some(after_n, count)
            except Unreachable:
                if count == 1:
                    raise
                count = most = 1
                continue
            size = 0
            for identity, (_, wall_ms, _, data) in found:
                after_n = int(identity.partition(b"-")[0])
                size += len(data)
                yield after_n, int(wall_ms), data
            if len(found) < count:
                return
            count = max(1, min(2 * count, most, READ_BYTES * count // (size + 1)))

    async def close(self) -> None:
        """End the connection; the next call makes it anew."""
        await self._connection.close()

    async def _read_some(self, after_n: int, count: int) -> Any:
        return await self._connection.call("XRANGE", f"{self._keys}:log", f"{after_n}-1", "+", "COUNT", count)

    def _snapshot_key(self, number: int) -> str:
        return f"{self._keys}:snapshot:{number}"

    async def _call(self, name: str, more_keys: list[str], *args: bytes | str | int) -> Any:
        try:
            return await self._functions.call(name, [self._keys, f"{self._keys}:log", *more_keys], *args)
        except EngineFault as error:
            word, _, rest = str(error).removeprefix("ERR ").partition(" ")
            if word == "EMPTIED":
                raise Emptied from None
            if word == "FENCED":
                raise StoreTaken(rest) from None
            if word == "REWOUND":
                raise Rewound(0, int(rest), 0) from None
            if word == "BROKEN":
                raise StoreBroken(rest) from None
            raise Refused("bad_request", f"the engine at {self.place} refused a call: {error}") from None
