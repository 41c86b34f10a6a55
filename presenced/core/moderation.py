"""What services and admins take away from a user: the tokens that were made, the links that are open, and all that is
known (protocol.md, 13.39 to 13.41)."""

from __future__ import annotations

from collections.abc import Callable

from presenced.core.model import GONE, Session, User
from presenced.core.parts.erasures import Erasures
from presenced.core.parts.resumptions import Resumptions
from presenced.core.parts.revocations import Revocations
from presenced.core.parts.session_leases import SessionLeases
from presenced.core.records import UserErased
from presenced.core.sessions import Sessions


class Moderation:
    """The acts, over the owners of what they change."""

    def __init__(
        self,
        sessions: Sessions,
        session_leases: SessionLeases,
        revocations: Revocations,
        erasures: Erasures,
        resumptions: Resumptions,
    ) -> None:
        self._sessions = sessions
        self._session_leases = session_leases
        self._revocations = revocations
        self._erasures = erasures
        self._resumptions = resumptions
        self._tell_kick: Callable[[str], object] | None = None

    def tell_kicks(self, tell: Callable[[str], object]) -> None:
        """Call this with each name that is kicked here: links of the name that have no device may be elsewhere, too."""
        self._tell_kick = tell

    def revoke(self, now_ms: int, user: User, before_ms: int) -> None:
        """Refuse the user's tokens from before this wall time, and end the links that were opened or renewed last with
        one. Their devices are in grace: a client that gets a new token is back without a trace.
        O(devices of the user, and links without a device)."""
        self._cut_off(now_ms, user, self._revocations.add(user, before_ms))

    def apply_revocation(self, now_ms: int, user: User, before_ms: int) -> None:
        """Another node has decided such a revocation: apply it here."""
        self._cut_off(now_ms, user, self._revocations.apply(user, before_ms))

    def _cut_off(self, now_ms: int, user: User, moment_ms: int) -> None:
        for session in self._links_of(user.name, user):
            if session.issued_ms < moment_ms:
                self._sessions.drop(now_ms, session, "token_revoked")
        self._resumptions.forget(user.name, moment_ms)

    def kick(self, now_ms: int, user_name: str, user: User | None) -> None:
        """End all links of this name. The devices of the user (None = nothing is known of them) are gone at once, also
        those in grace and those that services hold, which are told so.
        O(devices of the user and what depends on them, and links without a device)."""
        self._kick_links(now_ms, user_name, user)
        for device in list(user.devices.values()) if user is not None else ():
            if device.state != GONE:
                self._sessions.expel(now_ms, device)
        if self._tell_kick is not None:
            self._tell_kick(user_name)

    def apply_kick(self, now_ms: int, user_name: str) -> None:
        """Another node has kicked the user, and has expelled the devices: end the links of this name that have none
        here. O(these)."""
        self._kick_links(now_ms, user_name, None)

    def erase(self, now_ms: int, user: User) -> None:
        """Kick the user, and forget everything that is known of them but the moment before which tokens are refused.
        O(what is known of the user and depends on it, and events kept)."""
        self.kick(now_ms, user.name, user)
        self._erasures.add(user, now_ms)

    def apply_erasure(self, now_ms: int, user: User, fact: UserErased) -> None:
        """Another node has erased the user, whose devices it has expelled, just now or before."""
        if fact.is_old:
            self._erasures.keep(user, fact)
            return
        self._kick_links(now_ms, user.name, user)
        self._erasures.apply(user, fact, now_ms)

    def _kick_links(self, now_ms: int, user_name: str, user: User | None) -> None:
        for session in self._links_of(user_name, user):
            self._sessions.kick(now_ms, session)
        self._resumptions.forget(user_name)
        self._resumptions.note_kicked_user(user_name)

    def _links_of(self, user_name: str, user: User | None) -> list[Session]:
        """The user's own links, which services' are not that only hold a device of the user."""
        links = self._session_leases.of_user(user_name)
        for device in user.devices.values() if user is not None else ():
            if device.session is not None and not device.ref:
                links.append(device.session)
        return links
