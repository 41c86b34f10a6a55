"""Claims and schedules: what is stated for a whole user, which of it counts, and when that changes.

A user has any number of claims (up to a limit), each with a source and perhaps an end. The one that counts is kept
in `User.claim`; `standing` says which that is. Ending one lets the next show by itself.

A schedule is a rule, not a claim: while one of its weekly windows is open, it makes one. When windows open and close
depends on the zone's rules, so that is asked of a calendar, a pure function of (schedule, wall time).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from zlib import crc32

from presenced.core.clock import Clock
from presenced.core.ledger import Ledger
from presenced.core.model import GONE, Claim, Schedule, Shown, User
from presenced.core.parts.leases import Leases, in_call
from presenced.core.publisher import Publisher
from presenced.core.records import ClaimSet, ScheduleSet, ShownSet, TextSet
from presenced.core.standing import MANUAL, SCHEDULED, added, strongest, without
from presenced.core.wheel import Wheel
from presenced.errors import RequestError
from presenced.limits import CLAIMS_PER_USER_MAX, DURATION_MS_MAX
from presenced.wire.messages import DeviceStatus

SCHEDULE_CHECK_MS = 3_600_000
"""A schedule is looked at again at least this often: its windows go by the wall clock, which may be set."""

LOOK_COST = 4
"""What looking at a schedule costs besides its windows, in windows."""

TICK_COST_MAX = 1_200
"""What the looks of one turn may cost, in windows: about 3 ms, of few schedules with many windows or the reverse."""

FIND_USERS = 2_000
"""Users that one page of claims is sought among."""


class Opening(NamedTuple):
    """What a calendar says of a schedule at a moment."""

    is_open: bool
    changes_ms: int
    """Wall time at which that changes, or another status begins; 0 = never."""
    status: DeviceStatus | None = None
    """That of the window that is open; None = the schedule's."""


Calendar = Callable[[Schedule, int], Opening]


