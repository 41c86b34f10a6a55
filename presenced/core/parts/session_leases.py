"""The leases of sessions that have no device of their own, as those of services: a session holds its own then."""

from __future__ import annotations

from presenced.core.model import Session
from presenced.core.part import Part
from presenced.core.policy import Policy
from presenced.core.wheel import Wheel


class SessionLeases(Part):
    """The one place that schedules sessions in the wheel, and knows all that have no device of their own."""

    def __init__(self, policy: Policy, wheel: Wheel) -> None:
        self._policy = policy
        self._wheel = wheel
        self._sessions: dict[Session, None] = {}

    def of_user(self, user_name: str) -> list[Session]:
        """The sessions of this name that have no device of their own. O(such sessions), which are services' and few."""
        return [session for session in self._sessions if session.user_name == user_name]

    def start(self, session: Session, now_ms: int) -> None:
        """The session has no device of its own from now on."""
        session.heard_ms = now_ms
        self._sessions[session] = None
        self._wheel.schedule(session, self._deadline_ms(session))

    def rearm(self, session: Session) -> None:
        """Its token ends at another moment. Nothing happens if it holds no lease, since its device was taken over and
        the link is about to be closed."""
        if session.scheduled:
            self._wheel.schedule(session, self._deadline_ms(session))

    def end_session(self, session: Session, now_ms: int) -> None:
        """It holds no lease any longer."""
        self._sessions.pop(session, None)
        self._wheel.cancel(session)

    def due(self, session: Session, now_ms: int) -> str:
        """Its wheel entry came out. Returns the code to end its link with, if that is what is due; else ""."""
        if session.expires_ms and now_ms >= session.expires_ms:
            return "token_expired"
        if now_ms >= session.heard_ms + self._policy.timeout_ms:
            return "lease_expired"
        self._wheel.schedule(session, self._deadline_ms(session))
        return ""

    def _deadline_ms(self, session: Session) -> int:
        due_ms = session.heard_ms + self._policy.timeout_ms
        return min(due_ms, session.expires_ms) if session.expires_ms else due_ms
