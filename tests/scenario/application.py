"""An application as protocol.md has it for browsers: two backends behind which pages come, go, move, are duplicated and
lose their websockets, while backends are cut off, handlers are cancelled, and everything is killed.

`People` are the tabs that exist. What is right at any moment follows from them alone: a user is online exactly while
one of their tabs exists, but for the grace; and in the end the devices are those of the tabs, and no others.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import presenced
from tests.client.helpers import reconnect_of

BACK_S = 2.0
"""So long at most a page takes to open its websocket again, well below every grace."""


TABS_MAX = 5
"""Of one user."""

BETWEEN_S = 12.0
"""At least, between two cuts or kills: a client whose links do not last waits longer each time, in the end for longer
than the grace, and then its users are offline by right."""

BETWEEN_RESTARTS_S = 45.0
"""At least: each restart is a grace anew for whom it found in one."""

LINGERS_S = 60.0
"""So long a user may be shown after their last page: its backend notices in 8 s, the grace after a restart is 30 s, and
whoever watches may have no link for 20 s."""


class Tab:
    """A page in a browser, with its websocket to one of the backends."""

    def __init__(self, user: str, device: str) -> None:
        self.user = user
        self.device = device
        """What its sessionStorage says."""
        self.exists = True
        self.since_s = asyncio.get_running_loop().time()
        self.socket: Socket | None = None
        self.life: asyncio.Task[None] | None = None


class Socket:
    """A websocket, as its backend sees it; a tab that has moved on does not answer on it any more."""

    def __init__(self, tab: Tab, backend: Backend) -> None:
        self.tab = tab
        self.backend = backend
        self.closed = asyncio.Event()
        """As its backend notices."""
        self.left = asyncio.Event()
        """The page is on another one by now."""
        self.lost = True
        self.handler = asyncio.ensure_future(backend.serve(self))


class Backend:
    """One process of the application."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self.service: Any = None
        self.sockets: dict[Socket, None] = {}

    async def start(self) -> None:
        while self.service is None:
            try:
                self.service = await self._connect()
            except presenced.PresenceError:
                await asyncio.sleep(0.2)

    async def serve(self, socket: Socket) -> None:
        """The handler of a websocket."""
        tab, service = socket.tab, self.service
        if service is None:
            return
        self.sockets[socket] = None

        def renamed(page: presenced.Page) -> None:
            tab.device = page.device

        try:
            page = await service.open_page(
                tab.user, tab.device, is_there=lambda: tab.exists and tab.socket is socket, on_renamed=renamed
            )
            try:
                await socket.closed.wait()
            finally:
                await page.close(lost=socket.lost)
        except presenced.PresenceError:
            # No link for too long: the page comes again.
            return
        finally:
            self.sockets.pop(socket, None)

    def cut(self, seconds: float) -> None:
        """Its network is gone for so long."""
        service = self.service
        link = reconnect_of(service)._link if service is not None else None
        if link is None:
            return
        opened = reconnect_of(service)._open_link

        async def wait(*args: Any, **options: Any) -> Any:
            reconnect_of(service)._open_link = opened
            await asyncio.sleep(seconds)
            return await opened(*args, **options)

        reconnect_of(service)._open_link = wait
        link._transport.abort()

    async def kill(self) -> None:
        """As kill -9 does: the server sees the connection break, and nobody says anything."""
        service, self.service = self.service, None
        if service is None:
            return
        link = reconnect_of(service)._link
        if link is not None:
            link._transport.abort()
        await service.close(bye=False)
        for socket in list(self.sockets):
            socket.handler.cancel()


