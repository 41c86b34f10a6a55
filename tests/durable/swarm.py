"""Hundreds of raw links in one thread: writers in a closed loop, watchers, and what each was told.

Writes with the product's codec, reads with msgpack. It never waits for ever and never sleeps.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import Any

import msgpack

from presenced.limits import SERVER_FRAME_BYTES_MAX, USERS_PER_REQUEST_MAX
from presenced.wire.codec import encode
from presenced.wire.frames import FrameReader, frame
from presenced.wire.messages import Get, Hello, SetStatus, Watch
from tests.support.until import PATIENCE_S

WELCOME, GOODBYE, ERROR, DONE, PONG, RECORDS, WHO_PAGE, PRESENCE = range(64, 72)
USER, STATUS, TEXT, EMOJI, SINCE, LAST_SEEN, DEVICE, VERSION = range(8)
"""The fields of a record."""

Frame = list[Any]


class Peer:
    """One link of a swarm. `on_frame` gets every frame; without it they gather in `told`."""

    def __init__(self, swarm: Swarm, on_frame: Callable[[Frame], None] | None = None) -> None:
        self.told: list[Frame] = []
        self.over = False
        self.on_frame = on_frame
        self._swarm = swarm
        self._reader = FrameReader(SERVER_FRAME_BYTES_MAX)
        self.socket = socket.socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(PATIENCE_S)
        try:
            self.socket.connect(("127.0.0.1", swarm.port))
        except OSError:
            self.socket.close()
            raise
        self.fd = self.socket.fileno()
        swarm.add(self)

    def send(self, *messages: Any) -> None:
        """In one write. A daemon that died is found out by reading, not here."""
        try:
            self.socket.sendall(b"".join(frame(encode(message)) for message in messages))
        except ConnectionError:
            return

    def read(self) -> None:
        """What has arrived."""
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionError:
            data = b""
        if not data:
            self.over = True
            self._swarm.drop(self)
            return
        self._reader.feed(data)
        while payloads := self._reader.take(1000):
            for payload in payloads:
                got = msgpack.unpackb(payload)
                if self.on_frame is None:
                    self.told.append(got)
                else:
                    self.on_frame(got)

    def take(self, kind: int) -> Frame:
        """Wait for the next frame of this type and forget the ones up to it."""
        self._swarm.run(lambda: self.over or any(got[0] == kind for got in self.told), f"a frame {kind} came")
        for place, got in enumerate(self.told):
            if got[0] == kind:
                del self.told[: place + 1]
                return got
        raise AssertionError(f"the link ended without a frame {kind}; last were {self.told[-3:]}")

    def answer(self, request: Any) -> Frame:
        """Send a request and wait for its reply or error; what else came stays in `told`."""
        self.send(request)

        def replies() -> list[Frame]:
            return [got for got in self.told if got[0] not in (PRESENCE, WELCOME) and got[1] == request.id]

        self._swarm.run(lambda: self.over or bool(replies()), f"{request} was answered")
        assert replies(), f"the link ended without an answer to {request}; last were {self.told[-3:]}"
        reply = replies()[0]
        self.told.remove(reply)
        return reply

    def close(self) -> None:
        if not self.over:
            self.over = True
            self._swarm.drop(self)


class Swarm:
    """All links to one daemon."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.peers: dict[int, Peer] = {}
        self._epoll = select.epoll()

    def add(self, peer: Peer) -> None:
        self.peers[peer.fd] = peer
        self._epoll.register(peer.fd, select.EPOLLIN)

    def drop(self, peer: Peer) -> None:
        self._epoll.unregister(peer.fd)
        del self.peers[peer.fd]
        peer.socket.close()

    def turn(self, wait_s: float) -> bool:
        """Read what is readable; tells whether there was anything."""
        ready = self._epoll.poll(wait_s)
        for fd, _ in ready:
            peer = self.peers.get(fd)
            if peer is not None:
                peer.read()
        return bool(ready)

    def run(self, holds: Callable[[], bool], what: str) -> None:
        """Serve the links until `holds`; fail after a while."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, f"it did not come about that {what}"
            self.turn(0.05)

    def drain(self) -> None:
        """After the daemon's end: read what it had still sent, up to the end of each link."""
        self.run(lambda: not self.peers, "the daemon's links ended with it")

    def close(self) -> None:
        for peer in list(self.peers.values()):
            peer.close()
        self._epoll.close()

    def __enter__(self) -> Swarm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def hello(user: str, device: str = "laptop", **fields: Any) -> Hello:
    return Hello(versions=[1], token="", user=user, device=device, **fields)


