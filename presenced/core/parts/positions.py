"""Positions: up to where a link that is told of everybody was told, as one number, and what it is told after it was
away (protocol.md, section 22.4).

The version of a record says when the record changed, so that no history has to be kept. A link that comes back with a
position is told all users who changed at or above it, as they are now, in slices. What cannot be told so makes all
earlier positions invalid: a record that is gone, a token that sees other users, and what a kill may have lost.

On a node of a cluster a position is a horizon (`core.horizon`), which is valid on every node that has read as far.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from zlib import crc32

from presenced.core.faces import HIDDEN
from presenced.core.horizon import Horizon
from presenced.core.ledger import Ledger
from presenced.core.model import Session, User
from presenced.core.outboxes import Outboxes
from presenced.core.part import Part, Restoring, Start, TakeUp
from presenced.core.parts.sleep import Sleep
from presenced.core.parts.users import Users
from presenced.core.parts.watches import Watches
from presenced.core.positions import LIVES_MAX, POSITION_MS_MAX, Life, carried, next_version, since
from presenced.core.publisher import Publisher
from presenced.core.records import Fact, PositionsKnown, VersionsRaised
from presenced.core.rights import Patterns, Rights
from presenced.core.sight import Sight
from presenced.errors import RequestError
from presenced.wire.codec import encode
from presenced.wire.messages import Position

SLICE_LOOKS: Final = 4_000
"""Users that are looked at in one turn, for all links together: about 1 ms."""

SLICE_TOLD: Final = 250
"""Records that are told in one turn, likewise."""

LOOKS_TO_WAKE: Final = 100
"""What it takes to wake a user, in looks."""

WAIT_MS: Final = 5_000
"""How long a position may wait for a node that has not come as far as the one that gave it."""


class _Walk:
    """What one link is being told."""

    __slots__ = ("late", "places", "request_id", "rights", "shelf", "since", "until_ms", "version")

    def __init__(self, request_id: int, rights: Rights | None, since: int, until_ms: int) -> None:
        self.request_id = request_id
        self.rights = rights
        self.since = since
        """The least version of what is told."""
        self.until_ms = until_ms
        """How long it may wait until this node has come as far."""
        self.version = 0
        """The position that the link has in the end: changes from here on it is told as they come. 0 = it waits."""
        self.shelf = 0
        """Shelves of those who sleep that were looked at. Who is to be told of is woken first."""
        self.late: list[str] = []
        """Who changed at or above it in a lower version, and is still to be told."""
        self.places = -1
        """Places of `Users.order` that are still to be looked at, from the end; -1 = all of those that there are when
        nobody sleeps any more who is to be told of."""

    def begin(self, version: int, late: list[str]) -> None:
        self.version, self.late = version, late


class Positions(Part):
    """Gives positions, takes them, and knows which are good."""

    def __init__(
        self,
        users: Users,
        sleep: Sleep,
        watches: Watches,
        sight: Sight,
        ledger: Ledger,
        publisher: Publisher,
        outboxes: Outboxes,
    ) -> None:
        self.is_trusted = True
        """Whether the log has every fact of this run so far."""
        self._users = users
        self._sleep = sleep
        self._watches = watches
        self._sight = sight
        self._ledger = ledger
        self._publisher = publisher
        self._outboxes = outboxes
        self._given = 0
        """The highest that the log knows of, of this life."""
        self._floor = 0
        """Positions up to this one are not good any more."""
        self._lives: list[Life] = []
        """The lives before this one that ended with a kill."""
        self._told: dict[Session, Rights | None] = {}
        """The links that have been told all that they were to be told, and the rights by which they were."""
        self._walks: dict[Session, _Walk] = {}
        self._horizon: Horizon | None = None

    def share(self, horizon: Horizon) -> None:
        """Positions from now on are those of all nodes. None from before is good any more, also later. O(1)."""
        self._horizon = horizon
        self._floor = max(self._floor, self._ledger.version)
        self._ledger.add(PositionsKnown("", 0, self._floor))

    @property
    def lives(self) -> list[Life]:
        """The lives before this one that ended with a kill, the newest last."""
        return list(self._lives)

    def distrust(self) -> None:
        """Facts are not saved, or some may have been lost: a position is not good over a kill from now on. O(1)."""
        self.is_trusted = False

    # --- giving -----------------------------------------------------------------------------------------------

    def place_of(self, session: Session) -> tuple[int, int]:
        """Epoch and version of what the session has been told by now. They are a position if it is told of everybody;
        then the epoch is 0 if it has not been told all that it sees. O(1), and O(patterns) for a link that sees some
        users."""
        if not self._outboxes.is_told_all(session):
            return self._ledger.epoch, self._ledger.version
        if session not in self._told or self._told[session] != session.rights:
            return 0, self._ledger.version
        version = self._version
        self._note(version)
        return self._epoch_of(session), version

    @property
    def _version(self) -> int:
        return self._ledger.version if self._horizon is None else self._horizon.version

    def _note(self, version: int) -> None:
        """A link is given this position, which is good over a kill if the log has this, or if other nodes live."""
        if self._horizon is None and self.is_trusted and version > self._given:
            self._given = version
            self._ledger.add(PositionsKnown("", version, self._floor))

    def _epoch_of(self, session: Session) -> int:
        """A link that sees some users is given an epoch for just these: its position is of no use to another."""
        rights, epoch = session.rights, self._ledger.epoch
        if self._horizon is not None:
            epoch ^= self._horizon.origin
        if rights is None or not rights.is_narrow:
            return epoch or 1
        return epoch ^ _sum_of(rights.see) or 1

    # --- taking -----------------------------------------------------------------------------------------------

    def tell_all(self, session: Session) -> None:
        """The session is told of every user from now on, and of none from before. O(1)."""
        self._end_walk(session)
        self._watches.set_all(session, True)
        self._told[session] = session.rights

    def stop(self, session: Session) -> None:
        """The session is not told of every user any longer. O(1)."""
        self._end_walk(session)
        self._told.pop(session, None)
        self._watches.set_all(session, False)

    def resume_from(self, session: Session, request_id: int, epoch: int, version: int) -> None:
        """The session is told of every user from now on, and of all who have changed since the position. Position is
        the answer, behind that. One of several nodes waits for what it has not read, up to `WAIT_MS`. Raises
        `RequestError` (`bad_position`), before anything is changed, for one that was not given yet; to one of several
        nodes that is a day ahead of it. O(`SLICE_LOOKS`) now, and O(users) in all."""
        ledger = self._ledger
        is_ours = epoch == self._epoch_of(session)
        if is_ours and version > ledger.version + (0 if self._horizon is None else POSITION_MS_MAX):
            raise RequestError("bad_position", f"position {version} is ahead of {ledger.version}, where this server is")
        self._end_walk(session)
        self._told.pop(session, None)
        self._watches.set_all(session, True)
        from_version = self._since(version) if is_ours else None
        if from_version is None:
            self._answer(session, request_id, self._version, reset=True)
            return
        walk = self._walks[session] = _Walk(request_id, session.rights, from_version, ledger.now_ms + WAIT_MS)
        self._sleep.hold()
        if self._may_go_on(walk) and session.owed is None:
            self._go_on(session, walk, SLICE_LOOKS, SLICE_TOLD)

    def _since(self, version: int) -> int | None:
        if self._horizon is None:
            return since(version, self._lives) if version > self._floor else None
        return version if version > self._horizon.floor else None

    def _may_go_on(self, walk: _Walk) -> bool:
        """Whether this node has come as far as the position. What it learns until then is told as it comes."""
        horizon = self._horizon
        if not walk.version and (horizon is None or horizon.version >= walk.since):
            walk.begin(self._version, horizon.late_since(walk.since) if horizon is not None else [])
        return walk.version > 0

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next: 0 = at once, None = nobody is being told who reads. O(those who are)."""
        walks = [walk for session, walk in self._walks.items() if session.owed is None] if self._walks else ()
        return min((0 if self._may_go_on(walk) else walk.until_ms for walk in walks), default=None) if walks else None

    def tick(self, now_ms: int) -> None:
        """Tell the next slice. A link that does not read waits until it does. O(`SLICE_LOOKS` and links told)."""
        looks, told = SLICE_LOOKS, SLICE_TOLD
        for session, walk in list(self._walks.items()):
            if session.owed is not None or looks <= 0 or told <= 0:
                continue
            if self._horizon is not None and self._horizon.floor >= walk.since:
                self._end_walk(session)
            elif self._may_go_on(walk):
                looks, told = self._go_on(session, walk, looks, told)
            elif now_ms >= walk.until_ms:
                self._end_walk(session)

    def _go_on(self, session: Session, walk: _Walk, looks: int, told: int) -> tuple[int, int]:
        """Look at so many users, and tell of so many, at most; returns what is left of both. Who is new or moves to
        another place meanwhile is behind what is left, and is told by their change."""
        order, sight, least = self._users.order, self._sight, walk.since
        looks, told = self._tell_late(session, walk, looks, told)
        if looks > 0:
            looks = self._wake_for(walk, looks)
        if looks <= 0 or told <= 0:
            return looks, told
        if walk.places < 0:
            walk.places = len(order)
        at = min(walk.places, len(order))
        stop = max(0, at - looks)
        first = at
        while at > stop and told > 0:
            at -= 1
            user = order[at]
            if user.record.version >= least and (kind := sight.face(session, user)) != HIDDEN:
                self._outboxes.tell(session, user, sight.record(user, kind))
                told -= 1
        walk.places = at
        if not at:
            self._drop(session)
            self._answer(session, walk.request_id, walk.version, reset=walk.rights != session.rights)
        return looks - (first - at), told

    def _tell_late(self, session: Session, walk: _Walk, looks: int, told: int) -> tuple[int, int]:
        """Tell of those whom their version does not show. They may be changed again meanwhile: they are told then."""
        while walk.late and looks > 0 and told > 0:
            user = self._users.get(walk.late.pop())
            looks -= LOOKS_TO_WAKE
            if user is None or not 0 < user.record.version < walk.since:
                continue
            if (kind := self._sight.face(session, user)) != HIDDEN:
                self._outboxes.tell(session, user, self._sight.record(user, kind))
                told -= 1
        return looks, told

    def _wake_for(self, walk: _Walk, looks: int) -> int:
        """Wake whom the link is to be told of, and who sleeps; returns how many looks are left."""
        users, dormants = self._users, self._users.dormants
        if not dormants:
            walk.shelf = dormants.shelves
        while walk.shelf < dormants.shelves and looks > 0:
            names = dormants.since(walk.shelf, walk.since)
            most = max(1, looks // LOOKS_TO_WAKE)
            for name in names[:most]:
                users.get(name)
            looks -= 1 + len(names[:most]) * LOOKS_TO_WAKE
            if len(names) <= most:
                walk.shelf += 1
        return looks

    def _drop(self, session: Session) -> _Walk | None:
        walk = self._walks.pop(session, None)
        if walk is not None:
            self._sleep.release()
        return walk

    def _end_walk(self, session: Session) -> None:
        """What the session was being told is no longer wanted."""
        walk = self._drop(session)
        if walk is not None:
            self._answer(session, walk.request_id, walk.version or self._version, reset=True)

    def _answer(self, session: Session, request_id: int, version: int, *, reset: bool) -> None:
        self._told[session] = session.rights
        self._note(version)
        answer = Position(request_id, self._epoch_of(session), version, reset)
        self._outboxes.reply(session, encode(answer))

    def end_session(self, session: Session, now_ms: int) -> None:
        """Nothing is told to it any more."""
        self._drop(session)
        self._told.pop(session, None)

    # --- what ends positions ----------------------------------------------------------------------------------

    def erase(self, user: User, now_ms: int) -> None:
        """Nothing may be kept by which a client could be told later: who was told of the user takes everything."""
        # When this is read from the log, the counter stands still, and the positions from before are known by now.
        earlier = self._lives[-1].above if self._lives else 0
        self._floor = max(self._floor, self._ledger.version, self._given, earlier)
        if self._horizon is not None:
            self._horizon.end_earlier()

    def resume(self, users: Sequence[User], start: Start) -> None:
        """What records show may be other than it was though nobody changed."""
        if self._publisher.shows_other_times:
            self._floor = max(self._floor, self._ledger.version)

    # --- the disk ---------------------------------------------------------------------------------------------

    def end_life(self, users: Sequence[User], above: int) -> int:
        """The server was killed, and no version that was told is above this one: give all records others, and remember
        it. Returns the version to go on from. O(users)."""
        newest = max((user.record.version for user in users), default=0)
        newest = max(newest, self._users.dormants.newest)
        life = Life(above, newest, self._given)
        self._ledger.add(VersionsRaised("", *life))
        self._begin_life(users, life)
        return next_version(life)

    def _begin_life(self, users: Sequence[User], life: Life) -> None:
        self._publisher.carry_versions(users, life)
        self._users.dormants.carry(life.above, lambda version: carried(version, life))
        if not self._lives or life.above > self._lives[-1].above:
            self._lives = [*self._lives[1 - LIVES_MAX :], life]
            self._given = 0

    def general_facts(self, now_ms: int) -> Iterable[Fact]:
        """The lives before this one, and what is known of positions of this one."""
        given = self._given if self.is_trusted else 0
        return [*(VersionsRaised("", *life) for life in self._lives), PositionsKnown("", given, self._floor)]

    def restorers(self) -> Mapping[type, TakeUp]:
        """Lives that a kill has ended, and what was known of positions."""
        return {VersionsRaised: self._restore_life, PositionsKnown: self._restore}

    def _restore_life(self, source: Restoring, fact: VersionsRaised) -> None:
        self._begin_life(source.order, Life(fact.above, fact.newest, fact.durable))

    def _restore(self, source: Restoring, fact: PositionsKnown) -> None:
        self._given = max(self._given, fact.given)
        self._floor = max(self._floor, fact.floor)


def _sum_of(patterns: Patterns) -> int:
    """A number for these patterns, the same in each run."""
    return crc32(encode([sorted(patterns.names), patterns.prefixes, patterns.endings]))
