"""What one link is shown of one user: the face that it is given, and the record of that face (protocol.md, section 21).

Every answer about others goes through here, and so does every push. Most links see most users as a whole, and for those
it costs three comparisons.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter

from msgspec.structs import replace

from presenced.core.faces import FULL, HIDDEN, SHOWN, Grounds, face, hidden_record, reduced
from presenced.core.ledger import Ledger
from presenced.core.model import Session, User, unknown_record
from presenced.core.policy import Policy
from presenced.core.publisher import Publisher
from presenced.digests import digest
from presenced.wire.messages import Record

_digest, _privacy = attrgetter("digest"), attrgetter("privacy")


class Sight:
    """Answers for sessions; changes nothing but what it keeps of these answers. All is O(1), with the ground `channels`
    O(channels)."""

    def __init__(self, policy: Policy, ledger: Ledger, publisher: Publisher) -> None:
        self.grounds = Grounds(
            everyone="everyone" in policy.grounds,
            contacts="contacts" in policy.grounds,
            channels="channels" in policy.grounds,
            domain="domain" in policy.grounds,
            reciprocal=policy.reciprocal,
        )
        self._is_open = self.grounds.everyone and not self.grounds.reciprocal
        """Whether a pair of users who have said nothing about privacy see each other."""
        self._ledger = ledger
        self._publisher = publisher
        self._answered: dict[User, None] = {}
        """Users of whom a face that is neither whole nor hidden was told in the version `_answered_in`."""
        self._answered_in = -1
        self.hidden_answers = 0
        """Records that were answered as those of names never seen, though something may be known, counted for the
        operator."""

    def face(self, session: Session, user: User) -> int:
        """Which face of the user the session's link is given (`faces`)."""
        viewer = session.viewer
        if viewer is None:
            rights = session.rights
            return FULL if rights is None or rights.sees(user.name) else HIDDEN
        if self._is_open and user.privacy is None and viewer.privacy is None:
            return FULL
        return face(viewer, user, self.grounds, session.rights)

    def face_for(self, viewer: User, user: User) -> int:
        """Which face of the user another user is given, in answers that do not go to a link of theirs."""
        return face(viewer, user, self.grounds, None)

    def sees_contacts(self, viewer: User) -> bool:
        """Whether the viewer wholly sees every contact who has said nothing about privacy."""
        grounds = self.grounds
        return (grounds.contacts or grounds.everyone) and not grounds.reciprocal and viewer.privacy is None

    def sees_wholly(self, session: Session, users: Iterable[User]) -> bool:
        """Whether the session's link is given the whole record of each of these users. False says nothing: each is to
        be asked for. O(users), at a tenth of what it costs to ask for each."""
        viewer = session.viewer
        if viewer is None:
            return self.sees_all(session)
        return self._is_open and viewer.privacy is None and not any(map(_privacy, users))

    def sees_all(self, session: Session) -> bool:
        """Whether the session's link sees every user wholly."""
        return session.viewer is None and (session.rights is None or not session.rights.is_narrow)

    def answer(self, session: Session, user: User) -> Record:
        """The record to answer the session with, encoded already if it can be shared."""
        kind = self.face(session, user)
        return self._publisher.record_of(user) if kind == FULL else self.record(user, kind)

    def answers(self, session: Session, users: Sequence[User]) -> list[Record]:
        """The records of several users to answer the session with. O(users)."""
        if self.sees_wholly(session, users):
            return self._publisher.records_of(users)
        answer = self.answer
        return [answer(session, user) for user in users]

    def record(self, user: User, kind: int) -> Record:
        """The record of a face, to answer with."""
        if kind == FULL:
            return self._publisher.record_of(user)
        if kind == HIDDEN:
            self.hidden_answers += 1
        else:
            self._note_answer(user)
        return self.present(user, kind)

    def _note_answer(self, user: User) -> None:
        version = self._ledger.version
        if version != self._answered_in:
            self._answered.clear()
            self._answered_in = version
        self._answered[user] = None

    def keep_above(self, user: User, kind: int, told: int) -> None:
        """Who was told another face of the user in the version `told` is told this one from now on, and takes nothing
        older: what is told by it next is above that, and above what was answered just now. Nothing happens where it is
        in any case. O(1)."""
        version = self._ledger.version
        if version == self._answered_in and user in self._answered:
            told = max(told, version)
        if told >= version:
            self._publisher.face_records.keep_above(user, kind, told)

    def present(self, user: User, kind: int) -> Record:
        """The record of a face as it is now. That of a face which is not whole has the version of this moment."""
        if kind == FULL:
            return user.record
        if kind == HIDDEN:
            return hidden_record(user)
        version = self._ledger.version
        if kind != SHOWN:
            return reduced(user.record, kind, version)
        assert user.faces is not None
        return reduced(user.faces[SHOWN].record, FULL, version)

    def digest(self, user: User, kind: int) -> int:
        """The digest of the record of a face as it is now (protocol.md, section 6.6)."""
        if kind == FULL:
            return user.digest if user.digest >= 0 else user.record_digest()
        if kind == HIDDEN:
            return 0
        kept = user.faces.get(kind) if user.faces is not None else None
        # Of a face that somebody watches by it is kept: it says the same as one that is made now.
        return kept.record_digest() if kept is not None else digest(self.present(user, kind))

    def differing(self, session: Session, users: Iterable[tuple[str, User | None, int]]) -> list[Record]:
        """The records of those of these users that differ from what the session's link has of them, which it tells by a
        digest each; in order, whoever is known (None = is not). Whatever is answered depends on this and on what the
        link may see now. O(users)."""
        face, differing = self.face, []
        for name, user, had in users:
            if user is None:
                # Counted also if there is nothing to answer: to be told nothing is an answer.
                record = self.unknown(name)
                if had:
                    differing.append(record)
                continue
            kind = face(session, user)
            if kind == FULL:
                if (user.digest if user.digest >= 0 else user.record_digest()) != had:
                    differing.append(self._publisher.record_of(user))
                continue
            self.hidden_answers += kind == HIDDEN
            if self.digest(user, kind) != had:
                differing.append(self._told(session, user, kind))
        return differing

    def checksum(self, session: Session, users: Iterable[User], *, are_contacts: bool = False) -> int:
        """The sum of the digests of these users as the session's link sees them, not yet cut to 32 bits. With
        `are_contacts` they are those whom the viewer is subscribed to. O(users)."""
        viewer = session.viewer
        if viewer is None:
            is_plain = self.sees_all(session)
        else:
            is_plain = self.sees_contacts(viewer) if are_contacts else self._is_open and viewer.privacy is None
        users = list(users)
        # Nearly everybody is seen wholly. To ask for each would cost five times as much as to add up.
        if is_plain and (viewer is None or not any(map(_privacy, users))):
            total: int = sum(map(_digest, users))
            # One that is not made makes any sum negative.
            return total if total >= 0 else sum([user.record_digest() for user in users])
        return sum([self.digest(user, self.face(session, user)) for user in users])

    def shown(self, session: Session, user: User, above: int = 0) -> Record:
        """What the session's link is told of the user now, if it watches the user. `above`: the version of what it was
        told by another face; it is told of all that comes later in higher versions than of this."""
        kind = self.face(session, user)
        if above and (record := self.present(user, kind)).version:
            return self._publisher.face_records.raised(user, kind, record, above)
        return self._told(session, user, kind)

    def _told(self, session: Session, user: User, kind: int) -> Record:
        """The record of a face as it is now, for a link that may watch by it, and may have been told of it in a version
        that is ahead of the counter: it takes nothing older."""
        if kind not in (FULL, HIDDEN):
            self._note_answer(user)
        record, kept = self.present(user, kind), user.faces.get(kind) if user.faces is not None else None
        if kept is None or session not in kept.watchers or kept.record.version <= record.version:
            return record
        return replace(record, version=kept.record.version)

    def unknown(self, name: str) -> Record:
        """The record of a name of which nothing is known."""
        self.hidden_answers += 1
        return unknown_record(name)
