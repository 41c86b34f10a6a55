"""The backplane over a real engine: two connections, one for reading and one for everything else."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from random import Random
from typing import Any, Final

from presenced.backplane.access import EngineAccess
from presenced.backplane.connection import CALL_S, MEMORY, EngineConnection
from presenced.backplane.errors import BackplaneError, Emptied, Fenced, Refused, Rewound, Unreplicated
from presenced.backplane.functions import Functions
from presenced.backplane.inspection import EngineInfo
from presenced.backplane.library import DEFAULT_PREFIX, LIBRARY, ClusterKeys, Library, keys_of
from presenced.backplane.port import (
    LEASE_MS,
    PARCEL_LIFE_MS,
    READ_ENTRIES_MAX,
    READ_WAIT_MS,
    Entry,
    EntryKind,
    Joined,
    NodeInfo,
    Renewed,
)
from presenced.backplane.wire import EngineCommand, EngineFault

BEHIND_S = 2.0
"""A reader that gets no further for so long, though there is more, is connected to another engine, or to none."""

REPLICA_WAIT_MS = 1_000

ASK_S = 60.0
"""So often the engine is asked whether it would evict by now."""

_DRAW: Final = Random(secrets.randbits(256)).getrandbits
"""Tags must not come twice; that nobody can guess them is not asked for. Those of the kernel cost 5 us an append."""

_KINDS: dict[bytes, EntryKind] = {b"b": "batch", b"j": "joined", b"g": "gone"}


class RedisBackplane:
    """A `port.Backplane` in Redis >= 7.0 or Valkey >= 7.2. Nothing is connected to before the first call."""

    def __init__(
        self,
        access: EngineAccess,
        *,
        prefix: str = DEFAULT_PREFIX,
        lease_ms: int = LEASE_MS,
        replicas: int = 0,
        library: Library = LIBRARY,
        random: Callable[[int], int] = _DRAW,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`replicas`: an append is over once so many of them have it; it is `Unreachable` while they do not."""
        self._keys: ClusterKeys = keys_of(prefix)
        self._lease_ms = lease_ms
        self._replicas = replicas
        self._random = random
        self._wall_ms = wall_ms
        self._monotonic_s = monotonic_s
        self._commands = EngineConnection(access)
        self._reader = EngineConnection(access)
        self._functions = Functions(self._commands, library)
        self._node = ""
        self._incarnation = 0
        self._history = ""
        self._end_n = 0
        """The end of the log, as the last command has told it."""
        self._behind: tuple[int, float] | None = None
        """Where the reader stands while there is more, and since when."""
        self._asked_s = monotonic_s()
        """When the engine was asked last what it does when its memory is full; each connection begins with that."""

    @property
    def engine(self) -> EngineInfo | None:
        """The engine as it was when it was last connected to; None = never yet."""
        return self._commands.info

    @property
    def place(self) -> str:
        """Where the engine is, or was last; without a password."""
        return self._commands.place

    async def join(self, node: str, nonce: int, least: int, wall_epoch: int, data: bytes) -> Joined:
        """See `port.Backplane`."""
        random = self._random(52)
        reply = await self._function("join", node, nonce, least, wall_epoch, self._lease_ms, random, data)
        incarnation, history, epoch, joined, clock_ms, *nodes = reply
        self._node, self._incarnation, self._history = node, incarnation, history.decode()
        self._end_n = _position(joined)[0]
        return Joined(incarnation, self._history, epoch, *_position(joined), clock_ms, list(map(_node_info, nodes)))

    async def append(self, batch: int, seen_n: int, seen_tag: int, data: bytes) -> tuple[int, int]:
        """See `port.Backplane`."""
        then: list[EngineCommand] = []
        if self._replicas:
            then.append(("WAIT", self._replicas, REPLICA_WAIT_MS))
        seen, tag = f"{seen_n}-{seen_tag}", self._random(52)
        told = (self._node, self._incarnation, self._history, batch, seen_n, seen, tag, data)
        reply, *copies = await self._executed("append", told, then)
        if copies and copies[0] < self._replicas:
            sentence = f"no replica of the engine at {self.place} has what was changed, for which cluster.ack waits"
            raise Unreplicated(f"{sentence}; connect a replica to it, or set another cluster.ack")
        self._end_n, tag = _position(reply)
        return self._end_n, tag

    async def renew(self, read_n: int, read_tag: int) -> Renewed:
        """See `port.Backplane`."""
        sent_ms = self._wall_ms()
        read, random = f"{read_n}-{read_tag}", self._random(52)
        told = (self._node, self._incarnation, self._history, read_n, read, random)
        now_s = self._monotonic_s()
        asks = [MEMORY] if now_s - self._asked_s >= ASK_S else []
        reply, *answers = await self._executed("renew", told, asks)
        if answers:
            self._asked_s = now_s
            self._commands.note_memory(answers[0])
        clock_ms, engine_ms, end, *nodes = reply
        infos = list(map(_node_info, nodes))
        self._end_n = _position(end)[0]
        return Renewed(infos, clock_ms, self._offset_ms(sent_ms, engine_ms), self._end_n)

    async def leave(self) -> None:
        """See `port.Backplane`."""
        await self._function("leave", self._node, self._incarnation, self._history, self._random(52))

    async def read(self, after_n: int, after_tag: int | None = None) -> list[Entry]:
        """See `port.Backplane`."""
        if self._end_n > after_n:
            await self._leave_if_behind(after_n)
        else:
            self._behind = None
        # The end of all ids that begin with the position: the next entry is the first behind it.
        start = f"{after_n}-18446744073709551615"
        asks: list[EngineCommand] = [
            ("XREAD", "COUNT", READ_ENTRIES_MAX, "BLOCK", READ_WAIT_MS, "STREAMS", self._keys.log, start)
        ]
        if not after_n:
            # Whose beginning that is no entry says.
            asks.append(("HGET", self._keys.state, "history"))
        reply, *history = await self._answers(self._reader, *asks, wait_s=READ_WAIT_MS / 1000 + CALL_S)
        if not reply:
            return []
        if history and history[0] != self._history.encode():
            raise await self._rewound()
        found = reply[0][1]
        try:
            entries = [_entry(*one) for one in found]
            # Each entry names the one before it. So a log that has gone another way is noticed on any connection.
            before_n, before_tag = _position(found[0][1][1].split(b" ", 5)[4])
        except (IndexError, KeyError, ValueError):
            # Somebody else has written there. What becomes of such a log the next renewal says.
            raise await self._rewound() from None
        if entries[0].n != after_n + 1 or before_n != after_n or after_tag not in (None, before_tag):
            raise await self._rewound()
        return entries

    async def _leave_if_behind(self, after_n: int) -> None:
        """End the reader's connection if it has given nothing for long behind this, where there is more."""
        now_s = self._monotonic_s()
        if self._behind is None or self._behind[0] != after_n:
            self._behind = after_n, now_s
        elif now_s - self._behind[1] > BEHIND_S:
            self._behind = after_n, now_s
            await self._reader.close()

    async def put_parcel(self, joiner: int, number: int, data: bytes) -> None:
        """See `port.Backplane`."""
        command = "SET", self._keys.parcel(joiner, number), data, "PX", PARCEL_LIFE_MS
        await self._answers(self._commands, command)

    async def take_parcel(self, joiner: int, number: int) -> bytes | None:
        """See `port.Backplane`."""
        before = self._keys.parcel(joiner, number - 1)
        asked = "GET", self._keys.parcel(joiner, number)
        _, found = await self._answers(self._commands, ("UNLINK", before), asked)
        return found if found is None else bytes(found)

    async def close(self) -> None:
        """See `port.Backplane`."""
        await self._commands.close()
        await self._reader.close()

    # --- calls ------------------------------------------------------------------------------------------------

    async def _answers(
        self, connection: EngineConnection, *commands: EngineCommand, wait_s: float = CALL_S
    ) -> list[Any]:
        try:
            return await connection.calls(commands, wait_s=wait_s)
        except EngineFault as error:
            raise _complaint(str(error), self.place, self._incarnation) from None

    async def _function(self, name: str, *args: bytes | str | int) -> Any:
        return (await self._executed(name, args, []))[0]

    async def _executed(self, name: str, args: EngineCommand, then: list[EngineCommand]) -> list[Any]:
        keys = (self._keys.state, self._keys.log, self._keys.nodes)
        wait_s = CALL_S + (REPLICA_WAIT_MS / 1000 if then else 0)
        try:
            return await self._functions.calls(name, keys, args, then=then, wait_s=wait_s)
        except EngineFault as error:
            raise _complaint(str(error), self.place, self._incarnation) from None

    async def _rewound(self) -> Rewound | Emptied:
        log = self._keys.log
        ends: list[EngineCommand] = [("XRANGE", log, "-", "+", "COUNT", 1), ("XREVRANGE", log, "+", "-", "COUNT", 1)]
        first, last = await self._answers(self._reader, *ends)
        # It may be an engine that does not hold the log any more. The next call looks where that is now.
        await self._reader.close()
        if not first or not last:
            return Emptied()
        return Rewound(_position(first[0][0])[0], *_position(last[0][0]))

    def _offset_ms(self, sent_ms: int, engine_ms: int) -> int:
        return engine_ms - (sent_ms + self._wall_ms()) // 2


def _complaint(text: str, place: str, incarnation: int) -> BackplaneError:
    """What an error means, to a node of this incarnation, that is not one of the connection: of the functions, or one
    that nobody knows."""
    word, *rest = text.removeprefix("ERR ").split(" ")
    if word == "EMPTIED":
        return Emptied()
    if word == "FENCED":
        by = int(rest[0])
        return Fenced(by if by > incarnation else 0)
    if word == "REWOUND":
        first, last = (_position(part.encode()) for part in rest)
        return Rewound(first[0], *last)
    return Refused("bad_request", f"the engine at {place} refused a call: {text}")


def _position(identity: bytes) -> tuple[int, int]:
    n, _, tag = identity.partition(b"-")
    return int(n), int(tag)


def _node_info(row: list[Any]) -> NodeInfo:
    name, incarnation, lease_until_ms, read_n, data = row
    return NodeInfo(name.decode(), incarnation, lease_until_ms, read_n, data)


def _entry(identity: bytes, fields: list[bytes]) -> Entry:
    kind, incarnation, at_ms, _, _, node = fields[1].split(b" ", 5)
    return Entry(*_position(identity), _KINDS[kind], node.decode(), int(incarnation), int(at_ms), fields[3])
