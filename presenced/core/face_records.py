"""The records that viewers get who do not see all of a user, one for each such face. They are made when the user's
state changes, and told only if they differ.

There are as many as there are kinds of faces that somebody watches. For nearly all users these are at most three,
however many watchers there are.
"""

from __future__ import annotations

from msgspec.structs import replace

from presenced.core.clock import Clock
from presenced.core.faces import FULL, SHOWN, is_same, reduced
from presenced.core.ledger import Ledger
from presenced.core.merge import merge
from presenced.core.model import UNMADE, Face, User
from presenced.core.policy import Policy
from presenced.core.precedence import is_hidden, strongest
from presenced.wire.messages import Record


class FaceRecords:
    """Makes the records of faces. The publisher keeps and tells them."""

    def __init__(self, policy: Policy, ledger: Ledger, clock: Clock) -> None:
        self._policy = policy
        self._ledger = ledger
        self._clock = clock
        self._floors: dict[User, int] = {}
        """What `raised` made of whole records, for as long as the counter has not passed it: some milliseconds."""

    def new(self, user: User, kind: int, now_ms: int) -> Face:
        """A face of this kind, filed with its user. O(1), of SHOWN O(devices and claims)."""
        if user.faces is None:
            user.faces = {}
        made = user.faces[kind] = Face(user, kind, user.record)
        # Nobody was told anything by it: an answer of this moment need not tell whether others watch by it.
        made.record = self._made(made, now_ms, max(self._ledger.version, user.record.version))
        return made

    def drop(self, user: User, kind: int) -> None:
        """Forget a face that nobody is shown. O(1)."""
        if user.faces is not None:
            user.faces.pop(kind, None)
            if not user.faces:
                user.faces = None

    def raised(self, user: User, kind: int, record: Record, told: int) -> Record:
        """The record of a face for one who was told another face of the user with the version `told`: the same above
        that, and above what was answered just now. What is told of the user next is above this. O(1)."""
        version = max(self._ledger.version, record.version, told) + 1
        self.keep_above(user, kind, version)
        return replace(record, version=version)

    def keep_above(self, user: User, kind: int, version: int) -> None:
        """Let what is told next by this face of the user be above this version. O(1)."""
        if user.faces is not None and kind in user.faces:
            one = user.faces[kind]
            one.record, one.encoded = replace(one.record, version=max(version, one.record.version)), None
        elif kind == FULL and user.is_copy:
            # The next comes from another node, whose counter may be behind this one for long.
            self._set_version(user, version)
        elif kind == FULL:
            self._floors[user] = max(version, self.floor(user))

    def keep_told(self, user: User) -> None:
        """Another node makes the next record: this one has the highest version now that was told of it. O(1)."""
        self._set_version(user, self.floor(user))

    def _set_version(self, user: User, version: int) -> None:
        if version > user.record.version:
            user.record, user.encoded = replace(user.record, version=version), None

    def floor(self, user: User) -> int:
        """The highest version that somebody was told of the user's whole record beside its own. O(1)."""
        if self._floors and self._ledger.version > max(self._floors.values()):
            self._floors.clear()
        return self._floors.get(user, 0)

    def told(self, user: User) -> Record:
        """The whole record as whoever sees it may have been told of it. O(1)."""
        floor = self.floor(user)
        return user.record if user.record.version >= floor else replace(user.record, version=floor)

    def refresh(self, user: User, now_ms: int) -> list[Face]:
        """Make the records of the user's faces anew; returns those that say something else now. O(faces)."""
        changed = []
        for one in (user.faces or {}).values():
            # Above what an answer of this moment says, and above what was told last.
            record = self._made(one, now_ms, max(self._ledger.version, one.record.version) + 1)
            if not is_same(record, one.record):
                one.record, one.encoded, one.digest = record, None, UNMADE
                changed.append(one)
        return changed

    def _made(self, one: Face, now_ms: int, version: int) -> Record:
        user = one.user
        if one.kind != SHOWN:
            return reduced(user.record, one.kind, version)
        return self._shown(one, version, now_ms)

    def _shown(self, one: Face, version: int, now_ms: int) -> Record:
        """What the record would be if the user did not appear offline."""
        user, before = one.user, one.record
        if not is_hidden(user):
            return reduced(user.record, FULL, version)
        claim = strongest(tuple(claim for claim in user.claims if claim.status != "offline"))
        primary = user.devices.get(before.device)
        status, primary = merge(user.devices.values(), claim, primary, self._policy.primary_hysteresis_ms)
        if status == "offline":
            return reduced(user.record, FULL, version)
        since_ms = before.since_ms if status == before.status else self._clock.wall_ms(now_ms)
        device = primary.id if primary is not None else ""
        return Record(user.name, status, user.text, user.emoji, since_ms, 0, device, version)
