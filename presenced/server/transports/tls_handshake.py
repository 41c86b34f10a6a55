"""Bringing a connection under TLS up, for whoever waits for it."""

from __future__ import annotations

import asyncio
import socket
import ssl

from presenced.server.transports.readiness import Readiness
from presenced.server.transports.tls_connection import TlsConnection


async def open_tls(
    readiness: Readiness, protocol: asyncio.BaseProtocol, accepted: socket.socket, context: ssl.SSLContext
) -> None:
    """Shake hands on `accepted` and make the connection of `protocol`; raises `OSError` if the handshake fails, or is
    not over in time. Cancelling it breaks it off. `accepted` is closed unless the connection was made."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()

    def done(error: OSError | None) -> None:
        if over.done():
            return
        if error is None:
            over.set_result(None)
        else:
            over.set_exception(error)

    connection = TlsConnection(loop, readiness, protocol, accepted, context, done)
    try:
        await over
    except asyncio.CancelledError:
        connection.abort()
        raise
