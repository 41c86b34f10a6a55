"""The rules of presence: what each request, silence and lost link does. The one place that decides.

`leases` (who is live), `merge` (what is seen) and `publisher` (who is told) compute; this file calls them. Every
input takes `now_ms` first and either applies wholly or raises `RequestError` and changes nothing.
"""

from __future__ import annotations

from presenced.core.leases import Leases
from presenced.core.model import GONE, Claim, Device, Session, User
from presenced.core.policy import Policy
from presenced.core.publisher import Publisher
from presenced.core.records import ClaimSet, DeviceForgotten, TextSet
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
        self.leases = Leases(policy, self.wheel, self.publisher)
        self.acks: list[tuple[Session, int]] = []
        """Requests applied in this turn whose reply waits until their facts are as durable as promised."""
        self.closing: list[tuple[Session, str]] = []
        """Sessions to end, and the code to say goodbye with ("" = none)."""
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
                code = self.leases.device_due(timer, now_ms)
                if code and timer.session is not None:
                    self._drop(now_ms, timer.session, code)
            elif isinstance(timer, User):
                self._expiry_due(timer, now_ms)
            elif isinstance(timer, Session):
                code = self.leases.session_due(timer, now_ms)
                if code:
                    self._drop(now_ms, timer, code)
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
        self.leases.connect(device, session, now_ms, idle_ms)
        described = (kind, name, priority, status)
        if was_gone or described != (device.kind, device.name, device.priority, device.status):
            device.kind, device.name, device.priority, device.status = described
            self.leases.log_device(device)
        self.publisher.touch(user)
        return device

    def open_without_device(self, now_ms: int, session: Session) -> None:
        """The session has no device of its own (a service): it holds its lease itself."""
        self.leases.start_session(session, now_ms)

    def detach(self, now_ms: int, session: Session) -> None:
        """The link is lost: its device goes into grace and nobody is told. Idempotent. O(users watched)."""
        device = session.device
        session.device = None
        if device is not None:
            self.leases.lose(device, now_ms)
        self._end_session(session)

    def bye(self, now_ms: int, session: Session) -> None:
        """The device leaves at once, without grace, and the link is to be closed."""
        device = session.device
        session.device = None
        if device is not None:
            self.leases.end(device)
            if device.priority < 0:
                # It never stood for its user: a tool that looked in. Remembering it would push out real ones.
                self._forget_device(device)
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
        if device is not None:
            self.leases.heartbeat(device, now_ms, idle_ms)
        else:
            session.heard_ms = now_ms

    def _drop(self, now_ms: int, session: Session, code: str) -> None:
        self.closing.append((session, code))
        self.detach(now_ms, session)

    def _end_session(self, session: Session) -> None:
        """Forget what the session watches and is owed. The one way out for every session. Idempotent."""
        self.leases.end_session(session)
        if session.held is not None:
            # It stays held: what is owed to it still must not overtake what its link has not taken.
            session.held.clear()
        watching, session.watching = session.watching, None
        if watching:
            for user in watching.values():
                self._stop_watching(session, user)

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
            self.publisher.log(TextSet(user.name, user.text, user.emoji, until_ms))
        self.arm_expiry(user)
        if device is not None:
            self.leases.input(device, now_ms)
        self.publisher.touch(user)

    def set_device(self, now_ms: int, device: Device, status: DeviceStatus | None, priority: int | None) -> None:
        """Set the device's own status and priority; None leaves one as it is. Counts as input on it."""
        self.leases.input(device, now_ms)
        before = (device.status, device.priority)
        device.status = device.status if status is None else status
        device.priority = device.priority if priority is None else priority
        if (device.status, device.priority) != before:
            self.leases.log_device(device)
        self.publisher.touch(device.user)

    def _set_claim(self, user: User, claim: Claim | None) -> None:
        user.claim = claim
        if claim is None:
            self.publisher.log(ClaimSet(user.name, "", 0, 0))
        else:
            self.publisher.log(ClaimSet(user.name, claim.status, claim.since_ms, claim.until_ms))

    def _expiry_due(self, user: User, now_ms: int) -> None:
        claim = user.claim
        if claim is not None and claim.due_ms and now_ms >= claim.due_ms:
            self._set_claim(user, None)
        if user.text_due_ms and now_ms >= user.text_due_ms:
            user.text = user.emoji = ""
            user.text_until_ms = user.text_due_ms = 0
            self.publisher.log(TextSet(user.name, "", "", 0))
        self.arm_expiry(user)
        self.publisher.touch(user)
        self.publisher.settle(user, now_ms)
        self._forget_if_blank(user)

    def arm_expiry(self, user: User) -> None:
        """Wait for the ends of the user's claim and text, if they have any."""
        claim_ms = user.claim.due_ms if user.claim is not None else 0
        due_ms = min(claim_ms, user.text_due_ms) if claim_ms and user.text_due_ms else claim_ms or user.text_due_ms
        if due_ms:
            self.wheel.schedule(user, due_ms)
        else:
            self.wheel.cancel(user)

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
            if session.held is not None:
                session.held.pop(user, None)
            if not watchers:
                user.watchers = None
                self._forget_if_blank(user)

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
        self._forget_device(min(gone, key=lambda device: device.heard_ms))

    def _forget_device(self, device: Device) -> None:
        del device.user.devices[device.id]
        self.publisher.log(DeviceForgotten(device.user.name, device.id))
