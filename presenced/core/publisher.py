"""From a changed user to the bytes that its watchers get: versions, the online index, pushes and their spacing.

The engine says `touch(user)`; `settle` makes the record anew, and if it differs gives it the next version, a fact
for the log, and one frame that is shared by all watchers. Two rules:

* A record is made once per turn and user, however often it was touched; queries settle the users that they ask for
  first, so an answer is never older than the requests before it.
* Fan-out costs one list append per watcher and nothing else: no object, no encoding, no call. Written inline for
  that reason; a helper call per watcher costs as much again as the append.
* The first fan-out of a turn does not even do that: it is kept back as it is (`Broadcast`), and if no other comes, as
  when one user changes, it is written to each watcher without touching any list: a tenth of a delivery.

Slow watchers. A link that does not take what it is sent is not disconnected and not queued for: from then on the
users that changed are noted (`Session.held`), and their latest records follow when it drains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from sortedcontainers import SortedList

from presenced.core.delays import DelayQueue
from presenced.core.merge import merge
from presenced.core.model import GONE, IDLE_OFFLINE, Device, Edge, Session, User
from presenced.core.policy import Policy
from presenced.core.records import Fact, RecordSet
from presenced.wire.frames import frame
from presenced.wire.messages import Presence, Record, encode

_PRESENCE_HEAD = encode(Presence(Record("", "offline", "", "", 0, 0, "", 0)))[:2]
"""Array of two, type number: what stands before the record in every presence message."""


_NOBODY: dict[Session, Edge] = {}

ONLINE_STATUSES = ("chat", "online", "away", "xa", "dnd")


class Change(NamedTuple):
    """One change of a record. Both sides are kept: a record may change twice before anybody is told."""

    user: User
    old: Record
    new: Record
    hides: bool
    """Whether the user is offline by their own wish."""


class Broadcast(NamedTuple):
    """One frame for all watchers of a user, in nobody's list yet."""

    user: User
    watchers: dict[Session, Edge]
    data: bytes


