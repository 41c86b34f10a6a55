"""Requests about what is stated for a whole user: status and text, claims, the weekly schedule.

The rules are those of protocol.md, sections 5.5, 7.4 and 15.
"""

from __future__ import annotations

from presenced.address import check_emoji, check_name, check_text
from presenced.core.engine import Engine
from presenced.core.model import Schedule, Session
from presenced.core.parts.own_state import claim_info, claim_infos
from presenced.core.precedence import MANUAL, SCHEDULED
from presenced.core.replies import acknowledge, quoted, reply
from presenced.core.requests import costs
from presenced.core.requests.handler import Handler
from presenced.core.targets import (
    device_of,
    known_user,
    live_device_of,
    name_of,
    require_durability,
    require_memory,
    require_service,
    user_of,
)
from presenced.errors import RequestError
from presenced.limits import DURATION_MS_MAX, ZONE_BYTES_MAX
from presenced.wire.messages import (
    AddClaim,
    ClaimList,
    ClaimsPage,
    EndClaim,
    FindClaims,
    GetClaims,
    SetSchedule,
    SetStatus,
)


def _set_status(engine: Engine, session: Session, now_ms: int, message: SetStatus) -> None:
    require_durability(engine)
    if message.text is not None:
        check_text(message.text)
    if message.emoji is not None:
        check_emoji(message.emoji)
    device = device_of(engine, session, message.user, message.device)
    engine.manual_status.set(
        now_ms,
        device.user if device is not None else user_of(engine, session, message.user),
        device,
        status=message.status,
        text=message.text,
        emoji=message.emoji,
        for_ms=message.for_ms,
    )
    acknowledge(engine, session, message.id)


def _add_claim(engine: Engine, session: Session, now_ms: int, message: AddClaim) -> None:
    require_durability(engine)
    _check_claim(message)
    if message.device:
        live_device_of(engine, session, message.user, message.device)
    due_ms = _claim_due_ms(engine, now_ms, message)
    user = user_of(engine, session, message.user)
    if all(other.name != message.claim for other in user.claims):
        require_memory(engine)
    by_wall = bool(message.until_ms) and due_ms + engine.clock.offset_ms == message.until_ms
    ends = (now_ms + message.for_ms, message.until_ms) if message.for_ms and message.until_ms else None
    engine.claims.add(
        now_ms,
        user,
        message.claim,
        message.source,
        message.status,
        due_ms,
        by_wall=by_wall,
        ends=ends,
        device=message.device,
    )
    acknowledge(engine, session, message.id)


def _check_claim(message: AddClaim) -> None:
    """Raise `RequestError` for a reserved name or source, and for a program that would hide a person (section 15.1)."""
    check_name(message.claim, "claim")
    if message.claim == SCHEDULED or message.source == "schedule":
        raise RequestError("bad_request", "the name and source schedule are reserved for set_schedule; choose others")
    if message.claim == MANUAL and message.source != "manual":
        raise RequestError("bad_request", "the claim named manual is the person's own; choose another name")
    if message.claim == MANUAL and message.device:
        raise RequestError("bad_request", "the claim named manual is the person's own and ends with no device")
    if message.status == "offline" and message.source != "manual":
        raise RequestError("bad_request", f"only the person hides: {message.source} cannot state offline; state xa")


def _claim_due_ms(engine: Engine, now_ms: int, message: AddClaim) -> int:
    """When the claim ends, on the monotonic clock; 0 = it has no end. Of two ends the earlier counts (section 13.7).

    Raises `RequestError` (`claim_past`, `bad_time`).
    """
    due_ms = now_ms + message.for_ms if message.for_ms else 0
    if message.until_ms:
        offset_ms = engine.clock.offset_ms
        until_due_ms = message.until_ms - offset_ms
        if until_due_ms <= now_ms:
            raise RequestError("claim_past", f"until_ms {message.until_ms} is not after now ({now_ms + offset_ms})")
        if until_due_ms - now_ms > DURATION_MS_MAX:
            raise RequestError("bad_time", "until_ms is more than 366 days ahead; 0 holds until the claim is ended")
        due_ms = min(due_ms, until_due_ms) if due_ms else until_due_ms
    return due_ms


def _end_claim(engine: Engine, session: Session, now_ms: int, message: EndClaim) -> None:
    require_durability(engine)
    if message.claim == SCHEDULED:
        raise RequestError("bad_request", "the claim of a schedule ends with its window, or by set_schedule")
    user = known_user(engine, session, message.user)
    if user is not None:
        engine.claims.end(user, message.claim, now_ms)
    acknowledge(engine, session, message.id)


def _get_claims(engine: Engine, session: Session, now_ms: int, message: GetClaims) -> None:
    user = known_user(engine, session, message.user)
    name = name_of(engine, session, message.user)
    schedule = user.schedule if user is not None else None
    claims = ClaimList(
        message.id,
        name,
        claim_infos(user) if user is not None else [],
        schedule.zone if schedule is not None else "",
        schedule.windows if schedule is not None else [],
        schedule.status if schedule is not None else "",
    )
    reply(engine, session, claims)


def _find_claims(engine: Engine, session: Session, now_ms: int, message: FindClaims) -> None:
    require_service(session)
    rights = session.rights
    following, found = engine.claims.find(
        engine.users.order, message.claim, message.after, message.limit, rights.may_ask if rights is not None else None
    )
    names = [user.name for user, _ in found]
    reply(engine, session, ClaimsPage(message.id, following, names, [claim_info(claim) for _, claim in found]))


def _set_schedule(engine: Engine, session: Session, now_ms: int, message: SetSchedule) -> None:
    require_durability(engine)
    schedule = None
    if message.windows:
        schedule = Schedule(message.zone, message.windows, message.status)
        if len(message.zone.encode()) > ZONE_BYTES_MAX or not engine.schedules.is_known_zone(schedule, now_ms):
            raise RequestError(
                "bad_schedule",
                f"{quoted(message.zone)} is not a time zone that this server knows; write one such as Europe/Berlin",
            )
    user = user_of(engine, session, message.user)
    if schedule is not None and user.schedule is None:
        require_memory(engine)
    engine.schedules.set(user, schedule, now_ms)
    acknowledge(engine, session, message.id)


HANDLERS: dict[type, Handler] = {
    SetStatus: Handler(_set_status, costs.change, changes=True),
    AddClaim: Handler(_add_claim, costs.change, changes=True),
    EndClaim: Handler(_end_claim, costs.change, changes=True),
    GetClaims: Handler(_get_claims, has_long_answer=True),
    FindClaims: Handler(_find_claims, costs.search, has_long_answer=True),
    SetSchedule: Handler(_set_schedule, costs.change, changes=True),
}
