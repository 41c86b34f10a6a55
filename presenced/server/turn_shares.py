"""How much of a turn each link and each user gets, and who waits for the next one.

Links with frames left over take turns, and so do the links of a user who is over the rate: no client can hold up the
others by what it sends (protocol.md, 4.5).
"""

from __future__ import annotations

from collections.abc import Callable

from presenced import limits
from presenced.core.delays import DelayQueue
from presenced.server.accounts import Account
from presenced.server.link import Link


class TurnShares:
    """The shares of the present turn, the backlog, and the lines of users over their rate."""

    def __init__(self, monotonic_ns: Callable[[], int]) -> None:
        """`monotonic_ns` is the clock by which shares are measured."""
        self.monotonic_ns = monotonic_ns
        self.replies_until_bytes = limits.REPLY_BYTES_PER_TURN
        """Once the replies that wait to be written are so many bytes, requests wait for the next turn."""
        self.over: dict[Account, None] = {}
        """Accounts over their rate, each with its line of links that are not read meanwhile."""
        self.backlog: dict[Link, None] = {}
        """Links with whole frames left over for the next turn. Each is in here once, because its share of a turn does
        not grow with what it sends."""
        self._turn = 0
        """Number of this turn, for the accounts' shares of it."""
        self._over_due: DelayQueue[Account] = DelayQueue(limits.THROTTLE_MS)

    @property
    def throttled(self) -> int:
        """Links that are not read because their users are over the rate. O(such users)."""
        return sum(len(account.line) for account in self.over)

    def share_ns(self, account: Account) -> int:
        """For how long links of this account may be served before the next turn."""
        if account.turn != self._turn:
            account.turn, account.used_ns = self._turn, 0
        return limits.SHARE_MS * 1_000_000 - account.used_ns

    def charge(self, account: Account, ns: int) -> None:
        """Links of this account were served for so long in this turn."""
        account.used_ns += ns

    def wait_for_turn(self, link: Link) -> None:
        """The link has whole frames left over: it is served again in the next turn."""
        self.backlog[link] = None

    def forget(self, account: Account, link: Link) -> None:
        """The link waits for credit no longer. Idempotent."""
        account.line.pop(link, None)

    def wait_for_credit(self, now_ms: int, account: Account, link: Link) -> None:
        """The link is not read until it is first in the line of its account and there is credit."""
        account.line[link] = None
        self._wait_over(now_ms, account)

    def run_due(self, now_ms: int, reply_bytes: int) -> None:
        """Begin another turn, with so many bytes of replies unwritten, and serve every link whose time has come.
        O(links that are served)."""
        self._turn += 1
        self.replies_until_bytes = reply_bytes + limits.REPLY_BYTES_PER_TURN
        if self.backlog:
            self._serve_backlog(now_ms)
        for account in self._over_due.take_due(now_ms):
            del self.over[account]
            self._serve_line(now_ms, account)

    def _serve_backlog(self, now_ms: int) -> None:
        """Serve the links that have frames left over, as many as there is time for. The others are the first in the
        next turn."""
        backlog, self.backlog = self.backlog, {}
        until_ns = self.monotonic_ns() + limits.BACKLOG_SHARE_MS * 1_000_000
        left: dict[Link, None] = {}
        is_over = False
        for link in backlog:
            if is_over:
                left[link] = None
            else:
                link.resume(now_ms)
                is_over = self.monotonic_ns() >= until_ns
        if left:
            left.update(self.backlog)
            self.backlog = left

    def _serve_line(self, now_ms: int, account: Account) -> None:
        """Serve the links of an account, as far as the credit goes. Links that were served stand behind those that
        were not. O(links of the account that wait)."""
        account.refill(now_ms)
        line, account.line = account.line, {}
        left: dict[Link, None] = {}
        for link in line:
            if account.credit >= 0:
                link.resume(now_ms)
            else:
                # Serving it now would run up a debt without end, and the rate would mean nothing.
                link.wait_longer(now_ms)
                left[link] = None
        if left:
            left.update(account.line)
            account.line = left
            self._wait_over(now_ms, account)

    def _wait_over(self, now_ms: int, account: Account) -> None:
        if account not in self.over:
            self.over[account] = None
            self._over_due.add(now_ms, account)

    @property
    def next_ms(self) -> int | None:
        """When the first link is to be served; 0 = at once, None = none waits."""
        return 0 if self.backlog else self._over_due.next_ms
