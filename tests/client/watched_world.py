"""A client's own state on one side, a plain server on the other, and a line between them on which messages wait: for
every order in which what is asked, answered and told may cross.

The server is as slow and as obvious as can be. It keeps what the viewer may see of each user, whom the link watches,
and what it has not told yet, and it knows the protocol's sentences about a comparison and a checksum. The client is the
real one without its shell: the session with its parts, and feeds whose steps are taken as they come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec

from presenced.client.protocol.changes import Feed, kind_of
from presenced.client.protocol.held_records import HeldRecords, hidden
from presenced.client.protocol.pending_requests import REPLIES, Make, OnReply
from presenced.client.protocol.resumption import Resumption
from presenced.client.protocol.session import ClientSession
from presenced.client.protocol.view import View
from presenced.client.protocol.watched_contacts import WatchedContacts
from presenced.client.protocol.watched_users import WatchedUsers
from presenced.digests import digest
from presenced.errors import ConnectionLost
from presenced.wire import messages
from presenced.wire.messages import (
    Check,
    Checked,
    Compare,
    ContactChange,
    ContactInfo,
    ContactList,
    ContactRecords,
    Done,
    Get,
    GetContacts,
    Presence,
    Record,
    Records,
    Unwatch,
    Watch,
)
from tests.client.fake_server import WELCOME

LOST = ConnectionLost("link_lost", "the link was lost")
PAGE = 3
"""Names in one request, so that a few users make several pages."""


class Hello(msgspec.Struct):
    """What of a hello matters here."""

    contacts: bool
    quiet: bool
    resume: str


class ServerLink:
    """What the server knows of one link."""

    def __init__(self) -> None:
        self.named: dict[str, None] = {}
        self.has_contacts = False
        self.owed: dict[str, None] = {}
        """Users of whom something is not told yet."""
        self.compared: dict[str, None] = {}
        """Whom the pages of a comparison have named so far."""
        self.out: deque[Any] = deque()
        """What is on its way to the client."""
        self.told = 0
        """Records in answers and pushes."""


class PlainServer:
    """See the module's docstring."""

    def __init__(self) -> None:
        self.seen: dict[str, Record] = {}
        """What the viewer may see, of everybody who is not hidden."""
        self.contacts: dict[str, None] = {}
        self.changes: list[tuple[int, str]] = []
        """Of the list of contacts: the version of each change since the start, and whose entry it was."""
        self.version = 10
        self.epoch = 1
        self.link: ServerLink | None = None
        self.parked: dict[str, ServerLink] = {}
        self.tokens = 0

    def shown(self, user: str) -> Record:
        return self.seen.get(user) or hidden(user)

    def watched(self, link: ServerLink) -> dict[str, None]:
        return link.named | (self.contacts if link.has_contacts else {})

    # --- what happens to users --------------------------------------------------------------------------------

    def set(self, user: str, **fields: Any) -> None:
        self.version += 1
        if not fields:
            if self.seen.pop(user, None) is None:
                return
        else:
            before = self.seen.get(user) or Record(user, "online", "", "", 5, 0, "web", 1)
            self.seen[user] = msgspec.structs.replace(before, version=self.version, **fields)
        if self.link is not None and user in self.watched(self.link):
            self.link.owed[user] = None

    def gain(self, user: str) -> None:
        if user not in self.contacts:
            self.contacts[user] = None
            self._tell_contact(user, "to")

    def lose(self, user: str) -> None:
        if user in self.contacts:
            del self.contacts[user]
            self._tell_contact(user, "none")

    def _tell_contact(self, user: str, subscription: Any) -> None:
        self.version += 1
        self.changes.append((self.version, user))
        link = self.link
        if link is None or not link.has_contacts:
            return
        link.out.append(ContactChange("me", self.version, _info(user, subscription), subscription == "none"))
        if user in link.named:
            return
        link.owed.pop(user, None)
        self._tell(link, self.shown(user) if subscription == "to" else hidden(user))

    def restart(self, *, loses: Iterable[str] = (), new_epoch: bool = False) -> None:
        """Started anew: no link, and nothing of what lost links watched. `loses`: changes of theirs are undone."""
        self.cut(parks=False)
        self.parked.clear()
        self.changes.clear()
        self.epoch += new_epoch
        self.version = 5 if new_epoch else self.version + 1000
        for user in loses:
            self.set(user, status="away", text="before")
        for user, record in self.seen.items():
            self.seen[user] = msgspec.structs.replace(record, version=self.version)

    def cut(self, *, parks: bool = True) -> None:
        """The link is lost."""
        if self.link is not None and parks:
            self.link.owed.clear()
            self.link.compared.clear()
            self.parked[str(self.tokens)] = self.link
        self.link = None

    # --- what the link says -----------------------------------------------------------------------------------

    def take(self, message: Any) -> None:
        """One message of the client's."""
        if isinstance(message, Hello):
            self._greet(message)
            return
        link = self.link
        assert link is not None
        if isinstance(message, Watch):
            link.named.update(dict.fromkeys(message.users))
            self._answer(link, message.id, message.users, message.have)
        elif isinstance(message, Unwatch):
            for user in message.users:
                link.named.pop(user, None)
                if user not in self.watched(link):
                    link.owed.pop(user, None)
            link.out.append(Done(message.id, self.version))
        elif isinstance(message, Compare):
            self._answer(link, message.id, message.users, message.have)
            link.compared.update(dict.fromkeys(message.users))
            if not message.more:
                self._tell_others(link)
        elif isinstance(message, Check):
            self.tell()
            view = self.watched(link)
            total = sum(digest(self.shown(user)) for user in view) % 2**32
            link.out.append(Checked(message.id, self.epoch, self.version, len(view), total))
        elif isinstance(message, Get):
            self._answer(link, message.id, message.users, None)
        else:
            assert isinstance(message, GetContacts)
            self._list(link, message)

    def _list(self, link: ServerLink, message: GetContacts) -> None:
        changed = [user for version, user in self.changes if version > message.since]
        if message.since in (version for version, _ in self.changes):
            removed = [user for user in changed if user not in self.contacts]
            infos = [_info(user, "to") for user in changed if user in self.contacts]
            link.out.append(ContactList(message.id, "me", self.changes[-1][0], False, "", infos, removed))
            return
        behind = sorted(user for user in self.contacts if user > message.after)
        following = behind[PAGE - 1] if len(behind) > PAGE else ""
        infos = [_info(user, "to") for user in behind[:PAGE]]
        version = self.changes[-1][0] if self.changes else 0
        link.out.append(ContactList(message.id, "me", version, True, following, infos, []))

    def _greet(self, hello: Hello) -> None:
        parked = self.parked.pop(hello.resume, None)
        link = self.link = parked or ServerLink()
        link.out, link.told = deque(), 0
        link.has_contacts = hello.contacts
        self.tokens += 1
        link.out.append(
            msgspec.structs.replace(
                WELCOME,
                users_per_request_max=PAGE,
                epoch=self.epoch,
                resume=str(self.tokens),
                resume_ms=1000,
                resumed=parked is not None,
            )
        )
        if hello.contacts and not hello.quiet:
            records = [self.shown(user) for user in self.contacts]
            link.out.append(ContactRecords(self.epoch, self.version, records, False))

    def _answer(self, link: ServerLink, request_id: int, users: list[str], have: list[int] | None) -> None:
        records = [self.shown(user) for user in users]
        if have is not None:
            records = [record for record, had in zip(records, have, strict=True) if digest(record) != had]
        link.told += len(records)
        link.out.append(Records(request_id, self.epoch, self.version, records))

    def _tell_others(self, link: ServerLink) -> None:
        # At the end of a turn, which may have answers to other requests.
        for user in self.contacts if link.has_contacts else ():
            if user not in link.compared and self.shown(user).version:
                link.owed[user] = None
        link.compared = {}

    def _tell(self, link: ServerLink, record: Record) -> None:
        link.told += 1
        link.out.append(Presence(record))

    def tell(self) -> None:
        """What is owed is told."""
        link = self.link
        if link is not None:
            for user in link.owed:
                self._tell(link, self.shown(user))
            link.owed.clear()


