"""A device as a fact for the log, and back."""

from __future__ import annotations

from collections.abc import Container

from presenced.core.model import ASSUMED, CONNECTED, GONE, GRACE, UNTOLD, Device
from presenced.core.part import Restoring
from presenced.core.records import DeviceSet


def device_fact(device: Device, offset_ms: int, silent: Container[Device]) -> DeviceSet:
    """The device as it stands. `offset_ms`: wall time minus monotonic time. `silent`: those that were in grace when the
    daemon began to stop. So is one of a copy that is in grace, and when that ends is said if it is known."""
    lease_ms, is_in_grace = device.lease_ms, device.state == GRACE
    end_ms = device.grace_until_ms if device.state == GONE else None
    is_silent = device in silent or (lease_ms is not None and is_in_grace)
    if is_in_grace and device.user.is_copy:
        is_silent, end_ms = True, device.grace_until_ms if device.grace_until_ms > device.heard_ms else None
    return DeviceSet(
        device.user.name,
        device.id,
        device.kind,
        device.name,
        device.priority,
        device.status,
        device.state != GONE,
        device.heard_ms + offset_ms,
        device.active_ms + offset_ms,
        device.idle_level,
        device.idle_known != UNTOLD,
        end_ms + offset_ms if end_ms is not None else 0,
        is_silent,
        device.holder,
        device.is_taken_out,
        device.meta,
        lease_ms + offset_ms if lease_ms is not None else 0,
    )


def restore_device(source: Restoring, fact: DeviceSet) -> None:
    """Enter the device as the fact says. One that was live is left to `Devices.resume`: CONNECTED, or GRACE if it was
    silent."""
    device = write_device(source, fact)
    if not fact.live:
        device.channels = None


def write_device(source: Restoring, fact: DeviceSet) -> Device:
    """Enter the device as the fact says, as `restore_device` does, except the channels of one that is gone: whoever
    counts on them ends that first."""
    user = source.user(fact.user)
    device = user.devices.get(fact.device)
    if device is None:
        device_id = source.shared(fact.device)
        device = user.devices[device_id] = Device(user, device_id)
    device.kind, device.name = source.shared(fact.kind), source.shared(fact.name)
    device.meta = fact.meta
    device.priority, device.status = fact.priority, fact.status
    device.state = GONE if not fact.live else GRACE if fact.silent else CONNECTED
    # What was in the future then, by a clock that was ahead, would outdo all that is real from now on.
    now_ms, offset_ms = source.now_ms, source.offset_ms
    device.heard_ms = min(fact.last_seen_ms - offset_ms, now_ms)
    device.active_ms = one_object(min(fact.active_ms - offset_ms, now_ms), device.heard_ms)
    if fact.gone_ms and fact.live:
        device.grace_until_ms = source.due_ms(fact.gone_ms)
    else:
        gone_ms = min(fact.gone_ms - offset_ms, now_ms) if fact.gone_ms else device.heard_ms
        device.grace_until_ms = one_object(gone_ms, device.heard_ms)
    device.idle_level = fact.idle_level
    device.idle_known = ASSUMED if fact.idle_known else UNTOLD
    device.holder = source.shared_number(fact.holder) if fact.live else 0
    device.is_taken_out = fact.taken_out
    device.lease_ms = source.due_ms(fact.lease_until_ms) if fact.live and fact.lease_until_ms else None
    return device


def one_object(value: int, known: int) -> int:
    """The same number, as the object that is kept already if it is that: a time takes 32 bytes, and of a million users
    most have a device whose last input is its last sign of life."""
    return known if value == known else value
