"""What leaves next: the events of each user in a lane of their own, in order, with pauses after failures.

Pure: time and chance come in as arguments. Two things can fail. If only some events are refused, their lanes pause, and
the others go on. If the receiver answers nothing well for a while, the gate closes: nothing leaves but one try after
each pause, until one is accepted.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, NamedTuple

HELD_MAX: Final = 1_000
"""Events that are read and not yet accepted. While there are so many, no more are read."""

DISTANCE_MAX: Final = 10_000
"""How many events that are wanted may be read behind the oldest one that is not accepted: as many are told twice after
a kill. The oldest is given up then, if it fails once more. What is not wanted is told to nobody, and does not count:
otherwise a receiver that is down for a minute would cost the few events that it wants of a busy server."""

TRIES_BEFORE_BARRIER: Final = 10
"""So often an event is tried that a barrier waits for. It is of little use by then: who is told that events were lost
asks for how things are."""

FAILURES_TO_CLOSE: Final = 4
"""Failures one after the other, of the receiver and not of an event, until the gate closes."""

DOUBLINGS_MAX: Final = 30


class RetryRules(NamedTuple):
    """How failures are met, as the operator chose; milliseconds."""

    retry_ms: int
    retry_max_ms: int
    give_up_after_ms: int
    batch: int


class Cursor(NamedTuple):
    """A place among the events."""

    epoch: int
    seq: int


class Delivery:
    """One event that is to be posted."""

    __slots__ = ("at_ms", "before", "body", "first_ms", "id", "is_barrier", "number", "tries", "user")

    def __init__(self, user: str, event_id: str, body: bytes, at_ms: int, *, is_barrier: bool = False) -> None:
        self.user = user
        self.id = event_id
        self.body = body
        self.at_ms = at_ms
        """Wall time of the event."""
        self.is_barrier = is_barrier
        """It leaves after all that was read before it, and no event behind it is read before it is accepted."""
        self.before = Cursor(0, 0)
        """The last place before it."""
        self.number = 0
        self.tries = 0
        self.first_ms = -1
        """When it was tried first."""


class DeliveryBatch(NamedTuple):
    """What one request carries."""

    deliveries: list[Delivery]
    is_probe: bool
    """It is sent to find out whether the receiver is back."""


class _Lane:
    """Of a user; in `_ready`, in `_waiting`, or its first event is under way."""

    __slots__ = ("queue", "user")

    def __init__(self, user: str) -> None:
        self.user = user
        self.queue: deque[Delivery] = deque()


class Lanes:
    """All lanes, and how far everything is accepted."""

    def __init__(self, rules: RetryRules, draw: Callable[[], float]) -> None:
        """`draw` returns a number from 0 up to 1, anew each time."""
        self.rules = rules
        self.dead = 0
        """Dead letters."""
        self.newest = Cursor(0, 0)
        """The last place that was read."""
        self.failing_ms = -1
        """Since when the gate is closed; -1 = it is open."""
        self._draw = draw
        self._lanes: dict[str, _Lane] = {}
        self._ready: OrderedDict[str, _Lane] = OrderedDict()
        self._waiting: list[tuple[int, int, _Lane]] = []
        """A heap, by when each is due."""
        self._open: OrderedDict[int, Delivery] = OrderedDict()
        """What is not accepted yet, in order."""
        self._number = 0
        self._barriers = 0
        self._failures = 0
        self._level = 0
        """Pauses of the gate so far."""
        self._gate_ms = 0
        """When the next try may leave while the gate is closed."""
        self._is_probing = False
        self._hold_ms = 0
        """Until then nothing leaves, because the receiver has asked for it."""

    def adopt(self, rules: RetryRules) -> None:
        """Go by other rules from now on. No pause goes on: whoever reloads has mended something. O(lanes)."""
        self.rules = rules
        self._hold_ms = self._failures = 0
        self._open_gate()

    # --- in ---------------------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """Events that are read and neither accepted nor given up."""
        return len(self._open)

    @property
    def oldest(self) -> Delivery | None:
        """The first of them."""
        return next(iter(self._open.values()), None)

    @property
    def position(self) -> Cursor:
        """Up to here everything is accepted, given up or not wanted. O(1)."""
        oldest = self.oldest
        return oldest.before if oldest is not None else self.newest

    @property
    def wants_more(self) -> bool:
        """Whether further events may be read."""
        return self.held < HELD_MAX and not self._barriers and not self._is_far

    @property
    def _is_far(self) -> bool:
        oldest = self.oldest
        return oldest is not None and self._number - oldest.number >= DISTANCE_MAX

    def pass_over(self, cursor: Cursor) -> None:
        """The events up to this place need no delivery. O(1)."""
        self.newest = cursor

    def add(self, delivery: Delivery, cursor: Cursor) -> None:
        """An event was read, whose place this is. O(1)."""
        delivery.before = self.newest
        self.pass_over(cursor)
        self._number += 1
        delivery.number = self._number
        self._open[delivery.number] = delivery
        self._barriers += delivery.is_barrier
        lane = self._lanes.get(delivery.user)
        is_new = lane is None
        if lane is None:
            lane = self._lanes[delivery.user] = _Lane(delivery.user)
        lane.queue.append(delivery)
        if is_new and (not delivery.is_barrier or delivery is self.oldest):
            self._set_ready(lane)

    # --- out --------------------------------------------------------------------------------------------------

    def next_ms(self, now_ms: int) -> int | None:
        """When `take` has something; None = only after something else has happened. O(log lanes)."""
        earliest_ms = max(now_ms, self._hold_ms)
        if self.failing_ms >= 0:
            is_possible = not self._is_probing and (self._ready or self._waiting)
            return max(earliest_ms, self._gate_ms) if is_possible else None
        if self._ready:
            return earliest_ms
        return max(earliest_ms, self._waiting[0][0]) if self._waiting else None

    def take(self, now_ms: int) -> DeliveryBatch | None:
        """What may leave now, if anything. It is to be told to `accepted` or `failed`. O(events in it + log lanes)."""
        if now_ms < self._hold_ms:
            return None
        if self.failing_ms >= 0:
            return self._take_probe(now_ms)
        self._wake(now_ms)
        deliveries: list[Delivery] = []
        while self._ready and len(deliveries) < self.rules.batch:
            user, lane = next(iter(self._ready.items()))
            is_retry = lane.queue[0].tries > 0
            if is_retry and deliveries:
                break
            del self._ready[user]
            for delivery in lane.queue:
                deliveries.append(delivery)
                if is_retry or len(deliveries) >= self.rules.batch:
                    break
            if is_retry:
                break
        return self._begin(deliveries, now_ms, is_probe=False)

    def _take_probe(self, now_ms: int) -> DeliveryBatch | None:
        """One event, that of a lane which was not tried for longest."""
        if self._is_probing or now_ms < self._gate_ms:
            return None
        if self._ready:
            _, lane = self._ready.popitem(last=False)
        elif self._waiting:
            lane = heapq.heappop(self._waiting)[2]
        else:
            return None
        self._is_probing = True
        return self._begin([lane.queue[0]], now_ms, is_probe=True)

    def _begin(self, deliveries: list[Delivery], now_ms: int, *, is_probe: bool) -> DeliveryBatch | None:
        for delivery in deliveries:
            if delivery.first_ms < 0:
                delivery.first_ms = now_ms
        return DeliveryBatch(deliveries, is_probe) if deliveries else None

    def _wake(self, now_ms: int) -> None:
        while self._waiting and self._waiting[0][0] <= now_ms:
            self._set_ready(heapq.heappop(self._waiting)[2])

    def _set_ready(self, lane: _Lane) -> None:
        self._ready[lane.user] = lane

    # --- what came of it --------------------------------------------------------------------------------------

    def accepted(self, batch: DeliveryBatch) -> None:
        """The receiver has taken it. O(events in it + lanes that wait, if the gate opens)."""
        self._end_probe(batch)
        self._failures = 0
        if self.failing_ms >= 0:
            self._open_gate()
        for lane in self._lanes_of(batch):
            self._remove_first(lane, batch.deliveries)

    def _open_gate(self) -> None:
        self.failing_ms, self._level = -1, 0
        # Those that wait have mostly failed for the same reason, and it is gone.
        for _, _, lane in self._waiting:
            self._set_ready(lane)
        self._waiting.clear()

    def failed(self, batch: DeliveryBatch, now_ms: int, *, is_receivers: bool, pause_ms: int = 0) -> list[Delivery]:
        """The receiver has not taken it. `is_receivers`: others would fare no better (it is down, or busy); else the
        event itself may be the reason. `pause_ms` is how long the receiver asks for no request at all. Returns what is
        given up. O(events in it + log lanes)."""
        self._end_probe(batch)
        if is_receivers:
            self._note_failure(batch, now_ms, pause_ms)
        elif self.failing_ms >= 0:
            self._open_gate()
            self._failures = 0
        given_up: list[Delivery] = []
        for lane in self._lanes_of(batch):
            first = lane.queue[0]
            first.tries += 1
            if self._is_hopeless(first, now_ms, is_receivers=is_receivers):
                given_up.append(first)
                self._remove_first(lane, [first])
            else:
                self._wait(lane, now_ms + self._pause(first.tries))
        self.dead += len(given_up)
        return given_up

    def returned(self, batch: DeliveryBatch) -> None:
        """It is not known what came of it, and that counts as nothing: it leaves again."""
        self._end_probe(batch)
        for lane in self._lanes_of(batch):
            self._set_ready(lane)

    def _note_failure(self, batch: DeliveryBatch, now_ms: int, pause_ms: int) -> None:
        self._failures += 1
        if pause_ms:
            # What was under way may still be accepted, and opens the gate, but not this.
            self._hold_ms = max(self._hold_ms, now_ms + pause_ms)
        was_open = self.failing_ms < 0
        if was_open and self._failures < FAILURES_TO_CLOSE and not pause_ms:
            return
        if was_open:
            self.failing_ms = now_ms
        if was_open or batch.is_probe:
            self._level += 1
            self._gate_ms = now_ms + self._pause(self._level)

    def _pause(self, failures: int) -> int:
        """Full jitter: anything from 0 to a bound that doubles."""
        bound_ms = min(self.rules.retry_max_ms, self.rules.retry_ms << min(failures - 1, DOUBLINGS_MAX))
        return int(self._draw() * bound_ms)

    def _is_hopeless(self, delivery: Delivery, now_ms: int, *, is_receivers: bool) -> bool:
        if delivery.is_barrier:
            # That events were lost is never given up: nothing else tells of it.
            return False
        if self._barriers and (not is_receivers or delivery.tries >= TRIES_BEFORE_BARRIER):
            return True
        is_late = now_ms - delivery.first_ms >= self.rules.give_up_after_ms
        return is_late or (self._is_far and delivery is self.oldest)

    def _wait(self, lane: _Lane, due_ms: int) -> None:
        heapq.heappush(self._waiting, (due_ms, lane.queue[0].number, lane))

    def _remove_first(self, lane: _Lane, deliveries: list[Delivery]) -> None:
        """Take those of them out that stand first in the lane, in which nothing is under way any longer."""
        gone = {delivery.number for delivery in deliveries}
        while lane.queue and lane.queue[0].number in gone:
            delivery = lane.queue.popleft()
            del self._open[delivery.number]
            self._barriers -= delivery.is_barrier
        if lane.queue:
            self._set_ready(lane)
        else:
            del self._lanes[lane.user]
        oldest = self.oldest
        if oldest is not None and oldest.is_barrier:
            self._set_ready(self._lanes[oldest.user])

    def _lanes_of(self, batch: DeliveryBatch) -> list[_Lane]:
        return [self._lanes[user] for user in dict.fromkeys(delivery.user for delivery in batch.deliveries)]

    def _end_probe(self, batch: DeliveryBatch) -> None:
        if batch.is_probe:
            self._is_probing = False