def opened(swarm: Swarm, user: str, device: str = "laptop", **fields: Any) -> Peer:
    """A link that has been welcomed."""
    peer = Peer(swarm)
    peer.send(hello(user, device, **fields))
    peer.take(WELCOME)
    return peer


def operator(swarm: Swarm) -> Peer:
    """A service link: it has no device of its own and may watch everything."""
    return opened(swarm, "operator", "", role="service")


def chunks(users: list[str]) -> list[list[str]]:
    return [users[at : at + USERS_PER_REQUEST_MAX] for at in range(0, len(users), USERS_PER_REQUEST_MAX)]


def ask(peer: Peer, users: list[str], request: type[Get] | type[Watch] = Get) -> tuple[dict[str, Frame], int]:
    """The records of users by name, and the epoch."""
    records: dict[str, Frame] = {}
    epoch = 0
    for number, names in enumerate(chunks(users), 1):
        reply = peer.answer(request(number, names))
        assert reply[0] == RECORDS, reply
        epoch = reply[2]
        records.update({record[USER]: record for record in reply[4]})
    return records, epoch


class Writer:
    """A user who sets numbered texts one after the other, each once the one before was acknowledged."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = 0
        self.acked = 0
        self.refusals: list[str] = []
        self.goodbyes: list[str] = []
        self.welcome: Frame | None = None
        self.going = False
        self.peer: Peer | None = None

    def connect(self, swarm: Swarm) -> None:
        self.welcome = None
        self.going = False
        self.peer = Peer(swarm, self._on_frame)
        self.peer.send(hello(self.name))

    def write(self) -> None:
        """Ask for the next number."""
        assert self.peer is not None
        self.asked += 1
        self.peer.send(SetStatus(self.asked, text=text_of(self.asked)))

    def _on_frame(self, got: Frame) -> None:
        if got[0] == DONE:
            self.acked = got[1]
            if self.going:
                self.write()
        elif got[0] == WELCOME:
            self.welcome = got
        elif got[0] == ERROR:
            self.refusals.append(got[2])
            if self.going:
                self.write()
        elif got[0] == GOODBYE:
            self.goodbyes.append(got[1])


def text_of(number: int) -> str:
    """A writer's text: its number, and enough else to make the log grow."""
    return f"{number} {'.' * 100}"


def number_of(record: Frame) -> int:
    """The number in a writer's text; 0 for none."""
    return int(record[TEXT].split()[0]) if record[TEXT] else 0


class Spectator:
    """Watches users over all lives of the daemon and holds what it is told to the rules of versions."""

    def __init__(self, users: list[str]) -> None:
        self.users = users
        self.view: dict[str, Frame] = {}
        self.pushes = 0
        self.offline: list[Frame] = []
        """Everything that told of somebody as gone."""
        self.faults: list[str] = []
        self.peer: Peer | None = None
        self._replies = 0

    def connect(self, swarm: Swarm) -> None:
        """Watch all; returns when the replies are there."""
        self.peer = Peer(swarm, self._on_frame)
        requests = [Watch(number, names) for number, names in enumerate(chunks(self.users), 1)]
        self._replies = 0
        self.peer.send(hello("spectator", "", role="service"), *requests)
        swarm.run(lambda: self._replies == len(requests), "the watch was answered")

    def _on_frame(self, got: Frame) -> None:
        if got[0] == PRESENCE:
            self.pushes += 1
            self._see(got[1], pushed=True)
        elif got[0] == RECORDS:
            self._replies += 1
            for record in got[4]:
                self._see(record, pushed=False)
        elif got[0] == ERROR or got[0] == GOODBYE and got[1] != "going_away":
            self.faults.append(f"told {got}")

    def _see(self, record: Frame, pushed: bool) -> None:
        held = self.view.get(record[USER])
        if held is not None:
            if record[STATUS] == "offline" and held[STATUS] != "offline":
                self.offline.append(record)
            if record[VERSION] <= held[VERSION] and shown(record) != shown(held):
                self.faults.append(f"the version did not grow from {held} to {record}")
            if pushed and record[VERSION] < held[VERSION]:
                self.faults.append(f"pushed an older version: {record} after {held}")
        # As every client: what is not newer is not taken.
        if held is None or record[VERSION] > held[VERSION]:
            self.view[record[USER]] = record


def shown(record: Frame) -> tuple[Any, ...]:
    """What a person sees of a record."""
    return (record[STATUS], record[TEXT], record[EMOJI], record[DEVICE])
