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
        self.heartbeat_s = 10
        self.send(HELLO, [1], "", user, device, "plain", "", 0, "online", 0)

    def send(self, *message):
        payload = msgpack.packb(message)
        self.socket.sendall(struct.pack(">I", len(payload)) + payload)

    def request(self, kind, *fields):
        self.request_id += 1
        self.send(kind, self.request_id, *fields)

    def command(self, words):
        if words[0] == "set":
            self.request(SET_STATUS, words[1], " ".join(words[2:]))
        elif words[0] == "watch":
            self.request(WATCH, words[1:])

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
                self.show(record)
        elif kind == PRESENCE:
            self.show(fields[0])
        elif kind == DONE:
            print("done", fields[0], flush=True)
        elif kind == ERROR:
            print("error", *fields, flush=True)
        elif kind == GOODBYE:
            sys.exit(f"goodbye {fields[0]}: {fields[1]}")

    def show(self, record):
        user, status, text, version = record[0], record[1], record[2], record[7]
        if version > self.versions.get(user, -1):
            self.versions[user] = version
            print("presence", user, status, text, flush=True)

    def run(self):
        due = time.monotonic()
        while True:
            wait_s = max(0, min(due, time.monotonic() + self.heartbeat_s) - time.monotonic())
            readable, _, _ = select.select([self.socket, sys.stdin], [], [], wait_s)
            if self.socket in readable:
                self.receive()
            if sys.stdin in readable:
                typed = os.read(sys.stdin.fileno(), 4096).decode()
                if not typed:
                    return self.send(BYE)
                for line in typed.splitlines():
                    self.command(line.split())
            if time.monotonic() >= due:
                self.send(HEARTBEAT, 0)
                print("heartbeat", flush=True)
                due = time.monotonic() + self.heartbeat_s


if __name__ == "__main__":
    Client(*sys.argv[1:]).run()
