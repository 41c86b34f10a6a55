"""The deadlines that come due: of sessions, devices and users, out of the one wheel.

What ends together of a user is handled together, so that it makes one change of their record.
"""

from __future__ import annotations

from presenced.core.model import GONE, Device, Session, User
from presenced.core.part import Part, Parts
from presenced.core.parts.awaits import ANSWER_COST, Awaits
from presenced.core.parts.claims import Claims
from presenced.core.parts.leases import Leases
from presenced.core.parts.schedules import Schedules
from presenced.core.parts.session_leases import SessionLeases
from presenced.core.parts.texts import Texts
from presenced.core.parts.user_ends import UserEnds
from presenced.core.pending_awaits import PendingAwait
from presenced.core.sessions import Sessions
from presenced.core.wheel import Wheel

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


class Expiry(Part):
    """Hands each entry of the wheel that is due to the owner of what it stands for."""

    def __init__(
        self,
        wheel: Wheel,
        parts: Parts,
        sessions: Sessions,
        leases: Leases,
        session_leases: SessionLeases,
        claims: Claims,
        texts: Texts,
        schedules: Schedules,
        ends: UserEnds,
        awaits: Awaits,
    ) -> None:
        self.expired = 0
        """Leases that have run out, counted for the operator."""
        self.deadline_source = wheel
        self._wheel = wheel
        self._parts = parts
        self._sessions = sessions
        self._leases = leases
        self._session_leases = session_leases
        self._claims = claims
        self._texts = texts
        self._schedules = schedules
        self._ends = ends
        self._awaits = awaits

    def tick(self, now_ms: int) -> None:
        """Handle entries that are due, up to a bound on what they cost and what they bring about costs to tell."""
        wheel, ended, left = self._wheel, list[Device](), TICK_COST_MAX
        while left > 0:
            due = wheel.advance(now_ms, TICK_ENTRIES)
            left -= TICK_ENTRIES * ENTRY_COST
            for timer in due:
                if isinstance(timer, Session):
                    self._session_due(timer, now_ms)
                    continue
                if isinstance(timer, PendingAwait):
                    left -= ANSWER_COST
                    self._awaits.come_due(timer)
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
                    self._user_due(user, now_ms)
                if user.dirty:
                    left -= (
                        CHANGE_COST + len(user.watchers or ()) // DELIVERIES + len(user.channels or ()) * CHANNEL_COST
                    )
                    self._rest_due(user, now_ms, ended)
            if len(due) < TICK_ENTRIES and ((next_ms := wheel.next_ms) is None or next_ms > now_ms):
                break
        if ended:
            self._parts.end_devices(ended, now_ms)

    def _rest_due(self, user: User, now_ms: int, ended: list[Device]) -> None:
        """Something of the user has ended: handle whatever else is due of them with it, for it is one change."""
        for device in list(user.devices.values()):
            if device.scheduled and device.due_ms <= now_ms:
                self._wheel.cancel(device)
                self._device_due(device, now_ms, ended)
        if user.scheduled and user.due_ms <= now_ms:
            self._wheel.cancel(user)
            self._user_due(user, now_ms)

    def _session_due(self, session: Session, now_ms: int) -> None:
        code = self._session_leases.due(session, now_ms)
        if code:
            self.expired += code == "lease_expired"
            self._sessions.drop(now_ms, session, code)

    def _device_due(self, device: Device, now_ms: int, ended: list[Device]) -> None:
        before, session, ref = device.state, device.session, device.ref
        code = self._leases.device_due(device, now_ms)
        if device.state == GONE and before != GONE:
            ended.append(device)
            if session is not None:
                self._sessions.lease_ended(session, ref)
        elif code and device.session is not None:
            self.expired += code == "lease_expired"
            if device.ref:
                self._sessions.release(now_ms, device, lost=True)
            else:
                self._sessions.drop(now_ms, device.session, code)

    def _user_due(self, user: User, now_ms: int) -> None:
        self._claims.due(user, now_ms)
        self._texts.due(user, now_ms)
        self._schedules.due(user, now_ms)
        self._ends.changed(user)
