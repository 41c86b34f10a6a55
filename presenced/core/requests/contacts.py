"""Requests about contacts: who asks to see whom, who allows it, and a user's list (protocol.md, section 21.4)."""

from __future__ import annotations

from presenced.address import check_cursor, check_label, check_name
from presenced.core.contacts.transitions import subscription_of
from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.replies import acknowledge, quoted, reply
from presenced.core.requests import costs
from presenced.core.requests.handler import Handler
from presenced.core.targets import (
    known_user,
    name_of,
    require_durability,
    require_memory,
    require_service,
    user_of,
)
from presenced.errors import AddressError, RequestError
from presenced.limits import CONTACT_GROUPS_MAX, NOTE_BYTES_MAX
from presenced.wire.messages import (
    Approve,
    Cancel,
    ContactEntry,
    ContactList,
    GetContacts,
    RemoveContact,
    SetContact,
    SetContacts,
    Subscribe,
    Unsubscribe,
)


def _check_contact(engine: Engine, user: str, contact: str) -> None:
    """Raise `AddressError` or `RequestError` unless the user can have this contact."""
    if contact not in engine.users:
        check_name(contact, "contact")
    if contact == user:
        raise RequestError("bad_request", "the contact is the user; nobody is a contact of their own")


def _check_description(name: str | None, groups: list[str] | None) -> None:
    """Raise `RequestError` (`bad_contact`) unless a contact can have this name and these groups."""
    if name:
        _check_label(name, "contact's name")
    if not groups:
        return
    if len(groups) > CONTACT_GROUPS_MAX:
        raise RequestError("bad_contact", f"a contact is in at most {CONTACT_GROUPS_MAX} groups")
    for group in groups:
        if not group:
            raise RequestError("bad_contact", "a group's name is empty; leave the group out")
        _check_label(group, "group's name")
    if len(set(groups)) < len(groups):
        raise RequestError("bad_contact", "a group is named twice; name each once")


def _check_label(label: str, what: str, **bytes_max: int) -> None:
    try:
        check_label(label, what, **bytes_max)
    except AddressError as error:
        raise RequestError("bad_contact", error.message) from None


def _check_new(engine: Engine, session: Session, message: Subscribe | Approve | SetContact) -> None:
    """Raise unless there is memory for a contact who may be new to the user."""
    user = known_user(engine, session, message.user)
    if user is None or user.contacts is None or message.contact not in user.contacts.contacts:
        require_memory(engine)


def _subscribe(engine: Engine, session: Session, now_ms: int, message: Subscribe) -> None:
    require_durability(engine)
    _check_contact(engine, name_of(engine, session, message.user), message.contact)
    _check_label(message.note, "note", bytes_max=NOTE_BYTES_MAX)
    _check_new(engine, session, message)
    user = user_of(engine, session, message.user)
    engine.contacts.subscribe(user, message.contact, message.note, now_ms)
    acknowledge(engine, session, message.id)


def _approve(engine: Engine, session: Session, now_ms: int, message: Approve) -> None:
    require_durability(engine)
    _check_contact(engine, name_of(engine, session, message.user), message.contact)
    _check_new(engine, session, message)
    engine.contacts.approve(user_of(engine, session, message.user), message.contact, now_ms)
    acknowledge(engine, session, message.id)


def _cancel(engine: Engine, session: Session, now_ms: int, message: Cancel) -> None:
    require_durability(engine)
    _check_contact(engine, name_of(engine, session, message.user), message.contact)
    user = known_user(engine, session, message.user)
    if user is not None:
        engine.contacts.cancel(user, message.contact, now_ms)
    acknowledge(engine, session, message.id)


def _unsubscribe(engine: Engine, session: Session, now_ms: int, message: Unsubscribe) -> None:
    require_durability(engine)
    _check_contact(engine, name_of(engine, session, message.user), message.contact)
    user = known_user(engine, session, message.user)
    if user is not None:
        engine.contacts.unsubscribe(user, message.contact, now_ms)
    acknowledge(engine, session, message.id)


