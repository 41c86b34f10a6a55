"""The user's own state on the user's own devices: sent when it changes, acknowledged by each, accounted for.

The own state is what only the user may see: claims with their ends, the text's end, the devices. It has a version,
a counter of its own for each user. A device that has acknowledged the newest version is in sync.
"""

from __future__ import annotations

from presenced.core.clock import Clock
from presenced.core.merge import countable, device_status
from presenced.core.model import CONNECTED, GONE, GRACE, Claim, Device, Own, Session, User
from presenced.core.outboxes import Outboxes
from presenced.core.part import Part
from presenced.core.precedence import by_strength
from presenced.core.publisher import Publisher
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import ClaimInfo, DeviceInfo, DeviceState, OwnState, SyncInfo, SyncState

_STATES: dict[int, DeviceState] = {CONNECTED: "connected", GRACE: "grace", GONE: "gone"}


class OwnStates(Part):
    """Who wants their own state, and what of it is still to be sent."""

    def __init__(self, clock: Clock, publisher: Publisher, outboxes: Outboxes) -> None:
        self._clock = clock
        self._publisher = publisher
        self._outboxes = outboxes
        self._stale: list[User] = []
        self._missed: dict[Session, None] = {}
        """Links that did not take what they were sent last."""

    def add(self, session: Session, user: User) -> None:
        """The session's link wants its user's own state; it gets it at the end of this turn."""
        if user.own is None:
            user.own = Own()
        user.own.sessions[session] = 0
        self._send_soon(user)

    def remove(self, session: Session, user: User) -> None:
        """The session's link wants it no longer. Idempotent."""
        own = user.own
        self._missed.pop(session, None)
        if own is not None and own.sessions.pop(session, None) is not None and not own.sessions:
            user.own = None

    def end_session(self, session: Session, now_ms: int) -> None:
        """The session wants it no longer."""
        if session.device is not None:
            self.remove(session, session.device.user)

    def erase(self, user: User, now_ms: int) -> None:
        """The state as it was told, and its version. O(1)."""
        user.own = None

    def _changed(self, user: User) -> None:
        """Something may have changed of the user's own state. O(devices and claims) for users with such links."""
        own = user.own
        if own is None:
            return
        shape = self._shape(user)
        if shape == own.shape:
            return
        own.shape = shape
        own.version += 1
        own.synced_ms = 0
        self._send_soon(user)

    def _shape(self, user: User) -> bytes:
        """What makes it another state: not the times, nor what is on a screen."""
        devices = [_shape_of(device) for device in user.devices.values()]
        return encode([user.record, claim_infos(user), user.text, user.emoji, user.text_until_ms, devices])

    def push_again(self, user: User) -> None:
        """Send it to all of the user's links once more."""
        if user.own is not None:
            self._send_soon(user)

    def resume_session(self, session: Session) -> None:
        """Send the latest, once, if it missed any."""
        if session in self._missed and session.device is not None:
            user = session.device.user
            del self._missed[session]
            if user.own is not None and not user.own.stale:
                self._outboxes.push(session, frame(encode(self._message(user, user.own))))

    def applied(self, session: Session, user: User, version: int, wall_ms: int) -> None:
        """The session's device shows this version. An older or unknown one changes nothing."""
        own = user.own
        if own is None or session not in own.sessions:
            return
        if own.sessions[session] < version <= own.version:
            own.sessions[session] = version
            if version == own.version:
                own.synced_ms = wall_ms

    def state(self, request_id: int, user: User) -> SyncState:
        """How far the user's connected devices have come. O(links of the user)."""
        own = user.own
        if own is None:
            return SyncState(request_id, user.name, 0, 0, 0, 0, [])
        devices = [
            SyncInfo(session.device.id, applied)
            for session, applied in own.sessions.items()
            if session.device is not None
        ]
        synced = sum(info.applied == own.version for info in devices)
        return SyncState(request_id, user.name, own.version, synced, len(devices), own.synced_ms, devices)

    def settle(self, now_ms: int) -> None:
        """Send what has changed, once for each user. O(changed users and their links)."""
        if self._publisher.own_dirty:
            for user in self._publisher.take_own_dirty():
                self._changed(user)
        if not self._stale:
            return
        stale, self._stale = self._stale, []
        for user in stale:
            own = user.own
            if own is None:
                continue
            own.stale = False
            data = frame(encode(self._message(user, own)))
            for session in own.sessions:
                if not self._outboxes.push(session, data):
                    self._missed[session] = None

    def _send_soon(self, user: User) -> None:
        if user.own is not None and not user.own.stale:
            user.own.stale = True
            self._stale.append(user)

    def _message(self, user: User, own: Own) -> OwnState:
        offset_ms = self._clock.offset_ms
        return OwnState(
            user.name,
            own.version,
            self._publisher.record_of(user),
            claim_infos(user),
            user.text_until_ms,
            [device_info(device, offset_ms) for device in user.devices.values()],
            user.text,
            user.emoji,
        )


def _shape_of(device: Device) -> tuple[object, ...]:
    return (
        device.id,
        device.kind,
        device.name,
        device.status,
        device.state,
        device.idle_level,
        device.priority,
        device.meta,
    )


def claim_infos(user: User) -> list[ClaimInfo]:
    """The user's claims, the one that counts first."""
    return [claim_info(claim) for claim in by_strength(user.claims)]


def claim_info(claim: Claim) -> ClaimInfo:
    """A claim as its user and services see it."""
    return ClaimInfo(claim.name, claim.source, claim.status, claim.since_ms, claim.until_ms, claim.device)


def device_info(device: Device, wall_offset_ms: int) -> DeviceInfo:
    """A device as its user sees it."""
    return DeviceInfo(
        device.id,
        device.kind,
        device.name,
        device_status(device) if countable(device) else "offline",
        _STATES[device.state],
        device.priority,
        device.active_ms + wall_offset_ms,
        device.seen_ms + wall_offset_ms,
        device.user.primary is device,
        device.meta,
        device.focus,
        device.lease_ms + wall_offset_ms if device.lease_ms is not None else 0,
    )
