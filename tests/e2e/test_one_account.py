"""One account against everybody: with all its devices, and every message there is as fast as it can, it takes a small
part of a core and no more frames than it may send (protocol.md, 4.5)."""

from __future__ import annotations

import os
import selectors
import time
from pathlib import Path

import msgpack

from presenced.limits import DEVICES_PER_USER_MAX, RATE_BURST_UNITS, RATE_UNITS_PER_S, USERS_PER_REQUEST_MAX
from presenced.wire.codec import encode
from presenced.wire.frames import FrameReader, frame
from presenced.wire.messages import (
    AddActivity,
    AddClaim,
    Applied,
    Command,
    EndClaim,
    Focus,
    Forget,
    Get,
    GetActivity,
    GetClaims,
    GetDevices,
    GetMembers,
    GetSync,
    Heartbeat,
    Join,
    Leave,
    Ping,
    SetDevice,
    SetSchedule,
    SetStatus,
    Sync,
    Touch,
    Unwatch,
    UnwatchChannel,
    Watch,
    WatchChannel,
    Who,
    Window,
)
from tests.support.daemon import Daemon
from tests.support.wire import PONG, Wire, opened

ROOMS = 10
SHARE = 0.20
"""What protocol.md says that one account takes of a core."""

WATCHED_S = 3.0
MIB = 1 << 20


def everything() -> bytes:
    """Each message that a user may send, at its worst."""
    unknown = ["\u00e9" * 60 + f"{number:03}" for number in range(USERS_PER_REQUEST_MAX)]
    known = ["eager"] * USERS_PER_REQUEST_MAX
    windows = [Window(127, 50 * number, 50 * number + 40) for number in range(28)]
    messages = [
        Get(1, unknown), Get(2, known), Watch(3, unknown), Unwatch(4, unknown), Who(5, "", 256),
        GetMembers(6, "room1", "", 256), WatchChannel(7, "room1", 256), UnwatchChannel(8, "room1"),
        WatchChannel(9, "room1", 256), GetDevices(10), GetClaims(11), GetActivity(12, limit=100),
        AddActivity(13, "typed", "room1", 0, "x" * 1024), AddClaim(14, "busy", "call", "dnd"), EndClaim(15, "busy"),
        SetSchedule(16, "Europe/Berlin", windows), SetSchedule(17, "Europe/Berlin", []), SetDevice(18, "dnd"),
        SetDevice(19, "online"), Sync(20), GetSync(21), Applied(1), Touch(22), Forget(23, "nothing"), Join(24, "more"),
        Leave(25, "more"), Heartbeat(0), Command(26, "/presence who"), Command(27, "/presence devices"), Ping(28),
        Focus(focus="room1"), SetDevice(29, meta="x" * 512),
    ]  # fmt: skip
    return b"".join(frame(encode(message)) for message in messages)


def flapping() -> bytes:
    """Online and offline, in turns: what the most others are told of."""
    messages: list[Command | SetStatus] = []
    for number in range(100):
        messages.append(Command(1_000 + number, f"/presence {('offline', 'online')[number % 2]}"))
        messages.append(SetStatus(2_000 + number, "dnd" if number % 2 else "auto", "\u00e9" * 256))
    return b"".join(frame(encode(message)) for message in messages)


class Flood:
    """Links that send without end, as much as is taken of them, and read all that they are sent."""

    def __init__(self, links: list[Wire], *kinds: bytes) -> None:
        self.replies = 0
        self._links = links
        self._data = {link: kinds[number % len(kinds)] for number, link in enumerate(links)}
        self._selector = selectors.DefaultSelector()
        self._at = dict.fromkeys(links, 0)
        self._readers = {link: FrameReader(MIB) for link in links}
        for link in links:
            link.socket.setblocking(False)
            self._selector.register(link.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, link)

    def go_on(self, wait_s: float) -> None:
        for key, events in self._selector.select(wait_s):
            link: Wire = key.data
            if events & selectors.EVENT_READ:
                self._read(link)
            if events & selectors.EVENT_WRITE:
                at, data = self._at[link], self._data[link]
                try:
                    self._at[link] = (at + link.socket.send(data[at : at + 65_536])) % len(data)
                except BlockingIOError:
                    pass

    def _read(self, link: Wire) -> None:
        data = link.socket.recv(1 << 18)
        assert data, "nobody is disconnected for asking too much"
        reader = self._readers[link]
        reader.feed(data)
        while payloads := reader.take(1_000):
            for payload in payloads:
                message = msgpack.unpackb(payload)
                # What has an id, or is an error, answers a frame; all else is pushed.
                self.replies += message[0] in (66, 67, PONG, 69, 70, 72, 73, 74, 75, 79, 82)

    def close(self) -> None:
        self._selector.close()
        for link in self._links:
            link.close()


def cpu_s(pid: int) -> float:
    """CPU time that the process has used."""
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def test_one_account_takes_no_more_than_its_share_whatever_it_sends(tmp_path: Path) -> None:
    with Daemon(tmp_path / "log") as daemon:
        app = opened(daemon.port, "backend", "", role="service")
        links = [opened(daemon.port, "eager", f"device{number}") for number in range(DEVICES_PER_USER_MAX)]
        for number in range(DEVICES_PER_USER_MAX):
            app.send(*[Join(1 + room, f"room{room}", "eager", f"device{number}") for room in range(ROOMS)])
            for _ in range(ROOMS):
                app.next()
        stranger = opened(daemon.port, "stranger")
        began_s = time.monotonic()
        flood = Flood(links, everything(), flapping())
        # The burst first; what comes after it is what an account may go on with.
        while flood.replies < RATE_BURST_UNITS // 20:
            flood.go_on(1.0)
        before_s, since_s = cpu_s(daemon.process.pid), time.monotonic()
        while (watched_s := time.monotonic() - since_s) < WATCHED_S:
            flood.go_on(0.05)
        used_s = cpu_s(daemon.process.pid) - before_s
        stranger.send(Ping(1))
        assert stranger.next()[:2] == [PONG, 1]
        most = RATE_BURST_UNITS + RATE_UNITS_PER_S * (time.monotonic() - began_s) + 2 * DEVICES_PER_USER_MAX
        assert flood.replies <= most, "more frames than the user has credit for"
        # Half as much again: a clock tick of CPU is 10 ms, and caches are shared with whatever else runs here.
        assert used_s <= 1.5 * SHARE * watched_s, f"{used_s:.2f} s of CPU in {watched_s:.2f} s"
        flood.close()
        stranger.close()
        app.close()
