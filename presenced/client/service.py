"""The client of a service: one link that speaks for any number of users and devices. `connect_service` makes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, get_args

from presenced.address import check_name
from presenced.client import acts
from presenced.client.pages import Page, Pages
from presenced.client.protocol.event_feed import Event, EventFeed, EventName, parse_cursor
from presenced.client.protocol.heartbeat import Activity
from presenced.client.reconnect import Identity
from presenced.client.schedule_windows import WindowLike
from presenced.client.service_devices import Holding
from presenced.client.streams import Events, EveryoneWatch
from presenced.client.values import Answer, Attachment, Idle, Moment, Schedule, SyncStatus, Until, idle_ms_of
from presenced.errors import AddressError
from presenced.wire.messages import (
    ActivityInfo,
    ClaimInfo,
    DeviceInfo,
    DeviceStatus,
    Source,
    Status,
    StatusRequest,
)


class Service(Holding):
    """A backend's link; made by `connect_service`. For one event loop, not for several threads.

    Arguments come in the order user, device, then the rest. Methods that ask the server raise `AddressError` before
    anything is sent, `RequestError` if it refuses (nothing is half applied), `RequestTimeout` and `ConnectionLost`.

    When the link is lost, all that this client holds is put in place again on the next: devices, channels joined and
    watched, users watched, events from where they were. Leaving leaves the devices in grace, so that the next process
    can attach them and nobody sees anything; `detach` those that are to be gone.
    """

    def __init__(self, identity: Identity, timeout_s: float, request_timeout_s: float, reconnects: bool) -> None:
        super().__init__(identity, timeout_s, request_timeout_s, reconnects)
        self._pages: Pages | None = None

    # --- status and text --------------------------------------------------------------------------------------

    async def set_status(
        self,
        user: str,
        status: StatusRequest,
        text: str | None = None,
        emoji: str | None = None,
        until: Until = None,
        *,
        device: str | None = None,
    ) -> None:
        """Set the user's manual status, and the text with it if given. `auto` ends the manual status.

        `until` is a timedelta, a number of seconds or an aware datetime, and holds for all that is set here. With
        `device` it counts as input there. The status shows while some device is online; `offline` hides the user.
        """
        await acts.set_status(self, _named(user), device or "", status, text, emoji, until)

    async def set_text(self, user: str, text: str, emoji: str | None = None, until: Until = None) -> None:
        """Set the user's text, whatever the status; an empty one clears it."""
        await acts.set_status(self, _named(user), "", None, text, emoji, until)

    async def clear_text(self, user: str) -> None:
        """Clear text and emoji; the status stays."""
        await acts.set_status(self, _named(user), "", None, "", "", None)

    async def clear(self, user: str) -> None:
        """End the manual status and clear text and emoji."""
        await acts.set_status(self, _named(user), "", "auto", "", "", None)

    async def touch(self, user: str, device: str | None = None) -> None:
        """The user was seen just now: updates last seen and nothing else."""
        await acts.touch(self, _named(user), device or "")

    async def command(self, user: str, text: str, device: str | None = None) -> Answer:
        """Do what the user typed, such as `/presence away for 30m`; the answer says what to show. What cannot be done
        is told in the answer (`ok` False)."""
        return await acts.command(self, _named(user), device or "", text)

    # --- pages ------------------------------------------------------------------------------------------------

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
        pages = self._pages = self._pages or Pages(self)
        page = Page(pages, Attachment(user, device, kind, name, 0, "online", idle), is_there, on_renamed)
        if idle is not None:
            page._activity = Activity()
            page._activity.report(self._keeper.now_ms(), idle_ms_of(idle))
        await pages.open(page)
        return page

    # --- devices ----------------------------------------------------------------------------------------------

    async def set_device_status(self, user: str, device: str, status: DeviceStatus) -> None:
        """Set a live device's own status. Raises `RequestError` (`no_such_device`)."""
        await self.set_device(user, device, status=status)

    async def rename_device(self, user: str, device: str, name: str) -> None:
        """Give a live device another display name. Raises `RequestError` (`no_such_device`)."""
        await self.set_device(user, device, name=name)

    async def forget_device(self, user: str, device: str) -> None:
        """Forget a device that is gone. Raises `RequestError` (`no_such_device`, `bad_request` for a live one)."""
        await acts.forget_device(self, _named(user), device)

    async def get_devices(self, user: str) -> list[DeviceInfo]:
        """All devices of the user that the server remembers; none for an unknown user."""
        return await acts.get_devices(self, _named(user))

    # --- claims and schedules ---------------------------------------------------------------------------------

    async def add_claim(
        self, user: str, claim: str, source: Source, status: Status, until: Until = None, device: str | None = None
    ) -> None:
        """State a status for the user until it is ended or `until`; a claim of the same name is replaced.

        `source` is its rank: `call` over `manual` over `calendar`. Raises `RequestError` (`claim_past`,
        `claim_limit`, `bad_request` for the source `schedule`). With `device`, a live one of the user, it ends
        when that is gone, whatever `until` says.
        """
        await acts.add_claim(self, _named(user), claim, source, status, until, device)

    async def end_claim(self, user: str, claim: str) -> None:
        """End a claim; the one below shows again. One that is not there is no error."""
        await acts.end_claim(self, _named(user), claim)

    async def find_claims(self, claim: str = "") -> list[tuple[str, ClaimInfo]]:
        """The claims of this name over all users, or (empty) of every name, each with its user. A backend that comes
        back learns with it what it left behind. O(users) for the server, in pages."""
        return await acts.find_claims(self, claim)

    async def get_claims(self, user: str) -> list[ClaimInfo]:
        """The user's claims, the one that counts first."""
        return await acts.get_claims(self, _named(user))

    async def set_schedule(
        self, user: str, zone: str, windows: Iterable[WindowLike], status: DeviceStatus = "dnd"
    ) -> None:
        """A status that recurs each week in the time zone: `("Europe/Berlin", [("mon-fri", "18:00", "08:00")])`.

        A window that ends before it starts ends on the day after. Raises `AddressError` or `RequestError`, both
        `bad_schedule`.
        """
        await acts.set_schedule(self, _named(user), zone, windows, status)

    async def clear_schedule(self, user: str) -> None:
        """End the schedule and what it claims."""
        await acts.clear_schedule(self, _named(user))

    async def get_schedule(self, user: str) -> Schedule | None:
        """The user's schedule, None if there is none."""
        return await acts.get_schedule(self, _named(user))

    # --- activity ---------------------------------------------------------------------------------------------

    async def record_activity(
        self,
        user: str,
        activity: str,
        *,
        channel: str | None = None,
        device: str | None = None,
        at: Moment = None,
        payload: str = "",
    ) -> None:
        """Record something that the user did (`message`, `login`, ...); counts as input on the device, if named.

        `at` None = now. Never sent twice: if the link is lost before the reply, raises `ConnectionLost`, and it may or
        may not have been recorded. Raises `RequestError` (`no_such_device`, `bad_time`, `bad_activity`) too.
        """
        await acts.record_activity(self, _named(user), device or "", activity, channel, at, payload)

    async def get_activity(self, user: str, limit: int = 20, since: Moment = None) -> list[ActivityInfo]:
        """Up to `limit` (1 to 100) activities of the user, newest first; those at or after `since` if given."""
        return await acts.get_activity(self, _named(user), limit, since)

    # --- the own state of users -------------------------------------------------------------------------------

    async def sync(self, user: str) -> None:
        """Have the user's own state sent to all of their connected devices again."""
        await acts.sync(self, _named(user))

    async def get_sync_status(self, user: str) -> SyncStatus:
        """How many of the user's connected devices show their own state as it is now."""
        return await acts.get_sync_status(self, _named(user))

    # --- being told -------------------------------------------------------------------------------------------

    def watch_all(self) -> EveryoneWatch:
        """Watch every user: a `snapshot` of each who is online, then every change. Used like `watch`."""
        return EveryoneWatch(self)

    def events(self, cursor: str | None = None) -> Events:
        """Follow what happens to users: `async for event in p.events()`, each event once and in order.

        With the `cursor` of an event: from behind it on; else from now on. Goes on by itself after a lost link. What
        the server can tell no more is one event of kind `reset`: take a snapshot and go on.
        """
        wake = asyncio.Event()
        position = parse_cursor(cursor) if cursor else None
        return Events(self, EventFeed(wake.set, position), wake)

    def on(self, kind: EventName, callback: Callable[[Event], object]) -> Callable[[], None]:
        """Call `callback(event)` for each event of a kind from now on; returns a function that ends it.

        It may be async and may await this client; the next event waits for it. What it raises goes to the loop's
        exception handler, and the next event is told all the same.
        """
        if kind not in get_args(EventName):
            raise AddressError(f"{kind!r} is no event; use one of {', '.join(get_args(EventName))}", "bad_request")
        self._refuse_closed()
        wake = asyncio.Event()
        feed = EventFeed(wake.set, None, frozenset((kind,)))
        self._followed.attach(feed)
        self._callbacks.keep(self._deliver(feed, wake, callback))
        return lambda: self._followed.release(feed)

    async def _deliver(self, feed: EventFeed, wake: asyncio.Event, callback: Callable[[Event], object]) -> None:
        while not feed.is_over:
            event = feed.take()
            if event is None:
                wake.clear()
                await wake.wait()
            else:
                await self._callbacks.call("an event callback", callback, event)
                # A plain callback gives the loop no turn, and there may be thousands of events.
                await asyncio.sleep(0)


def _named(user: str) -> str:
    check_name(user, "user")
    return user
