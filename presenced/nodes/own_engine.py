"""The engine of a cluster that lives on one machine: a redis-server on a Unix socket, which keeps nothing on the disk.

It holds seconds of a log, and the nodes hold the state: after its end they go on, and write to its next life what they
have. So nothing is lost with it, and it needs neither a port nor a file.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import signal
from collections.abc import Mapping

from presenced.nodes.child import send_signal, start_child
from presenced.nodes.node_life import PAUSE_MS_MAX, WELL_AFTER_MS

PROGRAMS = ("redis-server", "valkey-server")
VERSION_LEAST = (7, 0)
ANSWER_S = 10.0
"""How long a start may take."""

LOG = "engine.log"
LINES_TOLD = 5

NO_PROGRAM = (
    "cluster.nodes without cluster.url starts a Redis for the nodes, and neither redis-server nor valkey-server is in "
    "PATH; install one (on Debian: apt install redis-server), or give --cluster URL"
)

_VERSION = re.compile(rb"\bv=(\d+)\.(\d+)")

log = logging.getLogger("presenced")


class EngineFailed(Exception):
    """The engine cannot be started; the text is a sentence."""


def find_program(path: str | None = None) -> str:
    """The program of the engine; empty if there is none. `path` is another PATH."""
    return next((found for name in PROGRAMS if (found := shutil.which(name, path=path))), "")


class RestartPauses:
    """How long it is waited before an engine that has ended is started again: not at all the first time, and longer
    each time until one has lived for long. Pure."""

    def __init__(self) -> None:
        self._next_ms = 0

    def next_ms(self, lived_ms: int) -> int:
        """The pause behind an engine that has lived for so long (0 = its start came to nothing)."""
        pause_ms = 0 if lived_ms >= WELL_AFTER_MS else self._next_ms
        self._next_ms = min(PAUSE_MS_MAX, 2 * pause_ms + 100)
        return pause_ms


class OwnEngine:
    """One engine. `start`, and again after it ended; then `stop`."""

    def __init__(self, directory: str, environ: Mapping[str, str]) -> None:
        """`directory` is ours alone."""
        self.socket = os.path.join(directory, "engine.sock")
        self.url = f"unix://{self.socket}"
        self._directory = directory
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and return when it answers. Raises `EngineFailed`."""
        program = find_program(self._environ.get("PATH"))
        if not program:
            raise EngineFailed(NO_PROGRAM)
        await self._check_version(program)
        try:
            self._process = await start_child((program, *self._options()), self._environ)
        except OSError as error:
            raise EngineFailed(f"{program} cannot be started: {error.strerror}") from None
        try:
            async with asyncio.timeout(ANSWER_S):
                while not await self._answers():
                    if self._process.returncode is not None:
                        raise EngineFailed(f"{program} ended at its start: {self.last_words()}")
                    await asyncio.sleep(0.01)
        except TimeoutError:
            # If it answered later, some nodes would have its log, and others that of the next one.
            await self._end(signal.SIGKILL)
            raise EngineFailed(f"{program} does not answer: {self.last_words()}") from None

    async def wait(self) -> int:
        """Return its exit code once it has ended."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """End it. Idempotent, and allowed before `start`."""
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            send_signal(self._process, number)
            await self._process.wait()

    @property
    def pid(self) -> int:
        """Of its process; 0 before the start."""
        return self._process.pid if self._process is not None else 0

    def last_words(self) -> str:
        """The last lines of its log, as one."""
        try:
            with open(os.path.join(self._directory, LOG), encoding="utf-8", errors="replace") as file:
                lines = [line.strip() for line in file if line.strip()]
        except OSError:
            return "it left no log"
        return " | ".join(lines[-LINES_TOLD:]) or "it said nothing"

    def _options(self) -> tuple[str, ...]:
        said = {
            "port": "0",
            "unixsocket": self.socket,
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            "databases": "1",
            "daemonize": "no",
            "dir": self._directory,
            "logfile": LOG,
            "loglevel": "notice",
        }
        return tuple(word for name, value in said.items() for word in (f"--{name}", value))

    async def _check_version(self, program: str) -> None:
        try:
            process = await start_child((program, "--version"), self._environ, output=asyncio.subprocess.PIPE)
            said, _ = await process.communicate()
        except OSError as error:
            raise EngineFailed(f"{program} cannot be started: {error.strerror}") from None
        found = _VERSION.search(said)
        if found is not None and (int(found[1]), int(found[2])) < VERSION_LEAST:
            version = f"{int(found[1])}.{int(found[2])}"
            raise EngineFailed(
                f"{program} is {version}, and 7.0 or later is needed; install that, or give --cluster URL"
            )

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_unix_connection(self.socket)
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            return (await reader.readline()).startswith(b"+PONG")
        except OSError:
            return False
        finally:
            writer.close()
