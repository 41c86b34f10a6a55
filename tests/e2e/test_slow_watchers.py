"""Clients that do not read: the others lose nothing, memory stays bounded, and who reads again gets the latest."""

from __future__ import annotations

import selectors
import socket
from pathlib import Path

import msgpack

from presenced.wire.codec import encode
from presenced.wire.frames import FrameReader, frame
from presenced.wire.messages import Get, Ping, SetStatus, Watch
from tests.support.daemon import Daemon
from tests.support.readiness import writable
from tests.support.until import PATIENCE_S
from tests.support.wire import DONE, PRESENCE, RECORDS, WELCOME, Bystander, Frame, Wire, admitted, hello, opened

MIB = 1 << 20
PUBLISHERS = 4
WATCHERS = 1_000
SLOW = 100
CHANGES = 300
"""Of each publisher, each with a text of the greatest length: 700 KiB for each watcher, far beyond its buffers."""
THE_END = "the end"


class Crowd:
    """Links that watch the same users and so are owed the very same bytes: read once, compared for the rest."""

    def __init__(self, links: list[Wire]) -> None:
        self.links = links
        self.streams = {link: 0 for link in links}
        """Bytes read of each."""
        self.stream = bytearray()
        """What the furthest of them has read."""
        self.selector = selectors.DefaultSelector()
        for link in links:
            link.socket.setblocking(False)
            self.selector.register(link.socket, selectors.EVENT_READ, link)

    def read(self, wait_s: float = 0) -> bool:
        """Take what is there; says whether anything was."""
        ready = self.selector.select(wait_s)
        for key, _ in ready:
            link: Wire = key.data
            data = link.socket.recv(1 << 18)
            assert data, "the server closed a link that reads"
            at = self.streams[link]
            self.streams[link] = at + len(data)
            known = self.stream[at : at + len(data)]
            assert data.startswith(known), "two watchers of the same users were told different things"
            self.stream += data[len(known) :]
        return bool(ready)

    def frames(self) -> list[Frame]:
        reader = FrameReader(MIB)
        reader.feed(bytes(self.stream))
        return [msgpack.unpackb(payload) for payload in reader.take(len(self.stream))]

    def read_until(self, end: bytes) -> None:
        """Until the furthest has read a frame with `end` in it, and all others are as far as it."""
        while end not in self.stream[-200:] or any(at != len(self.stream) for at in self.streams.values()):
            assert self.read(PATIENCE_S), "some watchers were not told everything"

    def close(self) -> None:
        self.selector.close()
        for link in self.links:
            link.close()


def text_of(number: int) -> str:
    return f"{number:0>512}"


def presence_of(frames: list[Frame]) -> dict[str, list[list[object]]]:
    """The records pushed, by user, in order; there must be nothing else."""
    told: dict[str, list[list[object]]] = {}
    for kind, record in frames:
        assert kind == PRESENCE
        told.setdefault(record[0], []).append(record)
    return told


def test_a_thousand_watchers_of_which_a_hundred_stop_reading(tmp_path: Path) -> None:
    names = [f"publisher-{number}" for number in range(PUBLISHERS)]
    # Nobody heartbeats in here, so that no lease may end, however busy the machine is.
    options = ("--change-spacing", "0", "--rate", "0", "--heartbeat", "4m")
    with Daemon(tmp_path / "log", *options, apart=True) as daemon:
        publishers = [opened(daemon.port, name) for name in names]
        watchers = [Wire(daemon.port, receive_bytes=4096 if n < SLOW else 0) for n in range(WATCHERS)]
        for number, link in enumerate(watchers):
            link.send(hello(f"watcher-{number}"), Watch(1, names))
        for link in watchers:
            assert (link.next()[0], link.next()[0]) == (WELCOME, RECORDS)
        slow, crowd = watchers[:SLOW], Crowd(watchers[SLOW:])
        before = daemon.rss_bytes()

        for number in range(1, CHANGES + 1):
            for publisher in publishers:
                publisher.send(SetStatus(number, text=text_of(number)))
            for publisher in publishers:
                assert publisher.next()[:2] == [DONE, number]
            if number % 10 == 0:
                crowd.read()
        grown = daemon.rss_bytes() - before

        # The 900 got every change, in order.
        publishers[0].send(SetStatus(1, text=THE_END))
        crowd.read_until(THE_END.encode())
        wanted = [text_of(number) for number in range(1, CHANGES + 1)]
        told = presence_of(crowd.frames())
        assert {name: [record[2] for record in records] for name, records in told.items()} == {
            name: wanted + [THE_END] * (name == names[0]) for name in names
        }
        assert grown < 40 * MIB, f"{grown / MIB:.1f} MiB for {SLOW} watchers that do not read"

        # The 100 have missed some, get the latest of each user, and go on from there.
        skipped = sum(catches_up(link, names) for link in slow)
        assert skipped, "no slow watcher was ever held back, so this test has shown nothing"
        publishers[0].send(SetStatus(2, text="and on"))
        for link in slow:
            kind, record = link.next()
            assert (kind, record[0], record[2]) == (PRESENCE, names[0], "and on")
            assert link.quiet()
            link.close()
        crowd.close()
        for publisher in publishers:
            publisher.close()


