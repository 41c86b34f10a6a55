"""Redis servers for tests, each a process of its own in its own folder. Without the program the test is skipped."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hiredis
import pytest

from bench.machine.kernel import free_port as free_port
from presenced.backplane.access import EngineAccess
from tests.support.until import PATIENCE_S, until

NO_REDIS = "redis-server is not installed; install it: apt-get install redis-server"


class EngineSilent(Exception):
    """A server did not do what it was told."""


class RedisServer:
    """One redis-server, which keeps nothing on the disk. It listens on a Unix socket and, if it is given one, on a
    port; `options` are lines of its configuration."""

    def __init__(self, folder: Path, *options: str, port: int = 0, sentinel: bool = False) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip(NO_REDIS)
        folder.mkdir(parents=True, exist_ok=True)
        # The path of a socket may not be longer than about a hundred bytes, and the folders of tests are. The name is
        # one that no test of another process may come to, as it may to the number of a port that is free.
        self.socket = f"/tmp/presenced-redis-{secrets.token_hex(8)}.sock"
        self.port = port
        self.folder = folder
        self._arguments = [program, str(folder / "redis.conf"), *(["--sentinel"] if sentinel else [])]
        mine = [f"port {port}", f"unixsocket {self.socket}", "bind 127.0.0.1", f"dir {folder}", "save ''"]
        (folder / "redis.conf").write_text("\n".join([*mine, "protected-mode no", *options]) + "\n")
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def access(self) -> EngineAccess:
        """How it is reached over its Unix socket."""
        return EngineAccess(path=self.socket)

    def start(self) -> None:
        """Start it, and wait until it listens. It is as empty as a new one, unless `options` say otherwise."""
        Path(self.socket).unlink(missing_ok=True)
        with open(self.folder / "redis.log", "ab") as log:
            self.process = subprocess.Popen(self._arguments, stdout=log, stderr=log, cwd=self.folder)
        until(self._listens, lambda: f"redis-server does not start: {(self.folder / 'redis.log').read_text()}")

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def send(self, *command: str, database: int = 0, password: str = "") -> str:
        """Say something on a connection of its own, and return the answer as `redis-cli` prints it to a file: the
        elements of a list each on a line. What stands still, is gone or answers with an error raises `EngineSilent`.
        """
        reader = hiredis.Reader(encoding="utf-8", errors="backslashreplace")
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(PATIENCE_S)
                link.connect(self.socket)
                first = [("AUTH", password)] if password else []
                first += [("SELECT", str(database))] if database else []
                for words in [*first, command]:
                    link.sendall(hiredis.pack_command(words))
                    while (answer := reader.gets()) is False:
                        data = link.recv(65536)
                        if not data:
                            if words[0] == "SHUTDOWN":
                                return ""
                            raise EngineSilent(f"{words[0]}: the connection ended")
                        reader.feed(data)
        except OSError as error:
            raise EngineSilent(f"{command[0]}: {error}") from None
        if isinstance(answer, hiredis.HiredisError):
            raise EngineSilent(f"{command[0]}: {answer}")
        return "\n".join(_lines(answer)).strip()

    def stop(self) -> None:
        """End it, and clean up."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        Path(self.socket).unlink(missing_ok=True)

    def _listens(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError((self.folder / "redis.log").read_text())
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.connect(self.socket)
        except OSError:
            return False
        return True


def _lines(answer: Any) -> list[str]:
    """The answer, one element a line."""
    if isinstance(answer, list):
        return [line for element in answer for line in _lines(element)]
    return ["" if answer is None else str(answer)]


@contextmanager
def redis_server(folder: Path, *options: str, port: int = 0, sentinel: bool = False) -> Iterator[RedisServer]:
    """A server for a `with` statement."""
    server = RedisServer(folder, *options, port=port, sentinel=sentinel)
    try:
        yield server
    finally:
        server.stop()
