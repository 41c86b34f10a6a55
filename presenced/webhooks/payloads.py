"""What a delivery says: one JSON object for each event (protocol.md, section 26)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from presenced.webhooks.lanes import Cursor, Delivery
from presenced.wire.messages import Event

LOST = "events_lost"
TEST = "test"


class EventData(msgspec.Struct, frozen=True):
    """The event, with the names of protocol.md, section 13.32."""

    user: str
    old: str
    new: str
    reason: str
    old_emoji: str
    new_emoji: str
    at_ms: int
    epoch: int
    seq: int


class LostData(msgspec.Struct, frozen=True):
    """Where the events go on."""

    epoch: int
    seq: int


class Payload(msgspec.Struct, frozen=True):
    """One event as it is posted."""

    type: str
    id: str
    timestamp: str
    data: EventData | LostData | dict[str, str]


def delivery_of(event: Event, epoch: int) -> Delivery:
    """The delivery of one event. Its id is the same in every try, and after every restart."""
    event_id = f"evt_{epoch}_{event.seq}"
    data = EventData(
        event.user,
        event.old,
        event.new,
        event.reason,
        event.old_emoji,
        event.new_emoji,
        event.at_ms,
        epoch,
        event.seq,
    )
    body = msgspec.json.encode(Payload(event.kind, event_id, iso(event.at_ms), data))
    return Delivery(event.user, event_id, body, event.at_ms)


def lost_delivery(cursor: Cursor, wall_ms: int) -> Delivery:
    """The delivery that tells that events before the cursor were lost."""
    event_id = f"lost_{cursor.epoch}_{cursor.seq}"
    payload = Payload(LOST, event_id, iso(wall_ms), LostData(cursor.epoch, cursor.seq))
    # No user has the empty name, so this lane is nobody's.
    return Delivery("", event_id, msgspec.json.encode(payload), wall_ms, is_barrier=True)


def delivery_for_test(number: int, wall_ms: int) -> Delivery:
    """A delivery of nothing, to see whether the receiver takes it."""
    event_id = f"test_{wall_ms}_{number}"
    note = {"note": "presencectl webhooks --test"}
    return Delivery("", event_id, msgspec.json.encode(Payload(TEST, event_id, iso(wall_ms), note)), wall_ms)


def request_id(deliveries: Sequence[Delivery]) -> str:
    """What the header webhook-id says: the event's id, or one that names the events of the batch."""
    first = deliveries[0].id
    return first if len(deliveries) == 1 else f"batch_{first}_{len(deliveries)}"


def body_of(deliveries: Sequence[Delivery], *, is_array: bool) -> bytes:
    """The body of one request."""
    return b"[" + b",".join(delivery.body for delivery in deliveries) + b"]" if is_array else deliveries[0].body


def iso(wall_ms: int) -> str:
    """`2026-01-01T00:00:00.000Z`."""
    return datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
