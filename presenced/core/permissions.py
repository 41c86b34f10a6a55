"""What has to be done around a change of what somebody may see: `note_...` before it, and `..._changed` after it.

Watchers of channels are told by comparison with what they saw before, so that this is noted first. Watchers of users
are filed anew afterwards. All of it is told at the end of the turn.
"""

from __future__ import annotations

from presenced.core.model import User
from presenced.core.parts.channels import Channels
from presenced.core.parts.users import Users
from presenced.core.parts.watches import Watches


class Permissions:
    """Brings what is told up to date with what may be seen."""

    def __init__(self, users: Users, watches: Watches, channels: Channels) -> None:
        self._users = users
        self._watches = watches
        self._channels = channels

    def note_pair(self, subject: str, viewer: str) -> None:
        """How the viewer sees the subject is about to change, perhaps. O(links of the viewer)."""
        seen, seer = self._users.get(subject), self._users.get(viewer)
        if seen is not None and seer is not None and self._channels.tells_of(seen):
            self._channels.note_pair(self._watches.sessions_of(seer), seen)

    def pair_changed(self, now_ms: int, subject: str, viewer: str) -> None:
        """It has changed, perhaps. O(links of the viewer)."""
        self._watches.pair_changed(now_ms, subject, viewer)

    def contact_changed(self, now_ms: int, subject: User, viewer: User, *, sees: bool) -> None:
        """The viewer is subscribed to the subject from now on, or is not any longer. O(links of both)."""
        if sees:
            self._watches.contact_gained(now_ms, viewer, subject)
        else:
            self._watches.contact_lost(viewer, subject)
        self._watches.pair_changed(now_ms, subject.name, viewer.name)
        # What the subject's audience keeps from the viewer is, by reciprocity, kept from the subject.
        self._watches.pair_changed(now_ms, viewer.name, subject.name)

    def has_viewer(self, user: User) -> bool:
        """Whether a link without a device sees by the user's eyes. O(1)."""
        return self._watches.has_viewer(user)

    def note_subject(self, subject: User) -> None:
        """How anybody sees the subject is about to change. O(watchers of the subject's channels)."""
        self._channels.note_subject(subject)

    def subject_changed(self, now_ms: int, subject: User) -> None:
        """It has changed. O(watchers of the subject)."""
        self._watches.subject_changed(now_ms, subject)

    def viewer_changed(self, now_ms: int, viewer: User) -> None:
        """How the user sees others has changed by what the user has done. O(what the user's links watch)."""
        self._watches.viewer_changed(now_ms, viewer)
        for session in self._watches.sessions_of(viewer):
            self._channels.lose_track(session)
