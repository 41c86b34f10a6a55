"""From facts to a running engine: what a daemon does with its data directory when it starts.

Restoring applies facts in order, newest last; each is absolute. Then `finish` makes of what was written down a state
that goes on: everybody who was live is held in grace, nothing is told to anyone, and what came due while nobody was
running is due now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import msgspec

from presenced.core.engine import Engine
from presenced.core.merge import merge
from presenced.core.model import ASSUMED, CONNECTED, GONE, GRACE, UNTOLD, Claim, Device, Schedule, Shown, User
from presenced.core.parts.activity import keep_activity
from presenced.core.parts.claims import due_of, is_hidden
from presenced.core.records import (
    ActivityAdded,
    ClaimSet,
    DeviceForgotten,
    DeviceSet,
    Fact,
    MembershipSet,
    RecordSet,
    ScheduleSet,
    ShownSet,
    TextSet,
    VersionsRaised,
)
from presenced.core.standing import MANUAL, SCHEDULED, added, strongest
from presenced.limits import DEVICES_PER_USER_MAX
from presenced.wire.messages import ActivityInfo, Record, Status

STRINGS_MAX = 100_000


class Restorer:
    """Fills a fresh engine. Call `apply` with all facts, then `finish` once."""

    def __init__(self, engine: Engine, now_ms: int) -> None:
        self.engine = engine
        self._now_ms = now_ms
        self._offset_ms = engine.clock.offset_ms
        self._last = User("")
        self._strings: dict[str, str] = {}
        """One object for each device id, label and emoji: a million users have few different ones, and every fact
        comes with new copies. 280 bytes less per user, measured with a million."""
        self._numbers: dict[int, int] = {}
        """The same for the numbers of holders."""
        self._takers = {
            ClaimSet: self._claim,
            ShownSet: self._shown,
            TextSet: self._text,
            DeviceSet: self._device,
            DeviceForgotten: self._forgotten,
            RecordSet: self._record,
            ScheduleSet: self._schedule,
            ActivityAdded: self._activity,
            MembershipSet: self._membership,
            VersionsRaised: self._raised,
        }

    def apply(self, facts: Sequence[Fact]) -> None:
        """Apply facts in order. O(facts)."""
        takers = self._takers
        for fact in facts:
            takers[type(fact)](fact)  # type: ignore[operator]  # each takes its own type

    def finish(
        self,
        *,
        grace_ms: int,
        spread_ms: int,
        version_gap: int,
        stopped_wall_ms: int = 0,
        starts: Sequence[int] = (),
    ) -> None:
        """Make the state go on from `now_ms`. O(users + devices).

        Devices that were live, and so were heard until about `stopped_wall_ms` unless they were silent, are in grace
        until `grace_ms` from now and up to `spread_ms` more, spread evenly over the users. The version counter starts
        above every version seen. With a `version_gap` it starts that much further on and all records get new versions:
        watchers may hold records that were pushed and not saved, and take only what is newer.

        `starts` are the wall times of the starts that followed each other closely, this one the last: the grace of a
        device that has not been back since the first of them counts from that, or a daemon that is killed again and
        again would hold everybody online for ever. Who has been back is known from the log, where it is noted.
        """
        engine = self.engine
        publisher = engine.publisher
        users = engine.users.order
        ledger = engine.ledger
        ledger.raise_version(max((user.record.version for user in users), default=0))
        if version_gap:
            # Said before anything else of this run, so that a start after a quiet one gives the same versions again.
            raised = VersionsRaised("", ledger.version + version_gap)
            ledger.add(raised)
            ledger.raise_version(self._raised(raised))
        heard_ms = min(stopped_wall_ms - self._offset_ms, self._now_ms)
        engine.leases.assumed_ms = self._now_ms
        engine.leases.notes_returns = bool(starts)
        begun_ms = [start - self._offset_ms for start in starts]
        members: list[Device] = []
        # Of some there is nothing left, such as a claim that has ended.
        blank: list[User] = []
        for place, user in enumerate(users):
            if len(user.devices) > DEVICES_PER_USER_MAX:
                engine.users.drop_surplus(user)
            # One moment for all devices of a user: those who stay away go offline in one step.
            patience_ms = grace_ms + spread_ms * place // len(users)
            for device in user.devices.values():
                if device.state != GONE:
                    self._hold(device, patience_ms, heard_ms if stopped_wall_ms else None, begun_ms)
                    if device.channels:
                        members.append(device)
            record = user.record
            user.primary = user.devices.get(record.device)
            if user.shown is not None and not is_hidden(user):
                # A fact was lost with the tail.
                user.shown = None
            if user.text_due_ms or user.shown or user.schedule is not None or _waits_for_an_end(user.claims):
                engine.claims.resume(user, self._now_ms)
            if not record.version and not user.devices:
                blank.append(user)
            if self._differs(user):
                # A fact was lost with the tail, or the rules changed with the program: say what is true now.
                publisher.mark_dirty(user)
        publisher.online.fill(users)
        for device in members:
            names, device.channels = device.channels, None
            for name in names or ():
                engine.channels.add(device, name)
        for user in blank:
            engine.users.forget_if_blank(user)

    def _hold(self, device: Device, patience_ms: int, heard_ms: int | None, begun_ms: list[int]) -> None:
        """Hold a device that was live in grace, for `patience_ms` from the first start since it was last there."""
        leases = self.engine.leases
        is_silent = device.state == GRACE
        since_ms, is_away = self._now_ms, False
        if len(begun_ms) > 1:
            since_ms = next((ms for ms in begun_ms if ms > device.heard_ms), since_ms)
            is_away = since_ms < begun_ms[-1]
        # Of one that has not been back since an earlier start nothing was heard until the stop.
        if heard_ms is not None and not is_silent and not is_away:
            device.heard_ms = max(device.heard_ms, heard_ms)
        leases.resume_grace(device, max(self._now_ms, min(since_ms, self._now_ms) + patience_ms))
        if is_silent:
            # It may come back and be heard from now on, of which nothing is logged.
            leases.log_device(device)

    def _differs(self, user: User) -> bool:
        record = user.record
        status, primary = merge(
            user.devices.values(), user.claim, user.primary, self.engine.policy.primary_hysteresis_ms
        )
        return (
            status != record.status
            or (primary.id if primary is not None else "") != record.device
            or (user.shown or user).text != record.text
            or (user.shown or user).emoji != record.emoji
        )

    # --- one kind of fact each --------------------------------------------------------------------------------

    def _user(self, name: str) -> User:
        # The facts of one user come together: a comparison is cheaper than a look into a table of a million.
        if name != self._last.name:
            self._last = self.engine.users.get_or_new(name)
        return self._last

    def _shared(self, text: str) -> str:
        if len(self._strings) > STRINGS_MAX:
            self._strings.clear()
        return self._strings.setdefault(text, text)

    def _shared_number(self, number: int) -> int:
        if len(self._numbers) > STRINGS_MAX:
            self._numbers.clear()
        return self._numbers.setdefault(number, number)

    def _claim(self, fact: ClaimSet) -> None:
        user = self._user(fact.user)
        claims = user.claims
        if fact.status:
            # The end of a scheduled one is its schedule's business.
            due_ms = 0 if fact.claim == SCHEDULED else due_of(fact.until_ms, self._offset_ms, self._now_ms)
            name, status = self._shared(fact.claim), cast(Status, fact.status)
            made = Claim(name, fact.source, status, fact.since_ms, fact.until_ms, due_ms, by_wall=True)
            made.device = self._shared(fact.device)
            if fact.in_place and (replaced := _same_claim(claims, made)) is not None:
                claims = tuple(made if claim is replaced else claim for claim in claims)
            else:
                claims = added(claims, made)
        elif claims:
            # One that has come to its end leaves what it covered.
            ended_ms = fact.until_ms if fact.claim == MANUAL else 0
            claims = tuple(c for c in claims if c.name != fact.claim or (ended_ms and not 0 < c.until_ms <= ended_ms))
        user.claims = claims
        user.claim = strongest(claims)
        if user.shown is not None and not is_hidden(user):
            user.shown = None

    def _schedule(self, fact: ScheduleSet) -> None:
        user = self._user(fact.user)
        user.schedule = Schedule(fact.zone, fact.windows, fact.status) if fact.zone else None

    def _activity(self, fact: ActivityAdded) -> None:
        done = ActivityInfo(fact.activity, fact.channel, fact.device, fact.at_ms, fact.payload)
        keep_activity(self._user(fact.user), done, self._now_ms + self._offset_ms, fact.copies)

    def _membership(self, fact: MembershipSet) -> None:
        """Only noted here; `finish` enters those of live devices into the channels."""
        device = self._user(fact.user).devices.get(fact.device)
        if device is None:
            return
        if fact.joined:
            device.channels = device.channels or {}
            device.channels[self._shared(fact.channel)] = None
        elif device.channels is not None:
            device.channels.pop(fact.channel, None)

    def _shown(self, fact: ShownSet) -> None:
        user = self._user(fact.user)
        due_ms = due_of(fact.until_ms, self._offset_ms, self._now_ms)
        user.shown = Shown(fact.text, fact.emoji, fact.until_ms, due_ms, bool(fact.until_ms))

    def _text(self, fact: TextSet) -> None:
        user = self._user(fact.user)
        user.text, user.emoji = fact.text, self._shared(fact.emoji)
        user.text_until_ms, user.text_by_wall = fact.until_ms, bool(fact.until_ms)
        user.text_due_ms = due_of(fact.until_ms, self._offset_ms, self._now_ms)

    def _device(self, fact: DeviceSet) -> None:
        user = self._user(fact.user)
        device = user.devices.get(fact.device)
        if device is None:
            device_id = self._shared(fact.device)
            device = user.devices[device_id] = Device(user, device_id)
        device.kind, device.name = self._shared(fact.kind), self._shared(fact.name)
        device.priority, device.status = fact.priority, fact.status
        device.state = GONE if not fact.live else GRACE if fact.silent else CONNECTED
        if not fact.live:
            device.channels = None
        # What was in the future then, by a clock that was ahead, would outdo all that is real from now on.
        device.heard_ms = min(fact.last_seen_ms - self._offset_ms, self._now_ms)
        device.active_ms = _one_object(min(fact.active_ms - self._offset_ms, self._now_ms), device.heard_ms)
        gone_ms = min(fact.gone_ms - self._offset_ms, self._now_ms) if fact.gone_ms else device.heard_ms
        device.grace_until_ms = _one_object(gone_ms, device.heard_ms)
        device.idle_level = fact.idle_level
        device.idle_known = ASSUMED if fact.idle_known else UNTOLD
        device.holder = self._shared_number(fact.holder) if fact.live else 0
        device.is_taken_out = fact.taken_out

    def _forgotten(self, fact: DeviceForgotten) -> None:
        user = self.engine.users.get(fact.user)
        if user is not None:
            user.devices.pop(fact.device, None)

    def _record(self, fact: RecordSet) -> None:
        user = self._user(fact.user)
        claim = user.claim
        wall_ms = self._now_ms + self._offset_ms
        since_ms = _one_object(fact.since_ms, claim.since_ms) if claim is not None else fact.since_ms
        user.since_ms, user.seen_ms = since_ms, fact.last_seen_ms
        user.record = Record(
            user.name,
            fact.status,
            (user.shown or user).text,
            (user.shown or user).emoji,
            min(since_ms, wall_ms),
            min(fact.last_seen_ms, wall_ms) if fact.status == "offline" else 0,
            self._shared(fact.device),
            fact.version,
        )

    def _raised(self, fact: VersionsRaised) -> int:
        """Gives the last version that was given. By name, because in which order users are read depends on whether they
        come from a snapshot. O(users log users), after a kill."""
        users = self.engine.users
        names = [user.name for user in users.order if 0 < user.record.version <= fact.above]
        names.sort()
        version = fact.above
        for version, name in enumerate(names, fact.above + 1):
            user = users[name]
            user.record = msgspec.structs.replace(user.record, version=version)
        return version


def _one_object(value: int, known: int) -> int:
    """The same number, as the object that is kept already if it is that: a time takes 32 bytes, and of a million users
    most have a device whose last input is its last sign of life."""
    return known if value == known else value


def _same_claim(claims: tuple[Claim, ...], made: Claim) -> Claim | None:
    """The claim that was written down in place with another end, and perhaps another beginning: by a clock that was set
    back, what begins later than now is told as beginning now. Of several named manual the status tells which."""
    same = [claim for claim in claims if claim.name == made.name]
    if made.name == MANUAL:
        same = [claim for claim in same if claim.status == made.status]
    return next((claim for claim in same if claim.since_ms == made.since_ms), same[0] if same else None)


def _waits_for_an_end(claims: tuple[Claim, ...]) -> bool:
    return any(claim.due_ms or claim.device or claim.name == SCHEDULED for claim in claims)
