"""The merge: from what devices and people say to what watchers see. A pure function of the state, without time.

Time enters only through events that change the state (an idle level, a grace that ends, a claim that expires), so
the same state always merges to the same record and two devices that disagree give one steady answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from presenced.core.model import ACTIVE, GONE, IDLE_OFFLINE, Claim, Device
from presenced.wire.messages import Status

RANK: dict[Status, int] = {"dnd": 5, "chat": 4, "online": 3, "away": 2, "xa": 1, "offline": 0}
"""Which of the statuses of a user's devices wins. Somebody who asked not to be disturbed on one device meant
themselves, unless they use another; otherwise the most available device speaks (as XMPP's clients do by priority)."""


def countable(device: Device) -> bool:
    """Whether the device makes its user available: live, not of negative priority (RFC 6121, 4.7.2.3), and not
    idle for so long that it counts as offline."""
    return device.state != GONE and device.priority >= 0 and device.idle_level != IDLE_OFFLINE


def device_status(device: Device) -> Status:
    """A countable device's own status: as it says, except that an idle one is at most away."""
    if device.idle_level != ACTIVE and device.status in ("online", "chat"):
        return "away"
    return device.status


def merge(
    devices: Iterable[Device], claim: Claim | None, primary: Device | None, hysteresis_ms: int
) -> tuple[Status, Device | None]:
    """The status that watchers see, and the primary device (None while offline). O(devices).

    `primary` is the current primary: it stays while it counts and no other device has had input more than
    `hysteresis_ms` later, so that two devices in use at once do not take turns.
    """
    if claim is not None and claim.status == "offline":
        return "offline", None
    best: Status = "offline"
    best_rank = 0
    latest: Device | None = None
    keeps = in_use = idle_dnd = False
    for device in devices:
        if not countable(device):
            continue
        status = device_status(device)
        if device.idle_level == ACTIVE:
            in_use = True
        elif status == "dnd":
            # Said on a device that nobody touches: it speaks for its user only while no other is in use.
            idle_dnd, status = True, "away"
        rank = RANK[status]
        if rank > best_rank:
            best, best_rank = status, rank
        if latest is None or device.active_ms > latest.active_ms:
            latest = device
        if device is primary:
            keeps = True
    if latest is None:
        return "offline", None
    if keeps and primary is not None and latest.active_ms - primary.active_ms <= hysteresis_ms:
        latest = primary
    if claim is None:
        return ("dnd" if idle_dnd and not in_use else best), latest
    # To say that one is available makes nobody so who has not touched a device for long.
    return ("away" if not in_use and claim.status in ("online", "chat") else claim.status), latest
