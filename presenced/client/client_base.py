"""What a user's client and a service's have in common: the state of the link, and questions about anybody.

A flat base, since both are connected clients and one question has one name and one signature in both. What is about one
user differs: a service's method takes the user first (see `acts`). `tests/client/test_vocabulary.py` holds both to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable

from presenced.address import check_channel, check_name
from presenced.client.connection import ClientConnection
from presenced.client.link_state import State, StateCallback
from presenced.client.protocol.channels import COUNTED
from presenced.client.protocol.watched_users import chunks
from presenced.client.status_awaits import await_status, waiting_ms, wanted_kinds, wanted_statuses
from presenced.client.streams import ChannelWatch
from presenced.client.user_watch import Watch
from presenced.client.values import (
    Lasting,
    MembersPage,
    ValidStatus,
    ViewChecks,
    WhoPage,
    check_limit,
    check_names,
)
from presenced.errors import PresenceError
from presenced.wire import messages
from presenced.wire.messages import Record, Welcome


class ConnectedClient:
    """A connected client. For one event loop, not for several threads (`presenced.sync` is)."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._exchange = connection.exchange

    def __repr__(self) -> str:
        return repr(self._connection)

    # --- the link ---------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """`connected`, `connecting` (the link was lost and is being repaired) or `closed`."""
        return self._connection.link_state.state

    @property
    def reason(self) -> PresenceError | None:
        """Why the client is not connected: the last loss while `connecting`, the end while `closed`."""
        return self._connection.link_state.reason

    @property
    def welcome(self) -> Welcome:
        """What the server announced at the last connect: heartbeat, limits, its epoch."""
        return self._connection.reconnect.welcome

    @property
    def server_time_ms(self) -> int:
        """The server's wall time, as well as this client knows it (off by up to the network's delay)."""
        return self._exchange.server_time_ms

    def on_state(self, callback: StateCallback) -> Callable[[], None]:
        """Call `callback(state, reason)` after each change of `state`; returns a function that ends it.

        It may be async and may await this client. What it raises goes to the loop's exception handler.
        """
        told = self._connection.link_state.tell(callback)
        return self._connection.use(callback, told)

    async def ping(self) -> float:
        """The round trip to the server in seconds, its turn included."""
        return await self._exchange.ping()

    async def close(self, *, bye: bool = True) -> None:
        """Leave: with `bye` the own device is gone at once, without it after the server's grace time.

        Watches end; requests that wait raise `ConnectionLost` (`closed`). Does nothing the second time. A client that
        is not closed leaves, with a `ResourceWarning`, once nothing refers to it any longer; a callback counts as use.
        """
        await self._connection.close(bye=bye)

    # --- watching ---------------------------------------------------------------------------------------------

    def watch(self, *users: str, since: str | None = None) -> Watch:
        """Watch users: `async for change in me.watch("bob")`, or `async with me.watch("bob") as watch:`.

        Nothing is sent before it is entered or iterated. Watches may overlap; the server is asked once. `since` is the
        `position` of an earlier watch, also of another run of the program: then only what differs from it is yielded.
        Raises `AddressError` (`bad_request`) for what is none.
        """
        connection = self._connection
        return Watch(connection.exchange, connection, connection.users, check_names(users), since)

    @property
    def view_checks(self) -> ViewChecks:
        """How often what this client shows was held against the server's checksum (`check_every`), and how often that
        was another. What differed then was asked for again, and is right now."""
        view = self._connection.view
        return ViewChecks(view.checks, view.failed)

    def watch_channel(self, channel: str) -> ChannelWatch:
        """Watch who is online in a channel: members, joins, leaves, changes, exact counts. Used like `watch`."""
        check_channel(channel)
        connection = self._connection
        return ChannelWatch(connection.exchange, connection, connection.channels, channel)

    # --- questions about anybody ------------------------------------------------------------------------------

    async def get_status(self, user: str) -> Record:
        """The record of one user; one never seen is offline with `since_ms` 0."""
        return (await self.get_statuses([user]))[user]

    async def get_statuses(self, users: Iterable[str]) -> dict[str, Record]:
        """The records of any number of users, in the order asked; one request for each 256 or so."""
        found: dict[str, Record] = {}
        for chunk in chunks(check_names(users), self._exchange.users_per_request_max):
            found.update(zip(chunk, await self._exchange.records(chunk), strict=True))
        return found

    async def get_valid_statuses(self, users: Iterable[str]) -> dict[str, ValidStatus]:
        """As `get_statuses`, and for each record when it changes if nothing happens and heartbeats go on."""
        found: dict[str, ValidStatus] = {}
        for chunk in chunks(check_names(users), self._exchange.users_per_request_max):
            reply = await self._exchange.valid_records(chunk)
            found.update(zip(chunk, map(ValidStatus, reply.records, reply.valid_until_ms), strict=True))
        return found

    async def await_status(
        self,
        user: str,
        *,
        available: bool = False,
        not_dnd: bool = False,
        statuses: Iterable[str] | None = None,
        kinds: Iterable[str] = (),
        for_at_least: Lasting = 0,
        timeout: Lasting,
    ) -> Record | None:
        """Wait until the user shows a status that is wanted, and has for `for_at_least`; the record then, or None if
        that does not come to be within `timeout` (each seconds or a timedelta, up to 7 days).

        `statuses` says which will do: by default every one but offline. `available` leaves offline out, `not_dnd` dnd:
        `await me.await_status("bob", available=True, not_dnd=True, for_at_least=10, timeout=3600)`. With `kinds` a
        device of one of these kinds must count as well; that is for a service, or about oneself. Goes on over lost
        links. Cancelling it tells the server. Raises `RequestError` (`await_limit`).
        """
        check_name(user, "user")
        wanted = wanted_statuses(statuses, available=available, not_dnd=not_dnd)
        least_ms = waiting_ms(for_at_least, "for_at_least", or_none=True)
        most_ms = waiting_ms(timeout, "timeout")
        awaited = self._connection.awaited
        return await await_status(self._exchange, awaited, user, wanted, wanted_kinds(kinds), least_ms, most_ms)

    async def get_online_users(self, channel: str | None = None) -> list[Record]:
        """Everybody online, or online in a channel, in order of name. O(users online); see `online_users`."""
        return [record async for record in self.online_users(channel)]

    async def online_users(self, channel: str | None = None) -> AsyncIterator[Record]:
        """The same page by page, one request for each 256: users who come and go meanwhile may be missed."""
        after, limit = "", self._exchange.users_per_request_max
        while True:
            page: WhoPage | MembersPage
            if channel is None:
                page = await self.who(after, limit)
            else:
                page = await self.get_members(channel, after, limit)
            for record in page.records:
                yield record
            # A page whose `next` does not move on would be asked for without end.
            if not page.next or page.next <= after:
                return
            after = page.next

    async def count_online(self, channel: str | None = None) -> int:
        """How many users are online, or online in a channel: exactly. O(1)."""
        if channel is None:
            return (await self.who("", 0)).total
        return (await self.get_members(channel, "", 0)).total

    async def who(self, after: str = "", limit: int = 100) -> WhoPage:
        """Who is online: the count, and one page of at most `limit` (0 to 256) users after the name `after`."""
        check_limit(limit)
        page = await self._exchange.request(lambda request_id: messages.Who(request_id, after, limit), messages.WhoPage)
        return WhoPage(page.total, page.next, page.records)

    async def get_members(self, channel: str, after: str = "", limit: int = 100) -> MembersPage:
        """Who is online in a channel: exact counts, and one page of at most `limit` (0 to 256) after the name
        `after`."""
        check_channel(channel)
        check_limit(limit)
        page = await self._exchange.request(
            lambda request_id: messages.GetMembers(request_id, channel, after, limit), messages.MembersPage
        )
        counts = dict(zip(COUNTED, page.counts, strict=False))
        return MembersPage(page.total, counts, page.next, page.records)


def connection_of(client: ConnectedClient) -> ClientConnection:
    """What is below a client. For this package and for `presencectl`, which asks what the API of a person's client does
    not offer (another user's claims, two requests in one write); an application has no need of it."""
    return client._connection
