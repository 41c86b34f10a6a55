"""What the log and the snapshots say of the state: a device as a fact, a whole user as facts."""

from __future__ import annotations

from collections.abc import Container

from presenced.core.model import GONE, UNTOLD, Device, User
from presenced.core.parts.activity import numbered
from presenced.core.records import (
    ActivityAdded,
    ClaimSet,
    DeviceSet,
    Fact,
    MembershipSet,
    RecordSet,
    ScheduleSet,
    ShownSet,
    TextSet,
)


def facts_of(user: User, wall_offset_ms: int, back_ms: int = 0, silent: Container[Device] = ()) -> list[Fact]:
    """What it takes to restore a settled user; nothing for one who is only watched. O(devices).

    `back_ms` and `silent` as in `Publisher`."""
    facts: list[Fact] = []
    name = user.name
    for claim in user.claims:
        facts.append(
            ClaimSet(name, claim.status, claim.since_ms, claim.until_ms, claim.name, claim.source, False, claim.device)
        )
    if user.schedule is not None:
        facts.append(ScheduleSet(name, user.schedule.zone, user.schedule.windows, user.schedule.status))
    if user.shown is not None:
        facts.append(ShownSet(name, user.shown.text, user.shown.emoji, user.shown.until_ms))
    if user.text or user.emoji:
        facts.append(TextSet(name, user.text, user.emoji, user.text_until_ms))
    for device in user.devices.values():
        facts.append(device_fact(device, wall_offset_ms, silent))
        for channel in device.channels or ():
            facts.append(MembershipSet(name, device.id, channel, True))
    if user.activities:
        for done, copies in numbered(user.activities):
            facts.append(
                ActivityAdded(name, done.activity, done.channel, done.device, done.at_ms, done.payload, copies)
            )
    if user.record.version:
        facts.append(record_fact(user, back_ms))
    return facts


def record_fact(user: User, back_ms: int) -> RecordSet:
    """The record as it stands. Its times as they were noted, unless the clock has turned out to be ahead then
    (`back_ms` < 0): while nobody knows which was wrong, that clock or this one, both may be."""
    record = user.record
    since_ms, seen_ms = user.since_ms, user.seen_ms
    if back_ms:
        since_ms, seen_ms = record.since_ms, record.last_seen_ms or seen_ms
    return RecordSet(user.name, record.status, since_ms, seen_ms, record.device, record.version)


def device_fact(device: Device, wall_offset_ms: int, silent: Container[Device] = ()) -> DeviceSet:
    """The device as it stands."""
    return DeviceSet(
        device.user.name,
        device.id,
        device.kind,
        device.name,
        device.priority,
        device.status,
        device.state != GONE,
        device.heard_ms + wall_offset_ms,
        device.active_ms + wall_offset_ms,
        device.idle_level,
        device.idle_known != UNTOLD,
        device.grace_until_ms + wall_offset_ms if device.state == GONE else 0,
        device in silent,
        device.holder,
        device.is_taken_out,
    )
