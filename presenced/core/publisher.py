"""Makes the record of each changed user, with its version. Watchers are told of it by `record_pushes`.

Code that changes a user calls `mark_dirty`. `refresh` makes the record anew. If it differs, it gets a higher version, a
fact for the log, and a push. A record is made once per turn and user, however often the user was marked. A question
about a marked user is answered at the end of the turn (`requests.handle`), so that an answer is never older than the
requests before it.

The file is long because a record is made, saved, restored and erased by the one part that owns it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, cast

import msgspec

from presenced.core.clock import Clock
from presenced.core.departures import Departures, last_contact_ms
from presenced.core.event_facts import FAREWELL
from presenced.core.face_records import FaceRecords
from presenced.core.ledger import Ledger
from presenced.core.merge import merge
from presenced.core.model import UNMADE, Device, User, unknown_record
from presenced.core.online import OnlineIndex
from presenced.core.part import Jump, Part, Restoring, Start, TakeUp
from presenced.core.policy import Policy
from presenced.core.positions import Life, carried
from presenced.core.record_pushes import RecordPushes
from presenced.core.records import Fact, RecordSet
from presenced.core.said_times import SaidTimes
from presenced.wire.codec import encoded_list
from presenced.wire.messages import Record, Status


class Change(NamedTuple):
    """One change of a record. Both sides are kept: a record may change twice before anybody is told."""

    user: User
    old: Record
    new: Record


class Publisher(Part):
    """Owns the records that others see."""

    def __init__(self, policy: Policy, ledger: Ledger, clock: Clock, pushes: RecordPushes) -> None:
        self.online = OnlineIndex()
        self.changes: list[Change] = []
        """Changes of records of users in channels, for parts that follow changes."""
        self.own_dirty: list[User] = []
        """Users whose record was made anew and who have a link that wants their own state."""
        self._awaited: list[User] = []
        """Users whose record was made anew and whom somebody awaits."""
        self.blank: list[User] = []
        """Users whose record was made anew and of whom perhaps nothing has to be kept."""
        self.shows_other_times = False
        """A restored record shows another time than before the restart, since the clock was ahead then."""
        self._is_shared = False
        """Other nodes show the same records."""
        self.changed = 0
        """How many records were made anew and differed, for the operator."""
        self._policy = policy
        self._ledger = ledger
        self._clock = clock
        self._pushes = pushes
        self.departures = Departures()
        self.face_records = FaceRecords(policy, ledger, clock)
        self.said = SaidTimes(lambda: self._dirty)
        self._departed: Callable[[User, int], object] | None = None
        self._crossed: Callable[[int, User], object] | None = None
        self._dirty: list[User] = []
        self._followers: list[Callable[[Change, int], None]] = []
        self._record: Callable[..., object] | None = None
        self._farewells: list[tuple[Record, Record]] = []
        """Records of erased users before and after, to be recorded as events at the end of the turn."""
        self._seen: dict[User, bool] = {}
        """Marked users who were reported as seen."""
        self._outdated: dict[User, bool] = {}
        """Marked users whose record shows other times because the clock was set."""

    def tell_departed(self, departed: Callable[[User, int], object]) -> None:
        """Call `departed` with each user who goes offline, and the time."""
        self._departed = departed

    # --- what makes a record out of date ----------------------------------------------------------------------

    def mark_dirty(self, user: User) -> None:
        """Something of the user has changed: make the record anew before the turn ends. O(1)."""
        if not user.dirty:
            user.dirty = True
            self._dirty.append(user)
            if self.said.are_told:
                self.said.note_dirty(user, is_again=False)
        elif self.said.are_told:
            self.said.note_dirty(user, is_again=True)

    def uncount(self, device: Device, reason: str) -> None:
        """A device no longer makes its user available, for this reason (as in an event of `offline`). O(1)."""
        self.departures.note(device, reason)
        self.mark_dirty(device.user)

    def see(self, user: User, now_ms: int) -> None:
        """The user was seen just now: it is the last-seen time that shows while they are offline. O(1)."""
        wall_ms = self._clock.wall_ms(now_ms)
        if wall_ms > self._clock.shown_ms(user.seen_ms, wall_ms):
            user.seen_ms = wall_ms
            self._seen[user] = True
            self.mark_dirty(user)

    def clock_jumped(self, user: User, jump: Jump, now_ms: int) -> None:
        """The wall clock was set: the record is made anew if it shows other times by it. O(1)."""
        record, clock = user.record, self._clock
        wall_ms = clock.wall_ms(now_ms)
        is_right = not record.last_seen_ms or record.last_seen_ms == clock.shown_ms(user.seen_ms, wall_ms)
        if record.version and not (is_right and record.since_ms == clock.shown_ms(user.since_ms, wall_ms)):
            self.mark_outdated(user)

    def mark_outdated(self, user: User) -> None:
        """Make the record anew, with a new version, although nobody has said anything of the user. O(1)."""
        self._outdated[user] = True
        self.said.let_pass(self.mark_dirty, user)

    @property
    def has_dirty(self) -> bool:
        """Whether the record of some user is to be made anew. O(1)."""
        return bool(self._dirty)

    def any_dirty(self, members: dict[str, User]) -> bool:
        """Whether the record of one of these users is to be made anew. O(these or marked ones, whichever are fewer)."""
        if len(members) < len(self._dirty):
            return any(user.dirty for user in members.values())
        return any(members.get(user.name) is user for user in self._dirty)

    # --- records ----------------------------------------------------------------------------------------------

    def refresh_all(self, now_ms: int) -> None:
        """Make the records of all marked users anew. O(marked users)."""
        if self.said.are_told:
            self.said.begin_refresh()
        if self._farewells:
            self._record_farewells(now_ms)
        if self._dirty:
            dirty, self._dirty = self._dirty, []
            for user in dirty:
                if user.dirty:
                    self.refresh(user, now_ms)

    def refresh(self, user: User, now_ms: int) -> None:
        """Make the records of the user and of the user's faces anew. A record that differs gets a higher version, and
        is pushed. O(devices and faces)."""
        if not user.dirty:
            return
        user.dirty = False
        if self.said.are_told:
            self.said.note_refreshed(user)
        self._refresh_record(user, now_ms)
        if user.faces is not None:
            self._refresh_faces(user, now_ms)
        if user.awaited is not None:
            self._awaited.append(user)

    def _refresh_faces(self, user: User, now_ms: int) -> None:
        for face in self.face_records.refresh(user, now_ms):
            self._pushes.push_face(face, now_ms)

    def _refresh_record(self, user: User, now_ms: int) -> None:
        if user.own is not None:
            self.own_dirty.append(user)
        old = user.record
        if user.is_copy:
            if not old.version:
                self.blank.append(user)
            return
        claim = user.claim
        status, primary = merge(user.devices.values(), claim, user.primary, self._policy.primary_hysteresis_ms)
        user.primary = primary
        device = primary.id if primary is not None else ""
        shown = user.shown or user
        text, emoji = shown.text, shown.emoji
        reason, contact_ms = self.departures.take(user)
        is_seen = bool(self._seen) and self._seen.pop(user, False)
        is_outdated = bool(self._outdated) and self._outdated.pop(user, False)
        if claim is not None and claim.status == "offline":
            reason = "hidden"
        wall_ms = now_ms + self._clock.offset_ms
        if status != old.status:
            self._note_status(user, status, reason, now_ms, contact_ms)
        elif is_outdated or (is_seen and status == "offline"):
            pass
        elif device == old.device and text == old.text and emoji == old.emoji:
            if is_seen:
                # It is shown only once the user is offline, and must survive until then.
                self._ledger.add(self._fact(user))
            elif not old.version:
                self.blank.append(user)
            return
        is_same = status == old.status and not is_outdated
        since_ms = old.since_ms if is_same else self._clock.shown_ms(user.since_ms, wall_ms)
        last_seen_ms = 0
        if status == "offline":
            keeps = is_same and not is_seen
            last_seen_ms = old.last_seen_ms if keeps else self._clock.shown_ms(user.seen_ms, wall_ms)
        self.changed += 1
        version = self._ledger.next_version(max(old.version, self.face_records.floor(user)))
        user.record = Record(user.name, status, text, emoji, since_ms, last_seen_ms, device, version)
        user.encoded, user.digest = None, UNMADE
        if self.said.are_told:
            self.said.note_said(user, wall_ms)
        if self._record is not None:
            self._record(old, user.record, reason if status == "offline" else "", wall_ms)
        # It stands right behind the fact of the event, so that the log does not end between the two.
        self._ledger.add(self._fact(user))
        if user.channels is not None:
            self.changes.append(Change(user, old, user.record))
        if self._crossed is not None and "offline" in (status, old.status) and status != old.status:
            self._crossed(now_ms, user)
        self._pushes.push(user, now_ms)

    def _note_status(self, user: User, status: Status, reason: str, now_ms: int, contact_ms: int | None) -> None:
        """The user shows another status from now on: update who is online, and when the user was last seen.
        `contact_ms` as in `last_contact_ms`."""
        before, wall_ms = user.record, now_ms + self._clock.offset_ms
        self.online.move(user.name, before.status, status)
        user.since_ms = wall_ms
        if status != "offline":
            return
        if self._departed is not None:
            self._departed(user, now_ms)
        if reason in ("bye", "hidden"):
            # The same to the millisecond for both, or else it would tell those who leave from those who hide.
            user.seen_ms = wall_ms
            return
        last_ms = last_contact_ms(user, contact_ms)
        # The log may have lost the device: then nothing later is known than that they were online once.
        contact_wall_ms = self._clock.wall_ms(last_ms) if last_ms is not None else before.since_ms
        # Never behind what was shown or reported before, such as by a touch.
        user.seen_ms = max(self._clock.shown_ms(user.seen_ms, wall_ms), contact_wall_ms)

    def record_of(self, user: User) -> Record:
        """The record as a value for a reply. It is encoded already, so that many replies share the work."""
        return msgspec.Raw(user.encoded or user.encoded_record())  # type: ignore[return-value]

    def records_of(self, users: Sequence[User]) -> list[Record]:
        """The records of several users as one value for a reply; no object is made for each of them. O(users)."""
        encoded = [user.encoded or user.encoded_record() for user in users]
        return cast(list[Record], encoded_list(encoded))

    def _fact(self, user: User) -> RecordSet:
        """The record for the log. Its times are those that were noted, unless the clock has turned out to have been
        ahead then (`Clock.back_ms`): while nobody knows which was wrong, that clock or this one, both may be."""
        record = user.record
        since_ms, seen_ms = user.since_ms, user.seen_ms
        if self._clock.back_ms:
            since_ms, seen_ms = record.since_ms, record.last_seen_ms or seen_ms
        after_ms = self.said.after_ms(user, since_ms)
        return RecordSet(user.name, record.status, since_ms, seen_ms, record.device, record.version, after_ms)

    def erase(self, user: User, now_ms: int) -> None:
        """Forget the record, and what was noted for it. Watchers are told at once that nothing is known of the user,
        whatever the spacing. Followers are told that the user went offline, without a text. O(watchers)."""
        old = user.record
        self.departures.take(user)
        self._seen.pop(user, None)
        self._outdated.pop(user, None)
        self._pushes.spacing.forget(user)
        user.record, user.encoded, user.digest, user.primary = unknown_record(user.name), None, UNMADE, None
        user.since_ms = user.seen_ms = 0
        self.said.forget(user)
        user.dirty = False
        # Whoever comes back within the millisecond must not get a version that stood for something else.
        self._ledger.raise_version(old.version + 1, now_ms)
        self.blank.append(user)
        # While facts are read nobody is in the index, and nobody watches or follows.
        if old.status != "offline" and user.name in self.online:
            self.online.move(user.name, old.status, "offline")
            if self._record is not None and not user.is_copy:
                # Recorded at the end of the turn: the erasure empties the events that were recorded before.
                bare = Record(user.name, old.status, "", "", 0, 0, "", old.version)
                self._farewells.append((bare, user.record))
        if old.version:
            self._pushes.push_erased(user)
        for face in self.face_records.refresh(user, now_ms):
            self._pushes.push_erased_face(face)

    # --- the disk ---------------------------------------------------------------------------------------------

    def keeps(self, user: User) -> bool:
        """Whether there is a record of the user, or is about to be."""
        return bool(user.record.version) or user.dirty

    def facts_of(self, user: User, now_ms: int) -> Iterable[Fact]:
        """The record, if there ever was one. O(1)."""
        return (self._fact(user),) if user.record.version else ()

    def restorers(self) -> Mapping[type, TakeUp]:
        """Records."""
        return {RecordSet: self._restore}

    def _restore(self, source: Restoring, fact: RecordSet) -> None:
        user = source.user(fact.user)
        claim, shown = user.claim, user.shown or user
        # The clock of the node that has made it may be ahead of this one, and a record is the same on all nodes.
        is_shared = user.is_copy or self._is_shared
        wall_ms = max(fact.since_ms, fact.last_seen_ms) if is_shared else source.now_ms + source.offset_ms
        # The same number as one object: a time takes 32 bytes.
        since_ms = claim.since_ms if claim is not None and claim.since_ms == fact.since_ms else fact.since_ms
        user.since_ms, user.seen_ms = since_ms, fact.last_seen_ms
        self.said.take(user, since_ms, fact.said_after_ms)
        self.shows_other_times |= since_ms > wall_ms or (fact.status == "offline" and fact.last_seen_ms > wall_ms)
        user.record = Record(
            user.name,
            fact.status,
            shown.text,
            shown.emoji,
            min(since_ms, wall_ms),
            min(fact.last_seen_ms, wall_ms) if fact.status == "offline" else 0,
            source.shared(fact.device),
            fact.version,
        )

    def share(self) -> None:
        """Other nodes show the same records from now on, with the times of their own clocks. O(1)."""
        self._is_shared = True
        self.said.tell()

    def carry_versions(self, users: Sequence[User], life: Life) -> None:
        """A kill has ended this life: give its records the versions that they have in the next one. O(users)."""
        for user in users:
            if 0 < user.record.version <= life.above:
                user.record = msgspec.structs.replace(user.record, version=carried(user.record.version, life))

    def resume(self, users: Sequence[User], start: Start) -> None:
        """Take the restored records as they were shown, and mark those that are no longer right: because facts were
        lost, or because the program's rules have changed. O(users)."""
        self.online.fill(users)
        for user in users:
            self.take_up(user)

    def take_up(self, user: User) -> None:
        """Take the restored record of one user, as `resume` does. O(devices and claims)."""
        user.primary = user.devices.get(user.record.device)
        if not user.is_copy and self._differs(user):
            self.said.let_pass(self.mark_dirty, user)
        elif not user.record.version:
            self.blank.append(user)

    def set_version(self, user: User, version: int) -> None:
        """While facts are read: give the record this version, whatever its fact says. O(1)."""
        if user.record.version != version:
            user.record = msgspec.structs.replace(user.record, version=version)

    def _differs(self, user: User) -> bool:
        record, shown = user.record, user.shown or user
        hysteresis_ms = self._policy.primary_hysteresis_ms
        status, primary = merge(user.devices.values(), user.claim, user.primary, hysteresis_ms)
        return (
            status != record.status
            or (primary.id if primary is not None else "") != record.device
            or shown.text != record.text
            or shown.emoji != record.emoji
        )

    # --- users of other nodes (`copies`) ----------------------------------------------------------------------

    def show(self, user: User, record: Record, now_ms: int) -> None:
        """Show this record of a copy, as its home has made it. O(1), and what a change costs to tell."""
        old, status = user.record, record.status
        user.record, user.encoded, user.digest = record, None, UNMADE
        if status != old.status:
            self.online.move(user.name, old.status, status)
            if status == "offline" and self._departed is not None:
                self._departed(user, now_ms)
        if user.channels is not None:
            self.changes.append(Change(user, old, record))
        if self._crossed is not None and "offline" in (status, old.status) and status != old.status:
            self._crossed(now_ms, user)
        self._pushes.push(user, now_ms)

    def forget_version(self, user: User) -> None:
        """Nobody was told the record of this copy: the home's next one may have any version. O(1)."""
        user.record, user.encoded = msgspec.structs.replace(user.record, version=0), None
        user.digest = UNMADE

    def note(self, user: User, fact: RecordSet, since_ms: int, primary: Device | None) -> None:
        """Keep what the home of a copy has noted besides its record. O(1)."""
        user.since_ms, user.seen_ms, user.primary = since_ms, fact.last_seen_ms, primary
        self.said.take(user, since_ms, fact.said_after_ms)

    def note_said(self, user: User) -> RecordSet | None:
        """Something was said of the user in this turn that the record does not show. Returns the record once more, with
        the same version, for the log; None = nobody has said anything, or there is no record. O(1)."""
        is_said = bool(user.record.version) and self.said.note_said(user, self._clock.wall_ms(self._ledger.now_ms))
        return self._fact(user) if is_said else None

    def refresh_copy(self, user: User, now_ms: int) -> None:
        """Facts about a copy were applied: make anew what depends on them besides the record. O(faces)."""
        if user.own is not None:
            self.own_dirty.append(user)
        if user.faces is not None:
            self._refresh_faces(user, now_ms)
        if not user.record.version:
            self.blank.append(user)

    # --- who is told of what is made -----------------------------------------------------------------------------

    def follow(self, follower: Callable[[Change, int], None]) -> None:
        """Call `follower` with each change that is kept in `changes`, in order."""
        self._followers.append(follower)

    def tell_crossings(self, crossed: Callable[[int, User], object]) -> None:
        """Call `crossed` with each user who comes online or goes offline, before that is pushed: it decides who sees
        the user."""
        self._crossed = crossed

    def record_by(self, record: Callable[..., object] | None) -> None:
        """Call `record` with each change of a record as it is made (`EventRecords.record`); None = nothing is
        called."""
        self._record = record

    def _record_farewells(self, now_ms: int) -> None:
        farewells, self._farewells = self._farewells, []
        if self._record is not None:
            for old, new in farewells:
                self._record(old, new, FAREWELL, self._clock.wall_ms(now_ms), True)

    # --- what others take --------------------------------------------------------------------------------------

    def tell_changes(self, now_ms: int) -> None:
        """Hand the kept changes to those who follow them: at the end of a turn, and before the members of a channel
        change, since it counts them by the records that it was last told of. O(changes)."""
        if self.changes:
            changes, self.changes = self.changes, []
            for change in changes:
                for follower in self._followers:
                    follower(change, now_ms)

    def take_own_dirty(self) -> list[User]:
        """Remove and return the users whose own state may have changed."""
        dirty, self.own_dirty = self.own_dirty, []
        return dirty

    def take_awaited(self) -> list[User]:
        """Remove and return the users whom somebody awaits and who may have changed."""
        awaited, self._awaited = self._awaited, []
        return awaited

    def take_blank(self) -> list[User]:
        """Remove and return the users of whom perhaps nothing has to be kept."""
        blank, self.blank = self.blank, []
        return blank
