"""Whether a user is not to be disturbed by what is stated for them, and until when. Pure (protocol.md, section 23.4).

It goes by claims and not by the record, so that it holds for people who are offline as well: claims outlive devices,
and the windows of a schedule open whether or not anybody is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from msgspec.structs import replace

from presenced.core.model import Claim, Schedule, User
from presenced.core.parts.schedules import Opening
from presenced.core.precedence import SCHEDULED, strongest

OpeningAt = Callable[[Schedule, int], Opening]
"""What a schedule says at a wall time."""


class Quiet(NamedTuple):
    """Why a user is not to be disturbed, and until when."""

    reason: Literal["call", "dnd", "quiet_hours"]
    until_ms: int
    """Wall time; 0 = nobody knows."""


def quiet(user: User, wall_ms: int, opening_at: OpeningAt, *, calls: bool) -> Quiet | None:
    """Why the user is not to be disturbed at this wall time; None if nothing keeps anybody from it. `calls`: a call
    does as well. The end is the first moment from which on nothing does, if nothing else is said until then.

    O(1) without claims; O(claims), if none of them keeps anybody; else O(claims squared), and as many questions to the
    calendar as claims end, nearly always one.
    """
    claims = user.claims
    if not claims:
        # Said on a device that is in use, and not for a time.
        return Quiet("dnd", 0) if user.record.status == "dnd" else None
    holding = _holding(claims, calls)
    if holding is None:
        return None
    reason: Literal["call", "dnd", "quiet_hours"] = "dnd"
    if holding.source == "call":
        reason = "call"
    elif holding.source == "schedule":
        reason = "quiet_hours"
    if user.schedule is not None:
        claims = _with_whole_window(claims, user.schedule, wall_ms, opening_at)
        holding = _holding(claims, calls)
    while holding is not None:
        # Whichever claim ends may uncover another. What a schedule says next matters only while it is what holds.
        ends = [one.until_ms for one in claims if one.until_ms and (one is holding or one.name != SCHEDULED)]
        if not ends:
            return Quiet(reason, 0)
        # One that is over by now is not ended yet: a turn ends so many.
        wall_ms = max(wall_ms, min(ends))
        claims = _claims_at(claims, user.schedule, wall_ms, opening_at)
        holding = _holding(claims, calls)
    return Quiet(reason, wall_ms)


def _holding(claims: tuple[Claim, ...], calls: bool) -> Claim | None:
    """The claim that keeps others from disturbing the user; of a call and `dnd` that is `dnd`, which more obey. Whoever
    appears offline is not to be left alone for that."""
    call = None
    others: list[Claim] = []
    for claim in claims:
        if claim.source == "call":
            call = claim
        elif claim.status != "offline":
            others.append(claim)
    said = strongest(tuple(others))
    if said is not None and said.status == "dnd":
        return said
    return call if calls else None


def _with_whole_window(
    claims: tuple[Claim, ...], schedule: Schedule, wall_ms: int, opening_at: OpeningAt
) -> tuple[Claim, ...]:
    """The claims, where that of a schedule ends when the next window with another status begins: until then it stays
    the same claim, which was made when it was."""
    few = _in_few_words(schedule)
    if few is schedule:
        return claims
    opening = opening_at(few, wall_ms)
    return tuple(
        Claim(one.name, one.source, one.status, one.since_ms, opening.changes_ms, 0) if one.name == SCHEDULED else one
        for one in claims
    )


def _claims_at(
    claims: tuple[Claim, ...], schedule: Schedule | None, wall_ms: int, opening_at: OpeningAt
) -> tuple[Claim, ...]:
    """The claims that there will be at a wall time, if nothing else is said, from those of an earlier one. The same
    rules as those of `parts.schedules` for what a window claims."""
    scheduled = next((claim for claim in claims if claim.name == SCHEDULED), None)
    is_open = scheduled is not None and (not scheduled.until_ms or scheduled.until_ms > wall_ms)
    if schedule is None or is_open:
        return tuple(claim for claim in claims if not 0 < claim.until_ms <= wall_ms)
    kept = tuple(claim for claim in claims if claim is scheduled or not 0 < claim.until_ms <= wall_ms)
    opening = opening_at(_in_few_words(schedule), wall_ms)
    status = opening.status or schedule.status
    made = Claim(SCHEDULED, "schedule", status, wall_ms, opening.changes_ms, 0)
    if opening.is_open and scheduled is not None and scheduled.until_ms == wall_ms and scheduled.status == status:
        # The next window begins where this one ends: the claim goes on, and is no newer for it.
        return tuple(made if claim is scheduled else claim for claim in kept)
    rest = tuple(claim for claim in kept if claim is not scheduled)
    return (*rest, made) if opening.is_open else rest


def _in_few_words(schedule: Schedule) -> Schedule:
    """The same schedule, where no window says the schedule's own status: so it changes at the end of the last window
    that says it, and not at the end of each."""
    status = schedule.status
    if all(window.status != status for window in schedule.windows):
        return schedule
    windows = [replace(window, status=None) if window.status == status else window for window in schedule.windows]
    return Schedule(schedule.zone, windows, status)
