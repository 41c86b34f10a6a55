"""What a client holds of each user whom it watches: the newest record, and whether that holds on the present link.

All that the server tells of users goes through here, whoever wants it: watches by name, the contacts, a watch of
everybody. So there is one answer to which record is the newer one, and one to what the client has when it comes back.
What is held is bounded by what is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from presenced.client.protocol.pending_requests import Make, OnReply
from presenced.digests import NOTHING, digest
from presenced.errors import PresenceError
from presenced.wire.messages import Record

_CHECKSUM_MASK: Final = 2**32 - 1


class Wanting(Protocol):
    """One that records are wanted for."""

    def wants(self, record: Record, *, is_reply: bool) -> bool:
        """Whether a record that the present link has brought is to be held. If it is no reply, it may be the first word
        of a user."""

    def keeps(self, user: str) -> bool:
        """Whether what is held of the user is still of use."""

    def show(self, record: Record) -> None:
        """A record that is newer than what was held of a user whom this one wants."""


class Asking(NamedTuple):
    """What the server was told to be held of some users."""

    users: Sequence[str]
    have: list[int]
    records: list[Record | None]


class HeldRecord:
    """What is held of one user. The record may be unknown while its digest is known: from a position of the app's."""

    __slots__ = ("_digest", "link", "record", "told_version")

    def __init__(self) -> None:
        self.record: Record | None = None
        self.link = 0
        """Number of the link that brought the record, or said that it still holds."""
        self.told_version = 0
        """What the version of another record of that link has to exceed; 0: any record takes its place."""
        self._digest: int | None = NOTHING

    @property
    def digest(self) -> int:
        if self._digest is None:
            assert self.record is not None
            self._digest = digest(self.record)
        return self._digest

    def put(self, record: Record, link: int) -> None:
        """A record that takes the place of what was held."""
        self.record, self.link, self.told_version, self._digest = record, link, record.version, None

    def assume(self, had: int) -> None:
        """The record is not known: only that the app has one with this digest."""
        self._digest = had


class HeldRecords:
    """See the module's docstring. A `Part`; the first of all, since the others ask which link it is."""

    def __init__(self) -> None:
        self._held: dict[str, HeldRecord] = {}
        self._wanting: list[Wanting] = []
        self._link = 0
        """Number of the present link."""

    def show_to(self, wanting: Wanting) -> None:
        """From now on hold what this one wants, and show it."""
        self._wanting.append(wanting)

    # --- what the server says ---------------------------------------------------------------------------------

    def tell(self, record: Record) -> None:
        """The present link has brought a record unasked.

        Versions order the records of one link (protocol.md 6.4). On a new link the server's word is the truth even if
        its version is lower: a server that was killed may have lost a change that it had told of and not yet saved.
        Whoever shows records compares contents. The record of somebody whom the user does not see has version 0, and
        sight may be lost at any time (section 21.2).
        """
        self._take(record, is_reply=False)

    def _take(self, record: Record, *, is_reply: bool) -> None:
        wanted_by = [wanting for wanting in self._wanting if wanting.wants(record, is_reply=is_reply)]
        if not wanted_by:
            return
        held = self._held.get(record.user)
        if held is None:
            held = self._held[record.user] = HeldRecord()
        elif held.link == self._link and record.version and record.version <= held.told_version:
            return
        held.put(record, self._link)
        for wanting in wanted_by:
            wanting.show(record)

    def ask(self, users: Sequence[str]) -> Asking:
        """What is held of these users, to be told to the server. O(users)."""
        held = [self._held.get(user) for user in users]
        return Asking(
            users,
            [NOTHING if one is None else one.digest for one in held],
            [None if one is None else one.record for one in held],
        )

    def answer(self, question: Asking, differing: Iterable[Record]) -> None:
        """The present link has brought what differs. What it is silent about still holds. O(users)."""
        answered = set()
        for record in differing:
            answered.add(record.user)
            self._take(record, is_reply=True)
        for user, had, known in zip(question.users, question.have, question.records, strict=True):
            if user not in answered:
                self._still_holds(user, had, known)

    def all_hold(self, users: Sequence[str]) -> None:
        """The present link has proved that what is held of these users holds. O(users)."""
        self.answer(self.ask(users), ())

    def _still_holds(self, user: str, had: int, record: Record | None) -> None:
        held = self._held.get(user)
        if held is None:
            return
        if held.link != self._link:
            if held.digest == had:
                held.link, held.told_version = self._link, 0
        elif held.told_version or held.digest == had:
            # The link has told of the user since, and more is told in versions.
            return
        elif record is not None:
            # Sight was lost, which has no version, and is back: as it was, so that nothing was told.
            self._take(record, is_reply=True)
            held.told_version = 0
            return
        if held.record is None and not had:
            # Nothing is known of the user, and that is a record, too.
            self._take(hidden(user), is_reply=True)

    # --- what is held -----------------------------------------------------------------------------------------

    def hold(self, user: str, since: int | None = None) -> Record | None:
        """The user is wanted by one more, who has what the digest `since` says, or nothing. Returns the record if it is
        known; if several have something different of a record that is not, it has to be asked for as a whole."""
        held = self._held.get(user)
        if held is None:
            held = self._held[user] = HeldRecord()
            held.assume(since or NOTHING)
        elif held.record is None and held.digest != since:
            held.assume(NOTHING)
            held.link = 0
        return held.record

    def record(self, user: str) -> Record | None:
        """The newest record that is held."""
        held = self._held.get(user)
        return held.record if held is not None else None

    def is_of_link(self, user: str) -> bool:
        """Whether what is held holds on the present link."""
        held = self._held.get(user)
        return held is not None and held.link == self._link

    def checksum(self, users: Iterable[str]) -> int:
        """The sum of their digests, as the server makes it. O(users)."""
        held = self._held
        return sum([held[user].digest for user in users if user in held]) & _CHECKSUM_MASK

    def forget(self, users: Iterable[str]) -> None:
        """These are wanted by one less. O(users)."""
        for user in users:
            if not any(wanting.keeps(user) for wanting in self._wanting):
                self._held.pop(user, None)

    def records(self) -> Iterator[Record]:
        """Every record that is held."""
        for held in self._held.values():
            if held.record is not None:
                yield held.record

    # --- links ------------------------------------------------------------------------------------------------

    def standing(self, now_ms: int) -> Iterator[tuple[Make, OnReply | None]]:
        """See `Part`: another link. What is held is kept, and the server has the next word on it."""
        self._link += 1
        return iter(())

    def end(self, error: PresenceError | None) -> None:
        """See `Part`."""
        self._held.clear()


def hidden(user: str) -> Record:
    """The record of a user of whom nothing is known."""
    return Record(user, "offline", "", "", 0, 0, "", 0)
