"""A server's part in the cluster: it joins before it serves, and leaves when it has stopped serving."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable

import msgspec

from presenced.backplane.errors import Fenced, Unreachable
from presenced.backplane.port import Backplane, Joined
from presenced.cluster.links.forwarding import Forwarding
from presenced.cluster.log.join_data import join_data
from presenced.cluster.log.log_reader import LogReader
from presenced.cluster.log.node import Node
from presenced.cluster.log.node_choices import NodeChoices
from presenced.cluster.node_keys import NodeKey
from presenced.core.copies import Copies
from presenced.core.part import Part
from presenced.core.parts.leases import EVER_MS
from presenced.core.requests import Requests
from presenced.limits import RESTART_GRACE_MS
from presenced.server.clocks import Clocks
from presenced.server.clustering.cluster_log import ClusterLog
from presenced.server.clustering.cluster_report import cluster_status
from presenced.server.clustering.neighbours import Neighbours
from presenced.server.clustering.operators import Operators
from presenced.server.clustering.pump import Pump
from presenced.server.clustering.status import ClusterStatus, EngineStatus
from presenced.server.drain import Stopping
from presenced.server.links import Links
from presenced.server.pacing import Pacing
from presenced.wire.codec import encode

log = logging.getLogger("presenced")

BACK_MS = 5_000
"""So long after the backplane is back the graces end that ended meanwhile: what others know is heard first."""

KEY_BITS = 52

RENEWALS = 5
"""So often a lease is renewed in its time."""

RETRY_S = 0.25
TRIES = 20
"""A start gives up after so many."""

SETTLE_MS = 2_000
"""How long what a stopping node has decided may take to be in the log."""


class _Ticks(Part):
    """Lets forwarding do in each turn what time brings about."""

    def __init__(self, forwarding: Forwarding) -> None:
        self.deadline_source = forwarding
        self._forwarding = forwarding

    def tick(self, now_ms: int) -> None:
        """See `Part`."""
        self._forwarding.tick(now_ms)


class Membership:
    """One node of the cluster, from its join to its end."""

    def __init__(
        self,
        backplane: Backplane,
        name: str,
        links: Links,
        pacing: Pacing,
        clocks: Clocks,
        *,
        linger_ms: int,
        lease_ms: int,
        engine_status: Callable[[int, str], EngineStatus],
        acks_by_disk: bool,
        acks_by_replica: bool,
        on_failure: Callable[[Exception], object],
        drain: Callable[[], Stopping],
        choices: Callable[[], NodeChoices | None] = lambda: None,
    ) -> None:
        """`engine_status` is told for how long the engine has not answered (0 = it does), and why. `acks_by_disk`: what
        the own disk has is acknowledged. `acks_by_replica`: what the backplane's replicas have is, and nothing before.
        `on_failure` is called if this node cannot go on as a part of the cluster. `drain` lets the server stop in
        order. `choices` says which settings this node has, as far as the others have to know."""
        self._backplane = backplane
        self._name = name
        self._links = links
        self._engine = links.engine
        self._pacing = pacing
        self._clocks = clocks
        self._linger_ms = linger_ms
        self._lease_ms = lease_ms
        self._engine_status = engine_status
        self._acks_by_disk = acks_by_disk
        self._acks_by_replica = acks_by_replica
        self._on_failure = on_failure
        self._drain = drain
        self._own_log = pacing.log
        self._choices = choices
        self._pump: Pump | None = None
        self._node: Node | None = None
        self._neighbours: Neighbours | None = None
        self._forwarding: Forwarding | None = None
        self.operators: Operators | None = None
        """Who asks other nodes, and answers them; None before this node serves."""

    async def join(self) -> None:
        """Join, and return once this node knows all users and may serve. The own disk was read before, and no grace
        that it knows of ends before clients had time to come back. Raises what the backplane raises; then nothing of
        this node is left."""
        try:
            await self._join()
        except BaseException:
            await self.give_up()
            raise

    async def _join(self) -> None:
        engine, clocks = self._engine, self._clocks
        key, choices = NodeKey(secrets.randbits(KEY_BITS) + 1), self._choices()
        joined = await self._join_log(encode(join_data(key, choices)))
        now_ms = clocks.monotonic_ms()
        engine.ledger.continue_from(joined.epoch, engine.ledger.version, now_ms)
        node = self._node = Node(engine, Copies(engine), self._name, key, joined, choices)
        if self._acks_by_replica:
            node.batches.wait_for_appends()
        requests = self._links.requests
        assert isinstance(requests, Requests)
        forwarding = self._forwarding = Forwarding(engine, requests, node, node.bids, node, self._pacing.begin)
        reader = LogReader(node, forwarding)
        neighbours = self._neighbours = Neighbours(
            node.nodes, node.mine, lease_ms=self._lease_ms, wall_ms=clocks.wall_ms
        )
        reader.observe_by(neighbours)
        pump = self._pump = Pump(
            node,
            reader,
            self._backplane,
            self._pacing,
            clocks,
            renew_ms=self._lease_ms // RENEWALS,
            linger_ms=self._linger_ms,
            saved=self._save,
            away=self._note_away,
            on_failure=self._fail,
        )
        reach = pump.reach
        reach.find_place_by(lambda: self._engine_status(0, "").address)
        self._log = ClusterLog(
            self._own_log,
            node,
            lambda: reach.is_away and reach.is_busy(clocks.monotonic_ms()),
            busy_ms=lambda: reach.busy_ms,
            acks_by_disk=self._acks_by_disk,
        )
        log.info("cluster: joined as %s, incarnation %d; nodes: %d", self._name, joined.incarnation, len(joined.nodes))
        reader.own_figures.tell_by(lambda: (len(self._links), pump.lag_ms), self._choices)
        # Others forward to this node as soon as it says of a user that it is the home, long before it serves itself.
        self._pacing.use_log(self._log)
        engine.parts.add(_Ticks(forwarding))
        operators = Operators(node, forwarding.inquiries, self._links, clocks, self._drain)
        engine.parts.add_deadline(self._log)
        reader.begin(now_ms)
        pump.start()
        ready = asyncio.ensure_future(pump.wait_ready())
        ended = asyncio.ensure_future(pump.wait_over())
        try:
            await asyncio.wait((ready, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in (ready, ended):
                waiting.cancel()
        if not node.is_ready:
            raise pump.failure or Fenced(0)
        self._pacing.ask_before_turns(self._may_run)
        self.operators = operators
        self._links.serve_elsewhere(forwarding, forwarding)
        served_ms = clocks.monotonic_ms()
        engine.leases.be_patient(served_ms + RESTART_GRACE_MS, heard_before_ms=served_ms)
        self._log.take_snapshot()

    async def _join_log(self, data: bytes) -> Joined:
        """Join the log. A reply that is lost is asked for again, under the same number. Raises `Refused`, and
        `Unreachable` if it is not answered for long."""
        nonce, tries = secrets.randbits(KEY_BITS), 0
        while True:
            try:
                return await self._backplane.join(self._name, nonce, 0, self._engine.ledger.epoch, data)
            except Unreachable as error:
                tries += 1
                if tries == TRIES:
                    raise
                if tries == 1:
                    log.warning("cluster: the engine is not there yet, and this node tries again: %s", error)
                await asyncio.sleep(RETRY_S)

    async def leave(self) -> None:
        """Hand this node's users to the others, at once. Links are closed by now."""
        pump = self._pump
        if pump is None:
            return
        if self._node is not None and self._node.is_ready:
            await pump.settle(self._clocks.monotonic_ms() + SETTLE_MS)
        await pump.leave()

    async def give_up(self) -> None:
        """Leave, since the start has failed: the others would wait for the lease to end. What is still to be saved goes
        to the own disk alone."""
        await self.leave()
        await self._backplane.close()
        self._pacing.use_log(self._own_log)

    def status(self) -> ClusterStatus | None:
        """How this node stands in its cluster; None before it has joined. O(nodes)."""
        pump, node, forwarding, neighbours = self._pump, self._node, self._forwarding, self._neighbours
        if pump is None or node is None or forwarding is None or neighbours is None:
            return None
        now_ms = self._clocks.monotonic_ms()
        engine = self._engine_status(pump.reach.away_ms(now_ms), pump.reach.trouble)
        engine = msgspec.structs.replace(engine, lacks_replicas=pump.reach.lacks_replicas)
        return cluster_status(
            node,
            pump,
            forwarding,
            neighbours,
            engine,
            self._clocks,
            lease_ms=self._lease_ms,
            links=len(self._links),
        )

    def _save(self) -> None:
        self._log.save_foreign()

    def _may_run(self, now_ms: int) -> bool:
        """Whether the others believe that this node lives. If it stood still for long they may not, and it must tell
        nobody anything before it knows. A backplane that is away is another matter: links are served on."""
        pump = self._pump
        if pump is None:
            return True
        reach = pump.reach
        if reach.is_away or reach.lease_left_ms(now_ms, self._lease_ms):
            return True
        pump.prove(self._pacing.go_on)
        return False

    def _note_away(self, is_away: bool) -> None:
        """No grace ends while a client may be where this node hears nothing of it."""
        self._pacing.go_on()
        now_ms = self._pacing.begin()
        if self._forwarding is not None:
            self._forwarding.note_away(is_away, now_ms)
        if self._node is not None and self._node.is_ready:
            self._engine.leases.be_patient(EVER_MS if is_away else now_ms + BACK_MS)

    def _fail(self, error: Exception) -> None:
        self._on_failure(error)
