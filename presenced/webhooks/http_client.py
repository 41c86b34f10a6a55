"""Posts bodies to a receiver over HTTP/1.1, by h11, on connections that are kept for a while.

It reads of an answer what it needs and no more: the receiver may be anybody, and may send without an end. Redirects are
answers like others.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Final, NamedTuple

import h11

from presenced.config.receiver import Receiver
from presenced.webhooks.faults import DeliveryFault
from presenced.webhooks.resolver import Resolver

HEAD_BYTES_MAX: Final = 16_384
BODY_BYTES_MAX: Final = 65_536
"""Of an answer's body so much is read, so that the connection can be used again."""

BODY_S: Final = 1.0
"""How long an answer's body is waited for. The status is known by then."""

NO_BODY: Final = (204, 304)
"""The answers that have no body."""

INTERIM_MAX: Final = 8
"""Answers before the answer (1xx)."""

IDLE_S: Final = 10.0
"""How long a connection is kept without use."""

ADDRESSES_MAX: Final = 4
"""Addresses that are tried for one connection."""

READ_BYTES: Final = 16_384


class PostAnswer(NamedTuple):
    """What the receiver said."""

    status: int
    retry_after: str
    """The header Retry-After; empty = there is none."""


class Way(NamedTuple):
    """Where to, and how."""

    receiver: Receiver
    context: ssl.SSLContext | None
    """None = no TLS."""
    allow_private: bool


class _Stale(Exception):
    """The connection was closed before anything of an answer came."""