class Publisher:
    """Owns the records that are seen: their versions, who is online, and what each session is still to be sent."""

    def __init__(self, policy: Policy, epoch: int) -> None:
        self.epoch = epoch
        self.version = 0
        self.wall_offset_ms = 0
        """Wall time minus monotonic time, set by the edge each turn."""
        self.online: SortedList[str] = SortedList()
        """Names of the users who are not offline, in order."""
        self.facts: list[Fact] = []
        self.dirty_sessions: list[Session] = []
        """Sessions with something pending that may be written now."""
        self.everyone: dict[Session, None] = {}
        """Sessions that are told of every user."""
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
        self.deliveries = 0
        """Presence frames handed to links."""
        self.bytes_out = 0
        self.reply_bytes = 0
        """Of all replies that were made, with their frames."""
        """Bytes written to links."""
        self.slow: dict[Session, int] = {}
        """Sessions that do not take what they are sent, and since when."""
        self._broadcast: Broadcast | None = None
        self._dirty: list[User] = []
        self._spacing_ms = policy.change_spacing_ms
        self._burst = policy.change_burst
        self._hysteresis_ms = policy.primary_hysteresis_ms
        self._spaced: DelayQueue[User] = DelayQueue(policy.change_spacing_ms)

    def set_spacing(self, policy: Policy, now_ms: int) -> None:
        """Another spacing and burst. What waits under the old spacing goes out now. O(users that wait)."""
        if (policy.change_spacing_ms, policy.change_burst) == (self._spacing_ms, self._burst):
            return
        waiting, self._spaced = self._spaced, DelayQueue(policy.change_spacing_ms)
        self._spacing_ms, self._burst = policy.change_spacing_ms, policy.change_burst
        self._release(waiting.take_due(now_ms + waiting.delay_ms), now_ms)

    # --- records ----------------------------------------------------------------------------------------------

    def touch(self, user: User) -> None:
        """Something was said about the user: make the record anew before anybody is told of it."""
        if not user.dirty:
            user.dirty = True
            self._dirty.append(user)

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
        status, primary = merge(user.devices.values(), claim, user.primary, self._hysteresis_ms)
        before, user.primary = user.primary, primary
        device = primary.id if primary is not None else ""
        if status == old.status and device == old.device and user.text == old.text and user.emoji == old.emoji:
            if not old.version and not user.devices:
                self.blank.append(user)
            return
        wall_ms = now_ms + self.wall_offset_ms
        since_ms = old.since_ms
        last_seen_ms = old.last_seen_ms
        hides = claim is not None and claim.status == "offline"
        if status != old.status:
            since_ms = wall_ms
            last_seen_ms = 0
            if old.status != "offline":
                self.by_status[old.status] -= 1
            if status == "offline":
                # Claiming to be offline must look like going offline: last seen is that moment.
                last_seen_ms = wall_ms if hides else self._last_contact_ms(user, before)
                self.online.remove(user.name)
            else:
                self.by_status[status] += 1
                if old.status == "offline":
                    self.online.add(user.name)
        self.changed += 1
        self.version += 1
        user.record = Record(user.name, status, user.text, user.emoji, since_ms, last_seen_ms, device, self.version)
        user.encoded = None
        self.facts.append(RecordSet(user.name, status, since_ms, last_seen_ms, device, self.version))
        if self.keeps_changes or user.channels is not None:
            self.changes.append(Change(user, old, user.record, hides))
        if user.watchers or self.everyone:
            self._push(user, now_ms)

    def seen(self, user: User, now_ms: int) -> None:
        """The user was seen just now: what is told of them while they are offline says so."""
        self.settle(user, now_ms)
        old = user.record
        if old.status != "offline":
            return
        self.version += 1
        last_seen_ms = now_ms + self.wall_offset_ms
        user.record = msgspec.structs.replace(old, last_seen_ms=last_seen_ms, version=self.version)
        user.encoded = None
        self.facts.append(RecordSet(user.name, "offline", old.since_ms, last_seen_ms, "", self.version))
        if user.watchers or self.everyone:
            self._push(user, now_ms)

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

    def _last_contact_ms(self, user: User, before: Device | None) -> int:
        """Wall time at which the user was last there: the last frame of a device, or its last input if the device
        is still connected and only idle. `before` is the primary so far: it may be the one that counts no more,
        because it took a negative priority."""
        latest = before.heard_ms if before is not None and before.priority < 0 else 0
        for device in user.devices.values():
            if device.priority >= 0:
                ended = device.state == GONE or device.idle_level != IDLE_OFFLINE
                latest = max(latest, device.heard_ms if ended else device.active_ms)
        return latest + self.wall_offset_ms

    # --- pushes -----------------------------------------------------------------------------------------------

    @property
    def next_ms(self) -> int | None:
        """When `release_spaced` should be called next, if at all."""
        return self._spaced.next_ms

    def release_spaced(self, now_ms: int) -> None:
        """Push the records whose spacing is over."""
        self._release(self._spaced.take_due(now_ms), now_ms)

    def _release(self, users: list[User], now_ms: int) -> None:
        for user in users:
            # Also if all is again as it was pushed last: a reply may have told a watcher of what was in between.
            user.push_waits = False
            user.push_credit = 0
            user.push_refilled_ms = now_ms
            self._fan_out(user)

    def _push(self, user: User, now_ms: int) -> None:
        if self._spacing_ms:
            if user.push_waits:
                return
            if not self._take_credit(user, now_ms):
                user.push_waits = True
                self._spaced.add(now_ms, user)
                return
        self._fan_out(user)

    def _take_credit(self, user: User, now_ms: int) -> bool:
        if user.push_credit < 0:
            user.push_credit = self._burst
            user.push_refilled_ms = now_ms
        else:
            earned = (now_ms - user.push_refilled_ms) // self._spacing_ms
            if earned:
                user.push_credit = min(self._burst, user.push_credit + earned)
                user.push_refilled_ms += earned * self._spacing_ms
        if user.push_credit == 0:
            return False
        user.push_credit -= 1
        return True

    def _fan_out(self, user: User) -> None:
        data = self._presence(user)
        dirty = self.dirty_sessions
        watchers = user.watchers or _NOBODY
        if self._broadcast is not None:
            self.spread()
        elif not dirty and not self.everyone:
            self._broadcast = Broadcast(user, watchers, data)
            return
        self.deliveries += len(watchers)
        for session in watchers:
            # What has something pending is neither clean nor held; nearly all are the former, one test each.
            if pending := session.pending:
                pending.append(data)
            elif session.held is None:
                pending.append(data)
                dirty.append(session)
            else:
                self.deliveries -= 1
                session.held[user] = None
        for session in self.everyone:
            if session in watchers:
                continue
            if self.push(session, data):
                self.deliveries += 1
            elif session.held is not None:
                session.held[user] = None

    def spread(self) -> None:
        """Put what was kept back into the lists of those whom it is for, before what came after it. Needed before
        anybody begins or stops to watch, or takes frames again. O(watchers)."""
        if self._broadcast is None:
            return
        user, watchers, data = self._broadcast
        self._broadcast = None
        for session in watchers:
            if session.held is not None:
                session.held[user] = None
                continue
            self.deliveries += 1
            if session.pending:
                session.pending.insert(0, data)
            else:
                session.pending.append(data)
                self.dirty_sessions.append(session)

    def take_broadcast(self) -> Broadcast | None:
        """What was kept back, to be written to each of its watchers that takes it before anything else."""
        broadcast, self._broadcast = self._broadcast, None
        return broadcast

    def _presence(self, user: User) -> bytes:
        encoded = user.encoded
        if encoded is None:
            encoded = user.encoded = encode(user.record)
        return frame(_PRESENCE_HEAD + encoded)

    # --- sessions ---------------------------------------------------------------------------------------------

    def reply(self, session: Session, payload: bytes) -> None:
        """Queue a message for this session alone, in order with the pushes."""
        data = frame(payload)
        size = len(data)
        session.reply_bytes += size
        self.reply_bytes += size
        if session.held is not None:
            session.replies.append(data)
            return
        if not session.pending:
            self.dirty_sessions.append(session)
        session.pending.append(data)

    def push(self, session: Session, data: bytes) -> bool:
        """Queue a frame that others get too; False, and nothing queued, if the link does not take any now."""
        if session.held is not None:
            return False
        if not session.pending:
            self.dirty_sessions.append(session)
        session.pending.append(data)
        return True

    def hold(self, session: Session, now_ms: int) -> None:
        """The link does not take what it is sent: keep only which users changed, and its replies. Idempotent."""
        if session.held is None:
            session.held = {}
            self.slow[session] = now_ms
            session.replies, session.pending = session.pending, []

    def drained(self, session: Session) -> None:
        """The link took everything: queue its replies and the latest record of each user that changed meanwhile.
        Idempotent. O(users that changed)."""
        held = session.held
        if held is None:
            return
        self.spread()
        session.held = None
        self.slow.pop(session, None)
        session.pending, session.replies = session.replies, []
        watching = session.watching or {}
        everything = session in self.everyone
        for user in held:
            if everything or user.name in watching:
                session.pending.append(self._presence(user))
                self.deliveries += 1
        if session.pending:
            self.dirty_sessions.append(session)

    def take_dirty_sessions(self) -> list[Session]:
        """The sessions with something to write, each once; they count as clean from now on."""
        dirty, self.dirty_sessions = self.dirty_sessions, []
        return dirty

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
