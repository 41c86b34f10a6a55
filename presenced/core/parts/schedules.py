"""Weekly schedules: rules that claim a status while one of their windows is open.

When windows open and close depends on the rules of the zone, so a calendar is asked, a pure function of (schedule, wall
time). Thousands of users may have windows that open at the same moment: their schedules are read a slice each turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple
from zlib import crc32

from presenced.core.clock import Clock
from presenced.core.ledger import Ledger
from presenced.core.model import Claim, Schedule, User
from presenced.core.part import Jump, Part, Restoring, Start, TakeUp
from presenced.core.parts.claims import Claims
from presenced.core.parts.user_ends import UserEnds
from presenced.core.precedence import SCHEDULED
from presenced.core.records import Fact, ScheduleSet
from presenced.wire.messages import DeviceStatus

SCHEDULE_CHECK_MS = 3_600_000
"""A schedule is read again at least this often: its windows go by the wall clock, which may be set."""

READ_COST = 4
"""What reading a schedule costs besides its windows, in windows."""

TICK_COST_MAX = 1_200
"""What the schedules read in one turn may cost, in windows: about 3 ms, of few with many windows or the reverse."""


class Opening(NamedTuple):
    """What a calendar says of a schedule at a moment."""

    is_open: bool
    changes_ms: int
    """Wall time at which that changes, or another status begins; 0 = never."""
    status: DeviceStatus | None = None
    """That of the window that is open; None = the schedule's."""


CLOSED: Final = Opening(False, 0)
"""No window is open, and none ever opens."""

Calendar = Callable[[Schedule, int], Opening]


def no_calendar(schedule: Schedule, wall_ms: int) -> Opening:
    """Where nobody knows time zones: no window ever opens."""
    return CLOSED


