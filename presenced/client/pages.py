"""Open pages of a browser, each a device of its own, though a browser may give two of them one id.

A tab that the person duplicates has the id of the first. Pages of one service with one id share the device until the
last of them has closed. Pages of several services cannot: the newest has the device, and a service whose page was
there before is told (`Taken`). It asks that page whether it is there; if so the page goes on under a new id, which the
app tells it to keep. One that does not answer has moved to where the device is now.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from presenced.client.protocol.heartbeat import Activity
from presenced.client.values import Attachment, Idle, Taken, idle_ms_of
from presenced.errors import PresenceError, RequestError
from presenced.limits import NAME_BYTES_MAX

if TYPE_CHECKING:
    from presenced.client.service_devices import Holding

IS_THERE_S = 10.0
"""How long a page may take to say that it is there."""

AGAIN_S = 1.0
"""Between two attempts to attach a page anew, while there is no link or no room."""

Key = tuple[str, str]

_log = logging.getLogger("presenced.client")


class Page:
    """One open page; made by `Service.open_page`. `async with` closes it, or call `close`."""

    def __init__(
        self,
        pages: Pages,
        attachment: Attachment,
        is_there: Callable[[], Any] | None,
        on_renamed: Callable[[Page], Any] | None,
    ) -> None:
        self.user = attachment.user
        self.device = attachment.device
        """Its device. Another than it came with, once it turned out to be a copy of a page elsewhere."""
        self.is_open = True
        self._pages = pages
        self._attachment = attachment
        self._is_there = is_there
        self._on_renamed = on_renamed
        self._activity: Activity | None = None
        self._is_changing = False
        """It is being given a new id, and whoever does that lets go of it if it is closed meanwhile."""
        self._is_lost = False

    def __repr__(self) -> str:
        return f"<Page {self.user}/{self.device}{'' if self.is_open else ', closed'}>"

    def active(self) -> None:
        """Its person gave input now. Cheap: call it for each. O(1)"""
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


class Pages:
    """The open pages of a service."""

    def __init__(self, service: Holding) -> None:
        self._service = service
        self._open: dict[Key, dict[Page, None]] = {}
        """By the id under which they are attached."""
        self._end_use: Callable[[], None] | None = None
        """While a page is open the service is in use, and tells of what is taken."""

    def now_ms(self) -> int:
        return self._service._keeper.now_ms()

    async def open(self, page: Page) -> None:
        """Attach its device. Errors as of `attach`; then it is not open."""
        key = page.user, page.device
        self._open.setdefault(key, {})[page] = None
        if self._end_use is None:
            at_once = self._service._taken_at_once
            at_once.append(self.taken)
            self._end_use = self._service._used_for(self.taken, at_once)
        try:
            await self._attach(page._attachment)
        except BaseException:
            page.is_open = False
            self._forget(page)
            raise

    def idle(self, page: Page, idle: Idle) -> None:
        """Told if the device is held; else its next attach says it."""
        try:
            self._service.idle(page.user, page.device, idle)
        except RequestError:
            # It was taken a moment ago, and nobody has asked the page so far.
            return

    async def close(self, page: Page) -> None:
        """See `Page.close`."""
        is_last = self._forget(page)
        if is_last and not page._is_changing:
            await self._service.detach(page.user, page.device, lost=page._is_lost)

    def taken(self, taken: Taken) -> None:
        """Another client has the device. Which of its pages here are there still?"""
        for page in self._open.pop((taken.user, taken.device), {}):
            page._is_changing = True
            self._service._callbacks.keep(self._change(page))

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
                _log.info("%s/%s: is_there() raised %r; the page counts as moved", page.user, page.device, error)
                return False
            if answer is False:
                return False
        return page.is_open

    async def _attach_as_another(self, page: Page) -> None:
        page.device = another_id(page._attachment.device)
        self._open[page.user, page.device] = {page: None}
        while page.is_open:
            idle_s = None if page._activity is None else page._activity.idle_ms(self.now_ms()) / 1000
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
            await self._service.detach(page.user, page.device, lost=page._is_lost)
        elif page._on_renamed is not None:
            await self._service._callbacks.call("a page's callback", page._on_renamed, page)

    async def _attach(self, attachment: Attachment) -> None:
        for error in (await self._service.attach_many([attachment])).values():
            raise error

    def _forget(self, page: Page) -> bool:
        """Gives whether it was the last of its id."""
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
    """An id of nobody else's, near to the one that the page came with."""
    end = f"~{secrets.token_hex(4)}"
    while len((device + end).encode()) > NAME_BYTES_MAX:
        device = device[:-1]
    return device + end
