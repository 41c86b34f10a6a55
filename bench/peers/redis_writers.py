"""Redis with its append-only file, synced before each answer, and writers to it: the peer of a durable daemon."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench.errors import BenchError
from bench.load.links import READ_BYTES, Connection, connected
from bench.load.writers import Writer, Writers, text_of
from bench.machine.kernel import free_port
from bench.machine.server import Server
from bench.peers.redis import PONG, Redis, command, server_line

OK = b"+OK\r\n"


class RedisWriters(Writers):
    """Writers to Redis: a SET of the same text."""

    def _open(self, stack: ExitStack) -> Sequence[Connection]:
        return open_redis_links(stack, self.server.port, len(self.users))

    def request(self, writer: Writer) -> bytes:
        """SET user text."""
        return set_request(writer.user, text_of(writer.sent))

    def answered(self, writer: Writer, data: bytes) -> bool:
        """OK and nothing else."""
        if not OK.startswith(data):
            raise BenchError(f"Redis said {data!r} to SET")
        return data == OK

    def texts(self) -> dict[str, str]:
        """What Redis holds."""
        return get_values(self.server.port, self.users)


def start_redis(core: int, directory: Path) -> Server:
    """Redis on a port of its own in `directory`: append-only file, synced before each answer, no snapshots."""
    line = [*server_line(Redis.program_path(), free_port()), "--dir", str(directory), "--appendonly", "yes"]
    # It names the port first, and can be connected to only when it has said that it is ready.
    return Server([*line, "--appendfsync", "always"], core, r"port=(\d+)(?s:.*)Ready to accept connections")


def set_request(key: str, value: str) -> bytes:
    """SET key value, as bytes on the wire."""
    return command(b"SET", key.encode(), value.encode())


def get_values(port: int, keys: list[str]) -> dict[str, str]:
    """What Redis holds for each of `keys`; those it does not hold are left out."""
    found = {}
    with connected(port) as link:
        replies = link.makefile("rb")
        for key in keys:
            link.sendall(command(b"GET", key.encode()))
            head = replies.readline()
            if not head.startswith(b"$"):
                raise BenchError(f"Redis said {head!r} to GET")
            if head != b"$-1\r\n":
                found[key] = replies.read(int(head[1:]) + 2)[:-2].decode()
    return found


class RedisLink(NamedTuple):
    """One connection of the generator to Redis."""

    socket: socket.socket
    fd: int


def open_redis_links(stack: ExitStack, port: int, count: int) -> list[RedisLink]:
    """Connections that Redis has answered on; `stack` closes them."""
    links = []
    for _ in range(count):
        link = stack.enter_context(connected(port))
        link.sendall(command(b"PING"))
        if link.recv(READ_BYTES) != PONG:
            raise BenchError("Redis did not answer a ping")
        links.append(RedisLink(link, link.fileno()))
    return links
