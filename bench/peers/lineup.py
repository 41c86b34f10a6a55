"""The servers of one comparative run: who is asked for, who is there, who failed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from bench.errors import BenchError
from bench.load.tls import make_tls
from bench.load.tls_socket import CIPHER, VERSION
from bench.machine.cores import Cores
from bench.peers.base import Contacts, Peer, PeerMissing
from bench.peers.ejabberd import Ejabberd
from bench.peers.mosquitto import Mosquitto
from bench.peers.nats import Nats
from bench.peers.presenced import push_bytes
from bench.peers.prosody import Prosody
from bench.peers.redis import Redis
from bench.results.outcome import OURS, Outcome, Progress, ServerOutcome, median

Connected = TypeVar("Connected")

PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (Redis, Nats, Mosquitto, Ejabberd, Prosody)}

BUSY_MIN = 0.9
"""A saturated server below this was waiting: the load was the limit, and not the server."""


def share_of(server: Peer, count: int, *, least: int = 1) -> int:
    """What a server is given of `count` things to do in a round: at least `least` of them."""
    return max(min(count, least), count // server.share)


class Lineup:
    """Servers that run, in the order of the table. One of ours must run; a peer that was not asked for by name may be
    missing or fail, which `outcome.missing` then tells."""

    def __init__(
        self,
        outcome: Outcome,
        cores: Cores,
        peers: Sequence[str] | None,
        progress: Progress,
        *,
        tls: bool = False,
    ) -> None:
        """`peers`: the names asked for, or None for all that are installed. With `tls` all are run under it, and who
        cannot is missing."""
        self.outcome = outcome
        self.cores = cores
        self.servers: list[Peer] = []
        self._named = peers is not None
        self._progress = progress
        self._wanted = [PEERS[name] for name in (PEERS if peers is None else peers)]
        self._found: list[type[Peer]] = []
        self._tls = tls
        if tls:
            outcome.options["tls"] = True
            outcome.notes.append(
                f"every connection is under TLS, {VERSION} with {CIPHER}, which is checked on each, with one "
                "certificate on P-256; bytes on the wire are those inside of it"
            )
        for kind in self._wanted:
            try:
                kind.find()
                if tls and not kind.speaks_tls:
                    raise PeerMissing(f"{kind.name} is not set up for TLS here; leave it out of --peers, or --tls")
            except PeerMissing as missing:
                if self._named:
                    raise
                outcome.missing[kind.name] = str(missing)
            else:
                self._found.append(kind)

    @property
    def expected(self) -> int:
        """How many peers there will be at most."""
        return len(self._found)

    def start(self, stack: ExitStack, own: Sequence[Peer], users: Sequence[str], contacts: Contacts) -> None:
        """Start `own` and all peers; `stack` ends them."""
        workdir = self._workdir(stack)
        payload_bytes = push_bytes()
        tls = make_tls(workdir / "tls") if self._tls else None
        servers = [*own, *(kind(payload_bytes) for kind in self._found)]
        for index, server in enumerate(servers):
            self._progress(f"starting {server.name}", index, len(servers))
            stack.callback(self._stop, server)
            server.tls = tls
            with self.excused(server):
                server.start(self.cores.server, workdir, users, contacts)
                self.servers.append(server)
                self.outcome.servers[server.name] = ServerOutcome(server.find())
                self.outcome.notes.append(server.about)

    def log_in(self, connect: Callable[[Peer], Connected]) -> dict[str, Connected]:
        """What `connect` makes of each server that runs, with its users logged in, by the server's name."""
        found = {}
        for index, server in enumerate(list(self.servers)):
            self._progress(f"logging in to {server.name}", index, len(self.servers))
            with self.excused(server):
                found[server.name] = connect(server)
        return found

    def take_turns(self, rounds: int, play: Callable[[Peer, int], None]) -> None:
        """`play(server, number)` for each in turn: the warm-up, which has number 0, and `rounds` rounds."""
        for number in range(rounds + 1):
            for server in list(self.servers):
                with self.excused(server):
                    play(server, number)
            self._progress("round", number, rounds)

    def one_by_one(self, users: Sequence[str], play: Callable[[Peer], None]) -> None:
        """Start each peer, let `play` have it while nothing else runs, and end it. May be called again, and leaves out
        who has failed before."""
        for kind in self._found:
            if kind.name in self.outcome.missing:
                continue
            server = kind(push_bytes())
            if server.about not in self.outcome.notes:
                self.outcome.notes.append(server.about)
            self.outcome.servers.setdefault(server.name, ServerOutcome(server.find()))
            with ExitStack() as stack:
                workdir = self._workdir(stack)
                server.tls = make_tls(workdir / "tls") if self._tls else None
                stack.callback(self._stop, server)
                with self.excused(server):
                    server.start(self.cores.server, workdir, users, {})
                    play(server)

    @staticmethod
    def _workdir(stack: ExitStack) -> Path:
        return Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="presenced-bench-", ignore_cleanup_errors=True))
        )

    def _stop(self, server: Peer) -> None:
        """End it; how a peer has ended is worth a note."""
        server.stop()
        if server.trouble and server.name not in self.outcome.missing:
            self.outcome.notes.append(f"{server.name}: {server.trouble}")

    @contextmanager
    def excused(self, server: Peer) -> Iterator[None]:
        """What goes wrong inside is the end of a peer, and not of the run, unless the peer was asked for."""
        try:
            yield
        except (BenchError, OSError) as error:
            if server.name == OURS or (self._named and server.name in PEERS):
                raise
            self.outcome.missing[server.name] = f"{server.name} failed: {error}"
            self.outcome.servers.pop(server.name, None)
            if server in self.servers:
                self.servers.remove(server)
            server.stop()

    def note_work(self, count: int, what: str, *, least: int = 1) -> None:
        """Say how much each server is given in a round, where that is not the same, and which may merge."""
        servers = self.servers
        merging = [server.name for server in servers if server.merges]
        for server in servers:
            if server.share > 1:
                self.outcome.notes.append(
                    f"{server.name}: {share_of(server, count, least=least):,} {what} per round, the others {count:,}, "
                    "as each takes it tens of times longer; figures are for each delivery"
                )
        if merging and what != "logins":
            self.outcome.notes.append(
                f"may tell only the latest of several changes: {', '.join(merging)}; all others must tell each"
            )

    def note_limits(self) -> None:
        """Say where the load was the limit of a profile that should saturate the server."""
        low = {}
        for name, server in self.outcome.servers.items():
            busy = server.figures.get("server_core_busy", [])
            if busy and median(busy) < BUSY_MIN:
                low[name] = f"{name} {median(busy):.0%}"
        if low:
            self.outcome.notes.append(
                "the load, or something else on the machine, set the pace where a server's core was busy for less than "
                f"{BUSY_MIN:.0%} of the time ({', '.join(low.values())}): its rate could be higher, and its CPU for "
                "each is right"
            )
