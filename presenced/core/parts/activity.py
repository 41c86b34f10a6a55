"""What applications record of users: kept bounded by number and age, newest asked first (protocol.md, 13.11)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from presenced.core.clock import Clock
from presenced.core.ledger import Ledger
from presenced.core.model import Device, User
from presenced.core.part import Part, Restoring, TakeUp
from presenced.core.parts.leases import Leases
from presenced.core.parts.users import Users
from presenced.core.publisher import Publisher
from presenced.core.records import ActivityAdded, Fact
from presenced.errors import RequestError
from presenced.limits import ACTIVITIES_PER_USER_MAX, ACTIVITY_AGE_MS_MAX, ACTIVITY_AHEAD_MS_MAX
from presenced.wire.messages import ActivityInfo


class Activities(Part):
    """Owns the activities of all users."""

    def __init__(self, users: Users, leases: Leases, ledger: Ledger, clock: Clock, publisher: Publisher) -> None:
        self._users = users
        self._leases = leases
        self._ledger = ledger
        self._clock = clock
        self._publisher = publisher

    def add(self, now_ms: int, user: User, device: Device | None, activity: ActivityInfo, *, may_repeat: bool) -> None:
        """The user did this, on that device if one is given: then it counts as input there, whenever it was.
        `may_repeat`: its time is the application's, and one that is known already is the same."""
        wall_ms, trusted_ms = self._clock.wall_ms(now_ms), self._clock.trusted_wall_ms(now_ms)
        copies = keep_activity(user, activity, wall_ms, 1 if may_repeat else None, trusted_ms=trusted_ms)
        self._ledger.add(_fact(user, activity, copies))
        if device is not None:
            self._leases.input(device, now_ms)
            self._publisher.mark_dirty(user)

    def recent(self, now_ms: int, user: User, limit: int, since_ms: int) -> list[ActivityInfo]:
        """Up to `limit` of the user's activities at or after `since_ms`, newest first. What has become too old is
        dropped, and perhaps with it the user. O(limit)."""
        wall_ms, trusted_ms = self._clock.wall_ms(now_ms), self._clock.trusted_wall_ms(now_ms)
        found = recent_activities(user, limit, since_ms, wall_ms, trusted_ms)
        self._users.forget_if_blank(user)
        return found

    def keeps(self, user: User) -> bool:
        """Whether an activity is known."""
        return bool(user.activities)

    def erase(self, user: User, now_ms: int) -> None:
        """The activities. O(1)."""
        user.activities = None

    def facts_of(self, user: User, now_ms: int) -> Iterable[Fact]:
        """The activities that are not too old; the others are dropped. O(activities)."""
        if not user.activities:
            return ()
        drop_old_activities(user, self._clock.trusted_wall_ms(now_ms))
        return [_fact(user, activity, copies) for activity, copies in numbered(user.activities or deque())]

    def restorers(self) -> Mapping[type, TakeUp]:
        """Activities."""
        return {ActivityAdded: self._restore}

    def _restore(self, source: Restoring, fact: ActivityAdded) -> None:
        activity = ActivityInfo(fact.activity, fact.channel, fact.device, fact.at_ms, fact.payload)
        keep_activity(source.user(fact.user), activity, source.now_ms + source.offset_ms, fact.copies)


def _fact(user: User, activity: ActivityInfo, copies: int) -> ActivityAdded:
    at_ms, payload = activity.at_ms, activity.payload
    return ActivityAdded(user.name, activity.activity, activity.channel, activity.device, at_ms, payload, copies)


def time_of_activity(at_ms: int, wall_ms: int) -> int:
    """The wall time to record: the application's, or the server's if `at_ms` is 0.

    Raises `RequestError` (`bad_time`) for one that is further back or ahead than makes sense.
    """
    if not at_ms:
        return wall_ms
    if not wall_ms - ACTIVITY_AGE_MS_MAX <= at_ms <= wall_ms + ACTIVITY_AHEAD_MS_MAX:
        raise RequestError(
            "bad_time",
            f"an activity at {at_ms} is not between 30 days ago and a minute ahead of now ({wall_ms}); "
            "send 0 to have the server's time",
        )
    return at_ms


