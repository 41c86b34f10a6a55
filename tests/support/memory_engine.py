"""The engine of the fake: what `library.lua` does, in this process, on a clock that the caller moves. It fails when it
is told to."""

from __future__ import annotations

import asyncio
import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import msgspec

from presenced.backplane.errors import Emptied, Fenced, Rewound, Unreachable
from presenced.backplane.port import (
    CLOCK_STEP_MS_MAX,
    LOG_BYTES_MAX,
    PARCEL_LIFE_MS,
    READ_ENTRIES_MAX,
    READ_WAIT_MS,
    Entry,
    EntryKind,
    Joined,
    NodeInfo,
    Renewed,
)

ENTRY_BYTES = 64
STATES_KEPT = 4_096
"""How many calls back `lose_tail` can go."""

_LETTERS: dict[EntryKind, str] = {"batch": "b", "joined": "j", "gone": "g"}


Position = tuple[int, int]
"""Number and tag of an entry."""


class Living(NamedTuple):
    """Who calls."""

    node: str
    incarnation: int
    history: str


@dataclass
class NodeRecord:
    """What the engine knows of a node that lives."""

    incarnation: int
    last_ms: int
    lease_ms: int
    read_n: int
    joined: Position
    nonce: int
    data: bytes
    batch: int = -1
    place: Position = (0, 0)


StoredEntry = tuple[Entry, Position, int]
"""An entry, the one before it, and the bytes of all before it."""


@dataclass
class EngineState:
    """All that an engine keeps, but for the entries."""

    history: str = ""
    epoch: int = 0
    fence: int = 0
    clock_ms: int = 0
    time_ms: int = 0
    n: int = 0
    last: Position = (0, 0)
    dropped: int = 0
    bytes: int = 0
    nodes: dict[str, NodeRecord] = field(default_factory=dict)
    recent: dict[int, Position] = field(default_factory=dict)
    """The last 128 positions and tags, by position modulo 128."""
    added: list[int] = field(default_factory=list)
    removed: dict[int, StoredEntry] = field(default_factory=dict)
    """What of the entries the call did that led to this state, for `lose_tail`."""

    def copied(self) -> EngineState:
        nodes = {name: copy.copy(record) for name, record in self.nodes.items()}
        return replace(self, nodes=nodes, recent=dict(self.recent), added=[], removed={})


