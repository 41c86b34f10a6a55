"""What goes wrong on one link stays there; what goes wrong in the turn itself ends the server; nothing is left over."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from dataclasses import replace
from typing import Any

import pytest

from presenced.server import pacing
from presenced.server.clocks import SYSTEM_CLOCKS
from presenced.wire.codec import encode
from presenced.wire.messages import Bye, Get, Heartbeat, Ping, SetStatus, Watch, Who
from tests.support.in_process import LOOPS, InProcess
from tests.support.lowering import lower_in_process
from tests.support.tiers import samples
from tests.support.wire import DONE, PONG, PRESENCE, WELCOME, Bystander, Wire, hello, opened

both_loops = pytest.mark.parametrize("loop", LOOPS)


@both_loops
def test_a_bug_met_by_one_link_ends_that_link_alone(
    loop: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(engine: object, session: object, now_ms: int, message: Get) -> None:
        if message.users == ["poison"]:
            raise RuntimeError("a bug of ours")
        healthy.apply(engine, session, now_ms, message)  # type: ignore[arg-type]

    with InProcess(loop, grace_ms=0, change_spacing_ms=0) as running, caplog.at_level(logging.INFO):
        handlers = running.server.links.requests._handlers
        healthy = handlers[Get]
        monkeypatch.setitem(handlers, Get, replace(healthy, apply=broken))
        beside = Bystander(running.port)
        observer = opened(running.port, "observer")
        observer.send(Watch(1, ["victim"]))
        observer.next()
        with opened(running.port, "victim") as victim:
            kind, record = observer.next()
            assert (kind, record[1]) == (PRESENCE, "online")
            victim.send(Ping(1), Get(2, ["poison"]), Ping(3))
            assert victim.next()[:2] == [PONG, 1]
            goodbye = victim.ended_with("link_failed")
            assert "bug" not in goodbye[2], "our insides are nobody's business"
        kind, record = observer.next()
        assert (kind, record[1]) == (PRESENCE, "offline")
        observer.send(Get(2, ["victim"]))
        assert observer.next()[4] == [record], "once"
        beside.check()
        assert running.ask(lambda server: server.pacing.failure) is None
        assert running.loop_errors == []
        for link in (observer, beside):
            link.close()
    failures = [entry for entry in caplog.records if entry.levelno >= logging.ERROR]
    assert len(failures) == 1
    assert failures[0].exc_info is not None and failures[0].exc_info[0] is RuntimeError
    assert "victim/laptop" in failures[0].getMessage()


@both_loops
def test_a_bug_during_hello_ends_that_link_alone(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with InProcess(loop, change_spacing_ms=0) as running:
        beside = Bystander(running.port)
        attach = running.server.engine.sessions.attach

        def broken(now_ms: int, session: Any, *rest: Any, **named: Any) -> Any:
            if session.user_name == "poison":
                raise KeyError("a bug of ours")
            return attach(now_ms, session, *rest, **named)

        monkeypatch.setattr(running.server.engine.sessions, "attach", broken, raising=True)
        with Wire(running.port) as link:
            link.send(hello("poison"))
            link.ended_with("link_failed")
        beside.check()
        running.until(lambda server: len(server.links) == 2)
        beside.close()
        assert running.loop_errors == []


def test_a_bug_in_the_turn_stops_the_server(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Half a turn leaves no state to trust; going on would be worse than a restart."""

    def broken(*_: object, **named: object) -> None:
        raise RuntimeError("half a turn")

    with InProcess() as running:
        link = opened(running.port, "alice")
        monkeypatch.setattr(pacing, "run_turn", broken)
        link.send(Ping(1))
        assert link.rest() == [], "no answer, and the end of the connection"
        assert isinstance(running.server.pacing.failure, RuntimeError)
        link.close()
    assert any(entry.levelno == logging.CRITICAL and entry.exc_info for entry in caplog.records)


