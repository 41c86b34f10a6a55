"""The state of a client that outlives its links: requests that wait for replies, and what is watched. Pure.

Owns request ids, pending requests, the held record of each watched user and the feeds that want it. Knows no
sockets and no loop; a waiter is any hashable object, and the shell decides what waking it means. Whatever else is to
be put in place again on each new link (devices held, channels watched, events followed) is a `Part`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, Protocol

import msgspec

from presenced.client.protocol.changes import Feed
from presenced.client.protocol.pending import QUESTIONS, Make, OnReply, Pending, Reply, Request, W, covers, subject_of
from presenced.errors import PresenceError, RequestError
from presenced.limits import REQUEST_ID_MAX, USERS_PER_REQUEST_MAX
from presenced.wire.messages import Error, Record, Records, Watch, Welcome


class Part(Protocol):
    """Something of the client's that has to be said again on each new link."""

    def standing(self, now_ms: int) -> Iterable[tuple[Make, OnReply | None]]:
        """The requests that put it in place; called when a link is open, before anything else is sent."""

    def end(self, error: PresenceError | None) -> None:
        """No link will follow; `error` says why, None if the owner closed the client."""


class _Watched:
    """A user whom at least one feed watches, or who is known because everybody is watched."""

    __slots__ = ("feeds", "link", "record")

    def __init__(self) -> None:
        self.record: Record | None = None
        self.link = 0
        """Number of the link that told of the record."""
        self.feeds: dict[Feed, None] = {}


