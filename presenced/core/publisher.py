"""From a changed user to the record that is seen of them: versions, the online index, and the spacing of pushes.

The engine says `touch(user)`; `settle` makes the record anew, and if it differs gives it the next version and a fact
for the log, and hands it to the outboxes of those who are told, now or once its spacing is over. A record is made once
per turn and user, however often it was touched; queries settle the users that they ask for first, so an answer is never
older than the requests before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from sortedcontainers import SortedList

from presenced.core.facts import record_fact
from presenced.core.merge import merge
from presenced.core.model import GONE, IDLE_OFFLINE, Device, User
from presenced.core.outboxes import Outboxes
from presenced.core.policy import Policy
from presenced.core.records import Fact
from presenced.core.spacing import Spacing
from presenced.wire.codec import encode
from presenced.wire.messages import ONLINE_STATUSES, Record, Status


class Change(NamedTuple):
    """One change of a record. Both sides are kept: a record may change twice before anybody is told."""

    user: User
    old: Record
    new: Record
    reason: str
    """Why the user is offline now, if they are: as in an event."""


class Publisher:
    """Owns the records that are seen: their versions, who is online, and when each is pushed."""

    def __init__(self, policy: Policy, epoch: int, outboxes: Outboxes) -> None:
        self.epoch = epoch
        self.version = 0
        self.wall_offset_ms = 0
        """Wall time minus monotonic time, set by the edge each turn."""
        self.trusted_offset_ms = 0
        """The same by a clock that has shown it for a while, or that is behind: what is dropped for its age is gone for
        good, and a clock may be wrong for a moment."""
        self.back_ms = 0
        """By how much the wall clock has been set back from the furthest that it was ahead in this run: 0 or less."""
        self.silent: dict[Device, None] = {}
        """While the daemon is stopping: the devices that were in grace when it began to."""
        self.online: SortedList[str] = SortedList()
        """Names of the users who are not offline, in order."""
        self.facts: list[Fact] = []
        self.keeps_changes = False
        """Whether anybody wants the changes of users who are in no channel."""
        self.changes: list[Change] = []
        """How records have changed, for those who follow changes."""
        self.own_touched: list[User] = []
        """Touched users who have a link that wants their own state."""
        self.blank: list[User] = []
        """Touched users of whom there may be nothing to remember."""
        # counted for the operator
        self.by_status = dict.fromkeys(ONLINE_STATUSES, 0)
        """Users who are not offline, by what they show."""
        self.changed = 0
        """Records that were made anew and differed."""
        self.refused: Counter[str] = Counter()
        """Requests answered with an error, by code."""
        self._outboxes = outboxes
        self._dirty: list[User] = []
        self._ends: dict[User, str] = {}
        """Touched users of whom a device has stopped to count, and why the last of these did."""
        self._contacts: dict[User, int] = {}
        """Of those, when the ones that took a negative priority were last seen: their word counts no more."""
        self._seen: dict[User, bool] = {}
        """Touched users who were said to have been seen."""
        self._outdated: dict[User, bool] = {}
        """Touched users of whom other times are told since the clock was set."""
        self._policy = policy
        self.spacing = Spacing(policy)
        self._released: list[User] = []
        """Users whose spacing is over, and of whom there may be more to tell than their record."""

    def respace(self, now_ms: int) -> None:
        """The spacing is another now. What waits under the old one goes out. O(users that wait)."""
        self._release(self.spacing.respace(now_ms))

    # --- records ----------------------------------------------------------------------------------------------

    def touch(self, user: User) -> None:
        """Something was said about the user: make the record anew before anybody is told of it."""
        if not user.dirty:
            user.dirty = True
            self._dirty.append(user)

    def uncount(self, device: Device, reason: str) -> None:
        """A device that counted counts no more, for a reason as in an event of `offline`."""
        user = device.user
        self._ends[user] = reason
        if device.priority < 0:
            self._contacts[user] = max(device.seen_ms, self._contacts.get(user, device.seen_ms))
        self.touch(user)

    def seen(self, user: User, now_ms: int) -> None:
        """The user was seen just now: what is told of them while they are offline says so, now or later."""
        wall_ms = now_ms + self.wall_offset_ms
        if wall_ms > self.told_ms(user.seen_ms, wall_ms):
            user.seen_ms = wall_ms
            self._seen[user] = True
            self.touch(user)

    @property
    def is_touched(self) -> bool:
        """Whether there is a record to be made anew. O(1)."""
        return bool(self._dirty)

    def touches(self, members: dict[str, User]) -> bool:
        """Whether the record of any of these is to be made anew. O(these or touched, whichever are fewer)."""
        if len(members) < len(self._dirty):
            return any(user.dirty for user in members.values())
        return any(members.get(user.name) is user for user in self._dirty)

    def settle_all(self, now_ms: int) -> None:
        """Settle every touched user. O(touched)."""
        if self._dirty:
            touched, self._dirty = self._dirty, []
            for user in touched:
                if user.dirty:
                    self.settle(user, now_ms)

    def settle(self, user: User, now_ms: int) -> None:
        """Make the record from the state; if it differs, it gets the next version and is pushed."""
        if not user.dirty:
            return
        user.dirty = False
        if user.own is not None:
            self.own_touched.append(user)
        old = user.record
        claim = user.claim
        hides = claim is not None and claim.status == "offline"
        status, primary = merge(user.devices.values(), claim, user.primary, self._policy.primary_hysteresis_ms)
        user.primary = primary
        device = primary.id if primary is not None else ""
        shown = user.shown or user
        text, emoji = shown.text, shown.emoji
        reason = self._ends.pop(user, "idle") if self._ends else "idle"
        contact_ms = self._contacts.pop(user, None) if self._contacts else None
        is_seen = bool(self._seen) and self._seen.pop(user, False)
        is_outdated = bool(self._outdated) and self._outdated.pop(user, False)
        if hides:
            reason = "hidden"
        wall_ms = now_ms + self.wall_offset_ms
        if status != old.status:
            self._turn_over(user, status, reason, wall_ms, contact_ms)
        elif is_outdated or (is_seen and status == "offline"):
            pass
        elif device == old.device and text == old.text and emoji == old.emoji:
            if is_seen:
                # Not told before the user is offline, and not forgotten until then.
                self.facts.append(record_fact(user, self.back_ms))
            elif not old.version and not user.devices:
                self.blank.append(user)
            return
        is_same = status == old.status and not is_outdated
        since_ms = old.since_ms if is_same else self.told_ms(user.since_ms, wall_ms)
        last_seen_ms = 0
        if status == "offline":
            last_seen_ms = old.last_seen_ms if is_same and not is_seen else self.told_ms(user.seen_ms, wall_ms)
        self.changed += 1
        self.version += 1
        user.record = Record(user.name, status, text, emoji, since_ms, last_seen_ms, device, self.version)
        user.encoded = None
        self.facts.append(record_fact(user, self.back_ms))
        if self.keeps_changes or user.channels is not None:
            self.changes.append(Change(user, old, user.record, reason if status == "offline" else ""))
        if user.watchers or self._outboxes.everyone:
            self._push(user, now_ms)

    def told_ms(self, noted_ms: int, wall_ms: int) -> int:
        """A wall time as it is told when the clock shows `wall_ms`. Never later than that: if it was noted by a clock
        that was ahead, then as the clock of now would have shown it."""
        return noted_ms if noted_ms <= wall_ms else min(noted_ms + self.back_ms, wall_ms)

    def clock_set(self, user: User, now_ms: int) -> None:
        """The wall clock was set: the record is made anew if it tells another time now. O(1)."""
        record, wall_ms = user.record, now_ms + self.wall_offset_ms
        is_told = not record.last_seen_ms or record.last_seen_ms == self.told_ms(user.seen_ms, wall_ms)
        if record.version and not (is_told and record.since_ms == self.told_ms(user.since_ms, wall_ms)):
            self._outdated[user] = True
            self.touch(user)

    def _turn_over(self, user: User, status: Status, reason: str, wall_ms: int, contact_ms: int | None) -> None:
        """The user shows another status from `wall_ms` on: keep account of who is online, and when who was last seen.
        `contact_ms`: the last of devices that took a negative priority just now."""
        before = user.record.status
        user.since_ms = wall_ms
        if before != "offline":
            self.by_status[before] -= 1
        if status != "offline":
            self.by_status[status] += 1
            if before == "offline":
                self.online.add(user.name)
            return
        self.online.remove(user.name)
        if reason in ("bye", "hidden"):
            # To the millisecond the same for both, or else it would tell who left and who hides.
            user.seen_ms = wall_ms
        else:
            # Never behind what was told or said before, such as by a touch.
            user.seen_ms = max(self.told_ms(user.seen_ms, wall_ms), self._last_contact_ms(user, contact_ms))

    def record_of(self, user: User) -> Record:
        """The record as a value to be sent in a reply: pre-encoded, so that many replies share the work."""
        encoded = user.encoded
        if encoded is None:
            encoded = user.encoded = encode(user.record)
        return msgspec.Raw(encoded)  # type: ignore[return-value]

    def page(self, after: str, limit: int) -> tuple[list[str], str]:
        """Up to `limit` names of online users after `after`, and where the next page starts ("" = nowhere).

        O(limit + log online).
        """
        if limit == 0:
            return [], ""
        names: Iterator[str] = self.online.irange(after, inclusive=(False, True)) if after else iter(self.online)
        page: list[str] = []
        for name in names:
            if len(page) == limit:
                return page, page[-1]
            page.append(name)
        return page, ""

    def _last_contact_ms(self, user: User, latest: int | None) -> int:
        """Wall time at which the user was last there: the last frame of a device, or its last input if the device
        is still connected and only idle. `latest`: that of devices that took a negative priority just now."""
        for device in user.devices.values():
            if device.priority >= 0:
                # Its last input may be later than its last frame: what a service says of it counts.
                is_idle = device.state != GONE and device.idle_level == IDLE_OFFLINE
                contact_ms = device.active_ms if is_idle else device.seen_ms
                latest = contact_ms if latest is None else max(latest, contact_ms)
        # Without a device if the log has lost it: then nothing later is known than that they were online once.
        return latest + self.wall_offset_ms if latest is not None else user.record.since_ms

    # --- pushes -----------------------------------------------------------------------------------------------

    def release_spaced(self, now_ms: int) -> None:
        """Tell of those whose spacing is over. O(those that come out)."""
        self._release(self.spacing.take_due(now_ms))

    def _release(self, users: list[User]) -> None:
        for user in users:
            # Also if all is again as it was told last: a reply may have told a watcher of what was in between.
            if user.watchers or self._outboxes.everyone:
                self._fan_out(user)
        self._released.extend(users)

    def _push(self, user: User, now_ms: int) -> None:
        if not self._policy.change_spacing_ms:
            self._outboxes.fan_out(user)
        elif self.spacing.admit(user, now_ms):
            self._fan_out(user)

    def _fan_out(self, user: User) -> None:
        self.spacing.pay(user, len(user.watchers or ()) + len(self._outboxes.everyone))
        self._outboxes.fan_out(user)

    def take_released(self) -> list[User]:
        """The users since the last call whose spacing is over."""
        released, self._released = self._released, []
        return released

    # --- what others take --------------------------------------------------------------------------------------

    def log(self, fact: Fact) -> None:
        """Leave a fact for the log."""
        self.facts.append(fact)

    def take_changes(self) -> list[Change]:
        """The changes of records since the last call, in order."""
        changes, self.changes = self.changes, []
        return changes

    def take_own_touched(self) -> list[User]:
        """The users since the last call whose own state may have changed."""
        touched, self.own_touched = self.own_touched, []
        return touched

    def take_blank(self) -> list[User]:
        """The users since the last call of whom there may be nothing to remember."""
        blank, self.blank = self.blank, []
        return blank

    @property
    def is_settled(self) -> bool:
        """Whether all that was said has become facts, and those were taken. O(1)."""
        return not self._dirty and not self.facts

    def take_facts(self) -> list[Fact]:
        """The facts since the last call, in order."""
        facts, self.facts = self.facts, []
        return facts
