"""What the acceptor has to know of a kind of transport: all that is different between plain TCP and another one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from presenced.server.conversation import Conversation
from presenced.wire.messages import Goodbye


class TransportKind(NamedTuple):
    """One kind, for any number of connections."""

    scheme: str
    """Of its URLs, such as `presence`."""
    tls_scheme: str
    """The same with TLS."""
    open: Callable[[Conversation], asyncio.BaseProtocol]
    """The loop's side of a connection that comes up: a `transports.base.Transport` that calls `Conversation.opened`."""
    open_tls: Callable[[Conversation], asyncio.BaseProtocol]
    """The same where the connection is a `transports.tls_connection.TlsConnection`."""
    refusal: Callable[[Goodbye], bytes]
    """The bytes that tell this to a client that is turned away before anything was read from it."""
