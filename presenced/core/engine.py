"""The rules of presence: what each request, silence and lost link does. The one place that decides.

`wheel`, `merge` and `publisher` compute; this file calls them. Every input takes `now_ms` first and either applies
wholly or raises `RequestError` and changes nothing. Deadlines:

* A live device has one wheel entry at or before its next deadline: end of the lease, of the grace, of the token, or
  the next idle level. A heartbeat only writes fields; when the entry comes due it is set anew for what was written.
* That is safe because nothing a heartbeat writes moves a deadline forward in time to before the entry. The few
  inputs that do (a lost link, the first idle report, the end of an idle level) re-arm the entry themselves.
"""

from __future__ import annotations

from presenced.core.facts import device_fact
from presenced.core.model import (
    ACTIVE,
    CONNECTED,
    GONE,
    GRACE,
    IDLE_AWAY,
    IDLE_OFFLINE,
    Claim,
    Device,
    Session,
    User,
)
from presenced.core.policy import Policy
from presenced.core.publisher import Publisher
from presenced.core.records import ClaimSet, DeviceForgotten, Fact, TextSet
from presenced.core.wheel import Wheel
from presenced.errors import RequestError
from presenced.limits import DEVICES_PER_USER_MAX, TICK_ENTRIES_MAX
from presenced.wire.messages import DeviceStatus, StatusRequest


