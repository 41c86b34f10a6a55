"""A Redis with replicas and three Sentinels, each a process, and a network between them and the nodes that a test cuts.

Servers and Sentinels know each server by its `public` stretch. Each node has a way of its own to each server, and to a
Sentinel that names that way: what befalls one way befalls that node alone.
"""

from __future__ import annotations

import contextlib
import signal
from contextlib import ExitStack
from pathlib import Path

from tests.support.engines import EngineSilent, RedisServer, free_port
from tests.support.network import Network, Stretch
from tests.support.until import until

SERVICE = "home"
QUORUM = 2
DOWN_MS = 500
ELECTIONS, ELECTION_S = 5, 15.0
LAG_S = 3
"""For so long a primary takes writes whose replicas are silent."""

_QUICK = {"info-period": 200, "ping-period": 100, "publish-period": 200, "ask-period": 200, "tilt-period": 500}
"""Of Sentinels, in ms: so that who comes back is a replica in a second and not in ten, and a Sentinel that stood still
itself believes its eyes again as soon."""


class NodeWay:
    """How one node reaches the engine."""

    def __init__(self, group: EngineGroup) -> None:
        network = group.network
        self.servers = [network.stretch(server.port) for server in group.servers]
        self.pinned: int | None = None
        """The server that the Sentinel names to this node whatever is true; None = it tells the truth."""
        self._group = group
        self.sentinel = network.stretch(group.sentinels[0].port, self._own_names)

    @property
    def url(self) -> str:
        """For `cluster.url`."""
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{SERVICE}"

    @property
    def all(self) -> list[Stretch]:
        """Every stretch of it."""
        return [*self.servers, self.sentinel]

    def _own_names(self, data: bytes) -> bytes:
        for number, public in enumerate(self._group.public):
            own = self.servers[number if self.pinned is None else self.pinned]
            data = data.replace(_bulk(public.port), _bulk(own.port))
        return data


class EngineGroup:
    """The servers, the Sentinels and the ways. Used by `with`."""

    def __init__(self, folder: Path, *, replicas: int = 2) -> None:
        self._stack = ExitStack()
        self.network = self._stack.enter_context(Network())
        self.servers: list[RedisServer] = []
        self.public: list[Stretch] = []
        self.frozen: set[int] = set()
        """Servers that stand still."""
        for number in range(replicas + 1):
            port = free_port()
            public = self.network.stretch(port)
            options = [
                *("replica-announce-ip 127.0.0.1", f"replica-announce-port {public.port}"),
                *("repl-diskless-sync-delay 0", "repl-ping-replica-period 1", "repl-timeout 5"),
                *("min-replicas-to-write 1", f"min-replicas-max-lag {LAG_S}"),
            ]
            if self.public:
                options.append(f"replicaof 127.0.0.1 {self.public[0].port}")
            server = RedisServer(folder / f"redis-{number}", *options, port=port)
            self._stack.callback(server.stop)
            self.servers.append(server)
            self.public.append(public)
        watch = (
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.public[0].port} {QUORUM}",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_MS}",
            f"sentinel failover-timeout {SERVICE} 1500",
        )
        self.sentinels: list[RedisServer] = []
        for number in range(3):
            sentinel = RedisServer(folder / f"sentinel-{number}", *watch, port=free_port(), sentinel=True)
            self._stack.callback(sentinel.stop)
            sentinel.send("SENTINEL", "DEBUG", *(word for name, ms in _QUICK.items() for word in (name, str(ms))))
            self.sentinels.append(sentinel)
        self.wait_whole()

    # --- how it stands ----------------------------------------------------------------------------------------

    @property
    def primary(self) -> int:
        """Which of the servers the Sentinels name."""
        answer = self.sentinels[0].send("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE).split()
        return [public.port for public in self.public].index(int(answer[1]))

    @property
    def failovers(self) -> int:
        """How often the Sentinels have made another the primary."""
        answer = self.sentinels[0].send("SENTINEL", "MASTER", SERVICE).splitlines()
        return int(answer[answer.index("config-epoch") + 1])

    @property
    def is_whole(self) -> bool:
        """Whether every server runs, and all but the primary are its replicas and have caught up."""
        return not self._lacks()

    def _lacks(self) -> str:
        """Why it is not whole; "" = it is."""
        primary = self.primary
        if self.frozen or any(server.process is None or server.process.poll() is not None for server in self.servers):
            return f"of its servers some stand still or are gone ({self.frozen})"
        try:
            told = [_replication(server) for server in self.servers]
        except EngineSilent:
            return "one of its servers is silent"
        others = [one for number, one in enumerate(told) if number != primary]
        online = sum("state=online" in line for key, line in told[primary].items() if key.startswith("slave"))
        named = str(self.public[primary].port)
        is_whole = (
            told[primary]["role"] == "master"
            and online == len(others)
            and all(one["role"] == "slave" and one["master_port"] == named for one in others)
            and all(one["master_link_status"] == "up" for one in others)
        )
        return "" if is_whole else f"the Sentinels name server {primary}, and the servers say {told}"

    def wait_whole(self) -> None:
        """Return once it is."""
        until(lambda: self.is_whole, lambda: f"the engine does not become whole: {self._lacks()}")

    def wait_other_than(self, before: int) -> None:
        """Return once the Sentinels name another primary than this. On a busy machine all three may stand for election
        at once, again and again: then one of them is told to go ahead, as an operator would."""
        for _ in range(ELECTIONS):
            try:
                until(lambda: self.primary != before, "they agree", ELECTION_S)
            except AssertionError:
                # One may be about to, or know of no server that would do.
                with contextlib.suppress(EngineSilent):
                    self.sentinels[0].send("SENTINEL", "FAILOVER", SERVICE)
            else:
                return
        raise AssertionError(f"the Sentinels do not leave server {before}")

    # --- what happens to it -----------------------------------------------------------------------------------

    def kill(self, number: int) -> None:
        """A server is gone, with all that it held."""
        self.servers[number].kill()

    def start(self, number: int) -> None:
        """A server is back, empty. It is what it was last told to be, until the Sentinels say otherwise."""
        self.servers[number].start()

    def freeze(self, number: int) -> None:
        """A server stands still."""
        self.frozen.add(number)
        self._signal(number, signal.SIGSTOP)

    def thaw(self, number: int) -> None:
        """It goes on."""
        self.frozen.discard(number)
        self._signal(number, signal.SIGCONT)

    def _signal(self, number: int, what: signal.Signals) -> None:
        process = self.servers[number].process
        assert process is not None
        process.send_signal(what)

    def __enter__(self) -> EngineGroup:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _bulk(port: int) -> bytes:
    """The port as an element of a Sentinel's answer."""
    text = str(port).encode()
    return b"$%d\r\n%s\r\n" % (len(text), text)


def _replication(server: RedisServer) -> dict[str, str]:
    lines = server.send("INFO", "replication").splitlines()
    return {key: value.strip() for key, found, value in (line.partition(":") for line in lines) if found}
