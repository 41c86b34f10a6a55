"""How idle a device is: a level that follows from when its person last touched it, and when the next level comes. Pure
(protocol.md, 7.2).

`assumed_ms` is when the daemon was started with what was saved. Heartbeats are not saved: whoever was active until the
stop may have been so to the end, whatever input of theirs was saved last.
"""

from __future__ import annotations

from presenced.core.model import ACTIVE, ASSUMED, IDLE_AWAY, IDLE_OFFLINE, Device
from presenced.core.policy import Policy
from presenced.core.precedence import in_call


def last_active_ms(device: Device, assumed_ms: int) -> int:
    """The last input, or the latest that it may have been if only what was saved is known."""
    if device.idle_known == ASSUMED and device.idle_level == ACTIVE:
        return max(device.active_ms, assumed_ms)
    return device.active_ms


def idle_level(device: Device, now_ms: int, policy: Policy, assumed_ms: int) -> int:
    """The level that the device is on now. O(claims of its user)."""
    if not device.idle_known:
        # Active, unless it was restored from disk as idle and has not reported since.
        return device.idle_level
    idle_ms = now_ms - last_active_ms(device, assumed_ms)
    level = level_for(idle_ms, *policy.idle_limits(device.kind))
    if level == ACTIVE:
        return ACTIVE
    if in_call(device.user) and (level != IDLE_OFFLINE or device.idle_level != IDLE_OFFLINE):
        return ACTIVE
    return level


def level_for(idle_ms: int, away_ms: int, offline_ms: int) -> int:
    """The level of a device that has been idle for so long, by the two times of its kind (0 = never). O(1)."""
    if offline_ms and idle_ms >= offline_ms:
        return IDLE_OFFLINE
    return IDLE_AWAY if away_ms and idle_ms >= away_ms else ACTIVE


def next_level_ms(device: Device, due_ms: int, policy: Policy, assumed_ms: int) -> int:
    """When the next level comes if nothing is heard of the device, or `due_ms` if that is before. O(claims)."""
    if not device.idle_known or in_call(device.user):
        return due_ms
    away_ms, offline_ms = policy.idle_limits(device.kind)
    active_ms = last_active_ms(device, assumed_ms)
    if device.idle_level == ACTIVE and away_ms:
        due_ms = min(due_ms, active_ms + away_ms)
    if device.idle_level != IDLE_OFFLINE and offline_ms:
        due_ms = min(due_ms, active_ms + offline_ms)
    return due_ms
