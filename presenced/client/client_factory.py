"""`connect` and `connect_service`: from a URL to a running client."""

from __future__ import annotations

import ssl
from typing import Any

from presenced.address import Url, check_meta, make_url, parse_url
from presenced.client.client import Client
from presenced.client.connection import ClientConnection
from presenced.client.connector import Connecting
from presenced.client.identity import ClientIdentity, Token
from presenced.client.service import Service
from presenced.client.telemetry import Telemetry, default
from presenced.client.values import Idle, check_device_status, check_interval
from presenced.errors import AddressError
from presenced.wire.messages import DeviceStatus

TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 10.0


def connect(
    url: str | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    user: str | None = None,
    device: str | None = None,
    tls: bool | None = None,
    kind: str | None = None,
    name: str | None = None,
    priority: int | None = None,
    token: Token | None = None,
    ssl_context: ssl.SSLContext | None = None,
    timeout_s: float = TIMEOUT_S,
    request_timeout_s: float = REQUEST_TIMEOUT_S,
    reconnect: bool = True,
    status: DeviceStatus = "online",
    idle: Idle | None = None,
    sync: bool | None = None,
    contacts: bool = False,
    meta: str | None = None,
    check_every: float | None = None,
    telemetry: Telemetry | None = None,
) -> Connecting[Client]:
    """Connect a user's device: `async with connect(url) as me:`, or `me = await connect(url)` and `await me.close()`.

    `url` is `presence://USER[:TOKEN]@HOST[:PORT]/DEVICE[?kind=K&name=N&priority=P]`, or `presences://` for TLS. Where
    its parts come from elsewhere, give them instead, as they are: `connect(host="chat.example.com", user="alice@x",
    device="laptop", token=..., tls=True)`; put into a URL without percent-encoding, one could name another host.
    The device's id must be the same each time this program runs on this device. `token` is a string or a function
    (plain or async) that is called for each attempt, and before the end of a JWT, to renew the link that there is; it
    may be asked often while it has no other. `timeout_s` bounds each attempt to connect, `request_timeout_s`
    the wait for each reply from the moment its request leaves, or without a link from when it was asked: many at once
    leave at the pace of the server. `status` is the device's own. `idle` is how long the person has been
    idle at this moment (seconds, or a timedelta), for an app that measures it; without it the device is not idle until
    the app says so (`Client.active`, `Client.idle`). `sync`: whether this device shows the user's own state
    (`Client.own`) and counts in `get_sync_status`; by default each does but one of negative priority, which only
    looks in. `contacts`: whether each link watches the user's contacts, as `Client.contacts` needs it. `meta`: a line
    of up to 512 bytes that the server keeps with the device, for its user and for services alone, such as a push token;
    None leaves what it has. `check_every`: how often (in seconds) what this client shows of watched users and contacts
    is held against the server's checksum, and repaired if it differs (`Client.view_checks`, and a warning in the log);
    None: never. `telemetry`: what measures this client (see `presenced.client.Telemetry`); None: what
    `presenced.opentelemetry.instrument` has switched on, or nothing.

    Entering raises `AddressError`, `AuthError`, `ProtocolError` (the peer is not presenced) or `ConnectionLost`
    (`unreachable`, `no_answer`, `busy`, ...), and tries nothing twice but a refused token that a function may replace.
    Later losses of the link are repaired in the background unless `reconnect` is false, for as long as the error is
    `temporary`. By then the address has spoken presenced, so that the client also comes back where something else
    answers there for a while (`not_presenced`, `tls_failed`), and where its token is refused if `token` is a function,
    which is called for each attempt; close the client when the person is logged out. Any other error ends the client
    (`state` is `closed`, `reason` says why): `replaced`, a refused token that is a string. The logger
    `presenced.client` tells of lost links, of what is tried again and why, and of the end.

    Leaving the block normally, or by cancellation, says bye: the device is gone at once. Leaving it by an exception
    does not: the server waits its grace time, so a program that crashes and is started again does not flicker.
    """

    def make() -> Client:
        parts = {"host": host, "port": port, "user": user, "device": device, "tls": tls}
        parsed = _where(url, parts | {"kind": kind, "name": name, "priority": priority})
        identity = _identity_of_device(parsed, token, ssl_context, status, sync, contacts=contacts, meta=meta)
        client = Client(
            _connection("Client", identity, timeout_s, request_timeout_s, reconnect, check_every, telemetry)
        )
        if idle is not None:
            client.idle(idle)
        return client

    return Connecting(make)


