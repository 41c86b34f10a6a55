"""What one link is told of one user: the face that it is given, and the record of that face (protocol.md, section 21).

Every answer about others goes through here, and so does whatever is told of them unasked. Most links see most users
wholly, and for those it is three comparisons.
"""

from __future__ import annotations

from presenced.core.faces import FULL, HIDDEN, SHOWN, Grounds, face, hidden_record, reduced
from presenced.core.ledger import Ledger
from presenced.core.model import Session, User, unknown_record
from presenced.core.policy import Policy
from presenced.core.publisher import Publisher
from presenced.wire.messages import Record


class Sight:
    """Answers for sessions; changes nothing but a count. All is O(1), with the ground `channels` O(channels)."""

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
        """The same for whatever is answered to a user by other ways than a link of theirs."""
        return face(viewer, user, self.grounds, None)

    def sees_contacts(self, viewer: User) -> bool:
        """Whether the viewer wholly sees every contact who has said nothing about privacy."""
        grounds = self.grounds
        return (grounds.contacts or grounds.everyone) and not grounds.reciprocal and viewer.privacy is None

    def sees_all(self, session: Session) -> bool:
        """Whether the session's link sees every user wholly."""
        return session.viewer is None and (session.rights is None or not session.rights.is_narrow)

    def answer(self, session: Session, user: User) -> Record:
        """The record to answer the session with, encoded already if it can be shared."""
        kind = self.face(session, user)
        return self._publisher.record_of(user) if kind == FULL else self.record(user, kind)

    def record(self, user: User, kind: int) -> Record:
        """The record of a face, to answer with."""
        if kind == FULL:
            return self._publisher.record_of(user)
        if kind == HIDDEN:
            self.hidden_answers += 1
        return self.present(user, kind)

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

    def shown(self, session: Session, user: User) -> Record:
        """What the session's link is told of the user now, if it watches the user."""
        return self.present(user, self.face(session, user))

    def unknown(self, name: str) -> Record:
        """The record of a name of which nothing is known."""
        self.hidden_answers += 1
        return unknown_record(name)
