"""A presence client from protocol.md alone: sockets, struct and msgpack, and nothing of the server's code.

    python plain_client.py HOST PORT USER DEVICE

Takes commands on its input, `set STATUS TEXT` and `watch USER...`, and prints what it is told. When its input ends,
it says bye.
"""

import os
import select
import socket
import struct
import sys
import time

import msgpack

HELLO, HEARTBEAT, BYE, SET_STATUS, WATCH = 1, 2, 3, 5, 9
WELCOME, GOODBYE, ERROR, DONE, RECORDS, PRESENCE = 64, 65, 66, 67, 69, 71


class Client:
    def __init__(self, host, port, user, device):
        self.socket = socket.create_connection((host, int(port)))
        self.buffer = b""
        self.versions = {}
        self.request_id = 0
        self.heartbeat_s = 0
        self.send(HELLO, [1], "", user, device, "plain", "", 0, "online", 0)

    def send(self, *message):
        payload = msgpack.packb(message)
        self.socket.sendall(struct.pack(">I", len(payload)) + payload)

    def request(self, kind, *fields):
        self.request_id += 1
        self.send(kind, self.request_id, *fields)

    def receive(self):
        data = self.socket.recv(65536)
        if not data:
            sys.exit("the server closed the link")
        self.buffer += data
        while len(self.buffer) >= 4 and len(self.buffer) >= 4 + struct.unpack_from(">I", self.buffer)[0]:
            end = 4 + struct.unpack_from(">I", self.buffer)[0]
            self.handle(*msgpack.unpackb(self.buffer[4:end]))
            self.buffer = self.buffer[end:]

    def handle(self, kind, *fields):
        if kind == WELCOME:
            self.heartbeat_s = fields[4] / 1000
            print("welcome", fields[1], fields[2], flush=True)
        elif kind == RECORDS:
            for record in fields[3]:
                self.show(*record)
        elif kind == PRESENCE:
            self.show(*fields[0])
        elif kind in (DONE, ERROR):
            print("done" if kind == DONE else "error", *fields, flush=True)
        elif kind == GOODBYE:
            sys.exit(f"goodbye {fields[0]}: {fields[1]}")

    def show(self, user, status, text, emoji, since_ms, last_seen_ms, device, version, *later):
        if version > self.versions.get(user, -1):
            self.versions[user] = version
            print("presence", user, status, text, flush=True)

    def run(self):
        beaten_s = time.monotonic()
        while True:
            readable, _, _ = select.select([self.socket, sys.stdin], [], [], self.heartbeat_s / 4 or 1)
            if self.socket in readable:
                self.receive()
            if sys.stdin in readable:
                typed = os.read(sys.stdin.fileno(), 4096).decode()
                if not typed:
                    return self.send(BYE)
                for verb, *words in map(str.split, typed.splitlines()):
                    if verb == "set":
                        self.request(SET_STATUS, words[0], " ".join(words[1:]))
                    elif verb == "watch":
                        self.request(WATCH, words)
            if self.heartbeat_s and time.monotonic() >= beaten_s + self.heartbeat_s * 3 / 4:
                beaten_s = time.monotonic()
                self.send(HEARTBEAT, 0)
                print("heartbeat", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit("usage: python plain_client.py HOST PORT USER DEVICE")
    Client(*sys.argv[1:]).run()
