"""`BlockingTestServer`: the same for applications without asyncio, with the clients of `presenced.sync`."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import Any

import pytest

import presenced
import presenced.sync
from presenced.testing import BlockingTestServer, StandstillError, TestServerError
from presenced.testing.host_thread import HostThread


def test_a_blocking_application_sees_time_pass() -> None:
    with BlockingTestServer(check=True) as server:
        anna, backend = server.connect("anna"), server.connect_service()
        server.advance(minutes=5)
        assert server.status_of("anna") == "away"
        assert backend.get_status("anna").status == "away"
        with server.connect("bob", "phone", kind="mobile") as bob:
            bob.set_status("dnd", text="busy", until=60)
            server.advance(60)
            assert server.record_of("bob").text == ""
        server.settle()
        assert server.statuses_of("bob") == ["online", "dnd", "online", "offline"]
        server.restart(down=1)
        server.until_connected(anna)
        assert anna.state == "connected"
        seen: list[bool] = []
        server.until(lambda: seen.append(True) or len(seen) > 1, within="1m")  # type: ignore[func-returns-value]
        anna.active()
        assert server.status_of("anna") == "online"
        assert server.now_ms == round(server.now.timestamp() * 1000)


def test_no_time_passes_while_a_callback_runs() -> None:
    seen: list[tuple[int, str]] = []
    with BlockingTestServer() as server:
        begun_ms = server.now_ms
        backend = server.connect_service()

        def application(event: Any) -> None:
            time.sleep(0.05)
            seen.append((server.now_ms - begun_ms, event.new))
            if event.new == "away":
                backend.set_text(event.user, "is away")

        backend.on("status_change", application)
        server.connect("anna")
        server.advance("2h")
        assert seen == [(0, "online"), (300_000, "away"), (3_600_000, "offline")]
        assert server.record_of("anna").text == "is away"


def test_what_the_application_connects_by_itself_is_on_the_clock_too() -> None:
    before = threading.active_count()
    with BlockingTestServer() as server:
        with presenced.sync.connect(server.url_of("anna", "laptop"), idle=0) as anna:
            with anna.watch("anna") as watch:
                assert next(watch).new.status == "online"
                server.advance(minutes=5)
                assert next(watch).new.status == "away"
        with presenced.sync.connect_service(server.url_of("backend")) as backend:
            assert backend.get_status("anna").status == "offline"
    assert threading.active_count() == before
    with pytest.raises(presenced.ConnectionLost):
        presenced.sync.connect("presence://anna@127.0.0.1:1/laptop")


def test_a_thread_of_the_application_is_waited_for() -> None:
    with BlockingTestServer(outside_s=1, heartbeat="4m") as server:
        backend = server.connect_service()
        followed = backend.events()
        followed.__enter__()
        begun = threading.Event()

        def application() -> None:
            for event in followed:
                begun.set()
                if event.kind == "offline":
                    return
                if event.kind == "status_change" and event.new == "away":
                    backend.set_text(event.user, "is away")

        thread = threading.Thread(target=application)
        thread.start()
        server.connect("anna")
        assert begun.wait(60)
        server.advance(minutes=6)
        server.settle()
        assert server.record_of("anna").text == "is away"
        server.advance(hours=1)
        thread.join(60)
        assert not thread.is_alive()


class Late:
    """A future whose value reaches the thread that waits for it late, as on a busy machine: when the loop has nothing
    left to do but wait for what is outside."""

    def __init__(self, future: Future[Any], asked: threading.Semaphore, loop_waits: threading.Event) -> None:
        self._future = future
        self._asked = asked
        self._loop_waits = loop_waits

    def result(self) -> Any:
        self._asked.release()
        value = self._future.result()
        assert self._loop_waits.wait(60)
        return value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._future, name)


class Watched:
    """The selector of a loop, which sets `loop_waits` when the loop waits for what is outside."""

    def __init__(self, selector: Any, outside_s: float, loop_waits: threading.Event) -> None:
        self._selector = selector
        self._outside_s = outside_s
        self._loop_waits = loop_waits

    def select(self, timeout_s: float | None = None) -> Any:
        if timeout_s == self._outside_s:
            self._loop_waits.set()
        return self._selector.select(timeout_s)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selector, name)


def test_a_thread_of_the_application_may_wake_up_late(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, loop_waits, heard = threading.Semaphore(0), threading.Event(), []
    tester, result = threading.current_thread(), HostThread.result

    def late(host: HostThread, future: Future[Any]) -> Any:
        is_testers = threading.current_thread() is tester
        return result(host, future if is_testers else Late(future, asked, loop_waits))  # type: ignore[arg-type]

    with BlockingTestServer(outside_s=0.5, heartbeat="4m") as server:
        clock = server._open_host().clock
        assert clock is not None
        monkeypatch.setattr(HostThread, "result", late)
        monkeypatch.setattr(clock, "_selector", Watched(clock._selector, 0.5, loop_waits))
        begun_ms = server.now_ms

        def application() -> None:
            for event in followed:
                if event.kind == "status_change":
                    heard.append((event.new, server.now_ms - begun_ms))
                    if event.new == "away":
                        return

        with server.connect_service().events() as followed:
            thread = threading.Thread(target=application)
            thread.start()
            assert asked.acquire(timeout=60)
            anna = server.connect("anna")
            loop_waits.set()
            assert asked.acquire(timeout=60)
            server.settle()
            loop_waits.clear()
            server.advance(minutes=6)
            loop_waits.set()
            thread.join(60)
        assert heard == [("online", 0), ("away", 300_000)] and anna.state == "connected"


def test_failures_end_on_the_servers_thread() -> None:
    with BlockingTestServer(grace="5s") as server:
        anna = server.connect("anna")
        with server.read_only(), pytest.raises(presenced.RequestError, match="disk is full"):
            anna.set_status("dnd")
        with server.fail("set_status", "forbidden"), pytest.raises(presenced.RequestError):
            anna.set_status("dnd")
        with server.refuse("busy"), pytest.raises(presenced.ConnectionLost):
            server.connect("bob")
        with server.cut_off(anna):
            server.advance(6)
            assert server.status_of("anna") == "offline"
        server.advance(30)
        assert (anna.state, server.status_of("anna")) == ("connected", "online")
        server.lose_link("anna", code="kicked")
        assert anna.state == "connecting"
        server.kill()
        server.lose_disk()
        server.start()
        fault = server.freeze("anna")
        slow, still = server.slow(0), server.pause()
        for one in (still, slow, fault):
            one.end()
        server.stop()
    fault.end()
    with pytest.raises(presenced.ConnectionLost, match="this connection is closed"):
        anna.get_status("bob")


def test_tokens_of_functions_are_asked_for_by_the_servers_clock() -> None:
    with BlockingTestServer(tokens=True) as server:
        asked: list[int] = []

        def token() -> str:
            time.sleep(0.01)
            asked.append(server.now_ms)
            return server.token("anna", expires_in="1h")

        anna = server.connect("anna", idle=None, token=token)
        server.advance(hours=3)
        assert anna.state == "connected" and len(asked) >= 3


def test_the_test_is_told_if_it_waits_for_a_clock_that_stands_still() -> None:
    with BlockingTestServer(patience_s=0.05) as server:
        anna = server.connect("anna")
        with server.pause(), pytest.raises(StandstillError, match=r"server\.advance"):
            anna.get_status("bob")
        assert anna.get_status("bob").status == "offline"


def test_what_cannot_work_is_said() -> None:
    server = BlockingTestServer()
    with pytest.raises(TestServerError, match="not open yet"):
        server.advance(1)
    with server:
        assert repr(server).startswith("<BlockingTestServer at 2026")
        with pytest.raises(TestServerError, match="make another one"):
            server.open()
        server.advance(1)
        with pytest.raises(TestServerError, match="only goes forward"):
            server.advance(minutes=-1)
    server.close()
    with pytest.raises(TestServerError, match="is closed"):
        server.connect("anna")
