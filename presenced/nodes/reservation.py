"""The addresses of all nodes, claimed before the first is started and until the last has ended.

The sockets are bound and never listen, so that no connection ever waits at one. They keep other programs from taking
the port while no node is there, and hold the one that the system chose for port 0.
"""

from __future__ import annotations

import socket

from presenced.server.listeners import CannotListen, listen


class Reservation:
    """The bound sockets of one address. `port` is the port they have."""

    def __init__(self, host: str, port: int, key: str, address: str = "") -> None:
        """Raises `CannotListen` if somebody listens there, also one that would share."""
        try:
            # Bound alone first: with SO_REUSEPORT at the binding, another server of the same user would be joined.
            self._sockets = listen(host, port, key)
        except OSError as error:
            raise CannotListen(error, address) from None
        for reserved in self._sockets:
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            # At the binding it let old connections be passed over; from now on it would let others in.
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        self.port: int = self._sockets[0].getsockname()[1]

    def close(self) -> None:
        """Give the address back. Idempotent."""
        for reserved in self._sockets:
            reserved.close()
