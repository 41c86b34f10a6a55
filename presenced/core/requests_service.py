"""Requests about users' devices, claims and activities: a service's for anybody, a user's for themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from presenced.address import check_label, check_name
from presenced.core.activity import keep_activity, recent_activities, time_of_activity
from presenced.core.claims import MANUAL, SCHEDULED
from presenced.core.engine import Engine
from presenced.core.model import GONE, Claim, Schedule, Session
from presenced.core.records import ActivityAdded
from presenced.core.replying import acknowledge, done
from presenced.core.subjects import (
    check_channel,
    device_of,
    known_user,
    name_of,
    require_durability,
    require_live,
    require_service,
    user_of,
)
from presenced.core.sync import claim_infos, device_info
from presenced.errors import AddressError, RequestError
from presenced.limits import DURATION_MS_MAX, LABEL_BYTES_MAX, PAYLOAD_BYTES_MAX, ZONE_BYTES_MAX
from presenced.wire.messages import (
    ActivityInfo,
    ActivityList,
    AddActivity,
    AddClaim,
    Attach,
    Beats,
    ClaimList,
    Detach,
    DeviceInfo,
    DeviceList,
    EndClaim,
    Forget,
    GetActivity,
    GetClaims,
    GetDevices,
    SetSchedule,
    Touch,
    encode,
)


def _attach(engine: Engine, session: Session, now_ms: int, message: Attach) -> None:
    require_service(session)
    if message.user not in engine.users:
        check_name(message.user, "user")
    check_name(message.device, "device")
    check_label(message.kind, "kind")
    check_label(message.name, "device label")
    engine.attach(
        now_ms,
        session,
        message.device,
        user_name=message.user,
        ref=message.ref,
        kind=message.kind,
        name=message.name,
        priority=message.priority,
        status=message.status,
        idle_ms=message.idle_ms,
    )
    done(engine, session, message.id)


def _detach(engine: Engine, session: Session, now_ms: int, message: Detach) -> None:
    require_service(session)
    device = (session.refs or {}).get(message.ref)
    if device is None:
        raise RequestError("no_such_device", f"this link holds no device under the ref {message.ref}")
    engine.release(now_ms, device, lost=message.lost)
    done(engine, session, message.id)


def _beats(engine: Engine, session: Session, now_ms: int, message: Beats) -> None:
    require_service(session)
    if len(message.beats) % 2:
        raise RequestError("bad_request", "Beats: a ref without an idle time at the end")
    engine.leases.beats(session, now_ms, message.beats)


def _forget(engine: Engine, session: Session, now_ms: int, message: Forget) -> None:
    require_durability(engine)
    device = device_of(engine, session, message.user, message.device)
    if device is None:
        raise RequestError("no_such_device", "name the device to forget")
    if device.state != GONE:
        raise RequestError("bad_request", f"{device.user.name}/{device.id} is live; only one that is gone is forgotten")
    engine.users.forget_device(device)
    engine.publisher.touch(device.user)
    acknowledge(engine, session, message.id)


def _get_devices(engine: Engine, session: Session, now_ms: int, message: GetDevices) -> None:
    user = known_user(engine, session, message.user)
    devices: list[DeviceInfo] = []
    if user is not None:
        engine.publisher.settle(user, now_ms)
        devices = [device_info(device, engine.publisher.wall_offset_ms) for device in user.devices.values()]
    name = name_of(session, message.user)
    engine.publisher.reply(session, encode(DeviceList(message.id, name, devices)))


def _touch(engine: Engine, session: Session, now_ms: int, message: Touch) -> None:
    require_durability(engine)
    device = device_of(engine, session, message.user, message.device)
    user = device.user if device is not None else user_of(engine, session, message.user)
    engine.touch_user(now_ms, user, device)
    acknowledge(engine, session, message.id)


def _add_claim(engine: Engine, session: Session, now_ms: int, message: AddClaim) -> None:
    require_durability(engine)
    check_name(message.claim, "claim")
    if message.claim == SCHEDULED or message.source == "schedule":
        raise RequestError("bad_request", "schedule is what set_schedule makes; choose another name and source")
    if message.claim == MANUAL and message.source != "manual":
        raise RequestError("bad_request", "the claim named manual is the person's own; choose another name")
    offset_ms = engine.publisher.wall_offset_ms
    due_ms = now_ms + message.for_ms if message.for_ms else 0
    if message.until_ms:
        until_due_ms = message.until_ms - offset_ms
        if until_due_ms <= now_ms:
            raise RequestError("claim_past", f"until_ms {message.until_ms} is not after now ({now_ms + offset_ms})")
        if until_due_ms - now_ms > DURATION_MS_MAX:
            raise RequestError("bad_time", "until_ms is more than 366 days ahead; 0 holds until the claim is ended")
        due_ms = min(due_ms, until_due_ms) if due_ms else until_due_ms
    until_ms = due_ms + offset_ms if due_ms else 0
    claim = Claim(message.claim, message.source, message.status, now_ms + offset_ms, until_ms, due_ms)
    engine.claims.set(user_of(engine, session, message.user), claim)
    acknowledge(engine, session, message.id)


def _end_claim(engine: Engine, session: Session, now_ms: int, message: EndClaim) -> None:
    require_durability(engine)
    if message.claim == SCHEDULED:
        raise RequestError("bad_request", "what a schedule claims ends with its window, or with set_schedule")
    user = known_user(engine, session, message.user)
    if user is not None:
        engine.claims.end(user, message.claim)
    acknowledge(engine, session, message.id)


def _get_claims(engine: Engine, session: Session, now_ms: int, message: GetClaims) -> None:
    user = known_user(engine, session, message.user)
    name = name_of(session, message.user)
    schedule = user.schedule if user is not None else None
    reply = ClaimList(
        message.id,
        name,
        claim_infos(user) if user is not None else [],
        schedule.zone if schedule is not None else "",
        schedule.windows if schedule is not None else [],
        schedule.status if schedule is not None else "",
    )
    engine.publisher.reply(session, encode(reply))


def _set_schedule(engine: Engine, session: Session, now_ms: int, message: SetSchedule) -> None:
    require_durability(engine)
    schedule = None
    if message.windows:
        for window in message.windows:
            if window.start_min == window.end_min:
                raise RequestError("bad_schedule", "a window that starts when it ends has no length; leave it out")
        schedule = Schedule(message.zone, message.windows, message.status)
        if len(message.zone.encode()) > ZONE_BYTES_MAX or not _is_zone(engine, schedule, now_ms):
            raise RequestError("bad_schedule", f"{message.zone[:64]!r} is no time zone known here; write Europe/Berlin")
    engine.claims.set_schedule(user_of(engine, session, message.user), schedule, now_ms)
    acknowledge(engine, session, message.id)


def _is_zone(engine: Engine, schedule: Schedule, now_ms: int) -> bool:
    try:
        engine.calendar(schedule, now_ms + engine.publisher.wall_offset_ms)
    except LookupError:
        return False
    return True


def _add_activity(engine: Engine, session: Session, now_ms: int, message: AddActivity) -> None:
    require_durability(engine)
    publisher = engine.publisher
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
    at_ms = time_of_activity(message.at_ms, now_ms + publisher.wall_offset_ms)
    device = device_of(engine, session, message.user, message.device)
    if device is not None:
        require_live(device)
    user = device.user if device is not None else user_of(engine, session, message.user)
    device_id = device.id if device is not None else ""
    keep_activity(user, ActivityInfo(message.activity, message.channel, device_id, at_ms, message.payload))
    publisher.log(ActivityAdded(user.name, message.activity, message.channel, device_id, at_ms, message.payload))
    if device is not None:
        engine.leases.input(device, now_ms)
        publisher.touch(user)
    acknowledge(engine, session, message.id)


def _get_activity(engine: Engine, session: Session, now_ms: int, message: GetActivity) -> None:
    user = known_user(engine, session, message.user)
    found: list[ActivityInfo] = []
    if user is not None:
        wall_ms = now_ms + engine.publisher.wall_offset_ms
        found = recent_activities(user, message.limit, message.since_ms, wall_ms)
        engine.users.forget_if_blank(user)
    name = name_of(session, message.user)
    engine.publisher.reply(session, encode(ActivityList(message.id, name, found)))


HANDLERS: dict[type, Callable[[Engine, Session, int, Any], None]] = {
    Attach: _attach,
    Detach: _detach,
    Beats: _beats,
    Forget: _forget,
    GetDevices: _get_devices,
    Touch: _touch,
    AddClaim: _add_claim,
    EndClaim: _end_claim,
    GetClaims: _get_claims,
    SetSchedule: _set_schedule,
    AddActivity: _add_activity,
    GetActivity: _get_activity,
}
