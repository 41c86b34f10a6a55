"""A link that is not read for a while: for one reason at a time, taken up again once, and given up for good."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from presenced.limits import FRAMES_PER_WAKE_MAX, HELLO_PATIENCE_MS, OUTBOX_BYTES_MAX
from presenced.server.conversation import Conversation
from presenced.server.deadlines import Deadlines
from presenced.server.intake import BACKLOG, RATE, READ, REPLIES
from presenced.server.link import AWAITING, CLOSED, OPEN
from presenced.server.server import Server
from presenced.server.transports.tcp import TcpTransport
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Ping
from tests.support.in_process import LOOPS, InProcess
from tests.support.lowering import lower_in_process
from tests.support.wire import PONG, Bystander, opened

PINGS = 640


def pings(count: int = PINGS) -> bytes:
    return b"".join(frame(encode(Ping(number + 1))) for number in range(count))


def link_of(server: Server, user: str) -> Conversation:
    return next(link for link in server.links if link.session is not None and link.session.user_name == user)


def served(server: Server) -> int:
    """Frames that one look at the waiting links handles."""
    before = server.stats.frames_in
    server.links.run_due(server.pacing.begin())
    return server.stats.frames_in - before


def stop_and_read_on(link: Conversation) -> None:
    """Its send buffer fills and drains again, as the transport tells it."""
    link.hold()
    link.drained()


def test_a_link_has_one_turn_in_a_turn_however_often_it_drains() -> None:
    def look(server: Server) -> list[int]:
        # Nothing takes any time, however busy the machine is: what bounds it is the number of frames.
        server.links.shares.monotonic_ns = lambda: 0
        link = link_of(server, "eager")
        link.receive(server.pacing.begin(), pings())
        assert link.intake.paused == BACKLOG
        counts = []
        for _ in range(4):
            stop_and_read_on(link)
            counts.append(served(server))
        return counts

    with InProcess(rate=0) as running, opened(running.port, "eager") as eager:
        beside = Bystander(running.port)
        assert running.ask(look) == [FRAMES_PER_WAKE_MAX] * 4
        for number in range(PINGS):
            assert eager.next()[:2] == [PONG, number + 1]
        assert eager.quiet()
        beside.check()
        beside.close()
        running.until(lambda server: not server.links.shares.backlog and link_of(server, "eager").intake.paused == READ)


def test_a_link_over_its_rate_waits_once_however_often_it_drains() -> None:
    def look(server: Server) -> tuple[int, int, int]:
        link = link_of(server, "eager")
        link.receive(server.pacing.begin(), pings())
        for _ in range(PINGS):
            if link.intake.paused != BACKLOG:
                break
            stop_and_read_on(link)
            server.links.run_due(server.pacing.begin())
        stop_and_read_on(link)
        return link.intake.paused, server.links.shares.throttled, len(server.links.shares.backlog)

    with InProcess(rate=100) as running, opened(running.port, "eager"):
        assert running.ask(look) == (RATE, 1, 0)


def test_a_link_that_reads_its_replies_again_is_taken_up_in_the_next_turn_and_once() -> None:
    def look(server: Server) -> list[int]:
        link = link_of(server, "eager")
        assert link.session is not None
        link.hold()
        link.session.reply_bytes = OUTBOX_BYTES_MAX + 1
        link.receive(server.pacing.begin(), pings(20))
        reasons = [link.intake.paused, len(server.links.shares.backlog)]
        link.session.reply_bytes = 0
        link.drained()
        stop_and_read_on(link)
        return [*reasons, link.intake.paused, len(server.links.shares.backlog)]

    with InProcess(rate=0) as running, opened(running.port, "eager") as eager:
        assert running.ask(look) == [REPLIES, 0, BACKLOG, 1]
        for number in range(20):
            assert eager.next()[:2] == [PONG, number + 1]


class Arriving(asyncio.Transport):
    """A connection whose handshake has just ended."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def abort(self) -> None:
        self.aborted = True


@pytest.mark.parametrize("how", ["abort", "end"])
def test_a_link_that_is_given_up_before_it_is_up_stays_closed(how: str) -> None:
    def look(server: Server) -> None:
        link = server.admission.admit()
        assert link is not None and link in server.links
        if how == "abort":
            link.abort()
            link.abort()
        else:
            link.end("going_away")
        assert link.state == CLOSED and link not in server.links and server.links.ending == 0
        transport, arriving = TcpTransport(link), Arriving()
        transport.connection_made(arriving)
        assert arriving.aborted, "the server gave it up and serves it all the same"
        transport.connection_lost(None)
        assert link.state == CLOSED and link not in server.links

    with InProcess() as running, opened(running.port, "other") as other:
        running.ask(look)
        running.ask(lambda server: server.links.run_due(server.pacing.begin()))
        assert running.ask(lambda server: link_of(server, "other").state) == OPEN
        other.send(Ping(1))
        assert other.next()[:2] == [PONG, 1]


def test_a_link_accepted_a_moment_ago_does_not_give_way() -> None:
    """A newcomer takes the place of one that has said nothing for a while, and of none before that."""
    deadlines = Deadlines()
    silent, later = SimpleNamespace(state=AWAITING), SimpleNamespace(state=AWAITING)
    deadlines.hellos.add(1_000, cast(Any, silent))
    deadlines.hellos.add(1_500, cast(Any, later))
    assert deadlines.take_longest_without_hello(1_000 + HELLO_PATIENCE_MS - 1) is None
    assert deadlines.take_longest_without_hello(1_000 + HELLO_PATIENCE_MS) is silent
    assert deadlines.take_longest_without_hello(1_000 + HELLO_PATIENCE_MS) is None, "the next one came later"


def test_a_link_over_its_rate_is_read_once_it_is_told_goodbye() -> None:
    """What it still sends would otherwise reset the connection when it is closed, and take the goodbye with it."""

    def look(server: Server) -> tuple[int, bool, bool]:
        link = link_of(server, "eager")
        link.receive(server.pacing.begin(), pings())
        server.links.run_due(server.pacing.begin())
        connection = cast(TcpTransport, link.transport).connection
        assert connection is not None
        paused, before = link.intake.paused, connection.is_reading()
        link.end("kicked")
        return paused, before, connection.is_reading()

    with InProcess(rate=10) as running, opened(running.port, "eager") as eager:
        assert running.ask(look) == (RATE, False, True)
        eager.ended_with("kicked")


@pytest.mark.parametrize("loop", LOOPS)
def test_a_throttled_link_that_is_ended_is_read_until_its_peer_closes(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has sent and nobody took would reset the connection, and its close would not be seen."""
    lower_in_process(monkeypatch, CLOSE_TIMEOUT_MS=600_000)
    with InProcess(loop, rate=1) as running, opened(running.port, "eager") as eager:
        eager.send_bytes(pings(5_000))
        running.until(lambda server: link_of(server, "eager").intake.paused == RATE)
        running.ask(lambda server: link_of(server, "eager").end("kicked"))
        assert eager.rest()[-1][1] == "kicked"
        eager.close()
        running.until(lambda server: not server.links)
