"""Open pages of a browser, each a device of its own, although a browser may give two of them one id.

A tab that the person duplicates has the id of the first. Pages of one service with one id share the device until the
last of them has closed. Pages of several services cannot: the newest has the device, and a service whose page was
there before is told (`Taken`). It asks that page whether it is still there. If so, the page goes on under a new id,
which the app tells it to keep. A page that does not answer has moved to where the device is now.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Protocol, Self

from presenced.client.connection import ClientConnection
from presenced.client.log_fields import fields
from presenced.client.protocol.attached_device import DeviceKey
from presenced.client.protocol.heartbeat import Activity
from presenced.client.values import Attachment, Idle, Taken, idle_ms_of
from presenced.errors import PresenceError, RequestError
from presenced.limits import NAME_BYTES_MAX

IS_THERE_S = 10.0
"""How long a page may take to say that it is there."""

AGAIN_S = 1.0
"""The time between two attempts to attach a page anew, while there is no link or no room."""

_log = logging.getLogger("presenced.client.devices")


class PageDevices(Protocol):
    """What pages ask of a service's devices; `service_devices` has it."""

    async def attach_many(self, devices: Iterable[Attachment]) -> dict[DeviceKey, RequestError]: ...
    async def detach(self, user: str, device: str, *, lost: bool) -> None: ...
    def idle(self, user: str, device: str, idle: Idle) -> None: ...
    def on_taken_at_once(self, part: Callable[[Taken], None]) -> Callable[[], None]: ...


