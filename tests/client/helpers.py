"""What the tests of the client with the real server share: a server in this process, and taking with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import presenced
from presenced.client.client_base import ConnectedClient, connection_of
from presenced.client.exchange import Waiter
from presenced.client.protocol.attachments import Attachments
from presenced.client.protocol.session import ClientSession
from presenced.client.protocol.watched_users import WatchedUsers
from presenced.client.reconnect import Reconnect
from presenced.config.settings import Settings
from presenced.server.server import Server
from tests.support.until import PATIENCE_S

T = TypeVar("T", covariant=True)


class Stream(Protocol[T]):
    async def __anext__(self) -> T: ...


@asynccontextmanager
async def running(**settings: object) -> AsyncIterator[Server]:
    """A server that checks its invariants after each turn; without a secret it believes who a client says it is."""
    if "secret_file" not in settings:
        settings["dev"] = True
    settings = {"listen": "127.0.0.1:0", "check": True, "change_spacing_ms": 0} | settings
    server = Server(Settings(**settings))  # type: ignore[arg-type]
    await server.start()
    try:
        yield server
        assert server.pacing.failure is None
    finally:
        await server.stop()


def url(server: Server, user: str, device: str = "laptop", query: str = "") -> str:
    return f"presence://{user}@127.0.0.1:{server.port}/{device}{query}"


def service(server: Server, **options: Any) -> Any:
    return presenced.connect_service(f"presence://chat@127.0.0.1:{server.port}", **options)


def session_of(client: ConnectedClient) -> ClientSession[Waiter]:
    """The requests of a client that wait."""
    return connection_of(client).exchange.session


def users_of(client: ConnectedClient) -> WatchedUsers:
    """The users that a client watches."""
    return connection_of(client).users


def reconnect_of(client: ConnectedClient) -> Reconnect:
    """What opens a client's links."""
    return connection_of(client).reconnect


def attachments_of(service: presenced.Service) -> Attachments:
    """The devices that a service is to keep attached, and those that it is to let go."""
    return service._devices.attachments


def drop_links(server: Server) -> None:
    """As a broken network does: no goodbye."""
    for link in list(server.links):
        link.abort()


async def lose(client: Any, drop: Callable[[], object]) -> None:
    """Break its link by `drop`, and return once it has noticed; it may be back by then."""
    lost = asyncio.Event()
    end = client.on_state(lambda state, reason: lost.set())
    drop()
    async with asyncio.timeout(PATIENCE_S):
        await lost.wait()
    end()


async def take(stream: Stream[T], count: int) -> list[T]:
    """The next items."""
    async with asyncio.timeout(PATIENCE_S):
        return [await stream.__anext__() for _ in range(count)]


async def has_nothing(stream: Stream[Any], *links: Any) -> bool:
    """Whether nothing waits, now that all that the server said before these links' next reply is here."""
    for link in links:
        await link.ping()
    return stream._feed.take() is None  # type: ignore[attr-defined]


async def away(client: Any, server: Server | None = None) -> asyncio.Event:
    """Break its link, and keep it from coming back until the event is set."""
    may_return = asyncio.Event()
    opened = reconnect_of(client)._open_link

    async def wait(*args: Any, **kwargs: Any) -> Any:
        await may_return.wait()
        return await opened(*args, **kwargs)

    reconnect_of(client)._open_link = wait
    await lose(client, reconnect_of(client)._link._transport.abort)
    return may_return
