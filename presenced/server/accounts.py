"""What each user may ask for: one account for all links of a user, also for those that come one after the other.

Credit is counted in units of work (protocol.md, 4.5). A plain frame costs one unit; a request that makes the server do
much costs more (`core.requests.costs`). An account lives while one of its links does, and then until the units that
were used up are earned again: a client that opens a new link for each burst gains nothing by it. Only an accepted hello
makes an account, so that it takes tokens for very many users to fill the table, and each place is free again after
seconds.
"""

from __future__ import annotations

from presenced.core.delays import DelayQueue
from presenced.server.link import Link

UNLIMITED = 1 << 60

KEPT_MS = 5_000
"""How long an account without a link is kept before it is checked. A burst is earned in four seconds."""


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
        """Units left. Below 0 no frame is served; the frame that takes the account there is served whole."""
        self.refilled_ms = now_ms
        self.links = 0
        self.is_kept = False
        """Whether it is in the queue of accounts that a last link has left."""
        self.line: dict[Link, None] = {}
        """Links that wait for credit, in the order in which they are served."""
        self.turn = 0
        """The turn in which it was served last."""
        self.used_ns = 0
        """For how long it was served in that turn."""

    @property
    def pace(self) -> tuple[int, int]:
        """Units in a second and in a burst, as clients are told; (0, 0) where nothing is ever used up."""
        return (self.rate, self.burst) if self.rate else (0, 0)

    def refill(self, now_ms: int) -> None:
        """Add the units that were earned since the last call. O(1)."""
        earned = (now_ms - self.refilled_ms) * self.rate // 1000
        if earned:
            self.credit = min(self.burst, self.credit + earned)
            self.refilled_ms = now_ms

    def set_rate(self, rate: int, burst: int) -> None:
        """Change the rate. Without a rate nothing is earned, so the units that were used up are given back."""
        self.rate, self.burst = rate, burst
        self.credit = min(self.credit, burst) if rate else burst


class Accounts:
    """All accounts that have a link or have not earned their burst again."""

    def __init__(self) -> None:
        self.by_user: dict[tuple[str, bool], Account] = {}
        """By user and whether the role is a service's: the same name in both roles has two accounts."""
        self.strangers = Account("", is_service=False, rate=0, burst=UNLIMITED, now_ms=0)
        """The account of links that have not said hello. Time alone limits their one frame."""
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

    def run_due(self, now_ms: int) -> None:
        """Forget accounts that nobody uses and that have earned their burst again. O(accounts that come out)."""
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
        """When `run_due` should be called next; None if nothing waits."""
        return self._left.next_ms
