"""An HTTP listener without a server behind it, on either loop, and a client that sends whatever bytes a test likes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from presenced.http.listener import HttpServer
from presenced.ops.history import History
from presenced.ops.page_door import PageDoor
from presenced.ops.pages import Pages
from presenced.server.report import Report
from tests.support.in_process import LOOPS
from tests.support.status import made_status
from tests.support.until import PATIENCE_S

CONNECTIONS_MAX = 32


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Peer:
    """One connection to the listener."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def ask(self, path: str, method: str = "GET", *headers: str) -> None:
        self.send("\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode())

    async def answer(self, *, has_body: bool = True) -> Answer:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")[:-2]
        headers = dict(line.split(": ", 1) for line in lines)
        body = await self.reader.readexactly(int(headers["Content-Length"])) if has_body else b""
        protocol, status, _ = first.split(" ", 2)
        assert protocol == "HTTP/1.1"
        return Answer(int(status), headers, body)

    async def end(self) -> bytes:
        """What still comes until the listener closes."""
        return await self.reader.read()

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass  # The listener was first.


class Stand:
    """A listener with the figures of `made_status`."""

    def __init__(self, http: HttpServer) -> None:
        self.http = http
        (door,) = http.doors
        assert isinstance(door, PageDoor)
        self.pages = door.pages
        self._peers: list[Peer] = []

    async def peer(self) -> Peer:
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.http.port, limit=1 << 24))
        self._peers.append(peer)
        return peer

    async def get(self, path: str) -> Answer:
        """Over a connection of its own."""
        peer = await self.peer()
        peer.ask(path, "GET", "Connection: close")
        answer = await peer.answer()
        assert await peer.end() == b""
        return answer

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.002)

    async def close(self) -> None:
        for peer in self._peers:
            await peer.close()
        await self.http.close()


def pages() -> Pages:
    return Pages(made_status, History(), lambda _: [])


def page_listener(idle_s: float = 10.0) -> HttpServer:
    """A listener of the operator's pages with few places; it does not listen yet."""
    report = Report()
    return HttpServer([PageDoor(pages(), report)], report, connections_max=CONNECTIONS_MAX, idle_s=idle_s)


@asynccontextmanager
async def standing(idle_s: float = 10.0) -> AsyncIterator[Stand]:
    http = page_listener(idle_s=idle_s)
    await http.listen("127.0.0.1:0")
    stand = Stand(http)
    try:
        yield stand
    finally:
        await stand.close()
        assert not http.connections


Test = Callable[[Stand], Awaitable[None]]


def run(loop_name: str, test: Test, idle_s: float = 10.0) -> None:
    """Run a test with a `Stand` on this loop, hold it to a deadline, and to no complaint of the loop."""

    async def hold() -> None:
        complaints: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with asyncio.timeout(PATIENCE_S), standing(idle_s) as stand:
            await test(stand)
        assert not complaints

    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        runner.run(hold())


def on_both_loops(*, idle_s: float = 10.0) -> Callable[[Test], Callable[[str], None]]:
    """A test that runs on asyncio's own loop and on uvloop, with a listener that waits `idle_s`."""

    def decorate(test: Test) -> Callable[[str], None]:
        @pytest.mark.parametrize("loop_name", LOOPS)
        def test_on(loop_name: str) -> None:
            run(loop_name, test, idle_s)

        test_on.__name__ = test.__name__
        test_on.__doc__ = test.__doc__
        return test_on

    return decorate
