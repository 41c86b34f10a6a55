"""What a service manager does beside starting a daemon: it listens for notifications, and it opens sockets."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

from tests.support.readiness import readable
from tests.support.until import PATIENCE_S


class Manager:
    """The side of the service manager: a datagram socket that keeps what it is told."""

    def __init__(self, address: str) -> None:
        """`address` is a path, or begins with `@` for an abstract socket."""
        self.address = address
        self.told: list[list[str]] = []
        """A list of lines for each datagram that was read."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    @property
    def environ(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address}

    def next(self, wait_s: float = PATIENCE_S) -> list[str]:
        """The lines of the next datagram; fails if none comes in time."""
        self._socket.settimeout(wait_s)
        try:
            data = self._socket.recv(65_536)
        except TimeoutError:
            raise AssertionError(f"nothing was told within {wait_s:g} s after {self.told[-3:]}") from None
        self.told.append(data.decode().split("\n"))
        return self.told[-1]

    def until(self, head: str, wait_s: float = PATIENCE_S) -> list[str]:
        """The next datagram with a line that begins like this."""
        deadline = time.monotonic() + wait_s
        while not any(line.startswith(head) for line in self.next(max(0.001, deadline - time.monotonic()))):
            pass
        return self.told[-1]

    def waiting(self) -> list[list[str]]:
        """What was told and is not read yet."""
        got = []
        while readable(self._socket):
            got.append(self.next())
        return got

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def listening(backlog: int = 128, kind: int = socket.SOCK_STREAM) -> Iterator[socket.socket]:
    """A socket as a socket unit opens it."""
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            one.listen(backlog)
        yield one
