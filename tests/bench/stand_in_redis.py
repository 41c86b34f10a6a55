"""A stand-in for Redis: PING, SET and GET from memory, channels, and a fault on request.

Run as a script with Redis's options: what it does not know it ignores. With REDIS_FAULT=lose in the environment it
acknowledges every tenth SET and forgets it at once, and with REDIS_FAULT=refuse it answers SET with an error. Of the
tenth message that it publishes, or the one with the number REDIS_FAULT_AT, `mute` keeps one subscriber's copy back,
`double` sends it twice, `stale` sends the channel's first message in its place, and `stray` sends it to one who did
not subscribe.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys

FAULT = os.environ.get("REDIS_FAULT", "none")
FAULT_AT = int(os.environ.get("REDIS_FAULT_AT", "10"))


class StandIn:
    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.sets = self.messages = 0
        self.subscribers: dict[bytes, list[socket.socket]] = {}
        self.first: dict[bytes, bytes] = {}

    def publish(self, channel: bytes, payload: bytes, sender: socket.socket) -> bytes:
        self.messages += 1
        receivers = self.subscribers.get(channel, [])
        told = receivers
        first = self.first.setdefault(channel, payload)
        if self.messages == FAULT_AT and FAULT == "mute":
            told = receivers[1:]
        if self.messages == FAULT_AT and FAULT == "double":
            told = [receivers[0], *receivers]
        if self.messages == FAULT_AT and FAULT == "stale":
            payload = first
        if self.messages == FAULT_AT and FAULT == "stray":
            told = [sender, *receivers]
        for receiver in told:
            receiver.sendall(
                b">3\r\n$7\r\nmessage\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(channel), channel, len(payload), payload)
            )
        return b":%d\r\n" % len(receivers)

    def answer(self, words: list[bytes], link: socket.socket) -> bytes:
        match words:
            case [b"HELLO", b"3"]:
                return b"%1\r\n$5\r\nproto\r\n:3\r\n"
            case [b"SUBSCRIBE", *channels]:
                for channel in channels:
                    self.subscribers.setdefault(channel, []).append(link)
                return b"".join(
                    b">3\r\n$9\r\nsubscribe\r\n$%d\r\n%s\r\n:%d\r\n" % (len(channel), channel, index + 1)
                    for index, channel in enumerate(channels)
                )
            case [b"PUBLISH", channel, payload]:
                return self.publish(channel, payload, link)
            case [b"PING"]:
                return b"+PONG\r\n"
            case [b"SET", _, _, *_] if FAULT == "refuse":
                return b"-MISCONF Errors writing to the AOF file\r\n"
            case [b"SET", key, value, *_]:
                self.sets += 1
                self.values[key] = b"" if FAULT == "lose" and self.sets % 10 == 0 else value
                return b"+OK\r\n"
            case [b"GET", key] if key in self.values:
                return b"$%d\r\n%s\r\n" % (len(self.values[key]), self.values[key])
            case [b"GET", _]:
                return b"$-1\r\n"
        raise AssertionError(words)


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        print("Redis server v=0.0.0 sha=00000000:0")
        return
    stand_in = StandIn()
    port = int(sys.argv[sys.argv.index("--port") + 1])
    listener = socket.create_server(("127.0.0.1", port))
    print(f"Running mode=standalone, port={port}.\nReady to accept connections", flush=True)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                selector.register(listener.accept()[0], selectors.EVENT_READ)
                continue
            link = key.fileobj
            assert isinstance(link, socket.socket)
            data = link.recv(65_536)
            if not data:
                selector.unregister(link)
                link.close()
                continue
            # Commands come whole, each in one write: *count, then $length and word for each.
            parts = data.split(b"\r\n")[:-1]
            while parts:
                size = 1 + 2 * int(parts[0][1:])
                link.sendall(stand_in.answer(parts[2:size:2], link))
                del parts[:size]


if __name__ == "__main__":
    main()
