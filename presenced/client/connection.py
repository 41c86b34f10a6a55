"""What a user's client and a service's have in common: the state of the link, requests with their futures and
timeouts, and what anybody may ask and watch.

A thin shell: what is known lives in `session` and its parts, the link in `keeper`, the requests in `calls`.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from presenced.address import check_channel
from presenced.client import forks
from presenced.client.callbacks import Callbacks
from presenced.client.protocol.changes import Feed
from presenced.client.protocol.channels import Channels
from presenced.client.protocol.event_feed import Followed
from presenced.client.protocol.pending import Make, OnReply, Reply, Request
from presenced.client.protocol.session import Session, chunks, error_of
from presenced.client.protocol.watch_all import Everyone
from presenced.client.reconnect import Identity, Keeper, State, StateCallback
from presenced.client.streams import ChannelWatch
from presenced.client.values import check_names
from presenced.client.watches import Watch
from presenced.errors import ConnectionLost, PresenceError, ProtocolError, RequestTimeout
from presenced.wire import messages
from presenced.wire.messages import ServerMessage, Welcome

_R = TypeVar("_R", bound=Reply)
_N = TypeVar("_N", bound=Request)
_log = logging.getLogger("presenced.client")


class Connection:
    """A connected client. For one event loop, not for several threads (`presenced.sync` is)."""

    def __init__(self, identity: Identity, timeout_s: float, request_timeout_s: float, reconnects: bool) -> None:
        self._identity = identity
        self._request_timeout_s = request_timeout_s
        self._loop = asyncio.get_running_loop()
        self._callbacks = Callbacks(self._loop)
        self._session: Session[asyncio.Future[Reply]] = Session()
        self._keeper = Keeper(identity, self._session, _weakly(self), self._callbacks, timeout_s, reconnects)
        self._channels = Channels(self._keeper.say)
        self._followed = Followed(self._keeper.say)
        self._everyone = Everyone(self._session, self._keeper.say)
        self._session.parts += [self._channels, self._followed, self._everyone]
        session = self._session
        self._pushes: dict[type, Callable[[Any], None]] = {
            messages.Presence: lambda push: session.presence(push.record),
            messages.ChannelEvent: self._channels.event,
            messages.ChannelCounts: self._channels.counted,
            messages.Event: self._followed.event,
        }

    # --- the link ---------------------------------------------------------------------------------------------

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
        return self._used_for(callback, self._keeper.callbacks)

    async def ping(self) -> float:
        """The round trip to the server in seconds, its turn included."""
        started_s = self._loop.time()
        pong = await self._request(messages.Ping, messages.Pong)
        ended_s = self._loop.time()
        self._keeper.clock_ms = pong.server_time_ms - self._keeper.now_ms()
        return ended_s - started_s

    async def close(self, *, bye: bool = True) -> None:
        """Leave: with `bye` the own device is gone at once, without it after the server's grace time.

        Watches end; requests that wait raise `ConnectionLost` (`closed`). Does nothing the second time. A client that
        is not closed leaves, with a `ResourceWarning`, once nothing refers to it any longer; a callback counts as use.
        """
        if self._keeper.is_forked:
            raise forks.error()
        await self._keeper.close(bye=bye)

    def __repr__(self) -> str:
        name = f"{type(self).__module__.partition('.')[0]}.{type(self).__name__}"
        return f"<{name} {self._identity!r}, {self._keeper.state}>"

    def __del__(self) -> None:
        keeper: Keeper | None = self.__dict__.get("_keeper")
        if keeper is not None and keeper.is_open:
            shown = repr(self)
            # First: as an error the warning would end this.
            keeper.abandon()
            warnings.warn(f"unclosed {shown}: use `async with`, or `close`", ResourceWarning, 2, source=self)

    # --- watching ---------------------------------------------------------------------------------------------

    def watch(self, *users: str) -> Watch:
        """Watch users: `async for change in me.watch("bob")`, or `async with me.watch("bob") as watch:`.

        Nothing is sent before it is entered or iterated. Watches may overlap; the server is asked once.
        """
        return Watch(self, check_names(users))

    def watch_channel(self, channel: str) -> ChannelWatch:
        """Watch who is online in a channel: members, joins, leaves, changes, exact counts. Used like `watch`."""
        check_channel(channel)
        return ChannelWatch(self, channel)

    # --- for streams ------------------------------------------------------------------------------------------

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
        self._refuse_closed()
        waiters: list[asyncio.Future[Reply]] = []
        sent: list[Request] = []
        for chunk in chunks(self._session.detach(feed, users), self._session.users_per_request_max):
            waiters.append(self._loop.create_future())
            sent.append(self._session.open(_naming(messages.Unwatch, chunk), waiters[-1], self._keeper.now_ms()))
        # All of them before the first wait: the users are detached, and whoever watches one of them anew meanwhile
        # must be asked for after this, not cut off by it.
        self._keeper.send(*sent)
        await self._answered(waiters)

    def _release_feed(self, feed: Feed) -> None:
        """Whoever closes a watch has no use for its errors, and need not wait for the reply."""
        self._say_unwatch(self._session.release(feed))

    def _later(self, release: Callable[[Any], None], feed: Any) -> None:
        """A stream was collected; this may run in any thread, and after the loop's end."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(release, feed)

    def _say_unwatch(self, users: list[str]) -> None:
        # Without a link nothing need be said: the next starts empty and is told only of what is still wanted.
        for chunk in chunks(users, self._session.users_per_request_max):
            self._say(_naming(messages.Unwatch, chunk), None)

    # --- asking -----------------------------------------------------------------------------------------------

    async def _ask(
        self, kind: Callable[[int, list[str]], messages.Get | messages.Watch], users: list[str]
    ) -> messages.Records:
        reply = await self._request(_naming(kind, users), messages.Records)
        if len(reply.records) != len(users):
            raise _bad_reply(f"{len(reply.records)} records for {len(users)} names")
        return reply

    # --- requests ---------------------------------------------------------------------------------------------

    async def _request(self, make: Make, expected: type[_R], on_reply: OnReply | None = None) -> _R:
        self._refuse_closed()
        waiter: asyncio.Future[Reply] = self._loop.create_future()
        self._keeper.send(self._session.open(make, waiter, self._keeper.now_ms(), on_reply))
        (reply,) = await self._answered([waiter])
        if not isinstance(reply, expected):
            raise _bad_reply(f"a {type(reply).__name__}")
        return reply

    async def _answered(self, waiters: list[asyncio.Future[Reply]]) -> list[Reply]:
        """Wait for all replies, each for `request_timeout_s` from the moment its request leaves, or without a link from
        the moment it was asked. Raises the first error. However it ends, none of them is waited for any longer."""
        timeout_ms = int(self._request_timeout_s * 1000)
        try:
            missing = set(waiters)
            while missing:
                now_ms = self._keeper.now_ms()
                due_ms = min(self._session.begun_ms(waiter, now_ms) for waiter in missing) + timeout_ms
                if due_ms <= now_ms:
                    raise self._late()
                _, missing = await asyncio.wait(missing, timeout=(due_ms - now_ms) / 1000)
            return [waiter.result() for waiter in waiters]
        finally:
            for waiter in waiters:
                self._session.forget(waiter)
                if not waiter.cancelled() and waiter.done():
                    waiter.exception()  # Retrieved here: of several errors the caller gets one.

    async def _do(self, make: Make, on_reply: OnReply | None = None) -> None:
        """A request whose reply says only that it was applied."""
        await self._request(make, messages.Done, on_reply)

    async def _do_together(self, *makes: Make) -> None:
        """Several such requests in one write, which the server takes in one turn: watchers see one change."""
        self._refuse_closed()
        waiters: list[asyncio.Future[Reply]] = [self._loop.create_future() for _ in makes]
        now_ms = self._keeper.now_ms()
        pairs = zip(makes, waiters, strict=True)
        self._keeper.send(*[self._session.open(make, waiter, now_ms) for make, waiter in pairs])
        await self._answered(waiters)

    def _say(self, make: Make, on_reply: OnReply | None) -> None:
        """A request that nobody waits for; dropped without a link."""
        self._keeper.say(make, on_reply)

    def _used_for(self, callback: Any, called: list[Any]) -> Callable[[], None]:
        """Somebody is called back, so this client is in use whether anything else refers to it or not, until what this
        returns is called; it takes the callback out of the list of those that are `called`."""
        use, keeper = object(), self._keeper
        keeper.uses[use] = self

        def end() -> None:
            if keeper.uses.pop(use, None) is not None and callback in called:
                called.remove(callback)

        return end

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
        push = self._pushes.get(type(message))
        if push is not None:
            push(message)
        elif isinstance(message, messages.Error):
            if message.id == 0:
                _log.warning("the server refused a message: %s (%s)", message.message, message.code)
            self._keeper.answered(message.id)
            for waiter in self._session.settle(message):
                if not waiter.done():
                    waiter.set_exception(error_of(message))
        elif isinstance(message, messages.Following) and message.id == 0:
            self._followed.fell_behind(message)
        elif isinstance(message, Reply):
            self._keeper.answered(message.id)
            for waiter in self._session.settle(message):
                if not waiter.done():
                    waiter.set_result(message)


def _weakly(connection: Connection) -> Callable[[ServerMessage], None]:
    """Its `_receive`, without keeping it alive: the loop has the link, and must not have the client by it."""
    found = weakref.ref(connection)

    def receive(message: ServerMessage) -> None:
        there = found()
        if there is not None:
            there._receive(message)

    return receive


def _naming(kind: Callable[[int, list[str]], _N], users: list[str]) -> Callable[[int], _N]:
    return lambda request_id: kind(request_id, users)


def _bad_reply(what: str) -> PresenceError:
    return ProtocolError("bad_reply", f"the server answered with {what}; are its version and this one's alike?")
