"""The peer of the durable and graph profiles: a Redis of the system, which syncs every write or writes nothing at all.

Just enough of its protocol (RESP) for raw sockets, so that both servers see the same generator.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench.daemon import BenchError, Server

OK = b"+OK\r\n"
READ_BYTES = 65_536
TIMEOUT_S = 20.0


def find_redis() -> str:
    """The program; `BenchError` with the command that installs it if it is missing."""
    found = shutil.which("redis-server")
    if found is None:
        raise BenchError("no redis-server to compare with; install one: apt-get install redis-server")
    return found


def redis_version(program: str) -> str:
    """Such as 7.0.15."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v=(\S+)", said)
    return found[1] if found else said.strip()


def start_redis(core: int, directory: Path) -> Server:
    """Redis on a port of its own in `directory`: append-only file, synced before each answer, no snapshots."""
    return _start(core, "--dir", str(directory), "--appendonly", "yes", "--appendfsync", "always")


def start_redis_in_memory(core: int) -> Server:
    """Redis on a port of its own that writes no file, and cuts no subscriber off however much waits for it."""
    return _start(core, "--appendonly", "no", "--client-output-buffer-limit", "pubsub", "0", "0", "0")


def _start(core: int, *options: str) -> Server:
    line = [find_redis(), "--port", str(_free_port()), "--bind", "127.0.0.1", "--protected-mode", "yes"]
    line += ["--daemonize", "no", "--logfile", "", "--save", "", "--maxclients", "20000", *options]
    # It names the port first, and can be connected to only when it has said that it is ready.
    return Server(line, core, r"port=(\d+)(?s:.*)Ready to accept connections")


def set_request(key: str, value: str) -> bytes:
    """SET key value, as bytes on the wire."""
    return command(b"SET", key.encode(), value.encode())


def get_values(port: int, keys: list[str]) -> dict[str, str]:
    """What Redis holds for each of `keys`; those it does not hold are left out."""
    found = {}
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as link:
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
        link = stack.enter_context(socket.create_connection(("127.0.0.1", port), TIMEOUT_S))
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.sendall(command(b"PING"))
        if link.recv(READ_BYTES) != b"+PONG\r\n":
            raise BenchError("Redis did not answer a ping")
        links.append(RedisLink(link, link.fileno()))
    return links


def command(*words: bytes) -> bytes:
    """A command, as bytes on the wire."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


def _free_port() -> int:
    """One that is free now. Redis takes no 0 for `any`, so that another process might yet get there first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
