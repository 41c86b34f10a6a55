"""A channel by the eyes of one viewer: which of its members are listed and counted, and by which face.

Nearly every viewer sees all members, and is given what the channel itself keeps. Of the others, those to whom a ground
opens the whole channel see all but the few who do not want to be seen, and the rest see the few whom a ground of their
own opens. Both are found from the viewer's side, so that a count costs these few and not the members.

In the list of a channel the ground `channels` is that the viewer is a member of this one. Nobody is listed who appears
offline, also not for those to whom a device has shown itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from presenced.core.faces import FULL, HIDDEN, SHOWN, face
from presenced.core.model import Session, User
from presenced.core.parts.channel import Channel
from presenced.core.parts.users import Users
from presenced.core.rights import part_of
from presenced.core.roster import TO
from presenced.core.sight import Sight
from presenced.wire.messages import ONLINE_STATUSES


class Members(NamedTuple):
    """A page of the members of a channel who are online, with the face of each."""

    users: list[tuple[User, int]]
    next: str
    """Where the next page starts; empty = nowhere."""
    total: int
    counts: list[int]
    """By status, in the order of the protocol."""


NO_MEMBERS = Members([], "", 0, [0] * len(ONLINE_STATUSES))


class ChannelViews:
    """Answers for sessions, and changes nothing."""

    def __init__(self, users: Users, sight: Sight) -> None:
        self._users = users
        self._sight = sight
        grounds = sight.grounds
        self._by_membership = grounds._replace(everyone=grounds.everyone or grounds.channels, channels=False)
        self._by_others = grounds._replace(channels=False)

    @property
    def needs_membership(self) -> bool:
        """Whether users see each other because they are in one channel."""
        return self._sight.grounds.channels and not self._sight.grounds.everyone

    def face(self, session: Session, channel: Channel, user: User) -> int:
        """By which face the session's link sees a member of the channel, or one who has just left it. O(1)."""
        viewer = session.viewer
        if viewer is None:
            return self._sight.face(session, user)
        grounds = self._by_membership if viewer.name in channel.members else self._by_others
        if grounds.everyone and user.privacy is None and viewer.privacy is None and not grounds.reciprocal:
            return FULL
        kind = face(viewer, user, grounds, session.rights)
        return FULL if kind == SHOWN else kind

    def face_apart(self, session: Session, user: User) -> int:
        """By which face the session's link sees somebody, whatever channels the two share. O(1)."""
        viewer = session.viewer
        if viewer is None:
            return self._sight.face(session, user)
        kind = face(viewer, user, self._by_others, session.rights)
        return FULL if kind == SHOWN else kind

    def sees_all(self, session: Session, channel: Channel) -> bool:
        """Whether there is no member whom the session's link may not see, though perhaps not wholly. O(1)."""
        viewer = session.viewer
        if viewer is None:
            return self._sight.sees_all(session)
        return viewer.privacy is None and self._is_open(viewer, channel)

    def counts(self, session: Session, channel: Channel) -> tuple[int, list[int]]:
        """How many members the link sees online, in all and by status.
        O(users who hide from the viewer, or contacts), and for a link that its token bounds O(members)."""
        total, counts = len(channel.online), channel.count_list()
        if self.sees_all(session, channel):
            return total, counts
        viewer = session.viewer
        if viewer is None or not self._is_open(viewer, channel):
            seen = self._seen(session, channel)
            statuses = [channel.members[name].record.status for name in seen]
            return len(seen), [statuses.count(status) for status in ONLINE_STATUSES]  # type: ignore[arg-type]
        for name in self._unseen(session, viewer, channel):
            total -= 1
            counts[ONLINE_STATUSES.index(channel.members[name].record.status)] -= 1
        return total, counts

    def page(self, session: Session, channel: Channel, after: str, limit: int) -> Members:
        """The members behind the name `after` whom the link sees online. O(limit + log online), besides what `counts`
        costs and, for who sees but some of them, O(members whom they see)."""
        total, counts = self.counts(session, channel)
        if limit == 0:
            return Members([], "", total, counts)
        viewer = session.viewer
        if self.sees_all(session, channel):
            names, following = _cut(channel.online, channel.online.bisect_right(after), limit)
        elif viewer is not None and self._is_open(viewer, channel):
            unseen = self._unseen(session, viewer, channel)
            behind = channel.online.irange(after, inclusive=(False, True)) if after else channel.online
            some: list[str] = []
            for name in behind:
                if name not in unseen:
                    some.append(name)
                    if len(some) > limit:
                        break
            names, following = _cut(some, 0, limit)
        else:
            names, following = _cut(sorted(name for name in self._seen(session, channel) if name > after), 0, limit)
        members = channel.members
        users = [(members[name], self.face(session, channel, members[name])) for name in names]
        return Members(users, following, total, counts)

    # --- within -----------------------------------------------------------------------------------------------

    def _is_open(self, viewer: User, channel: Channel) -> bool:
        """Whether a ground opens the whole channel to the viewer."""
        grounds = self._sight.grounds
        return grounds.everyone or (grounds.channels and viewer.name in channel.members)

    def _unseen(self, session: Session, viewer: User, channel: Channel) -> Collection[str]:
        """Of a channel that is open to the viewer: who is online and not to be seen."""
        privacy = viewer.privacy
        if privacy is None:
            return ()
        return {
            name
            for name in (*privacy.blocked, *privacy.unseen)
            if name in channel.online and self.face(session, channel, channel.members[name]) == HIDDEN
        }

    def _seen(self, session: Session, channel: Channel) -> set[str]:
        """Of any other channel: who is online and to be seen."""
        return {
            name
            for name in self._candidates(session, channel)
            if name in channel.members
            and channel.members[name].record.status != "offline"
            and self.face(session, channel, channel.members[name]) != HIDDEN
        }

    def _candidates(self, session: Session, channel: Channel) -> set[str]:
        viewer, grounds = session.viewer, self._sight.grounds
        if viewer is None or session.rights is not None or (grounds.domain and part_of(viewer.name)):
            return set(channel.online)
        few = {viewer.name}
        if grounds.contacts and viewer.contacts is not None:
            flags = viewer.contacts.flags
            few.update(name for name in viewer.contacts.contacts if flags(name) & TO)
        if viewer.privacy is not None:
            few.update(viewer.privacy.shown_by)
        return few


def _cut(names: Sequence[str], start: int, limit: int) -> tuple[list[str], str]:
    """Up to `limit` of the names, and the last of them if others follow."""
    some = list(names[start : start + limit + 1])
    return (some[:limit], some[limit - 1]) if len(some) > limit else (some, "")
