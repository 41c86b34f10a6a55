"""A blocking client for tests: writes with our codec or raw bytes, reads with msgpack, and never waits for ever.

It checks nothing by itself and sends nothing by itself, so that a test decides every byte. Where the server is several
nodes (`dealt_port`) it waits, before it says something, until they have told each other what was said before.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import time
from typing import Any

import msgpack

from presenced.errors import CODES
from presenced.limits import SERVER_FRAME_BYTES_MAX
from presenced.wire.codec import encode
from presenced.wire.frames import FrameReader, frame
from presenced.wire.messages import Heartbeat, Hello, SetStatus, Watch
from tests.support.dealt_port import DealtPort
from tests.support.readiness import readable
from tests.support.until import PATIENCE_S

WELCOME, GOODBYE, ERROR, DONE, PONG, RECORDS, WHO_PAGE, PRESENCE = range(64, 72)

Frame = list[Any]


class Wire:
    """One connection. `told` keeps every frame that was read."""

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None, receive_bytes: int = 0) -> None:
        self.port = port
        self._dealt = port if isinstance(port, DealtPort) else None
        if self._dealt is not None:
            self._dealt.acts(self)
            port = self._dealt.deal()
        plain = socket.socket()
        plain.settimeout(PATIENCE_S)
        if receive_bytes:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            plain.connect(("127.0.0.1", port))
            self.socket = tls.wrap_socket(plain, server_hostname="localhost") if tls is not None else plain
        except OSError:
            plain.close()
            raise
        self.told: list[Frame] = []
        self._reader = FrameReader(SERVER_FRAME_BYTES_MAX)
        self._ready: list[Frame] = []
        self._ended = False

    # --- sending ----------------------------------------------------------------------------------------------

    def send(self, *messages: Any) -> None:
        """Messages, or lists that stand for them, in one write."""
        self.send_bytes(b"".join(frame(encode(message)) for message in messages))

    def send_payload(self, payload: bytes) -> None:
        self.send_bytes(frame(payload))

    def send_bytes(self, data: bytes) -> None:
        if self._dealt is not None:
            self._dealt.acts(self)
        self.socket.sendall(data)

    # --- reading ----------------------------------------------------------------------------------------------

    def next(self, wait_s: float = PATIENCE_S) -> Frame:
        """The next frame; fails at the end of the stream or when none comes in time."""
        got = self._take(wait_s)
        assert got is not None, f"the server closed the link after {self.told[-3:]}"
        return got

    def until(self, kind: int) -> Frame:
        """The next frame of this type; those before it are only kept in `told`."""
        while (got := self.next())[0] != kind:
            pass
        return got

    def rest(self) -> list[Frame]:
        """All frames up to the end of the stream."""
        frames = []
        while (got := self._take(PATIENCE_S)) is not None:
            frames.append(got)
        return frames

    def quiet(self) -> bool:
        """Whether nothing has arrived that was not read."""
        if self._ready:
            return False
        if self._dealt is not None:
            self._dealt.settle()
        return not readable(self.socket)

    def ended_with(self, code: str) -> Frame:
        """Hold the server to this goodbye as its last word, and to closing after it."""
        frames = self.rest()
        assert frames and frames[-1][0] == GOODBYE, f"no goodbye, but {frames}"
        assert frames[-1][1] == code, frames[-1]
        assert CODES[code].closes
        assert isinstance(frames[-1][2], str) and frames[-1][2]
        self.close()
        return frames[-1]

    def refused_with(self, code: str, request_id: int) -> Frame:
        """Hold the server to this error as its next word."""
        got = self.next()
        assert got[:3] == [ERROR, request_id, code], got
        assert not CODES[code].closes
        return got

    @property
    def is_over(self) -> bool:
        """Whether the server has closed it, and all that came was read."""
        return self._ended and not self._ready

    def _take(self, wait_s: float) -> Frame | None:
        deadline = time.monotonic() + wait_s
        while not self._ready:
            if self._ended:
                return None
            left = deadline - time.monotonic()
            assert left > 0, f"nothing came within {wait_s:g} s; last were {self.told[-3:]}"
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 18)
            except TimeoutError:
                continue
            except (ConnectionError, ssl.SSLError):
                data = b""
            finally:
                self.socket.settimeout(PATIENCE_S)
            if not data:
                self._ended = True
            self._reader.feed(data)
            while payloads := self._reader.take(1000):
                self._ready += [msgpack.unpackb(payload) for payload in payloads]
        got = self._ready.pop(0)
        self.told.append(got)
        return got

    # --- ending -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        self.socket.close()

    def __del__(self) -> None:
        # So that a test that fails reports its failure, not its sockets.
        if hasattr(self, "socket"):
            self.socket.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def hello(user: str, device: str = "laptop", **fields: Any) -> Hello:
    return Hello(versions=[1], token=fields.pop("token", ""), user=user, device=device, **fields)


def opened(port: int, user: str, device: str = "laptop", **fields: Any) -> Wire:
    """A link that has been welcomed. `tls` and `receive_bytes` go to the socket, other fields into the hello."""
    link = Wire(port, tls=fields.pop("tls", None), receive_bytes=fields.pop("receive_bytes", 0))
    link.send(hello(user, device, **fields))
    got = link.next()
    assert got[0] == WELCOME, got
    return link


def admitted(port: int, user: str, *heartbeats: Wire, **fields: Any) -> Wire:
    """A link, as soon as the full server has room again; the others show that they live meanwhile.

    The deadline lies below the 20 s after which the kernel gives up on a peer that does not read.
    """
    deadline = time.monotonic() + 10
    while True:
        link = Wire(port, tls=fields.get("tls"))
        link.send(hello(user))
        if link.next()[0] == WELCOME:
            return link
        link.close()
        assert time.monotonic() < deadline, "no place became free"
        for other in heartbeats:
            other.send(Heartbeat())


_change_numbers = itertools.count(1)
"""Never the same text twice: setting what is there already is no change."""


class Bystander:
    """Two innocent links, one that changes and one that watches it: are they disturbed by what happens beside them?"""

    def __init__(self, port: int, name: str = "marker", **fields: Any) -> None:
        self.name = name
        self.publisher = opened(port, name, **fields)
        self.watcher = opened(port, f"{name}-watcher", **fields)
        self.watcher.send(Watch(1, [name]))
        assert self.watcher.next()[0] == RECORDS

    def check(self) -> None:
        """A change made now is acknowledged and told, and it is the only thing told since the last check."""
        number = next(_change_numbers)
        self.publisher.send(SetStatus(number, text=f"change {number}"))
        assert self.publisher.next()[:2] == [DONE, number]
        kind, record = self.watcher.next()
        assert (kind, record[0], record[2]) == (PRESENCE, self.name, f"change {number}")
        assert self.watcher.quiet() and self.publisher.quiet()

    def close(self) -> None:
        self.publisher.close()
        self.watcher.close()
