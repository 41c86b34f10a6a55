"""What services and admins take away from a user: the tokens that were made, and the links that are open (protocol.md,
13.39 and 13.40)."""

from __future__ import annotations

from presenced.core.model import GONE, Session, User
from presenced.core.parts.revocations import Revocations
from presenced.core.parts.session_leases import SessionLeases
from presenced.core.sessions import Sessions


class Moderation:
    """The acts, over the owners of what they change."""

    def __init__(self, sessions: Sessions, session_leases: SessionLeases, revocations: Revocations) -> None:
        self._sessions = sessions
        self._session_leases = session_leases
        self._revocations = revocations

    def revoke(self, now_ms: int, user: User, before_ms: int) -> None:
        """Refuse the user's tokens from before this wall time, and end the links that were opened or renewed last with
        one. Their devices are in grace: a client that gets a new token is back without a trace.
        O(devices of the user, and links without a device)."""
        moment_ms = self._revocations.add(user, before_ms)
        for session in self._links_of(user.name, user):
            if session.issued_ms < moment_ms:
                self._sessions.drop(now_ms, session, "token_revoked")

    def kick(self, now_ms: int, user_name: str, user: User | None) -> None:
        """End all links of this name. The devices of the user (None = nothing is known of them) are gone at once, also
        those in grace and those that services hold, which are told so.
        O(devices of the user and what depends on them, and links without a device)."""
        for session in self._links_of(user_name, user):
            self._sessions.kick(now_ms, session)
        for device in list(user.devices.values()) if user is not None else ():
            if device.state != GONE:
                self._sessions.expel(now_ms, device)

    def _links_of(self, user_name: str, user: User | None) -> list[Session]:
        """The user's own links, which services' are not that only hold a device of the user."""
        links = self._session_leases.of_user(user_name)
        for device in user.devices.values() if user is not None else ():
            if device.session is not None and not device.ref:
                links.append(device.session)
        return links
