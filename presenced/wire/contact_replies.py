"""What the server sends about contacts and about who may see whom: types 85 to 89."""

from __future__ import annotations

from presenced.wire.types import AudienceLevel, ContactInfo, Message, Record


class ContactList(Message, tag=85):
    """The answer to getcontacts: a page of the user's list, or what has changed in it."""

    id: int
    user: str
    version: int
    """The list's own version; say it as `since` the next time."""
    is_whole: bool
    """These pages are the whole list; otherwise they are what has changed since the version that was asked about."""
    next: str
    """Ask for the next page with this as `after`; empty = this is the last."""
    contacts: list[ContactInfo]
    removed: list[str]
    """Contacts that are not in the list any longer."""


class ContactChange(Message, tag=86):
    """A contact of the user's own list has changed."""

    user: str
    version: int
    """The list's version with this change."""
    contact: ContactInfo
    removed: bool
    """The contact is not in the list any longer."""


class ContactRecords(Message, tag=87):
    """Behind the welcome: the records of the contacts whom the user sees."""

    epoch: int
    version: int
    records: list[Record]
    more: bool
    """Another of these follows."""


class BlockList(Message, tag=88):
    """The answer to getblocked: names in order."""

    id: int
    user: str
    blocked: list[str]
    hidden: list[str]
    """Those whom the user hides from."""


class AudienceInfo(Message, tag=89):
    """The answer to getaudience; the fields are those of setaudience."""

    id: int
    user: str
    text: AudienceLevel
    last_seen: AudienceLevel
    device: AudienceLevel
    always: list[str]
    never: list[str]
