"""Tells systemd about this process: ready, reloading, stopping, alive, and a line for `systemctl status`.

The protocol is sd_notify(3): datagrams of `NAME=value` lines to the socket that `NOTIFY_SOCKET` names. Without that
variable nothing is sent. The libraries for it need a compiler or have no maintainer, and the protocol is short.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import MutableMapping

from presenced.server.clocks import SYSTEM_CLOCKS

RETRY_S = 0.2
"""How long the loop may wait for systemd to read a message that must not be lost."""

EXTEND_S = 30
"""How much longer systemd is asked to wait each time that a slow start or stop reports progress."""


class Notifier:
    """The notification socket. Its name is removed from the environment, so that no child process can write to it."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        # An abstract socket is written with '@' and begins with a NUL.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(RETRY_S))
        self.watchdog_s = _watchdog_s(environ)
        """The time between two signs of life; 0 = systemd waits for none."""
        self._status = ""

    @property
    def active(self) -> bool:
        """Whether systemd listens."""
        return self._socket is not None

    def send(self, *lines: str, must_arrive: bool = False) -> None:
        """Send the lines in one datagram. If the socket is gone or full they are lost, except that a message that
        `must_arrive` waits up to `RETRY_S` for room."""
        if self._socket is None:
            return
        data = "\n".join(lines).encode()
        try:
            self._socket.sendto(data, self._address)
        except BlockingIOError:
            if must_arrive:
                self._send_waiting(self._socket, data)
        except OSError:
            return

    def _send_waiting(self, sender: socket.socket, data: bytes) -> None:
        # The kernel waits (SO_SNDTIMEO), because poll(2) does not see how much room the receiver has.
        sender.setblocking(True)
        try:
            sender.sendto(data, self._address)
        except OSError:
            return
        finally:
            sender.setblocking(False)

    def ready(self, status: str) -> None:
        """The start or a reload is over."""
        self._status = status
        self.send("READY=1", f"STATUS={status}", must_arrive=True)

    def reloading(self) -> None:
        """A reload begins; `ready` ends it, with or without success. Both fields go in one datagram, because
        `Type=notify-reload` waits for ever without the time."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={SYSTEM_CLOCKS.monotonic_ns() // 1000}", must_arrive=True)

    def stopping(self, status: str) -> None:
        """The drain begins."""
        extend = f"EXTEND_TIMEOUT_USEC={EXTEND_S * 1_000_000}"
        self.send("STOPPING=1", f"STATUS={status}", extend, must_arrive=True)

    def working(self, status: str) -> None:
        """A slow start or stop goes on; systemd is asked for more time."""
        self.send(f"STATUS={status}", f"EXTEND_TIMEOUT_USEC={EXTEND_S * 1_000_000}")

    def status(self, status: str) -> None:
        """Set the line that `systemctl status` shows. It is sent only if it has changed."""
        if status != self._status:
            self._status = status
            self.send(f"STATUS={status}")

    def alive(self) -> None:
        """Send the sign of life. It has to come from the event loop: a thread would hide a loop that is stuck."""
        self.send("WATCHDOG=1")

    def close(self) -> None:
        """Close the socket. Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _timeval(seconds: float) -> bytes:
    return struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))


def _watchdog_s(environ: MutableMapping[str, str]) -> float:
    """Half of the time that systemd allows, as sd_watchdog_enabled(3) advises."""
    usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
    if not usec.isdecimal() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(usec) / 2_000_000