class Application:
    """Everybody, and what befalls them."""

    def __init__(
        self,
        dice: random.Random,
        connect: Callable[[], Any],
        restart_daemon: Callable[[], Awaitable[None]],
        users: int,
        told_s: float = 0.0,
    ) -> None:
        """`told_s`: how much later a watcher may be told, who is on another node than the user."""
        self.dice = dice
        self._told_s = told_s
        self.backends = [Backend(connect), Backend(connect)]
        self.restart_daemon = restart_daemon
        self.users = [f"u{number:03}" for number in range(users)]
        self.tabs: list[Tab] = []
        self.was_there: dict[str, float] = {}
        """When the last tab of a user ceased to exist."""
        self.wrong: list[str] = []
        self._quiet_until_s = 0.0
        self._restart_s = 0.0
        self._numbers = iter(range(1_000_000))
        self._watching: asyncio.Task[None] | None = None
        self._watcher: Any = None
        self._others = asyncio.all_tasks()
        """What runs besides the application."""
        self._linger: set[asyncio.Future[Any]] = set()

    # --- the people -------------------------------------------------------------------------------------------

    def open(self, user: str, device: str | None = None) -> None:
        if sum(tab.user == user for tab in self.tabs) >= TABS_MAX:
            # With those in grace they would be more than the devices that a user may have.
            user, device = self.dice.choice(self.users), None
        tab = Tab(user, device or f"tab{next(self._numbers)}")
        self.tabs.append(tab)
        tab.life = asyncio.ensure_future(self._live(tab))

    async def _live(self, tab: Tab) -> None:
        while tab.exists:
            socket = tab.socket = Socket(tab, self.dice.choice(self.backends))
            moved = asyncio.ensure_future(socket.left.wait())
            await asyncio.wait({socket.handler, moved}, return_when=asyncio.FIRST_COMPLETED)
            moved.cancel()
            if tab.exists and tab.socket is socket:
                await asyncio.sleep(self.dice.random() * BACK_S)

    def close(self, tab: Tab) -> None:
        # Without a lock in the browser nobody can tell the closing of a copy from the closing of the page.
        is_copied = any(
            other.device == tab.device and other.user == tab.user for other in self.tabs if other is not tab
        )
        tab.exists = False
        self.tabs.remove(tab)
        if not any(other.user == tab.user for other in self.tabs):
            self.was_there[tab.user] = asyncio.get_running_loop().time()
        if tab.socket is not None:
            tab.socket.lost = is_copied or self.dice.random() < 0.5
            tab.socket.closed.set()

    def move(self, tab: Tab) -> None:
        """The page's network changes: its backend notices at once or some seconds later."""
        old, tab.socket = tab.socket, None
        if old is None:
            return
        old.left.set()
        if self.dice.random() < 0.5:
            old.closed.set()
        else:
            asyncio.get_running_loop().call_later(self.dice.random() * 8, old.closed.set)

    # --- what befalls them ------------------------------------------------------------------------------------

    async def act(self) -> None:
        dice = self.dice
        what, tab = dice.random(), dice.choice(self.tabs) if self.tabs else None
        if tab is None or what < 0.22:
            self.open(dice.choice(self.users))
        elif what < 0.42:
            self.close(tab)
        elif what < 0.60:
            self.move(tab)
        elif what < 0.70:
            self.open(tab.user, tab.device)
        elif what < 0.85:
            # While its handler is at work.
            self.move(tab)
            asyncio.get_running_loop().call_later(dice.random() * 0.01, self._cancel, tab)
        elif what < 0.93 and tab.socket is not None:
            tab.socket.closed.set()
        elif asyncio.get_running_loop().time() > self._quiet_until_s:
            await self._befall(what)

    async def _befall(self, what: float) -> None:
        dice, backend, now_s = self.dice, self.dice.choice(self.backends), asyncio.get_running_loop().time()
        if what < 0.96:
            backend.cut(dice.random() * 3)
            for socket in list(backend.sockets)[:: dice.randrange(2, 6)]:
                if socket.tab.socket is socket:
                    self.move(socket.tab)
        elif what < 0.98 or now_s < self._restart_s:
            await backend.kill()
            await asyncio.sleep(dice.random())
            await backend.start()
        else:
            await self.restart_daemon()
            self._restart_s = now_s + BETWEEN_RESTARTS_S
        self._quiet_until_s = asyncio.get_running_loop().time() + BETWEEN_S

    def _cancel(self, tab: Tab) -> None:
        if tab.socket is not None:
            tab.socket.handler.cancel()

    async def run(self, seconds: float, pages: int, actions_per_s: float) -> None:
        loop = asyncio.get_running_loop()
        for backend in self.backends:
            await backend.start()
        self._watcher = await self.backends[0]._connect()
        self._watching = asyncio.ensure_future(self._watch())
        for _ in range(pages):
            self.open(self.dice.choice(self.users))
        end_s = loop.time() + seconds
        while loop.time() < end_s:
            await self.act()
            while len(self.tabs) < pages:
                self.open(self.dice.choice(self.users))
            while len(self.tabs) > pages * 1.1:
                self.close(self.dice.choice(self.tabs))
            await asyncio.sleep(self.dice.expovariate(actions_per_s))

    # --- what is right ----------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        async for change in self._watcher.watch_all():
            now_s = asyncio.get_running_loop().time()
            tabs = [tab for tab in self.tabs if tab.user == change.user]
            exists = bool(tabs)
            if change.new.status == "offline" and any(now_s - tab.since_s >= self._told_s for tab in tabs):
                self.wrong.append(f"{now_s:.3f}: {change.user} is shown offline, and a tab is there")
            left_s = now_s - self.was_there.get(change.user, now_s)
            if change.new.status == "online" and not exists and left_s > LINGERS_S:
                self.wrong.append(f"{now_s:.3f}: {change.user} is shown online, {left_s:.1f} s after the last tab")

    async def settled(self, within_s: float) -> list[str]:
        """Wait until everything is as it should be; gives what is not after `within_s`."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + within_s
        while (wrong := await self._differences()) and loop.time() < end_s:
            await asyncio.sleep(0.5)
        return wrong + self.wrong

    async def _differences(self) -> list[str]:
        wrong: list[str] = []
        for number, backend in enumerate(self.backends):
            if backend.service is None or backend.service.state != "connected":
                return [f"backend {number} has no link"]
            mine = [(tab.user, tab.device) for tab in self.tabs if tab.socket and tab.socket.backend is backend]
            if sorted(set(mine)) != sorted(backend.service.attached):
                differ = set(mine) ^ set(backend.service.attached)
                wrong.append(f"backend {number} says otherwise of {sorted(differ)[:5]}")
        if wrong or self._watcher.state != "connected":
            return wrong or ["the watcher has no link"]
        there = {(tab.user, tab.device) for tab in self.tabs}
        for user in self.users:
            live = {(user, info.device) for info in await self._watcher.get_devices(user) if info.state != "gone"}
            if live != {key for key in there if key[0] == user}:
                wrong.append(f"{user} has {sorted(live)}, not {sorted(key for key in there if key[0] == user)}")
        online = {record.user for record in await self._watcher.get_online_users()}
        if online != {tab.user for tab in self.tabs}:
            wrong.append(f"shown otherwise: {sorted(online ^ {tab.user for tab in self.tabs})[:5]}")
        return wrong

    async def stop(self) -> None:
        for tab in list(self.tabs):
            self.close(tab)
        if self._watching is not None:
            self._watching.cancel()
        for client in (self._watcher, *(backend.service for backend in self.backends)):
            if client is not None:
                await client.close(bye=False)
        with contextlib.suppress(asyncio.CancelledError):
            for task in asyncio.all_tasks() - self._others - {asyncio.current_task()}:  # type: ignore[operator]
                task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
