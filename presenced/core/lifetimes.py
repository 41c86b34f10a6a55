"""Computes until when a device is live, and when it has to be looked at next. Pure (protocol.md, 7.1 and 23.7).

A device stays live by heartbeats, or because it was promised for a time (`Device.lease_ms`). A promise holds whatever
becomes of the link, and ends at the promised time.
"""

from __future__ import annotations

from typing import Final

from presenced.core.idleness import next_level_ms
from presenced.core.model import GRACE, Device
from presenced.core.part import Start
from presenced.core.policy import Policy

KEPT_MS: Final = 86_400_000
"""How often a device is looked at whose link's lease is kept elsewhere, if nothing else is due for it."""


def is_over(device: Device, now_ms: int) -> bool:
    """Whether the grace or the lease of a live device has ended. O(1)."""
    due_ms = device.grace_until_ms if device.state == GRACE else device.lease_ms
    return due_ms is not None and now_ms >= due_ms


def link_fault(device: Device, now_ms: int, policy: Policy) -> str:
    """For which code the link of a device is to be ended by now; "" = for none. O(1)."""
    session = device.session
    if session is None or device.lease_ms is not None:
        return ""
    if session.is_kept and not device.ref:
        return ""
    if session.expires_ms and now_ms >= session.expires_ms and not device.ref:
        return "token_expired"
    return "lease_expired" if now_ms >= device.heard_ms + policy.timeout_ms else ""


def deadline(device: Device, policy: Policy, assumed_ms: int) -> int:
    """When something is next due for a live device, if nothing is heard of it until then. `assumed_ms` as in
    `idleness`. O(claims of its user)."""
    if device.state == GRACE:
        due_ms = device.grace_until_ms
    elif device.lease_ms is not None:
        due_ms = device.lease_ms
    else:
        due_ms = device.heard_ms + policy.timeout_ms
        session = device.session
        if session is not None and not device.ref:
            if session.is_kept:
                due_ms = device.heard_ms + KEPT_MS
            elif session.expires_ms:
                due_ms = min(due_ms, session.expires_ms)
    return next_level_ms(device, due_ms, policy, assumed_ms)


def grace_end_ms(device: Device, lost_ms: int, policy: Policy) -> int:
    """When the grace of a device ends that lost its link at `lost_ms`. O(1)."""
    return device.lease_ms if device.lease_ms is not None else lost_ms + policy.grace_of(device.kind)


def held_until_ms(device: Device, since_ms: int, spread_ms: int, start: Start, policy: Policy) -> int:
    """When the grace of a device ends that was live when the daemon stopped: it has the grace of its kind, no less than
    that of the start, and `spread_ms` more, from `since_ms`, the first start since it was last there. O(1)."""
    if device.lease_ms is not None:
        return device.lease_ms
    patience_ms = max(policy.grace_of(device.kind), start.grace_ms) + spread_ms
    return max(start.now_ms, min(since_ms, start.now_ms) + patience_ms)


def kept_ms(moment_ms: int, jump_ms: int, now_ms: int) -> int:
    """The moment that has the same wall time as this one had before the clock was set, if that is not to come."""
    kept = moment_ms - jump_ms
    return kept if kept <= now_ms else moment_ms