class Engine:
    """All presence state of a server. See the module's text for the rules, `Publisher` for what goes out."""

    def __init__(self, policy: Policy, *, now_ms: int, wall_ms: int, epoch: int) -> None:
        self.policy = policy
        self.users: dict[str, User] = {}
        self.order: list[User] = []
        """The same users by `User.position`, for walks that take longer than a turn (see `new_user`)."""
        self.read_only = ""
        """Why nothing durable can be promised now (an error code); "" while all is well."""
        self.wheel = Wheel(now_ms)
        self.publisher = Publisher(policy, epoch)
        self.acks: list[tuple[Session, int]] = []
        """Requests applied in this turn whose reply waits until their facts are as durable as promised."""
        self.closing: list[tuple[Session, str]] = []
        """Sessions to end, and the code to say goodbye with ("" = none)."""
        self.live_devices = 0
        self.set_wall(now_ms, wall_ms)

    # --- time -------------------------------------------------------------------------------------------------

    def set_wall(self, now_ms: int, wall_ms: int) -> None:
        """Tell what the wall clock shows at `now_ms`. Only what is displayed depends on it, no deadline does."""
        self.publisher.wall_offset_ms = wall_ms - now_ms

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next; None = never, as things stand."""
        wheel_ms, spaced_ms = self.wheel.next_ms, self.publisher.next_ms
        if wheel_ms is None or spaced_ms is None:
            return spaced_ms if wheel_ms is None else wheel_ms
        return min(wheel_ms, spaced_ms)

    def tick(self, now_ms: int) -> None:
        """Apply what time alone brings about. At most `TICK_ENTRIES_MAX` wheel entries; `next_ms` tells of more."""
        for timer in self.wheel.advance(now_ms, TICK_ENTRIES_MAX):
            if isinstance(timer, Device):
                self._device_due(timer, now_ms)
            elif isinstance(timer, User):
                self._expiry_due(timer, now_ms)
            elif isinstance(timer, Session):
                self._session_due(timer, now_ms)
        self.publisher.release_spaced(now_ms)

    def settle(self, now_ms: int) -> None:
        """The last input of a turn: make the records of all touched users anew and queue the pushes."""
        self.publisher.settle_all(now_ms)

    # --- links ------------------------------------------------------------------------------------------------

    def attach(
        self,
        now_ms: int,
        session: Session,
        device_id: str,
        *,
        kind: str = "",
        name: str = "",
        priority: int = 0,
        status: DeviceStatus = "online",
        idle_ms: int | None = None,
    ) -> Device:
        """The session's link speaks for this device from now on; an older link of the same device is replaced.

        `idle_ms` is the time since the person's last input; None keeps what is known. Raises `RequestError`
        (`device_limit`). O(devices of the user).
        """
        user = self.users.get(session.user_name)
        device = user.devices.get(device_id) if user is not None else None
        if device is None:
            user = user or self.new_user(session.user_name)
            self._make_room(user)
            device = user.devices[device_id] = Device(user, device_id)
        if device.session is not None:
            device.session.device = None
            self.closing.append((device.session, "replaced"))
        user = device.user
        was_gone = device.state == GONE
        device.session = session
        session.device = device
        device.state = CONNECTED
        device.heard_ms = now_ms
        if was_gone:
            self.live_devices += 1
            device.idle_known = False
            device.idle_level = ACTIVE
            device.active_ms = now_ms
        if idle_ms is not None:
            self._set_idle(device, now_ms, idle_ms)
        described = (kind, name, priority, status)
        if was_gone or described != (device.kind, device.name, device.priority, device.status):
            device.kind, device.name, device.priority, device.status = described
            self._log_device(device)
        self.wheel.schedule(device, self._device_deadline(device))
        self.publisher.touch(user)
        return device

    def open_without_device(self, now_ms: int, session: Session) -> None:
        """The session has no device of its own (a service): it holds its lease itself."""
        session.heard_ms = now_ms
        self.wheel.schedule(session, self._session_deadline(session))

    def detach(self, now_ms: int, session: Session) -> None:
        """The link is lost: its device goes into grace and nobody is told. Idempotent. O(users watched)."""
        device = session.device
        session.device = None
        if device is not None:
            device.session = None
            device.state = GRACE
            device.grace_until_ms = now_ms + self.policy.grace_ms
            self.wheel.schedule(device, self._device_deadline(device))
        self._end_session(session)

    def bye(self, now_ms: int, session: Session) -> None:
        """The device leaves at once, without grace, and the link is to be closed."""
        device = session.device
        session.device = None
        if device is not None:
            device.session = None
            self._gone(device)
            if device.priority < 0:
                # It never stood for its user: a tool that looked in. Remembering it would push out real ones.
                del device.user.devices[device.id]
                self._log(DeviceForgotten(device.user.name, device.id))
                self.publisher.settle(device.user, now_ms)
                self._forget_if_blank(device.user)
        self._end_session(session)
        self.closing.append((session, ""))

    def heard(self, session: Session, now_ms: int) -> None:
        """A frame came in: the lease starts anew. O(1), writes one field."""
        device = session.device
        if device is not None:
            device.heard_ms = now_ms
        else:
            session.heard_ms = now_ms

    def heartbeat(self, session: Session, now_ms: int, idle_ms: int | None) -> None:
        """As `heard`, and the person's last input was `idle_ms` ago (None: no report). O(1)."""
        device = session.device
        if device is None:
            session.heard_ms = now_ms
            return
        device.heard_ms = now_ms
        if idle_ms is None:
            return
        active_ms = now_ms - idle_ms
        if active_ms <= device.active_ms and device.idle_known:
            return
        if not device.idle_known:
            self._set_idle(device, now_ms, idle_ms)
            self.wheel.schedule(device, self._device_deadline(device))
            self.publisher.touch(device.user)
            return
        device.active_ms = active_ms
        if device.idle_level != ACTIVE and self._idle_level(device, now_ms) != device.idle_level:
            self._set_level(device, self._idle_level(device, now_ms))
            self.wheel.schedule(device, self._device_deadline(device))
            return
        primary = device.user.primary
        if primary is not device and (
            primary is None or active_ms - primary.active_ms > self.policy.primary_hysteresis_ms
        ):
            self.publisher.touch(device.user)

    # --- what people say --------------------------------------------------------------------------------------

    def set_status(
        self,
        now_ms: int,
        user: User,
        device: Device | None,
        *,
        status: StatusRequest | None,
        text: str | None,
        emoji: str | None,
        for_ms: int,
    ) -> None:
        """Set the manual status, the text or both, for `for_ms` (0 = until changed); None leaves a part as it is.

        Said on a device, it counts as input there.
        """
        due_ms = now_ms + for_ms if for_ms else 0
        until_ms = due_ms + self.publisher.wall_offset_ms if for_ms else 0
        if status == "auto":
            self._set_claim(user, None)
        elif status is not None:
            since_ms = now_ms + self.publisher.wall_offset_ms
            self._set_claim(user, Claim(status, since_ms, until_ms, due_ms))
        if text is not None or emoji is not None:
            user.text = text if text is not None else user.text
            user.emoji = emoji if emoji is not None else ("" if text == "" else user.emoji)
            user.text_until_ms, user.text_due_ms = until_ms, due_ms
            self._log(TextSet(user.name, user.text, user.emoji, until_ms))
        self._arm_expiry(user)
        if device is not None:
            self._input(device, now_ms)
        self.publisher.touch(user)

    def set_device(self, now_ms: int, device: Device, status: DeviceStatus | None, priority: int | None) -> None:
        """Set the device's own status and priority; None leaves one as it is. Counts as input on it."""
        self._input(device, now_ms)
        before = (device.status, device.priority)
        device.status = device.status if status is None else status
        device.priority = device.priority if priority is None else priority
        if (device.status, device.priority) != before:
            self._log_device(device)
        self.publisher.touch(device.user)

    def _input(self, device: Device, now_ms: int) -> None:
        device.active_ms = now_ms
        if device.idle_level != ACTIVE:
            self._set_level(device, ACTIVE)
            self.wheel.schedule(device, self._device_deadline(device))

    def _set_claim(self, user: User, claim: Claim | None) -> None:
        user.claim = claim
        if claim is None:
            self._log(ClaimSet(user.name, "", 0, 0))
        else:
            self._log(ClaimSet(user.name, claim.status, claim.since_ms, claim.until_ms))

    # --- watching and asking ----------------------------------------------------------------------------------

    def watch(self, session: Session, names: list[str]) -> list[User]:
        """Add users, known or not, to the session's watch; gives them in the order asked.

        Raises `RequestError` (`watch_limit`) before anything is added. O(names).
        """
        watching = session.watching
        if watching is None:
            watching = session.watching = {}
        most = self.policy.watch_limit(session.role)
        added = len({name: None for name in names if name not in watching})
        if len(watching) + added > most:
            raise RequestError(
                "watch_limit",
                f"this link watches {len(watching)} users and may watch {most}; unwatch some before adding {added}",
            )
        users = []
        for name in names:
            user = watching.get(name)
            if user is None:
                user = self.users.get(name) or self.new_user(name)
                watching[name] = user
                if user.watchers is None:
                    user.watchers = {}
                user.watchers[session] = None
            users.append(user)
        return users

    def unwatch(self, session: Session, names: list[str]) -> None:
        """Take users off the session's watch; one that is not on it is no error. O(names)."""
        watching = session.watching
        if watching is None:
            return
        for name in names:
            user = watching.pop(name, None)
            if user is not None:
                self._stop_watching(session, user)

    def _stop_watching(self, session: Session, user: User) -> None:
        watchers = user.watchers
        if watchers is not None:
            watchers.pop(session, None)
            if not watchers:
                user.watchers = None
                self._forget_if_blank(user)

    # --- deadlines --------------------------------------------------------------------------------------------

    def _device_deadline(self, device: Device) -> int:
        if device.state == GRACE:
            due_ms = device.grace_until_ms
        else:
            due_ms = device.heard_ms + self.policy.timeout_ms
            session = device.session
            if session is not None and session.expires_ms:
                due_ms = min(due_ms, session.expires_ms)
        if device.idle_known:
            policy = self.policy
            if device.idle_level == ACTIVE and policy.away_after_ms:
                due_ms = min(due_ms, device.active_ms + policy.away_after_ms)
            if device.idle_level != IDLE_OFFLINE and policy.offline_after_ms:
                due_ms = min(due_ms, device.active_ms + policy.offline_after_ms)
        return due_ms

    def _session_deadline(self, session: Session) -> int:
        due_ms = session.heard_ms + self.policy.timeout_ms
        return min(due_ms, session.expires_ms) if session.expires_ms else due_ms

    def _device_due(self, device: Device, now_ms: int) -> None:
        if device.state == GRACE and now_ms >= device.grace_until_ms:
            self._gone(device)
            return
        session = device.session
        if session is not None:
            code = ""
            if session.expires_ms and now_ms >= session.expires_ms:
                code = "token_expired"
            elif now_ms >= device.heard_ms + self.policy.timeout_ms:
                code = "lease_expired"
            if code:
                self.closing.append((session, code))
                self.detach(now_ms, session)
        self._set_level(device, self._idle_level(device, now_ms))
        self.wheel.schedule(device, self._device_deadline(device))

    def _session_due(self, session: Session, now_ms: int) -> None:
        if session.expires_ms and now_ms >= session.expires_ms:
            self.closing.append((session, "token_expired"))
        elif now_ms >= session.heard_ms + self.policy.timeout_ms:
            self.closing.append((session, "lease_expired"))
        else:
            self.wheel.schedule(session, self._session_deadline(session))
            return
        self._end_session(session)

    def _expiry_due(self, user: User, now_ms: int) -> None:
        claim = user.claim
        if claim is not None and claim.due_ms and now_ms >= claim.due_ms:
            self._set_claim(user, None)
        if user.text_due_ms and now_ms >= user.text_due_ms:
            user.text = user.emoji = ""
            user.text_until_ms = user.text_due_ms = 0
            self._log(TextSet(user.name, "", "", 0))
        self._arm_expiry(user)
        self.publisher.touch(user)
        self.publisher.settle(user, now_ms)
        self._forget_if_blank(user)

    def _arm_expiry(self, user: User) -> None:
        claim_ms = user.claim.due_ms if user.claim is not None else 0
        due_ms = min(claim_ms, user.text_due_ms) if claim_ms and user.text_due_ms else claim_ms or user.text_due_ms
        if due_ms:
            self.wheel.schedule(user, due_ms)
        else:
            self.wheel.cancel(user)

    # --- idle levels ------------------------------------------------------------------------------------------

    def _idle_level(self, device: Device, now_ms: int) -> int:
        if not device.idle_known:
            # Active, unless it was restored from disk as idle and has not reported since.
            return device.idle_level
        idle_ms = now_ms - device.active_ms
        if self.policy.offline_after_ms and idle_ms >= self.policy.offline_after_ms:
            return IDLE_OFFLINE
        if self.policy.away_after_ms and idle_ms >= self.policy.away_after_ms:
            return IDLE_AWAY
        return ACTIVE

    def _set_idle(self, device: Device, now_ms: int, idle_ms: int) -> None:
        active_ms = now_ms - idle_ms
        # The first report is the truth; after it an older moment is only a client that restarted.
        device.active_ms = max(active_ms, device.active_ms) if device.idle_known else active_ms
        device.idle_known = True
        self._set_level(device, self._idle_level(device, now_ms))

    def _set_level(self, device: Device, level: int) -> None:
        if level != device.idle_level:
            device.idle_level = level
            # Logged, so that a restart takes nobody who is away for active, or the reverse.
            self._log_device(device)
            self.publisher.touch(device.user)

    # --- users and devices ------------------------------------------------------------------------------------

    def new_user(self, name: str) -> User:
        """A user of whom nothing is known yet. O(1).

        The last of `order` takes the place of one that is dropped. So a walk from the end to the start sees every
        user that was there when it began, whatever comes and goes meanwhile.
        """
        user = self.users[name] = User(name)
        user.position = len(self.order)
        self.order.append(user)
        return user

    def _forget_if_blank(self, user: User) -> None:
        """Drop a user of whom nothing is known and whom nobody watches, so that watching made-up names is free."""
        if user.devices or user.watchers or user.claim or user.record.version or user.dirty or user.scheduled:
            return
        if self.users.pop(user.name, None) is not None:
            last = self.order.pop()
            if last is not user:
                last.position = user.position
                self.order[last.position] = last

    def _make_room(self, user: User) -> None:
        if len(user.devices) < DEVICES_PER_USER_MAX:
            return
        gone = [device for device in user.devices.values() if device.state == GONE]
        if not gone:
            raise RequestError(
                "device_limit",
                f"{user.name} has {DEVICES_PER_USER_MAX} live devices, as many as are allowed; close one first",
            )
        oldest = min(gone, key=lambda device: device.heard_ms)
        del user.devices[oldest.id]
        self._log(DeviceForgotten(user.name, oldest.id))

    def _gone(self, device: Device) -> None:
        self.wheel.cancel(device)
        device.state = GONE
        self.live_devices -= 1
        self._log_device(device)
        self.publisher.touch(device.user)

    def _end_session(self, session: Session) -> None:
        """Forget what the session watches and is owed. The one way out for every session. Idempotent."""
        self.wheel.cancel(session)
        if session.held is not None:
            # It stays held: what is owed to it still must not overtake what its link has not taken.
            session.held.clear()
        watching, session.watching = session.watching, None
        if watching:
            for user in watching.values():
                self._stop_watching(session, user)

    def _log(self, fact: Fact) -> None:
        self.publisher.facts.append(fact)

    def _log_device(self, device: Device) -> None:
        self._log(device_fact(device, self.publisher.wall_offset_ms))

    # --- for `restore` ----------------------------------------------------------------------------------------

    def resume_grace(self, device: Device) -> None:
        """A device that was live when the daemon stopped is in grace, until its `grace_until_ms`."""
        self.live_devices += 1
        self.wheel.schedule(device, self._device_deadline(device))

    def resume_expiry(self, user: User) -> None:
        """Wait for the ends of the user's claim and text."""
        self._arm_expiry(user)
