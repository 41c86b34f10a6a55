"""Lists and counts who is online, as one viewer sees it: pages in order of name, and the exact count (protocol.md,
5.8).

A viewer who sees everybody gets pages of the index of all who are online. A user gets two groups of people merged. The
first are all whom one ground opens as a whole (everybody, or the users of one part), except the few who do not want to
be seen. The second are the few whom another ground opens: contacts, members of the same channels, and those who have
shown themselves. So a page costs what is on it, and these few.
"""

from __future__ import annotations

from heapq import merge
from typing import NamedTuple

from sortedcontainers import SortedList

from presenced.core.faces import FULL, HIDDEN
from presenced.core.model import Session, User
from presenced.core.online import behind
from presenced.core.parts.channels import Channels
from presenced.core.parts.users import Users
from presenced.core.publisher import Publisher
from presenced.core.rights import part_of
from presenced.core.roster import TO
from presenced.core.sight import Sight


class OnlinePage(NamedTuple):
    """A part of those who are online, each with the face that the viewer is given."""

    users: list[tuple[User, int]]
    next: str
    """Where the next page starts; empty = nowhere."""
    total: int
    """How many there are in all."""


class Company:
    """Answers who is online. Changes nothing."""

    def __init__(self, users: Users, sight: Sight, publisher: Publisher, channels: Channels) -> None:
        self._users = users
        self._sight = sight
        self._online = publisher.online
        self._channels = channels

    def page(self, session: Session, after: str, limit: int) -> OnlinePage:
        """Up to `limit` users behind the name `after` whom the session's link sees online. O(limit + log online), and
        for a user O(contacts and members of the user's channels) besides."""
        if session.viewer is not None:
            return self.page_for(session.viewer, after, limit, session)
        if self._sight.sees_all(session):
            names, following = self._online.page(after, limit)
            total = len(self._online)
        else:
            assert session.rights is not None
            names, following = self._online.page_of(session.rights.see, after, limit)
            total = self._online.count_of(session.rights.see)
        return OnlinePage([(self._users[name], FULL) for name in names], following, total)

    def page_for(self, viewer: User, after: str, limit: int, session: Session | None = None) -> OnlinePage:
        """A page as one user sees it: on the user's own link, or without a link for somebody who asks for the user."""
        wide = self._wide(viewer)
        few = self._few(viewer, session)
        unseen: set[str] = set()
        if wide and (privacy := viewer.privacy) is not None:
            unseen = {name for name in (*privacy.blocked, *privacy.unseen) if name in wide}
        few_seen = {
            name: kind
            for name in few | unseen
            if (user := self._users.get(name)) is not None
            and (kind := self._online_face(viewer, user, session)) != HIDDEN
        }
        extra = sorted(name for name in few_seen if name not in wide)
        total = len(wide) + len(extra) - sum(name not in few_seen for name in unseen)
        if not limit:
            return OnlinePage([], "", total)
        names = merge(behind(wide, after), (name for name in extra if name > after))
        page: list[tuple[User, int]] = []
        for name in names:
            if name in unseen and name not in few_seen:
                continue
            if len(page) == limit:
                return OnlinePage(page, page[-1][0].name, total)
            user = self._users[name]
            page.append((user, self._face(viewer, user, session)))
        return OnlinePage(page, "", total)

    def _face(self, viewer: User, user: User, session: Session | None) -> int:
        return self._sight.face(session, user) if session is not None else self._sight.face_for(viewer, user)

    def _online_face(self, viewer: User, user: User, session: Session | None) -> int:
        """The face by which the viewer sees the user online, or HIDDEN."""
        kind = self._face(viewer, user, session)
        return kind if kind != HIDDEN and self._sight.present(user, kind).status != "offline" else HIDDEN

    def _wide(self, viewer: User) -> SortedList[str]:
        """Those whom one ground opens all together."""
        grounds = self._sight.grounds
        if grounds.everyone:
            return self._online.names
        part = part_of(viewer.name) if grounds.domain else ""
        return self._online.part(part) if part else _NOBODY

    def _few(self, viewer: User, session: Session | None) -> set[str]:
        """Those whom another ground may open, or who have shown themselves: to be asked about one by one."""
        privacy, grounds = viewer.privacy, self._sight.grounds
        few = set(privacy.shown_by) if privacy is not None else set()
        if grounds.everyone:
            return few
        few.add(viewer.name)
        if grounds.contacts and viewer.contacts is not None:
            flags = viewer.contacts.flags
            few.update(name for name in viewer.contacts.contacts if flags(name) & TO)
        if grounds.channels:
            for name in viewer.channels or ():
                few.update(self._channels.by_name[name].online)
        if session is not None and session.rights is not None:
            few.update(self._online.names_of(session.rights.see))
        return few


_NOBODY: SortedList[str] = SortedList()
