"""What clients send about contacts: types 36 to 43 (protocol.md, section 21.4)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from presenced.limits import CONTACTS_PER_REQUEST_MAX
from presenced.wire.types import ContactEntry, Message, RequestId, WallMs


class Subscribe(Message, tag=36):
    """Ask to see the contact from now on, with a line that says why."""

    id: RequestId
    contact: str
    note: str = ""
    user: str = ""
    """Who asks; empty = the link's own user, as in the other requests."""


class Approve(Message, tag=37):
    """Let the contact see the user: now if the contact has asked, else as soon as the contact asks."""

    id: RequestId
    contact: str
    user: str = ""


class Cancel(Message, tag=38):
    """The contact is not to see the user: refuses a request, ends a subscription, takes an approval back."""

    id: RequestId
    contact: str
    user: str = ""


class Unsubscribe(Message, tag=39):
    """The user does not want to see the contact any longer, or takes back the request to."""

    id: RequestId
    contact: str
    user: str = ""


class SetContact(Message, tag=40):
    """Put the contact into the user's list, with a name and groups; what is null stays as it is."""

    id: RequestId
    contact: str
    name: str | None = None
    groups: list[str] | None = None
    user: str = ""


class RemoveContact(Message, tag=41):
    """Take the contact off the user's list, and end all that is between the two."""

    id: RequestId
    contact: str
    user: str = ""


class GetContacts(Message, tag=42):
    """Ask for the user's list of contacts, or for what has changed in it."""

    id: RequestId
    since: WallMs = 0
    """The version of the list that the client has; 0 = none."""
    after: str = ""
    """The `next` of the page before; empty = from the first."""
    user: str = ""


class SetContacts(Message, tag=43):
    """A service sets a user's list as a whole."""

    id: RequestId
    user: str
    contacts: Annotated[list[ContactEntry], Meta(max_length=CONTACTS_PER_REQUEST_MAX)]
    more: bool = False
    """Others follow in the next request for this user: nothing is applied before the last of them."""
    continues: bool = False
    """These go on where the request before left off; else they begin a list, and one that was begun is dropped."""
