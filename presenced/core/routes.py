"""Which devices of a user to notify, and whether now: the rules of protocol.md, section 23.4, and nothing else. Pure.

The user's own wishes come first (`quiet`), then where the person is: at a device that is in use; else at those that
people carry with them. A push that is lost does more harm than one too many, so whatever is not known makes no device
silent.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Final

from presenced.core.model import ACTIVE, GONE, TOLD, Device, User
from presenced.core.policy import Policy
from presenced.core.quiet import OpeningAt, Quiet, quiet
from presenced.wire.messages import RouteInfo, RouteReason, TargetInfo, Urgency, Verdict

CARRIED_KINDS: Final = frozenset({"phone", "tablet", "mobile", "watch", "ios", "android"})
"""Kinds of devices that people carry with them."""

_ACTIVE_MS: Final = attrgetter("active_ms")


def unknown_route(name: str) -> RouteInfo:
    """The route to a user of whom nothing is known."""
    return RouteInfo(name, "none", "unknown", 0, 0, [])


def route(
    user: User, urgency: Urgency, about: str, now_ms: int, offset_ms: int, policy: Policy, opening_at: OpeningAt
) -> RouteInfo:
    """Where a notification of this urgency and about this goes. The user's record is up to date. `offset_ms`: wall time
    minus monotonic time. O(devices log devices), and as `quiet` if claims hold back."""
    reached: list[Device] = []
    used: list[Device] = []
    left_out: list[TargetInfo] = []
    input_ms: int | None = None
    for device in user.devices.values():
        if device.priority < 0:
            if device.state != GONE:
                left_out.append(_target(device, "none", "looks_in"))
            continue
        last_ms = device.active_ms if device.idle_known else device.input_ms
        if last_ms is not None and (input_ms is None or last_ms > input_ms):
            input_ms = last_ms
        if device.session is not None or device.meta:
            reached.append(device)
            if is_used(device, now_ms, policy):
                used.append(device)
        elif device.state != GONE:
            left_out.append(_target(device, "none", "no_link"))
    last_input_ms = input_ms + offset_ms if input_ms is not None else 0
    if not reached:
        reason: RouteReason = "unreachable" if user.devices or user.record.version else "unknown"
        return RouteInfo(user.name, "none", reason, 0, last_input_ms, left_out)
    if len(reached) > 1:
        reached.sort(key=_ACTIVE_MS, reverse=True)
    held: Quiet | None = None
    if urgency == "urgent":
        targets = [_target(device, "now", "urgent") for device in reached]
    elif about and any(device.focus == about for device in used):
        targets = [_target(device, "none", "reading") for device in reached]
    elif (held := quiet(user, now_ms + offset_ms, opening_at, calls=urgency != "high")) is not None:
        targets = [_target(device, "at" if held.until_ms else "silent", held.reason) for device in reached]
    else:
        targets = _by_use(reached, used, is_low=urgency == "low")
    first = targets[0]
    at_ms = held.until_ms if held is not None else 0
    return RouteInfo(user.name, first.verdict, first.reason, at_ms, last_input_ms, targets + left_out)


def is_used(device: Device, now_ms: int, policy: Policy) -> bool:
    """Whether its person is at the device, as far as that is known: there is a link that tells it, or something was
    just said on it. Who says `away` on it is not. O(1)."""
    if device.session is None or device.status in ("away", "xa"):
        return False
    if device.idle_known == TOLD:
        return device.idle_level == ACTIVE
    if device.input_ms is None:
        return False
    away_after_ms, _ = policy.idle_limits(device.kind)
    return not away_after_ms or now_ms - device.input_ms < away_after_ms


def _by_use(reached: list[Device], used: list[Device], *, is_low: bool) -> list[TargetInfo]:
    """By where the person is, what to notify now first. Nobody is to be left alone."""
    has_carried = not used and any(is_carried(device) and not _says_dnd(device) for device in reached)
    now: list[TargetInfo] = []
    silent: list[TargetInfo] = []
    for device in reached:
        verdict, reason = _verdict(device, used, has_carried)
        if verdict == "silent":
            silent.append(_target(device, verdict, reason))
        elif is_low:
            silent.append(_target(device, "silent", "low"))
        else:
            now.append(_target(device, verdict, reason))
    return now + silent


def _verdict(device: Device, used: list[Device], has_carried: bool) -> tuple[Verdict, RouteReason]:
    """The first rule that applies to one device, in the order of the table."""
    if _says_dnd(device):
        return "silent", "dnd"
    if used:
        return ("now", "in_use") if device in used else ("silent", "used_elsewhere")
    if is_carried(device):
        return "now", "carried"
    if device.idle_level == ACTIVE and device.status not in ("away", "xa"):
        return "now", "untold"
    return "silent" if has_carried else "now", "idle"


def is_carried(device: Device) -> bool:
    """Whether it can be notified where its person is, whether or not they look at it."""
    return bool(device.meta) or device.kind in CARRIED_KINDS


def _says_dnd(device: Device) -> bool:
    """Whether it is not to disturb by what it says of itself. What one said that is gone now counts no more."""
    return device.status == "dnd" and device.state != GONE


def _target(device: Device, verdict: Verdict, reason: RouteReason) -> TargetInfo:
    return TargetInfo(device.id, device.kind, verdict, reason, device.meta)
