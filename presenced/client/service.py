"""The client of a service: one link that speaks for any number of users and devices. `connect_service` makes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, get_args

from presenced.address import check_channel, check_name
from presenced.client.acts import UserActs
from presenced.client.client_base import ConnectedClient
from presenced.client.connection import ClientConnection
from presenced.client.contact_acts import ContactActs
from presenced.client.event_acts import EventActs
from presenced.client.event_stream import Events
from presenced.client.losses import Losses
from presenced.client.moderation_acts import ModerationActs
from presenced.client.pages import OpenPages, Page
from presenced.client.privacy_acts import PrivacyActs
from presenced.client.protocol.event_feed import Event, EventFeed, EventName, parse_cursor
from presenced.client.question_acts import QuestionActs
from presenced.client.route_acts import RouteActs
from presenced.client.service_devices import ServiceDevices, TakenCallback
from presenced.client.streams import EveryoneWatch
from presenced.client.values import Attachment, Idle, Lasting
from presenced.errors import AddressError, RequestError
from presenced.wire.messages import DeviceStatus


class Service(ConnectedClient):
    """A backend's link; made by `connect_service`. For one event loop, not for several threads.

    Arguments come in the order user, device, then the rest. Methods that ask the server raise `AddressError` before
    anything is sent, `RequestError` if it refuses (nothing is half applied), `RequestTimeout` and `ConnectionLost`.

    When the link is lost, everything is put in place again on the next: devices attached, channels joined and
    watched, users watched, events from where they were. Leaving leaves the devices in grace, so that the next process
    can attach them and nobody sees anything; `detach` the ones that are to be gone.
    """

    def __init__(self, connection: ClientConnection) -> None:
        super().__init__(connection)
        self._acts = UserActs(connection.exchange)
        self._devices = ServiceDevices(connection)
        self._pages = OpenPages(connection, self._devices)

    # --- status and text --------------------------------------------------------------------------------------

    set_status = UserActs.by_service(UserActs.set_status)
    set_text = UserActs.by_service(UserActs.set_text)
    clear_text = UserActs.by_service(UserActs.clear_text)
    clear = UserActs.by_service(UserActs.clear)
    touch = UserActs.by_service(UserActs.touch)
    command = UserActs.by_service(UserActs.command)

    # --- attached devices -------------------------------------------------------------------------------------

    @property
    def attached(self) -> list[tuple[str, str]]:
        """(user, device) of each device that this client holds, also while its link is being repaired; O(devices). A
        device that another client has now is not among them (`on_taken`), nor is one that the server refuses for the
        moment."""
        return self._devices.attached

    async def attach(
        self,
        user: str,
        device: str,
        *,
        kind: str = "",
        name: str = "",
        priority: int = 0,
        status: DeviceStatus = "online",
        idle: Idle | None = None,
        meta: str | None = None,
        focus: str = "",
        for_at_most: Lasting | None = None,
    ) -> None:
        """Speak for this device from now on: it is online, and this client keeps it so, over lost links too.

        `idle`: how long ago the person's last input was (seconds, or a timedelta), if that is known. `meta`: a line of
        up to 512 bytes that is kept with the device, such as a push token; None leaves what there is. `focus`: what is
        on its screen (`set_focus`). Attaching what is held changes it; attaching what another client holds takes it
        from that one. With `for_at_most` (seconds, or a timedelta) the device is online for so long, also without this
        client and over restarts of the server, and then gone; attach it again to renew that. So a program that comes
        and goes need not stay. Raises `RequestError` (`device_limit`); then, or if the reply does not come, or if it is
        cancelled, the device is not held, or held as it was.
        """
        refused = await self._devices.attach_many(
            [Attachment(user, device, kind, name, priority, status, idle, meta, focus, for_at_most)]
        )
        for error in refused.values():
            raise error

    async def attach_many(self, devices: Iterable[Attachment | tuple[str, str]]) -> dict[tuple[str, str], RequestError]:
        """Attach any number of devices without waiting for one after the other: `[("u1", "web"), ...]`, or
        `Attachment`s with more. Returns those that were refused, and why; all others are held. If it raises, or is
        cancelled, none of them is held except for those that were before: they are let go as if their connection was
        lost."""
        return await self._devices.attach_many(devices)

    async def detach(self, user: str, device: str, *, lost: bool = False, within: Lasting | None = None) -> None:
        """Stop speaking for the device. It is gone at once, or (`lost`: its connection broke) after the grace time, or
        unless it is attached again `within` a time of its own (seconds, or a timedelta).

        Holds in any case: if this raises for want of a link, or is cancelled, the device is let go on the next, unless
        another client has it by then. A device that was taken (`on_taken`) is let go without a word. Raises
        `RequestError` (`no_such_device`) for one that was never held.
        """
        await self._devices.detach(user, device, lost=lost, within=within)

    def on_taken(self, callback: TakenCallback) -> Callable[[], None]:
        """Call `callback(taken)` for each device that this client loses without its own doing: `taken.user`,
        `taken.device` and why. Returns a function that ends it.

        The reason is `replaced` if another client attached the device later, or the device came with a link of its own,
        and `kicked` if somebody has kicked its user: attach it again only if that is meant. It is `ended` when the
        lease of the device has ended (`for_at_most`). A device that went into grace because this client was late with
        its heartbeats is attached again by itself, and told here only if it is refused (`losses` tells it). The
        callback may be async and may await this client; what it raises goes to the loop's exception handler.
        """
        return self._devices.on_taken(callback)

    def losses(self) -> Losses:
        """What `on_taken` tells, as `async for taken in p.losses()`; and besides, with the reason `lost`, each device
        that went into grace because no heartbeat of this client came in time."""
        return self._devices.losses()

    def active(self, user: str, device: str) -> None:
        """The person gave input on this device now. Cheap: call it for each. O(1)

        A person who was away, or would be before the next heartbeat, shows as online at once. From the first call on
        the idle time grows by itself; a device without any counts as active. Raises `RequestError` (`no_such_device`).
        """
        self.idle(user, device, 0)

    def idle(self, user: str, device: str, idle: Idle) -> None:
        """The person's last input on this device was `idle` (seconds, or a timedelta) ago; from here the idle time
        grows by itself.

        The last input only ever moves forward: what the server was told before, or has seen this device set, is not
        taken back. Raises `RequestError` (`no_such_device`).
        """
        self._devices.idle(user, device, idle)

    def set_focus(self, user: str, device: str, focus: str) -> None:
        """What is on this device's screen: the name of a channel, of a user or of whatever the application means; empty
        = nothing that is worth telling. Told at once, and on each new link. O(1)

        `route` then knows who reads just this. Raises `RequestError` (`no_such_device`) and `AddressError`
        (`bad_name`).
        """
        self._devices.set_focus(user, device, focus)

    async def open_page(
        self,
        user: str,
        device: str,
        *,
        kind: str = "",
        name: str = "",
        idle: Idle | None = None,
        is_there: Callable[[], Any] | None = None,
        on_renamed: Callable[[Page], Any] | None = None,
    ) -> Page:
        """A browser's page with this id is open: its device is attached until the last page with this id has closed.

        For pages whose ids may be copied, as browsers do with a duplicated tab. If a page with the same id opens at
        another service, `is_there()` is asked whether this one is there still: it may be async, and says so by
        returning within ten seconds (a ping of the websocket that was answered); False or an exception means no. A page
        that is there goes on under a new id, and `on_renamed(page)` is called: have the page keep `page.device`. One
        that is not has moved, and only `Page.close` is left to call. Errors as of `attach`.
        """
        return await self._pages.open(Attachment(user, device, kind, name, 0, "online", idle), is_there, on_renamed)

    # --- any device of a user ---------------------------------------------------------------------------------

    async def set_device(
        self,
        user: str,
        device: str,
        *,
        status: DeviceStatus | None = None,
        priority: int | None = None,
        name: str | None = None,
        meta: str | None = None,
    ) -> None:
        """Set a live device's own status, priority or display name; of one that is held, kept over lost links. Its meta
        alone (`attach`) can also be set of a device that is gone.

        Status and priority count as input on it. Raises `RequestError` (`no_such_device`).
        """
        _check(user, device)
        described = self._devices.described(user, device)
        await self._acts.set_device(
            user, device, status=status, priority=priority, name=name, meta=meta, on_described=described
        )

    async def set_device_status(self, user: str, device: str, status: DeviceStatus) -> None:
        """Set a live device's own status. Raises `RequestError` (`no_such_device`)."""
        await self.set_device(user, device, status=status)

    async def rename_device(self, user: str, device: str, name: str) -> None:
        """Give a live device another display name. Raises `RequestError` (`no_such_device`)."""
        await self.set_device(user, device, name=name)

    get_devices = UserActs.by_service(UserActs.get_devices)
    forget_device = UserActs.by_service(UserActs.forget_device)

    async def join(self, user: str, device: str, channel: str) -> None:
        """The device is in the channel until it leaves or is gone; of one that is held, kept over lost links.

        Raises `RequestError` (`no_such_device`, `channel_limit`).
        """
        _check(user, device)
        await self._acts.join(user, device, channel, self._devices.joined(user, device, channel))

    async def leave(self, user: str, device: str, channel: str) -> None:
        """The device leaves the channel; that it was not in it is no error."""
        check_name(user, "user")
        check_channel(channel)
        await self._acts.leave(user, device, channel, self._devices.left(user, device, channel))

    # --- where notifications go -------------------------------------------------------------------------------

    route = RouteActs.by_service(RouteActs.route)
    routes = RouteActs.by_service(RouteActs.routes)

    # --- claims, schedule, activity, own state ----------------------------------------------------------------

    add_claim = UserActs.by_service(UserActs.add_claim)
    end_claim = UserActs.by_service(UserActs.end_claim)
    get_claims = UserActs.by_service(UserActs.get_claims)
    find_claims = UserActs.by_service(UserActs.find_claims)
    set_schedule = UserActs.by_service(UserActs.set_schedule)
    clear_schedule = UserActs.by_service(UserActs.clear_schedule)
    get_schedule = UserActs.by_service(UserActs.get_schedule)
    explain = QuestionActs.by_service(QuestionActs.explain)
    record_activity = UserActs.by_service(UserActs.record_activity)
    get_activity = UserActs.by_service(UserActs.get_activity)
    sync = UserActs.by_service(UserActs.sync)
    get_sync_status = UserActs.by_service(UserActs.get_sync_status)

    # --- contacts, and who may see whom -----------------------------------------------------------------------

    subscribe = ContactActs.by_service(ContactActs.subscribe)
    approve = ContactActs.by_service(ContactActs.approve)
    cancel = ContactActs.by_service(ContactActs.cancel)
    unsubscribe = ContactActs.by_service(ContactActs.unsubscribe)
    set_contact = ContactActs.by_service(ContactActs.set_contact)
    remove_contact = ContactActs.by_service(ContactActs.remove_contact)
    get_contacts = ContactActs.by_service(ContactActs.get_contacts)
    set_contacts = ContactActs.by_service(ContactActs.set_contacts)
    block = PrivacyActs.by_service(PrivacyActs.block)
    unblock = PrivacyActs.by_service(PrivacyActs.unblock)
    get_blocked = PrivacyActs.by_service(PrivacyActs.get_blocked)
    hide_from = PrivacyActs.by_service(PrivacyActs.hide_from)
    show_again = PrivacyActs.by_service(PrivacyActs.show_again)
    show_to = PrivacyActs.by_service(PrivacyActs.show_to)
    stop_showing = PrivacyActs.by_service(PrivacyActs.stop_showing)
    set_audience = PrivacyActs.by_service(PrivacyActs.set_audience)
    get_audience = PrivacyActs.by_service(PrivacyActs.get_audience)

    # --- what is taken away -----------------------------------------------------------------------------------

    revoke = ModerationActs.by_service(ModerationActs.revoke)
    kick = ModerationActs.by_service(ModerationActs.kick)
    erase = ModerationActs.by_service(ModerationActs.erase)

    # --- events -----------------------------------------------------------------------------------------------

    def watch_all(self) -> EveryoneWatch:
        """Watch every user: a `snapshot` of each who is online, then every change. Used like `watch`."""
        connection = self._connection
        return EveryoneWatch(connection.exchange, connection, connection.everyone)

    def events(self, cursor: str | None = None, *, name: str = "") -> Events:
        """Follow what happens to users: `async for event in p.events()`, each event once and in order.

        With the `cursor` of an event it starts behind that event, else now. Goes on by itself after a lost link and
        after a restart of the server. If the server cannot tell some events any longer, one event of kind `reset`
        stands for them: take a snapshot and go on.

        With a `name` the server keeps the position, for a service that has no place for it: it starts behind what was
        acknowledged last (see `Events`), and each event comes at least once. Another client that follows under the same
        name ends this one with `PresenceError` (`follower_replaced`). A client with a named reader has no other.
        """
        if name:
            check_name(name, "follower")
        wake = asyncio.Event()
        position = parse_cursor(cursor) if cursor else None
        connection = self._connection
        return Events(connection.exchange, connection, connection.events, EventFeed(wake.set, position), wake, name)

    history = EventActs.by_service(EventActs.history)
    followers = EventActs.by_service(EventActs.followers)
    forget_follower = EventActs.by_service(EventActs.forget_follower)

    def on(self, kind: EventName, callback: Callable[[Event], object]) -> Callable[[], None]:
        """Call `callback(event)` for each event of a kind from now on; returns a function that ends it.

        It may be async and may await this client; the next event waits for it. What it raises goes to the loop's
        exception handler, and the next event is told all the same.
        """
        if kind not in get_args(EventName):
            raise AddressError(f"{kind!r} is not an event; use one of {', '.join(get_args(EventName))}", "bad_request")
        connection = self._connection
        connection.link_state.refuse_closed()
        wake = asyncio.Event()
        feed = EventFeed(wake.set, None, frozenset((kind,)))
        connection.events.attach(feed)
        connection.callbacks.keep(connection.callbacks.deliver(connection, "an event callback", feed, wake, callback))
        return lambda: connection.events.release(feed)


def _check(user: str, device: str) -> None:
    check_name(user, "user")
    check_name(device, "device")