class MemoryEngine:
    """What several `MemoryBackplane` share. `clock_ms` is the engine's wall clock. Attributes are for tests to set."""

    def __init__(self, clock_ms: Callable[[], int], *, log_bytes_max: int = LOG_BYTES_MAX, waits: bool = False) -> None:
        """`waits`: a `read` waits for news on the event loop, up to a second; otherwise it returns at once."""
        self.clock_ms = clock_ms
        self.log_bytes_max = log_bytes_max
        self.waits = waits
        self.is_down = False
        """Every call is `Unreachable`, and nothing of it is executed."""
        self.kept = EngineState()
        self.entries: dict[int, StoredEntry] = {}
        """By position, in order and without gaps."""
        self.parcels: dict[Position, tuple[bytes, int]] = {}
        self._before: list[EngineState] = []
        self._news: asyncio.Future[None] | None = None

    # --- faults -----------------------------------------------------------------------------------------------

    def lose_tail(self, calls: int) -> None:
        """Forget the newest calls that changed anything, as a replica has that becomes the primary too early."""
        for _ in range(min(calls, len(self._before))):
            for n in self.kept.added:
                del self.entries[n]
            self.entries.update(self.kept.removed)
            self.kept = self._before.pop()

    def empty(self) -> None:
        """Forget everything (FLUSHALL, or another engine at this address)."""
        self.kept, self.entries, self.parcels, self._before = EngineState(), {}, {}, []

    def split(self) -> MemoryEngine:
        """Another engine that goes on from here by itself: the old primary, to which some nodes are connected still."""
        other = MemoryEngine(self.clock_ms, log_bytes_max=self.log_bytes_max, waits=self.waits)
        other.kept, other.entries, other.parcels = self.kept, dict(self.entries), dict(self.parcels)
        other._before = list(self._before)
        return other

    # --- the functions: arguments as in library.lua -----------------------------------------------------------

    def join(self, node: str, nonce: int, least: int, epoch: int, lease_ms: int, seed: int, data: bytes) -> Joined:
        """Begin a caller."""
        self._refuse_when_down()
        state = self.kept.copied()
        if not state.history:
            state.history = hashlib.sha1(f"history:{seed}".encode()).hexdigest()[:16]
            state.epoch, state.time_ms = epoch, self.clock_ms()
        self._advance(state)
        record = state.nodes.get(node)
        if record is not None and record.nonce == nonce:
            record.last_ms = state.clock_ms
        else:
            if record is not None:
                self._bury(state, node, seed, voluntary=False)
            state.fence = max(state.fence, least) + 1
            self._add(state, "joined", node, state.fence, derived_tag(seed, state.n + 1), data)
            record = NodeRecord(state.fence, state.clock_ms, lease_ms, state.n, state.last, nonce, data)
            state.nodes[node] = record
            self._drop(state, 0)
        self._commit(state)
        return Joined(record.incarnation, state.history, state.epoch, *record.joined, state.clock_ms, _told(state))

    def append(self, caller: Living, batch: int, seen: Position, tag: int, data: bytes) -> Position:
        """Append a batch, or find it."""
        state = self._called(caller, seen)
        record = state.nodes[caller.node]
        if 0 <= record.batch < batch - 1:
            raise self._rewound(state)
        record.last_ms = state.clock_ms
        if batch > record.batch:
            self._add(state, "batch", caller.node, caller.incarnation, tag, data)
            record.batch, record.place = batch, state.last
            self._drop(state, 0)
        self._commit(state)
        return record.place

    def renew(self, caller: Living, read: Position, seed: int) -> Renewed:
        """Renew a lease, and bury who has not renewed theirs."""
        state = self._called(caller, read)
        record = state.nodes[caller.node]
        record.last_ms, record.read_n = state.clock_ms, read[0]
        for one in _told(state):
            if state.clock_ms > one.lease_until_ms:
                self._bury(state, one.name, seed, voluntary=False)
        self._drop(state, min(other.read_n for other in state.nodes.values()))
        self._commit(state)
        return Renewed(_told(state), state.clock_ms, state.time_ms, state.n)

    def leave(self, caller: Living, seed: int) -> None:
        """End a caller, if it is not over."""
        self._refuse_when_down()
        state = self.kept.copied()
        record = state.nodes.get(caller.node)
        if state.history == caller.history and record is not None and record.incarnation == caller.incarnation:
            self._advance(state)
            record.last_ms = state.clock_ms
            self._bury(state, caller.node, seed, voluntary=True)
        self._commit(state)

    async def read(self, caller: Living, after: int, tag: int | None) -> list[Entry]:
        """The entries behind a position, at which the entry has this tag, if the caller knows it."""
        self._refuse_when_down()
        if self.kept.n <= after and self.waits:
            await self._wait_for_news()
            self._refuse_when_down()
        if self.kept.n <= after:
            return []
        _, before, _ = self.entries.get(after + 1, (None, None, 0))
        is_other = caller.history != self.kept.history if after == 0 else before != (after, tag) and tag is not None
        if before is None or is_other:
            raise self._rewound(self.kept)
        return [self.entries[n][0] for n in range(after + 1, min(self.kept.n, after + READ_ENTRIES_MAX) + 1)]

    def put_parcel(self, joiner: int, number: int, data: bytes) -> None:
        """Lay bytes down."""
        self._refuse_when_down()
        self.parcels[joiner, number] = (data, self.clock_ms() + PARCEL_LIFE_MS)

    def take_parcel(self, joiner: int, number: int) -> bytes | None:
        """Give bytes, and drop the ones before them."""
        self._refuse_when_down()
        self.parcels.pop((joiner, number - 1), None)
        data, until_ms = self.parcels.get((joiner, number), (None, 0))
        return data if self.clock_ms() < until_ms else None

    # --- what they are made of --------------------------------------------------------------------------------

    def _refuse_when_down(self) -> None:
        if self.is_down:
            raise Unreachable("the engine is down")

    def _called(self, caller: Living, seen: Position) -> EngineState:
        """A copy of the state for a call of this caller, which has seen this. Raises why it is not executed."""
        self._refuse_when_down()
        state = self.kept.copied()
        why = self._complaint(state, caller, seen)
        if why is not None:
            raise why
        self._advance(state)
        return state

    def _commit(self, state: EngineState) -> None:
        self._before.append(self.kept)
        del self._before[:-STATES_KEPT]
        self.kept = state
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def _wait_for_news(self) -> None:
        if self._news is None or self._news.done():
            self._news = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._news], timeout=READ_WAIT_MS / 1000)

    def _advance(self, state: EngineState) -> None:
        """Move the lease clock by what has passed since the last call, within its bounds."""
        now_ms = self.clock_ms()
        state.clock_ms += max(0, min(now_ms - state.time_ms, CLOCK_STEP_MS_MAX))
        state.time_ms = now_ms

    def _add(self, state: EngineState, kind: EntryKind, node: str, incarnation: int, tag: int, data: bytes) -> None:
        """Append an entry."""
        entry = Entry(state.n + 1, tag, kind, node, incarnation, state.clock_ms, data)
        before = f"{_LETTERS[kind]} {incarnation} {state.clock_ms} {state.bytes} {state.last[0]}-{state.last[1]} {node}"
        self.entries[entry.n] = (entry, state.last, state.bytes)
        state.added.append(entry.n)
        state.bytes += len(before.encode()) + len(data) + ENTRY_BYTES
        state.n, state.last = entry.n, (entry.n, tag)
        state.recent[entry.n % 128] = state.last

    def _bury(self, state: EngineState, node: str, seed: int, *, voluntary: bool) -> None:
        """Declare a node gone."""
        record = state.nodes.pop(node)
        state.fence += 1
        data = msgspec.msgpack.encode([state.fence, record.last_ms, voluntary])
        self._add(state, "gone", node, record.incarnation, derived_tag(seed, state.n + 1), data)

    def _complaint(self, state: EngineState, caller: Living, seen: Position) -> Emptied | Rewound | Fenced | None:
        """Why a call of this life is not executed, if it is not."""
        if not state.history or state.history != caller.history:
            return Emptied()
        held = self._holds(state, seen)
        if held is False:
            return self._rewound(state)
        record = state.nodes.get(caller.node)
        if record is None or record.incarnation != caller.incarnation:
            return Fenced(record.incarnation if record and record.incarnation > caller.incarnation else 0)
        return self._rewound(state) if held is None else None

    def _holds(self, state: EngineState, seen: Position) -> bool | None:
        kept = state.recent.get(seen[0] % 128, (0, 0))
        if kept == seen:
            return True
        if seen[0] > state.n or kept[0] == seen[0]:
            return False
        found = self.entries.get(seen[0])
        return found and found[0].tag == seen[1] if found else None

    def _rewound(self, state: EngineState) -> Rewound:
        """What of the log there is."""
        return Rewound(next(iter(self.entries), state.n), *state.last)

    def _drop(self, state: EngineState, before_n: int) -> None:
        """Drop the entries before this one, and then a quarter at a time while there is too much."""
        self._drop_before(state, before_n)
        while state.bytes - state.dropped > self.log_bytes_max and len(self.entries) > 1:
            length = len(self.entries)
            self._drop_before(state, state.n - length + 1 + max(1, length // 4))

    def _drop_before(self, state: EngineState, before_n: int) -> None:
        for n in range(state.n - len(self.entries) + 1, before_n):
            state.removed[n] = self.entries.pop(n)
        if self.entries:
            state.dropped = next(iter(self.entries.values()))[2]


def _told(state: EngineState) -> list[NodeInfo]:
    """Those who live."""
    rows = sorted(state.nodes.items(), key=lambda row: row[1].incarnation)
    return [NodeInfo(name, one.incarnation, one.last_ms + one.lease_ms, one.read_n, one.data) for name, one in rows]


def derived_tag(seed: int, n: int) -> int:
    """The tag of an entry that no caller has chosen one for."""
    return int(hashlib.sha1(f"{seed}:{n}".encode()).hexdigest()[:13], 16)
