"""The webhooks of one server: what an operator starts, changes by a reload, looks at, and tests."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable

import msgspec

from presenced import __version__
from presenced.server.clocks import Clocks
from presenced.server.status import WebhookStatus
from presenced.webhooks.faults import DeliveryFault
from presenced.webhooks.follower import FROM_NOW_ON, EventFollower, OpenLink
from presenced.webhooks.http_client import HttpClient
from presenced.webhooks.lanes import Cursor, Lanes
from presenced.webhooks.payloads import body_of, delivery_for_test
from presenced.webhooks.plan import Plan
from presenced.webhooks.resolver import InThread, NameLook, Resolver, look_up
from presenced.webhooks.sender import Sender

CountBehind = Callable[[Cursor], int]
"""How many events are kept behind a place; -1 = some are not kept any longer."""


class WebhookTest(msgspec.Struct, frozen=True):
    """What came of an event that was sent for a test."""

    ok: bool
    id: str
    receiver: str
    status: int
    """Of the answer; 0 = none came."""
    error: str
    took_ms: int


class Webhooks:
    """Follows and posts. `start`, then `stop` or `close`."""

    def __init__(
        self,
        plan: Plan,
        open_link: OpenLink,
        *,
        clocks: Clocks,
        in_thread: InThread,
        count_behind: CountBehind,
        look: NameLook = look_up,
        draw: Callable[[], float] = random.random,
        first: Cursor = FROM_NOW_ON,
    ) -> None:
        """`look` resolves names on a thread that `in_thread` provides, and `draw` gives the jitter. `first` is the
        place behind which the events are to be posted."""
        self._clocks = clocks
        self._count_behind = count_behind
        self._lanes = Lanes(plan.rules, draw)
        client = HttpClient(Resolver(in_thread, look), f"presenced/{__version__}")
        self._sender = Sender(plan, self._lanes, client, clocks, self._settled)
        self._follower = EventFollower(plan, self._lanes, open_link, clocks, self._sender.pump, first)
        self._numbers = itertools.count(1)
        self._is_stopping = False

    def start(self) -> None:
        """Begin to follow."""
        self._follower.start()

    def adopt(self, plan: Plan) -> None:
        """Go by another plan from now on; a receiver that was gone is tried again. What is under way goes on."""
        self._sender.adopt(plan)
        self._follower.adopt(plan)
        self._lanes.adopt(plan.rules)
        if not self._is_stopping:
            self._follower.start()
            self._sender.pump()

    def stop(self) -> None:
        """Post nothing new, and leave when what is under way has been answered."""
        self._is_stopping = True
        self._sender.stop()
        self._follower.end()
        self._settled()

    async def close(self) -> None:
        """End at once. What is under way is posted again after the next start. Idempotent."""
        self._is_stopping = True
        self._follower.end()
        await self._sender.close()
        self._follower.stop()

    def _settled(self) -> None:
        if self._sender.is_gone or (self._is_stopping and not self._sender.under_way):
            self._follower.stop()
        else:
            self._follower.advance()

    # --- for operators ----------------------------------------------------------------------------------------

    async def test(self) -> WebhookTest:
        """Post an event of the kind `test`, beside all others, and say what came of it."""
        delivery = delivery_for_test(next(self._numbers), self._clocks.wall_ms())
        plan = self._sender.plan
        body = body_of([delivery], is_array=plan.rules.batch > 1)
        began_s, status, error = time.monotonic(), 0, ""
        try:
            status = (await self._sender.post(delivery.id, body)).status
        except DeliveryFault as fault:
            error = fault.sentence
        took_ms = round((time.monotonic() - began_s) * 1000)
        return WebhookTest(200 <= status < 300, delivery.id, plan.way.receiver.origin, status, error, took_ms)

    def status(self) -> WebhookStatus:
        """Everything at this moment. O(chunks of kept events)."""
        sender, lanes, follower = self._sender, self._lanes, self._follower
        oldest = lanes.oldest
        return WebhookStatus(
            receiver=sender.plan.way.receiver.origin,
            state=self._state(),
            behind=self._count_behind(lanes.position),
            lag_ms=max(0, self._clocks.wall_ms() - oldest.at_ms) if oldest is not None else 0,
            held=lanes.held,
            under_way=sender.under_way,
            requests=sender.requests,
            accepted=sender.accepted,
            failures=dict(sender.failures),
            dead_letters=lanes.dead,
            gaps=follower.gaps,
            accepted_wall_ms=sender.accepted_wall_ms,
            failing_wall_ms=sender.failing_wall_ms,
            error=sender.error,
            error_wall_ms=sender.error_wall_ms,
        )

    def _state(self) -> str:
        if self._sender.is_gone:
            return "gone"
        if self._follower.is_taken:
            return "taken"
        if self._lanes.failing_ms >= 0:
            return "failing"
        return "delivering" if self._follower.is_following else "starting"
