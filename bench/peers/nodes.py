"""Our own server as nodes of a cluster, behind the interface that one daemon has: alone in it, or two as one server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.errors import BenchError
from bench.machine.kernel import free_port
from bench.machine.server import Server
from bench.machine.together import Together
from bench.peers.base import Contacts, PeerLink, PeerMissing
from bench.peers.presenced import Presenced
from bench.peers.redis import Redis, server_line

ENGINE_READY = r"port=(\d+)(?s:.*)Ready to accept connections"


def start_engine(core: int, directory: Path) -> Server:
    """The Redis of a cluster, which keeps nothing on the disk. `BenchError` if none is installed."""
    try:
        program = Redis.program_path()
    except PeerMissing:
        raise BenchError(f"a cluster needs a redis-server; install one: apt-get install {Redis.package}") from None
    directory.mkdir(parents=True)
    line = [*server_line(program, free_port()), "--appendonly", "no", "--dir", str(directory)]
    return Server([*line, "--maxmemory-policy", "noeviction"], core, ENGINE_READY)


def node_options(engine: Server, name: str) -> tuple[str, ...]:
    """What makes a daemon a node of this cluster."""
    return ("--cluster", f"redis://127.0.0.1:{engine.port}", "--node", name)


class PresencedNode(Presenced):
    """One node with real tokens, as `Presenced` is without a cluster."""

    def __init__(self, engine: Server, name: str) -> None:
        super().__init__(options=node_options(engine, name), tokens=True)


class PresencedPair(Presenced):
    """Two nodes as one server: every other user is on the second. CPU and memory are those of both; their engine is
    waited for and not counted."""

    name = "presenced, two nodes"

    def __init__(self, engine: Server) -> None:
        super().__init__(tokens=True)
        self.nodes = (PresencedNode(engine, "one"), PresencedNode(engine, "two"))
        self._engine = engine

    @property
    def process(self) -> Together:  # type: ignore[override]
        """Both, and when both and their engine rest."""
        return Together([node.process for node in self.nodes], [self._engine])

    def start(self, core: int, workdir: Path, users: Sequence[str], contacts: Contacts) -> None:
        """Start one after the other."""
        for number, node in enumerate(self.nodes):
            directory = workdir / str(number)
            directory.mkdir(parents=True)
            node.start(core, directory, users, contacts)

    def stop(self) -> None:
        """End both."""
        for node in self.nodes:
            node.stop()

    def open(self, user: str) -> PeerLink:
        """To the node of this user."""
        return self.nodes[self.place_of(user)].open(user)

    @staticmethod
    def place_of(user: str) -> int:
        """On which of the two nodes a user is: 0 or 1, by the number that the name ends in."""
        return int(user[-1]) % 2
