"""`connect`: from a URL to a running client."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any

from presenced.address import Url, parse_url
from presenced.client.client import Client
from presenced.client.keeper import Identity, Token
from presenced.client.values import check_device_status
from presenced.errors import AddressError
from presenced.wire.messages import DeviceStatus, Role

TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 10.0


def connect(
    url: str,
    *,
    token: Token | None = None,
    ssl_context: ssl.SSLContext | None = None,
    timeout_s: float = TIMEOUT_S,
    request_timeout_s: float = REQUEST_TIMEOUT_S,
    reconnect: bool = True,
    role: Role = "user",
    status: DeviceStatus = "online",
    idle_s: float | None = None,
) -> Connecting:
    """Connect to a server: `async with connect(url) as me:`, or `me = await connect(url)` and `await me.close()`.

    `url` is `presence://USER[:TOKEN]@HOST[:PORT]/DEVICE[?kind=K&name=N&priority=P]`, or `presences://` for TLS.
    The device's id must be the same each time this program runs on this device; a service (`role="service"`) may
    leave it out. `token` is a string or a function (plain or async) that is called for each attempt. `timeout_s`
    bounds each attempt to connect, `request_timeout_s` each request, the wait for a link included. `status` is
    the device's own. `idle_s` is how long the person has been idle at this moment, for an app that measures it;
    without it they count as active until the app says otherwise (`Client.active`, `Client.idle`).

    Entering raises `AddressError`, `AuthError`, `ProtocolError` (the peer is not presenced) or `ConnectionLost`
    (`unreachable`, `no_answer`, `busy`, ...). Later losses of the link are repaired in the background unless
    `reconnect` is false. Leaving the block normally, or by cancellation, says bye: the device is gone at once.
    Leaving it by an exception does not: the server waits its grace time, so a program that crashes and is started
    again does not flicker.
    """

    def make() -> Client:
        parsed = parse_url(url)
        _check_url(parsed, role)
        check_device_status(status)
        if ssl_context is not None and not parsed.tls:
            sentence = "an ssl_context was given with presence://; write presences:// for TLS"
            raise AddressError(sentence, "bad_request")
        tls = (ssl_context or ssl.create_default_context()) if parsed.tls else None
        given = parsed.token if token is None else token
        identity = Identity(parsed, given, tls, role, status, parsed.priority)
        client = Client(identity, timeout_s, request_timeout_s, reconnect)
        if idle_s is not None:
            client.idle(idle_s)
        return client

    return Connecting(make)


class Connecting:
    """What `connect` returns: await it or enter it, once."""

    def __init__(self, make: Callable[[], Client]) -> None:
        self._make = make
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        return self._open().__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._open()
        return self._client

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._client is not None
        await self._client.close(bye=exc_type is None or not issubclass(exc_type, Exception))

    async def _open(self) -> Client:
        client = self._make()
        await client._keeper.start()
        return client


def _check_url(url: Url, role: Role) -> None:
    example = f"presence{'s' if url.tls else ''}://{url.user or 'alice'}@{url.host}:{url.port}/laptop"
    if not url.user:
        raise AddressError(f"the URL names no user; write {example}")
    if not url.device and role == "user":
        raise AddressError(f"the URL names no device; write {example}, with an id that stays the same")
