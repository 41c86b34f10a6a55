"""The generator's links: raw sockets, hello, watch, and reading what arrives.

Knows the wire and nothing of the server. Setting up takes whatever time it takes; what runs inside a measured
part is written to cost the generator little, so that the server is what is waited for.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple, Protocol, TypeVar

from bench.errors import BenchError
from bench.load.framing import decoded, first_frame
from bench.load.tls_socket import CLOSED, AnySocket, TlsSocket
from presenced.limits import USERS_PER_REQUEST_MAX
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import (
    Attach,
    ClientMessage,
    Done,
    Error,
    Get,
    Goodbye,
    Hello,
    Ping,
    Pong,
    Presence,
    Record,
    Records,
    ServerMessage,
    Watch,
    Welcome,
    WhoPage,
)

Reply = TypeVar("Reply", Welcome, Records, Pong, WhoPage)

READ_BYTES = 65_536
REPLY_TIMEOUT_S = 20.0
OPENING_AT_ONCE = 64
"""Connects in flight: fewer than the smallest listen backlog in use (100), so that no SYN waits for its
retry.
"""

IN_FLIGHT = 256
"""Requests sent before their answers are read: fits the buffers of both sides."""

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: close sends a reset."""


def connected(port: int) -> socket.socket:
    """A connection to a server on this machine, on which nothing waits for company before it is sent."""
    made = socket.create_connection(("127.0.0.1", port), REPLY_TIMEOUT_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


class Link:
    """One connection of the generator. Blocking while it is set up, read through epoll in the measured
    part.
    """

    __slots__ = ("_rest", "fd", "socket", "user")

    def __init__(self, port: int, user: str) -> None:
        self.user = user
        self.socket: AnySocket = self.connect(port)
        self.fd = self.socket.fileno()
        self._rest = b""

    def connect(self, port: int) -> AnySocket:
        """A connection of its kind."""
        return connected(port)

    def send(self, message: ClientMessage) -> None:
        self.socket.sendall(frame(encode(message)))

    def receive(self) -> ServerMessage:
        """The next message, waited for."""
        while True:
            payload, self._rest = first_frame(self._rest)
            if payload is not None:
                message = decoded(payload)
                if isinstance(message, Goodbye | Error):
                    raise BenchError(f"the server said {message.code} to {self.user}: {message.message}")
                return message
            data = self.socket.recv(READ_BYTES)
            if not data:
                raise BenchError(f"the server closed the link of {self.user}")
            self._rest += data

    def receive_reply(self, kind: type[Reply]) -> Reply:
        """The next reply, which must be a `kind`; pushes before it are passed over."""
        while not isinstance(message := self.receive(), kind):
            if not isinstance(message, Presence):
                raise BenchError(f"{self.user} waited for {kind.__name__} and got {message}")
        return message

    def take_unread(self) -> bytes:
        """What has come behind the last message that was received: for whoever reads on by other means."""
        unread, self._rest = self._rest, b""
        return unread

    def reset_on_close(self) -> None:
        """It will end as if the device had lost its network: by a reset."""
        assert isinstance(self.socket, socket.socket), "not under TLS"
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def close(self) -> None:
        self.socket.close()


def tls_kind(client: ssl.SSLContext) -> type[Link]:
    """A kind of link that is under TLS, with what clients are to have for it."""

    class TlsLink(Link):
        __slots__ = ()

        def connect(self, port: int) -> AnySocket:
            return TlsSocket(connected(port), client)

    return TlsLink


def open_link(stack: ExitStack, port: int, user: str, kind: type[Link] = Link) -> Link:
    link = kind(port, user)
    stack.callback(link.close)
    return link


def open_backend(stack: ExitStack, port: int, name: str) -> Link:
    """The link of a backend, hello done."""
    link = open_link(stack, port, name)
    link.send(Hello([1], "", name, "", role="service"))
    link.receive_reply(Welcome)
    return link


def attach_all(link: Link, devices: int, prefix: str = "user", *, idle_ms: int = 0) -> None:
    """Attach devices of as many users; returns when all have been acknowledged."""
    for start in range(0, devices, IN_FLIGHT):
        numbers = range(start + 1, min(start + IN_FLIGHT, devices) + 1)
        requests = [encode(Attach(n, n, f"{prefix}{n}", "web", "browser", idle_ms=idle_ms)) for n in numbers]
        link.socket.sendall(b"".join(map(frame, requests)))
        for number in numbers:
            answer = link.receive()
            if not isinstance(answer, Done) or answer.id != number:
                raise BenchError(f"attach {number} was answered with {answer}")


def open_device_links(
    stack: ExitStack, port: int, users: list[str], device: str = "bench", kind: type[Link] = Link
) -> list[Link]:
    """One link for each user, hello done; `stack` closes them."""
    links: list[Link] = []
    for at in range(0, len(users), OPENING_AT_ONCE):
        opened = [open_link(stack, port, user, kind) for user in users[at : at + OPENING_AT_ONCE]]
        links += opened
        for link in opened:
            link.send(Hello([1], "", link.user, device))
        for link in opened:
            link.receive_reply(Welcome)
    return links


def watch(links: list[Link], users_of: list[list[str]]) -> None:
    """Let each link watch its list of users; returns when all replies are there."""
    for at in range(0, len(links), OPENING_AT_ONCE):
        pairs = list(zip(links, users_of, strict=True))[at : at + OPENING_AT_ONCE]
        for link, users in pairs:
            for start in range(0, len(users), USERS_PER_REQUEST_MAX):
                link.send(Watch(1 + start, users[start : start + USERS_PER_REQUEST_MAX]))
        for link, users in pairs:
            for _ in range(0, len(users), USERS_PER_REQUEST_MAX):
                link.receive_reply(Records)


def get_records(link: Link, users: list[str]) -> dict[str, Record]:
    """The record of each of `users`, as the server tells it."""
    found: dict[str, Record] = {}
    for start in range(0, len(users), USERS_PER_REQUEST_MAX):
        link.send(Get(1 + start, users[start : start + USERS_PER_REQUEST_MAX]))
        found.update((record.user, record) for record in link.receive_reply(Records).records)
    return found


def await_ping(links: list[Link]) -> None:
    """Ping on every link and wait for all answers: what was sent before on these links has then been
    handled.
    """
    for at in range(0, len(links), OPENING_AT_ONCE):
        some = links[at : at + OPENING_AT_ONCE]
        for link in some:
            link.send(Ping(2**32 - 1))
        for link in some:
            link.receive_reply(Pong)


class Connection(Protocol):
    """What the poller needs of a link, of whatever protocol."""

    @property
    def fd(self) -> int:
        """Its descriptor."""

    @property
    def socket(self) -> AnySocket:
        """The socket itself, or what is before it."""


def edge_triggered(stack: ExitStack, links: Sequence[Connection]) -> select.epoll:
    """An epoll over `links`, which become non-blocking; each must then be read until it is empty."""
    poller = stack.enter_context(select.epoll())
    for link in links:
        link.socket.setblocking(False)
        poller.register(link.fd, select.EPOLLIN | select.EPOLLET)
    return poller


def read_available(fd: int) -> bytes:
    """Everything that waits on `fd`; `BenchError` if the server closed it."""
    chunks = []
    while True:
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            break
        if not data:
            raise BenchError(CLOSED)
        chunks.append(data)
        if len(data) < READ_BYTES:
            break
    return b"".join(chunks)


class Wire(NamedTuple):
    """How the hot loops read and write their links, which they know by the descriptor."""

    read: Callable[[int, int], bytes]
    """At most so many bytes, or all if they are deciphered. Without TLS b"" says that the server closed, with it that
    nothing whole has come."""
    available: Callable[[int], bytes]
    """Everything that waits; `BenchError` if the server closed."""
    write: Callable[[int, bytes], object]


def wire_of(links: Sequence[Connection]) -> Wire:
    """The kernel's own calls if none of `links` is under TLS; all of them are, or none."""
    secured = {link.fd: link.socket for link in links if isinstance(link.socket, TlsSocket)}
    if not secured:
        return Wire(os.read, read_available, os.write)
    return Wire(
        lambda fd, most: secured[fd].arrived(),
        lambda fd: secured[fd].available(),
        lambda fd, data: secured[fd].sendall(data),
    )
