"""Who is live, until when, and how idle: the one place that schedules devices and sessions in the wheel.

* A live device has exactly one wheel entry, at or before its next deadline: end of the lease, of the grace, of the
  token, or the next idle level. A heartbeat only writes fields; when the entry comes due it is set anew for what was
  written since.
* That is safe because nothing a heartbeat writes moves a deadline forward in time to before the entry. The few
  inputs that do (a lost link, the first idle report, the end of an idle level) re-arm the entry themselves.
"""

from __future__ import annotations

from presenced.core.clock import Clock
from presenced.core.facts import device_fact
from presenced.core.ledger import Ledger
from presenced.core.merge import countable
from presenced.core.model import (
    ACTIVE,
    ASSUMED,
    CONNECTED,
    GONE,
    GRACE,
    IDLE_AWAY,
    IDLE_OFFLINE,
    TOLD,
    UNTOLD,
    Device,
    Session,
    User,
)
from presenced.core.policy import Policy
from presenced.core.publisher import Publisher
from presenced.core.wheel import Wheel

_NO_REFS: dict[int, Device] = {}


class Leases:
    """The lives of devices, and of sessions that have none."""

    def __init__(self, policy: Policy, wheel: Wheel, ledger: Ledger, clock: Clock, publisher: Publisher) -> None:
        self.live = 0
        """Devices that are connected or in grace."""
        self.connected = 0
        self.expired = 0
        """Leases that ran out so far."""
        self.assumed_ms = 0
        """When the daemon was started with what was saved. Heartbeats are not: who was active until the stop may have
        been so to the end, whatever input of theirs was saved last."""
        self.notes_returns = False
        """Whether the log is told which of the devices that were live at the start have been back."""
        self.silent: dict[Device, None] = {}
        """While the daemon is stopping: the devices that were in grace when it began to."""
        self._policy = policy
        self._wheel = wheel
        self._ledger = ledger
        self._clock = clock
        self._publisher = publisher

    # --- coming and going -------------------------------------------------------------------------------------

    def connect(self, device: Device, session: Session, now_ms: int, idle_ms: int | None, ref: int = 0) -> None:
        """The device is held by this session from now on, a service's under the number `ref`. `idle_ms` None keeps
        what is known of its activity."""
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
        if device.kind in self._policy.idle_by_kind:
            self._policy.kinds_met[device.kind] = None
        device.heard_ms = now_ms
        if idle_ms is not None:
            self._report_idle(device, now_ms, idle_ms)
        else:
            # It may be of another kind now, which takes other times to become idle.
            self._set_level(device, self._level(device, now_ms))
        self._arm(device)

    def lose(self, device: Device, now_ms: int) -> None:
        """Its link is lost: grace."""
        if device.state == CONNECTED:
            self.connected -= 1
        device.session = None
        device.ref = 0
        device.state = GRACE
        device.grace_until_ms = now_ms + self._policy.grace_ms
        self._arm(device)

    def resume_grace(self, device: Device, until_ms: int) -> None:
        """It was live when the daemon stopped: grace until `until_ms`."""
        self.live += 1
        device.state = GRACE
        device.grace_until_ms = until_ms
        self._arm(device)

    def end(self, device: Device, now_ms: int, reason: str) -> None:
        """It is gone, for a reason as in an event of `offline`."""
        if countable(device):
            self._publisher.uncount(device, reason)
        if device.state == CONNECTED:
            self.connected -= 1
        device.session = None
        device.ref = 0
        device.holder = 0
        device.state = GONE
        device.grace_until_ms = now_ms
        self.live -= 1
        self._wheel.cancel(device)
        self.log_device(device)
        self._publisher.mark_dirty(device.user)

    def start_session(self, session: Session, now_ms: int) -> None:
        """A session without a device holds a lease of its own."""
        session.heard_ms = now_ms
        self._wheel.schedule(session, self._session_deadline(session))

    def end_session(self, session: Session) -> None:
        """It holds no lease any more. Idempotent."""
        self._wheel.cancel(session)

    def log_device(self, device: Device) -> None:
        """Leave what is known of the device for the log."""
        self._ledger.add(device_fact(device, self._clock.offset_ms, self.silent))

    def clock_set(self, device: Device, jump_ms: int, set_ms: int, now_ms: int) -> None:
        """The wall clock was set by so much at `set_ms`. What is known of the device by wall times alone, since it was
        gone then or was not heard of after a restart, keeps them, unless they would lie in the future."""
        if device.state == GONE:
            is_known = device.grace_until_ms <= set_ms
        else:
            is_known = device.heard_ms < self.assumed_ms
        # What was in the future at the start has been put at that moment, and no wall time is known of it.
        if not is_known or device.heard_ms == self.assumed_ms:
            return
        device.heard_ms = _kept(device.heard_ms, jump_ms, now_ms)
        device.active_ms = _kept(device.active_ms, jump_ms, now_ms)
        if device.state == GONE:
            device.grace_until_ms = _kept(device.grace_until_ms, jump_ms, now_ms)
        else:
            self._arm(device)

    # --- signs of life ----------------------------------------------------------------------------------------

    def heartbeat(self, device: Device, now_ms: int, idle_ms: int | None) -> bool:
        """It is alive; its person's last input was `idle_ms` ago (None: no report). O(1).

        Gives whether its user was touched by it, so that a turn has to look.
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
        active_ms = now_ms - idle_ms
        if active_ms <= device.active_ms:
            return False
        device.active_ms = active_ms
        if device.idle_level != ACTIVE and self._level(device, now_ms) != device.idle_level:
            self._set_level(device, self._level(device, now_ms))
            self._arm(device)
            return True
        primary = device.user.primary
        if primary is not device and (
            primary is None or active_ms - primary.active_ms > self._policy.primary_hysteresis_ms
        ):
            self._publisher.mark_dirty(device.user)
            return True
        return False

    def input(self, device: Device, now_ms: int) -> None:
        """Its person said something on it: that is input, whatever it reports."""
        device.active_ms = device.input_ms = now_ms
        if device.idle_level != ACTIVE:
            self._set_level(device, ACTIVE)
            self._arm(device)

    def call_is_input(self, user: User, now_ms: int) -> None:
        """A call of the user begins or has ended: that is input on each live device that counts. While it holds none of
        them becomes idle. If none counts when it begins, the connected one with the latest input does. O(devices)."""
        live = [device for device in user.devices.values() if device.state != GONE]
        counting = [device for device in live if device.idle_level != IDLE_OFFLINE]
        if in_call(user) and all(device.priority < 0 for device in counting):
            others = [device for device in live if device.state == CONNECTED and device.priority >= 0]
            counting += sorted(others, key=lambda device: -device.active_ms)[:1]
        for device in counting:
            self.input(device, now_ms)
            self._arm(device)

    def beats(self, session: Session, now_ms: int, beats: list[int]) -> list[int] | None:
        """Heartbeats of many devices that a service holds: ref and idle time, alternating; -1 = no report.

        O(devices), and nothing for those that are active and stay so. Gives the refs that are not held, if any.
        """
        unheld: list[int] | None = None
        refs = session.refs or _NO_REFS
        for ref, idle_ms in zip(beats[::2], beats[1::2], strict=False):
            device = refs.get(ref)
            if device is not None:
                if idle_ms < 0:
                    device.heard_ms = now_ms
                else:
                    self.heartbeat(device, now_ms, idle_ms)
            elif unheld is None:
                unheld = [ref]
            else:
                unheld.append(ref)
        return unheld

    # --- deadlines --------------------------------------------------------------------------------------------

    def device_due(self, device: Device, now_ms: int) -> str:
        """Its wheel entry came out. Gives the code to end its link with, if that is what is due; else ""."""
        if device.state == GRACE and now_ms >= device.grace_until_ms:
            self.end(device, now_ms, "lost")
            return ""
        session = device.session
        if session is not None:
            if session.expires_ms and now_ms >= session.expires_ms and not device.ref:
                return "token_expired"
            if now_ms >= device.heard_ms + self._policy.timeout_ms:
                self.expired += 1
                return "lease_expired"
        self._set_level(device, self._level(device, now_ms))
        self._arm(device)
        return ""

    def session_due(self, session: Session, now_ms: int) -> str:
        """The same for a session without a device."""
        if session.expires_ms and now_ms >= session.expires_ms:
            return "token_expired"
        if now_ms >= session.heard_ms + self._policy.timeout_ms:
            self.expired += 1
            return "lease_expired"
        self._wheel.schedule(session, self._session_deadline(session))
        return ""

    def deadline(self, device: Device) -> int:
        """When something is next due for a live device, if nothing is heard of it until then."""
        policy = self._policy
        if device.state == GRACE:
            due_ms = device.grace_until_ms
        else:
            due_ms = device.heard_ms + policy.timeout_ms
            session = device.session
            if session is not None and session.expires_ms and not device.ref:
                due_ms = min(due_ms, session.expires_ms)
        if device.idle_known and not in_call(device.user):
            away_ms, offline_ms = policy.idle_limits(device.kind)
            active_ms = self._active_ms(device)
            if device.idle_level == ACTIVE and away_ms:
                due_ms = min(due_ms, active_ms + away_ms)
            if device.idle_level != IDLE_OFFLINE and offline_ms:
                due_ms = min(due_ms, active_ms + offline_ms)
        return due_ms

    def _session_deadline(self, session: Session) -> int:
        due_ms = session.heard_ms + self._policy.timeout_ms
        return min(due_ms, session.expires_ms) if session.expires_ms else due_ms

    def _arm(self, device: Device) -> None:
        self._wheel.schedule(device, self.deadline(device))

    # --- idle levels ------------------------------------------------------------------------------------------

    def _level(self, device: Device, now_ms: int) -> int:
        if not device.idle_known:
            # Active, unless it was restored from disk as idle and has not reported since.
            return device.idle_level
        idle_ms = now_ms - self._active_ms(device)
        away_ms, offline_ms = self._policy.idle_limits(device.kind)
        if offline_ms and idle_ms >= offline_ms:
            level = IDLE_OFFLINE
        elif away_ms and idle_ms >= away_ms:
            level = IDLE_AWAY
        else:
            return ACTIVE
        if in_call(device.user) and (level != IDLE_OFFLINE or device.idle_level != IDLE_OFFLINE):
            return ACTIVE
        return level

    def _active_ms(self, device: Device) -> int:
        """The last input, or the latest that it may have been if only what was saved is known."""
        if device.idle_known == ASSUMED and device.idle_level == ACTIVE:
            return max(device.active_ms, self.assumed_ms)
        return device.active_ms

    def _report_idle(self, device: Device, now_ms: int, idle_ms: int) -> None:
        # The first report, also after a restart, is the truth, except for what was said on the device since it came;
        # after it, an older moment is only a client that restarted.
        known_ms = device.active_ms if device.idle_known == TOLD else device.input_ms
        device.active_ms = now_ms - idle_ms if known_ms is None else max(now_ms - idle_ms, known_ms)
        device.idle_known = TOLD
        self._set_level(device, self._level(device, now_ms))

    def _set_level(self, device: Device, level: int) -> None:
        if level != device.idle_level:
            # What was assumed holds from now on, or the next level would come too early.
            device.active_ms = self._active_ms(device)
            if level == IDLE_OFFLINE and countable(device):
                self._publisher.uncount(device, "idle")
            device.idle_level = level
            # Logged, so that a restart takes nobody who is away for active, or the reverse.
            self.log_device(device)
            self._publisher.mark_dirty(device.user)


def _kept(moment_ms: int, jump_ms: int, now_ms: int) -> int:
    """The moment that has the same wall time as this one had before the clock was set, if that is not to come."""
    kept_ms = moment_ms - jump_ms
    return kept_ms if kept_ms <= now_ms else moment_ms


def in_call(user: User) -> bool:
    """Whether somebody states that the user is in a call. O(claims)."""
    return bool(user.claims) and any(claim.source == "call" for claim in user.claims)
