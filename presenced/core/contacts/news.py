"""Who is told that a list of contacts has changed: the user's own links, followers of events, and those who watch."""

from __future__ import annotations

from presenced.core.contacts.transitions import subscription_of
from presenced.core.model import Session, User
from presenced.core.outboxes import Outboxes
from presenced.core.parts.events import Events
from presenced.core.permissions import Permissions
from presenced.core.roster import APPROVED, ASKED, ASKS, TO, Contact
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import ContactChange, ContactInfo


class ContactNews:
    """Tells of changes of lists, each at once."""

    def __init__(self, permissions: Permissions, events: Events, outboxes: Outboxes) -> None:
        self._permissions = permissions
        self._events = events
        self._outboxes = outboxes
        self._links: dict[str, dict[Session, None]] = {}
        """The links that are told of changes of their user's list, by the user's name."""
        self._missed: dict[Session, dict[str, int]] = {}
        """Links that do not read: whose entries have changed meanwhile, and the version of that; the latest last."""

    # --- the user's own links ---------------------------------------------------------------------------------

    def follow(self, session: Session) -> None:
        """The session's link is told of changes of its user's list from now on. Idempotent. O(1)."""
        self._links.setdefault(session.user_name, {})[session] = None

    def is_told_to(self, session: Session) -> bool:
        """Whether the session's link is told of changes. O(1)."""
        links = self._links.get(session.user_name)
        return links is not None and session in links

    def is_followed(self, name: str) -> bool:
        """Whether a link of the user is told of changes. O(1)."""
        return name in self._links

    def is_told(self, user: User) -> bool:
        """Whether anybody is told of changes of the user's list, or sees others by it. O(1)."""
        return bool(user.devices) or self._events.is_kept or user.name in self._links or self.has_viewer(user)

    def has_viewer(self, user: User) -> bool:
        """Whether a link without a device sees by the user's eyes. O(1)."""
        return self._permissions.has_viewer(user)

    def end_session(self, session: Session) -> None:
        """The session's link is told nothing any longer. Idempotent. O(1)."""
        self._missed.pop(session, None)
        links = self._links.get(session.user_name)
        if links is not None:
            links.pop(session, None)
            if not links:
                del self._links[session.user_name]

    def resume_session(self, session: Session, user: User | None) -> None:
        """The session's link reads again: tell it of each contact that has changed since. O(those)."""
        for name, version in self._missed.pop(session, {}).items():
            self._outboxes.push(session, _change_of(session.user_name, name, shown_contact(user, name), version))

    # --- what has changed -------------------------------------------------------------------------------------

    def changed(
        self,
        user: User,
        name: str,
        old: Contact,
        new: Contact,
        version: int,
        now_ms: int,
        *,
        is_event: bool = True,
    ) -> None:
        """The entry of this contact in the user's list is another, as the user sees it. `is_event`: followers hear of
        it from here. O(links of the user)."""
        links = self._links.get(user.name)
        if links:
            data = _change_of(user.name, name, new, version)
            for session in links:
                if not self._outboxes.push(session, data):
                    missed = self._missed.setdefault(session, {})
                    missed.pop(name, None)
                    missed[name] = version
        if is_event and self._events.is_kept:
            if new.flags & ASKS and not old.flags & ASKS:
                self._events.note_request(user.name, name, new.note, now_ms)
            before, after = subscription_of(old.flags), subscription_of(new.flags)
            if before != after:
                self._events.note_contact(user.name, name, before, after, now_ms)

    def sight_changed(self, viewer: User, subject: User, flags: int, now_ms: int) -> None:
        """The viewer has this to do with the subject now, and has begun to see them or has ended to. O(links of the
        viewer)."""
        if viewer.devices or subject.devices or self.has_viewer(viewer) or self.has_viewer(subject):
            self._permissions.contact_changed(now_ms, subject, viewer, sees=bool(flags & TO))

    def note_sight(self, viewer: str, subject: str) -> None:
        """The viewer is about to begin, or to end, to see the subject. O(links of the viewer)."""
        self._permissions.note_pair(subject, viewer)
        self._permissions.note_pair(viewer, subject)


def shown_contact(user: User | None, name: str) -> Contact:
    """What the user sees of this contact: of somebody whom the user has blocked no request. O(1)."""
    roster = user.contacts if user is not None else None
    if user is None or roster is None:
        return Contact(0)
    return shown(user, name, roster.contact(name))


def shown(user: User, name: str, contact: Contact) -> Contact:
    """The same of a contact that is at hand. O(1)."""
    if contact.flags & ASKS and has_blocked(user, name):
        return Contact(contact.flags & ~ASKS, contact.name, contact.groups)
    return contact


def has_blocked(user: User | None, name: str) -> bool:
    """Whether the user has blocked whoever has this name. O(1)."""
    return user is not None and user.privacy is not None and name in user.privacy.blocked


def info_of(name: str, contact: Contact) -> ContactInfo:
    """A contact as the user is told. O(groups)."""
    flags = contact.flags
    return ContactInfo(
        name,
        subscription_of(flags),
        bool(flags & ASKED),
        bool(flags & ASKS),
        bool(flags & APPROVED),
        contact.name,
        list(contact.groups),
        contact.note,
    )


def _change_of(user_name: str, name: str, contact: Contact, version: int) -> bytes:
    return frame(encode(ContactChange(user_name, version, info_of(name, contact), not contact.flags)))
