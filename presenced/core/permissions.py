"""What has to be done around a change of what somebody may see. Watchers of channels are told by what they saw before,
so that this is noted first. Watchers of users are filed anew afterwards.

    with permissions.pair_changes(now_ms, "bob", "alice"):
        ...                                                     # bob blocks alice

Everything is told with the turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from presenced.core.model import Session, User
from presenced.core.parts.channels import Channels
from presenced.core.parts.users import Users
from presenced.core.parts.watches import Watches, sessions_of


class Permissions:
    """Brings lists and watches up to date with what may be seen."""

    def __init__(self, users: Users, watches: Watches, channels: Channels) -> None:
        self._users = users
        self._watches = watches
        self._channels = channels

    @contextmanager
    def pair_changes(self, now_ms: int, subject: str, viewer: str) -> Iterator[None]:
        """How the viewer sees the subject may change within. O(links of the viewer)."""
        seen, seer = self._users.get(subject), self._users.get(viewer)
        if seen is not None and seer is not None:
            self._channels.note_pair(sessions_of(seer), seen)
        yield
        self._watches.pair_changed(now_ms, subject, viewer)

    @contextmanager
    def subject_changes(self, now_ms: int, subject: User) -> Iterator[None]:
        """How anybody sees the subject may change within. O(watchers of the subject and of the subject's channels)."""
        self._channels.note_subject(subject)
        yield
        self._watches.subject_changed(now_ms, subject)

    def viewer_changed(self, now_ms: int, viewer: User) -> None:
        """How the user sees others has changed by what the user has done. O(what the user's links watch)."""
        for session in sessions_of(viewer):
            self.session_changed(now_ms, session)

    def session_changed(self, now_ms: int, session: Session) -> None:
        """How one link sees others has changed: it has another token. O(what it watches)."""
        self._watches.session_changed(now_ms, session)
        self._channels.lose_track(session)
