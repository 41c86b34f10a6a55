"""One client's connection: its parts put together, and the object whose end is the client's end.

The app holds a `Client` or a `Service`, which holds this, as does every watch. What the loop holds (`reconnect`,
`exchange` and the parts of its session) does not refer to this object. So Python collects it as soon as nobody uses the
client, and it can leave and warn, instead of staying online for good.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import Any

from presenced.client import forks
from presenced.client.callbacks import Callbacks
from presenced.client.exchange import ClientExchange
from presenced.client.identity import ClientIdentity
from presenced.client.link_state import LinkState
from presenced.client.protocol.awaited_statuses import AwaitedStatuses
from presenced.client.protocol.channels import WatchedChannels
from presenced.client.protocol.contact_lists import ContactLists
from presenced.client.protocol.event_feed import FollowedEvents
from presenced.client.protocol.held_records import HeldRecords
from presenced.client.protocol.view import View
from presenced.client.protocol.watch_all import EveryoneWatched
from presenced.client.protocol.watched_contacts import WatchedContacts
from presenced.client.protocol.watched_users import WatchedUsers
from presenced.client.reconnect import Reconnect
from presenced.client.renewal import TokenRenewal
from presenced.client.telemetry import ClientFacts, ClientTelemetry, Telemetry
from presenced.client.view_timer import ViewTimer
from presenced.wire import messages


class ClientConnection:
    """See the module's docstring. For one event loop."""

    def __init__(
        self,
        shown_as: str,
        identity: ClientIdentity,
        timeout_s: float,
        request_timeout_s: float,
        reconnects: bool,
        check_every_s: float | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        """`shown_as` is the name of the app's object, for messages. `check_every_s`: see `view_timer`."""
        self.shown_as = shown_as
        self.identity = identity
        self.loop = asyncio.get_running_loop()
        self.callbacks = Callbacks(self.loop)
        self.link_state = LinkState(self.callbacks)
        self._telemetry = measured = _measured(identity, telemetry)
        self.exchange = exchange = ClientExchange(self.link_state, request_timeout_s, measured)
        renewal = TokenRenewal(identity, exchange, timeout_s)
        self.reconnect = Reconnect(
            identity, exchange, renewal, self.link_state, self.callbacks, timeout_s, reconnects, measured
        )

        def users_per_request_max() -> int:
            return exchange.users_per_request_max

        def is_resumed() -> bool:
            return exchange.session.is_resumed

        held = HeldRecords()
        self.users = WatchedUsers(held, users_per_request_max, is_resumed, exchange.say)
        if measured is not None:
            self.users.count_by(measured.users_watched)
        self.channels = WatchedChannels(exchange.say, is_resumed)
        self.events = FollowedEvents(exchange.say)
        self.everyone = EveryoneWatched(held, self.users, users_per_request_max, is_resumed, exchange.say)
        self.reconnect.at_each_beat(self.everyone.beat)
        self.contact_lists = lists = ContactLists(exchange.say)
        self.contacts = contacts = WatchedContacts(held, self.users, identity.wants_contacts)
        self.awaited = AwaitedStatuses(exchange.say)
        is_user = identity.role == "user"
        self.view = View(held, self.users, contacts, users_per_request_max, is_resumed, exchange.say, is_first=is_user)
        parts = (held, self.view, self.channels, self.events, self.everyone, self.users, contacts, lists, self.awaited)
        for part in parts:
            exchange.session.add(part)
        exchange.return_by(self.view)
        if check_every_s is not None:
            exchange.session.add(ViewTimer(self.loop, self.view.check, check_every_s))

        def contact_changed(push: messages.ContactChange) -> None:
            contacts.changed(push)
            lists.pushed(push)

        exchange.on_push(messages.Presence, lambda push: held.tell(push.record))
        exchange.on_push(messages.ChannelEvent, self.channels.event)
        exchange.on_push(messages.ChannelCounts, self.channels.counted)
        exchange.on_push(messages.Event, self.events.event)
        exchange.on_push(messages.Following, self.events.fell_behind)
        exchange.on_push(messages.ContactRecords, contacts.listed)
        exchange.on_push(messages.ContactChange, contact_changed)

    @property
    def is_open(self) -> bool:
        """Whether the client was connected and has not ended, nor has its loop."""
        return self.reconnect.is_open

    async def start(self) -> None:
        """Open the first link. Raises `PresenceError` if that fails."""
        if self._telemetry is None:
            await self.reconnect.start()
        else:
            with self._telemetry.connecting():
                await self.reconnect.start()

    async def close(self, *, bye: bool) -> None:
        """Leave; with `bye` the own device is gone at once. Does nothing the second time."""
        if self.reconnect.is_forked:
            raise forks.error()
        await self.reconnect.close(bye=bye)

    def use(self, callback: Any, called: list[Any]) -> Callable[[], None]:
        """The app is called back, so that the client is in use until it ends the callback by what this returns."""
        return self.callbacks.use(self, callback, called)

    def __repr__(self) -> str:
        return f"<{self.shown_as} {self.identity!r}, {self.link_state.state}>"

    def __del__(self) -> None:
        reconnect: Reconnect | None = self.__dict__.get("reconnect")
        if reconnect is not None and reconnect.is_open:
            shown = repr(self)
            # First: where warnings are errors, the next line raises.
            reconnect.abandon()
            warnings.warn(f"unclosed {shown}: use `async with`, or `close`", ResourceWarning, 2, source=self)


def _measured(identity: ClientIdentity, telemetry: Telemetry | None) -> ClientTelemetry | None:
    if telemetry is None:
        return None
    url = identity.url
    return telemetry.client(ClientFacts(url.host, url.port, url.user, url.device, identity.role))
