"""The rules of presence: what each request, silence and lost link does.

What concerns links and time is decided here, what people and applications say in `statements`. The parts compute, each
with its own file and its own piece of the state, and these two call them: `leases` (who is live), `claims` (what is
stated for a user), `publisher` (what is seen), `outboxes` (what each link is to be sent), `watching`, `channels`,
`events` and `sync` (who else is told of what). Nobody else writes state: what is asked calls the engine, or the one
part that it concerns. Every input takes `now_ms` first and either applies wholly or raises `RequestError` and changes
nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from presenced.core.clock import Clock
from presenced.core.facts import facts_of
from presenced.core.ledger import Ledger
from presenced.core.merge import countable
from presenced.core.model import GONE, GRACE, Device, Schedule, Session, User
from presenced.core.outboxes import Outboxes
from presenced.core.parts.activity import drop_old_activities
from presenced.core.parts.channels import Channels
from presenced.core.parts.claims import Calendar, Claims, Opening
from presenced.core.parts.clock_jumps import ClockJumps
from presenced.core.parts.events import Events
from presenced.core.parts.holders import Holders
from presenced.core.parts.leases import Leases
from presenced.core.parts.leaving import Leaving
from presenced.core.parts.own_state import OwnStates
from presenced.core.parts.users import Users
from presenced.core.parts.watching import Watching
from presenced.core.policy import Policy
from presenced.core.publisher import Publisher
from presenced.core.records import Fact
from presenced.core.statements import Statements
from presenced.core.wheel import Wheel
from presenced.wire.messages import DeviceStatus, Role

TICK_ENTRIES = 16
"""Wheel entries that are taken out at a time."""

TICK_COST_MAX = 3_000
"""What the entries of one turn may cost, in about a microsecond: with each below."""

ENTRY_COST = 1
CLAIM_COST = 2
CHANGE_COST = 10
CHANNEL_COST = 5
DELIVERIES = 2
"""Deliveries for one."""


def no_calendar(schedule: Schedule, wall_ms: int) -> Opening:
    """Where nobody knows time zones: no window ever opens."""
    return Opening(False, 0)


class Engine:
    """All presence state of a server. See the module's text for the parts."""

    def __init__(
        self, policy: Policy, *, now_ms: int, wall_ms: int, epoch: int, calendar: Calendar = no_calendar
    ) -> None:
        self.policy = policy = msgspec.structs.replace(policy)
        """Its own, for the parts to share: `set_policy` changes it."""
        self.calendar = calendar
        self.read_only = ""
        """Why nothing durable can be promised now (an error code); "" while all is well."""
        self.memory_level = 0
        """How short memory is: 0 = not at all, 1 = what makes new state is refused, 2 = so is what has long answers."""
        self.wheel = Wheel(now_ms)
        self.outboxes = Outboxes()
        self.holders = Holders(self.outboxes)
        self.ledger = ledger = Ledger(epoch)
        self.clock = clock = Clock(wall_ms - now_ms)
        self.publisher = publisher = Publisher(policy, ledger, clock, self.outboxes)
        self.users = Users(ledger, publisher)
        self.leases = Leases(policy, self.wheel, ledger, clock, publisher)
        self.claims = Claims(self.wheel, self.leases, ledger, clock, publisher, calendar)
        self.statements = Statements(self.users, self.leases, self.claims, ledger, clock, publisher)
        self.clock_jumps = ClockJumps(self.users, self.leases, self.claims, clock, publisher)
        self.watching = Watching(policy, self.users, self.outboxes)
        self.channels = Channels(ledger, publisher, self.outboxes)
        self.leaving = Leaving(self.leases, self.watching, self.channels)
        self.events = Events(publisher, self.outboxes, wall_ms)
        self.own_states = OwnStates(clock, publisher, self.outboxes)
        self.acks: list[tuple[Session, int, bytes]] = []
        """Requests applied in this turn (session, id, reply or b"" for done) whose reply waits until their facts are
        as durable as promised."""
        self.closing: list[tuple[Session, str]] = []
        """Sessions to end, and the code to say goodbye with ("" = none)."""
        self.asking: dict[Session, None] = {}
        """Sessions that have asked something that is answered at the end of this turn."""
        self.refused: Counter[str] = Counter()
        """Requests answered with an error, by code, counted for the operator."""
        self._put_off: list[tuple[Session, Callable[[int], object]]] = []

    def set_policy(self, policy: Policy, now_ms: int) -> None:
        """Another grace and another spacing from now on (`Policy.take`). O(users whose push waits)."""
        if self.policy.take(policy):
            self.publisher.respace(now_ms)

    def set_memory_level(self, level: int) -> None:
        """How short memory is from now on; what can be done without is given up."""
        self.memory_level = level
        self.events.set_short(level > 0)

    # --- time -------------------------------------------------------------------------------------------------

    def set_wall(self, now_ms: int, wall_ms: int) -> None:
        """Tell what the wall clock shows at `now_ms`. What is displayed depends on it, and of the deadlines those that
        were said as wall times."""
        self.clock_jumps.set(wall_ms - now_ms, now_ms)

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next; None = never, as things stand, and 0 = at once."""
        next_ms = self.wheel.next_ms
        for other_ms in (
            self.events.next_ms,
            self.publisher.spacing.next_ms,
            self.channels.next_ms,
            self.claims.next_ms,
            self.clock_jumps.next_ms,
            self.leaving.next_ms,
            self.outboxes.wide.next_ms,
        ):
            if other_ms is not None and (next_ms is None or other_ms < next_ms):
                next_ms = other_ms
        return next_ms

    def tick(self, now_ms: int) -> None:
        """Apply what time alone brings about, as much as a turn may take; `next_ms` tells of more.

        No record is made before all that has ended of a user is applied: what ends together is told as one change.
        """
        self.leaving.tick()
        self.clock_jumps.tick(now_ms)
        self._take_due(now_ms)
        self.claims.tick(now_ms)
        self.publisher.release_spaced(now_ms)
        self.channels.tick(now_ms)
        self.events.tick(now_ms)

    def catch_up(self, now_ms: int) -> None:
        """Apply all that is due by now, however much: for a start, before anybody can ask."""
        while (next_ms := self.next_ms) is not None and next_ms <= now_ms:
            self.tick(now_ms)

    def _take_due(self, now_ms: int) -> None:
        """Handle wheel entries that are due, up to a bound on what it costs and what they bring about costs to tell."""
        wheel, ended, left = self.wheel, list[Device](), TICK_COST_MAX
        while left > 0:
            due = wheel.advance(now_ms, TICK_ENTRIES)
            left -= TICK_ENTRIES * ENTRY_COST
            for timer in due:
                if isinstance(timer, Session):
                    code = self.leases.session_due(timer, now_ms)
                    if code:
                        self._drop(now_ms, timer, code)
                    continue
                if isinstance(timer, Device):
                    user = timer.user
                    if timer.state == GONE:
                        # It ended with another entry of its user. To arm it again would bring it back for ever.
                        continue
                    self._device_due(timer, now_ms, ended)
                else:
                    assert isinstance(timer, User)
                    user = timer
                    left -= len(user.claims) * CLAIM_COST
                    self.claims.due(user, now_ms)
                if user.dirty:
                    left -= (
                        CHANGE_COST + len(user.watchers or ()) // DELIVERIES + len(user.channels or ()) * CHANNEL_COST
                    )
                    self._rest_due(user, now_ms, ended)
            if len(due) < TICK_ENTRIES and ((next_ms := wheel.next_ms) is None or next_ms > now_ms):
                break
        self._ended(ended, now_ms)

    def _rest_due(self, user: User, now_ms: int, ended: list[Device]) -> None:
        """Something of the user has ended: whatever else is due of them is handled with it, for it is one change."""
        for device in list(user.devices.values()):
            if device.scheduled and device.due_ms <= now_ms:
                self.wheel.cancel(device)
                self._device_due(device, now_ms, ended)
        if user.scheduled and user.due_ms <= now_ms:
            self.wheel.cancel(user)
            self.claims.due(user, now_ms)

    def settle(self, now_ms: int) -> None:
        """Make the records of all touched users anew, and queue what everybody is told of it. A turn ends with it."""
        publisher = self.publisher
        publisher.refresh_all(now_ms)
        self._follow_changes(now_ms)
        if publisher.own_dirty:
            for user in publisher.take_own_dirty():
                self.own_states.changed(user)
        self.own_states.flush()
        self.channels.flush(now_ms)
        if self.events.followers:
            self.events.flush()
        if self._put_off:
            self._answer(now_ms)
        if publisher.blank:
            for user in publisher.take_blank():
                self.users.forget_if_blank(user)

    def put_off(self, session: Session, question: Callable[[int], object]) -> None:
        """Answer the session's question at the end of this turn, called with the time then. It is about somebody whose
        record is made only then: to make it now would make two changes of one. O(1)."""
        # Until then its link does not end, as with what waits for the disk.
        session.unanswered += 1
        self._put_off.append((session, question))
        self.asking[session] = None

    def _answer(self, now_ms: int) -> None:
        """Answer what was put off, in order. O(that)."""
        put_off, self._put_off = self._put_off, []
        self.asking.clear()
        for session, question in put_off:
            try:
                question(now_ms)
            except Exception:
                session.edge.fail(now_ms)
            session.unanswered -= 1
            if session.ended:
                # It asked and left: it gets the answer, and watches nothing any more.
                self._end_session(session, now_ms)
                if not session.unanswered:
                    self.closing.append((session, ""))

    def _follow_changes(self, now_ms: int) -> None:
        """Bring channels and events up to date with the records. Also before a membership changes: a channel counts
        its members by the records that it was last told of."""
        publisher = self.publisher
        if publisher.changes:
            wall_ms = self.clock.wall_ms(now_ms)
            for user, old, new, reason in publisher.take_changes():
                if user.channels is not None:
                    self.channels.follow_record(user, old, new, now_ms)
                if self.events.is_kept:
                    self.events.follow_record(old, new, reason, wall_ms)

    def stop(self) -> None:
        """The daemon is about to stop in order. Who is in grace was seen last before it, and everybody else until then.
        O(users), if anybody is in grace."""
        self.leaving.finish()
        if self.leases.live == self.leases.connected:
            return
        for user in self.users.order:
            for device in user.devices.values():
                if device.state == GRACE:
                    self.leases.silent[device] = None
                    self.leases.log_device(device)

    def dump(self, now_ms: int, user: User) -> list[Fact]:
        """What a snapshot is to say of the user. What has become too old is dropped first, and perhaps with it the
        user (from `users.order` too), so that nothing is kept and saved for ever because nobody asks for it.
        O(what is known of the user)."""
        drop_old_activities(user, self.clock.trusted_wall_ms(now_ms))
        facts = facts_of(user, self.clock.offset_ms, self.clock.back_ms, self.leases.silent)
        self.users.forget_if_blank(user)
        return facts

    @property
    def is_settled(self) -> bool:
        """Whether every change has become facts, and the log was given them. O(1)."""
        return not self.publisher.has_dirty and not self.ledger.has_facts

    def note_refusal(self, code: str) -> None:
        """Count a request that is answered with an error."""
        self.refused[code] += 1

    # --- links ------------------------------------------------------------------------------------------------

    def attach(
        self,
        now_ms: int,
        session: Session,
        device_id: str,
        *,
        user_name: str = "",
        ref: int = 0,
        kind: str = "",
        name: str = "",
        priority: int = 0,
        status: DeviceStatus = "online",
        idle_ms: int | None = None,
        as_was: bool = False,
        only_free: bool = False,
    ) -> Device:
        """The session's link speaks for this device from now on: its own, or (a service's) one under a `ref`.

        The one that held the device before is replaced: a link of its own is closed, a service is told.
        An empty kind or name, and `idle_ms` (the time since the person's last input) None, keep what is known; so does
        `as_was` with kind, name, priority and status of a device that is live. With `only_free` a device that another
        client has by now stays with it. Raises `RequestError` (`device_limit`, `device_held`). O(devices of the user).
        """
        user = self.users.get(user_name or session.user_name)
        device = user.devices.get(device_id) if user is not None else None
        if device is not None:
            if only_free:
                self.holders.refuse_if_held(device, session)
            if as_was and device.state != GONE:
                kind, name, priority, status = device.kind, device.name, device.priority, device.status
        if device is None:
            user = user or self.users.new(user_name or session.user_name)
            self.users.make_room(user, priority)
            device = user.devices[device_id] = Device(user, device_id)
        elif (device.priority < 0) != (priority < 0):
            self.users.make_room(device.user, priority)
        self._take_from_holder(device, session, now_ms)
        if ref and session.refs is not None and (other := session.refs.get(ref)) is not None:
            self._end_device(other, now_ms)
        user = device.user
        # An empty one says nothing: it must not undo a rename.
        kind, name = kind or device.kind, name or device.name
        told = bool(device.idle_known)
        before = (device.state == GONE, device.kind, device.name, device.priority, device.status, told, device.holder)
        counted = countable(device)
        leases = self.leases
        is_return = leases.notes_returns and device.state == GRACE and device.heard_ms <= leases.assumed_ms
        # First, because how long is idle depends on the kind.
        device.kind, device.name, device.priority, device.status = kind, name, priority, status
        self.leases.connect(device, session, now_ms, idle_ms, ref)
        if ref:
            self.holders.holds(session, ref)
        is_news = before != (False, kind, name, priority, status, bool(device.idle_known), device.holder)
        if is_return:
            # Once for each start and device: if the next one comes soon, this one has a grace of its own.
            is_news = True
        if self.leases.silent and device in self.leases.silent:
            del self.leases.silent[device]
            is_news = True
        if is_news:
            self.leases.log_device(device)
        if counted and device.priority < 0:
            self.publisher.uncount(device, "idle")
        self.publisher.mark_dirty(user)
        return device

    def _take_from_holder(self, device: Device, session: Session, now_ms: int) -> None:
        holder = device.session
        if holder is None:
            return
        if device.ref:
            assert holder.refs is not None
            del holder.refs[device.ref]
            if holder is not session:
                self.holders.tell(holder, device.ref, "replaced")
        else:
            holder.device = None
            self.own_states.remove(holder, device.user)
            if holder is session:
                # It attaches the device that it is itself: the link goes on, and holds it like any other.
                self.leases.start_session(session, now_ms)
            else:
                self.closing.append((holder, "replaced"))
        device.session = None

    def open_without_device(self, now_ms: int, session: Session) -> None:
        """The session has no device of its own (a service): it holds its lease itself."""
        self.leases.start_session(session, now_ms)

    def detach(self, now_ms: int, session: Session) -> None:
        """The link is lost: its devices go into grace and nobody is told. Idempotent. O(what it held and watched), but
        not at once (`Leaving`)."""
        device = session.device
        if device is not None:
            self.own_states.remove(session, device.user)
            session.device = None
            self.leases.lose(device, now_ms)
        self._end_session(session, now_ms)

    def release(self, now_ms: int, device: Device, *, lost: bool, by: Session | None = None) -> None:
        """A service speaks for the device no more: it has left, or only its connection is lost. `by`: the link that
        says so, if one does; another link of the same client that holds it is told. One whose connection is lost
        already stays in the grace that it is in."""
        session = device.session
        if session is not None and session.refs is not None and session.refs.pop(device.ref, None) is not None:
            if by is None:
                self.holders.tell(session, device.ref, "lost")
            elif by is not session:
                self.holders.tell(session, device.ref, "detached")
        if not lost:
            self._end_device(device, now_ms)
        elif session is not None:
            self.leases.lose(device, now_ms)

    def beats(self, now_ms: int, session: Session, beats: list[int]) -> None:
        """Heartbeats of devices that a service holds (`Leases.beats`). It is told once of each that it does not."""
        for ref in self.leases.beats(session, now_ms, beats) or ():
            self.holders.tell(session, ref, "not_held")

    def bye(self, now_ms: int, session: Session) -> None:
        """The link's own device leaves at once, without grace, and the link is to be closed."""
        device = session.device
        if device is not None:
            self.own_states.remove(session, device.user)
            session.device = None
            self._end_device(device, now_ms)
        self.detach(now_ms, session)
        self.closing.append((session, ""))

    def heard(self, session: Session, now_ms: int) -> None:
        """A frame came in: the lease starts anew. O(1), writes one field."""
        device = session.device
        if device is not None:
            device.heard_ms = now_ms
        else:
            session.heard_ms = now_ms

    def heartbeat(self, session: Session, now_ms: int, idle_ms: int | None) -> bool:
        """As `heard`, and the person's last input was `idle_ms` ago (None: no report). O(1).

        Gives whether anything came of it that a turn has to look at.
        """
        device = session.device
        if device is not None:
            return self.leases.heartbeat(device, now_ms, idle_ms)
        session.heard_ms = now_ms
        return False

    def resume(self, session: Session) -> None:
        """The link takes again what it is sent: queue what it missed. O(what changed)."""
        if session.owed is None:
            return
        self.outboxes.resume(session)
        self.channels.resume(session)
        if session.device is not None:
            self.own_states.resume(session, session.device.user)

    def _drop(self, now_ms: int, session: Session, code: str) -> None:
        self.closing.append((session, code))
        self.detach(now_ms, session)

    def _end_session(self, session: Session, now_ms: int) -> None:
        """Forget what the session watches and is owed. The one way out for every session. Idempotent."""
        session.ended = True
        self.leases.end_session(session)
        self.outboxes.end(session)
        self.leaving.take(session, now_ms)
        self.events.unfollow(session, now_ms)

    def _device_due(self, device: Device, now_ms: int, ended: list[Device]) -> None:
        was_live = device.state
        code = self.leases.device_due(device, now_ms)
        if device.state == GONE and was_live != GONE:
            ended.append(device)
        elif code and device.session is not None:
            if device.ref:
                self.release(now_ms, device, lost=True)
            else:
                self._drop(now_ms, device.session, code)

    def _end_device(self, device: Device, now_ms: int) -> None:
        """It says bye, or its service does for it."""
        if device.ref and device.session is not None and device.session.refs is not None:
            device.session.refs.pop(device.ref, None)
        # To say so is a sign of life.
        device.heard_ms = now_ms
        self.leases.end(device, now_ms, "bye")
        self._ended([device], now_ms)
        if device.priority < 0:
            # It never stood for its user: a tool that looked in. Remembering it would push out real ones.
            self.users.forget_device(device)
            self.publisher.mark_dirty(device.user)

    def _ended(self, devices: list[Device], now_ms: int) -> None:
        for device in devices:
            if device.user.claims:
                self.claims.end_with_devices(device.user, now_ms)
        members = [device for device in devices if device.channels]
        if members:
            self._follow_changes(now_ms)
            for device in members:
                self.channels.leave_all(device, now_ms)

    # --- channels ---------------------------------------------------------------------------------------------

    def join(self, now_ms: int, device: Device, channel: str, role: Role) -> None:
        """A live device is in the channel from now on: so says a link of this role. Idempotent.

        Raises `RequestError` (`channel_limit`).
        """
        self._follow_changes(now_ms)
        self.channels.join(device, channel, now_ms, role)

    def leave(self, now_ms: int, session: Session, device: Device, channel: str) -> None:
        """The device is in the channel no more: so says this session. Idempotent."""
        self._follow_changes(now_ms)
        if device.session is not session and not device.is_taken_out and channel in (device.channels or ()):
            device.is_taken_out = True
            self.leases.log_device(device)
        self.channels.leave(device, channel, now_ms)
