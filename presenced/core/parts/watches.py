"""Who watches whom: the two sides of one relation, changed only here, so that they cannot disagree.

A watcher is filed with the user by the face that the watcher is given (`core.faces`). Those who see the whole record
are in `User.watchers`, those who see less are with the face that they see, and those who see nothing are apart. So a
change costs nothing for watchers who may not see it, and no rights are checked when it is told.

When something changes that decides about faces, its owner says so here, and the watchers are filed anew at once. At the
end of the turn they are told what they see by their new face, unless they were told that before.

The file is long because whoever files a watcher has to know all reasons for which one is filed anew or let go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from presenced.core.faces import FULL, HIDDEN, SHOWN, hidden_record, is_same
from presenced.core.model import Session, Sink, User
from presenced.core.outboxes import Outboxes
from presenced.core.part import Part, Start
from presenced.core.parts.awaits import Awaits
from presenced.core.parts.session_leases import SessionLeases
from presenced.core.parts.users import Users
from presenced.core.policy import Policy
from presenced.core.publisher import Publisher
from presenced.core.roster import TO
from presenced.core.sight import Sight
from presenced.errors import RequestError
from presenced.wire.messages import Record


class Watches(Part):
    """Adds and removes watches, by name and of contacts, and files watchers by face."""

    def __init__(
        self,
        policy: Policy,
        users: Users,
        session_leases: SessionLeases,
        sight: Sight,
        publisher: Publisher,
        outboxes: Outboxes,
        awaits: Awaits,
    ) -> None:
        self._policy = policy
        self._users = users
        self._session_leases = session_leases
        self._sight = sight
        self._publisher = publisher
        self._outboxes = outboxes
        self._awaits = awaits
        self.count = 0
        """Watches of all sessions together."""
        self._late: dict[tuple[Session, User], None] = {}
        """Sessions among these that were not told the last record of the face that they had."""
        self._moved: dict[tuple[Session, User], Record | None] = {}
        """Watchers who were given another face in this turn, and what they were told before; None = nothing."""
        self._filed_with: dict[tuple[Session, User], Record] = {}
        """What that face said when they were filed by it."""

    # --- watching by name -------------------------------------------------------------------------------------

    def add(self, now_ms: int, session: Session, names: list[str]) -> list[User]:
        """Add users, known or not, to the session's watch; returns them in the order asked (protocol.md, 5.9).

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
        users = self._users.get_or_new_all(names)
        if self._sight.sees_wholly(session, users):
            # Nearly everybody sees nearly all others so. Whoever is filed already is filed there.
            sink = session.sink
            for user in users:
                watchers = user.watchers
                if watchers is None:
                    user.watchers = {session: sink}
                else:
                    watchers[session] = sink
            watching.update(zip(names, users, strict=True))
        else:
            contacts, file = session.watched_contacts, self._file
            for name, user in zip(names, users, strict=True):
                if name not in watching:
                    watching[name] = user
                    if contacts is None or name not in contacts:
                        file(now_ms, session, user)
        self.count += len(watching) - before
        return users

    def remove(self, session: Session, names: list[str]) -> None:
        """Take users off the session's watch; one that is not on it is no error. O(names)."""
        for name in names:
            user = session.watching.pop(name, None) if session.watching is not None else None
            if user is not None:
                if self._moved and not _watches(session, user):
                    # It is told nothing more of the user, also where it sees them otherwise since this turn.
                    for noted in (self._moved, self._filed_with, self._late):
                        noted.pop((session, user), None)
                self._stop(session, user)

    def set_all(self, session: Session, on: bool) -> None:
        """Tell the session of every user from now on, or no longer. Idempotent. What it watches by name stays."""
        self._outboxes.tell_everyone(session, is_on=on)

    # --- watching contacts ------------------------------------------------------------------------------------

    def add_contacts(self, now_ms: int, session: Session) -> list[tuple[User, int]]:
        """Let the session watch all contacts whom its user is subscribed to, now and whoever becomes one; returns those
        of now, each with the face that is given (protocol.md, section 21.5). O(contacts)."""
        contacts = session.watched_contacts = {}
        self._outboxes.expect(session)
        viewer, sink = session.viewer, session.sink
        if viewer is None or viewer.contacts is None:
            return []
        # Nearly everybody sees nearly all contacts wholly. To ask for each would double what a login costs.
        is_plain = self._sight.sees_contacts(viewer)
        find, make, file = self._users.get, self._users.new, self._file
        seen: list[tuple[User, int]] = []
        for name, contact in viewer.contacts.contacts.items():
            if not (contact if isinstance(contact, int) else contact.flags) & TO:
                continue
            user = contacts[name] = find(name) or make(name)
            if is_plain and user.privacy is None:
                if user.watchers is None:
                    user.watchers = {}
                user.watchers[session] = sink
                seen.append((user, FULL))
            else:
                seen.append((user, file(now_ms, session, user)))
        self.count += len(contacts)
        return seen

    def contact_gained(self, now_ms: int, viewer: User, subject: User) -> None:
        """The viewer is subscribed to the subject from now on: their links that watch contacts watch the subject, and
        are told of them with the turn. O(links of the viewer)."""
        for session in self.sessions_of(viewer):
            contacts = session.watched_contacts
            if contacts is None or subject.name in contacts:
                continue
            contacts[subject.name] = subject
            self.count += 1
            if session.watching is None or subject.name not in session.watching:
                self._file(now_ms, session, subject)
                self._moved.setdefault((session, subject), None)
                self._filed_with[session, subject] = self._sight.present(subject, self._filed(session, subject))

    def contact_lost(self, viewer: User, subject: User) -> None:
        """The viewer is not subscribed to the subject any longer. Who watches the subject as a contact alone does not
        any longer, and is told the hidden record with the turn. O(links of the viewer)."""
        for session in self.sessions_of(viewer):
            if session.watched_contacts is None or session.watched_contacts.pop(subject.name, None) is None:
                continue
            if session.watching is None or subject.name not in session.watching:
                self._note_before(session, subject)
            self._stop(session, subject)

    # --- what decides about faces has changed -----------------------------------------------------------------

    def pair_changed(self, now_ms: int, subject_name: str, viewer_name: str) -> None:
        """Something has changed that decides how the viewer sees the subject. O(links of the viewer)."""
        subject, viewer = self._users.get(subject_name), self._users.get(viewer_name)
        if subject is None:
            return
        # A viewer who was never seen may come later, and is shown the face then.
        self._keep_shown(now_ms, subject)
        for session in self.sessions_of(viewer) if viewer is not None else ():
            if _watches(session, subject):
                self._file_anew(now_ms, session, subject)
            self._awaits.pair_changed(session, subject)

    def subject_changed(self, now_ms: int, subject: User) -> None:
        """Something has changed that decides how anybody sees the subject. O(watchers)."""
        for watchers in _all_watchers(subject):
            for session in list(watchers):
                if session.viewer is not None:
                    self._file_anew(now_ms, session, subject)
        self._awaits.subject_changed(subject)

    def sessions_of(self, viewer: User) -> list[Session]:
        """The links of the user's own, with a device or without. O(devices, and these)."""
        sessions = (device.session for device in viewer.devices.values() if not device.ref)
        with_device = [session for session in sessions if session is not None and session.viewer is viewer]
        return [*with_device, *self._session_leases.seeing_as(viewer)]

    def has_viewer(self, user: User) -> bool:
        """Whether a link without a device sees by the user's eyes. O(1)."""
        return self._session_leases.keeps(user)

    def status_crossed(self, now_ms: int, subject: User) -> None:
        """The subject has come online or gone offline, which is about to be pushed. O(watchers, and who was filed anew
        in this turn)."""
        if subject.channels is None:
            return
        self.subject_changed(now_ms, subject)
        for (session, user), before in self._moved.items():
            if user is subject and self._filed(session, user) == FULL and before is not None and not before.version:
                # It is told by the push.
                self._filed_with[session, user] = before

    def viewer_changed(self, now_ms: int, viewer: User) -> None:
        """Something has changed that decides how the viewer sees anybody. O(what the viewer's links watch)."""
        for session in self.sessions_of(viewer):
            self.session_changed(now_ms, session)

    def session_changed(self, now_ms: int, session: Session) -> None:
        """Something has changed that decides how this link sees anybody: it has another token. O(what it watches)."""
        for user in {**(session.watching or {}), **(session.watched_contacts or {})}.values():
            self._file_anew(now_ms, session, user)
        self._awaits.session_changed(session)

    def rights_changed(self, session: Session, now_ms: int) -> None:
        """The link has another token, by which it may see others. O(what it watches)."""
        if self._outboxes.is_told_all(session):
            self._outboxes.tell_everyone(session, is_on=True)
        self.session_changed(now_ms, session)

    # --- what the engine asks ---------------------------------------------------------------------------------

    def keeps(self, user: User) -> bool:
        """Whether the user is watched."""
        return bool(user.watchers) or bool(user.hidden_watchers) or user.faces is not None

    def resume(self, users: Sequence[User], start: Start) -> None:
        """Devices that have shown themselves are shown again."""
        for user in users:
            if user.privacy is not None and user.privacy.shown_to:
                self._keep_shown(start.now_ms, user)

    def let_go(self, session: Session, lost_ms: int, most: int) -> int:
        """Take users off its watch, some at a time."""
        count = 0
        if session.parked is not None and session.watching:
            session.parked.keep(islice(reversed(session.watching), most))
        for watched in (session.watching, session.watched_contacts):
            while watched and count < most:
                self._stop(session, watched.popitem()[1])
                count += 1
        if not session.watching and not session.watched_contacts:
            session.watching = session.watched_contacts = None
        return count

    def settle(self, now_ms: int) -> None:
        """Tell those who were given another face what they see by it. O(these)."""
        if not self._moved:
            return
        moved, self._moved = self._moved, {}
        for (session, user), before in moved.items():
            if session.ended:
                self._users.forget_if_blank(user)
                continue
            if not _watches(session, user):
                # A contact who is one no longer. In order with the replies, since nothing more is told of the user.
                if before is not None and before.version:
                    self._outboxes.tell_last(session, user, hidden_record(user))
                self._users.forget_if_blank(user)
                continue
            kind = self._filed(session, user)
            is_late = user.push_waits or self._outboxes.wide.is_under_way(user) or (session, user) in self._late
            present = self._sight.present(user, kind)
            if not is_late and not is_same(present, self._filed_with.get((session, user), present)):
                # The record has changed since, and all who are filed there were told of that.
                continue
            record = self._telling(user, kind, before)
            if before is None or is_late or not is_same(record, before):
                self._outboxes.tell(session, user, record, before.version if before is not None else 0)
        self._filed_with.clear()
        self._late.clear()

    def check(self, users: Iterable[User]) -> None:
        """Every watcher is filed once, by the face that it has. O(watches)."""
        for user in users:
            filed: dict[Session, None] = {}
            for watchers in _all_watchers(user):
                for session, sink in watchers.items():
                    assert session not in filed, f"{user.name} has a watcher filed twice"
                    filed[session] = None
                    assert sink is session.sink, f"{user.name} is told to a link that is not the watching session's"
                    assert session.ended or _watches(session, user), f"{user.name} has a watcher that does not watch it"
                    if not session.ended:
                        kind = self._sight.face(session, user)
                        assert kind == self._filed(session, user), f"{user.name} has a watcher filed by another face"

    # --- within -----------------------------------------------------------------------------------------------

    def _file(self, now_ms: int, session: Session, user: User) -> int:
        """File the watcher by the face that it is given now, and return that."""
        kind = self._sight.face(session, user)
        if kind == FULL:
            if user.watchers is None:
                user.watchers = {}
            user.watchers[session] = session.sink
        elif kind == HIDDEN:
            if user.hidden_watchers is None:
                user.hidden_watchers = {}
            user.hidden_watchers[session] = session.sink
        else:
            face = user.faces.get(kind) if user.faces is not None else None
            if face is None:
                face = self._publisher.face_records.new(user, kind, now_ms)
            face.watchers[session] = session.sink
        return kind

    def _filed(self, session: Session, user: User) -> int:
        """By which face the watcher is filed."""
        if user.watchers is not None and session in user.watchers:
            return FULL
        for kind, face in (user.faces or {}).items():
            if session in face.watchers:
                return kind
        return HIDDEN

    def _take_out(self, session: Session, user: User) -> None:
        """Take the watcher out of wherever it is filed."""
        if user.watchers is not None and user.watchers.pop(session, None) is not None:
            if not user.watchers:
                user.watchers = None
        elif user.hidden_watchers is not None and user.hidden_watchers.pop(session, None) is not None:
            if not user.hidden_watchers:
                user.hidden_watchers = None
        else:
            for kind, face in (user.faces or {}).items():
                if face.watchers.pop(session, None) is not None:
                    if not face.watchers:
                        self._drop_face(user, kind)
                    break

    def _file_anew(self, now_ms: int, session: Session, user: User) -> None:
        if self._filed(session, user) != self._sight.face(session, user):
            self._note_before(session, user)
            self._take_out(session, user)
            kind = self._file(now_ms, session, user)
            if (before := self._moved[session, user]) is not None and before.version:
                # If the record changes in this turn as well, it is told of that with all who are filed there.
                self._sight.keep_above(user, kind, before.version)
            self._filed_with[session, user] = self._sight.present(user, self._filed(session, user))

    def _note_before(self, session: Session, user: User) -> None:
        """Keep what the watcher was told of the user before the first change of this turn."""
        if (session, user) in self._moved:
            return
        kind = self._filed(session, user)
        if kind == HIDDEN:
            before = hidden_record(user)
        else:
            face = user.faces.get(kind) if user.faces is not None else None
            before = face.record if face is not None else self._publisher.face_records.told(user)
            if face is not None and (face.push_waits or self._outboxes.wide.is_under_way(face)):
                # It was not told all of it.
                self._late[session, user] = None
        self._moved[session, user] = before

    def _telling(self, user: User, kind: int, before: Record | None) -> Record:
        """What to tell a watcher of its new face: the record, above whatever it was told of the user before."""
        record = self._sight.present(user, kind)
        if not record.version or before is None or not before.version:
            return record
        return self._publisher.face_records.raised(user, kind, record, before.version)

    def _stop(self, session: Session, user: User) -> None:
        """It watches the user no longer for one of two reasons; if there is no other, the watch ends."""
        self.count -= 1
        if _watches(session, user):
            return
        if session.owed is not None:
            self._outboxes.forgive(session, user)
        self._take_out(session, user)
        if (session, user) not in self._moved:
            self._users.forget_if_blank(user)

    def _keep_shown(self, now_ms: int, user: User) -> None:
        """Keep the face that is shown to some while the user appears offline, for as long as there are such."""
        if user.privacy is not None and user.privacy.shown_to:
            if user.faces is None or SHOWN not in user.faces:
                self._publisher.face_records.new(user, SHOWN, now_ms)
        elif user.faces is not None and SHOWN in user.faces:
            self._drop_face(user, SHOWN)

    def _drop_face(self, user: User, kind: int) -> None:
        """Forget a face that nobody is shown."""
        faces = user.faces
        if faces is None or faces[kind].watchers:
            return
        if kind == SHOWN and user.privacy is not None and user.privacy.shown_to:
            return
        self._publisher.face_records.drop(user, kind)


def _watches(session: Session, user: User) -> bool:
    """Whether the session watches the user, by name or as a contact."""
    name = user.name
    return (session.watching is not None and name in session.watching) or (
        session.watched_contacts is not None and name in session.watched_contacts
    )


def _all_watchers(user: User) -> list[dict[Session, Sink]]:
    """All who watch the user, by where they are filed."""
    filed = [face.watchers for face in (user.faces or {}).values()]
    return [user.watchers or {}, user.hidden_watchers or {}, *filed]