def keep_activity(
    user: User, activity: ActivityInfo, wall_ms: int, copies: int | None = 1, *, trusted_ms: int = 0
) -> int:
    """Remember it in order of time; the oldest make room, and what is too old is dropped, be it this one: by
    `trusted_ms`, if that is given. O(activities that are newer or of the same time).

    It is kept unless as many as `copies` of it are kept already, equal in everything: so an application may repeat a
    request, and a log may overlap a snapshot. None: it is one more, however many there are. Gives how many of it there
    are then.

    What is further ahead of `wall_ms` than can be said was recorded by a clock that was wrong. It comes before this
    one, or else it would be the newest, and push out whatever follows, until that time has come.
    """
    kept = user.activities
    if kept is None:
        kept = user.activities = deque()
    if activity.at_ms <= wall_ms + ACTIVITY_AHEAD_MS_MAX:
        _bring_back(kept, wall_ms, min(activity.at_ms, wall_ms))
    later = []
    while kept and kept[-1].at_ms > activity.at_ms:
        later.append(kept.pop())
    known = _count(kept, activity)
    if copies is None:
        copies = known + 1
    if known < copies:
        kept.append(activity)
    kept.extend(reversed(later))
    while len(kept) > ACTIVITIES_PER_USER_MAX:
        kept.popleft()
    drop_old_activities(user, trusted_ms or wall_ms)
    return copies


def numbered(activities: deque[ActivityInfo]) -> Iterator[tuple[ActivityInfo, int]]:
    """Each with its number among those that are equal to it, from 1. O(activities)."""
    at_ms = 0
    alike: dict[ActivityInfo, int] = {}
    for activity in activities:
        if activity.at_ms != at_ms:
            at_ms = activity.at_ms
            alike.clear()
        number = alike[activity] = alike.get(activity, 0) + 1
        yield activity, number


def drop_old_activities(user: User, wall_ms: int) -> None:
    """Forget activities that have become too old. The caller then asks whether the user must still be kept
    (`Users.forget_if_blank`). O(activities dropped)."""
    kept = user.activities
    if kept is None:
        return
    while kept and kept[0].at_ms < wall_ms - ACTIVITY_AGE_MS_MAX:
        kept.popleft()
    if not kept:
        user.activities = None


def _bring_back(kept: deque[ActivityInfo], wall_ms: int, at_ms: int) -> None:
    """Put what is too far ahead of `wall_ms` at `at_ms`, in the same order. O(those and what is newer than `at_ms`)."""
    if not kept or kept[-1].at_ms <= wall_ms + ACTIVITY_AHEAD_MS_MAX:
        return
    ahead: list[ActivityInfo] = []
    later: list[ActivityInfo] = []
    while kept and kept[-1].at_ms > at_ms:
        activity = kept.pop()
        if activity.at_ms > wall_ms + ACTIVITY_AHEAD_MS_MAX:
            ahead.append(msgspec.structs.replace(activity, at_ms=at_ms))
        else:
            later.append(activity)
    kept.extend(reversed(ahead))
    kept.extend(reversed(later))


def _count(kept: deque[ActivityInfo], activity: ActivityInfo) -> int:
    """How many of the newest are equal to it. O(those of its time)."""
    count = 0
    for other in reversed(kept):
        if other.at_ms != activity.at_ms:
            break
        count += other == activity
    return count


def recent_activities(user: User, limit: int, since_ms: int, wall_ms: int, trusted_ms: int) -> list[ActivityInfo]:
    """Up to `limit` activities at or after `since_ms`, newest first. What has become too old is not told, and dropped
    if it is so by a clock that can be trusted. O(limit)."""
    if user.activities is not None:
        _bring_back(user.activities, wall_ms, wall_ms)
    drop_old_activities(user, trusted_ms)
    since_ms = max(since_ms, wall_ms - ACTIVITY_AGE_MS_MAX)
    found: list[ActivityInfo] = []
    for activity in reversed(user.activities or ()):
        if len(found) == limit or activity.at_ms < since_ms:
            break
        found.append(activity)
    return found
