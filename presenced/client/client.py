"""The client: what a program does with a server. `connect` makes it.

A thin shell: what the client knows lives in `session`, the link in `keeper`; here are the methods, their futures
and their timeouts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from presenced.address import check_emoji, check_text
from presenced.client.changes import Feed
from presenced.client.keeper import Identity, Keeper, State, StateCallback
from presenced.client.session import Reply, Request, Session, chunks, error_of
from presenced.client.values import (
    Until,
    WhoPage,
    check_device_status,
    check_names,
    check_priority,
    check_status,
    duration_ms,
)
from presenced.client.watch import Watch
from presenced.errors import AddressError, ConnectionLost, PresenceError, ProtocolError, RequestTimeout
from presenced.limits import IDLE_MS_MAX, USERS_PER_REQUEST_MAX
from presenced.wire import messages
from presenced.wire.messages import DeviceStatus, Record, ServerMessage, StatusRequest, Welcome

_R = TypeVar("_R", bound=Reply)
_N = TypeVar("_N", bound=Request)
_log = logging.getLogger("presenced.client")


class Client:
    """A connected user's device, or a service; made by `connect`. For one event loop, not for several threads."""

    def __init__(self, identity: Identity, timeout_s: float, request_timeout_s: float, reconnects: bool) -> None:
        self._identity = identity
        self._request_timeout_s = request_timeout_s
        self._loop = asyncio.get_running_loop()
        self._session: Session[asyncio.Future[Reply]] = Session()
        self._keeper = Keeper(identity, self._session, self._receive, timeout_s, reconnects)

    # --- who and where ----------------------------------------------------------------------------------------

    @property
    def user(self) -> str:
        return self._identity.url.user

    @property
    def device(self) -> str:
        return self._identity.url.device

    @property
    def state(self) -> State:
        """`connected`, `connecting` (the link was lost and is being repaired) or `closed`."""
        return self._keeper.state

    @property
    def reason(self) -> PresenceError | None:
        """Why the client is not connected: the last loss while `connecting`, the end while `closed`."""
        return self._keeper.reason

    @property
    def welcome(self) -> Welcome:
        """What the server announced at the last connect: heartbeat, limits, its epoch."""
        assert self._session.welcome is not None
        return self._session.welcome

    @property
    def server_time_ms(self) -> int:
        """The server's wall time, as well as this client knows it (off by up to the network's delay)."""
        return self._keeper.clock_ms + self._keeper.now_ms()

    def on_state(self, callback: StateCallback) -> Callable[[], None]:
        """Call `callback(state, reason)` after each change of `state`; returns a function that ends it.

        It may be async and may await this client. What it raises goes to the loop's exception handler.
        """
        self._keeper.callbacks.append(callback)

        def end() -> None:
            if callback in self._keeper.callbacks:
                self._keeper.callbacks.remove(callback)

        return end

    # --- the own state ----------------------------------------------------------------------------------------

    async def set_status(
        self,
        status: StatusRequest,
        text: str | None = None,
        emoji: str | None = None,
        until: Until = None,
    ) -> None:
        """Set the user's manual status, and the text with it if given. `auto` ends the manual status.

        `until` is a timedelta, a number of seconds or an aware datetime, and holds for all that is set here. The
        status shows while some device is online; `offline` makes the user appear offline. Raises `AddressError`
        before anything is sent; a call that raises later is not applied when the link comes back.
        """
        check_status(status)
        await self._set(status, text, emoji, until)

    async def set_text(self, text: str, emoji: str | None = None, until: Until = None) -> None:
        """Set the user's text, whatever the status; an empty one clears it."""
        await self._set(None, text, emoji, until)

    async def clear(self) -> None:
        """End the manual status and clear text and emoji."""
        await self._set("auto", "", "", None)

    async def set_device(self, *, status: DeviceStatus | None = None, priority: int | None = None) -> None:
        """Set this device's own status or priority; kept over reconnects. Raises `RequestError` (`no_device`)."""
        if status is not None:
            check_device_status(status)
            self._identity.status = status
        if priority is not None:
            check_priority(priority)
            self._identity.priority = priority
        now = replace(self._identity)
        await self._request(lambda request_id: messages.SetDevice(request_id, now.status, now.priority), messages.Done)

    def active(self) -> None:
        """The person gave input now (a key, a click). Cheap: call it for each. O(1)

        A person who was away, or would be before the next heartbeat, shows as online at once. An app that never
        calls `active` or `idle` counts as active for as long as it runs.
        """
        self.idle(0)

    def idle(self, idle_s: float) -> None:
        """The person's last input was `idle_s` seconds ago; from here the idle time grows by itself.

        The last input only ever moves forward: what the server was told before, or has seen this device set, is
        not taken back. Pass `idle_s` to `connect` to come as somebody who is idle already.
        """
        if not idle_s >= 0:
            raise AddressError("idle_s must not be negative", "bad_request")
        self._keeper.report_idle(int(min(idle_s * 1000, IDLE_MS_MAX)))

    # --- others' state ----------------------------------------------------------------------------------------

    async def get(self, user: str) -> Record:
        """The record of one user; one never seen is offline with `since_ms` 0."""
        return (await self.get_many([user]))[user]

    async def get_many(self, users: Iterable[str]) -> dict[str, Record]:
        """The records of any number of users, in the order asked; one request for each 256 or so."""
        found: dict[str, Record] = {}
        for chunk in chunks(check_names(users), self._session.users_per_request_max):
            reply = await self._ask(messages.Get, chunk)
            found.update(zip(chunk, reply.records, strict=False))
        return found

    async def who(self, after: str = "", limit: int = 100) -> WhoPage:
        """Who is online: the count and one page of at most `limit` (0 to 256) users after the name `after`."""
        if not 0 <= limit <= USERS_PER_REQUEST_MAX:
            raise AddressError(f"limit must be from 0 to {USERS_PER_REQUEST_MAX}", "bad_request")
        page = await self._request(lambda request_id: messages.Who(request_id, after, limit), messages.WhoPage)
        return WhoPage(page.total, page.next, page.records)

    async def who_all(self) -> AsyncIterator[Record]:
        """Everybody online in order of name, page by page: users who come and go meanwhile may be missed."""
        after = ""
        while True:
            page = await self.who(after, self._session.users_per_request_max)
            for record in page.records:
                yield record
            # A next page that does not go on would be asked for without end.
            if not page.next or page.next <= after:
                return
            after = page.next

    def watch(self, *users: str) -> Watch:
        """Watch users: `async for change in me.watch("bob")`, or `async with me.watch("bob") as watch:`.

        Nothing is sent before it is entered or iterated. Watches may overlap; the server is asked once.
        """
        return Watch(self, check_names(users))

    async def ping(self) -> float:
        """The round trip to the server in seconds, its turn included."""
        started_s = self._loop.time()
        pong = await self._request(messages.Ping, messages.Pong)
        ended_s = self._loop.time()
        self._keeper.clock_ms = pong.server_time_ms - self._keeper.now_ms()
        return ended_s - started_s

    # --- the end ----------------------------------------------------------------------------------------------

    async def close(self, *, bye: bool = True) -> None:
        """Leave: with `bye` the device is gone at once, without it after the server's grace time.

        Watches end; requests that wait raise `ConnectionLost` (`closed`). Does nothing the second time.
        """
        await self._keeper.close(bye=bye)

    # --- for Watch --------------------------------------------------------------------------------------------

    async def _watch(self, feed: Feed, users: list[str]) -> None:
        self._refuse_closed()
        self._session.attach(feed, users)
        try:
            for chunk in chunks(users, self._session.users_per_request_max):
                unknown = self._session.unknown(chunk)
                if unknown:
                    await self._ask(messages.Watch, unknown)
        except BaseException:
            self._say_unwatch(self._session.detach(feed, users))
            raise

    async def _unwatch(self, feed: Feed, users: list[str]) -> None:
        for chunk in chunks(self._session.detach(feed, users), self._session.users_per_request_max):
            await self._request(_naming(messages.Unwatch, chunk), messages.Done)

    async def _close_feed(self, feed: Feed) -> None:
        """Whoever closes a watch has no use for its errors, and need not wait for the reply."""
        self._say_unwatch(self._session.release(feed))

    def _drop_feed(self, feed: Feed) -> None:
        """A watch was collected; this may run in any thread, and after the loop's end."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: self._say_unwatch(self._session.release(feed)))

    def _say_unwatch(self, users: list[str]) -> None:
        if not self._keeper.is_linked:
            return  # The next link starts with an empty watch and is told only of what is still wanted.
        for chunk in chunks(users, self._session.users_per_request_max):
            self._keeper.send(self._session.open(_naming(messages.Unwatch, chunk), None, self._keeper.now_ms()))

    # --- requests ---------------------------------------------------------------------------------------------

    async def _set(self, status: StatusRequest | None, text: str | None, emoji: str | None, until: Until) -> None:
        if text is not None:
            check_text(text)
        if emoji is not None:
            check_emoji(emoji)
        for_ms = duration_ms(until, self.server_time_ms)
        await self._request(
            lambda request_id: messages.SetStatus(request_id, status, text, emoji, for_ms), messages.Done
        )

    async def _ask(
        self, kind: Callable[[int, list[str]], messages.Get | messages.Watch], users: list[str]
    ) -> messages.Records:
        reply = await self._request(_naming(kind, users), messages.Records)
        if len(reply.records) != len(users):
            raise _bad_reply(f"{len(reply.records)} records for {len(users)} names")
        return reply

    async def _request(self, make: Callable[[int], Request], expected: type[_R]) -> _R:
        self._refuse_closed()
        waiter: asyncio.Future[Reply] = self._loop.create_future()
        self._keeper.send(self._session.open(make, waiter, self._keeper.now_ms()))
        try:
            async with asyncio.timeout(self._request_timeout_s):
                reply = await waiter
        except TimeoutError:
            raise self._late() from None
        finally:
            self._session.forget(waiter)
        if not isinstance(reply, expected):
            raise _bad_reply(f"a {type(reply).__name__}")
        return reply

    def _late(self) -> PresenceError:
        reason = self._keeper.reason
        if not self._keeper.is_linked and reason is not None:
            sentence = f"no link to the server for {self._request_timeout_s:g} s: {reason}"
            return ConnectionLost(reason.code, sentence)
        return RequestTimeout(f"the server did not answer within {self._request_timeout_s:g} s")

    def _refuse_closed(self) -> None:
        if self._keeper.state == "closed":
            raise self._keeper.closed_error()

    # --- what comes in ----------------------------------------------------------------------------------------

    def _receive(self, message: ServerMessage) -> None:
        if isinstance(message, messages.Presence):
            self._session.presence(message.record)
        elif isinstance(message, messages.Error):
            if message.id == 0:
                _log.warning("the server refused a message: %s (%s)", message.message, message.code)
            for waiter in self._session.settle(message):
                if not waiter.done():
                    waiter.set_exception(error_of(message))
        elif isinstance(message, messages.Done | messages.Pong | messages.Records | messages.WhoPage):
            for waiter in self._session.settle(message):
                if not waiter.done():
                    waiter.set_result(message)


def _naming(kind: Callable[[int, list[str]], _N], users: list[str]) -> Callable[[int], _N]:
    return lambda request_id: kind(request_id, users)


def _bad_reply(what: str) -> PresenceError:
    return ProtocolError("bad_reply", f"the server answered with {what}; are its version and this one's alike?")