class Schedules(Part):
    """Owns the schedules, and makes and ends the claims that they stand for."""

    def __init__(self, claims: Claims, ends: UserEnds, ledger: Ledger, clock: Clock, calendar: Calendar) -> None:
        self.zones_missing: dict[str, None] = {}
        """Time zones of schedules that were known once and are not now: those schedules are off."""
        self._claims = claims
        self._ends = ends
        self._ledger = ledger
        self._clock = clock
        self._calendar = calendar
        self._users: dict[User, None] = {}
        """Users with a schedule."""
        self._unread: dict[User, None] = {}
        """Users whose schedule is to be read now."""

    def is_known_zone(self, schedule: Schedule, now_ms: int) -> bool:
        """Whether the calendar knows the schedule's zone."""
        return self.opening(schedule, self._clock.wall_ms(now_ms)) is not None

    def opening_at(self, schedule: Schedule, wall_ms: int) -> Opening:
        """What the schedule says at a wall time, also one that is to come; one of an unknown zone is never open."""
        try:
            return self._calendar(schedule, wall_ms)
        except LookupError:
            return Opening(False, 0)

    def set(self, user: User, schedule: Schedule | None, now_ms: int) -> None:
        """Set or (None) drop the weekly schedule, and claim what it says for now (protocol.md, 13.10)."""
        user.schedule = schedule
        if schedule is None:
            self._ledger.add(ScheduleSet(user.name, "", [], "dnd"))
        else:
            self._ledger.add(ScheduleSet(user.name, schedule.zone, schedule.windows, schedule.status))
        self._claims.end(user, SCHEDULED, now_ms)
        self._read(user, now_ms)
        self._ends.changed(user)

    def rules_changed(self) -> None:
        """The rules of time zones have changed: read every schedule anew, a slice each turn. O(schedules)."""
        self.zones_missing.clear()
        self._unread.update(self._users)

    def opening(self, schedule: Schedule, wall_ms: int) -> Opening | None:
        """What the schedule says at a wall time; None = nobody knows its zone."""
        try:
            return self._calendar(schedule, wall_ms)
        except LookupError:
            return None

    def is_unread(self, user: User) -> bool:
        """Whether the user's schedule is to be read now. O(1)."""
        return user in self._unread

    def let_go_of(self, user: User) -> None:
        """Another node reads the user's schedule from now on. O(1)."""
        self._users.pop(user, None)
        self._unread.pop(user, None)

    # --- time -------------------------------------------------------------------------------------------------

    def due(self, user: User, now_ms: int) -> None:
        """The user's wheel entry came out: read a schedule whose time has come, soon. O(1)."""
        if user.schedule is not None and now_ms >= user.schedule.due_ms:
            self._read_soon(user, now_ms)

    def clock_jumped(self, user: User, jump: Jump, now_ms: int) -> None:
        """Another window may be open now."""
        if user.schedule is not None:
            self._read_soon(user, now_ms)
            self._ends.changed(user)

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next: 0 = at once, None = not until a schedule comes due."""
        return 0 if self._unread else None

    def tick(self, now_ms: int) -> None:
        """Read the schedules that are due, as many as a turn may; the rest is for the next."""
        left = TICK_COST_MAX
        while self._unread and left > 0:
            user = self._unread.popitem()[0]
            if user.schedule is not None:
                left -= READ_COST + len(user.schedule.windows)
                self._read(user, now_ms)
                self._ends.changed(user)

    def _read_soon(self, user: User, now_ms: int) -> None:
        assert user.schedule is not None
        # Until then it waits for its next time: a user with a schedule always is in the wheel.
        user.schedule.due_ms = now_ms + SCHEDULE_CHECK_MS
        self._unread[user] = None

    def _read(self, user: User, now_ms: int) -> None:
        self._unread.pop(user, None)
        schedule = user.schedule
        if schedule is None:
            self._users.pop(user, None)
            self._claims.end(user, SCHEDULED, now_ms)
            return
        self._users[user] = None
        wall_ms = self._clock.wall_ms(now_ms)
        opening = self.opening(schedule, wall_ms)
        if opening is None:
            # The zone was known when the schedule was set; the system's zone data are others now.
            self.zones_missing[schedule.zone] = None
            opening = CLOSED
        # Each user at a moment of the hour of their own, so that schedules without an edge are never read all together.
        phase_ms = crc32(user.name.encode()) % SCHEDULE_CHECK_MS
        schedule.due_ms = now_ms + SCHEDULE_CHECK_MS - (now_ms + phase_ms) % SCHEDULE_CHECK_MS
        if opening.changes_ms:
            schedule.due_ms = min(schedule.due_ms, max(now_ms + 1, opening.changes_ms - self._clock.offset_ms))
        if not opening.is_open:
            self._claims.end(user, SCHEDULED, now_ms)
            return
        status = opening.status or schedule.status
        scheduled = next((claim for claim in user.claims if claim.name == SCHEDULED), None)
        if scheduled is None or scheduled.status != status:
            claim = Claim(SCHEDULED, "schedule", status, wall_ms, opening.changes_ms, 0)
            self._claims.set(user, claim, now_ms)
        elif scheduled.until_ms != opening.changes_ms:
            # The same window with another end. It keeps its place: what the person set since it opened is newer.
            self._claims.extend(user, scheduled, opening.changes_ms)

    # --- the disk ---------------------------------------------------------------------------------------------

    def keeps(self, user: User) -> bool:
        """Whether there is a schedule."""
        return user.schedule is not None

    def erase(self, user: User, now_ms: int) -> None:
        """The schedule; what it claimed is gone already. O(1)."""
        user.schedule = None
        self.let_go_of(user)
        self._ends.arm(user)

    def facts_of(self, user: User, now_ms: int) -> Iterable[Fact]:
        """The schedule. O(1)."""
        schedule = user.schedule
        return () if schedule is None else (ScheduleSet(user.name, schedule.zone, schedule.windows, schedule.status),)

    def restorers(self) -> Mapping[type, TakeUp]:
        """Schedules."""
        return {ScheduleSet: self._restore}

    def _restore(self, source: Restoring, fact: ScheduleSet) -> None:
        schedule = Schedule(fact.zone, fact.windows, fact.status) if fact.zone else None
        source.user(fact.user).schedule = schedule

    def resume(self, users: Sequence[User], start: Start) -> None:
        """Claim what the schedules say now."""
        for user in users:
            if user.schedule is not None or any(claim.name == SCHEDULED for claim in user.claims):
                self._read(user, start.now_ms)
                self._ends.arm(user)
