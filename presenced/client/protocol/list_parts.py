"""A list of contacts that a service sets as a whole, cut into parts that fit a frame (protocol.md, section 21.4)."""

from __future__ import annotations

from collections.abc import Iterable

from presenced.address import check_name
from presenced.errors import AddressError
from presenced.limits import CONTACTS_PER_REQUEST_MAX, REQUEST_ID_MAX
from presenced.wire.codec import encode
from presenced.wire.messages import ContactEntry, SetContacts

ContactLike = ContactEntry | str
"""A contact of a list: a `ContactEntry`, or the name of one who is seen and sees (`both`)."""


def entries_of(contacts: Iterable[ContactLike]) -> list[ContactEntry]:
    """The entries in order. Raises `AddressError` at the first that names no user."""
    if isinstance(contacts, str):
        raise AddressError(f"give a list of contacts, not the string {contacts!r}", "bad_request")
    entries: list[ContactEntry] = []
    for contact in contacts:
        entry = ContactEntry(contact) if isinstance(contact, str) else contact
        if not isinstance(entry, ContactEntry):
            kind = type(contact).__name__
            raise AddressError(f"entry {len(entries) + 1} is a {kind}; give names and ContactEntry", "bad_request")
        try:
            check_name(entry.contact, "contact")
        except AddressError as error:
            raise AddressError(f"entry {len(entries) + 1}: {error.message}", error.code) from None
        entries.append(entry)
    return entries


def parts_of(user: str, entries: list[ContactEntry], frame_bytes_max: int) -> list[list[ContactEntry]]:
    """The entries in parts, each of which fits a request; one empty part for an empty list. O(bytes)."""
    room = frame_bytes_max - len(encode(SetContacts(REQUEST_ID_MAX, user, [], True, True))) - ARRAY_BYTES
    parts: list[list[ContactEntry]] = [[]]
    left = room
    for entry in entries:
        size = len(encode(SetContacts(0, "", [entry]))) - _EMPTY_BYTES
        if parts[-1] and (size > left or len(parts[-1]) == CONTACTS_PER_REQUEST_MAX):
            parts.append([])
            left = room
        parts[-1].append(entry)
        left -= size
    return parts


ARRAY_BYTES = 4
"""How much longer the header of an array of many is than that of an empty one, at most."""

_EMPTY_BYTES = len(encode(SetContacts(0, "", [])))
