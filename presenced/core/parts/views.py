"""What clients have of those whom they watch, beside what they are to see: differences, and checksums (protocol.md,
section 22).

A client says what it has, and the answer follows from that and from what it may see at this moment. Nothing is kept of
what it was told before: whatever has happened since, on other links, in other lives of the server, or to the rights of
the client, the answer is right, and it tells nothing but what is to be seen now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from presenced.core.model import Face, Session, User
from presenced.core.outboxes import Outboxes
from presenced.core.part import Part
from presenced.core.parts.positions import Positions
from presenced.core.parts.users import Users
from presenced.core.record_pushes import RecordPushes
from presenced.core.sight import Sight
from presenced.digests import digest
from presenced.wire.codec import encode
from presenced.wire.messages import Checked, Record

_CHECKSUM_MASK: Final = 2**32 - 1

_CHECKED_BYTES: Final = 48
"""Of a frame with a checksum, at most."""


class Views(Part):
    """Compares, and adds up. Changes nothing of what anybody sees."""

    def __init__(
        self,
        users: Users,
        sight: Sight,
        positions: Positions,
        pushes: RecordPushes,
        outboxes: Outboxes,
    ) -> None:
        self.checks = 0
        """Checksums that were told, counted for the operator."""
        self.differences = 0
        """Records that clients were told because they had others, likewise."""
        self.failed = 0
        """Comparisons that a client asked for because its checksum was not the server's, likewise."""
        self._users = users
        self._sight = sight
        self._positions = positions
        self._pushes = pushes
        self._outboxes = outboxes
        self._named: dict[Session, dict[str, None]] = {}
        """Of a comparison in several pages: the contacts that those so far have named."""
        self._asked: dict[Session, list[int]] = {}
        """Checks that are answered when the turn ends, or the link does."""
        self._late: dict[Session, list[int]] = {}
        """Checks of links that do not read: they are answered behind what the link is owed."""
        self._told: dict[Session, dict[User | Face, int]] = {}
        """Of whom a session was told for its last check what others are told later, and in which version."""
        self._resumed: dict[Session, list[int]] = {}
        """The same of links that read again, to be answered when the turn ends."""

    # --- differences ------------------------------------------------------------------------------------------

    def watched(self, session: Session, users: Sequence[User], have: Sequence[int]) -> list[Record]:
        """The records of these users, whom the session watches, that differ from what its client has. O(users)."""
        names = (user.name for user in users)
        records = self._sight.differing(session, zip(names, users, have, strict=True))
        self.differences += len(records)
        return records

    def compare(
        self, session: Session, names: Sequence[str], have: Sequence[int], *, more: bool, failed: bool
    ) -> list[Record]:
        """The records that differ from what the client has of the users named. When nothing more follows, the session
        is also told of each contact that it watches and has not named in these pages. O(names), and O(contacts) for the
        last page of a link that watches contacts."""
        self.failed += failed and not more
        # In the order of the names: it must not tell who was never seen.
        records = self._sight.differing(session, zip(names, map(self._users.get, names), have, strict=True))
        self.differences += len(records)
        if session.watched_contacts is not None:
            self._note_named(session, names, more=more)
        return records

    def unnamed(self, session: Session, names: Sequence[str]) -> int:
        """How many contacts of the session's watch neither these names nor the pages before have. O(names of all
        pages)."""
        contacts, named = session.watched_contacts or {}, self._named.get(session, {})
        # Some of those that were named may be contacts no longer.
        return len(contacts) - len({name for name in (*named, *names) if name in contacts})

    def _note_named(self, session: Session, names: Sequence[str], *, more: bool) -> None:
        contacts = session.watched_contacts
        assert contacts is not None
        named = self._named.setdefault(session, {})
        named.update((name, None) for name in names if name in contacts)
        if more:
            return
        del self._named[session]
        sight = self._sight
        for user in [user for name, user in contacts.items() if name not in named]:
            record = sight.shown(session, user)
            if digest(record):
                self.differences += 1
                self._outboxes.tell(session, user, record)

    # --- checksums --------------------------------------------------------------------------------------------

    def expect_check(self, session: Session, request_id: int) -> None:
        """The session has asked for a checksum: `answer_check` is to follow when the turn ends. O(1)."""
        self._asked.setdefault(session, []).append(request_id)

    def answer_check(self, session: Session, request_id: int) -> None:
        """Tell the session whatever it is owed of the users it watches, and behind that the checksum of all of them.
        A link that does not read is told when it reads again, or ends. Nothing happens if it has ended since it asked,
        and was told then. O(users watched, and users of whom something waits)."""
        asked = self._asked.get(session)
        if asked is None:
            return
        asked.remove(request_id)
        if not asked:
            del self._asked[session]
        if session.owed is not None:
            self._late.setdefault(session, []).append(request_id)
            self._outboxes.expect_reply(session, _CHECKED_BYTES)
            return
        self._answer_checks(session, [request_id])

    def _answer_checks(self, session: Session, request_ids: Sequence[int]) -> None:
        self._tell_waiting(session)
        self._outboxes.tell_owed(session)
        watching, contacts = session.watching or {}, session.watched_contacts or {}
        total, users = self._sight.checksum(session, watching.values()), len(watching)
        if contacts:
            others = (
                [user for name, user in contacts.items() if name not in watching] if watching else contacts.values()
            )
            total += self._sight.checksum(session, others, are_contacts=True)
            users += len(others)
        self.checks += len(request_ids)
        epoch, version = self._positions.place_of(session)
        for request_id in request_ids:
            answer = Checked(request_id, epoch, version, users, total & _CHECKSUM_MASK)
            self._outboxes.reply(session, encode(answer))

    def _tell_waiting(self, session: Session) -> None:
        """Tell the session now of the users whom it watches and of whom others are told later: their changes are
        spaced, or told to very many."""
        before, told = self._told.pop(session, {}), {}
        for one in self._pushes.untold():
            if self._is_told_by(session, one):
                told[one] = one.record.version
                if before.get(one) != one.record.version:
                    user = one.user if isinstance(one, Face) else one
                    self._outboxes.tell(session, user, self._sight.shown(session, user))
        if told:
            self._told[session] = told

    def _is_told_by(self, session: Session, one: User | Face) -> bool:
        if one.watchers and session in one.watchers:
            return True
        return isinstance(one, User) and self._outboxes.is_told(session, one)

    def resume_session(self, session: Session) -> None:
        """The link reads again, and has been queued what it is owed: its checks are answered behind that, and behind
        what is told at the end of this turn."""
        late = self._late.pop(session, None)
        if late is not None:
            self._resumed.setdefault(session, []).extend(late)

    def settle(self, now_ms: int) -> None:
        """Answer the checks of links that read again: one sum for all of a link. O(users watched by these)."""
        if not self._resumed:
            return
        resumed, self._resumed = self._resumed, {}
        for session, request_ids in resumed.items():
            if session.owed is not None:
                self._late[session] = request_ids + self._late.get(session, [])
            else:
                self._answer_checks(session, request_ids)

    def end_session(self, session: Session, now_ms: int) -> None:
        """What was begun for the session is of no use any longer. Checks that wait are answered, since a link is
        answered before it ends (protocol.md, 4.4): O(users watched) if there are any. They are of what it was told so
        far, since it watches nobody when the turn ends."""
        self._named.pop(session, None)
        late = [*self._resumed.pop(session, ()), *self._late.pop(session, ()), *self._asked.pop(session, ())]
        if late:
            self._answer_checks(session, late)
        self._told.pop(session, None)
