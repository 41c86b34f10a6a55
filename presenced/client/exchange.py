"""The requests of one client and their replies: futures, timeouts and the pace, over one link after the other.

It is given each link that `reconnect` opens, and told when that is lost. Nothing here refers to the object that the app
holds, so that the loop does not keep alive a client that nobody uses (see `connection`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar, cast

from presenced.client.link import ClientLink
from presenced.client.link_state import LinkState
from presenced.client.log_fields import fields
from presenced.client.protocol.pending_requests import (
    REPLIES,
    REQUESTS,
    Make,
    OnReply,
    Reply,
    Request,
    error_of,
    is_long,
)
from presenced.client.protocol.resumption import Resumption
from presenced.client.protocol.send_window import SendWindow
from presenced.client.protocol.session import ClientSession
from presenced.client.telemetry import NAMES, CallTelemetry, ClientTelemetry
from presenced.errors import ConnectionLost, PresenceError, ProtocolError, RequestTimeout
from presenced.limits import FRAME_BYTES_MAX
from presenced.wire import messages
from presenced.wire.messages import ClientMessage, Hello, Record, ServerMessage, Welcome

R = TypeVar("R", bound=Reply)

Waiter = asyncio.Future[Reply]

_log = logging.getLogger("presenced.client.requests")


class MakeHello(Protocol):
    """Makes a hello from what depends on the links before."""

    def __call__(self, *, quiet: bool, resume: str) -> Hello: ...


class Returning(Protocol):
    """What a client has from the links before; `view` is one."""

    def greets_quietly(self, *, again: bool) -> bool:
        """Whether the hello says that contacts need not be told."""

    def behind_hello(self, *, is_to_resume: bool) -> Iterable[tuple[Make, OnReply]]:
        """The requests that leave behind the hello."""


class ClientExchange:
    """See the module's docstring."""

    def __init__(
        self, link_state: LinkState, request_timeout_s: float, telemetry: ClientTelemetry | None = None
    ) -> None:
        self.session: ClientSession[Waiter] = ClientSession()
        self.link_state = link_state
        self.request_timeout_s = request_timeout_s
        self.telemetry = telemetry
        self._calls: dict[Waiter, CallTelemetry] = {}
        """The requests that are measured, by who waits for them; empty without telemetry."""
        self._handlers: dict[type, Callable[[Any], None]] = {}
        self.loop = asyncio.get_running_loop()
        self._clock_ms = 0
        """The server's wall time less the loop's clock."""
        self._link: ClientLink | None = None
        self._window: SendWindow[Request] = SendWindow(0, self.session.is_wanted, is_long)
        self._resumption = Resumption()
        self._returning: Returning | None = None
        self._is_sending = False
        """What waits in the window will be sent in this turn of the loop."""
        self.link_number = 0
        """Of the present link, or of the last one."""

    def on_push(self, kind: type[messages.Message], handler: Callable[[Any], None]) -> None:
        """Call `handler` with each message of this type that is not a reply."""
        self._handlers[kind] = handler

    @property
    def is_linked(self) -> bool:
        return self._link is not None

    @property
    def users_per_request_max(self) -> int:
        """How many names go into one request."""
        return self.session.users_per_request_max

    @property
    def frame_bytes_max(self) -> int:
        """How long a request may be."""
        welcome = self.session.welcome
        return min(welcome.frame_bytes_max, FRAME_BYTES_MAX) if welcome is not None else FRAME_BYTES_MAX

    def now_ms(self) -> int:
        """The loop's clock."""
        return int(self.loop.time() * 1000)

    @property
    def server_time_ms(self) -> int:
        """The server's wall time, off by up to the network's delay."""
        return self._clock_ms + self.now_ms()

    # --- requests that somebody waits for ---------------------------------------------------------------------

    async def request(
        self, make: Make, expected: type[R], on_reply: OnReply | None = None, *, only_on: int | None = None
    ) -> R:
        """Send a request and return its reply, which has to be of the type `expected`. With `only_on` it means
        something on the link of this number alone, and raises `ConnectionLost` if that is lost before the reply.

        Raises `RequestError` if the server refuses, `RequestTimeout`, `ConnectionLost`, or `ProtocolError` for a reply
        of another type.
        """
        self.link_state.refuse_closed()
        if only_on is not None and not (self.is_linked and self.link_number == only_on):
            raise ConnectionLost("link_lost", "the link was lost on which the request would have had a meaning")
        waiter, request = self.open(make, on_reply, is_bound=only_on is not None)
        self.send(request)
        (reply,) = await self.replies([waiter])
        if not isinstance(reply, expected):
            raise _bad_reply(f"a {type(reply).__name__}")
        return reply

    async def do(self, make: Make, on_reply: OnReply | None = None) -> None:
        """Send a request whose reply says only that it was applied. Errors as of `request`."""
        await self.request(make, messages.Done, on_reply)

    async def do_together(self, *makes: Make) -> None:
        """Send several such requests in one write. The server takes them in one turn, so that watchers see one change.
        Raises the first error."""
        self.link_state.refuse_closed()
        opened = [self.open(make) for make in makes]
        self.send(*[request for _, request in opened])
        await self.replies([waiter for waiter, _ in opened])

    async def ping(self) -> float:
        """The round trip to the server in seconds, its turn included."""
        started_s = self.loop.time()
        pong = await self.request(messages.Ping, messages.Pong)
        ended_s = self.loop.time()
        self._clock_ms = pong.server_time_ms - self.now_ms()
        return ended_s - started_s

    async def records(self, users: list[str]) -> list[Record]:
        """Ask for users; returns the record of each, in their order."""
        reply = await self.request(lambda request_id: messages.Get(request_id, users), messages.Records)
        if len(reply.records) != len(users):
            raise _bad_reply(f"{len(reply.records)} records for {len(users)} names")
        return reply.records

    async def valid_records(self, users: list[str]) -> messages.Records:
        """Ask for the record of each of these users, and until when it holds."""
        reply = await self.request(lambda request_id: messages.Get(request_id, users, True), messages.Records)
        if not len(reply.records) == len(reply.valid_until_ms) == len(users):
            raise _bad_reply(
                f"{len(reply.records)} records and {len(reply.valid_until_ms)} times for {len(users)} names"
            )
        return reply

    def open(self, make: Make, on_reply: OnReply | None = None, *, is_bound: bool = False) -> tuple[Waiter, Request]:
        """A request, and the future of its reply: `send` the request and await `replies`. One that `is_bound` is not
        sent on another link."""
        waiter: Waiter = self.loop.create_future()
        request = self.session.open(make, waiter, self.now_ms(), on_reply, is_bound=is_bound)
        if self.telemetry is not None:
            self._calls[waiter] = self.telemetry.call_begun(NAMES[type(request)])
        return waiter, request

    async def replies(self, waiters: list[Waiter]) -> list[Reply]:
        """Wait for all of these replies. Raises the first error. However this ends, nobody waits for them after it."""
        raised: BaseException | None = None
        try:
            await self.settled(waiters)
            return [waiter.result() for waiter in waiters]
        except BaseException as error:
            raised = error
            raise
        finally:
            for waiter in waiters:
                self.session.forget(waiter)
                is_answered = waiter.done() and not waiter.cancelled()
                # An answer is retrieved here: of several errors the caller gets one.
                failure = waiter.exception() if is_answered else raised
                if self.telemetry is not None:
                    self._calls.pop(waiter).ended(failure)

    async def settled(self, waiters: Iterable[Waiter]) -> None:
        """Wait until all of these replies have come, whatever they say. Each may take `request_timeout_s` from the
        moment its request leaves, or without a link from the moment it was asked for; then raises `late_error`."""
        missing = set(waiters)
        while missing:
            now_ms = self.now_ms()
            due_ms = min(self.session.begun_ms(waiter, now_ms) for waiter in missing) + self.timeout_ms
            if due_ms <= now_ms:
                raise self.late_error()
            _, missing = await asyncio.wait(missing, timeout=(due_ms - now_ms) / 1000)

    @property
    def timeout_ms(self) -> int:
        return int(self.request_timeout_s * 1000)

    def late_error(self) -> PresenceError:
        """What a caller gets that has waited for too long."""
        reason = self.link_state.reason
        if not self.is_linked and reason is not None:
            sentence = f"no link to the server for {self.request_timeout_s:g} s: {reason}"
            return ConnectionLost(reason.code, sentence)
        return RequestTimeout(f"the server did not answer within {self.request_timeout_s:g} s")

    # --- sending ----------------------------------------------------------------------------------------------

    def send(self, *sent: Request | ClientMessage) -> None:
        """Send messages in one write; without effect while there is no link.

        Requests wait until the server can take them (see `send_window`). Messages without a reply, such as heartbeats,
        do not wait.
        """
        if self._link is None:
            return
        requests = [cast(Request, message) for message in sent if type(message) in REQUESTS]
        if len(requests) < len(sent):
            others = [cast(ClientMessage, message) for message in sent if type(message) not in REQUESTS]
            self._link.send(*others)
        if requests:
            self._leave(self._window.put(requests))

    def say(self, make: Make, on_reply: OnReply | None) -> None:
        """Send a request that nobody waits for; without a link it is dropped."""
        if self.is_linked:
            self.send(self.session.open(make, None, self.now_ms(), on_reply))

    def ask_for_life(self) -> None:
        """Ping a server that has fallen silent. The ping does not wait in the window, where only replies make room."""
        if self._link is not None:
            self._link.send(cast(ClientMessage, self.session.open(messages.Ping, None, self.now_ms())))

    def _send_waiting(self) -> None:
        self._is_sending = False
        if self._link is not None:
            self._leave(self._window.take())

    def _leave(self, requests: Sequence[Request]) -> None:
        if requests and self._link is not None:
            now_ms = self.now_ms()
            for request in requests:
                self.session.left(request.id, now_ms)
            self._link.send(*cast(Sequence[ClientMessage], requests))

    # --- one link after another (told by `reconnect`) ---------------------------------------------------------

    def return_by(self, returning: Returning) -> None:
        """From now on each attempt to come back says what this one knows of the links before."""
        self._returning = returning

    def greeting(self, make: MakeHello, *, again: bool) -> Sequence[ClientMessage]:
        """The hello of an attempt, and what leaves behind it. `again`: there was a link before."""
        returning, now_ms = self._returning, self.now_ms()
        if returning is None:
            return [make(quiet=False, resume="")]
        token = self._resumption.token(now_ms)
        hello = make(quiet=returning.greets_quietly(again=again), resume=token)
        makes = returning.behind_hello(is_to_resume=bool(token)) if again else ()
        return [hello, *cast(Sequence[ClientMessage], self.session.behind_hello(makes, now_ms))]

    def link_opened(self, link: ClientLink, welcome: Welcome) -> None:
        """Take what comes on the link, and send what waited. Nothing happens in between, so that nothing is sent
        twice."""
        self._clock_ms = welcome.server_time_ms - self.now_ms()
        self._resumption.welcomed(welcome)
        self._link = link
        self.link_number += 1
        self._window = window = SendWindow(welcome.rate_units_per_s, self.session.is_wanted, is_long)
        window.has_sent(self.session.sent_behind_hello)
        resumed = self.session.resume(welcome, self.now_ms())
        self._leave([request for one in resumed for request in window.put([one])])
        # After the parts have learnt that this is another link: what came with the welcome is of this one.
        link.attach(self._receive if self.telemetry is None else self._measure)

    def link_lost(self, reason: PresenceError) -> None:
        """The link is gone. A request that must not be sent twice raises `ConnectionLost`; the others wait."""
        self._link = None
        self._resumption.lost(reason, self.now_ms())
        for waiter in self.session.suspend(self.now_ms()):
            if not waiter.done():
                sentence = f"the link was lost before the reply came ({reason}); it may or may not have been applied"
                waiter.set_exception(ConnectionLost(reason.code, sentence, retry_ms=reason.retry_ms))

    def unlink(self) -> None:
        """The link belongs to another process, or is being closed: nothing is sent on it."""
        self._link = None

    def ended(self, error: PresenceError | None) -> None:
        """No link will follow: everything that waits raises, and all feeds end."""
        self._link = None
        for waiter in self.session.end(error):
            if not waiter.done():
                waiter.set_exception(self.link_state.closed_error())

    def _receive(self, message: ServerMessage) -> None:
        if type(message) in REPLIES and cast(Reply, message).id:
            self._answered(cast(Reply, message))
        elif isinstance(message, messages.Error):
            extra = fields("message_refused", code=message.code)
            _log.warning("the server refused a message: %s (%s)", message.message, message.code, extra=extra)
        elif (handler := self._handlers.get(type(message))) is not None:
            handler(message)

    def _measure(self, message: ServerMessage) -> None:
        if type(message) not in REPLIES and self.telemetry is not None:
            self.telemetry.pushed(NAMES[type(message)])
        self._receive(message)

    def _answered(self, reply: Reply) -> None:
        self._window.answered(reply.id)
        if self._window.is_waiting and not self._is_sending:
            # Once for all replies of this turn, and in one write.
            self._is_sending = True
            self.loop.call_soon(self._send_waiting)
        for waiter in self.session.settle(reply):
            if waiter.done():
                continue
            if isinstance(reply, messages.Error):
                waiter.set_exception(error_of(reply))
            else:
                waiter.set_result(reply)


def _bad_reply(what: str) -> PresenceError:
    return ProtocolError("bad_reply", f"the server answered with {what}; are its version and this one's alike?")