@pytest.mark.slow
@both_loops
def test_thousands_of_visits_leave_nothing(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some leave with bye, some close, some break the rules; each has watched users that nobody has heard of."""
    visits = max(1_000, samples(5_000) // (1 if loop == "uvloop" else 5))
    lower_in_process(monkeypatch, HELLO_TIMEOUT_MS=1_000, CLOSE_TIMEOUT_MS=100)
    with InProcess(loop, rate=0, check=False, grace_ms=0) as running:
        for number in range(visits):
            link = Wire(running.port)
            messages: list[Any] = [hello(f"visitor-{number % 7}", f"d{number % 3}"), Watch(1, [f"nobody-{number}"])]
            if number % 3 == 0:
                messages.append(Bye())
            elif number % 3 == 1:
                messages.append([1, 2, 3, 4, 5])
            link.send(*messages)
            link.next()
            if number % 5 == 0:
                link.send_bytes(b"\0\0\0\0")
            link.close()
        running.until(lambda server: not server.links)
        running.until(lambda server: server.engine.leases.live == 0)
        running.until(lambda server: len(server.links.deadlines.hellos) == len(server.links.deadlines.ends) == 0)

        def left_over(server: Any) -> list[object]:
            engine = server.engine
            return [
                sorted(engine.users),
                [name for name, user in engine.users.items() if user.watchers],
                len(engine.wheel),
                list(engine.publisher.online),
                engine.ledger.has_facts + len(engine.outboxes.dirty) + len(engine.obligations.acks),
                len(server.links.deadlines.partials) + server.links.shares.throttled + len(server.links.shares.backlog),
            ]

        assert running.ask(left_over) == [[f"visitor-{number}" for number in range(7)], [], 0, [], 0, 0]
        assert running.loop_errors == []


@both_loops
def test_no_exception_reaches_the_loop_whatever_clients_do(loop: str) -> None:
    """Resets and half-sent frames in every state; the loop's own error handler is never called."""
    with InProcess(loop, rate=0, grace_ms=0, change_spacing_ms=0) as running:
        beside = Bystander(running.port)
        for number in range(400):
            link = Wire(running.port)
            messages = [[hello("x", f"d{number % 4}")], [], [hello("x"), Bye()], [hello("y"), Watch(1, ["marker"])]]
            link.send(*messages[number % 4])
            if number % 3 == 0:
                link.send_payload(encode(Bye()) if number % 2 else b"\xc1")
            if number % 5 == 0:
                link.send_bytes(b"\0\0")
            if number % 2:
                link.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            link.close()
        beside.check()
        beside.close()
        running.until(lambda server: not server.links)
        assert running.loop_errors == []
        assert running.ask(lambda server: server.pacing.failure) is None


def test_a_reset_between_bye_and_the_close() -> None:
    """asyncio's loop shuts a socket down at once and raises if the peer has reset it: that is this link's end alone."""
    with InProcess("asyncio") as running:
        beside = Bystander(running.port)
        link = opened(running.port, "leaver")

        def reset_then_bye(server: Any) -> None:
            # On the loop's thread: the loop cannot see the reset before the turn that closes the link.
            (session,) = [one.session for one in server.links if one.session.user_name == "leaver"]
            link.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            link.close()
            session.edge.end("")

        running.ask(reset_then_bye)
        running.until(lambda server: len(server.links) == 2)
        beside.check()
        beside.close()


@both_loops
def test_standing_still_between_reading_and_the_turn(loop: str) -> None:
    """A minute passes after some input was read and before its turn: the rest, which lies in the sockets, is read
    before anybody is taken for silent. Who really was silent is found."""
    skipped_ms = 0
    clocks = SYSTEM_CLOCKS._replace(monotonic_ns=lambda: time.monotonic_ns() + skipped_ms * 1_000_000)
    with InProcess(loop, clocks=clocks, heartbeat_ms=8_000, grace_ms=0, change_spacing_ms=0) as running:
        observer = opened(running.port, "observer")
        lively = opened(running.port, "lively")
        silent = opened(running.port, "silent")
        observer.send(Watch(1, ["lively", "silent"]))
        observer.next()

        def stand_still(server: Any) -> None:
            nonlocal skipped_ms
            server.pacing.begin()
            for link in (observer, lively):
                link.send(Heartbeat())
            skipped_ms = 60_000

        running.ask(stand_still)
        silent.ended_with("lease_expired")
        kind, record = observer.next()
        assert (kind, record[:2]) == (PRESENCE, ["silent", "offline"])
        lively.send(Ping(1))
        assert lively.next()[:2] == [PONG, 1]
        assert observer.quiet()
        assert running.ask(lambda server: server.stats.stalls) == 1
        lively.close()
        observer.close()


@both_loops
def test_a_page_and_a_change_in_one_process(loop: str) -> None:
    with InProcess(loop) as running, opened(running.port, "alice") as alice:
        alice.send(SetStatus(1, "dnd"), Who(2))
        answers = {tuple(got[:2]): got for got in (alice.next(), alice.next())}
        assert (DONE, 1) in answers
        assert answers[(70, 2)][6][0][:2] == ["alice", "dnd"], "an answer is never older than the requests before it"
        assert alice.told[0][0] == WELCOME
        assert time.time() * 1000 - alice.told[0][13] < 60_000, "the server's wall time"


def test_stopping_twice_is_stopping_once() -> None:
    with InProcess() as running:
        link = opened(running.port, "alice")

        async def stop_twice() -> None:
            await asyncio.gather(running.server.stop(), running.server.stop())

        asyncio.run_coroutine_threadsafe(stop_twice(), running.loop)
        link.ended_with("going_away")
    assert running.server.stats.goodbyes["going_away"] == 1
