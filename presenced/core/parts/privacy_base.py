"""The one place where a user's privacy is made and dropped, and what its owners share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from presenced.core.model import User
from presenced.core.privacy import Privacy


class Filing(Protocol):
    """Files the watchers by what each may see (`permissions`)."""

    def note_pair(self, subject: str, viewer: str) -> None:
        """What the viewer may see of the subject may change now."""

    def pair_changed(self, now_ms: int, subject: str, viewer: str) -> None:
        """What the viewer may see of the subject may have changed."""

    def note_subject(self, subject: User) -> None:
        """What anybody may see of the subject may change now."""

    def subject_changed(self, now_ms: int, subject: User) -> None:
        """What anybody may see of the subject may have changed."""

    def viewer_changed(self, now_ms: int, viewer: User) -> None:
        """What the viewer may see of anybody may have changed."""


Shared = Callable[[str], str]
"""Gives the same text as one object for all users."""


def privacy_of(user: User) -> Privacy:
    """The user's, made if need be. Who may leave it blank calls `drop_if_blank`. O(1)."""
    privacy = user.privacy
    if privacy is None:
        privacy = user.privacy = Privacy()
    return privacy


def drop_if_blank(user: User) -> None:
    """Keep no privacy that says nothing. O(1)."""
    if user.privacy is not None and user.privacy.is_blank:
        user.privacy = None
