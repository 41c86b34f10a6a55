"""A server that does what a test tells it, for the moments that the real one cannot be brought to on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

import presenced
from presenced.limits import FRAME_BYTES_MAX
from presenced.wire.codec import decode_client, encode
from presenced.wire.frames import FrameReader, frame
from presenced.wire.messages import (
    Bye,
    ClientMessage,
    Done,
    Get,
    Goodbye,
    Hello,
    Ping,
    Pong,
    Record,
    Records,
    ServerMessage,
    SetDevice,
    SetStatus,
    Unwatch,
    Watch,
    Welcome,
)
from tests.support.until import PATIENCE_S

T = TypeVar("T")
S = TypeVar("S", bound="FakeServer")

WELCOME = Welcome(
    version=1,
    user="alice",
    device="laptop",
    role="user",
    heartbeat_ms=60_000,
    timeout_ms=150_000,
    grace_ms=1000,
    away_after_ms=300_000,
    offline_after_ms=0,
    frame_bytes_max=65_536,
    users_per_request_max=256,
    watch_users_max=1000,
    server_time_ms=1_900_000_000_000,
    epoch=1,
)


class FakeLink:
    """One accepted connection. After the hello, `answers` decides what each message is answered with."""

    def __init__(self, server: FakeServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        self.closed = asyncio.Event()

    def send(self, *messages: ServerMessage) -> None:
        self.writer.write(b"".join(frame(encode(message)) for message in messages))

    def drop(self) -> None:
        """As a broken network does: no goodbye."""
        self.writer.transport.abort()

    async def run(self) -> None:
        frames = FrameReader(FRAME_BYTES_MAX)
        try:
            while data := await self.reader.read(65536):
                frames.feed(data)
                for payload in frames.take(1_000_000):
                    message = decode_client(payload)
                    self.server.received.append(message)
                    self.server.changed.set()
                    for reply in self.server.answer(message):
                        self.send(reply)
                    if isinstance(message, Bye):
                        self.writer.close()
        except ConnectionError:
            pass
        finally:
            self.closed.set()
            self.server.changed.set()
            self.writer.close()


class FakeServer:
    """Answers hello, ping, set, get and watch plainly, from `records`; a test may replace `answer`."""

    def __init__(self) -> None:
        self.received: list[ClientMessage] = []
        self.links: list[FakeLink] = []
        self.records: dict[str, Record] = {}
        self.welcome = WELCOME
        self.refusals: list[Goodbye] = []
        """Goodbyes for the next hellos; after them hellos are welcome."""
        self.changed = asyncio.Event()
        self.answer: Callable[[ClientMessage], list[ServerMessage]] = self.plainly
        self.port = 0

    @property
    def link(self) -> FakeLink:
        """The newest one."""
        return self.links[-1]

    def url(self, user: str = "alice", device: str = "laptop") -> str:
        return f"presence://{user}@127.0.0.1:{self.port}/{device}"

    def of(self, kind: type[T]) -> list[T]:
        """What was received of one kind."""
        return [message for message in self.received if isinstance(message, kind)]

    def plainly(self, message: ClientMessage) -> list[ServerMessage]:
        if isinstance(message, Hello):
            if self.refusals:
                return [self.refusals.pop(0)]
            return [self.welcome]
        if isinstance(message, Ping):
            return [Pong(message.id, self.welcome.server_time_ms)]
        if isinstance(message, SetStatus | SetDevice | Unwatch):
            return [Done(message.id, 1)]
        if isinstance(message, Get | Watch):
            records = [self.records.get(user, Record(user, "offline", "", "", 0, 0, "", 0)) for user in message.users]
            return [Records(message.id, self.welcome.epoch, 1, records)]
        return []

    def new_epoch(self) -> None:
        self.welcome = msgspec.structs.replace(self.welcome, epoch=self.welcome.epoch + 1)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition over what was received."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = FakeLink(self, reader, writer)
        self.links.append(link)
        await link.run()


@asynccontextmanager
async def fake_server() -> AsyncIterator[FakeServer]:
    async with listening(FakeServer()) as server:
        yield server


@asynccontextmanager
async def listening(server: S) -> AsyncIterator[S]:
    """A fake server, or one of a kind of its own, on a free port."""
    listener = await asyncio.start_server(server.accept, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for link in server.links:
            link.drop()
            await link.closed.wait()


def of_fake(fake: FakeServer, **options: Any) -> Any:
    """A service's client of it."""
    return presenced.connect_service(fake.url("chat", ""), **options)
