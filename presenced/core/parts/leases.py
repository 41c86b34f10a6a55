"""Which devices are live, until when, and how idle they are. Only this part schedules devices in the wheel.

* A live device has exactly one wheel entry, at or before its next deadline: the end of the lease, of the grace or of
  the token, or the next idle level (`lifetimes`). A heartbeat only writes fields. When the entry comes due, it is set
  anew by what was written since.
* That is safe because nothing that a heartbeat writes brings a deadline to a moment before the entry. The few inputs
  that do (a lost link, the first idle report, the end of an idle level) set the entry anew themselves.

The file is long because whatever moves a deadline stands beside what sets the entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from presenced.core.clock import Clock
from presenced.core.idleness import idle_level, last_active_ms
from presenced.core.ledger import Ledger
from presenced.core.lifetimes import deadline, grace_end_ms, held_until_ms, is_over, kept_ms, link_fault
from presenced.core.merge import countable
from presenced.core.model import (
    ACTIVE,
    CONNECTED,
    GONE,
    GRACE,
    IDLE_OFFLINE,
    TOLD,
    UNTOLD,
    Device,
    Session,
    User,
)
from presenced.core.part import Jump, Part, Start
from presenced.core.parts.device_facts import device_fact
from presenced.core.policy import Policy
from presenced.core.precedence import in_call, is_shown_hidden
from presenced.core.publisher import Publisher
from presenced.core.records import DeviceSet
from presenced.core.wheel import Wheel

LOOK_AGAIN_MS: Final = 1_000
"""How often a device is looked at whose end is put off (`Leases.be_patient`)."""

FAR_AGAIN_MS: Final = 10_000
"""The same for a device that a link of another node holds. After some minutes all such devices are of this kind."""

EVER_MS: Final = 1 << 50
"""Later than any moment that a process sees."""


class Leases(Part):
    """The lives of devices."""

    def __init__(self, policy: Policy, wheel: Wheel, ledger: Ledger, clock: Clock, publisher: Publisher) -> None:
        self.live = 0
        """Devices that are connected or in grace."""
        self.connected = 0
        self.assumed_ms = 0
        """When the daemon was started with saved state. Heartbeats are not saved: a person who was active before the
        stop may have been active until then, whatever input was saved last."""
        self.notes_returns = False
        """Whether the log is told which of the devices that were live at the start have been back."""
        self.silent: dict[Device, bool] = {}
        """While the daemon is stopping: the devices that were in grace when it began to."""
        self._policy = policy
        self._wheel = wheel
        self._ledger = ledger
        self._clock = clock
        self._publisher = publisher
        self._patient_until_ms = self._patient_with_ms = 0
        self._shares_inputs = False

    # --- coming and going -------------------------------------------------------------------------------------

    def connect(
        self,
        device: Device,
        session: Session,
        now_ms: int,
        idle_ms: int | None,
        ref: int = 0,
        lease_ms: int | None = None,
    ) -> None:
        """The session holds the device from now on; a service's session holds it under the number `ref`. With `idle_ms`
        None, what is known of its activity stays (see `forget_idleness`). `lease_ms` as in `Device`."""
        if device.state == GONE:
            self.live += 1
            device.idle_known = UNTOLD
            device.idle_level = ACTIVE
            device.active_ms = now_ms
            device.input_ms = None
            device.is_taken_out = False
        if device.state != CONNECTED:
            self.connected += 1
        device.session = session
        device.ref = ref
        device.holder = session.instance
        if ref:
            if session.refs is None:
                session.refs = {}
            session.refs[ref] = device
        else:
            session.device = device
        device.state = CONNECTED
        device.lease_ms = lease_ms
        if self._policy.has_times_of(device.kind):
            self._policy.kinds_met[device.kind] = None
        device.heard_ms = now_ms
        if idle_ms is not None:
            self._report_idle(device, now_ms, idle_ms)
        else:
            # It may be of another kind now, which takes other times to become idle.
            self._set_level(device, idle_level(device, now_ms, self._policy, self.assumed_ms))
        self._arm(device)

    def forget_idleness(self, device: Device) -> None:
        """Another program is about to hold a live device, and does not tell how idle it is: that is not known from now
        on. When its last input was stays known. O(1)."""
        if device.state != GONE and device.idle_known != UNTOLD:
            device.idle_known = UNTOLD
            self._set_level(device, ACTIVE)

    def take(self, device: Device) -> None:
        """Take the device from the session that holds it, for another session. Its lease goes on."""
        holder, ref = device.session, device.ref
        self._unbind(device)
        if holder is not None and not ref:
            holder.device = None

    def _unbind(self, device: Device) -> None:
        session = device.session
        if device.ref and session is not None and session.refs is not None:
            session.refs.pop(device.ref, None)
        device.session = None
        device.ref = 0
        device.focus = ""

    def lose(self, device: Device, now_ms: int, within_ms: int | None = None) -> None:
        """Its link is lost: it is in grace, for the time that was promised last, or for `within_ms` if that is
        given."""
        if device.state == CONNECTED:
            self.connected -= 1
        self._unbind(device)
        device.state = GRACE
        if within_ms is not None:
            device.lease_ms = now_ms + within_ms
        device.grace_until_ms = grace_end_ms(device, now_ms, self._policy)
        if device.lease_ms is not None:
            # What was promised holds over a restart, and from now on it is silent.
            self.log_device(device)
        self._arm(device)

    def take_back(self, device: Device, session: Session, ref: int, now_ms: int) -> None:
        """The client that held the device, which is in grace, has returned, and holds it again. Nothing else of it
        changes. O(1)."""
        self.connected += 1
        is_return = self.is_first_return(device)
        device.state, device.session, device.ref = CONNECTED, session, ref
        refs = session.refs
        if refs is None:
            refs = session.refs = {}
        refs[ref] = device
        device.heard_ms = now_ms
        if is_return:
            self.log_device(device)
        # The entry for the end of the grace is set anew when it comes due, as after a heartbeat.
        if device.due_ms > now_ms + self._policy.timeout_ms:
            self._arm(device)
        if device.user.own is not None:
            self._publisher.mark_dirty(device.user)

    def hold(self, device: Device, spread_ms: int, start: Start) -> None:
        """It was live when the daemon stopped: it is in grace, as computed in `held_until_ms`."""
        now_ms, begun_ms = start.now_ms, start.begun_ms
        is_silent = device.state == GRACE
        since_ms, is_away = now_ms, False
        if len(begun_ms) > 1:
            since_ms = next((ms for ms in begun_ms if ms > device.heard_ms), since_ms)
            is_away = since_ms < begun_ms[-1]
        # Of one that has not been back since an earlier start nothing was heard until the stop.
        if start.heard_ms is not None and not is_silent and not is_away:
            device.heard_ms = max(device.heard_ms, start.heard_ms)
        self.live += 1
        device.state = GRACE
        device.grace_until_ms = held_until_ms(device, since_ms, spread_ms, start, self._policy)
        self._arm(device)
        if is_silent != (device.lease_ms is not None):
            # It may come back and be heard from now on, of which nothing is logged. One with a lease is silent until
            # it does, and is logged then.
            self.log_device(device)

    def is_first_return(self, device: Device) -> bool:
        """Whether the return of a device has to be logged. It has once for each start and device, so that the device
        has a new grace if another start follows soon; and once for a device that was noted as silent."""
        if self.silent and self.silent.pop(device, False):
            return True
        if device.lease_ms is not None and device.state == GRACE:
            return True
        return self.notes_returns and device.state == GRACE and device.heard_ms <= self.assumed_ms

    def note_silent(self, device: Device) -> None:
        """The daemon is about to stop, and the device is in grace: it was last heard before the stop."""
        self.silent[device] = True
        self.log_device(device)

    def end(self, device: Device, now_ms: int, reason: str) -> None:
        """The device is gone. `reason` is as in an event of `offline`."""
        if reason == "bye":
            # To say so is a sign of life.
            device.heard_ms = now_ms
        if countable(device):
            self._publisher.uncount(device, reason)
        if device.state == CONNECTED:
            self.connected -= 1
        self._unbind(device)
        device.holder = 0
        device.state = GONE
        device.lease_ms = None
        device.grace_until_ms = now_ms
        self.live -= 1
        self._wheel.cancel(device)
        self.log_device(device)
        self._publisher.mark_dirty(device.user)

    def let_go(self, session: Session, lost_ms: int, most: int) -> int:
        """Put devices of the session into grace, at most `most` of them. Returns how many."""
        refs, parked, count = session.refs, session.parked, 0
        while refs and count < most:
            ref, device = refs.popitem()
            self.lose(device, lost_ms)
            if parked is not None:
                parked.keep_device(ref, device)
            count += 1
        if not refs:
            session.refs = None
        return count

    def log_device(self, device: Device) -> None:
        """Add the device, as it stands, to the facts for the log."""
        self._ledger.add(self.fact_of(device))

    def fact_of(self, device: Device) -> DeviceSet:
        """The device as it stands, for the log."""
        return device_fact(device, self._clock.offset_ms, self.silent)

    def take_out(self, device: Device) -> None:
        """A link other than its own has taken it out of a channel. That is remembered until the device comes anew."""
        if not device.is_taken_out:
            device.is_taken_out = True
            self.log_device(device)

    def see(self, device: Device, now_ms: int) -> None:
        """It was seen just now."""
        device.heard_ms = now_ms
        self.log_device(device)

    def resume(self, users: Sequence[User], start: Start) -> None:
        """Devices that are live by the log may have been active until the stop."""
        self.assumed_ms = start.now_ms
        self.notes_returns = bool(start.begun_ms)

    def keep_wall_times(self, device: Device, jump: Jump, now_ms: int) -> None:
        """The wall clock was set. A device that was gone then, or was not heard since a restart, is known by wall times
        alone: it keeps them, unless they would lie in the future. A lease ends after the promised time, which is at
        another wall time now."""
        self._keep_known(device, jump, now_ms)
        if device.lease_ms is not None:
            self.log_device(device)

    def _keep_known(self, device: Device, jump: Jump, now_ms: int) -> None:
        if device.state == GONE:
            is_known = device.grace_until_ms <= jump.set_ms
        else:
            is_known = device.heard_ms < self.assumed_ms
        # What was in the future at the start has been put at that moment, and no wall time is known of it.
        if not is_known or device.heard_ms == self.assumed_ms:
            return
        device.heard_ms = kept_ms(device.heard_ms, jump.jump_ms, now_ms)
        device.active_ms = kept_ms(device.active_ms, jump.jump_ms, now_ms)
        if device.state == GONE:
            device.grace_until_ms = kept_ms(device.grace_until_ms, jump.jump_ms, now_ms)
        else:
            self._arm(device)

    # --- users of other nodes (`copies`) ----------------------------------------------------------------------

    def keep_copied(self, user: User, jump_ms: int) -> None:
        """The wall clock was set. Devices of a copy are known by wall times alone, and keep them. O(devices)."""
        for device in user.devices.values():
            device.heard_ms -= jump_ms
            device.active_ms -= jump_ms
            device.grace_until_ms -= jump_ms
            if device.lease_ms is not None:
                device.lease_ms -= jump_ms

    def go_on_with(self, device: Device, now_ms: int, grace_ms: int) -> None:
        """A live device of a user whom another node has released in order: it stays in its grace, and all that it has
        reported counts. `grace_ms`: the least grace if no end is known. O(claims)."""
        if device.idle_known:
            device.idle_known = TOLD
        end_ms = device.lease_ms
        if end_ms is None:
            is_known = device.state == GRACE and device.grace_until_ms > device.heard_ms
            end_ms = device.grace_until_ms if is_known else now_ms + max(grace_ms, self._policy.grace_of(device.kind))
        self.live += 1
        device.state = GRACE
        device.grace_until_ms = max(now_ms, end_ms) if device.lease_ms is None else end_ms
        self._arm(device)

    def assume(self, active_ms: int) -> None:
        """Users of another node, which was last heard at this moment, are about to be taken over: persons who were
        active by its facts may have been active until then. O(1)."""
        self.assumed_ms = max(self.assumed_ms, active_ms)

    def let_go_of(self, device: Device) -> None:
        """Another node is about to decide about a live device, which is in grace. O(1)."""
        self.live -= 1
        self.silent.pop(device, None)
        self._wheel.cancel(device)

    # --- signs of life ----------------------------------------------------------------------------------------

    def heard(self, session: Session, now_ms: int) -> None:
        """A frame came in on its link: the lease starts anew. O(1), writes one field."""
        device = session.device
        if device is not None:
            device.heard_ms = now_ms
        else:
            session.heard_ms = now_ms

    def heard_at(self, device: Device, at_ms: int) -> None:
        """It was last heard at this moment, whatever was assumed. Only for a device whose lease is kept elsewhere,
        begins anew or is about to end: the wheel entry may be too late for any other. O(1)."""
        device.heard_ms = at_ms

    def heartbeat(self, device: Device, now_ms: int, idle_ms: int | None) -> bool:
        """It is alive, and its person's last input was `idle_ms` ago (None: not reported). O(1).

        Returns whether its user may have changed by it, so that a turn has to run.
        """
        device.heard_ms = now_ms
        if idle_ms is None:
            return False
        if device.idle_known != TOLD:
            is_news = device.idle_known == UNTOLD
            self._report_idle(device, now_ms, idle_ms)
            self._arm(device)
            if is_news:
                # Logged once, so that a restart lets the time run on.
                self.log_device(device)
            self._publisher.mark_dirty(device.user)
            return True
        active_ms, before_ms = now_ms - idle_ms, device.active_ms
        if active_ms <= before_ms:
            return False
        device.active_ms = active_ms
        if device.idle_level != ACTIVE:
            level = idle_level(device, now_ms, self._policy, self.assumed_ms)
            if level != device.idle_level:
                self._set_level(device, level)
                self._arm(device)
                return True
        primary = device.user.primary
        if primary is not device and (
            primary is None or active_ms - primary.active_ms > self._policy.primary_hysteresis_ms
        ):
            if self._shares_inputs and primary is None:
                self._tell_input(device, before_ms)
            self._publisher.mark_dirty(device.user)
            return True
        return False

    def input(self, device: Device, now_ms: int) -> None:
        """Its person has said something on it. That counts as input, whatever it reports."""
        before_ms = device.active_ms
        device.active_ms = device.input_ms = now_ms
        if self._shares_inputs:
            self._tell_input(device, before_ms)
        if device.idle_level != ACTIVE:
            self._set_level(device, ACTIVE)
            self._arm(device)

    def call_is_input(self, user: User, now_ms: int) -> None:
        """A call of the user begins or has ended. That counts as input on each live device that counts, and none of
        these becomes idle during the call. If none counts when the call begins, the connected one with the latest input
        does. O(devices)."""
        live = [device for device in user.devices.values() if device.state != GONE]
        counting = [device for device in live if device.idle_level != IDLE_OFFLINE]
        if in_call(user) and all(device.priority < 0 for device in counting):
            others = [device for device in live if device.state == CONNECTED and device.priority >= 0]
            counting += sorted(others, key=lambda device: -device.active_ms)[:1]
        for device in counting:
            self.input(device, now_ms)
            self._arm(device)

    def share_inputs(self) -> None:
        """Tell other nodes from now on when devices had their last input, for users whose record does not show which
        device is the primary one: those who appear offline and have shown a device to somebody."""
        self._shares_inputs = True

    def tell_inputs(self, user: User) -> None:
        """Tell it of all live devices of the user, who has become such a user, or is shown to somebody else as well.
        O(devices)."""
        if self._shares_inputs and is_shown_hidden(user):
            for device in user.devices.values():
                if device.state != GONE:
                    self.log_device(device)

    def _tell_input(self, device: Device, before_ms: int) -> None:
        # Once in the time in which two devices count as used at once.
        span_ms = max(1, self._policy.primary_hysteresis_ms)
        if device.active_ms // span_ms != before_ms // span_ms and is_shown_hidden(device.user):
            self.log_device(device)

    # --- deadlines --------------------------------------------------------------------------------------------

    def device_due(self, device: Device, now_ms: int) -> str:
        """Its wheel entry has come due. Returns the code with which its link has to end, or an empty string."""
        if is_over(device, now_ms):
            if device.lease_ms is not None or not self._puts_off(device, now_ms, LOOK_AGAIN_MS):
                self.end(device, now_ms, "lost")
            return ""
        if device.session is not None and device.session.is_kept and self._puts_off(device, now_ms, FAR_AGAIN_MS):
            # It may be heard of, and somebody be active at it, where its link is.
            return ""
        if code := link_fault(device, now_ms, self._policy):
            return code
        self._set_level(device, idle_level(device, now_ms, self._policy, self.assumed_ms))
        self._arm(device)
        return ""

    def _puts_off(self, device: Device, now_ms: int, again_ms: int) -> bool:
        """Look at the device again after this time, if what is over does not end now (`be_patient`). O(1)."""
        is_patient = now_ms < self._patient_until_ms and device.heard_ms < self._patient_with_ms
        if is_patient:
            self._wheel.schedule(device, min(self._patient_until_ms, now_ms + again_ms))
        return is_patient

    def be_patient(self, until_ms: int, *, heard_before_ms: int = EVER_MS) -> None:
        """Until this moment, no grace ends of a device that was last heard before `heard_before_ms`, and no such device
        that a link of another node holds loses its lease or becomes idle: nothing may be heard of its client where it
        is. What is over by then ends then. O(1)."""
        self._patient_until_ms, self._patient_with_ms = until_ms, heard_before_ms

    def deadline(self, device: Device) -> int:
        """When a live device is due next, if nothing is heard of it until then."""
        return deadline(device, self._policy, self.assumed_ms)

    def rearm(self, device: Device) -> None:
        """The token of its link ends at another time: set the wheel entry anew."""
        self._arm(device)

    def _arm(self, device: Device) -> None:
        self._wheel.schedule(device, self.deadline(device))

    # --- idle levels ------------------------------------------------------------------------------------------

    def _report_idle(self, device: Device, now_ms: int, idle_ms: int) -> None:
        # The first report, also after a restart, is the truth, except for what was said on the device since it came;
        # after it, an older moment is only a client that restarted.
        known_ms = device.active_ms if device.idle_known == TOLD else device.input_ms
        device.active_ms = now_ms - idle_ms if known_ms is None else max(now_ms - idle_ms, known_ms)
        device.idle_known = TOLD
        self._set_level(device, idle_level(device, now_ms, self._policy, self.assumed_ms))

    def _set_level(self, device: Device, level: int) -> None:
        if level != device.idle_level:
            # What was assumed holds from now on, or the next level would come too early.
            device.active_ms = last_active_ms(device, self.assumed_ms)
            if level == IDLE_OFFLINE and countable(device):
                self._publisher.uncount(device, "idle")
            device.idle_level = level
            # Logged, so that a restart takes nobody who is away for active, or the reverse.
            self.log_device(device)
            self._publisher.mark_dirty(device.user)
