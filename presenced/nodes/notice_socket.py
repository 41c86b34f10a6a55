"""The socket at which one node tells how it is: what `NOTIFY_SOCKET` names in its environment."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from presenced.nodes.notice import NOTICE_BYTES_MAX, Notice, parse_notice

READS_PER_WAKE = 16


class NoticeSocket:
    """An open socket at `path`, in a directory that is ours alone. `heard` is called with each message."""

    def __init__(self, path: str, heard: Callable[[Notice], object]) -> None:
        self.path = path
        self._heard = heard
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._socket.bind(path)
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def _read(self) -> None:
        for _ in range(READS_PER_WAKE):
            try:
                data = self._socket.recv(NOTICE_BYTES_MAX)
            except OSError:
                return
            self._heard(parse_notice(data))

    def read_rest(self) -> None:
        """Hear what has come and was not read yet: the node has ended."""
        self._read()

    def close(self) -> None:
        """Close and remove it. Idempotent."""
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            with suppress(OSError):
                os.unlink(self.path)
