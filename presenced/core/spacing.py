"""How often changes of a user are told: a burst at once, then only the latest change in each spacing, and more seldom
the more watchers there are.

Each user has a bucket of deliveries. To tell a change takes `CHANGE_DELIVERIES` out of it, or the number of watchers if
there are more; so much is earned in each spacing. Without the latter, a user with fifty thousand watchers, or in
hundreds of channels, could keep a whole core busy by five changes a second. Watchers of the record and of channels who
are told in one turn are told one change, which is paid for once.
"""

from __future__ import annotations

from presenced.core.delays import DelayQueue
from presenced.core.model import Face, User
from presenced.core.policy import Policy
from presenced.limits import CHANGE_DELIVERIES, CHANGE_WAIT_MS_MAX

RELEASE_COST = 16
RELEASE_COST_MAX = 4_000
"""What one turn may tell of those whose time has come, in deliveries, and what each costs besides: about 3 ms."""


class Spacing:
    """Says who may be told of now, and who is to be once their time has come."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.waiting: DelayQueue[User | Face] = DelayQueue(policy.change_spacing_ms)
        """Users, and faces of users, of whom something is told once it comes due. One object for ever."""
        self._admitted: dict[User | Face, None] = {}
        """Users in channels of whom something may be told in this turn: it is paid for."""

    def respace(self, now_ms: int) -> list[User | Face]:
        """The spacing is another now. Gives those who waited under the old one: their time has come. O(these)."""
        due = self.waiting.take_due(now_ms + self.waiting.delay_ms)
        self.waiting.set_delay(self._policy.change_spacing_ms)
        for user in due:
            self._release(user, now_ms)
        return due

    def take_due(self, now_ms: int) -> list[User | Face]:
        """Those whose time has come: tell what is to be told of them, to `pay` for. Those that come out of a turn's
        share are left for the next. O(those that come out)."""
        due: list[User | Face] = []
        left = RELEASE_COST_MAX
        while left > 0 and (user := self.waiting.take_first(now_ms)) is not None:
            if not user.push_waits:
                # The user was erased meanwhile.
                continue
            left -= RELEASE_COST + len(user.watchers or ())
            self._refill(user, now_ms)
            if user.push_credit < CHANGE_DELIVERIES:
                # Very many were told last.
                self.waiting.add(now_ms, user)
            else:
                self._release(user, now_ms)
                due.append(user)
        return due

    def _release(self, user: User | Face, now_ms: int) -> None:
        user.push_waits = False
        # Nothing of what was earned beyond it while it waited: the next comes a whole spacing later.
        user.push_credit, user.push_refilled_ms = 0, now_ms
        # Also of one who is in no channel any longer: that they left the last is still to be told.
        self._admitted[user] = None

    def admit(self, user: User | Face, now_ms: int) -> bool:
        """Whether something may be told of the user now. If not, `take_due` gives the user once it may. O(1)."""
        if not self._policy.change_spacing_ms:
            return True
        if user.push_waits:
            return False
        if user in self._admitted:
            return True
        self._refill(user, now_ms)
        if user.push_credit < CHANGE_DELIVERIES:
            user.push_waits = True
            self.waiting.add(now_ms, user)
            return False
        user.push_credit -= CHANGE_DELIVERIES
        if user.channels is not None:
            self._admitted[user] = None
        return True

    def forget(self, user: User) -> None:
        """Nothing is known of the user any more, nor how often they were told of. O(1)."""
        user.push_credit, user.push_refilled_ms, user.push_waits = 0, -1, False
        self._admitted.pop(user, None)

    def pay(self, user: User | Face, deliveries: int) -> None:
        """What was admitted is told to so many. O(1)."""
        spacing_ms = self._policy.change_spacing_ms
        if deliveries > CHANGE_DELIVERIES and spacing_ms:
            least = -CHANGE_WAIT_MS_MAX * CHANGE_DELIVERIES // spacing_ms
            user.push_credit = max(least, user.push_credit - deliveries + CHANGE_DELIVERIES)

    def end_turn(self) -> None:
        """What was admitted was for this turn."""
        if self._admitted:
            self._admitted.clear()

    def _refill(self, user: User | Face, now_ms: int) -> None:
        most = self._policy.change_burst * CHANGE_DELIVERIES
        if user.push_refilled_ms < 0:
            user.push_credit, user.push_refilled_ms = most, now_ms
            return
        # The spacing is asked for by the callers: without one nobody waits.
        earned = (now_ms - user.push_refilled_ms) * CHANGE_DELIVERIES // max(1, self._policy.change_spacing_ms)
        if earned:
            user.push_credit = min(most, user.push_credit + earned)
            user.push_refilled_ms = now_ms
