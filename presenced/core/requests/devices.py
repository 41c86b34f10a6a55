"""Requests about devices: those of the users' own links, and those that a service holds (protocol.md, sections 7, 12.1
and 16.1)."""

from __future__ import annotations

from presenced.address import check_focus, check_label, check_meta, check_name
from presenced.core.engine import Engine
from presenced.core.model import GONE, Device, Session
from presenced.core.parts.own_state import device_info
from presenced.core.replies import acknowledge, done, reply
from presenced.core.requests import costs
from presenced.core.requests.handler import FROM_RECORDS, Handler
from presenced.core.targets import (
    device_of,
    known_user,
    name_of,
    require_acting,
    require_durability,
    require_live,
    require_memory,
    require_service,
    some_device_of,
)
from presenced.errors import RequestError
from presenced.wire.messages import (
    Attach,
    Beats,
    Bye,
    Detach,
    DeviceInfo,
    DeviceList,
    Focus,
    Forget,
    GetDevices,
    Heartbeat,
    SetDevice,
)


def _heartbeat(engine: Engine, session: Session, now_ms: int, message: Heartbeat) -> None:
    engine.heartbeat(session, now_ms, message.idle_ms)


def _bye(engine: Engine, session: Session, now_ms: int, message: Bye) -> None:
    engine.sessions.bye(now_ms, session)


def _attach(engine: Engine, session: Session, now_ms: int, message: Attach) -> None:
    require_service(session)
    require_acting(session, message.user)
    if message.user not in engine.users:
        check_name(message.user, "user")
    check_name(message.device, "device")
    check_label(message.kind, "kind")
    check_label(message.name, "device label")
    check_meta(message.meta or "")
    check_focus(message.focus)
    if message.for_at_most_ms:
        require_durability(engine)
    if engine.memory_level:
        known = engine.users.get(message.user)
        if known is None or message.device not in known.devices:
            require_memory(engine)
    engine.sessions.attach(
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
        as_was=message.as_was,
        only_free=message.only_free,
        for_at_most_ms=message.for_at_most_ms,
        meta=message.meta,
        focus=message.focus,
    )
    if message.for_at_most_ms:
        acknowledge(engine, session, message.id)
    else:
        done(engine, session, message.id)


def _detach(engine: Engine, session: Session, now_ms: int, message: Detach) -> None:
    require_service(session)
    within_ms = message.within_ms
    if within_ms is not None:
        require_durability(engine)
    device = _to_detach(engine, session, message)
    engine.sessions.release(now_ms, device, lost=message.lost, by=session, within_ms=within_ms)
    if within_ms is not None:
        acknowledge(engine, session, message.id)
    else:
        done(engine, session, message.id)


def _to_detach(engine: Engine, session: Session, message: Detach) -> Device:
    if not message.user and not message.device:
        device = (session.refs or {}).get(message.ref)
        if device is None:
            raise RequestError("no_such_device", f"this link holds no device under the ref {message.ref}")
        return device
    if not message.user or not message.device:
        raise RequestError("bad_request", "Detach: give both user and device, or neither of them and a ref")
    require_acting(session, message.user)
    check_name(message.user, "user")
    check_name(message.device, "device")
    user = engine.users.get(message.user)
    device = user.devices.get(message.device) if user is not None else None
    if device is None or not engine.holders.is_last(device, session):
        sentence = f"{message.user}/{message.device} is gone, or another client has it by now"
        raise RequestError("no_such_device", sentence)
    return device


def _beats(engine: Engine, session: Session, now_ms: int, message: Beats) -> None:
    require_service(session)
    if len(message.beats) % 2:
        raise RequestError("bad_request", "Beats: the last ref has no idle time")
    engine.sessions.beats(now_ms, session, message.beats)


def _set_device(engine: Engine, session: Session, now_ms: int, message: SetDevice) -> None:
    require_durability(engine)
    if message.name is not None:
        check_label(message.name, "device label")
    if message.meta is not None:
        check_meta(message.meta)
    device = some_device_of(engine, session, message.user, message.device)
    status, priority, name, meta = message.status, message.priority, message.name, message.meta
    # What an application keeps with a device may change while that is gone: the push service has refused its token.
    if meta is None or status is not None or priority is not None or name is not None:
        require_live(device)
    engine.devices.change(now_ms, device, status=status, priority=priority, name=name, meta=meta)
    acknowledge(engine, session, message.id)


def _focus(engine: Engine, session: Session, now_ms: int, message: Focus) -> None:
    check_focus(message.focus)
    if not message.ref:
        if session.device is None:
            raise RequestError("no_device", "this link has no device of its own; say the ref of one that it holds")
        engine.devices.set_focus(session.device, message.focus)
        return
    require_service(session)
    device = (session.refs or {}).get(message.ref)
    if device is not None:
        engine.devices.set_focus(device, message.focus)
    else:
        # As with beats: it may have lost the device a moment ago, and is told once.
        engine.holders.tell(session, message.ref, "not_held")


def _forget(engine: Engine, session: Session, now_ms: int, message: Forget) -> None:
    require_durability(engine)
    device = device_of(engine, session, message.user, message.device)
    if device is None:
        raise RequestError("no_such_device", "name the device to forget")
    if device.state != GONE:
        sentence = f"{device.user.name}/{device.id} is live; only a device that is gone can be forgotten"
        raise RequestError("bad_request", sentence)
    engine.devices.forget(device)
    acknowledge(engine, session, message.id)


def _get_devices(engine: Engine, session: Session, now_ms: int, message: GetDevices) -> None:
    user = known_user(engine, session, message.user)
    devices: list[DeviceInfo] = []
    if user is not None:
        devices = [device_info(device, engine.clock.offset_ms) for device in user.devices.values()]
    name = name_of(engine, session, message.user)
    reply(engine, session, DeviceList(message.id, name, devices))


HANDLERS: dict[type, Handler] = {
    Heartbeat: Handler(_heartbeat),
    Bye: Handler(_bye, costs.change),
    Attach: Handler(_attach, costs.change, changes=True),
    Detach: Handler(_detach, costs.change, changes=True),
    Beats: Handler(_beats, costs.beats, changes=True),
    SetDevice: Handler(_set_device, costs.change, changes=True),
    Forget: Handler(_forget, changes=True),
    GetDevices: Handler(_get_devices, timing=FROM_RECORDS, has_long_answer=True),
    Focus: Handler(_focus),
}
