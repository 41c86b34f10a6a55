"""The links on which requests over HTTP run: one for each token in use, shared by all who bring it.

A request is one message on a link, and its answer the reply to it. So requests are paced, bounded and refused as those
of every client are, and a hello is paid for once and not with each request.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from presenced import limits
from presenced.errors import AuthError, PresenceError, ProtocolError, RequestError
from presenced.http.api.callers import HttpCaller
from presenced.server.active_settings import ActiveSettings
from presenced.server.admission import Admission
from presenced.server.local_link import LocalLink
from presenced.wire.messages import (
    PROTOCOL_VERSIONS,
    CancelAwait,
    ClientMessage,
    Error,
    Goodbye,
    Heartbeat,
    Hello,
    ServerMessage,
    Welcome,
)

SWEEP_S = 5.0
"""How often it is looked for replies that do not come and links that nobody uses."""

MakeMessage = Callable[[int], ClientMessage]
"""Makes a message that has this id."""

TakeReply = Callable[[Any], object]
"""Takes the reply to a request, or the `Error`."""


IDS_MAX: Final = limits.REQUEST_ID_MAX
"""Numbers of requests, and of devices, on one link: they begin anew behind it."""


class _Waiting(NamedTuple):
    """A request whose reply is still to come."""

    answer: TakeReply
    since_s: float


class SharedLink:
    """One link, and the requests that wait on it. An id belongs to one request, also after its answer was given up."""

    def __init__(self, caller: HttpCaller, now_s: float) -> None:
        self.caller = caller
        self.user = ""
        """Who that is, once it is open."""
        self.used_s = now_s
        """When it was last asked something."""
        self.keys: object = None
        """What its token was verified with."""
        self.is_over = False
        self._link: LocalLink | None = None
        self._waiting: dict[int, _Waiting] = {}
        """In the order in which they were sent, the oldest first."""
        self._awaits: dict[int, TakeReply] = {}
        """Those whose answers come when it is so, however long that takes."""
        self._last_id = 0
        self._last_ref = 0
        self._most = limits.HTTP_WAITING_MAX
        """Requests that may wait while the user has no credit."""
        self._heartbeat_s = SWEEP_S
        self._sent_s = now_s

    def open(self, admission: Admission, active: ActiveSettings) -> None:
        """Open the link. Raises `AuthError`, and `ProtocolError` (`busy`)."""
        identity = active.identify(hello_of(self.caller))
        self.user, self.keys = identity.user, active.keys
        hello = hello_of(self.caller, client_of(identity.user))
        self._link = LocalLink.open(admission, hello, identity, receive=self._receive, closed=self._closed, peer="HTTP")

    def verify_again(self, active: ActiveSettings) -> None:
        """The keys were exchanged: raise `AuthError` if the token is not good by the new ones."""
        active.verify_token(self.caller.token)
        self.keys = active.keys

    def ask(self, make: MakeMessage, answer: TakeReply, *, before: MakeMessage | None = None) -> None:
        """Send the message that `make` makes for an id, and have its reply, or an `Error`, given to `answer`, later.
        What `before` makes is sent at once before it, and nobody is told the reply. Raises `PresenceError` (`too_fast`)
        if it would take too long."""
        self.require_credit()
        if before is not None:
            self._send(before, _ignore)
        self._send(make, answer)

    def _send(self, make: MakeMessage, answer: TakeReply) -> None:
        link, now_s = self._link, self._now_s()
        assert link is not None, "a link that is over is asked nothing"
        self.used_s = self._sent_s = now_s
        request_id = self._next_id()
        self._waiting[request_id] = _Waiting(answer, now_s)
        link.ask(make(request_id))

    def ask_later(self, make: MakeMessage, answer: TakeReply) -> Callable[[], None]:
        """The same for a message whose reply comes when something is so. What is returned gives it up. Raises
        `PresenceError` also if there are as many already as there may be (`await_limit`)."""
        if len(self._awaits) >= limits.HTTP_AWAITS_MAX:
            sentence = f"{len(self._awaits)} awaits of this token are under way, which is the most over HTTP"
            raise RequestError("await_limit", f"{sentence}; a link of your own may have more")
        self.ask(make, answer)
        request_id = self._last_id
        self._awaits[request_id] = self._waiting.pop(request_id).answer

        def give_up() -> None:
            if self._awaits.pop(request_id, None) is not None and self._link is not None:
                self._link.ask(CancelAwait(self._next_id(), request_id))

        return give_up

    def next_ref(self) -> int:
        """Another number for a device on this link."""
        self._last_ref += 1
        return self._last_ref

    def leave(self) -> None:
        """End the link: nobody uses it. Devices that it holds are in grace then."""
        if self._link is not None:
            self._link.leave()

    @property
    def is_open(self) -> bool:
        """Whether it may be asked. One that has been told to end is over in the next pass of the loop; and one that has
        given all numbers for devices must not give one again that a device may still have."""
        return self._link is not None and not self._link.is_closing and self._last_ref < IDS_MAX

    @property
    def is_in_use(self) -> bool:
        """Whether a reply is still to come."""
        return bool(self._waiting) or bool(self._awaits)

    @property
    def heartbeat_s(self) -> float:
        """How often it has to be heard."""
        return self._heartbeat_s

    def keep(self, now_s: float) -> None:
        """Answer requests whose replies have not come in time, and let the link be heard."""
        late_s = now_s - limits.HTTP_REPLY_MS_MAX / 1000
        for request_id in [one for one, waiting in self._waiting.items() if waiting.since_s < late_s]:
            sentence = "no answer came in time; whether the request was applied is not known"
            self._waiting.pop(request_id).answer(Error(request_id, "timeout", sentence))
        if self._link is not None and now_s - self._sent_s >= self._heartbeat_s / 2:
            self._sent_s = now_s
            self._link.ask(Heartbeat())

    def require_credit(self) -> None:
        """Raise `PresenceError` (`too_fast`) if a request would have to wait too long for credit: to be asked before
        anything is done for it. O(1)."""
        link, retry_ms = self._link, 0
        if link is not None and (wait_ms := link.credit_wait_ms) > limits.HTTP_WAIT_MS_MAX:
            retry_ms = wait_ms
        elif link is not None and link.is_held and self._waiting:
            longest_s = self._now_s() - next(iter(self._waiting.values())).since_s
            if longest_s * 1000 > limits.HTTP_WAIT_MS_MAX or len(self._waiting) >= self._most:
                retry_ms = limits.HTTP_WAIT_MS_MAX
        if retry_ms:
            sentence = "the user's pace is used up, and this request would have to wait too long"
            raise PresenceError("too_fast", sentence, temporary=True, retry_ms=retry_ms)

    def charge(self, size: int) -> None:
        """Take credit for a body of so many bytes that was no request."""
        if self._link is not None:
            self._link.charge(size)

    def _next_id(self) -> int:
        # A counter that starts over must skip what still waits (protocol.md, 4.2).
        while True:
            self._last_id = self._last_id % IDS_MAX + 1
            if self._last_id not in self._waiting and self._last_id not in self._awaits:
                return self._last_id

    def _receive(self, message: ServerMessage) -> None:
        request_id = getattr(message, "id", 0)
        if request_id:
            waiting = self._waiting.pop(request_id, None)
            answer = waiting.answer if waiting is not None else self._awaits.pop(request_id, _ignore)
            answer(message)
        elif isinstance(message, Welcome):
            self._heartbeat_s = message.heartbeat_ms / 1000
            if message.rate_units_per_s:
                most = message.rate_units_per_s * limits.HTTP_WAIT_MS_MAX // 1000
                self._most = max(1, min(most, limits.HTTP_WAITING_MAX))
        # Whatever else comes is told to those who watch or hold something, and nobody does here.

    def _closed(self, goodbye: Goodbye) -> None:
        self.is_over, self._link = True, None
        waiting = [one.answer for one in self._waiting.values()] + list(self._awaits.values())
        self._waiting.clear()
        self._awaits.clear()
        code = goodbye.code or "going_away"
        for answer in waiting:
            answer(Error(0, code, goodbye.message or "the link of this request has ended", goodbye.retry_ms))

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()


class LinkPool:
    """The links by caller, the one that was used longest ago first."""

    def __init__(self, admission: Admission, active: ActiveSettings) -> None:
        self._admission = admission
        self._active = active
        self._links: OrderedDict[HttpCaller, SharedLink] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._links)

    def __iter__(self) -> Iterator[SharedLink]:
        return iter(list(self._links.values()))

    def link_of(self, caller: HttpCaller) -> SharedLink:
        """The link for a caller, opened if need be. Raises `AuthError` if the token is not good (any longer), and
        `ProtocolError` (`busy`). O(1)."""
        link = self._links.get(caller)
        if link is not None:
            try:
                if link.keys is not self._active.keys:
                    link.verify_again(self._active)
            except AuthError:
                self._drop(link)
                raise
            if link.is_open:
                self._links.move_to_end(caller)
                return link
            self._drop(link)
        self._make_room()
        link = SharedLink(caller, asyncio.get_running_loop().time())
        link.open(self._admission, self._active)
        self._links[caller] = link
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(1.0, self._sweep)
        return link

    def close(self) -> None:
        """End all of them. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        for link in self._links.values():
            link.leave()
        self._links.clear()

    def _make_room(self) -> None:
        if len(self._links) < limits.HTTP_LINKS_MAX:
            return
        unused = next((link for link in self._links.values() if link.is_over or not link.is_in_use), None)
        if unused is not None:
            self._drop(unused)
            return
        raise ProtocolError("busy", "requests of as many tokens as there may be are being answered", retry_ms=1_000)

    def _drop(self, link: SharedLink) -> None:
        del self._links[link.caller]
        link.leave()

    def _sweep(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now_s, next_s = loop.time(), SWEEP_S
        for link in self:
            if not link.is_over:
                link.keep(now_s)
            is_idle = not link.is_in_use and now_s - link.used_s > limits.HTTP_LINK_IDLE_MS / 1000
            if link.is_over or is_idle:
                self._drop(link)
            else:
                next_s = min(next_s, link.heartbeat_s / 2)
        if self._links:
            self._timer = loop.call_later(next_s, self._sweep)


def hello_of(caller: HttpCaller, client: int = 0) -> Hello:
    """What a link for this caller says first; `client` is the number by which its client is known again."""
    versions = list(PROTOCOL_VERSIONS)
    return Hello(versions, caller.token, caller.user, "", role=caller.role, agent="http", instance=client)


def client_of(user: str) -> int:
    """The number of the client that all requests of a user over HTTP are, also after a restart: a device that was
    attached by one of them is kept and let go by others."""
    return int.from_bytes(hashlib.sha256(f"http {user}".encode()).digest()[:6], "big") or 1


def _ignore(reply: object) -> None:
    """Nobody waits for this any more."""