def connect_service(
    url: str | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    user: str | None = None,
    tls: bool | None = None,
    token: Token | None = None,
    ssl_context: ssl.SSLContext | None = None,
    timeout_s: float = TIMEOUT_S,
    request_timeout_s: float = REQUEST_TIMEOUT_S,
    reconnect: bool = True,
    check_every: float | None = None,
    telemetry: Telemetry | None = None,
) -> Connecting[Service]:
    """Connect a backend that speaks for many users: `async with connect_service(url) as p:`.

    `url` is `presence://SERVICE[:TOKEN]@HOST[:PORT]`, or `presences://` for TLS, without a device; or give `host` and
    the like, with `user` for the service's name. The token must have the role `service` or `admin`. The rest is as in
    `connect`. However it is left, its devices are in grace then: the next process attaches them again, and nobody sees
    anything.
    """

    def make() -> Service:
        parsed = _where(url, {"host": host, "port": port, "user": user, "tls": tls})
        _check_user(parsed)
        if parsed.device:
            raise AddressError("the URL of a service names no device; leave out what stands behind the slash")
        given = parsed.token if token is None else token
        identity = ClientIdentity(parsed, given, _tls(parsed, ssl_context), "service", "online", 0)
        return Service(
            _connection("Service", identity, timeout_s, request_timeout_s, reconnect, check_every, telemetry)
        )

    return Connecting(make)


def _connection(
    kind: str,
    identity: ClientIdentity,
    timeout_s: float,
    request_timeout_s: float,
    reconnect: bool,
    check_every: float | None,
    telemetry: Telemetry | None,
) -> ClientConnection:
    every_s = check_interval(check_every)
    measured = default.telemetry if telemetry is None else telemetry
    shown_as = f"presenced.{kind}"
    return ClientConnection(shown_as, identity, timeout_s, request_timeout_s, reconnect, every_s, measured)


def _identity_of_device(
    url: Url,
    token: Token | None,
    ssl_context: ssl.SSLContext | None,
    status: DeviceStatus,
    sync: bool | None,
    *,
    contacts: bool,
    meta: str | None,
) -> ClientIdentity:
    """Who a user's client is. Raises `AddressError`."""
    _check_user(url)
    if not url.device:
        raise AddressError(f"the address names no device; write {_example(url)}, with an id that stays the same")
    check_device_status(status)
    check_meta(meta or "")
    wants_own = url.priority >= 0 if sync is None else sync
    given = url.token if token is None else token
    context = _tls(url, ssl_context)
    return ClientIdentity(url, given, context, "user", status, url.priority, wants_own, contacts, meta)


def _where(url: str | None, parts: dict[str, Any]) -> Url:
    """The address from the URL, or from the parts that are given."""
    given = {name: value for name, value in parts.items() if value is not None}
    if url is None:
        if "host" not in given:
            raise AddressError(
                'give a URL, or its parts: connect(host="chat.example.com", user="alice", device="laptop")',
                "bad_request",
            )
        return make_url(**given)
    if given:
        raise AddressError(f"a URL was given, and {', '.join(given)} as well; give it in one of the two", "bad_request")
    return parse_url(url)


def _check_user(url: Url) -> None:
    if not url.user:
        raise AddressError(f"the address names no user; write {_example(url)}")


def _example(url: Url) -> str:
    return f"presence{'s' if url.tls else ''}://{url.user or 'alice'}@{url.host}:{url.port}/laptop"


def _tls(url: Url, ssl_context: ssl.SSLContext | None) -> ssl.SSLContext | None:
    if ssl_context is not None and not url.tls:
        raise AddressError("an ssl_context was given with presence://; write presences:// for TLS", "bad_request")
    return (ssl_context or ssl.create_default_context()) if url.tls else None
