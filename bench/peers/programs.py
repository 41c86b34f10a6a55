"""A peer that is a program of the system: starting it on a port of its own, and telling why it did not start."""

from __future__ import annotations

import os
import re
import subprocess
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from bench.machine.kernel import free_port, port_is_taken
from bench.machine.process import START_TIMEOUT_S
from bench.machine.tree import ServerTree
from bench.peers.base import START_TRIES, Contacts, Peer, PeerFailed, PeerLink


class External(Peer):
    """One that is found in PATH, configured by a file or options, and ready when it takes connections."""

    version_option: ClassVar[str] = "--version"
    version_pattern: ClassVar[str] = r"(\d+(?:\.\d+)+)"
    gentle: ClassVar[bool] = True
    """Does it stop soon when it is asked to? Its files are thrown away either way."""
    start_timeout_s: ClassVar[float] = START_TIMEOUT_S

    def __init__(self, payload_bytes: int = 57) -> None:
        super().__init__(payload_bytes)
        self._process: ServerTree | None = None
        self._own_links: list[PeerLink] = []

    @classmethod
    def version(cls, program: str) -> str:
        """The first number with dots in what it prints."""
        done = subprocess.run([program, cls.version_option], capture_output=True, text=True, check=False, timeout=20)
        found = re.search(cls.version_pattern, done.stdout + done.stderr)
        return found[1] if found else "unknown"

    @property
    def process(self) -> ServerTree:
        """What is measured; only between `start` and `stop`."""
        assert self._process is not None, f"{self.name} is not running"
        return self._process

    @abstractmethod
    def command(self, program: str, workdir: Path, users: Sequence[str], contacts: Contacts) -> list[str]:
        """Write what it needs into `workdir` and give the command that runs it in the foreground on `self.port`."""

    def environment(self, workdir: Path) -> Mapping[str, str]:
        """What it needs in its environment."""
        return {}

    def prepare(self, users: Sequence[str], contacts: Contacts) -> None:
        """What is left to do once it takes connections."""

    def start(self, core: int, workdir: Path, users: Sequence[str], contacts: Contacts) -> None:
        """Start it and wait until it takes connections; with another port if somebody took ours in between."""
        program = self.program_path()
        for attempt in range(START_TRIES):
            own = workdir / f"{self.name}-{attempt}"
            own.mkdir(parents=True)
            self.port = free_port()
            command = self.command(program, own, users, contacts)
            environment = dict(self.environment(own)) | (self.tls.environment if self.tls is not None else {})
            self._process = process = ServerTree(
                command, core, own / "log", environment=environment, gentle=self.gentle
            )
            try:
                if process.wait_for_port(self.port, timeout_s=self.start_timeout_s):
                    self.prepare(users, contacts)
                    return
            except BaseException:
                self.stop()
                raise
            self.stop()
            if not port_is_taken(self.port):
                break
        raise PeerFailed(f"{self.name} did not start ({' '.join(command)}); it said:\n{process.errors()}")

    def stop(self) -> None:
        """End and reap it; idempotent."""
        for link in self._own_links:
            link.close()
        self._own_links.clear()
        if self._process is not None:
            self._process.stop()
            self.trouble = self._process.trouble


def is_root() -> bool:
    """Some servers will not run as root unless they are told that it is meant."""
    return os.geteuid() == 0
