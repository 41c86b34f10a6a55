"""Sends what the lanes give out, so many requests at a time, and tells them what came of each."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

from presenced.durations import format_duration
from presenced.server.clocks import Clocks
from presenced.webhooks.faults import REASONS, DeliveryFault
from presenced.webhooks.http_client import HttpClient, PostAnswer, retry_after_ms
from presenced.webhooks.lanes import Delivery, DeliveryBatch, Lanes
from presenced.webhooks.payloads import body_of, request_id
from presenced.webhooks.plan import Plan
from presenced.webhooks.signatures import sign

PAUSE_ASKED_MS_MAX: Final = 3_600_000
"""The longest pause that a receiver may ask for."""

GONE: Final = 410
BUSY: Final = (429, 503)
"""What a receiver says that wants a pause."""

OWN_FAULTS: Final = frozenset({"4xx"})
"""Failures that an event may have by itself. Others would have met any event."""

log = logging.getLogger("presenced")


class Sender:
    """Requests under way."""

    def __init__(
        self, plan: Plan, lanes: Lanes, client: HttpClient, clocks: Clocks, settled: Callable[[], object]
    ) -> None:
        """`settled` is called after each request whose result is known."""
        self.plan = plan
        self.is_gone = False
        """The receiver wants no more: it has said 410."""
        self.requests = 0
        self.under_way = 0
        """Requests that wait for an answer."""
        self.accepted = 0
        self.failures: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self.accepted_wall_ms = 0
        self.failing_wall_ms = 0
        self.error = ""
        self.error_wall_ms = 0
        self._lanes = lanes
        self._client = client
        self._clocks = clocks
        self._settled = settled
        self._workers: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_open = True
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_passed = False
        """A request was begun in this pass of the loop."""

    def adopt(self, plan: Plan) -> None:
        """Go by another plan from the next request on, also with a receiver that was gone."""
        self.plan, self.is_gone, self.failing_wall_ms = plan, False, 0

    def pump(self) -> None:
        """Send what may leave now. To be called when something may have changed. O(1) if nothing has."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._is_open or self.is_gone:
            return
        loop = asyncio.get_running_loop()
        while len(self._workers) < self.plan.concurrency:
            batch = self._lanes.take(self._clocks.monotonic_ms())
            if batch is None:
                break
            worker = loop.create_task(self._work(batch))
            self._workers.add(worker)
            worker.add_done_callback(self._end_worker)
        now_ms = self._clocks.monotonic_ms()
        next_ms = self._lanes.next_ms(now_ms)
        if next_ms is not None and len(self._workers) < self.plan.concurrency:
            self._timer = loop.call_later(max(1, next_ms - now_ms) / 1000, self.pump)

    def stop(self) -> None:
        """Begin no further request; those under way go on."""
        self._is_open = False
        self.pump()

    async def close(self) -> None:
        """End at once, also what is under way. Idempotent."""
        self.stop()
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        self._client.close()

    async def _work(self, batch: DeliveryBatch | None) -> None:
        """Send a batch, and whatever may leave then."""
        while batch is not None:
            try:
                await self._wait_for_pass()
                is_sent = self._may_leave(batch)
                fault = await self._try(batch) if is_sent else None
            except BaseException:
                self._lanes.returned(batch)
                raise
            if is_sent:
                self._note(batch, fault)
            else:
                self._lanes.returned(batch)
            is_wanted = self._is_open and not self.is_gone and len(self._workers) <= self.plan.concurrency
            batch = self._lanes.take(self._clocks.monotonic_ms()) if is_wanted else None

    def _may_leave(self, batch: DeliveryBatch) -> bool:
        """Whether the batch is still wanted as it is. While it waited for its pass, a stop may have begun, the receiver
        may have said that it is gone, and a reload may have asked for smaller batches: an object has room for one
        event, and the others would count as accepted."""
        return self._is_open and not self.is_gone and len(batch.deliveries) <= self.plan.rules.batch

    def _end_worker(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            log.error("webhooks: an internal failure", exc_info=error)
        self.pump()

    async def _wait_for_pass(self) -> None:
        """Wait until no other request is begun in this pass of the loop: links must not wait for eight of them."""
        loop = asyncio.get_running_loop()
        if self._is_passed:
            place = loop.create_future()
            self._waiting.append(place)
            await place
        self._is_passed = True
        loop.call_soon(self._end_pass)

    def _end_pass(self) -> None:
        self._is_passed = False
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return

    async def _try(self, batch: DeliveryBatch) -> DeliveryFault | None:
        deliveries = batch.deliveries
        body = body_of(deliveries, is_array=self.plan.rules.batch > 1)
        self.requests += 1
        self.under_way += 1
        try:
            answer = await self.post(request_id(deliveries), body)
        except DeliveryFault as fault:
            return fault
        finally:
            self.under_way -= 1
        return None if 200 <= answer.status < 300 else self._fault_of(answer)

    async def post(self, message_id: str, body: bytes) -> PostAnswer:
        """Sign and post the body. Raises `DeliveryFault`."""
        plan, time_s = self.plan, self._clocks.wall_ms() // 1000
        headers = (
            ("webhook-id", message_id),
            ("webhook-timestamp", str(time_s)),
            ("webhook-signature", sign(plan.secrets, message_id, time_s, body)),
        )
        try:
            return await self._client.post(plan.way, headers, body, plan.timeout_ms / 1000)
        except TimeoutError:
            raise DeliveryFault("timeout", f"no answer came within {format_duration(plan.timeout_ms)}") from None

    def _fault_of(self, answer: PostAnswer) -> DeliveryFault:
        status = answer.status
        reason = "429" if status == 429 else f"{status // 100}xx"
        pause_ms = retry_after_ms(answer.retry_after, self._clocks.wall_ms()) if status in BUSY else 0
        where = "; redirects are not followed" if reason == "3xx" else ""
        if status == GONE:
            self.is_gone = True
        return DeliveryFault(reason, f"the receiver said {status}{where}", min(pause_ms, PAUSE_ASKED_MS_MAX))

    # --- what came of it --------------------------------------------------------------------------------------

    def _note(self, batch: DeliveryBatch, fault: DeliveryFault | None) -> None:
        if fault is None:
            self._lanes.accepted(batch)
            self.accepted += len(batch.deliveries)
            self.accepted_wall_ms = self._clocks.wall_ms()
        else:
            self._note_fault(batch, fault)
        self._tell_of_gate()
        self._settled()

    def _note_fault(self, batch: DeliveryBatch, fault: DeliveryFault) -> None:
        self.failures[fault.reason if fault.reason in self.failures else "protocol"] += 1
        self.error, self.error_wall_ms = fault.sentence, self._clocks.wall_ms()
        if self.is_gone:
            self._lanes.returned(batch)
            log.error("webhooks: %s has said 410 (gone); nothing is posted until a reload or restart", self._receiver)
            return
        now_ms = self._clocks.monotonic_ms()
        given_up = self._lanes.failed(
            batch, now_ms, is_receivers=fault.reason not in OWN_FAULTS, pause_ms=fault.pause_ms
        )
        _tell_of_dead(given_up, fault)

    def _tell_of_gate(self) -> None:
        is_failing = self._lanes.failing_ms >= 0
        if is_failing and not self.failing_wall_ms:
            self.failing_wall_ms = self._clocks.wall_ms()
            log.warning("webhooks: %s takes nothing and is tried now and then: %s", self._receiver, self.error)
        elif not is_failing and self.failing_wall_ms:
            for_ms = max(0, self._clocks.wall_ms() - self.failing_wall_ms)
            self.failing_wall_ms = 0
            log.info("webhooks: %s takes events again, after %s", self._receiver, format_duration(max(1000, for_ms)))

    @property
    def _receiver(self) -> str:
        return self.plan.way.receiver.origin


def _tell_of_dead(given_up: Sequence[Delivery], fault: DeliveryFault) -> None:
    for delivery in given_up:
        log.error(
            "webhooks: dead letter %s of %s after %d tries: %s",
            delivery.id,
            delivery.user,
            delivery.tries,
            fault.sentence,
        )
