"""How much each user asks about others whom they may not see, so that nobody goes through the names of a population.

A user has a budget of hidden answers, which fills up again slowly. An answer beyond it costs units of work
(protocol.md, section 4.5), so that what the user asks next is delayed. Nothing is refused, and a name that was never
seen counts as one that is hidden: neither tells which it was.
"""

from __future__ import annotations

from presenced.core.model import Session
from presenced.core.policy import Policy
from presenced.limits import CURIOUS_USERS_MAX, STRANGER_REFILL_MS, STRANGER_UNITS, STRANGERS_MAX

_SPENT_MS = STRANGERS_MAX * STRANGER_REFILL_MS
"""How long an empty budget takes to fill."""


class Curiosity:
    """Owns the budgets: a number for each user who has not a full one, in order of last use."""

    def __init__(self, policy: Policy) -> None:
        self._is_on = "everyone" not in policy.grounds
        """Where everybody may see everybody there is nothing to be found out by asking."""
        self._full_ms: dict[str, int] = {}
        """When each budget is full again: one number says what is left of it at any moment."""
        self._owed: dict[str, int] = {}
        """Units that are taken with the user's next question."""

    def note(self, session: Session, now_ms: int, strangers: int) -> None:
        """The session was given so many hidden answers. Only links of users are counted. O(1), amortised."""
        if not strangers or not self._is_on or session.role != "user":
            return
        name = session.user_name
        full_ms = max(self._full_ms.pop(name, 0), now_ms) + strangers * STRANGER_REFILL_MS
        spent_ms = full_ms - now_ms
        if spent_ms > _SPENT_MS:
            # Rounded up: part of an answer is one.
            self._owed[name] = self._owed.get(name, 0) - (_SPENT_MS - spent_ms) // STRANGER_REFILL_MS * STRANGER_UNITS
            full_ms = now_ms + _SPENT_MS
        self._full_ms[name] = full_ms
        self._forget(now_ms)

    def take_owed(self, session: Session) -> int:
        """Units for the answers beyond the budget since the last call. O(1)."""
        return self._owed.pop(session.user_name, 0) if self._owed and session.role == "user" else 0

    def _forget(self, now_ms: int) -> None:
        """Keep no budget that is full, and not too many. Who is forgotten begins with a full one."""
        while self._full_ms:
            name = next(iter(self._full_ms))
            if self._full_ms[name] > now_ms and len(self._full_ms) <= CURIOUS_USERS_MAX:
                break
            del self._full_ms[name]
            self._owed.pop(name, None)
