"""The port between a node and the engine that all nodes share: one log, in one order, and the leases of the nodes.

All positions are numbers of entries, from 1, without gaps. Each entry has a random tag as well: two logs that have gone
different ways since a failover differ in it. `seen_n` and `seen_tag` are of the newest entry that the caller has read,
and nothing is appended to a log that does not hold that entry.

The *lease clock* is the engine's own. It stands still while the engine does, and no call moves it by more than 2 s: so
neither an outage nor a clock that is set declares a node dead. All times with "lease clock" are of it, in ms.

Every call that fails half way is safe to repeat, as it is: a join by its nonce, a batch by its number. Nobody may
cancel a call half way. Of one node, at most one `read` and one other call are under way at any time.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

LEASE_MS = 10_000
"""How long a node is believed to live after its last call."""

CLOCK_STEP_MS_MAX = 2_000
"""The most by which a call moves the lease clock. The node's own deadline is earlier than its lease by this."""

READ_WAIT_MS = 1_000
"""How long `read` waits for news."""

READ_ENTRIES_MAX = 32
"""The most entries that one `read` gives."""

LOG_BYTES_MAX = 256 << 20
"""The log holds no more; whoever has not read what is dropped gets `Rewound`."""

PARCEL_LIFE_MS = 120_000
"""How long the engine keeps a parcel that nobody takes."""

EntryKind = Literal["batch", "joined", "gone"]


class Entry(NamedTuple):
    """One element of the log."""

    n: int
    tag: int
    kind: EntryKind
    node: str
    """Whose it is: who appended, joined or is gone."""
    incarnation: int
    at_ms: int
    """Lease clock."""
    data: bytes
    """Of `joined` what the node gave to `join`; of `gone` a list: the fence that it raised, when on the lease clock the
    node was heard last, and whether it left by itself."""


class NodeInfo(NamedTuple):
    """A node that lives."""

    name: str
    incarnation: int
    lease_until_ms: int
    """Lease clock."""
    read_n: int
    """Up to where it had read at its last `renew`."""
    data: bytes
    """What it gave to `join`."""


class Joined(NamedTuple):
    """What a node knows of the cluster when it has joined."""

    incarnation: int
    """Its life in this log: higher than that of every life, and than every fence, before it."""
    history: str
    """Names the log; another one after the engine was emptied."""
    epoch: int
    """Of the cluster: what the first node of this history gave as `wall_epoch`."""
    n: int
    tag: int
    """Of its own `joined` entry."""
    clock_ms: int
    """The lease clock at this call."""
    nodes: list[NodeInfo]
    """Those who live, itself too, by incarnation."""


class Renewed(NamedTuple):
    """What `renew` tells."""

    nodes: list[NodeInfo]
    """Those who live, the caller too, by incarnation."""
    clock_ms: int
    """The lease clock at this call."""
    wall_offset_ms: int
    """How far the engine's wall clock is ahead of this machine's, to half of the call's duration."""
    end_n: int
    """The newest entry of the log."""


class Backplane(Protocol):
    """One node's way to the log. Each call raises the errors of `errors.py`."""

    async def join(self, node: str, nonce: int, least: int, wall_epoch: int, data: bytes) -> Joined:
        """Begin a life. An older one of the same name is over thereby (`gone`, then `joined`). The incarnation becomes
        higher than `least`. Again with the same nonce: the same life."""

    async def append(self, batch: int, seen_n: int, seen_tag: int, data: bytes) -> tuple[int, int]:
        """Append a batch, and give its position and tag. Batch numbers of a life rise one by one, from any on. One that
        the log has is not appended again, and gives the position of the newest of this life; one that follows upon a
        batch which the log has lost is `Rewound`. Renews the lease."""

    async def renew(self, read_n: int, read_tag: int) -> Renewed:
        """Renew the lease, and tell up to where this node has read. Whoever is past their lease is `gone` thereby, and
        what all have read is dropped."""

    async def leave(self) -> None:
        """End this life (`gone`, voluntary). Nothing happens if it is over."""

    async def read(self, after_n: int, after_tag: int | None = None) -> list[Entry]:
        """The entries behind the position `after_n`, at most 32; `after_tag` is the tag of the entry there, None = the
        caller does not know it. Waits up to a second for the first; [] = nothing came. Raises `Rewound` where the next
        one has been dropped, where the entry at `after_n` is another one, or where a log read from its beginning is not
        the one that this node has joined: the connection may lead to an engine that was the primary before."""

    async def put_parcel(self, joiner: int, number: int, data: bytes) -> None:
        """Lay bytes down for the node that joins with this key, beside the log. They vanish after two minutes."""

    async def take_parcel(self, joiner: int, number: int) -> bytes | None:
        """Those bytes; None = they are not there. The parcel with the number before it is dropped thereby, so that a
        call whose answer was lost can be repeated."""

    async def close(self) -> None:
        """End the connections. The life goes on until its lease ends, or until `leave`."""
