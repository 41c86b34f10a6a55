"""The requests of a client over all its links: which wait for a reply, and what is sent on each new link.

Owns the request ids and the pending requests. A waiter is any hashable object; the shell decides what waking one means.
Whatever else has to be put in place again on each new link (users and channels that are watched, events that are
followed, devices that are attached) is a `Part`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, Protocol

import msgspec

from presenced.client.protocol.pending_requests import (
    QUESTIONS,
    Make,
    OnReply,
    PendingRequest,
    Reply,
    Request,
    W,
    covers,
    lasting_field,
    statement_key,
)
from presenced.errors import PresenceError
from presenced.limits import REQUEST_ID_MAX, USERS_PER_REQUEST_MAX
from presenced.wire.messages import Message, Welcome


class Part(Protocol):
    """Something of the client's that has to be said again on each new link."""

    def standing(self, now_ms: int) -> Iterable[tuple[Make, OnReply | None]]:
        """The requests that put it in place; called when a link is open, before the requests that wait are sent."""

    def end(self, error: PresenceError | None) -> None:
        """No link will follow; `error` says why, None if the owner closed the client."""


class ClientSession(Generic[W]):
    """See the module's docstring. `is_linked` says whether messages can leave now."""

    def __init__(self) -> None:
        self.welcome: Welcome | None = None
        self.is_linked = False
        self._parts: list[Part] = []
        """In the order in which they are put in place."""
        self._last_id = 0
        self._pending: dict[int, PendingRequest[W]] = {}
        self._waiting: dict[W, PendingRequest[W]] = {}
        self._statements: dict[tuple[type, str, str], dict[int, None]] = {}
        """Ids of the pending statements, by what they are about."""
        self._behind_hello: list[int] = []
        """Ids of the requests that have left behind the hello of the attempt under way."""

    def add(self, part: Part, *, first: bool = False) -> None:
        """Put this part in place on each new link, too: after the parts that are there, or before them."""
        self._parts.insert(0 if first else len(self._parts), part)

    @property
    def is_resumed(self) -> bool:
        """What the lost link watched and held is the present link's."""
        return self.welcome is not None and self.welcome.resumed

    @property
    def sent_behind_hello(self) -> list[Request]:
        """The requests that have left behind the hello of the attempt under way."""
        return [self._pending[request_id].message for request_id in self._behind_hello if request_id in self._pending]

    @property
    def users_per_request_max(self) -> int:
        """How many names go into one request: as many as the server says, within what the protocol allows."""
        if self.welcome is None:
            return USERS_PER_REQUEST_MAX
        return max(1, min(self.welcome.users_per_request_max, USERS_PER_REQUEST_MAX))

    # --- requests ---------------------------------------------------------------------------------------------

    def open(
        self,
        make: Make,
        waiter: W | None,
        now_ms: int,
        on_reply: OnReply | None = None,
        *,
        is_bound: bool = False,
    ) -> Request:
        """A new request: `make` builds it from its id. With a link, send what this returns and call `left`; without
        one, the request waits here for the next link.

        Without a link, a statement replaces the earlier ones that it covers, and their waiters wait for it: however
        often a state is set offline, only the last value is kept. O(pending statements about the same state) then.
        """
        message = make(self._free_id())
        pending: PendingRequest[W] = PendingRequest(message, now_ms, on_reply, is_bound)
        key = statement_key(message)
        if key is not None:
            if not self.is_linked:
                self._absorb(pending, key)
            self._statements.setdefault(key, {})[message.id] = None
        if waiter is not None:
            pending.waiters[waiter] = None
            self._waiting[waiter] = pending
        self._pending[message.id] = pending
        return message

    def left(self, request_id: int, now_ms: int) -> None:
        """The request was sent: its time runs from now on, and the server may have it."""
        pending = self._pending.get(request_id)
        if pending is not None and pending.sent_ms is None:
            pending.sent_ms = now_ms

    def is_wanted(self, request: Request) -> bool:
        """Whether the request still has to be sent. A question that nobody waits for does not."""
        return request.id in self._pending or not isinstance(request, QUESTIONS)

    def begun_ms(self, waiter: W, now_ms: int) -> int:
        """Since when the caller waits for the server, or for a link to it. While the request waits for its turn to
        leave, that is now."""
        return self._begun_ms(self._waiting.get(waiter), now_ms)

    def request_begun_ms(self, request_id: int, now_ms: int) -> int:
        """The same for a request of the present link, by its id."""
        return self._begun_ms(self._pending.get(request_id), now_ms)

    def _begun_ms(self, pending: PendingRequest[W] | None, now_ms: int) -> int:
        if pending is None:
            return now_ms
        if pending.sent_ms is not None:
            return pending.sent_ms
        return now_ms if self.is_linked else pending.since_ms

    def may_be_applied(self, pending: PendingRequest[W]) -> bool:
        """Whether the server has the request, or will get it on this link."""
        if isinstance(pending.message, QUESTIONS):
            return pending.sent_ms is not None
        return pending.sent_ms is not None or self.is_linked

    def may_have(self, waiter: W) -> bool:
        """Whether the server has what `waiter` waits for, will get it on this link, or has answered it already."""
        pending = self._waiting.get(waiter)
        return pending is None or self.may_be_applied(pending)

    def settle(self, reply: Reply) -> list[W]:
        """The waiters of the request that this reply answers. A late reply to a forgotten request has none."""
        pending = self._pop(reply.id)
        if pending is None:
            return []
        if pending.on_reply is not None:
            pending.on_reply(reply)
        for waiter in pending.waiters:
            del self._waiting[waiter]
        return list(pending.waiters)

    def forget(self, waiter: W) -> None:
        """`waiter` has stopped waiting; a request without waiters is not sent on another link. If the server may have
        applied it, its `on_reply` is still called when the reply comes on this link."""
        pending = self._waiting.pop(waiter, None)
        if pending is None:
            return
        del pending.waiters[waiter]
        if not pending.waiters and not (pending.on_reply is not None and self.may_be_applied(pending)):
            self._pop(pending.message.id)

    # --- links ------------------------------------------------------------------------------------------------

    def behind_hello(self, requests: Iterable[tuple[Make, OnReply]], now_ms: int) -> list[Request]:
        """Requests that leave right behind the hello of an attempt to connect, before anybody knows whether the link
        will be welcome. Those of an earlier attempt are forgotten."""
        for request_id in self._behind_hello:
            self._pop(request_id)
        leaving = [self.open(make, None, now_ms, on_reply) for make, on_reply in requests]
        self._behind_hello = [request.id for request in leaving]
        for request in leaving:
            self.left(request.id, now_ms)
        return leaving

    def resume(self, welcome: Welcome, now_ms: int) -> Iterator[Request]:
        """A link is open. Iterate this to its end and send everything, in its order: first what the parts put in place,
        then every request that somebody waits for. Call `left` for each. What has left behind the hello is not
        repeated."""
        self.welcome = welcome
        self.is_linked = True
        waiting = [pending for pending in self._pending.values() if pending.waiters]
        early = [self._pending[request_id] for request_id in self._behind_hello if request_id in self._pending]
        self._behind_hello = []
        self._pending = {pending.message.id: pending for pending in [*early, *waiting]}
        self._statements = {}
        for part in self._parts:
            for make, on_reply in part.standing(now_ms):
                yield self.open(make, None, now_ms, on_reply)
        for pending in waiting:
            message = pending.message
            if pending.holds_until_ms and isinstance(message, Message):
                left_ms = max(1, pending.holds_until_ms - now_ms)
                message = pending.message = msgspec.structs.replace(message, **{lasting_field(message): left_ms})
            key = statement_key(message)
            if key is not None:
                self._statements.setdefault(key, {})[message.id] = None
            yield message

    def suspend(self, now_ms: int = 0) -> list[W]:
        """The link is lost. What is pending stays for the next link, except for requests that are bound to this one, or
        were sent and must not be sent twice: their waiters are returned, and nobody knows whether the server has
        applied them."""
        self.is_linked = False
        for pending in self._pending.values():
            pending.since_ms = max(pending.since_ms, now_ms)
        given_up: list[W] = []
        for pending in [pending for pending in self._pending.values() if not pending.is_repeatable]:
            self._pop(pending.message.id)
            for waiter in pending.waiters:
                del self._waiting[waiter]
            given_up += pending.waiters
        return given_up

    def end(self, error: PresenceError | None) -> list[W]:
        """No link will follow: all parts end with `error` (None: the owner closed the client). Returns everyone who
        still waits."""
        self.is_linked = False
        waiters = list(self._waiting)
        self._waiting.clear()
        self._pending.clear()
        self._statements.clear()
        for part in self._parts:
            part.end(error)
        return waiters

    # --- within -----------------------------------------------------------------------------------------------

    def _absorb(self, newer: PendingRequest[W], key: tuple[type, str, str]) -> None:
        for request_id in list(self._statements.get(key, ())):
            older = self._pending[request_id]
            if not covers(newer.message, older.message):
                continue
            self._pop(request_id)
            newer.waiters.update(older.waiters)
            for waiter in older.waiters:
                self._waiting[waiter] = newer

    def _pop(self, request_id: int) -> PendingRequest[W] | None:
        pending = self._pending.pop(request_id, None)
        if pending is not None and (key := statement_key(pending.message)) is not None:
            same = self._statements.get(key)
            if same is not None:
                same.pop(request_id, None)
                if not same:
                    del self._statements[key]
        return pending

    def _free_id(self) -> int:
        while True:
            self._last_id = self._last_id % REQUEST_ID_MAX + 1
            if self._last_id not in self._pending:
                return self._last_id
