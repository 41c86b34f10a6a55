"""Keeps one client at its server: opens links, beats, notices silence, comes back, gives up. One task per client.

Before the first welcome every failure is the caller's to judge. After it the address has spoken presenced and the
application's tokens were good, so a refusal that time or an operator heals does not end the client, whatever its code
says: a secret that is being exchanged, a proxy that answers for a server that is restarted, a wrong certificate. It is
tried again with the backoff of any lost link, and logged as an error each time.

Owns the state (`connecting`, `connected`, `closed`) and its callbacks. Users' callbacks run on their own turn of
the loop, never inside the read path, so that one may await any method of the client without blocking it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from presenced.address import Url
from presenced.client import forks
from presenced.client.callbacks import Callbacks
from presenced.client.link import Link, open_link
from presenced.client.link_log import LinkLog
from presenced.client.protocol.backoff import Backoff
from presenced.client.protocol.heartbeat import Activity, Heartbeats
from presenced.client.protocol.pending import REQUESTS, Make, OnReply, Reply, Request
from presenced.client.protocol.send_window import Window
from presenced.client.protocol.session import Session
from presenced.errors import AuthError, ConnectionLost, PresenceError
from presenced.limits import TOKEN_BYTES_MAX
from presenced.wire import messages
from presenced.wire.messages import ClientMessage, DeviceStatus, Role, ServerMessage

_log = logging.getLogger("presenced.client")

AGENT = "presenced-python"

State = Literal["connecting", "connected", "closed"]
Token = str | Callable[[], str | Awaitable[str]]
StateCallback = Callable[[State, PresenceError | None], object]

LATE_MS = 1_000
"""A heartbeat that is so late is told of in the log."""

_HEALED = frozenset({"not_presenced", "tls_failed"})
"""What an address that has spoken presenced answers only for a while. Trying again gives nothing away: the token is
sent after the handshake, and where there is none it was sent before as well."""


@dataclass(slots=True, repr=False)
class Identity:
    """Who comes, how, and what the device says of itself; `status`, `priority` and the name in
    `url` may change while it is there."""

    url: Url
    token: Token
    tls: ssl.SSLContext | None
    role: Role
    status: DeviceStatus
    priority: int
    wants_own: bool = False
    """Whether this device shows the user's own state."""
    instance: int = field(default_factory=lambda: random.getrandbits(53) or 1)
    """By this number the server knows this client again on its next link."""

    def __repr__(self) -> str:
        """Who and where, as a log may show it: without the token."""
        url = self.url
        who = f"{url.user or '?'}/{url.device}" if url.device else url.user or "?"
        host = f"[{url.host}]" if ":" in url.host else url.host
        return f"{who} at {host}:{url.port}"

    def describe(
        self, status: DeviceStatus | None = None, priority: int | None = None, name: str | None = None
    ) -> None:
        """What the next hello says; None leaves one as it is."""
        self.status = self.status if status is None else status
        self.priority = self.priority if priority is None else priority
        self.url = self.url if name is None else self.url._replace(name=name)


