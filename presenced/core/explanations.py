"""Why a user is shown as they are, in codes and in a sentence: the rule that decides, and what each device and claim
contributes. It follows `merge` and the order of claims (`precedence`), and changes nothing."""

from __future__ import annotations

from presenced.core.clock import Clock
from presenced.core.forecast import Forecast
from presenced.core.merge import countable, device_status
from presenced.core.model import ACTIVE, GONE, Claim, Device, User
from presenced.core.parts.own_state import claim_info, device_info
from presenced.core.precedence import COVERED, HIDES, QUIETED, by_rank
from presenced.core.projection import Due
from presenced.wire.messages import (
    ClaimReason,
    ClaimReasonInfo,
    DeadlineInfo,
    DecidingRule,
    DeviceReason,
    DeviceReasonInfo,
    Explanation,
    NextInfo,
    Record,
)


def nothing_known(request_id: int, record: Record, wall_ms: int) -> Explanation:
    """Of a user of whom nothing is known."""
    sentence = f"nothing is known of {record.user}"
    return Explanation(request_id, wall_ms, record, "unknown", sentence, [], [], [], None)


def explanation(
    request_id: int, user: User, record: Record, forecast: Forecast, clock: Clock, now_ms: int
) -> Explanation:
    """Of a user whose record is up to date. `record`: the same as it is to be sent. As `Forecast.next`."""
    offset_ms = clock.offset_ms
    counting = [device for device in user.devices.values() if countable(device)]
    rule = _rule(user, counting)
    deciding = _deciding_device(user, counting) if rule == "device" else None
    deadlines = [_deadline(due, offset_ms) for due in forecast.pending()]
    following = forecast.next()
    return Explanation(
        request_id,
        now_ms + offset_ms,
        record,
        rule,
        _sentence(user, rule, deciding),
        [
            DeviceReasonInfo(device_info(device, offset_ms), device.status, _of_device(device, user, rule, deciding))
            for device in user.devices.values()
        ],
        _of_claims(user, rule),
        deadlines,
        None
        if following is None
        else NextInfo(
            following.at_ms + offset_ms,
            *following.seen,
            [_deadline(due, offset_ms) for due in following.because],
        ),
    )


def _deadline(due: Due, offset_ms: int) -> DeadlineInfo:
    return DeadlineInfo(due.kind, due.about, due.due_ms + offset_ms)


# --- the rule -----------------------------------------------------------------------------------------------------


def _rule(user: User, counting: list[Device]) -> DecidingRule:
    if user.claim is not None and user.claim.status == "offline":
        return "hidden"
    if not counting:
        return "no_device" if user.record.version else "unknown"
    return "device" if user.claim is None else "claim"


def _sentence(user: User, rule: DecidingRule, deciding: Device | None) -> str:
    claim, status = user.claim, user.record.status
    if rule == "unknown":
        return f"nothing is known of {user.name}"
    if rule == "no_device":
        live = [device for device in user.devices.values() if device.state != GONE]
        if not live:
            return "no device is there"
        return "no device counts: each is gone, idle for so long that it counts as offline, or of negative priority"
    if rule == "device":
        assert deciding is not None
        if deciding.status == status:
            return f"no claim holds, and of the devices that count {deciding.id} has the most to say: {status}"
        return f"no claim holds, and {deciding.id}, which says {deciding.status}, has not been used for long: {status}"
    assert claim is not None
    if rule == "hidden":
        return f"the claim {claim.name} says offline, and that stands above all other claims and devices"
    if claim.status == status:
        return f"the claim {claim.name} of the source {claim.source} says {status}, and no other stands above it"
    return f"the claim {claim.name} says {claim.status}, but no device has been used for long: {status}"


# --- devices ------------------------------------------------------------------------------------------------------


def _deciding_device(user: User, counting: list[Device]) -> Device | None:
    """The first of those that count whose status is the user's, if no claim decides."""
    if len(counting) == 1:
        return counting[0]
    in_use = _in_use(counting)
    return next((device for device in counting if _lends(device, in_use) == user.record.status), None)


def _in_use(devices: list[Device]) -> bool:
    return any(device.idle_level == ACTIVE for device in devices)


def _lends(device: Device, in_use: bool) -> str:
    """What a device that counts has to say, as `merge` reads it."""
    status = device_status(device)
    return "away" if status == "dnd" and in_use and device.idle_level != ACTIVE else status


def _of_device(device: Device, user: User, rule: DecidingRule, deciding: Device | None) -> DeviceReason:
    if device.state == GONE:
        return "gone"
    if device.priority < 0:
        return "negative"
    if not countable(device):
        return "idle"
    if rule != "device":
        return "claim"
    if device is deciding:
        return "decides"
    if device.status == "dnd" and device.idle_level != ACTIVE and user.record.status != "dnd":
        return "unused_dnd"
    return "same" if _lends(device, True) == user.record.status else "weaker"


# --- claims -------------------------------------------------------------------------------------------------------


def _of_claims(user: User, rule: DecidingRule) -> list[ClaimReasonInfo]:
    ranked = by_rank(user.claims)
    return [ClaimReasonInfo(claim_info(claim), _of_claim(claim, rank, ranked[0], rule)) for rank, claim in ranked]


def _of_claim(claim: Claim, rank: int, first: tuple[int, Claim], rule: DecidingRule) -> ClaimReason:
    if claim is first[1]:
        return "no_device" if rule in ("no_device", "unknown") else "decides"
    if rank == COVERED:
        return "covered"
    if rank == QUIETED:
        return "quiet_hours"
    if rank == first[0]:
        return "older"
    return "hidden" if first[0] >= HIDES else "weaker"
