"""Followers with a name: how far each has come, kept over links and restarts (protocol.md, section 19).

A position is saved at most once a second. Who comes back after a kill is told again what it acknowledged in that
second: at least once.

Where several servers have the same events, a name is still followed by one link: each link that takes it is stamped
with a time that is later than that of the one before, and of two links on two servers the later one has it; within one
millisecond the one on the server with the larger number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from presenced.core.clock import Clock
from presenced.core.ledger import Ledger
from presenced.core.model import Session, User
from presenced.core.part import Part, TakeUp
from presenced.core.records import Fact, FollowerForgotten, FollowerSet
from presenced.errors import RequestError
from presenced.limits import FOLLOWER_SAVE_MS, FOLLOWERS_MAX, FOLLOWERS_PER_USER_MAX


class Follower:
    """Who follows under a name of its own."""

    __slots__ = ("at_ms", "epoch", "is_new", "link", "name", "seq", "taken_by", "taken_ms", "user")

    def __init__(self, user: str, name: str, epoch: int, seq: int, at_ms: int) -> None:
        self.user = user
        self.name = name
        self.epoch = epoch
        self.seq = seq
        """The last event that it has handled."""
        self.at_ms = at_ms
        """Wall time at which it said so."""
        self.taken_ms = 0
        """The stamp of the last link that is known to have followed under the name, here or on another server."""
        self.taken_by = 0
        """The number of that server; 0 = it is the only one, or is not known."""
        self.link: Session | None = None
        """The session that follows under the name now."""
        self.is_new = False
        """Nobody was told yet that it is kept."""


class Followers(Part):
    """Owns the named followers, and knows which link is which."""

    def __init__(self, clock: Clock, ledger: Ledger) -> None:
        self.by_session: dict[Session, Follower] = {}
        self._by_user: dict[str, dict[str, Follower]] = {}
        self._count = 0
        self._by_epoch: Counter[int] = Counter()
        """How many there are in each stream."""
        self._unsaved: dict[Follower, None] = {}
        self._save_ms = 0
        """When a position may be saved next."""
        self._clock = clock
        self._ledger = ledger
        self._server = 0

    def share(self, server: int) -> None:
        """Other servers have the same followers, and each has a number of its own: this one has this."""
        self._server = server

    def __len__(self) -> int:
        return self._count

    def all(self) -> list[Follower]:
        """All of them, in order of user. O(followers)."""
        return [follower for of_user in self._by_user.values() for follower in of_user.values()]

    def of_user(self, user: str) -> list[Follower]:
        """Those of a user's links, in order of when they were first here. O(those)."""
        return list(self._by_user.get(user, {}).values())

    def is_in(self, epoch: int) -> bool:
        """Whether one of them is in the stream of this epoch. O(1)."""
        return epoch in self._by_epoch

    def get(self, user: str, name: str) -> Follower | None:
        """The follower of this name. O(1)."""
        return self._by_user.get(user, {}).get(name)

    def require_room(self, user: str) -> None:
        """Raise `RequestError` (`follower_limit`) if the user's links may have no further follower."""
        if self._count >= FOLLOWERS_MAX or len(self._by_user.get(user, {})) >= FOLLOWERS_PER_USER_MAX:
            raise RequestError(
                "follower_limit",
                f"{user} has {len(self._by_user.get(user, {}))} named followers of at most {FOLLOWERS_PER_USER_MAX}, "
                f"and all users {self._count} of {FOLLOWERS_MAX}; forget one with forget_follower",
            )

    def add(self, user: str, name: str, epoch: int, seq: int, now_ms: int) -> Follower:
        """A new follower, at this position."""
        follower = self._set(user, name, epoch, seq, self._clock.wall_ms(now_ms))
        follower.is_new = True
        return follower

    def take(self, follower: Follower, session: Session, now_ms: int) -> Session | None:
        """The session's link follows under the name from now on; returns the one that did before, if another does."""
        before = follower.link
        self.end_link(session)
        if before is not None and before is not session:
            self.end_link(before)
        follower.link = session
        follower.taken_ms = max(self._clock.wall_ms(now_ms), follower.taken_ms + 1)
        follower.taken_by = self._server
        self.by_session[session] = follower
        self._unsaved[follower] = None
        self._save(follower)
        return before if before is not session else None

    def end_link(self, session: Session) -> None:
        """The session's link follows under no name any longer. Idempotent. O(1)."""
        follower = self.by_session.pop(session, None)
        if follower is not None:
            follower.link = None
            self._save(follower)

    def note_kept(self, session: Session) -> None:
        """The session is told that the name under which it follows is kept, if it has one. O(1)."""
        if (follower := self.by_session.get(session)) is not None:
            follower.is_new = False

    def acknowledge(self, follower: Follower, epoch: int, seq: int, now_ms: int) -> None:
        """The follower has handled the events up to this one. O(1)."""
        self._move(follower, epoch, seq, self._clock.wall_ms(now_ms))
        self._unsaved[follower] = None

    def forget(self, user: str, name: str) -> Follower | None:
        """There is no such follower any longer; returns it, if there was one. O(1)."""
        follower = self._remove(user, name)
        if follower is not None:
            self._ledger.add(FollowerForgotten(user, name, follower.taken_ms, follower.taken_by))
        return follower

    def take_told(self, fact: FollowerSet | FollowerForgotten) -> Session | None:
        """Another server with the same events tells this of a follower. Returns the session that followed under the
        name here, if a link there took it later. Of one that follows on this server knows better. O(1)."""
        follower = self.get(fact.user, fact.name)
        link = follower.link if follower is not None else None
        if isinstance(fact, FollowerForgotten):
            if link is None or fact.taken_ms:
                self._restore_forgotten(fact)
            return None
        if follower is not None and link is not None:
            if _stamp(fact) <= _stamp(follower):
                return None
            self._unsaved.pop(follower, None)
            self.end_link(link)
        self._restore(fact)
        return link

    def erase(self, user: User, now_ms: int) -> None:
        """Those of the user's links. O(those)."""
        for follower in self.of_user(user.name):
            self._remove(user.name, follower.name)

    def _set(self, user: str, name: str, epoch: int, seq: int, at_ms: int) -> Follower:
        follower = self.get(user, name)
        if follower is None:
            follower = self._by_user.setdefault(user, {})[name] = Follower(user, name, epoch, seq, at_ms)
            self._count += 1
            self._by_epoch[epoch] += 1
        self._move(follower, epoch, seq, at_ms)
        return follower

    def _move(self, follower: Follower, epoch: int, seq: int, at_ms: int) -> None:
        if epoch != follower.epoch:
            self._by_epoch[epoch] += 1
            self._leave(follower.epoch)
        follower.epoch, follower.seq, follower.at_ms = epoch, seq, at_ms

    def _leave(self, epoch: int) -> None:
        self._by_epoch[epoch] -= 1
        if not self._by_epoch[epoch]:
            del self._by_epoch[epoch]

    def _remove(self, user: str, name: str) -> Follower | None:
        follower = self._by_user.get(user, {}).pop(name, None)
        if follower is None:
            return None
        self._count -= 1
        self._leave(follower.epoch)
        if not self._by_user[user]:
            del self._by_user[user]
        self._unsaved.pop(follower, None)
        if follower.link is not None:
            del self.by_session[follower.link]
            follower.link = None
        return follower

    # --- time and the disk ------------------------------------------------------------------------------------

    @property
    def next_ms(self) -> int | None:
        """When positions are to be saved."""
        return self._save_ms if self._unsaved else None

    def tick(self, now_ms: int) -> None:
        """Save the positions that have changed. O(these)."""
        if self._unsaved and now_ms >= self._save_ms:
            self._save_ms = now_ms + FOLLOWER_SAVE_MS
            self.save_all()

    def save_all(self) -> None:
        """Save the positions that have changed, now. O(these)."""
        for follower in list(self._unsaved):
            self._save(follower)

    def _save(self, follower: Follower) -> None:
        if follower in self._unsaved:
            del self._unsaved[follower]
            self._ledger.add(_fact(follower))

    def general_facts(self, now_ms: int) -> Iterable[Fact]:
        """Each with its position. O(followers)."""
        return [_fact(follower) for follower in self.all()]

    def restorers(self) -> Mapping[type, TakeUp]:
        """Followers, and that one was forgotten."""
        return {
            FollowerSet: lambda source, fact: self._restore(fact),
            FollowerForgotten: lambda source, fact: self._restore_forgotten(fact),
        }

    def _restore(self, fact: FollowerSet) -> None:
        if not self._is_late(fact):
            follower = self._set(fact.user, fact.name, fact.epoch, fact.seq, fact.at_ms)
            follower.taken_ms, follower.taken_by = max(_stamp(follower), _stamp(fact))

    def _restore_forgotten(self, fact: FollowerForgotten) -> None:
        if not self._is_late(fact):
            self._remove(fact.user, fact.name)

    def _is_late(self, fact: FollowerSet | FollowerForgotten) -> bool:
        """Another link has taken the name since, and this was said without knowing of it."""
        follower = self.get(fact.user, fact.name)
        return follower is not None and (0, 0) < _stamp(fact) < _stamp(follower)

    def check(self, users: Iterable[User]) -> None:
        """See `Part`."""
        every = self.all()
        assert len(every) == self._count, "followers are miscounted"
        assert Counter(one.epoch for one in every) == self._by_epoch, "the followers of a stream are miscounted"
        for session, follower in self.by_session.items():
            assert follower.link is session, f"{follower.name} has another link"
        assert all(self.by_session.get(one.link) is one for one in every if one.link is not None)


def _stamp(one: Follower | FollowerSet | FollowerForgotten) -> tuple[int, int]:
    return one.taken_ms, one.taken_by


def _fact(follower: Follower) -> FollowerSet:
    one = follower
    return FollowerSet(one.user, one.name, one.epoch, one.seq, one.at_ms, one.taken_ms, one.taken_by)
