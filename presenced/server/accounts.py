"""What each user may ask for: one account for all links of a user, also for those that come one after the other.

Credit is counted in units of work. A plain frame costs one; one that asks for much costs as much more as it makes the
server do (`core.requests.costs`). An account lives while one of its links does, and after the last until what was used
up is earned again: a link that is opened anew for each burst gets nothing by it. Only a hello that was accepted makes
one, so that it takes tokens for very many users to fill the table, and each place in it is free again after seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from presenced.core.delays import DelayQueue

if TYPE_CHECKING:
    from presenced.server.conversation import Conversation

UNLIMITED = 1 << 60

KEPT_MS = 5_000
"""How far apart looks at an account without a link are. A burst is four seconds' worth."""


class Account:
    """The credit of one user in one kind of role."""

    __slots__ = (
        "burst",
        "credit",
        "is_kept",
        "is_service",
        "line",
        "links",
        "rate",
        "refilled_ms",
        "turn",
        "used_ns",
        "user",
    )

    def __init__(self, user: str, *, is_service: bool, rate: int, burst: int, now_ms: int) -> None:
        self.user = user
        self.is_service = is_service
        self.rate = rate
        """Units earned in a second; 0 = nothing is ever used up."""
        self.burst = burst
        """Units at most."""
        self.credit = burst
        """Units left. Below 0 no frame is served; the one that takes it there is, since its work was done."""
        self.refilled_ms = now_ms
        self.links = 0
        self.is_kept = False
        """It is to be looked at again: the last link has left it, at least for a while."""
        self.line: dict[Conversation, None] = {}
        """Links that wait for credit, the one that is next first."""
        self.turn = 0
        """The turn in which it was served last, and for how long by then."""
        self.used_ns = 0

    def refill(self, now_ms: int) -> None:
        """Add what was earned meanwhile. O(1)."""
        earned = (now_ms - self.refilled_ms) * self.rate // 1000
        if earned:
            self.credit = min(self.burst, self.credit + earned)
            self.refilled_ms = now_ms

    def set_rate(self, rate: int, burst: int) -> None:
        """Another rate from now on. Without one nothing is ever earned, so what was used up before must not count."""
        self.rate, self.burst = rate, burst
        self.credit = min(self.credit, burst) if rate else burst


class Accounts:
    """All accounts that have a link or a debt."""

    def __init__(self) -> None:
        self.by_user: dict[tuple[str, bool], Account] = {}
        """By user and whether in the role of a service: the same name in both is two accounts."""
        self.strangers = Account("", is_service=False, rate=0, burst=UNLIMITED, now_ms=0)
        """For links that have not said hello. Their one frame is limited by time alone."""
        self._left: DelayQueue[Account] = DelayQueue(KEPT_MS)
        """Accounts that the last link has left."""

    def enter(self, user: str, *, is_service: bool, rate: int, burst: int, now_ms: int) -> Account:
        """The account for one more link of the user. O(1)."""
        key = (user, is_service)
        account = self.by_user.get(key)
        if account is None:
            account = self.by_user[key] = Account(user, is_service=is_service, rate=rate, burst=burst, now_ms=now_ms)
        account.links += 1
        account.refill(now_ms)
        return account

    def leave(self, account: Account, now_ms: int) -> None:
        """One of its links has ended. O(1)."""
        account.links -= 1
        if account.links == 0:
            self._forget_or_keep(account, now_ms)

    def look_at(self, now_ms: int) -> None:
        """Forget accounts that nobody uses and that have earned all of it again. O(those that are looked at)."""
        for account in self._left.take_due(now_ms):
            account.is_kept = False
            if account.links == 0:
                self._forget_or_keep(account, now_ms)

    def _forget_or_keep(self, account: Account, now_ms: int) -> None:
        if account.is_kept:
            return
        account.refill(now_ms)
        if account.credit >= account.burst or not account.rate:
            del self.by_user[account.user, account.is_service]
        else:
            account.is_kept = True
            self._left.add(now_ms, account)

    @property
    def next_ms(self) -> int | None:
        """When `look_at` should be called next, if at all."""
        return self._left.next_ms
