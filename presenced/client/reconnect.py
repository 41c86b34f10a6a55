"""Keeps one client connected: opens links, beats, notices silence, comes back, gives up. One task for each client.

Before the first welcome every failure is the caller's to judge. After it the address has spoken presenced and the
application's tokens were good, so that a refusal which time or an operator heals does not end the client, whatever its
code says: a secret that is being exchanged, a proxy that answers for a server that is restarted, a wrong certificate.
Such an attempt is repeated with the backoff of any lost link, and logged as an error each time.

What goes over the links is none of its business: `LinkUser` is told of each link and of its loss.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from presenced.client import forks
from presenced.client.callbacks import Callbacks
from presenced.client.exchange import MakeHello
from presenced.client.identity import ClientIdentity
from presenced.client.link import ClientLink, open_link
from presenced.client.link_log import LinkLog
from presenced.client.link_state import LinkState
from presenced.client.log_fields import about, fields
from presenced.client.protocol.backoff import Backoff
from presenced.client.protocol.heartbeat import Activity, Heartbeats
from presenced.client.renewal import TokenRenewal
from presenced.client.telemetry import ClientTelemetry
from presenced.errors import AuthError, ConnectionLost, PresenceError
from presenced.wire import messages
from presenced.wire.messages import ClientMessage, Hello, Welcome

_log = logging.getLogger("presenced.client.link")

LATE_MS = 1_000
"""A heartbeat that is this late is reported in the log."""

_HEALED = frozenset({"not_presenced", "tls_failed"})
"""Errors that an address which has spoken presenced gives only for a while. Trying again gives nothing away: the token
is sent after the handshake, and without TLS it was sent in clear before as well."""


class LinkUser(Protocol):
    """What uses the links; `exchange` is one."""

    def greeting(self, make: MakeHello, *, again: bool) -> Sequence[ClientMessage]:
        """The hello of an attempt, made by `make`, and what leaves behind it. `again`: there was a link before."""

    def link_opened(self, link: ClientLink, welcome: Welcome) -> None:
        """A link is open; it is used from now on."""

    def link_lost(self, reason: PresenceError) -> None:
        """The link is gone, and another may follow."""

    def unlink(self) -> None:
        """The link must not be used any longer."""

    def ask_for_life(self) -> None:
        """The server has been silent for long: send something that it answers."""

    def ended(self, error: PresenceError | None) -> None:
        """No link will follow; `error` says why, None if the owner closed the client."""


class Reconnect:
    """See the module's docstring. Writes the state of the link."""

    def __init__(
        self,
        identity: ClientIdentity,
        user: LinkUser,
        renewal: TokenRenewal,
        link_state: LinkState,
        callbacks: Callbacks,
        timeout_s: float,
        reconnects: bool,
        telemetry: ClientTelemetry | None = None,
    ) -> None:
        self.is_forked = False
        self._beats: Callable[[int], Sequence[ClientMessage]] = lambda now_ms: ()
        self._at_each_beat: list[Callable[[], object]] = []
        self._loop = asyncio.get_running_loop()
        self._identity = identity
        self._user = user
        self._renewal = renewal
        self._state = link_state
        self._callbacks = callbacks
        self._timeout_s = timeout_s
        self._reconnects = reconnects
        self._activity = Activity()
        self._backoff = Backoff(random.random)
        self._log = LinkLog(identity, telemetry)
        self._focus_told = ""
        """What the server knows to be on the device's screen."""
        self._token = ""
        """The token that was shown last."""
        self._link: ClientLink | None = None
        self._welcome: Welcome | None = None
        self._heartbeats: Heartbeats | None = None
        self._task: asyncio.Task[None] | None = None

        forks.tell_if_forked(self)

    @property
    def is_open(self) -> bool:
        """Whether the client was connected and has not ended, nor has its loop."""
        return self._task is not None and not self._task.done() and self._state.state != "closed"

    @property
    def welcome(self) -> Welcome:
        """What the server announced at the last connect; only after `start`."""
        assert self._welcome is not None
        return self._welcome

    def in_child(self) -> None:
        """See `forks`."""
        self.is_forked = True
        self._state.set_silently("closed", forks.error())
        self._link = self._heartbeats = None
        self._user.unlink()

    def now_ms(self) -> int:
        """The loop's clock."""
        return int(self._loop.time() * 1000)

    def beat_by(self, beats: Callable[[int], Sequence[ClientMessage]]) -> None:
        """From now on send what `beats(now_ms)` returns in place of the link's own heartbeat, unless that is empty."""
        self._beats = beats

    def at_each_beat(self, ask: Callable[[], object]) -> None:
        """Call this with each heartbeat, too."""
        self._at_each_beat.append(ask)

    def report_idle(self, idle_ms: int) -> None:
        """The person's last input was `idle_ms` ago. The server is told at once if that changes what it shows, and of
        the first report: until then it does not know whether anybody is there."""
        now_ms, is_first = self.now_ms(), not self._activity.is_reported
        self._activity.report(now_ms, idle_ms)
        if self._link is not None and (is_first or self.is_urgent(self._activity, now_ms)):
            self._link.send(messages.Heartbeat(self._activity.tell(now_ms)))

    def report_focus(self, focus: str) -> None:
        """This is on the device's screen. The server is told at once, and by each hello."""
        self._identity.show(focus)
        if self._link is not None:
            self._tell_focus(self._link)

    def _tell_focus(self, link: ClientLink) -> None:
        focus = self._identity.focus
        if focus != self._focus_told:
            self._focus_told = focus
            link.send(messages.Focus(focus=focus))

    def is_urgent(self, activity: Activity, now_ms: int) -> bool:
        """Whether the level would come too late with the next heartbeat."""
        if self._heartbeats is None or self._welcome is None:
            return False
        return activity.is_urgent(now_ms, self._heartbeats.heartbeat_ms, self._welcome.away_after_ms)

    async def start(self) -> None:
        """Open the first link. Raises `PresenceError` if that fails."""
        try:
            link = await self._open_link()
        except AuthError as error:
            if error.temporary or not callable(self._identity.token):
                raise
            # The function may have returned a token that it had kept: it is asked once more.
            link = await self._open_link()
        self._begin(link)
        url = self._identity.url
        self._task = asyncio.create_task(self._keep(link), name=f"presenced client {url.user}/{url.device}")

    async def close(self, *, bye: bool) -> None:
        """End the client; with `bye` the server is told so. Returns when the link is closed. Idempotent."""
        link = self._stop()
        if link is not None:
            await link.leave(messages.Bye() if bye else None)
        if self._task is not None:
            await asyncio.wait({self._task})

    def abandon(self) -> None:
        """Nobody can use the client any longer: leave. From any thread, and also after the loop's end."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._leave_behind)

    def _leave_behind(self) -> None:
        # As `close` does, but without waiting, since the loop may be at its end.
        link = self._stop()
        if link is not None:
            link.leave_behind(messages.Bye())

    def _stop(self) -> ClientLink | None:
        """Returns the link that is to be closed."""
        link, self._link, self._heartbeats = self._link, None, None
        self._renewal.end()
        self._end(None)
        if self._task is not None:
            self._task.cancel()
        return link

    # --- one link after another -------------------------------------------------------------------------------

    async def _keep(self, link: ClientLink) -> None:
        try:
            while True:
                error = await self._serve(link)
                self._link = self._heartbeats = None
                self._renewal.end()
                self._user.link_lost(error)
                self._backoff.link_ended(self.now_ms() - link.opened_ms)
                if not self._reconnects or self._is_final(error):
                    raise error
                self._log.lost(self.now_ms(), error)
                self._state.set("connecting", error)
                link = await self._come_back(error)
                self._begin(link)
        except PresenceError as error:
            self._end(error)
        except Exception as error:
            # A bug of this package. Nobody awaits this task, so it is reported here, and everyone who waits is told.
            self._loop.call_exception_handler({"message": "a presenced client failed", "exception": error})
            self._end(PresenceError("internal", f"the client failed: {error!r}", temporary=False))
        finally:
            self._renewal.end()
            if self._link is not None:
                # The task was ended and the client was not closed, as when a loop ends. Nobody else closes the link.
                self._link.drop(self._state.closed_error())

    async def _serve(self, link: ClientLink) -> PresenceError:
        """Beat until the link is lost; returns why."""
        while not link.lost.done():
            heartbeats, now_ms = self._heartbeats, self.now_ms()
            assert heartbeats is not None
            while (due := heartbeats.due(now_ms, link.heard_ms)) is not None:
                if due == "heartbeat":
                    link.send(*(self._beats(now_ms) or [messages.Heartbeat(self._activity.tell(now_ms))]))
                    for ask in self._at_each_beat:
                        ask()
                elif due == "ping":
                    self._user.ask_for_life()
                else:
                    link.drop(ConnectionLost("silent", "the server fell silent; the link counts as lost"))
                    break
            wait_ms = max(1, heartbeats.next_ms(link.heard_ms) - now_ms)
            await asyncio.wait({link.lost}, timeout=None if due == "lost" else wait_ms / 1000)
            late_ms = self.now_ms() - now_ms - wait_ms
            if late_ms >= LATE_MS and due != "lost":
                sentence = "%r: the event loop stood still, and a heartbeat is %.1f s late; what blocks it?"
                extra = fields("loop_held", late_ms=late_ms, **about(self._identity.url))
                _log.warning(sentence, self._identity, late_ms / 1000, extra=extra)
        return link.lost.result()

    async def _come_back(self, error: PresenceError) -> ClientLink:
        wait_ms = self._backoff.delay_ms(error.retry_ms)
        while True:
            await asyncio.sleep(wait_ms / 1000)
            try:
                # A token from the future becomes good when the server's clock reaches it. A token that the same clock
                # makes anew would be as far ahead as the one before.
                return await self._open_link(self._token if error.code == "token_early" else None, again=True)
            except PresenceError as failure:
                error = failure
                self._state.set("connecting", error)
                if self._is_final(error):
                    raise
                wait_ms = self._backoff.delay_ms(error.retry_ms)
                self._log.failed(error, wait_ms)

    async def _open_link(self, token: str | None = None, *, again: bool = False) -> ClientLink:
        """One attempt. `again`: see `ClientIdentity.hello`."""
        identity = self._identity
        shown = self._token = await identity.current_token(self._timeout_s) if token is None else token

        def hello(*, quiet: bool, resume: str) -> Hello:
            idle_ms = self._activity.tell(self.now_ms())
            made = identity.hello(shown, idle_ms, again=again, quiet=quiet, resume=resume if self._reconnects else None)
            self._focus_told = made.focus
            return made

        greet = partial(self._user.greeting, hello, again=again)
        link, self._welcome = await open_link(identity.url, greet, identity.tls, self._timeout_s)
        return link

    def _begin(self, link: ClientLink) -> None:
        now_ms, welcome = self.now_ms(), self.welcome
        self._heartbeats = Heartbeats(now_ms, welcome.heartbeat_ms, int(self._timeout_s * 1000), random.random())
        self._link = link
        self._user.link_opened(link, welcome)
        if welcome.resumed and (beats := self._beats(now_ms)):
            # Nothing that has just been said tells how idle anybody is by now, nor finds out what is held no longer.
            link.send(*beats)
        # It may have changed since the hello left.
        self._tell_focus(link)
        self._renewal.begin(self._token)
        self._log.opened(now_ms)
        self._state.set("connected", None)

    # --- the end ----------------------------------------------------------------------------------------------

    def _is_final(self, error: PresenceError) -> bool:
        """Whether the error ends a client that was welcome once. Coming back after `replaced` would start a war between
        two programs for one device."""
        if error.temporary:
            return False
        if isinstance(error, AuthError):
            # As long as the application can make another token, only this token was refused.
            return not callable(self._identity.token)
        return error.code not in _HEALED

    def _end(self, error: PresenceError | None) -> None:
        if self._state.state == "closed":
            return
        self._log.ended(error)
        self._callbacks.release_uses()
        self._state.set("closed", error)
        self._user.ended(error)