class Claims:
    """Sets and ends claims, texts and schedules, and waits for their ends: a user's one entry in the wheel."""

    def __init__(
        self, wheel: Wheel, leases: Leases, ledger: Ledger, clock: Clock, publisher: Publisher, calendar: Calendar
    ) -> None:
        self._wheel = wheel
        self._leases = leases
        self._ledger = ledger
        self._clock = clock
        self._publisher = publisher
        self._calendar = calendar
        self.zones_missing: dict[str, None] = {}
        """Time zones of schedules that were known once and are not now: those schedules are off."""
        self._scheduled: dict[User, None] = {}
        """Users with a schedule."""
        self._looks: dict[User, None] = {}
        """Users whose schedule is to be looked at now: thousands may have windows that open at the same moment."""

    # --- saying -----------------------------------------------------------------------------------------------

    def set(self, user: User, claim: Claim, now_ms: int) -> None:
        """Make a claim, or replace the one of its name. Raises `RequestError` (`claim_limit`). O(claims).

        The limit is for what applications claim: a person is never kept from saying something, and when a window
        opens nobody is there to be refused.
        """
        if claim.name not in (MANUAL, SCHEDULED):
            others = [other for other in user.claims if other.name not in (claim.name, MANUAL, SCHEDULED)]
            if len(others) >= CLAIMS_PER_USER_MAX:
                raise RequestError(
                    "claim_limit", f"{user.name} has {CLAIMS_PER_USER_MAX} claims, as many as are allowed; end one"
                )
        # Last, even if it replaces one: within a source the newest counts.
        self._put(user, added(user.claims, claim), now_ms)
        self._log(user, claim)

    def end(self, user: User, name: str, now_ms: int) -> None:
        """End the claim of this name, if there is one, and what it covers. O(claims)."""
        rest = without(user.claims, name)
        if len(rest) != len(user.claims):
            self._put(user, rest, now_ms)
            self._ledger.add(ClaimSet(user.name, "", 0, 0, name, MANUAL))

    def end_with_devices(self, user: User, now_ms: int) -> None:
        """End the claims whose device is not live any more. O(claims)."""
        for claim in user.claims:
            if claim.device:
                device = user.devices.get(claim.device)
                if device is None or device.state == GONE:
                    self.end(user, claim.name, now_ms)

    def find(self, order: list[User], name: str, after: int, limit: int) -> tuple[int, list[tuple[User, Claim]]]:
        """Claims of this name (empty = of every name) of the users in `order`, from the end or from before place
        `after` on, and the place to go on from (0 = nowhere). O(`FIND_USERS`): a page may be short, or empty."""
        start = min(after or len(order), len(order))
        found: list[tuple[User, Claim]] = []
        place = start
        while place and start - place < FIND_USERS and len(found) < limit:
            place -= 1
            user = order[place]
            if user.claims:
                found += [(user, claim) for claim in user.claims if not name or claim.name == name]
        return place, found

    def _end_due(self, user: User, ended: list[Claim], now_ms: int) -> None:
        """The claims have come to their end; what they cover shows again."""
        self._put(user, tuple(claim for claim in user.claims if claim not in ended), now_ms)
        for claim in ended:
            self._ledger.add(ClaimSet(user.name, "", 0, claim.until_ms, claim.name, claim.source))

    def _log(self, user: User, claim: Claim, *, in_place: bool = False) -> None:
        self._ledger.add(
            ClaimSet(
                user.name,
                claim.status,
                claim.since_ms,
                claim.until_ms,
                claim.name,
                claim.source,
                in_place,
                claim.device,
            )
        )

    def _put(self, user: User, claims: tuple[Claim, ...], now_ms: int) -> None:
        was_in_call = in_call(user)
        user.claims = claims
        user.claim = strongest(claims)
        if user.shown is not None and not is_hidden(user):
            user.shown = None
        if was_in_call != in_call(user):
            self._leases.call_is_input(user, now_ms)
        self.arm(user)
        self._publisher.mark_dirty(user)

    def set_text(self, user: User, text: str, emoji: str, until_ms: int, due_ms: int, *, by_wall: bool = False) -> None:
        """Set the text and emoji, which have one end between them (0 = none).

        Of somebody who appears offline nobody is told that it is another: they would be seen to be there. What was seen
        until then goes on to be seen, and ends when it would have ended.
        """
        if not text and not emoji:
            until_ms = due_ms = 0
        if user.shown is None and is_hidden(user):
            self._show(user, Shown(user.text, user.emoji, user.text_until_ms, user.text_due_ms, user.text_by_wall))
        self._set_text(user, text, emoji, until_ms, due_ms, by_wall=by_wall)

    def _set_text(self, user: User, text: str, emoji: str, until_ms: int, due_ms: int, *, by_wall: bool) -> None:
        user.text, user.emoji = text, emoji
        user.text_until_ms, user.text_due_ms, user.text_by_wall = until_ms, due_ms, by_wall
        self._ledger.add(TextSet(user.name, text, emoji, until_ms))
        self.arm(user)
        self._publisher.mark_dirty(user)

    def _show(self, user: User, shown: Shown) -> None:
        user.shown = shown
        self._ledger.add(ShownSet(user.name, shown.text, shown.emoji, shown.until_ms))
        self.arm(user)
        self._publisher.mark_dirty(user)

    def set_schedule(self, user: User, schedule: Schedule | None, now_ms: int) -> None:
        """Set or (None) drop the weekly schedule, and claim what it says for now."""
        user.schedule = schedule
        if schedule is None:
            self._ledger.add(ScheduleSet(user.name, "", [], "dnd"))
        else:
            self._ledger.add(ScheduleSet(user.name, schedule.zone, schedule.windows, schedule.status))
        self.end(user, SCHEDULED, now_ms)
        self._look_at_schedule(user, now_ms)
        self.arm(user)
        self._publisher.mark_dirty(user)

    # --- waiting ----------------------------------------------------------------------------------------------

    def due(self, user: User, now_ms: int) -> None:
        """The user's wheel entry came out: end what has come to its end. O(claims)."""
        ended = [claim for claim in user.claims if claim.due_ms and now_ms >= claim.due_ms]
        if ended:
            self._end_due(user, ended, now_ms)
        if user.text_due_ms and now_ms >= user.text_due_ms:
            self._set_text(user, "", "", 0, 0, by_wall=False)
        if user.shown is not None and user.shown.due_ms and now_ms >= user.shown.due_ms:
            self._show(user, Shown("", "", 0, 0, False))
        if user.schedule is not None and now_ms >= user.schedule.due_ms:
            self._look_soon(user, now_ms)
        self.arm(user)
        self._publisher.mark_dirty(user)

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next: 0 = at once, None = not until a schedule comes due."""
        return 0 if self._looks else None

    def tick(self, now_ms: int) -> None:
        """Look at the schedules that are due, as many as a turn may; the rest is for the next."""
        left = TICK_COST_MAX
        while self._looks and left > 0:
            user = self._looks.popitem()[0]
            if user.schedule is not None:
                left -= LOOK_COST + len(user.schedule.windows)
                self._look_at_schedule(user, now_ms)
                self.arm(user)
                self._publisher.mark_dirty(user)

    def rules_changed(self) -> None:
        """The rules of time zones are others: look at every schedule anew, a slice each turn. O(schedules)."""
        self.zones_missing.clear()
        self._looks.update(self._scheduled)

    def _look_soon(self, user: User, now_ms: int) -> None:
        assert user.schedule is not None
        # Until then it waits for its next time: a user with a schedule always is in the wheel.
        user.schedule.due_ms = now_ms + SCHEDULE_CHECK_MS
        self._looks[user] = None

    def arm(self, user: User) -> None:
        """Wait for the first end of the user's claims and text, and for the schedule. O(claims)."""
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

    def resume(self, user: User, now_ms: int) -> None:
        """Go on after a restart: the schedule as it stands now, and the ends that are still to come."""
        user.claim = strongest(user.claims)
        self.end_with_devices(user, now_ms)
        self._look_at_schedule(user, now_ms)
        self.arm(user)

    def clock_set(self, user: User, now_ms: int) -> None:
        """The wall clock was set: what ends at a wall time is due at another moment, and what ends after a time ends at
        another wall time. O(claims)."""
        offset_ms = self._clock.offset_ms
        for claim in user.claims:
            claim.since_ms = self._clock.shown_ms(claim.since_ms, now_ms + offset_ms)
            if not claim.due_ms:
                continue
            if claim.ends is not None:
                lasting_ms, until_ms = claim.ends
                claim.due_ms = min(lasting_ms, due_of(until_ms, offset_ms, now_ms))
                claim.by_wall = claim.due_ms < lasting_ms
                claim.until_ms = until_ms if claim.by_wall else lasting_ms + offset_ms
                self._log(user, claim, in_place=True)
            elif claim.by_wall:
                claim.due_ms = due_of(claim.until_ms, offset_ms, now_ms)
            else:
                claim.until_ms = claim.due_ms + offset_ms
                self._log(user, claim, in_place=True)
        if user.text_by_wall:
            user.text_due_ms = due_of(user.text_until_ms, offset_ms, now_ms)
        elif user.text_due_ms:
            user.text_until_ms = user.text_due_ms + offset_ms
            self._ledger.add(TextSet(user.name, user.text, user.emoji, user.text_until_ms))
        shown = user.shown
        if shown is not None and shown.by_wall:
            user.shown = shown._replace(due_ms=due_of(shown.until_ms, offset_ms, now_ms))
        elif shown is not None and shown.due_ms:
            self._show(user, shown._replace(until_ms=shown.due_ms + offset_ms))
        if user.schedule is not None:
            self._look_soon(user, now_ms)
        self.arm(user)
        self._publisher.mark_dirty(user)

    def _look_at_schedule(self, user: User, now_ms: int) -> None:
        self._looks.pop(user, None)
        schedule = user.schedule
        if schedule is None:
            self._scheduled.pop(user, None)
            self.end(user, SCHEDULED, now_ms)
            return
        self._scheduled[user] = None
        scheduled = next((claim for claim in user.claims if claim.name == SCHEDULED), None)
        offset_ms = self._clock.offset_ms
        try:
            opening = self._calendar(schedule, now_ms + offset_ms)
        except LookupError:
            # The zone was known when the schedule was set; the system's zone data are others now.
            self.zones_missing[schedule.zone] = None
            opening = Opening(False, 0)
        # Each user at a moment of the hour of their own, so that the looks without an edge never come all together.
        phase_ms = crc32(user.name.encode()) % SCHEDULE_CHECK_MS
        schedule.due_ms = now_ms + SCHEDULE_CHECK_MS - (now_ms + phase_ms) % SCHEDULE_CHECK_MS
        if opening.changes_ms:
            schedule.due_ms = min(schedule.due_ms, max(now_ms + 1, opening.changes_ms - offset_ms))
        if not opening.is_open:
            self.end(user, SCHEDULED, now_ms)
        elif scheduled is None or scheduled.status != (opening.status or schedule.status):
            status = opening.status or schedule.status
            claim = Claim(SCHEDULED, "schedule", status, now_ms + offset_ms, opening.changes_ms, 0)
            self.set(user, claim, now_ms)
        elif scheduled.until_ms != opening.changes_ms:
            # The same window with another end. It keeps its place: what the person set since it opened is newer.
            scheduled.until_ms = opening.changes_ms
            self._log(user, scheduled, in_place=True)


def due_of(until_ms: int, offset_ms: int, now_ms: int) -> int:
    """A wall time on the monotonic clock (0 = none). Not before now, and not beyond the longest that can be asked for:
    the wall clock may be wrong."""
    if not until_ms:
        return 0
    return min(max(until_ms - offset_ms, now_ms), now_ms + DURATION_MS_MAX)


def is_hidden(user: User) -> bool:
    """Whether the user appears offline by their own wish."""
    return user.claim is not None and user.claim.status == "offline"