def catches_up(link: Wire, names: list[str]) -> int:
    """Read until the last change of each user has come; gives how many were skipped."""
    last: dict[str, str] = {}
    versions: dict[str, int] = {}
    count = 0
    while [last.get(name) for name in names] != [THE_END] + [text_of(CHANGES)] * (PUBLISHERS - 1):
        kind, record = link.next()
        assert kind == PRESENCE, "a watcher that does not read is not sent away"
        assert record[7] > versions.get(record[0], 0), "told twice, or out of order"
        versions[record[0]] = record[7]
        last[record[0]] = record[2]
        count += 1
    return CHANGES * PUBLISHERS + 1 - count


def test_one_that_asks_and_never_reads(tmp_path: Path) -> None:
    """It is not read either, after a while; when it reads, every reply comes, in order."""
    with Daemon(tmp_path / "log", "--check", "--change-spacing", "0", "--rate", "0", apart=True) as daemon:
        beside = Bystander(daemon.port)
        names = [f"somebody-with-a-long-name-{number:0>90}" for number in range(256)]
        with opened(daemon.port, "asker", receive_bytes=4096) as link:
            before = daemon.rss_bytes()
            link.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            sent = 0
            rest = b""
            link.socket.settimeout(0.5)
            try:
                while sent < 4_000:
                    sent += 1
                    rest = frame(encode(Get(sent, names)))
                    while rest:
                        rest = rest[link.socket.send(rest) :]
            except TimeoutError:
                pass
            assert sent < 4_000, "the server went on reading from a client that reads nothing"
            assert daemon.rss_bytes() - before < 20 * MIB
            beside.check()
            for number in range(1, sent + 1):
                # The request that was cut off by full buffers is finished as soon as they have room.
                wait_s = PATIENCE_S if number == sent else 0
                while rest and writable(link.socket, wait_s):
                    rest = rest[link.socket.send(rest) :]
                got = link.next()
                assert got[:2] == [RECORDS, number]
                assert [record[0] for record in got[4]] == names
            link.send(Ping(1))
            link.next()
            assert link.quiet()
        beside.check()
        beside.close()


def test_half_closed_and_not_reading(tmp_path: Path) -> None:
    """The end of the client's half ends the link, also while it is owed more than its buffers hold."""
    options = ("--heartbeat", "400ms", "--grace", "0", "--max-links", "2", "--change-spacing", "0", "--rate", "0")
    with Daemon(tmp_path / "log", "--check", *options, limits={"CLOSE_TIMEOUT_MS": 100}) as daemon:
        names = [f"somebody-with-a-long-name-{number:0>90}" for number in range(256)]
        with opened(daemon.port, "half", receive_bytes=4096) as half:
            half.send(*[Get(number, names) for number in range(1, 20)])
            half.socket.shutdown(socket.SHUT_WR)
            observer = opened(daemon.port, "observer")
            observer.send(Watch(1, ["half"]))
            shown = observer.next()[4][0][1]
            while shown != "offline":
                observer.send(Ping(1))
                got = observer.next()
                if got[0] == PRESENCE:
                    shown = got[1][1]
            link = admitted(daemon.port, "newcomer", observer)
            link.close()
            observer.close()