class Session(Generic[W]):
    """See the module's docstring. `is_linked` says whether messages can leave now."""

    def __init__(self) -> None:
        self.welcome: Welcome | None = None
        self.is_linked = False
        self.parts: list[Part] = []
        """In the order in which they are put in place."""
        self._last_id = 0
        self._pending: dict[int, Pending[W]] = {}
        self._waiting: dict[W, Pending[W]] = {}
        self._subjects: dict[tuple[type, str, str], dict[int, None]] = {}
        """Pending statements by what they are about."""
        self._watched: dict[str, _Watched] = {}
        self._feeds: dict[Feed, None] = {}
        self._everyone: dict[Feed, None] = {}
        """Feeds that want every user."""
        self._link = 0

    @property
    def users_per_request_max(self) -> int:
        """Names that go into one request: what the server says, within what the protocol allows."""
        if self.welcome is None:
            return USERS_PER_REQUEST_MAX
        return max(1, min(self.welcome.users_per_request_max, USERS_PER_REQUEST_MAX))

    # --- requests ---------------------------------------------------------------------------------------------

    def open(self, make: Make, waiter: W | None, now_ms: int, on_reply: OnReply | None = None) -> Request:
        """A new request: `make` builds it from its id. Send what this returns if linked, and say that it `left`;
        else it waits here.

        Without a link, a statement replaces the earlier ones that it covers, whose waiters then wait for it: however
        often a state is set offline, only the last value is kept. O(pending statements about the same) then.
        """
        message = make(self._free_id())
        pending: Pending[W] = Pending(message, now_ms, on_reply)
        subject = subject_of(message)
        if subject is not None:
            if not self.is_linked:
                self._absorb(pending, subject)
            self._subjects.setdefault(subject, {})[message.id] = None
        if waiter is not None:
            pending.waiters[waiter] = None
            self._waiting[waiter] = pending
        self._pending[message.id] = pending
        return message

    def left(self, request_id: int, now_ms: int) -> None:
        """The request was sent: from now on its time runs, and the server may have it."""
        pending = self._pending.get(request_id)
        if pending is not None and pending.sent_ms is None:
            pending.sent_ms = now_ms

    def is_wanted(self, request: Request) -> bool:
        """Is the request to be sent still? A question that nobody waits for any longer is not."""
        return request.id in self._pending or not isinstance(request, QUESTIONS)

    def begun_ms(self, waiter: W, now_ms: int) -> int:
        """Since when the server, or a link to it, is waited for. While a request waits for its turn to leave, now."""
        return self._begun_ms(self._waiting.get(waiter), now_ms)

    def request_begun_ms(self, request_id: int, now_ms: int) -> int:
        """The same of a request of this link."""
        return self._begun_ms(self._pending.get(request_id), now_ms)

    def _begun_ms(self, pending: Pending[W] | None, now_ms: int) -> int:
        if pending is None:
            return now_ms
        if pending.sent_ms is not None:
            return pending.sent_ms
        return now_ms if self.is_linked else pending.since_ms

    def may_be_applied(self, pending: Pending[W]) -> bool:
        """Has the server got the request, or will it on this link?"""
        if isinstance(pending.message, QUESTIONS):
            return pending.sent_ms is not None
        return pending.sent_ms is not None or self.is_linked

    def may_have(self, waiter: W) -> bool:
        """Has the server got what `waiter` waits for, or will it on this link, or has it answered already?"""
        pending = self._waiting.get(waiter)
        return pending is None or self.may_be_applied(pending)

    def settle(self, reply: Reply | Error) -> list[W]:
        """The waiters of a request, now answered. A late reply to a forgotten request has none."""
        pending = self._take(reply.id)
        if pending is None:
            return []
        if isinstance(reply, Records) and isinstance(pending.message, Watch):
            for record in reply.records:
                self._apply(record)
        elif isinstance(reply, Error) and isinstance(pending.message, Watch) and not pending.waiters:
            self._fail_feeds(pending.message.users, error_of(reply))
        if pending.on_reply is not None:
            pending.on_reply(reply)
        for waiter in pending.waiters:
            del self._waiting[waiter]
        return list(pending.waiters)

    def forget(self, waiter: W) -> None:
        """`waiter` does not wait any longer; a request without waiters is not sent again. What is to be done with its
        reply is done all the same, if one comes on this link: the server may have applied it."""
        pending = self._waiting.pop(waiter, None)
        if pending is None:
            return
        del pending.waiters[waiter]
        if not pending.waiters and not (pending.on_reply is not None and self.may_be_applied(pending)):
            self._take(pending.message.id)

    # --- links ------------------------------------------------------------------------------------------------

    def resume(self, welcome: Welcome, now_ms: int) -> Iterator[Request]:
        """A link is open; iterate this fully and send all of it: what stands, the watch, every request in its order.
        Say of each that it `left`."""
        self.welcome = welcome
        self.is_linked = True
        self._link += 1
        waiting = [pending for pending in self._pending.values() if pending.waiters]
        self._pending = {pending.message.id: pending for pending in waiting}
        self._subjects = {}
        for part in self.parts:
            for make, on_reply in part.standing(now_ms):
                yield self.open(make, None, now_ms, on_reply)
        names = [user for user, watched in self._watched.items() if watched.feeds]
        for chunk in chunks(names, self.users_per_request_max):
            yield self.open(lambda request_id, users=chunk: Watch(request_id, users), None, now_ms)  # type: ignore[misc]
        for pending in waiting:
            message = pending.message
            if pending.holds_until_ms:
                left_ms = max(1, pending.holds_until_ms - now_ms)
                message = pending.message = msgspec.structs.replace(message, for_ms=left_ms)
            subject = subject_of(message)
            if subject is not None:
                self._subjects.setdefault(subject, {})[message.id] = None
            yield message

    def suspend(self, now_ms: int = 0) -> list[W]:
        """The link is lost. What is pending stays, for the next one, except for what was sent and must not be sent
        twice: its waiters are returned, and nobody knows whether it was applied."""
        self.is_linked = False
        for pending in self._pending.values():
            pending.since_ms = max(pending.since_ms, now_ms)
        given_up: list[W] = []
        for pending in [pending for pending in self._pending.values() if not pending.is_repeatable]:
            self._take(pending.message.id)
            for waiter in pending.waiters:
                del self._waiting[waiter]
            given_up += pending.waiters
        return given_up

    def end(self, error: PresenceError | None) -> list[W]:
        """It is over: all feeds end with `error` (None: closed by the owner); returns whoever still waits."""
        self.is_linked = False
        waiters = list(self._waiting)
        self._waiting.clear()
        self._pending.clear()
        self._subjects.clear()
        for feed in [*self._feeds, *self._everyone]:
            feed.end(error)
        for part in self.parts:
            part.end(error)
        self._feeds.clear()
        self._everyone.clear()
        self._watched.clear()
        return waiters

    # --- watching ---------------------------------------------------------------------------------------------

    def attach(self, feed: Feed, users: Iterable[str]) -> None:
        """`feed` wants these users. It gets at once what is held of them; ask the server for `unknown`."""
        self._feeds[feed] = None
        for user in users:
            watched = self._watched.get(user)
            if watched is None:
                watched = self._watched[user] = _Watched()
            watched.feeds[feed] = None
            feed.names[user] = None
            if watched.record is not None:
                feed.put(watched.record)

    def unknown(self, users: Iterable[str]) -> list[str]:
        """Those of `users` that are watched and of whom no record is held yet."""
        return [user for user in users if user in self._watched and self._watched[user].record is None]

    def detach(self, feed: Feed, users: Iterable[str]) -> list[str]:
        """`feed` wants these users no more; returns those that nobody wants: unwatch them at the server."""
        wanted = [user for user in users if user in feed.names]
        feed.drop(wanted)
        unwanted: list[str] = []
        for user in wanted:
            watched = self._watched.get(user)
            if watched is None:
                continue
            watched.feeds.pop(feed, None)
            if not watched.feeds:
                if not self._everyone:
                    del self._watched[user]
                unwanted.append(user)
        return unwanted

    def release(self, feed: Feed) -> list[str]:
        """`feed` is closed; returns the users that nobody wants any more."""
        self._feeds.pop(feed, None)
        feed.end(None)
        return self.detach(feed, list(feed.names))

    def presence(self, record: Record) -> None:
        """The present link told of a record."""
        self._apply(record)

    # --- watching everybody -----------------------------------------------------------------------------------

    def attach_everyone(self, feed: Feed) -> None:
        """`feed` wants every user; it gets at once what is held. O(users held)."""
        self._everyone[feed] = None
        for watched in self._watched.values():
            if watched.record is not None:
                feed.put(watched.record)

    def release_everyone(self, feed: Feed) -> list[str] | None:
        """`feed` is closed. When it was the last, returns the users that are watched one by one: ask for them again,
        as the server may never have been. None if others want everybody still."""
        feed.end(None)
        if feed not in self._everyone:
            return None
        del self._everyone[feed]
        if self._everyone:
            return None
        self._watched = {user: watched for user, watched in self._watched.items() if watched.feeds}
        return list(self._watched)

    def unconfirmed(self) -> list[str]:
        """Users held as not offline of whom the present link has not told. O(users held)."""
        return [
            user
            for user, watched in self._watched.items()
            if watched.record is not None and watched.link != self._link and watched.record.status != "offline"
        ]

    # --- within -----------------------------------------------------------------------------------------------

    def _apply(self, record: Record) -> None:
        watched = self._watched.get(record.user)
        if watched is None:
            if not self._everyone:
                return
            watched = self._watched[record.user] = _Watched()
        held = watched.record
        # On one link versions tell what is newer. On another, what the server says is the truth, be its version lower:
        # it may have lost its history, or, killed, a change that it had told of and not yet saved. The feeds compare
        # contents, so that neither causes a second snapshot.
        if held is not None and watched.link == self._link and record.version <= held.version:
            return
        watched.record = record
        watched.link = self._link
        for feed in watched.feeds:
            feed.put(record)
        for feed in self._everyone:
            feed.put(record)

    def _fail_feeds(self, users: Iterable[str], error: PresenceError) -> None:
        for user in users:
            watched = self._watched.get(user)
            for feed in list(watched.feeds) if watched is not None else ():
                feed.end(error)

    def _absorb(self, newer: Pending[W], subject: tuple[type, str, str]) -> None:
        for request_id in list(self._subjects.get(subject, ())):
            older = self._pending[request_id]
            if not covers(newer.message, older.message):
                continue
            self._take(request_id)
            newer.waiters.update(older.waiters)
            for waiter in older.waiters:
                self._waiting[waiter] = newer

    def _take(self, request_id: int) -> Pending[W] | None:
        pending = self._pending.pop(request_id, None)
        if pending is not None and (subject := subject_of(pending.message)) is not None:
            same = self._subjects.get(subject)
            if same is not None:
                same.pop(request_id, None)
                if not same:
                    del self._subjects[subject]
        return pending

    def _free_id(self) -> int:
        while True:
            self._last_id = self._last_id % REQUEST_ID_MAX + 1
            if self._last_id not in self._pending:
                return self._last_id


def error_of(error: Error) -> RequestError:
    """The exception for an error frame. Advice on when to retry makes also a code of a later version temporary."""
    temporary = True if error.retry_ms else None
    return RequestError(error.code, error.message, temporary=temporary, retry_ms=error.retry_ms)


def chunks(users: list[str], size: int) -> list[list[str]]:
    """`users` in pieces of at most `size`."""
    return [users[start : start + size] for start in range(0, len(users), size)]
