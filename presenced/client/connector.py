"""`Connecting`: what `connect` returns, to be awaited or entered."""

from __future__ import annotations

from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, Generic, TypeVar

from presenced.client.client_base import ConnectedClient, connection_of

C = TypeVar("C", bound=ConnectedClient)


class Connecting(Generic[C]):
    """What `connect` returns: await it or enter it, once."""

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        self._client: C | None = None

    def __await__(self) -> Generator[Any, None, C]:
        return open_client(self).__await__()

    async def __aenter__(self) -> C:
        self._client = await open_client(self)
        return self._client

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._client is not None
        await self._client.close(bye=exc_type is None or not issubclass(exc_type, Exception))


async def open_client(connecting: Connecting[C]) -> C:
    """What awaiting it does."""
    client = connecting._make()
    await connection_of(client).start()
    return client
