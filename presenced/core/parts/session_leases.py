"""The leases of sessions that have no device of their own, as those of services: a session holds its own then.

A user's session without a device, as requests over HTTP have, sees by the eyes of its user all the same. So the user
stays known for as long as it lasts, whatever else is known of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from presenced.core.model import Session, User
from presenced.core.part import Part
from presenced.core.policy import Policy
from presenced.core.wheel import Wheel


class SessionLeases(Part):
    """The one place that schedules sessions in the wheel, and knows all that have no device of their own."""

    def __init__(self, policy: Policy, wheel: Wheel, look_again: Callable[[User], object]) -> None:
        """`look_again` is called with a user whom nothing here keeps known any longer."""
        self._policy = policy
        self._wheel = wheel
        self._look_again = look_again
        self._sessions: dict[str, dict[Session, None]] = {}
        """By name."""
        self._viewers: dict[User, dict[Session, None]] = {}
        """Users by whose eyes some of them see."""

    def of_user(self, user_name: str) -> list[Session]:
        """The sessions of this name that have no device of their own. O(these)."""
        return list(self._sessions.get(user_name, ()))

    def start(self, session: Session, now_ms: int) -> None:
        """The session has no device of its own from now on."""
        session.heard_ms = now_ms
        self._sessions.setdefault(session.user_name, {})[session] = None
        if session.viewer is not None:
            self._viewers.setdefault(session.viewer, {})[session] = None
        if not session.is_kept:
            self._wheel.schedule(session, self._deadline_ms(session))

    def rearm(self, session: Session) -> None:
        """Its token ends at another moment. Nothing happens if it holds no lease, since its device was taken over and
        the link is about to be closed."""
        if session.scheduled:
            self._wheel.schedule(session, self._deadline_ms(session))

    def end_session(self, session: Session, now_ms: int) -> None:
        """It holds no lease any longer."""
        of_name = self._sessions.get(session.user_name)
        if of_name is not None and of_name.pop(session, 0) is None and not of_name:
            del self._sessions[session.user_name]
        self._wheel.cancel(session)
        viewer = session.viewer
        if viewer is not None and viewer in self._viewers:
            sessions = self._viewers[viewer]
            sessions.pop(session, None)
            if not sessions:
                del self._viewers[viewer]
                self._look_again(viewer)

    def seeing_as(self, viewer: User) -> Iterable[Session]:
        """The sessions that have no device and see by the eyes of this user. O(1)."""
        return self._viewers.get(viewer, ())

    def keeps(self, user: User) -> bool:
        """Whether somebody sees by the eyes of the user."""
        return user in self._viewers

    def check(self, users: Iterable[User]) -> None:
        """See `Part`."""
        known = set(map(id, users))
        for viewer, sessions in self._viewers.items():
            assert id(viewer) in known, f"somebody sees by the eyes of {viewer.name}, who is not known"
            of_name = self._sessions.get(viewer.name, {})
            assert sessions and sessions.keys() <= of_name.keys(), "a session has ended and is kept"

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
