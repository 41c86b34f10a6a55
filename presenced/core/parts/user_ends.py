"""A user's one entry in the wheel: the first end of a claim or text, or the time to read the schedule again."""

from __future__ import annotations

from presenced.core.model import User
from presenced.core.publisher import Publisher
from presenced.core.wheel import Wheel


class UserEnds:
    """The one place that schedules users in the wheel."""

    def __init__(self, wheel: Wheel, publisher: Publisher) -> None:
        self._wheel = wheel
        self._publisher = publisher

    def arm(self, user: User) -> None:
        """Wait for the first end of what there is now. Of a copy another node waits for it. O(claims)."""
        if user.is_copy:
            return
        due_ms = user.text_due_ms
        if user.shown is not None and user.shown.due_ms and (not due_ms or user.shown.due_ms < due_ms):
            due_ms = user.shown.due_ms
        for claim in user.claims:
            if claim.due_ms and (not due_ms or claim.due_ms < due_ms):
                due_ms = claim.due_ms
        if user.schedule is not None and (not due_ms or user.schedule.due_ms < due_ms):
            due_ms = user.schedule.due_ms
        if due_ms:
            self._wheel.schedule(user, due_ms)
        else:
            self._wheel.cancel(user)

    def let_go(self, user: User) -> None:
        """Wait for nothing of the user any longer: another node does. O(1)."""
        self._wheel.cancel(user)

    def changed(self, user: User) -> None:
        """Something that ends by itself, and that the record shows, has changed. O(claims)."""
        self.arm(user)
        self._publisher.mark_dirty(user)
