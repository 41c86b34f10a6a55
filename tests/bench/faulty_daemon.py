"""A stand-in for the daemon with just enough of the protocol for the fan-out profile, and a fault on request.

Run as a script: `faulty_daemon.py none|lose|double|wrong`. The fault strikes one delivery, the tenth. Blocking
sockets and one thread: it is here to be wrong in a known way, not to be fast.
"""

from __future__ import annotations

import selectors
import socket
import sys

from presenced.wire.codec import decode_client, encode
from presenced.wire.frames import FrameReader, frame
from presenced.wire.messages import Done, Hello, Presence, Record, Records, SetStatus, Watch, Welcome


class FaultyDaemon:
    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.version = 0
        self.deliveries = 0
        self.users: dict[socket.socket, str] = {}
        self.watchers: list[socket.socket] = []

    def handle(self, link: socket.socket, payload: bytes) -> None:
        match decode_client(payload):
            case Hello(user=user, device=device):
                self.users[link] = user
                self.send(link, Welcome(1, user, device, "user", 1, 1, 1, 1, 1, 1, 1, 1, 1, 1))
            case Watch(id=id):
                self.watchers.append(link)
                self.send(link, Records(id, 1, self.version, []))
            case SetStatus(id=id, status=status, text=text):
                self.version += 1
                self.send(link, Done(id, self.version))
                assert status not in (None, "auto") and text is not None
                record = Record(self.users[link], status, text, "", 1, 0, "bench", self.version)
                for watcher in self.watchers:
                    self.push(watcher, record)
            case other:
                raise AssertionError(other)

    def push(self, watcher: socket.socket, record: Record) -> None:
        self.deliveries += 1
        fault = self.fault if self.deliveries == 10 else "none"
        if fault == "wrong":
            record = Record(record.user, "xa", *list(map(record.__getattribute__, record.__struct_fields__))[2:])
        for _ in range({"lose": 0, "double": 2}.get(fault, 1)):
            self.send(watcher, Presence(record))

    def send(self, link: socket.socket, message: Welcome | Records | Done | Presence) -> None:
        link.sendall(frame(encode(message)))


def main() -> None:
    daemon = FaultyDaemon(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"listening on presence://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    readers: dict[socket.socket, FrameReader] = {}
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                link, _ = listener.accept()
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                readers[link] = FrameReader(65_536)
                selector.register(link, selectors.EVENT_READ)
                continue
            link = key.fileobj
            data = link.recv(65_536)
            if not data:
                selector.unregister(link)
                link.close()
                continue
            readers[link].feed(data)
            for payload in readers[link].take(1000):
                daemon.handle(link, payload)


if __name__ == "__main__":
    main()
