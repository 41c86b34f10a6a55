"""What can be done and asked about a user's contacts (protocol.md, section 21.4); see `act_group`."""

from __future__ import annotations

from collections.abc import Iterable

from presenced.address import check_label, check_name
from presenced.client.act_group import ActGroup
from presenced.client.protocol.contact_lists import collected
from presenced.client.protocol.list_parts import ContactLike, entries_of, parts_of
from presenced.client.values import ContactsPage
from presenced.errors import AddressError, ConnectionLost
from presenced.limits import CONTACT_GROUPS_MAX, LABEL_BYTES_MAX, NOTE_BYTES_MAX
from presenced.wire import messages
from presenced.wire.messages import Done


class ContactActs(ActGroup):
    """See the module's docstring. All of these acts may be repeated: what holds already changes nothing, and nobody is
    told."""

    async def subscribe(self, user: str, contact: str, note: str = "") -> None:
        """Ask to see the contact's presence, with a line that says why (`note`, at most 256 bytes).

        Nothing is seen before the contact approves it. Raises `RequestError` (`contact_limit`, `bad_request` for
        oneself).
        """
        check_name(contact, "contact")
        _check(note, "note", NOTE_BYTES_MAX)
        await self._exchange.do(lambda request_id: messages.Subscribe(request_id, contact, note, user))

    async def approve(self, user: str, contact: str) -> None:
        """Let the contact see the user: at once if the contact has asked, else as soon as the contact asks. Raises
        `RequestError` (`contact_limit`, `bad_request` for oneself)."""
        check_name(contact, "contact")
        await self._exchange.do(lambda request_id: messages.Approve(request_id, contact, user))

    async def cancel(self, user: str, contact: str) -> None:
        """The contact is not to see the user: refuses a request, ends a subscription, takes an approval back."""
        check_name(contact, "contact")
        await self._exchange.do(lambda request_id: messages.Cancel(request_id, contact, user))

    async def unsubscribe(self, user: str, contact: str) -> None:
        """The user does not want to see the contact any longer, or takes back the request to."""
        check_name(contact, "contact")
        await self._exchange.do(lambda request_id: messages.Unsubscribe(request_id, contact, user))

    async def set_contact(
        self, user: str, contact: str, *, name: str | None = None, groups: Iterable[str] | None = None
    ) -> None:
        """Give a contact a display name (64 bytes) and groups (8 of 64 bytes); what is not given stays as it is. Puts
        the contact into the list. Raises `RequestError` (`contact_limit`, `bad_contact`)."""
        check_name(contact, "contact")
        if name is not None:
            _check(name, "name of a contact", LABEL_BYTES_MAX)
        listed = None if groups is None else _checked_groups(groups)
        await self._exchange.do(lambda request_id: messages.SetContact(request_id, contact, name, listed, user))

    async def remove_contact(self, user: str, contact: str) -> None:
        """Take a contact off the list. Neither sees the other any longer, and requests between the two end."""
        check_name(contact, "contact")
        await self._exchange.do(lambda request_id: messages.RemoveContact(request_id, contact, user))

    async def get_contacts(self, user: str, since: int = 0) -> ContactsPage:
        """The user's contacts in order of name, and those who ask to see the user; one request for each 256 or so.

        With `since`, the `version` of an earlier answer, only what has changed since then, if the server still knows
        it: `is_whole` says which of the two it is.
        """
        return await collected(
            lambda after: self._exchange.request(
                lambda request_id: messages.GetContacts(request_id, since, after, user), messages.ContactList
            )
        )

    async def set_contacts(self, user: str, contacts: Iterable[ContactLike]) -> None:
        """The user's list becomes exactly this, at once: `["bob", ContactEntry("carol", "to", "Carol", ["work"])]`.

        A plain name stands for a contact of whom each sees the other. The contacts' lists follow. For applications
        whose own database has the graph; one call at a time for a user. A list that does not fit one frame is sent in
        parts, and in whole again if the link is lost meanwhile. Raises `RequestError` (`contact_limit`, `bad_contact`);
        then nothing has changed.
        """
        exchange = self._exchange
        parts = parts_of(user, entries_of(contacts), exchange.frame_bytes_max)
        while True:
            try:
                link = await self._set_part(user, parts[0], len(parts) > 1, None)
                for number, part in enumerate(parts[1:], 2):
                    await self._set_part(user, part, number < len(parts), link)
                return
            except ConnectionLost:
                # The server has forgotten the parts that came on the lost link.
                exchange.link_state.refuse_closed()
                if len(parts) == 1:
                    raise

    async def _set_part(self, user: str, part: list[messages.ContactEntry], more: bool, link: int | None) -> int:
        """Send a part on the link of this number alone (None: the first, on any); returns the number of its link."""
        exchange, links = self._exchange, [0]

        def answered(reply: object) -> None:
            links[0] = exchange.link_number

        await exchange.request(
            lambda request_id: messages.SetContacts(request_id, user, part, more, link is not None),
            Done,
            answered,
            only_on=link,
        )
        return links[0]


def _checked_groups(groups: Iterable[str]) -> list[str]:
    if isinstance(groups, str):
        raise AddressError(f"give a list of groups, not the string {groups!r}", "bad_contact")
    listed = list(groups)
    if len(listed) > CONTACT_GROUPS_MAX:
        raise AddressError(f"a contact is in at most {CONTACT_GROUPS_MAX} groups", "bad_contact")
    for group in listed:
        if not group:
            raise AddressError("the name of a group is empty; leave it out", "bad_contact")
        _check(group, "name of a group", LABEL_BYTES_MAX)
    if len(set(listed)) < len(listed):
        raise AddressError("a group is named twice; name it once", "bad_contact")
    return listed


def _check(label: str, what: str, bytes_max: int) -> None:
    try:
        check_label(label, what, bytes_max)
    except AddressError as error:
        raise AddressError(error.message, "bad_contact") from None
