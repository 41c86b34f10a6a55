"""Requests about what users did, and when they were last seen (protocol.md, sections 16.2 and 16.3)."""

from __future__ import annotations

from presenced.address import check_channel, check_label, check_name
from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.parts.activity import time_of_activity
from presenced.core.replies import acknowledge, reply
from presenced.core.requests import costs
from presenced.core.requests.handler import Handler
from presenced.core.targets import (
    device_of,
    known_user,
    name_of,
    require_durability,
    require_live,
    require_memory,
    user_of,
)
from presenced.errors import AddressError, RequestError
from presenced.limits import LABEL_BYTES_MAX, PAYLOAD_BYTES_MAX
from presenced.wire.messages import ActivityInfo, ActivityList, AddActivity, GetActivity, Touch


def _add_activity(engine: Engine, session: Session, now_ms: int, message: AddActivity) -> None:
    require_durability(engine)
    if not message.activity:
        raise RequestError("bad_activity", f"the activity type is empty; give it 1 to {LABEL_BYTES_MAX} bytes")
    try:
        check_name(message.activity, "activity type")
        check_label(message.payload, "payload", PAYLOAD_BYTES_MAX)
    except AddressError as error:
        raise RequestError("bad_activity", error.message) from None
    if len(message.activity.encode()) > LABEL_BYTES_MAX:
        raise RequestError("bad_activity", f"the activity type is longer than {LABEL_BYTES_MAX} bytes; shorten it")
    if message.channel:
        check_channel(message.channel)
    at_ms = time_of_activity(message.at_ms, engine.clock.wall_ms(now_ms))
    require_memory(engine)
    device = device_of(engine, session, message.user, message.device)
    if device is not None:
        require_live(device)
    user = device.user if device is not None else user_of(engine, session, message.user)
    device_id = device.id if device is not None else ""
    activity = ActivityInfo(message.activity, message.channel, device_id, at_ms, message.payload)
    engine.activities.add(now_ms, user, device, activity, may_repeat=bool(message.at_ms))
    acknowledge(engine, session, message.id)


def _get_activity(engine: Engine, session: Session, now_ms: int, message: GetActivity) -> None:
    user = known_user(engine, session, message.user)
    found = engine.activities.recent(now_ms, user, message.limit, message.since_ms) if user is not None else []
    name = name_of(engine, session, message.user)
    reply(engine, session, ActivityList(message.id, name, found))


def _touch(engine: Engine, session: Session, now_ms: int, message: Touch) -> None:
    require_durability(engine)
    device = device_of(engine, session, message.user, message.device)
    user = device.user if device is not None else user_of(engine, session, message.user)
    engine.devices.touch(now_ms, session, user, device)
    acknowledge(engine, session, message.id)


HANDLERS: dict[type, Handler] = {
    AddActivity: Handler(_add_activity, changes=True),
    GetActivity: Handler(_get_activity, costs.activities, has_long_answer=True),
    Touch: Handler(_touch, changes=True),
}
