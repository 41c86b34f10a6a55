"""What comes next for a user if nothing happens: the next change of what others see, and when. Changes nothing.

That nothing happens means: no link comes or goes, nobody touches or says anything, tokens are not renewed, the wall
clock is not set, and heartbeats go on (protocol.md, section 23.1). A moment is that at which the server acts: the wheel
hands out what is due at the end of its tick.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Final, NamedTuple

from presenced.core.model import User
from presenced.core.precedence import SCHEDULED
from presenced.core.projection import NEVER, Due, Projection, Readings, Rules, Seen
from presenced.core.wheel import Timer, Wheel

_due_ms = attrgetter("due_ms")

OF_DEVICES: Final = ("grace_end", "lease_end", "token_end", "idle_away", "idle_offline")
"""The kinds of what comes due that are about a device."""


class Next(NamedTuple):
    """The next change of what others see."""

    at_ms: int
    """On the monotonic clock."""
    seen: Seen
    because: list[Due]
    """What comes due at that moment."""


class Forecasts:
    """Says what comes next for users."""

    def __init__(self, rules: Rules, wheel: Wheel) -> None:
        self.rules = rules
        self.wheel = wheel

    def valid_until_ms(self, user: User, now_ms: int, readings: Readings) -> int:
        """Wall time at which what others see of the user changes if nothing happens; 0 = never, or nobody knows. Of
        one who is offline it is the end of the text alone: whoever appears offline must not be told from one who is.
        As `Forecast.next`."""
        if user.record.status == "offline":
            due_ms = user.text_due_ms if user.shown is None else user.shown.due_ms
            return self.rules.clock.wall_ms(max(now_ms, self.wheel.handed_out_ms(due_ms))) if due_ms else 0
        following = self.of(user, now_ms, readings).next()
        return self.rules.clock.wall_ms(following.at_ms) if following is not None else 0

    def of(self, user: User, now_ms: int, readings: Readings) -> Forecast:
        """The state of a user, ready to run on from now. The user's record must be up to date. O(devices)."""
        return Forecast(self, user, now_ms, readings)


class Forecast:
    """What one user's state becomes. Read `pending` first, then `next` once."""

    def __init__(self, forecasts: Forecasts, user: User, now_ms: int, readings: Readings) -> None:
        self._rules = forecasts.rules
        self._wheel = forecasts.wheel
        self._user = user
        self._now_ms = now_ms
        self._projection = Projection(forecasts.rules, user, now_ms, readings)
        self._first_dues = self._projection.dues()

    def pending(self) -> list[Due]:
        """All that is to come due, and the silence that would end each link; the first first.
        O(devices and claims)."""
        found = list(self._first_dues)
        timeout_ms = self._rules.policy.timeout_ms
        for device_id in self._projection.connected():
            found.append(Due("silence", device_id, self._user.devices[device_id].heard_ms + timeout_ms))
        if self._projection.edge_ms != NEVER:
            found.append(Due("schedule", SCHEDULED, self._projection.edge_ms))
        return sorted(found, key=_due_ms)

    def next(self) -> Next | None:
        """The next change, or None if none is to come, as far as that is known. O(devices and claims) for each moment
        before it at which something comes due, and as many readings of the schedule as there are `Readings`."""
        record = self._user.record
        before = Seen(record.status, record.text, record.emoji, record.device)
        projection, reached_ms = self._projection, 0
        dues = self._first_dues
        while True:
            if projection.edge_ms != NEVER:
                if not dues and not projection.schedule_may_show(before):
                    return None
                dues.append(Due("schedule", SCHEDULED, projection.edge_ms))
            if not dues or not projection.is_known:
                return None
            first = min(dues, key=_due_ms)
            if reached_ms or first.due_ms > self._now_ms:
                reached_ms = self._moment_ms(first, reached_ms)
            else:
                # What is overdue comes in the order of its entries in the wheel.
                reached_ms = min(self._moment_ms(due, reached_ms) for due in dues)
            projection.reach(reached_ms)
            if not projection.is_known:
                return None
            seen = projection.seen()
            if seen != before:
                because = [due for due in dues if due.due_ms <= reached_ms]
                return Next(reached_ms, seen, sorted(because, key=_due_ms))
            dues = projection.dues()

    def _moment_ms(self, due: Due, reached_ms: int) -> int:
        """When the server acts on something that is due."""
        if due.due_ms > max(reached_ms, self._now_ms):
            return self._wheel.handed_out_ms(due.due_ms)
        if reached_ms:
            return reached_ms
        # Overdue already: its entry is handed out next, or at the end of the tick, or waits for something later.
        if due.kind == "schedule" and self._rules.schedules.is_unread(self._user):
            return self._now_ms
        timer = self._timer(due)
        if self._wheel.is_overdue(timer):
            return self._now_ms
        return max(self._now_ms, self._wheel.handed_out_ms(max(due.due_ms, timer.due_ms)))

    def _timer(self, due: Due) -> Timer:
        """The entry of the wheel that stands for it."""
        device = self._user.devices.get(due.about) if due.kind in OF_DEVICES else None
        if device is None:
            return self._user
        if due.kind == "token_end" and device.ref and (session := device.session) is not None:
            return session.device or session
        return device