def _info(user: str, subscription: Any) -> ContactInfo:
    return ContactInfo(user, subscription, False, False, False, "", [], "")


class Viewer:
    """The client; its own end of the line, and what its app has seen."""

    def __init__(self, server: PlainServer, *, contacts: bool) -> None:
        self.server = server
        self.session: ClientSession[object] = ClientSession()
        session = self.session
        self.held = HeldRecords()

        def size() -> int:
            return session.users_per_request_max

        def is_resumed() -> bool:
            return session.is_resumed

        self.users = WatchedUsers(self.held, size, is_resumed, self._say)
        self.contacts = WatchedContacts(self.held, self.users, contacts)
        self.view = View(self.held, self.users, self.contacts, size, is_resumed, self._say, is_first=True)
        for part in (self.held, self.view, self.users, self.contacts):
            session.add(part)
        self.resumption = Resumption()
        self.out: deque[Any] = deque()
        """What is on its way to the server."""
        self.is_attempting = False
        self.was_linked = False
        self.now_ms = 0
        self.feeds: dict[str, Feed] = {}
        self.waiters: dict[str, list[object]] = {}
        self.yielded: dict[str, dict[str, Record]] = {}
        """By the name of a feed: the record that its consumer has of each user."""
        self.steps = 0
        """Steps that consumers have been given, all snapshots apart."""
        if contacts:
            feed = self.feeds["contacts"] = Feed(lambda: None)
            self.contacts.attach(feed)

    # --- what the app asks ------------------------------------------------------------------------------------

    def watch(self, name: str, users: list[str]) -> None:
        feed = self.feeds.setdefault(name, Feed(lambda: None))
        new = [user for user in users if user not in feed.names]
        self.users.attach(feed, new)
        for start in range(0, len(new), PAGE):
            unknown = self.users.unknown(new[start : start + PAGE])
            if unknown:
                self.waiters.setdefault(name, []).append(self._ask(*self.users.watching(unknown)))

    def unwatch(self, name: str, users: list[str]) -> None:
        feed = self.feeds.get(name)
        if feed is None:
            return
        unwanted = self.users.detach(feed, users)
        for user in users:
            self.yielded.get(name, {}).pop(user, None)
        for start in range(0, len(unwanted), PAGE):
            self._ask(*self.users.unwatching(unwanted[start : start + PAGE]))

    def close(self, name: str) -> None:
        """Whoever waits for an answer about this feed turns away, and it ends."""
        feed = self.feeds.pop(name, None)
        self.yielded.pop(name, None)
        for waiter in self.waiters.pop(name, ()):
            self.session.forget(waiter)
        if feed is not None:
            unwanted = self.users.release(feed)
            for start in range(0, len(unwanted), PAGE):
                self._say(*self.users.unwatching(unwanted[start : start + PAGE]))

    def drain(self) -> None:
        """The consumers take what there is. Each step begins at what its consumer has."""
        for name, feed in self.feeds.items():
            has = self.yielded.setdefault(name, {})
            while (change := feed.take()) is not None:
                before = has.get(change.user)
                assert (change.kind == "snapshot") == (before is None), f"{name}: {change} after {before}"
                if before is not None:
                    assert change.old is not None and kind_of(before, change.old) is None
                    assert kind_of(before, change.new) is not None, f"{name}: {change} is no step"
                    self.steps += 1
                has[change.user] = change.new

    # --- the line ---------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """The hello of an attempt leaves, with what goes behind it."""
        assert not self.is_attempting and not self.session.is_linked
        self.is_attempting = True
        token = self.resumption.token(self.now_ms)
        again = self.was_linked
        self.out.clear()
        self.out.append(Hello(self.contacts.is_wanted, self.view.greets_quietly(again=again), token))
        makes = self.view.behind_hello(is_to_resume=bool(token)) if again else ()
        self.out.extend(self.session.behind_hello(makes, self.now_ms))

    def lose(self) -> None:
        """The link, or the attempt, is lost with all that is on its way."""
        self.out.clear()
        if self.session.is_linked:
            self.session.suspend(self.now_ms)
            self.resumption.lost(LOST, self.now_ms)
        self.is_attempting = False

    def receive(self) -> bool:
        """One message of the server's. Gives whether there was one."""
        link = self.server.link
        if link is None or not link.out or not (self.is_attempting or self.session.is_linked):
            return False
        message = link.out.popleft()
        if isinstance(message, messages.Welcome):
            self.is_attempting, self.was_linked = False, True
            self.resumption.welcomed(message)
            self._transmit(*self.session.resume(message, self.now_ms))
        elif type(message) in REPLIES:
            self.session.settle(message)
        elif isinstance(message, Presence):
            self.held.tell(message.record)
        elif isinstance(message, ContactRecords):
            self.contacts.listed(message)
        else:
            assert isinstance(message, ContactChange)
            self.contacts.changed(message)
        return True

    def deliver(self) -> bool:
        """One message of the client's reaches the server."""
        if not self.out:
            return False
        self.server.take(self.out.popleft())
        return True

    def settle(self) -> None:
        """All that is to be said is said and heard."""
        if not self.session.is_linked and not self.is_attempting:
            self.connect()
        is_busy = True
        while is_busy:
            is_busy = self.deliver()
            self.server.tell()
            is_busy |= self.receive()

    def _say(self, make: Make, on_reply: OnReply | None) -> None:
        if self.session.is_linked:
            self._transmit(self.session.open(make, None, self.now_ms, on_reply))

    def _ask(self, make: Make, on_reply: OnReply) -> object:
        """A request that a caller waits for."""
        waiter = object()
        request = self.session.open(make, waiter, self.now_ms, on_reply)
        if self.session.is_linked:
            self._transmit(request)
        return waiter

    def _transmit(self, *requests: Any) -> None:
        for request in requests:
            self.session.left(request.id, self.now_ms)
            self.out.append(request)

    # --- the truth --------------------------------------------------------------------------------------------

    def assert_right(self) -> None:
        """What each consumer has is what the server would say, of all whom it wants and of nobody else."""
        self.drain()
        for name, feed in self.feeds.items():
            wanted = self.server.contacts if name == "contacts" else feed.names
            has = {user: record for user, record in self.yielded.get(name, {}).items()}
            if name == "contacts":
                # Contacts whom the user does not see need not be told, and those who were lost are told as offline.
                has = {user: record for user, record in has.items() if user in wanted or record.status != "offline"}
                wanted = {user: None for user in wanted if user in has or self.server.shown(user).status != "offline"}
            assert has.keys() == wanted.keys(), name
            for user in wanted:
                assert kind_of(has[user], self.server.shown(user)) is None, (name, user)
        link = self.server.link
        assert link is not None
        assert link.named.keys() == set(self.users.named())
