"""The client of a user's device: what a person's program does with a server. `connect` makes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from presenced.address import check_focus
from presenced.client.act_group import OWN
from presenced.client.acts import UserActs
from presenced.client.client_base import ConnectedClient
from presenced.client.connection import ClientConnection
from presenced.client.contact_acts import ContactActs
from presenced.client.contact_streams import ContactChanges, ContactsWatch
from presenced.client.event_acts import EventActs
from presenced.client.own_state import OwnCallback, OwnView
from presenced.client.privacy_acts import PrivacyActs
from presenced.client.protocol.contact_lists import ContactChange, ContactFeed
from presenced.client.protocol.joined_channels import JoinedChannels
from presenced.client.question_acts import QuestionActs
from presenced.client.route_acts import RouteActs
from presenced.client.values import Answer, Idle, Moment, Until, idle_ms_of
from presenced.errors import AddressError
from presenced.wire import messages
from presenced.wire.messages import DeviceStatus, OwnState, StatusRequest


class Client(ConnectedClient):
    """A connected user's device; made by `connect`. For one event loop, not for several threads.

    Methods that ask the server raise `AddressError` before anything is sent, `RequestError` if it refuses,
    `RequestTimeout` and `ConnectionLost`. A call that raises later is not applied when the link comes back.
    """

    def __init__(self, connection: ClientConnection) -> None:
        super().__init__(connection)
        self._acts = UserActs(connection.exchange)
        self._identity = connection.identity
        self._own = OwnView(connection.callbacks, connection.exchange.send, connection.identity)
        connection.exchange.on_push(messages.OwnState, self._own.put)
        self._joined = JoinedChannels()
        connection.exchange.session.add(self._joined, first=True)

    @property
    def user(self) -> str:
        return self._identity.url.user

    @property
    def device(self) -> str:
        return self._identity.url.device

    # --- status and text --------------------------------------------------------------------------------------

    async def set_status(
        self,
        status: StatusRequest,
        text: str | None = None,
        emoji: str | None = None,
        until: Until = None,
    ) -> None:
        """Set the user's manual status, and the text with it if given. `auto` ends the manual status.

        `until` is a timedelta, a number of seconds or an aware datetime, and holds for all that is set here. The
        status shows while some device is online; `offline` makes the user appear offline.
        """
        await self._acts.set_status(OWN, status, text, emoji, until)

    set_text = UserActs.by_user(UserActs.set_text)
    clear_text = UserActs.by_user(UserActs.clear_text)
    clear = UserActs.by_user(UserActs.clear)

    async def command(self, text: str) -> Answer:
        """Do what the person typed, such as `/presence away for 30m`; the answer says what to show. Only trouble with
        the link raises: what cannot be done is told in the answer (`ok` False)."""
        return await self._acts.command(OWN, text)

    # --- the own state ----------------------------------------------------------------------------------------

    @property
    def own(self) -> OwnState | None:
        """What only the user sees of themselves: record, claims, devices, and when the text ends. None before it has
        come, and on a device that does not want it (`sync=False`)."""
        return self._own.latest

    def on_own(self, callback: OwnCallback) -> Callable[[], None]:
        """Call `callback(state)` with the own state that is there and each later one; returns a function that ends it.

        The device acknowledges a state once all callbacks have returned; one that raises leaves it unacknowledged
        (the exception goes to the loop's handler). A slow one gets the latest, not every step. It may be async.
        """
        self._own.add(callback)
        return self._connection.use(callback, self._own.shown)

    sync = UserActs.by_user(UserActs.sync)
    get_sync_status = UserActs.by_user(UserActs.get_sync_status)

    # --- devices ----------------------------------------------------------------------------------------------

    async def set_device(
        self,
        *,
        status: DeviceStatus | None = None,
        priority: int | None = None,
        name: str | None = None,
        meta: str | None = None,
    ) -> None:
        """Set this device's own status, priority, display name or meta (see `connect`); what is not given stays as it
        is. What was last set here, or given to `connect`, is stated again on each new link."""
        described = self._identity.describe
        await self._acts.set_device(
            OWN, OWN, status=status, priority=priority, name=name, meta=meta, on_described=described
        )

    async def set_device_status(self, status: DeviceStatus) -> None:
        """Set this device's own status."""
        await self.set_device(status=status)

    async def rename_device(self, device: str, name: str) -> None:
        """Give one of the user's live devices another display name. Raises `RequestError` (`no_such_device`)."""
        described = self._identity.describe if device == self.device else None
        await self._acts.set_device(OWN, device, name=name, on_described=described)

    get_devices = UserActs.by_user(UserActs.get_devices)
    forget_device = UserActs.by_user(UserActs.forget_device)

    def active(self) -> None:
        """The person gave input now (a key, a click). Cheap: call it for each. O(1)

        A person who was away, or would be before the next heartbeat, shows as online at once. The device of an app
        that never calls `active` or `idle` is never idle, and whether anybody is at it is not known: no notification
        waits or is silent for it (`route`).
        """
        self.idle(0)

    def idle(self, idle: Idle) -> None:
        """The person's last input was `idle` (seconds, or a timedelta) ago; from here the idle time grows by itself.

        The last input only ever moves forward: what the server was told before, or has seen this device set, is
        not taken back. Pass `idle` to `connect` to come as somebody who is idle already.
        """
        self._connection.reconnect.report_idle(idle_ms_of(idle))

    def set_focus(self, focus: str) -> None:
        """What is on this device's screen: the name of a channel, of a user or of whatever the app means; empty =
        nothing that is worth telling. Call it each time that it changes. O(1)

        It is told to the server at once and on each new link, and holds as long as the link. Whoever asks where to
        notify the user (`route`) learns that the user reads just this, while the person is there: tell that by
        `active`. Raises `AddressError` (`bad_name`).
        """
        check_focus(focus)
        self._connection.reconnect.report_focus(focus)

    route = RouteActs.by_user(RouteActs.route)

    # --- claims, schedule, activity ---------------------------------------------------------------------------

    add_claim = UserActs.by_user(UserActs.add_claim)
    end_claim = UserActs.by_user(UserActs.end_claim)
    get_claims = UserActs.by_user(UserActs.get_claims)
    set_schedule = UserActs.by_user(UserActs.set_schedule)
    clear_schedule = UserActs.by_user(UserActs.clear_schedule)
    get_schedule = UserActs.by_user(UserActs.get_schedule)
    get_activity = UserActs.by_user(UserActs.get_activity)
    explain = QuestionActs.by_user(QuestionActs.explain)
    history = EventActs.by_user(EventActs.history)

    async def record_activity(
        self, activity: str, *, channel: str | None = None, at: Moment = None, payload: str = ""
    ) -> None:
        """Record something that the user did on this device, which counts as input; `at` None = now.

        Never sent twice: if the link is lost before the reply, raises `ConnectionLost`, and it may or may not have
        been recorded. Raises `RequestError` (`bad_time`, `bad_activity`) too.
        """
        await self._acts.record_activity(OWN, activity, channel=channel, at=at, payload=payload)

    # --- channels ---------------------------------------------------------------------------------------------

    async def join(self, channel: str) -> None:
        """This device is in the channel until it leaves or is gone; kept over reconnects.

        Raises `RequestError` (`channel_limit`).
        """
        await self._acts.join(OWN, OWN, channel, self._joined.joined(channel))

    async def leave(self, channel: str) -> None:
        """This device leaves the channel; that it was not in it is no error."""
        await self._acts.leave(OWN, OWN, channel, self._joined.left(channel))

    # --- contacts ---------------------------------------------------------------------------------------------

    subscribe = ContactActs.by_user(ContactActs.subscribe)
    approve = ContactActs.by_user(ContactActs.approve)
    cancel = ContactActs.by_user(ContactActs.cancel)
    unsubscribe = ContactActs.by_user(ContactActs.unsubscribe)
    set_contact = ContactActs.by_user(ContactActs.set_contact)
    remove_contact = ContactActs.by_user(ContactActs.remove_contact)
    get_contacts = ContactActs.by_user(ContactActs.get_contacts)

    def contacts(self) -> ContactsWatch:
        """Watch all contacts whom the user sees, without naming them: `async for change in me.contacts()`. Used like
        `watch`; their records came with the login, so that nothing is asked. Only with `connect(..., contacts=True)`;
        else raises `AddressError`."""
        connection = self._connection
        if not connection.contacts.is_wanted:
            raise AddressError("this link does not watch contacts; connect with contacts=True", "bad_request")
        return ContactsWatch(connection.exchange, connection, connection.contacts)

    def contact_changes(self) -> ContactChanges:
        """Follow the user's list of contacts: each contact and each request that waits, then what changes.
        `async for change in me.contact_changes(): if change.kind == "request": ...`"""
        connection = self._connection
        return ContactChanges(connection.exchange, connection, connection.contact_lists)

    def on_contact(self, callback: Callable[[ContactChange], object]) -> Callable[[], None]:
        """Call `callback(change)` for each `ContactChange` that `contact_changes` yields, the snapshot included;
        returns a function that ends it.

        It may be async and may await this client; the next change waits for it. What it raises goes to the loop's
        exception handler, and the next change is told all the same.
        """
        connection = self._connection
        connection.link_state.refuse_closed()
        wake = asyncio.Event()
        feed = ContactFeed(wake.set)
        connection.contact_lists.attach(feed)
        connection.callbacks.keep(connection.callbacks.deliver(connection, "a contact callback", feed, wake, callback))
        return lambda: connection.contact_lists.release(feed)

    # --- who may see the user ---------------------------------------------------------------------------------

    block = PrivacyActs.by_user(PrivacyActs.block)
    unblock = PrivacyActs.by_user(PrivacyActs.unblock)
    get_blocked = PrivacyActs.by_user(PrivacyActs.get_blocked)
    hide_from = PrivacyActs.by_user(PrivacyActs.hide_from)
    show_again = PrivacyActs.by_user(PrivacyActs.show_again)
    set_audience = PrivacyActs.by_user(PrivacyActs.set_audience)
    get_audience = PrivacyActs.by_user(PrivacyActs.get_audience)

    async def show_to(self, contact: str) -> None:
        """Show this device to the contact, who need not be one, also while the user appears offline.

        It ends with `stop_showing`, by a block, and when the device is gone, which a link that was lost for longer than
        the server's grace time means as well. Raises `RequestError` (`show_limit`, `bad_request` for oneself and for
        somebody whom one has blocked).
        """
        await PrivacyActs(self._exchange).show_to(OWN, OWN, contact)

    async def stop_showing(self, contact: str) -> None:
        """This device is not shown to the contact any longer. That it was not is no error."""
        await PrivacyActs(self._exchange).stop_showing(OWN, OWN, contact)
