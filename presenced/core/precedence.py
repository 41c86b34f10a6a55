"""Which of a user's claims counts: by the order of sources, and what the person set last. Pure.

The claims of a user are a tuple, the newest last, with one claim of each name. `manual` is an exception: a manual
status with an end covers the one before it, if that one holds longer. So "dnd for 30 minutes" said over "away" ends in
"away".
"""

from __future__ import annotations

from typing import Final

from presenced.core.model import Claim, User
from presenced.wire.messages import Source

RANK: dict[Source, int] = {"call": 4, "manual": 3, "calendar": 2, "schedule": 1}
HIDES: Final = 10
"""More than any rank: a claim to be offline counts before all others."""

QUIETED: Final = 0
"""Less than any rank: what the person set before quiet hours began does not count while they last."""

COVERED: Final = -1
"""Never counts: it waits for the end of the manual status above it."""

MANUAL: Final = "manual"
"""The name of the claim that `set_status` makes."""

SCHEDULED = "schedule"
"""The name of the claim that a schedule makes while one of its windows is open."""

COVERED_MAX: Final = 7
"""Manual statuses that are kept below the one that counts. The bound is for those who make a game of it."""


def strongest(claims: tuple[Claim, ...]) -> Claim | None:
    """The claim that counts. O(claims)."""
    if len(claims) <= 1:
        return claims[0] if claims else None
    best: Claim | None = None
    best_rank = COVERED
    for rank, claim in ranked(claims):
        if rank > best_rank:
            best, best_rank = claim, rank
    return best


def by_strength(claims: tuple[Claim, ...]) -> list[Claim]:
    """All claims, the one that counts first. O(claims log claims)."""
    return [claim for _, claim in by_rank(claims)]


def by_rank(claims: tuple[Claim, ...]) -> list[tuple[int, Claim]]:
    """All claims with their ranks, the one that counts first. O(claims log claims)."""
    return sorted(ranked(claims), key=lambda one: -one[0])


def added(claims: tuple[Claim, ...], claim: Claim) -> tuple[Claim, ...]:
    """The claims with one more, the newest. It replaces those of its name, except that a manual one with an end covers
    those that hold longer, unless the uppermost says the same: then only its end is another now. O(claims)."""
    if not claim.until_ms and len(claims) <= 1 and (not claims or claims[0].name == claim.name):
        # Most users have one claim at most.
        return (claim,)
    kept = [other for other in claims if other.name != claim.name]
    if claim.name == MANUAL and claim.until_ms:
        covered = [
            other
            for other in claims
            if other.name == MANUAL and (not other.until_ms or other.until_ms > claim.until_ms)
        ]
        if covered and covered[-1].status == claim.status:
            covered.pop()
        # Those that hold longest stay: all the others end before they would show.
        kept = [other for other in claims if other.name != MANUAL or other in covered[:COVERED_MAX]]
    return (*kept, claim)


def without(claims: tuple[Claim, ...], name: str) -> tuple[Claim, ...]:
    """The claims without those of this name. O(claims)."""
    return tuple(claim for claim in claims if claim.name != name)


def ranked(claims: tuple[Claim, ...]) -> list[tuple[int, Claim]]:
    """The claims with their ranks, the newest first. O(claims)."""
    found = []
    is_covered = is_quiet = False
    for claim in reversed(claims):
        rank = RANK[claim.source]
        if claim.name == MANUAL:
            if is_covered:
                rank = COVERED
            is_covered = True
        if claim.source == "schedule" and claim.status == "dnd":
            is_quiet = True
        if rank != COVERED:
            if claim.status == "offline":
                rank += HIDES
            elif is_quiet and claim.source == "manual" and claim.status in ("online", "chat"):
                rank = QUIETED
        found.append((rank, claim))
    return found


def is_hidden(user: User) -> bool:
    """Whether the user appears offline by their own wish."""
    return user.claim is not None and user.claim.status == "offline"


def is_shown_hidden(user: User) -> bool:
    """Whether the user appears offline and shows a device to somebody all the same. O(1)."""
    return user.privacy is not None and bool(user.privacy.shown_to) and is_hidden(user)


def in_call(user: User) -> bool:
    """Whether somebody states that the user is in a call. O(claims)."""
    # A generator for `any` would cost as much as all the rest of a heartbeat's check.
    for claim in user.claims:
        if claim.source == "call":
            return True
    return False