class _Connection:
    """One connection, used by one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
        self.used_s = 0.0
        self.requests = 0
        self._is_spent = False
        """A body follows the last answer that nobody reads."""

    @property
    def is_open(self) -> bool:
        """Whether another request may be sent on it, as far as can be seen. What came behind the last answer, such as a
        body with a 204, would be taken for the next one."""
        http = self._http
        is_idle = http.our_state is h11.IDLE and not http.trailing_data[0] and not self._is_spent
        return is_idle and not self._reader.at_eof() and not self._writer.is_closing()

    async def post(self, request: h11.Request, body: bytes) -> PostAnswer:
        """Send the request, and read the head of the answer; `skip_body` is next. Raises `DeliveryFault`, `_Stale`."""
        http = self._http
        parts = [http.send(event) for event in (request, h11.Data(data=body), h11.EndOfMessage())]
        self.requests += 1
        try:
            self._writer.write(b"".join(part for part in parts if part))
            await self._writer.drain()
            response = await self._head()
        except ssl.SSLError as error:
            raise DeliveryFault("tls", f"TLS failed: {error.reason or error}") from None
        except OSError as error:
            raise self._closed(error.strerror or str(error)) from None
        except h11.RemoteProtocolError as error:
            raise DeliveryFault("protocol", f"the answer is not HTTP/1.1: {error}") from None
        # A 204 has no body, whatever it says. If it says so, there may be one all the same, and come late.
        lengths = [value for name, value in response.headers if name == b"content-length"]
        self._is_spent = response.status_code in NO_BODY and any(value != b"0" for value in lengths)
        named = (value.decode("latin-1") for name, value in response.headers if name == b"retry-after")
        return PostAnswer(response.status_code, next(named, ""))

    async def _head(self) -> h11.Response:
        for _ in range(INTERIM_MAX):
            event = await self._next()
            if isinstance(event, h11.Response):
                return event
        raise DeliveryFault("protocol", f"more than {INTERIM_MAX} interim answers (1xx) came")

    async def _next(self) -> object:
        http = self._http
        while (event := http.next_event()) is h11.NEED_DATA:
            data = await self._reader.read(READ_BYTES)
            if not data and http.their_state is h11.SEND_RESPONSE:
                raise self._closed("it ended")
            http.receive_data(data)
        return event

    def _closed(self, why: str) -> Exception:
        if self.requests > 1 and self._http.their_state is h11.SEND_RESPONSE and not self._http.trailing_data[0]:
            return _Stale()
        return DeliveryFault("reset", f"the connection was closed before an answer: {why}")

    async def skip_body(self) -> None:
        """Read the body, and make the connection ready for the next request, if that is soon done."""
        try:
            async with asyncio.timeout(BODY_S):
                left = BODY_BYTES_MAX
                while left > 0:
                    event = await self._next()
                    if not isinstance(event, h11.Data):
                        break
                    left -= len(event.data)
                if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
                    self._http.start_next_cycle()
        except (OSError, TimeoutError, h11.RemoteProtocolError):
            # The status is known; only the connection is of no use any longer.
            self.close()

    def close(self) -> None:
        """Drop it, with what was not read."""
        self._writer.transport.abort()


class HttpClient:
    """Connections to one receiver at a time."""

    def __init__(self, resolver: Resolver, agent: str) -> None:
        self._resolver = resolver
        self._agent = agent
        self._idle: deque[_Connection] = deque()
        self._way: Way | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def post(self, way: Way, headers: Sequence[tuple[str, str]], body: bytes, timeout_s: float) -> PostAnswer:
        """Post the body as JSON. The status of the answer has so much time to come. Raises `DeliveryFault`,
        `TimeoutError`."""
        request = h11.Request(
            method="POST",
            target=way.receiver.target,
            headers=[
                ("Host", way.receiver.authority),
                ("User-Agent", self._agent),
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                *headers,
            ],
        )
        async with asyncio.timeout(timeout_s):
            connection, answer = await self._exchange(way, request, body)
        try:
            await connection.skip_body()
        except BaseException:
            connection.close()
            raise
        self._give_back(way, connection)
        return answer

    async def _exchange(self, way: Way, request: h11.Request, body: bytes) -> tuple[_Connection, PostAnswer]:
        while True:
            connection = self._take(way) or await self._connect(way)
            try:
                return connection, await connection.post(request, body)
            except _Stale:
                # It was kept for too long, and nobody has seen the request: the receiver has the id if it has.
                connection.close()
            except BaseException:
                connection.close()
                raise

    def close(self) -> None:
        """Close the connections that are not in use. Idempotent."""
        self._way = None
        while self._idle:
            self._idle.popleft().close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- connections that are kept ----------------------------------------------------------------------------

    def _take(self, way: Way) -> _Connection | None:
        if way != self._way:
            self.close()
            self._way = way
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
            connection.close()
        return None

    def _give_back(self, way: Way, connection: _Connection) -> None:
        if way != self._way or not connection.is_open:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.used_s = loop.time()
        self._idle.append(connection)
        if self._timer is None:
            self._timer = loop.call_later(IDLE_S, self._drop_idle)

    def _drop_idle(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._idle and self._idle[0].used_s <= loop.time() - IDLE_S:
            self._idle.popleft().close()
        if self._idle:
            self._timer = loop.call_at(self._idle[0].used_s + IDLE_S, self._drop_idle)

    # --- new ones ---------------------------------------------------------------------------------------------

    async def _connect(self, way: Way) -> _Connection:
        receiver = way.receiver
        found = await self._resolver.addresses(receiver.host, receiver.port, allow_private=way.allow_private)
        faults: list[DeliveryFault] = []
        for address in found[:ADDRESSES_MAX]:
            try:
                return await _connect_to(address, way)
            except DeliveryFault as fault:
                faults.append(fault)
        raise faults[0]


async def _connect_to(address: str, way: Way) -> _Connection:
    """A connection to exactly this address. Raises `DeliveryFault`."""
    receiver = way.receiver
    name = receiver.host.rstrip(".") if way.context is not None else None
    try:
        reader, writer = await asyncio.open_connection(
            address, receiver.port, ssl=way.context, server_hostname=name, limit=READ_BYTES
        )
    except ssl.SSLError as error:
        why = getattr(error, "verify_message", "") or error.reason or str(error)
        raise DeliveryFault("tls", f"TLS with {receiver.authority} failed: {why}") from None
    except OSError as error:
        raise DeliveryFault("connect", f"no connection to {address}: {error.strerror or error}") from None
    reached = writer.get_extra_info("peername")
    if reached is None or ip_address(reached[0].partition("%")[0]) != ip_address(address.partition("%")[0]):
        writer.transport.abort()
        raise DeliveryFault("connect", f"the connection to {address} is gone")
    return _Connection(reader, writer)


def retry_after_ms(text: str, wall_ms: int) -> int:
    """The pause that a header Retry-After asks for (RFC 9110, 10.2.3); 0 if it is not understood."""
    if text.isascii() and text.isdigit():
        return int(text[:9]) * 1000
    try:
        return max(0, int(parsedate_to_datetime(text).timestamp() * 1000) - wall_ms)
    except (ValueError, OverflowError):
        return 0
