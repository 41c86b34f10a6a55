"""The interpreter's collector while serving: never everything at once, and nothing that comes and goes needs it."""

from __future__ import annotations

import gc
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from presenced.server import collector as collector_module
from presenced.server.collector import MIDDLE_COLLECTIONS, Collector
from presenced.server.server import Server
from presenced.wire.messages import Bye, Join, Ping, SetStatus, Watch, WatchChannel
from tests.support.certificates import make_certificate
from tests.support.in_process import InProcess
from tests.support.wire import Wire, opened


@pytest.fixture
def by_hand() -> Iterator[None]:
    """The collector rests unless it is called."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def living(*kinds: str) -> dict[str, int]:
    """How many objects of these types there are."""
    names = [type(thing).__name__ for thing in gc.get_objects()]
    return {kind: names.count(kind) for kind in kinds}


@pytest.mark.usefixtures("by_hand")
@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_links_that_come_and_go_leave_no_cycles(transport: str, tmp_path: Path) -> None:
    trust, options = None, {}
    if transport == "tls":
        cert, key = make_certificate(tmp_path, "server")
        trust = ssl.create_default_context(cafile=str(cert))
        options = {"tls_cert": str(cert), "tls_key": str(key)}
    kinds = (
        "Conversation",
        "Intake",
        "Farewell",
        "TcpTransport",
        "TlsTransport",
        "PlainConnection",
        "TlsConnection",
        "SSLSocket",
        "Session",
        "FrameReader",
        "Account",
        "Task",
        "SSLProtocol",
        "TCPTransport",
        "News",
    )

    def settled(server: Server) -> bool:
        # Those that said hello wait in a queue until its deadline, ended or not.
        server.links.run_due(server.pacing.begin() + 60_000)
        return not server.links and not server.links.deadlines.hellos and not server.links.deadlines.ends

    with InProcess(rate=1_000, grace_ms=0, **options) as running:
        opened(running.port, "first", tls=trust).close()
        running.until(settled)
        before = living(*kinds)
        for number in range(30):
            with opened(running.port, f"user{number % 5}", f"device{number % 3}", tls=trust) as link:
                link.send(Watch(1, ["user1", "nobody"]), Join(2, "room"), WatchChannel(3, "room"), SetStatus(4, "dnd"))
                link.next()
                if number % 3 == 0:
                    link.send(Bye())
                elif number % 3 == 1:
                    link.send_bytes(b"\0\0\0\0")
            Wire(running.port).close()
        running.until(settled)
        left = {kind: count - before[kind] for kind, count in living(*kinds).items()}
        # The last may still be on its way out; a cycle in each would be thirty.
        assert max(left.values()) <= 3, left


def test_what_has_grown_old_is_looked_at_once_and_then_kept_out_of_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(collector_module.gc, "collect", lambda: calls.append("collect"))
    monkeypatch.setattr(collector_module.gc, "freeze", lambda: calls.append("freeze"))
    collector = Collector()
    thresholds = gc.get_threshold()
    collector.begin()
    try:
        assert calls == ["freeze"] and gc.get_threshold()[2] > 1_000_000, "never by itself"
        for _ in range(MIDDLE_COLLECTIONS):
            assert not collector.due
            collector._collecting("start", {"generation": 1})
            collector._collecting("stop", {"generation": 1})
            collector._collecting("start", {"generation": 0})
            collector._collecting("stop", {"generation": 0})
        assert collector.due and collector.pauses.count >= 2 * MIDDLE_COLLECTIONS
        collector.collect()
        assert calls == ["freeze", "collect", "freeze"] and not collector.due
    finally:
        collector.end()
        collector.end()
        gc.set_threshold(*thresholds)


def test_a_server_that_has_one_collects_after_the_turn_in_which_it_is_due() -> None:
    class Counted(Collector):
        def __init__(self) -> None:
            super().__init__()
            self.collected = 0

        def collect(self) -> None:
            self.due = False
            self.collected += 1

    counted = Counted()

    def give(server: Server) -> None:
        counted.due = True
        server.pacing.begin()

    with InProcess(parts={"collector": counted}) as running:
        running.ask(give)
        running.until(lambda server: counted.collected == 1)
        with opened(running.port, "alice") as link:
            link.send(Ping(1))
            link.next()
        assert counted.collected == 1
