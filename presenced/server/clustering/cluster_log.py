"""The log of a node of a cluster: facts go to its own disk and to all other nodes, and acknowledgements wait for both.

Facts of other nodes are applied by `cluster.log.node`, and go to the own disk alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from presenced.cluster.log.early_facts import saved_early
from presenced.cluster.log.node import Node
from presenced.core.records import Fact
from presenced.server.fact_log import Ack, Log
from presenced.server.status import LogStatus


class ClusterLog:
    """A `fact_log.Log` around the log of the own disk."""

    def __init__(
        self,
        own: Log,
        node: Node,
        is_busy: Callable[[], bool],
        *,
        busy_ms: Callable[[], int | None] = lambda: None,
        acks_by_disk: bool = False,
    ) -> None:
        """`is_busy` returns whether the backplane has been away for so long that nothing durable can be promised;
        `busy_ms` returns when that will be so if it stays away, or None if it is not away. With `acks_by_disk`,
        acknowledgements wait for the own disk alone."""
        self._own = own
        self._node = node
        self._is_busy = is_busy
        self._busy_ms = busy_ms
        self._acks_by_disk = acks_by_disk
        self._waiting: deque[tuple[int, Sequence[Ack]]] = deque()
        """Acknowledgements, each with how many items of this node all nodes must have before it is due."""

    # --- in each turn -----------------------------------------------------------------------------------------

    @property
    def refusal(self) -> str:
        """That of the disk, or `log_busy` while the backplane is away for long."""
        return self._own.refusal or ("log_busy" if not self._acks_by_disk and self._is_busy() else "")

    def append(self, facts: Sequence[Fact], acks: Sequence[Ack]) -> None:
        """See `Log`. Facts of this node go to all nodes as well."""
        node = self._node
        foreign = node.disk_debts.take_facts()
        if facts:
            # While the engine is away for long, nothing waits for acknowledgements any longer (`take_late`).
            is_awaited = bool(acks) and not self._acks_by_disk and not self._is_busy()
            unrecorded = node.add_facts(facts, is_awaited=is_awaited)
            facts = [*facts, *unrecorded] if unrecorded else facts
            if not node.mine.is_ready:
                facts = saved_early(facts, node.homes, node.mine)
        if foreign or facts:
            self._own.append([*foreign, *facts] if foreign else facts, ())
        if acks:
            self._waiting.append((0 if self._acks_by_disk else node.batches.added, acks))

    def save_foreign(self) -> None:
        """Give the disk the facts of other nodes that were applied, if no turn has facts of its own."""
        node = self._node
        foreign = node.disk_debts.take_facts()
        if foreign:
            self._own.append(foreign, ())
        # A node that does not serve yet needs no snapshot.
        if node.is_ready and node.disk_debts.take_all() and self._own.status() is not None:
            self._own.take_snapshot()

    def take_durable(self) -> Sequence[Ack]:
        """The acknowledgements whose facts all nodes and the disk have."""
        waiting, confirmed = self._waiting, self._node.batches.confirmed
        while waiting and waiting[0][0] <= confirmed:
            self._own.append((), waiting.popleft()[1])
        return self._own.take_durable()

    def take_refused(self) -> Sequence[Ack]:
        """See `Log`."""
        return self._own.take_refused()

    def take_late(self) -> Sequence[Ack]:
        """Acknowledgements that wait for all nodes while the backplane is away for too long. O(these)."""
        if not self._waiting or self._acks_by_disk or not self._is_busy():
            return ()
        late = [ack for _, acks in self._waiting for ack in acks if ack[0] is not None]
        if late:
            events = [(number, [ack for ack in acks if ack[0] is None]) for number, acks in self._waiting]
            self._waiting = deque((number, acks) for number, acks in events if acks)
        return late

    @property
    def next_ms(self) -> int | None:
        """When `take_late` has something, unless the backplane is back before; None = it has now, or never. O(1)."""
        busy_ms = self._busy_ms() if self._waiting and not self._acks_by_disk else None
        return None if busy_ms is None or self._is_busy() else busy_ms

    # --- the rest is the disk's -------------------------------------------------------------------------------

    @property
    def erased_until(self) -> int:
        """See `Log`."""
        return self._own.erased_until

    def look(self) -> None:
        """See `Log`."""
        self._own.look()

    def status(self) -> LogStatus | None:
        """See `Log`."""
        return self._own.status()

    def plan_snapshots(self, *, every_ms: int, log_bytes: int) -> None:
        """See `Log`."""
        self._own.plan_snapshots(every_ms=every_ms, log_bytes=log_bytes)

    def take_snapshot(self) -> None:
        """See `Log`."""
        self._own.take_snapshot()

    @property
    def snapshot_running(self) -> bool:
        """See `Log`."""
        return self._own.snapshot_running

    @property
    def has_news(self) -> bool:
        """See `Log`."""
        return self._own.has_news

    def hurry(self) -> None:
        """See `Log`."""
        self._own.hurry()

    async def close(self, version: int) -> None:
        """See `Log`. It does not wait until other nodes have everything."""
        await self._own.close(version)

    @property
    def error(self) -> BaseException | None:
        """See `Log`."""
        return self._own.error

    @property
    def is_over(self) -> bool:
        """See `Log`."""
        return self._own.is_over
