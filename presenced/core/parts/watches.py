"""Who watches whom: the two sides of one relation, changed only here so that they cannot disagree."""

from __future__ import annotations

from presenced.core.model import Session, User, unknown_record
from presenced.core.outboxes import Outboxes
from presenced.core.part import Part
from presenced.core.parts.users import Users
from presenced.core.policy import Policy
from presenced.errors import RequestError
from presenced.wire.codec import encode
from presenced.wire.messages import Presence

_UNSEEN = User("")
"""Stands in a session's watch for each user whom its token does not let it see. Nobody is ever told of it."""


class Watches(Part):
    """Adds and removes watches by name."""

    def __init__(self, policy: Policy, users: Users, outboxes: Outboxes) -> None:
        self._policy = policy
        self._users = users
        self._outboxes = outboxes
        self.count = 0
        """Watches of all sessions together."""

    def add(self, session: Session, names: list[str]) -> list[User]:
        """Add users, known or not, to the session's watch; returns them in the order asked (protocol.md, 5.9). One whom
        its token does not let it see costs nothing and is told of once another token does; for these there is no user
        to return, but one without a name.

        Raises `RequestError` (`watch_limit`) before anything is added. O(names).
        """
        watching = session.watching
        if watching is None:
            watching = session.watching = {}
        most = self._policy.watch_limit(session.role)
        before = len(watching)
        if before + len(names) > most:
            # Names may be in it twice, or be watched already.
            added = len({name: None for name in names if name not in watching})
            if before + added > most:
                raise RequestError(
                    "watch_limit",
                    f"this link watches {before} users and may watch {most}; unwatch some before adding {added}",
                )
        self._outboxes.expect(session)
        rights, users, unseen = session.rights, [], 0
        find, make = self._users.get, self._users.new
        for name in names:
            user = watching.get(name)
            if user is None and rights is not None and rights.hides(name):
                user = watching[name] = _UNSEEN
                unseen += 1
            elif user is None:
                user = watching[name] = find(name) or make(name)
                if user.watchers is None:
                    user.watchers = {}
                user.watchers[session] = session.sink
            users.append(user)
        self.count += len(watching) - before - unseen
        return users

    def remove(self, session: Session, names: list[str]) -> None:
        """Take users off the session's watch; one that is not on it is no error. O(names)."""
        for name in names:
            user = session.watching.pop(name, None) if session.watching is not None else None
            if user is not None:
                self._stop(session, user)

    def set_all(self, session: Session, on: bool) -> None:
        """Tell the session of every user from now on, or no longer. Idempotent. What it watches by name stays."""
        self._outboxes.tell_everyone(session, is_on=on)

    def rights_changed(self, session: Session, now_ms: int) -> None:
        """It is told of those whom it sees now, by name and of every user. Those whom it has lost sight of are told as
        names never seen, if it watches them by name. O(users that it watches)."""
        rights, watching = session.rights, session.watching or {}
        for name, user in list(watching.items()):
            hides = rights is not None and rights.hides(name)
            if hides and user is not _UNSEEN:
                watching[name] = _UNSEEN
                if user.record.version:
                    self._outboxes.reply(session, encode(Presence(unknown_record(name))))
                self._stop(session, user)
            elif not hides and user is _UNSEEN:
                del watching[name]
                (user,) = self.add(session, [name])
                self._outboxes.reply(session, encode(Presence(user.record)))
        if self._outboxes.is_told_all(session):
            self._outboxes.tell_everyone(session, is_on=True)

    def keeps(self, user: User) -> bool:
        """Whether the user is watched."""
        return bool(user.watchers)

    def let_go(self, session: Session, lost_ms: int, most: int) -> int:
        """Take users off its watch, some at a time."""
        watching, count = session.watching, 0
        while watching and count < most:
            self._stop(session, watching.popitem()[1])
            count += 1
        if not watching:
            session.watching = None
        return count

    def _stop(self, session: Session, user: User) -> None:
        if user is _UNSEEN:
            return
        self.count -= 1
        if session.owed is not None:
            self._outboxes.forgive(session, user)
        if user.watchers is not None:
            user.watchers.pop(session, None)
            if not user.watchers:
                user.watchers = None
                self._users.forget_if_blank(user)
