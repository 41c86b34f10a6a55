"""Links that wait: for their hello, for the rest of a frame, to be read again, to be cut off.

Each queue is plain first in, first out; what waits in it is looked at again when it comes out, and by then has mostly
settled itself. Links with frames left over take turns, and so do the links of a user who is over the rate.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns
from typing import TYPE_CHECKING

from presenced import limits
from presenced.core.delays import DelayQueue
from presenced.server.accounts import Account

if TYPE_CHECKING:
    from presenced.server.conversation import Conversation


class WaitingLinks:
    """The queues, and the links with frames left over for the next turn."""

    def __init__(self) -> None:
        self.hello_due: DelayQueue[Conversation] = DelayQueue(limits.HELLO_TIMEOUT_MS)
        self.partials: DelayQueue[Conversation] = DelayQueue(limits.FRAME_TIMEOUT_MS)
        self.over: dict[Account, None] = {}
        """Accounts over their rate, each with its line of links that are not read meanwhile."""
        self.ending: DelayQueue[Conversation] = DelayQueue(limits.CLOSE_TIMEOUT_MS)
        self.backlog: dict[Conversation, None] = {}
        """Links with whole frames left over for the next turn: each once, for it is served so much of them and no
        more."""
        self.turn = 0
        """Number of this turn, for the accounts' shares of it."""
        self._over_due: DelayQueue[Account] = DelayQueue(limits.THROTTLE_MS)
        self.clock_ns: Callable[[], int] = monotonic_ns
        """By which the links' shares of a turn are measured."""

    @property
    def throttled(self) -> int:
        """Links that are not read because their users are over the rate. O(such users)."""
        return sum(len(account.line) for account in self.over)

    def share_ns(self, account: Account) -> int:
        """For how long links of this account may be served before the next turn."""
        if account.turn != self.turn:
            account.turn, account.used_ns = self.turn, 0
        return limits.SHARE_MS * 1_000_000 - account.used_ns

    def wait_for_credit(self, now_ms: int, account: Account, link: Conversation) -> None:
        """The link is not read until it is its turn in the line of its account, and there is credit."""
        account.line[link] = None
        if account not in self.over:
            self.over[account] = None
            self._over_due.add(now_ms, account)

    def look_at(self, now_ms: int) -> None:
        """Go on with every link whose time has come. O(links that come out)."""
        self.turn += 1
        if self.backlog:
            self._serve_backlog(now_ms)
        for account in self._over_due.take_due(now_ms):
            del self.over[account]
            self._serve_line(now_ms, account)
        for link in self.partials.take_due(now_ms):
            link.check_partial(now_ms)
        for link in self.hello_due.take_due(now_ms):
            link.check_hello()
        for link in self.ending.take_due(now_ms):
            link.check_ending(now_ms)

    def _serve_backlog(self, now_ms: int) -> None:
        """Go on with the links that have frames left over, as many as there is time for. The others are the first in
        the next turn."""
        backlog, self.backlog = self.backlog, {}
        until_ns = self.clock_ns() + limits.BACKLOG_SHARE_MS * 1_000_000
        left: dict[Conversation, None] = {}
        is_over = False
        for link in backlog:
            if is_over:
                left[link] = None
            else:
                link.resume(now_ms)
                is_over = self.clock_ns() >= until_ns
        if left:
            left.update(self.backlog)
            self.backlog = left

    def _serve_line(self, now_ms: int, account: Account) -> None:
        """Go on with the links of an account, as far as the credit goes. Those that had their turn stand behind those
        that had not. O(links of the account that wait)."""
        account.refill(now_ms)
        line, account.line = account.line, {}
        left: dict[Conversation, None] = {}
        for link in line:
            if account.credit >= 0:
                link.resume(now_ms)
            else:
                # Serving it now would run up a debt without end, and the rate would be none.
                link.wait_longer(now_ms)
                left[link] = None
        if left:
            left.update(account.line)
            account.line = left
            if account not in self.over:
                self.over[account] = None
                self._over_due.add(now_ms, account)

    def longest_without_hello(self, now_ms: int) -> Conversation | None:
        """Of the links that have not said hello the one that has had longest for it, if that is long enough to give its
        place to another. It is taken out of the queue. Amortized O(1)."""
        until_ms = now_ms + limits.HELLO_TIMEOUT_MS - limits.HELLO_PATIENCE_MS
        while (link := self.hello_due.take_first(until_ms)) is not None:
            if link.awaits_hello:
                return link
        return None

    @property
    def next_ms(self) -> int | None:
        """When the first comes out; 0 = at once, None = none waits."""
        if self.backlog:
            return 0
        first: int | None = None
        queues = (self.hello_due, self.partials, self._over_due, self.ending)
        for queue_ms in [queue.next_ms for queue in queues]:
            if queue_ms is not None and (first is None or queue_ms < first):
                first = queue_ms
        return first
