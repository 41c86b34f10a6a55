"""Brings a client's view, all users whom it watches by name or as contacts, up to date on each new link, and proves it.

The server is told what is held, a digest for each user, and tells what differs; a checksum over all digests tells in a
few bytes whether anything does (protocol.md, section 22). What a client does when it comes back:

* The server has taken back what the lost link watched (`Welcome.resumed`): the checksum is asked for. Mostly nothing
  has changed in the moment that the link was away, and nothing else is said. If it is another, all is compared.
* Else the names are watched again with what is held of them (`watched_users`), and the contacts compared.

This leaves with the hello where it is little, so that the answer comes with the welcome.

A comparison does not tell that somebody is a contact no longer. That shows with the checksum, which counts the users,
and then the list of contacts is asked for. Nor does it tell that somebody who is watched by name has become a contact:
a client that watches by name as well asks for the list on each link, from the version on that it has.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from presenced.client.log_fields import fields
from presenced.client.protocol.held_records import HeldRecords
from presenced.client.protocol.pending_requests import Make, OnReply, Reply, Send, error_of
from presenced.client.protocol.watched_contacts import WatchedContacts
from presenced.client.protocol.watched_users import WatchedUsers, chunks
from presenced.errors import PresenceError
from presenced.wire.messages import Check, Checked, Compare, ContactList, Error, Get, GetContacts, Records

EARLY_REQUESTS_MAX = 16
"""As many requests leave behind a hello, whose link may be refused. A client that has more waits for the welcome."""

_log = logging.getLogger("presenced.client.view")


class View:
    """See the module's docstring. A `Part`, before those whose users it compares."""

    def __init__(
        self,
        held: HeldRecords,
        users: WatchedUsers,
        contacts: WatchedContacts,
        users_per_request_max: Callable[[], int],
        is_resumed: Callable[[], bool],
        send: Send,
        *,
        is_first: bool,
    ) -> None:
        """`is_first`: a new link is for this before all else. Else there is something that is more urgent than what is
        watched, such as a service's devices, and whole comparisons do not leave behind the hello."""
        self.checks = 0
        """Checksums of the server that were held against this client's on the timer."""
        self.failed = 0
        """Those that were another, though nothing was under way that explains it."""
        self._held = held
        self._users = users
        self._contacts = contacts
        self._users_per_request_max = users_per_request_max
        self._is_resumed = is_resumed
        self._send = send
        self._is_first = is_first
        users.tell_named(self._named)
        self._is_quiet = False
        """The hello of the present link, or of the attempt under way, has said that contacts need not be told."""
        self._early = ""
        """What has left behind the hello of the attempt under way: `compare`, `check` or nothing."""
        self._list_version = 0
        """That of the list of contacts, as far as it was asked for."""
        self._is_list_known = True
        """Nobody is a contact whom this client does not know as one."""
        self._is_catching_up = False
        """What is held of everybody has not been held against the present link yet, or is just being compared."""

    # --- on each link -----------------------------------------------------------------------------------------

    def greets_quietly(self, *, again: bool) -> bool:
        """Another attempt to connect begins, the first or one `again`. Returns whether its hello says that contacts
        need not be told: what differs is asked for."""
        self._is_quiet = again and self._contacts.is_wanted and self._contacts.is_known
        return self._is_quiet

    def behind_hello(self, *, is_to_resume: bool) -> Iterator[tuple[Make, OnReply]]:
        """What leaves behind the hello of an attempt to come back. `is_to_resume`: the hello asks for what the lost
        link has watched."""
        size = self._users_per_request_max()
        names, contacts = len(self._users.named()), len(self._contacts.names) if self._is_quiet else 0
        requests = -(-names // size) + max(-(-contacts // size), self._is_quiet)
        is_early = self._is_first and not is_to_resume and requests <= EARLY_REQUESTS_MAX
        self._early = "check" if is_to_resume else "compare" if is_early else ""
        if is_early and self._is_quiet:
            # Before the names: as long as none is watched, whoever is told of is a contact.
            yield from self._comparison(self._contacts.names, self._compared)
        yield from self._users.behind_hello(is_early=is_early)
        if is_to_resume and requests:
            yield self._checking(self._returned)

    def standing(self, now_ms: int) -> Iterator[tuple[Make, OnReply | None]]:
        """See `Part`."""
        early, self._early = self._early, ""
        self._is_catching_up, self._is_list_known = False, not self._is_quiet
        if self._is_resumed():
            if self._users.named() or self._is_quiet:
                self._is_catching_up = True
                if early != "check":
                    yield self._checking(self._returned)
        elif self._is_quiet:
            self._is_catching_up = True
            if early != "compare":
                yield from self._comparison(self._contacts.names, self._compared)

    def end(self, error: PresenceError | None) -> None:
        """See `Part`: nobody reads this."""

    def _returned(self, checked: Checked) -> None:
        """The checksum of what the server has taken back."""
        if not self._is_resumed():
            return
        self._is_catching_up = False
        view = self._view()
        if self._is_right(checked):
            self._held.all_hold(view)
            self._settled()
            if self._contacts.is_wanted and len(view) != checked.users:
                self._list()
        else:
            self._say(self._comparison(view, self._compared))

    def _settled(self) -> None:
        self._contacts.settled()
        if self._users.named():
            self._named()

    def _named(self) -> None:
        """Somebody is watched by name. A contact who was hidden as the contacts were compared, or is watched by name,
        cannot be recognised by what is told of them."""
        if not self._is_list_known and self._contacts.is_listed:
            self._list()

    def _compared(self) -> None:
        self._settled()
        if self._contacts.names and not self._users.named():
            self._send(*self._checking(self._verified))

    def _verified(self, checked: Checked) -> None:
        """The checksum after a comparison."""
        # Also if it is not known: something may be under way for long.
        if not self._is_right(checked) or len(self._view()) != checked.users:
            self._list()

    def _list(self) -> None:
        self._is_list_known = True
        self._send(*self._listing(self._list_version, ""))

    # --- on the timer -----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Hold what is held against the server's checksum, and repair what differs. Without a link, and where nobody is
        watched, nothing happens."""
        if self._view():
            self._send(*self._checking(self._checked))

    def _checked(self, checked: Checked) -> None:
        is_told = self._contacts.is_listed or not self._contacts.is_wanted
        is_right = self._is_right(checked) if is_told else None
        self.checks += is_right is not None
        if is_right is False:
            self.failed += 1
            sentence = "what the server tells of %d users is not what this client shows: it is asked for again"
            _log.warning(sentence, checked.users, extra=fields("view_differs", users=checked.users))
            self._say(self._comparison(self._view(), self._repaired, failed=True))

    def _repaired(self) -> None:
        # The contents are right now. Whether each is watched is said once more.
        for chunk in chunks(self._users.named(), self._users_per_request_max()):
            self._send(*self._users.watch_again(chunk))
        self._compared()

    # --- what is asked of the server --------------------------------------------------------------------------

    def _checking(self, then: Callable[[Checked], None]) -> tuple[Make, OnReply]:
        def answered(reply: Reply) -> None:
            if isinstance(reply, Checked):
                then(reply)

        return Check, answered

    def _comparison(
        self, users: list[str], then: Callable[[], None], *, failed: bool = False
    ) -> Iterator[tuple[Make, OnReply]]:
        """The pages that tell the server what is held of these users; `then` is called when all are answered."""
        self._is_catching_up = True
        pages = chunks(users, self._users_per_request_max()) or [[]]
        for page in pages:
            is_last = page is pages[-1]
            yield self._page(page, then if is_last else None, failed=failed and is_last)

    def _page(self, users: list[str], then: Callable[[], None] | None, *, failed: bool) -> tuple[Make, OnReply]:
        question = self._held.ask(users)

        def answered(reply: Reply) -> None:
            if isinstance(reply, Records):
                self._held.answer(question, reply.records)
            elif isinstance(reply, Error):
                self._refused(reply)
            if then is not None:
                self._is_catching_up = False
                if isinstance(reply, Records):
                    then()

        return lambda request_id: Compare(request_id, users, question.have, then is None, failed), answered

    def _refused(self, error: Error) -> None:
        # A server of an earlier version knows neither the request nor a quiet hello: it tells the contacts.
        if error.code != "unknown_type" and not self._contacts.is_listed:
            self._contacts.refuse(error_of(error))

    def _listing(self, since: int, after: str) -> tuple[Make, OnReply]:
        """Ask who the contacts are, page by page, or what has changed in the list since the version that is known."""

        def answered(reply: Reply) -> None:
            if not isinstance(reply, ContactList):
                return
            if not reply.is_whole:
                self._contacts.changed_to(reply.contacts, reply.removed)
            else:
                self._contacts.page(after, reply.next, reply.contacts)
            if not after:
                self._list_version = reply.version
            if reply.next > after:
                self._send(*self._listing(0, reply.next))
            unknown = self._contacts.unknown()
            if unknown:
                # What was told of them came while their watch by name was ending.
                self._say(self._getting(page) for page in chunks(unknown, self._users_per_request_max()))

        return lambda request_id: GetContacts(request_id, since, after), answered

    def _getting(self, users: list[str]) -> tuple[Make, OnReply]:
        question = self._held.ask(users)

        def answered(reply: Reply) -> None:
            if isinstance(reply, Records):
                self._held.answer(question, reply.records)

        return lambda request_id: Get(request_id, users), answered

    # --- within -----------------------------------------------------------------------------------------------

    def _view(self) -> list[str]:
        return list(dict.fromkeys([*self._users.watched(), *self._contacts.names]))

    def _is_right(self, checked: Checked) -> bool | None:
        """Whether the server has the checksum of what is held. None if what is under way may make them differ."""
        if not self._users.is_settled or self._is_catching_up:
            return None
        return self._held.checksum(self._view()) == checked.checksum

    def _say(self, requests: Iterator[tuple[Make, OnReply]]) -> None:
        for make, on_reply in requests:
            self._send(make, on_reply)
