"""The state of a client that outlives its links: requests that wait for replies, and what is watched. Pure.

Owns request ids, pending requests, the held record of each watched user and the feeds that want it. Knows no
sockets and no loop; a waiter is any hashable object, and the shell decides what waking it means.

Why requests may be sent again after a lost link: every one of them states an absolute value or asks a question,
so that applying it twice is applying it once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Generic, TypeVar

import msgspec

from presenced.client.changes import Feed
from presenced.errors import PresenceError, RequestError
from presenced.limits import REQUEST_ID_MAX, USERS_PER_REQUEST_MAX
from presenced.wire.messages import (
    Done,
    Error,
    Get,
    Ping,
    Pong,
    Record,
    Records,
    SetDevice,
    SetStatus,
    Unwatch,
    Watch,
    Welcome,
    Who,
    WhoPage,
)

Request = Ping | SetStatus | SetDevice | Get | Who | Watch | Unwatch
Reply = Done | Pong | Records | WhoPage

W = TypeVar("W", bound=Hashable)


class Pending(Generic[W]):
    """A request without a reply. `waiters` is empty for the session's own requests."""

    __slots__ = ("holds_until_ms", "message", "waiters")

    def __init__(self, message: Request, holds_until_ms: int) -> None:
        self.message = message
        self.holds_until_ms = holds_until_ms
        self.waiters: dict[W, None] = {}


class _Watched:
    """A user whom at least one feed watches."""

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
        self._last_id = 0
        self._pending: dict[int, Pending[W]] = {}
        self._waiting: dict[W, Pending[W]] = {}
        self._watched: dict[str, _Watched] = {}
        self._feeds: dict[Feed, None] = {}
        self._link = 0

    @property
    def users_per_request_max(self) -> int:
        """Names that go into one request: what the server says, within what the protocol allows."""
        if self.welcome is None:
            return USERS_PER_REQUEST_MAX
        return max(1, min(self.welcome.users_per_request_max, USERS_PER_REQUEST_MAX))

    # --- requests ---------------------------------------------------------------------------------------------

    def open(self, make: Callable[[int], Request], waiter: W | None, now_ms: int) -> Request:
        """A new request: `make` builds it from its id. Send what this returns if linked; else it waits here.

        Without a link, a statement of the own state replaces the earlier ones that it covers, whose waiters then
        wait for it: however often a state is set offline, only the last value is kept. O(pending) then.
        """
        message = make(self._free_id())
        pending: Pending[W] = Pending(message, _holds_until_ms(message, now_ms))
        if not self.is_linked:
            self._absorb(pending)
        if waiter is not None:
            pending.waiters[waiter] = None
            self._waiting[waiter] = pending
        self._pending[message.id] = pending
        return message

    def settle(self, reply: Reply | Error) -> list[W]:
        """The waiters of a request, now answered. A late reply to a forgotten request has none."""
        pending = self._pending.pop(reply.id, None)
        if pending is None:
            return []
        if isinstance(reply, Records) and isinstance(pending.message, Watch):
            for record in reply.records:
                self._apply(record)
        elif isinstance(reply, Error) and isinstance(pending.message, Watch) and not pending.waiters:
            self._fail_feeds(pending.message.users, error_of(reply))
        for waiter in pending.waiters:
            del self._waiting[waiter]
        return list(pending.waiters)

    def forget(self, waiter: W) -> None:
        """`waiter` does not wait any longer; a request without waiters is not sent again."""
        pending = self._waiting.pop(waiter, None)
        if pending is None:
            return
        del pending.waiters[waiter]
        if not pending.waiters:
            self._pending.pop(pending.message.id, None)

    # --- links ------------------------------------------------------------------------------------------------

    def resume(self, welcome: Welcome, now_ms: int) -> Iterator[Request]:
        """A link is open; iterate this fully and send all of it: the watch, then every request in its order."""
        self.welcome = welcome
        self.is_linked = True
        self._link += 1
        waiting = [pending for pending in self._pending.values() if pending.waiters]
        self._pending = {pending.message.id: pending for pending in waiting}
        for chunk in chunks(list(self._watched), self.users_per_request_max):
            yield self.open(lambda request_id, users=chunk: Watch(request_id, users), None, now_ms)  # type: ignore[misc]
        for pending in waiting:
            message = pending.message
            if pending.holds_until_ms and isinstance(message, SetStatus):
                left_ms = max(1, pending.holds_until_ms - now_ms)
                message = pending.message = msgspec.structs.replace(message, for_ms=left_ms)
            yield message

    def suspend(self) -> None:
        """The link is lost. What is pending stays, for the next one."""
        self.is_linked = False

    def end(self, error: PresenceError | None) -> list[W]:
        """It is over: all feeds end with `error` (None: closed by the owner); returns whoever still waits."""
        self.is_linked = False
        waiters = list(self._waiting)
        self._waiting.clear()
        self._pending.clear()
        for feed in list(self._feeds):
            feed.end(error)
        self._feeds.clear()
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
                del self._watched[user]
                unwanted.append(user)
        return unwanted

    def release(self, feed: Feed) -> list[str]:
        """`feed` is closed; returns the users that nobody wants any more."""
        self._feeds.pop(feed, None)
        feed.end(None)
        return self.detach(feed, list(feed.names))

    def presence(self, record: Record) -> None:
        """A push arrived on the present link."""
        self._apply(record)

    # --- within -----------------------------------------------------------------------------------------------

    def _apply(self, record: Record) -> None:
        watched = self._watched.get(record.user)
        if watched is None:
            return
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

    def _fail_feeds(self, users: Iterable[str], error: PresenceError) -> None:
        for user in users:
            watched = self._watched.get(user)
            for feed in list(watched.feeds) if watched is not None else ():
                feed.end(error)

    def _absorb(self, newer: Pending[W]) -> None:
        for request_id, older in list(self._pending.items()):
            if not _covers(newer.message, older.message):
                continue
            del self._pending[request_id]
            newer.waiters.update(older.waiters)
            for waiter in older.waiters:
                self._waiting[waiter] = newer

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


def _covers(newer: Request, older: Request) -> bool:
    """Does `newer` set everything that `older` set?"""
    if isinstance(newer, SetDevice):
        return isinstance(older, SetDevice)
    if not isinstance(newer, SetStatus) or not isinstance(older, SetStatus):
        return False
    return all(
        new is not None or old is None
        for new, old in (
            (newer.status, older.status),
            (newer.text, older.text),
            (newer.emoji, older.emoji),
        )
    )


def _holds_until_ms(message: Request, now_ms: int) -> int:
    """When a status with an expiry ends, so that a request that waited for a link does not last longer for it."""
    if isinstance(message, SetStatus) and message.for_ms:
        return now_ms + message.for_ms
    return 0
