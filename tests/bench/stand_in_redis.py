"""A stand-in for Redis: PING, SET and GET from memory, and a lost write on request.

Run as a script with Redis's options: what it does not know it ignores. With REDIS_FAULT=lose in the environment it
acknowledges every tenth SET and forgets it at once, and with REDIS_FAULT=refuse it answers SET with an error.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys

FAULT = os.environ.get("REDIS_FAULT", "none")


class StandIn:
    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.sets = 0

    def answer(self, words: list[bytes]) -> bytes:
        match words:
            case [b"PING"]:
                return b"+PONG\r\n"
            case [b"SET", _, _] if FAULT == "refuse":
                return b"-MISCONF Errors writing to the AOF file\r\n"
            case [b"SET", key, value]:
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
            # The bench sends one command at a time: *count, then $length and word for each.
            link.sendall(stand_in.answer(data.split(b"\r\n")[2::2]))


if __name__ == "__main__":
    main()
