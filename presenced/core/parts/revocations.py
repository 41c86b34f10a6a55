"""Which tokens are refused though they are genuine: those of a user from before a moment (protocol.md, 13.39).

A token says when it was made in seconds, so moments are cut to seconds: a token of the same second is taken, and one
that was made right after the request can be used. A token that does not say when it was made counts as the oldest.

A revocation is kept for a year after its moment. A token that lives longer would be taken again after that, so none
should be made; to know of each how long it lives would take a record of every token that was ever seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from presenced.core.clock import Clock
from presenced.core.ledger import Ledger
from presenced.core.model import User
from presenced.core.part import Part, Restoring, TakeUp
from presenced.core.records import Fact, TokensRevoked
from presenced.limits import REVOCATION_KEPT_MS


class Revocations(Part):
    """Owns the moments, by name: few users have one, and who was erased may have one as well."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._before_ms: dict[str, int] = {}

    def add(self, user: User, before_ms: int) -> int:
        """Refuse the user's tokens from before this wall time. Returns the moment that counts from now on: this one,
        cut to a whole second, or a later one that was given before, since a revocation is never taken back. O(1)."""
        moment_ms = self._latest(user, before_ms - before_ms % 1000)
        self._before_ms[user.name] = moment_ms
        self._ledger.add(TokensRevoked(user.name, moment_ms))
        return moment_ms

    def apply(self, user: User, before_ms: int) -> int:
        """Another node has said so. As `add`. O(1)."""
        moment_ms = self._before_ms[user.name] = self._latest(user, before_ms)
        return moment_ms

    def _latest(self, user: User, before_ms: int) -> int:
        return max(before_ms, self._before_ms.get(user.name, 0))

    def refuses_before(self, user: User) -> int:
        """The moment before which the user's tokens are refused; 0 = there is none. O(1)."""
        return self._before_ms.get(user.name, 0)

    def refuses(self, user_name: str, issued_ms: int) -> bool:
        """Whether a token of the user that was made at this wall time (0 = it does not say) is refused. O(1)."""
        return issued_ms < self._before_ms.get(user_name, 0)

    # --- the disk ---------------------------------------------------------------------------------------------

    def keeps(self, user: User) -> bool:
        """Whether there is a revocation."""
        return user.name in self._before_ms

    def facts_of(self, user: User, now_ms: int) -> Iterable[Fact]:
        """The revocation, unless it is too old; then it is dropped. O(1)."""
        before_ms = self._before_ms.get(user.name)
        if before_ms is None:
            return ()
        if self._clock.trusted_wall_ms(now_ms) - before_ms > REVOCATION_KEPT_MS:
            del self._before_ms[user.name]
            return ()
        return (TokensRevoked(user.name, before_ms),)

    def restorers(self) -> Mapping[type, TakeUp]:
        """Revocations."""
        return {TokensRevoked: self._restore}

    def _restore(self, source: Restoring, fact: TokensRevoked) -> None:
        self._before_ms[source.user(fact.user).name] = fact.before_ms