class Keeper:
    """See the module's docstring. Ends the session when it is over for good."""

    def __init__(
        self,
        identity: Identity,
        session: Session[asyncio.Future[Reply]],
        receive: Callable[[ServerMessage], None],
        callbacks: Callbacks,
        timeout_s: float,
        reconnects: bool,
    ) -> None:
        self.state: State = "connecting"
        self.reason: PresenceError | None = None
        self.clock_ms = 0
        self.callbacks: list[StateCallback] = []
        self.uses: dict[object, object] = {}
        """What is to be kept alive as long as the client is open, by whom."""
        self.is_forked = False
        self.beats: Callable[[int], Sequence[ClientMessage]] = lambda now_ms: ()
        """What stands for the heartbeat of this link, if it is not empty; a service's beats do."""
        self._loop = asyncio.get_running_loop()
        self._identity = identity
        self._session = session
        self._receive = receive
        self._callbacks = callbacks
        self._timeout_s = timeout_s
        self._reconnects = reconnects
        self._activity = Activity()
        self._backoff = Backoff(random.random)
        self._log = LinkLog(lambda: repr(identity))
        self._token = ""
        """The one shown last."""
        self._link: Link | None = None
        self._heartbeats: Heartbeats | None = None
        self._window: Window[Request] = Window(0, session.is_wanted)
        self._is_sending = False
        """What waits in the window will be looked at in this turn of the loop."""
        self._task: asyncio.Task[None] | None = None

        forks.tell_if_forked(self)

    @property
    def is_linked(self) -> bool:
        return self._link is not None

    @property
    def is_open(self) -> bool:
        """It was connected, and has come to no end, the loop's included."""
        return self._task is not None and not self._task.done() and self.state != "closed"

    def in_child(self) -> None:
        """See `forks`."""
        self.is_forked = True
        self.state, self.reason = "closed", forks.error()
        self._link = self._heartbeats = None

    def now_ms(self) -> int:
        return int(self._loop.time() * 1000)

    def send(self, *sent: ClientMessage) -> None:
        """In one write. Without effect while there is no link.

        Requests wait until the server can take them (see `window`); what is no request, as heartbeats, does not.
        """
        if self._link is None:
            return
        requests = [cast(Request, message) for message in sent if type(message) in REQUESTS]
        if len(requests) < len(sent):
            self._link.send(*[message for message in sent if type(message) not in REQUESTS])
        if requests:
            self._leave(self._window.put(requests))

    def say(self, make: Make, on_reply: OnReply | None) -> None:
        """Send a request that nobody waits for; dropped without a link."""
        if self.is_linked:
            self.send(self._session.open(make, None, self.now_ms(), on_reply))

    def answered(self, request_id: int) -> None:
        """A reply has come, so that another request may leave."""
        self._window.answered(request_id)
        if self._window.is_waiting and not self._is_sending:
            # Once for all replies of this turn, and in one write.
            self._is_sending = True
            self._loop.call_soon(self._send_waiting)

    def _send_waiting(self) -> None:
        self._is_sending = False
        if self._link is not None:
            self._leave(self._window.take())

    def _leave(self, requests: Sequence[Request]) -> None:
        if requests and self._link is not None:
            now_ms = self.now_ms()
            for request in requests:
                self._session.left(request.id, now_ms)
            self._link.send(*requests)

    def report_idle(self, idle_ms: int) -> None:
        """The person's last input was `idle_ms` ago; told to the server at once if that changes what it shows."""
        now_ms = self.now_ms()
        self._activity.report(now_ms, idle_ms)
        if self.is_urgent(self._activity, now_ms):
            self.send(messages.Heartbeat(self._activity.tell(now_ms)))

    def is_urgent(self, activity: Activity, now_ms: int) -> bool:
        """Would what it says come too late with the next heartbeat?"""
        welcome = self._session.welcome
        if self._heartbeats is None or welcome is None:
            return False
        return activity.is_urgent(now_ms, self._heartbeats.heartbeat_ms, welcome.away_after_ms)

    async def start(self) -> None:
        """Open the first link; raises `PresenceError` if that fails."""
        try:
            link = await self._open_link()
        except AuthError as error:
            if error.temporary or not callable(self._identity.token):
                raise
            # The function may have handed out one that it had kept.
            link = await self._open_link()
        self._begin(link)
        url = self._identity.url
        self._task = asyncio.create_task(self._keep(link), name=f"presenced client {url.user}/{url.device}")

    async def close(self, *, bye: bool) -> None:
        link, self._link, self._heartbeats = self._link, None, None
        self._end(None)
        if self._task is not None:
            self._task.cancel()
        if link is not None:
            await link.leave(messages.Bye() if bye else None)
        if self._task is not None:
            await asyncio.wait({self._task})

    def abandon(self) -> None:
        """Nobody can use the client any more: leave. From any thread, and also after the loop's end."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._leave_behind)

    def _leave_behind(self) -> None:
        # As `close` does, but without waiting, since the loop may be at its end.
        link, self._link, self._heartbeats = self._link, None, None
        self._end(None)
        if self._task is not None:
            self._task.cancel()
        if link is not None:
            link.leave_behind(messages.Bye())

    def closed_error(self) -> PresenceError:
        """What a request raises once the state is `closed`."""
        return self.reason or ConnectionLost("closed", "this client is closed; connect again", temporary=False)

    # --- one link after another -------------------------------------------------------------------------------

    async def _keep(self, link: Link) -> None:
        try:
            while True:
                error = await self._serve(link)
                self._link = self._heartbeats = None
                self._give_up(error)
                self._backoff.link_ended(self.now_ms() - link.opened_ms)
                if not self._reconnects or self._is_final(error):
                    raise error
                self._log.lost(self.now_ms(), error)
                self._set_state("connecting", error)
                link = await self._come_back(error)
                self._begin(link)
        except PresenceError as error:
            self._end(error)
        except Exception as error:
            # A bug of this package: nobody awaits this task, so it is told here and whoever waits is released.
            self._loop.call_exception_handler({"message": "a presenced client failed", "exception": error})
            self._end(PresenceError("internal", f"the client failed: {error!r}", temporary=False))
        finally:
            if self._link is not None:
                # Whoever ended this task has not closed the client, as when a loop ends with it: nobody else would.
                self._link.drop(self.closed_error())

    async def _serve(self, link: Link) -> PresenceError:
        """Beat until the link is lost; returns why."""
        while not link.lost.done():
            heartbeats, now_ms = self._heartbeats, self.now_ms()
            assert heartbeats is not None
            while (due := heartbeats.due(now_ms, link.heard_ms)) is not None:
                if due == "heartbeat":
                    link.send(*(self.beats(now_ms) or [messages.Heartbeat(self._activity.tell(now_ms))]))
                elif due == "ping":
                    # Not in the window: it is asked because nothing comes that would make room there.
                    link.send(self._session.open(messages.Ping, None, now_ms))
                else:
                    link.drop(ConnectionLost("silent", "the server fell silent; the link counts as lost"))
                    break
            wait_ms = max(1, heartbeats.next_ms(link.heard_ms) - now_ms)
            await asyncio.wait({link.lost}, timeout=None if due == "lost" else wait_ms / 1000)
            late_ms = self.now_ms() - now_ms - wait_ms
            if late_ms >= LATE_MS and due != "lost":
                sentence = "%r: the event loop stood still, and a heartbeat is %.1f s late; what blocks it?"
                _log.warning(sentence, self._identity, late_ms / 1000)
        return link.lost.result()

    async def _come_back(self, error: PresenceError) -> Link:
        wait_ms = self._backoff.delay_ms(error.retry_ms)
        while True:
            await asyncio.sleep(wait_ms / 1000)
            try:
                # A token that is from ahead is good once the server's clock has come to it; one made anew by the same
                # clock would be as far ahead as before.
                return await self._open_link(self._token if error.code == "token_early" else None, again=True)
            except PresenceError as failure:
                error = self.reason = failure
                if self._is_final(error):
                    raise
                wait_ms = self._backoff.delay_ms(error.retry_ms)
                self._log.failed(error, wait_ms)

    async def _open_link(self, token: str | None = None, *, again: bool = False) -> Link:
        """One attempt. The hello carries the idle level as a heartbeat does: coming back is not activity. Who comes
        back (`again`) leaves what others set as it is, and the device to whom it went meanwhile."""
        token = self._token = await self._current_token() if token is None else token
        identity, url = self._identity, self._identity.url
        hello = messages.Hello(
            versions=list(messages.PROTOCOL_VERSIONS),
            token=token,
            user=url.user,
            device=url.device,
            kind=url.kind,
            name=url.name,
            priority=identity.priority,
            status=identity.status,
            idle_ms=self._activity.tell(self.now_ms()),
            role=identity.role,
            agent=AGENT,
            sync=identity.wants_own,
            as_was=again,
            only_free=again,
            instance=identity.instance,
        )
        link, welcome = await open_link(url, hello, identity.tls, self._timeout_s)
        self._session.welcome = welcome
        return link

    def _begin(self, link: Link) -> None:
        """The link is open: take what comes, send what waited. Without a gap, so that nothing is sent twice."""
        now_ms = self.now_ms()
        welcome = self._session.welcome
        assert welcome is not None
        self.clock_ms = welcome.server_time_ms - now_ms
        self._heartbeats = Heartbeats(now_ms, welcome.heartbeat_ms, int(self._timeout_s * 1000), random.random())
        self._link = link
        link.attach(self._receive)
        self._window = Window(welcome.rate_units_per_s, self._session.is_wanted)
        self._leave([request for one in self._session.resume(welcome, now_ms) for request in self._window.put([one])])
        self._log.opened(now_ms)
        self._set_state("connected", None)

    async def _current_token(self) -> str:
        token = self._identity.token
        if callable(token):
            try:
                async with asyncio.timeout(self._timeout_s):
                    made = token()
                    token = await made if inspect.isawaitable(made) else made
            except Exception as error:
                # Perhaps the app's own token service is down: worth another attempt.
                raise AuthError("token_failed", f"the token function failed: {error!r}", temporary=True) from error
        if len(token.encode()) > TOKEN_BYTES_MAX:
            raise AuthError("bad_token", f"the token is longer than {TOKEN_BYTES_MAX} bytes")
        return token

    # --- the end, and who is told -----------------------------------------------------------------------------

    def _is_final(self, error: PresenceError) -> bool:
        """Does it end a client that was welcome once? For `replaced` coming back would start a war between two programs
        for one device."""
        if error.temporary:
            return False
        if isinstance(error, AuthError):
            # As long as the application can make another token, the refusal is one of this token.
            return not callable(self._identity.token)
        return error.code not in _HEALED

    def _give_up(self, reason: PresenceError) -> None:
        """The link is lost: what must not be sent twice is not sent again."""
        for waiter in self._session.suspend(self.now_ms()):
            if not waiter.done():
                sentence = f"the link was lost before the reply came ({reason}); it may or may not have been applied"
                waiter.set_exception(ConnectionLost(reason.code, sentence, retry_ms=reason.retry_ms))

    def _end(self, error: PresenceError | None) -> None:
        if self.state == "closed":
            return
        self._log.ended(error)
        self.uses.clear()
        self._set_state("closed", error)
        for waiter in self._session.end(error):
            if not waiter.done():
                waiter.set_exception(self.closed_error())

    def _set_state(self, state: State, reason: PresenceError | None) -> None:
        self.reason = reason
        if state == self.state:
            return
        self.state = state
        for callback in self.callbacks:
            self._callbacks.soon("a state callback", callback, state, reason)