class Page:
    """One open page; made by `Service.open_page`. `async with` closes it, or call `close`."""

    def __init__(
        self,
        pages: OpenPages,
        attachment: Attachment,
        is_there: Callable[[], Any] | None,
        on_renamed: Callable[[Page], Any] | None,
    ) -> None:
        self.user = attachment.user
        self.device = attachment.device
        """Its device. It differs from the one that it came with once it proved to be a copy of a page elsewhere."""
        self.is_open = True
        self._pages = pages
        self._attachment = attachment
        self._is_there = is_there
        self._on_renamed = on_renamed
        self._activity: Activity | None = None
        if attachment.idle is not None:
            self._activity = Activity()
            self._activity.report(pages.now_ms(), idle_ms_of(attachment.idle))
        self._is_changing = False
        """It is being given a new id. If it is closed meanwhile, the task that does this lets go of it."""
        self._is_lost = False

    def __repr__(self) -> str:
        return f"<Page {self.user}/{self.device}{'' if self.is_open else ', closed'}>"

    def active(self) -> None:
        """Its person gave input now. Cheap: call it for each. O(1)."""
        self.idle(0)

    def idle(self, idle: Idle) -> None:
        """Its person's last input was `idle` (seconds, or a timedelta) ago; from here the idle time grows by itself."""
        self._activity = self._activity or Activity()
        self._activity.report(self._pages.now_ms(), idle_ms_of(idle))
        self._pages.idle(self, idle)

    async def close(self, *, lost: bool = False) -> None:
        """The page is closed, or (`lost`) only its connection broke. With the last page of its id the device is let go,
        as by `Service.detach`. Does nothing the second time."""
        if self.is_open:
            self.is_open, self._is_lost = False, lost
            await self._pages.close(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close(lost=exc_type is not None)


class OpenPages:
    """The open pages of a service."""

    def __init__(self, connection: ClientConnection, devices: PageDevices) -> None:
        self._connection = connection
        self._devices = devices
        self._open: dict[DeviceKey, dict[Page, None]] = {}
        """By the id under which they are attached."""
        self._end_use: Callable[[], None] | None = None
        """While a page is open the service is in use, and is told of devices that are taken."""

    def now_ms(self) -> int:
        return self._connection.exchange.now_ms()

    async def open(
        self,
        attachment: Attachment,
        is_there: Callable[[], Any] | None,
        on_renamed: Callable[[Page], Any] | None,
    ) -> Page:
        """See `Service.open_page`. If attaching the device fails, the page is not open."""
        page = Page(self, attachment, is_there, on_renamed)
        self._open.setdefault((page.user, page.device), {})[page] = None
        if self._end_use is None:
            self._end_use = self._devices.on_taken_at_once(self.taken)
        try:
            await self._attach(attachment)
        except BaseException:
            page.is_open = False
            self._forget(page)
            raise
        return page

    def idle(self, page: Page, idle: Idle) -> None:
        """The server is told if the device is attached; else its next attach says it."""
        try:
            self._devices.idle(page.user, page.device, idle)
        except RequestError:
            # It was taken a moment ago, and the page has not been asked yet whether it is there.
            return

    async def close(self, page: Page) -> None:
        """See `Page.close`."""
        is_last = self._forget(page)
        if is_last and not page._is_changing:
            await self._devices.detach(page.user, page.device, lost=page._is_lost)

    def taken(self, taken: Taken) -> None:
        """Another client has the device: find out which of its pages here are still there. Or its user was kicked: its
        pages are open no longer."""
        pages = self._open.pop((taken.user, taken.device), {})
        if taken.why == "kicked":
            for page in pages:
                page.is_open = False
            self._rest()
            return
        for page in pages:
            page._is_changing = True
            self._connection.callbacks.keep(self._change(page))

    async def _change(self, page: Page) -> None:
        try:
            if await self._answers(page):
                await self._attach_as_another(page)
        except PresenceError as error:
            self._forget(page)
            context = {"message": f"{page!r} could not be attached under a new id", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
        finally:
            page._is_changing = False
            self._rest()

    async def _answers(self, page: Page) -> bool:
        if page._is_there is not None:
            try:
                async with asyncio.timeout(IS_THERE_S):
                    answer = page._is_there()
                    answer = await answer if inspect.isawaitable(answer) else answer
            except TimeoutError:
                return False
            except Exception as error:
                # A websocket that is closed says no by whatever its library raises. So does a mistake in the function,
                # and its author has to be able to see why pages are let go of.
                extra = fields("page_moved", user=page.user, device=page.device)
                sentence = "%s/%s: is_there() raised %r; the page counts as moved"
                _log.info(sentence, page.user, page.device, error, extra=extra)
                return False
            if answer is False:
                return False
        return page.is_open

    async def _attach_as_another(self, page: Page) -> None:
        page.device = another_id(page._attachment.device)
        self._open[page.user, page.device] = {page: None}
        while page.is_open:
            idle_ms = None if page._activity is None else page._activity.idle_ms(self.now_ms())
            idle_s = None if idle_ms is None else idle_ms / 1000
            described = page._attachment._replace(device=page.device, idle=idle_s)
            try:
                await self._attach(described)
                break
            except PresenceError as error:
                if not error.temporary:
                    raise
                await asyncio.sleep(AGAIN_S)
        else:
            return
        if not page.is_open:
            await self._devices.detach(page.user, page.device, lost=page._is_lost)
        elif page._on_renamed is not None:
            await self._connection.callbacks.call("a page's callback", page._on_renamed, page)

    async def _attach(self, attachment: Attachment) -> None:
        for error in (await self._devices.attach_many([attachment])).values():
            raise error

    def _forget(self, page: Page) -> bool:
        """Returns whether it was the last page of its id."""
        key = page.user, page.device
        pages = self._open.get(key)
        if pages is None or page not in pages:
            return False
        del pages[page]
        if pages:
            return False
        del self._open[key]
        self._rest()
        return True

    def _rest(self) -> None:
        if not self._open and self._end_use is not None:
            self._end_use()
            self._end_use = None


def another_id(device: str) -> str:
    """An id that no other page has, similar to the one that the page came with."""
    end = f"~{secrets.token_hex(4)}"
    while len((device + end).encode()) > NAME_BYTES_MAX:
        device = device[:-1]
    return device + end