def _set_contact(engine: Engine, session: Session, now_ms: int, message: SetContact) -> None:
    require_durability(engine)
    _check_contact(engine, name_of(engine, session, message.user), message.contact)
    _check_description(message.name, message.groups)
    _check_new(engine, session, message)
    user = user_of(engine, session, message.user)
    engine.contacts.set(user, message.contact, message.name, message.groups, now_ms)
    acknowledge(engine, session, message.id)


def _remove_contact(engine: Engine, session: Session, now_ms: int, message: RemoveContact) -> None:
    require_durability(engine)
    _check_contact(engine, name_of(engine, session, message.user), message.contact)
    user = known_user(engine, session, message.user)
    if user is not None:
        engine.contacts.remove(user, message.contact, now_ms)
    acknowledge(engine, session, message.id)


def _get_contacts(engine: Engine, session: Session, now_ms: int, message: GetContacts) -> None:
    check_cursor(message.after)
    name = name_of(engine, session, message.user)
    if name == session.user_name:
        engine.contacts.follow(session)
    user = engine.users.get(name)
    roster = user.contacts if user is not None else None
    if user is None or roster is None:
        reply(engine, session, ContactList(message.id, name, 0, True, "", [], []))
        return
    changes = engine.contacts.changes(user, message.since) if not message.after else None
    if changes is not None:
        reply(engine, session, ContactList(message.id, name, roster.version, False, "", *changes))
        return
    contacts, following = engine.contacts.page(user, message.after)
    reply(engine, session, ContactList(message.id, name, roster.version, True, following, contacts, []))


def _set_contacts(engine: Engine, session: Session, now_ms: int, message: SetContacts) -> None:
    require_service(session)
    try:
        if not message.user:
            check_name(message.user, "user")
        _check_entries(engine, session, message)
        lists = engine.contacts.lists
        entries = lists.add(session, message.user, message.contacts, more=message.more, continues=message.continues)
        if entries is not None:
            engine.contacts.set_all(user_of(engine, session, message.user), entries, now_ms)
    except (RequestError, AddressError):
        engine.contacts.lists.refuse(session, message.user)
        raise
    acknowledge(engine, session, message.id)


def _check_consent(engine: Engine, session: Session, user: str, entry: ContactEntry) -> None:
    """A list that is set speaks for both sides. A service that may not act for the contact leaves theirs as it is.

    Raises `RequestError` (`forbidden`).
    """
    if session.rights is None or session.rights.acts_for(entry.contact):
        return
    known = engine.users.get(user)
    flags = known.contacts.flags(entry.contact) if known is not None and known.contacts is not None else 0
    if entry.subscription not in ("none", subscription_of(flags)):
        sentence = f"this link may not act for {quoted(entry.contact)}, whose list this would change; subscribe instead"
        raise RequestError("forbidden", sentence)


def _check_entries(engine: Engine, session: Session, message: SetContacts) -> None:
    require_durability(engine)
    require_memory(engine)
    user = name_of(engine, session, message.user)
    for place, entry in enumerate(message.contacts, 1):
        try:
            _check_contact(engine, user, entry.contact)
            _check_description(entry.name, entry.groups)
            _check_consent(engine, session, user, entry)
        except (RequestError, AddressError) as error:
            sentence = f"contact {place} of {len(message.contacts)}: {error.message}"
            raise RequestError(error.code, sentence) from None


HANDLERS: dict[type, Handler] = {
    Subscribe: Handler(_subscribe, changes=True),
    Approve: Handler(_approve, changes=True),
    Cancel: Handler(_cancel, changes=True),
    Unsubscribe: Handler(_unsubscribe, changes=True),
    SetContact: Handler(_set_contact, changes=True),
    RemoveContact: Handler(_remove_contact, changes=True),
    GetContacts: Handler(_get_contacts, costs.contacts, has_long_answer=True),
    SetContacts: Handler(_set_contacts, costs.contact_list, changes=True),
}
