"""The client without an event loop: plain threads, blocking iterators, and what may go wrong with them."""

from __future__ import annotations

import asyncio
import gc
import inspect
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import presenced
import presenced.sync
from presenced.client import blocking_client
from presenced.client.worker import StateRelay, Worker
from tests.support import REPOSITORY
from tests.support.in_process import InProcess
from tests.support.until import PATIENCE_S, until


@pytest.fixture
def server() -> Iterator[InProcess]:
    with InProcess(change_spacing_ms=0) as server:
        yield server
        assert not server.loop_errors


@pytest.fixture
def p(server: InProcess) -> Iterator[presenced.sync.Blocking[presenced.Service]]:
    with presenced.sync.connect_service(f"presence://chat@127.0.0.1:{server.port}") as p:
        yield p


Service = presenced.sync.Blocking[presenced.Service]


def test_methods_have_the_same_names_and_need_no_await(p: Service) -> None:
    p.attach("u1", "web", kind="browser")
    p.join("u1", "web", "general")
    p.set_status("u1", "dnd", text="busy")
    p.active("u1", "web")
    p.record_activity("u1", "message", channel="general", device="web")
    assert p.get_status("u1").text == "busy"
    assert [done.activity for done in p.get_activity("u1")] == ["message"]
    assert [record.user for record in p.online_users("general")] == ["u1"]
    assert (p.state, p.attached, p.welcome.role) == ("connected", [("u1", "web")], "service")
    assert "record_activity" in dir(p) and "user" in (p.get_status.__doc__ or "")


def test_a_users_device(server: InProcess) -> None:
    with presenced.sync.connect(f"presence://u1@127.0.0.1:{server.port}/laptop") as me:
        assert me.get_status("u1").status == "online"
        me.set_text("hi")
        assert me.own is not None
    server.until(lambda inner: not inner.links)
    assert server.ask(lambda inner: inner.engine.users["u1"].record.status) == "offline", "it said bye"


def test_iterators_block_and_end(p: Service) -> None:
    p.attach("u1", "web")
    with p.watch("u1") as watch, p.events() as events:
        assert next(watch).kind == "snapshot"
        p.set_status("u1", "dnd")
        assert next(watch).new.status == "dnd" and watch.records["u1"].status == "dnd"
        event = next(events)
        assert (event.kind, event.new, events.cursor) == ("status_change", "dnd", event.cursor)
        watch.add("u2")
        assert next(watch).user == "u2"
    assert list(watch) == []
    with p.watch_all() as everyone:
        assert next(everyone).user == "u1"


def test_closing_ends_an_iterator_in_another_thread(server: InProcess) -> None:
    p = presenced.sync.connect_service(f"presence://chat@127.0.0.1:{server.port}")
    started, ended = threading.Event(), threading.Event()

    def read() -> None:
        events = p.events()
        events.__enter__()
        started.set()
        for _ in events:
            pass
        ended.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert started.wait(PATIENCE_S)
    p.close()
    assert ended.wait(PATIENCE_S)
    thread.join(PATIENCE_S)
    p.close()
    with pytest.raises(presenced.ConnectionLost, match="closed"):
        p.get_status("u1")


def test_stopping_releases_whoever_waits(p: Service, server: InProcess) -> None:
    """Even in the middle of a request, and without a word from the server."""
    events = p.events()
    events.__enter__()
    outcomes: queue.Queue[str] = queue.Queue()

    def read() -> None:
        try:
            next(events)
        except (StopIteration, presenced.ConnectionLost) as error:
            outcomes.put(type(error).__name__)

    tasks = len(asyncio.all_tasks(p._thread.loop))
    thread = threading.Thread(target=read)
    thread.start()
    while len(asyncio.all_tasks(p._thread.loop)) == tasks:
        pass
    p._thread.stop()
    assert outcomes.get(timeout=PATIENCE_S) == "ConnectionLost"
    thread.join(PATIENCE_S)
    server.until(lambda server: not server.links)


def test_callbacks_run_beside_it_and_may_be_ended(p: Service) -> None:
    told: queue.Queue[presenced.Event] = queue.Queue()
    end = p.on("online", told.put)
    p.attach("u1", "web")
    assert told.get(timeout=PATIENCE_S).user == "u1"
    end()
    p.attach("u2", "web")
    p.ping()
    assert told.empty()


def test_a_callback_may_call_its_connection_and_close_it(p: Service) -> None:
    told: queue.Queue[str] = queue.Queue()

    def callback(event: presenced.Event) -> None:
        told.put(p.get_status(event.user).status)
        p.close()
        told.put(p.state if p._thread.is_stopping is False else "closed")

    p.on("online", callback)
    p.attach("u1", "web")
    assert [told.get(timeout=PATIENCE_S) for _ in range(2)] == ["online", "closed"]


def test_an_async_callback_that_waits_for_its_own_connection_is_told_so(p: Service) -> None:
    raised: queue.Queue[BaseException] = queue.Queue()

    async def callback(event: presenced.Event) -> None:
        try:
            p.get_status(event.user)
        except RuntimeError as error:
            raised.put(error)

    p.on("online", callback)
    p.attach("u1", "web")
    assert "make it a plain function" in str(raised.get(timeout=PATIENCE_S))


class Slow:
    """A callback that does not return before it is let."""

    def __init__(self) -> None:
        self.begun: queue.Queue[Any] = queue.Queue()
        self.let = threading.Event()

    def __call__(self, *told: Any) -> None:
        self.begun.put(told[0])
        assert self.let.wait(PATIENCE_S)


def test_a_slow_callback_holds_up_neither_heartbeats_nor_calls() -> None:
    with InProcess(heartbeat_ms=100, grace_ms=0, change_spacing_ms=0) as server:
        with presenced.sync.connect_service(f"presence://chat@127.0.0.1:{server.port}") as p:
            slow = Slow()
            p.on("online", slow)
            p.attach("u1", "web")
            assert slow.begun.get(timeout=PATIENCE_S).user == "u1"
            frames = server.ask(lambda inner: inner.stats.frames_in)
            server.until(lambda inner: inner.stats.frames_in > frames + 10)
            p.attach("u2", "web")
            assert p.count_online() == 2 and server.ask(lambda inner: len(inner.links)) == 1
            assert slow.begun.empty(), "one at a time"
            slow.let.set()
            assert slow.begun.get(timeout=PATIENCE_S).user == "u2"


def test_a_slow_own_state_is_acknowledged_once_it_is_shown(server: InProcess) -> None:
    with presenced.sync.connect(f"presence://u1@127.0.0.1:{server.port}/laptop") as me:
        me.sync()
        slow = Slow()
        me.on_own(slow)
        assert slow.begun.get(timeout=PATIENCE_S).record.user == "u1", "what is there already"
        me.set_text("a")
        assert me.get_sync_status().synced == 0
        slow.let.set()
        until(lambda: me.get_sync_status().synced > 0, "it is synced")


def test_every_method_that_takes_a_callback_hands_it_to_the_thread_for_them() -> None:
    found = set()
    for kind in (presenced.Client, presenced.Service):
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_") and "callback" in inspect.signature(method).parameters:
                found.add(name)
    assert found == blocking_client._TAKE_CALLBACKS


def test_of_states_that_pile_up_the_latest_are_told(server: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.client.protocol.backoff.BASE_MS", 1)
    monkeypatch.setattr("presenced.client.worker.STATES_WAITING_MAX", 4)
    with presenced.sync.connect(f"presence://u1@127.0.0.1:{server.port}/laptop") as me:
        slow, told = Slow(), queue.Queue[str]()

        def callback(state: str, reason: object) -> None:
            told.put(state)
            slow(state)

        me.on_state(callback)
        me.on_state(lambda state, reason: None)
        for _ in range(9):
            before = server.ask(lambda inner: list(inner.links))
            server.ask(lambda inner: [link.abort() for link in list(inner.links)])
            # A link that was not there before: the client has noticed the loss, and its state is none from before it.
            server.until(lambda inner, before=before: any(link not in before for link in inner.links))
            while me.state != "connected":
                pass
        slow.let.set()
        me.ping()
        heard = [told.get(timeout=PATIENCE_S) for _ in range(5)]
        assert heard == ["connecting", *["connecting", "connected"] * 2]


def test_a_state_that_comes_while_the_last_one_is_being_told_is_told() -> None:
    loop, worker, told = asyncio.new_event_loop(), Worker("test"), []

    def callback(state: str) -> None:
        told.append(state)
        if state == "first":
            # As the loop's thread does meanwhile.
            tell("second")

    tell = StateRelay(worker, loop, callback)
    tell("first")
    worker.call(lambda: None).result(PATIENCE_S)
    tell._waiting.clear()
    tell("third")
    worker.call(lambda: None).result(PATIENCE_S)
    worker.stop()
    loop.close()
    assert told == ["first", "second", "third"] and not tell._is_asked


def test_a_token_function_holds_up_no_call(server: InProcess) -> None:
    let, asked, names = threading.Event(), threading.Event(), []

    def token() -> str:
        names.append(threading.current_thread().name)
        if len(names) > 1:
            asked.set()
            assert let.wait(PATIENCE_S)
        return "t"

    with presenced.sync.connect(
        f"presence://u1@127.0.0.1:{server.port}/laptop", token=token, request_timeout_s=0.1
    ) as me:
        server.ask(lambda inner: [link.abort() for link in list(inner.links)])
        assert asked.wait(PATIENCE_S)
        with pytest.raises(presenced.ConnectionLost, match="no link to the server for 0.1 s"):
            me.get_status("u2")
        let.set()
    assert set(names) == {"presenced tokens"}


def test_what_a_callback_raises_is_told_and_hurts_no_other(p: Service) -> None:
    told: queue.Queue[str] = queue.Queue()
    p._thread.loop.call_soon_threadsafe(
        p._thread.loop.set_exception_handler, lambda loop, context: told.put(repr(context["exception"]))
    )
    p.on("online", lambda event: 1 / 0)
    p.attach("u1", "web")
    assert "ZeroDivisionError" in told.get(timeout=PATIENCE_S)
    p.attach("u2", "web")
    assert "ZeroDivisionError" in told.get(timeout=PATIENCE_S)


def run_forked(script: str, port: int) -> str:
    """What a program prints that forks while it is connected. In a process of its own: this one has threads."""
    code = (
        f"import os, sys, asyncio, presenced, presenced.sync\nURL = 'presence://u1@127.0.0.1:{port}/laptop'\n{script}"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == "", done.stderr
    return done.stdout


def test_in_a_forked_process_everything_is_an_error_at_once(server: InProcess) -> None:
    """The copy shares the connection: had it said bye, the original's device would be gone."""
    said = run_forked(
        """
with presenced.sync.connect(URL) as me:
    watch = me.watch("u2")
    if os.fork() == 0:
        for call in (me.ping, lambda: me.state, lambda: next(watch), me.close):
            try:
                call()
            except presenced.ConnectionLost as error:
                print(error.code, flush=True)
        try:
            with me:
                pass
        except presenced.ConnectionLost as error:
            print(error)
        sys.stdout.flush()
        os._exit(0)
    os.wait()
    print(me.get_status("u1").status, next(watch).kind)
""",
        server.port,
    )
    assert said.splitlines() == [
        *["forked"] * 4,
        "this connection belongs to the process that this one was forked off from; connect anew here",
        "online snapshot",
    ]


def test_so_it_is_with_the_asynchronous_client(server: InProcess) -> None:
    said = run_forked(
        """
async def main():
    async with presenced.connect(URL) as me:
        if os.fork() == 0:
            for call in (me.ping, me.close, me.watch("u2").start):
                try:
                    await call()
                except presenced.ConnectionLost as error:
                    print(error.code, flush=True)
            me.active()
            del me
            os._exit(0)
        os.wait()
        print((await me.get_status("u1")).status)

asyncio.run(main())
""",
        server.port,
    )
    assert said.split() == ["forked", "forked", "forked", "online"]


def test_one_that_is_dropped_unclosed_says_so_and_leaves(server: InProcess) -> None:
    with pytest.warns(ResourceWarning, match=r"unclosed <presenced.sync <presenced.Client u1/laptop at 127.0.0.1:\d+"):
        presenced.sync.connect(f"presence://u1@127.0.0.1:{server.port}/laptop").ping()
        gc.collect()
    server.until(lambda inner: not inner.links)
    assert server.ask(lambda inner: inner.engine.users["u1"].record.status) == "offline", "it said bye"


def test_one_that_calls_back_or_is_iterated_is_in_use(server: InProcess) -> None:
    told: queue.Queue[str] = queue.Queue()

    def begin() -> Iterator[presenced.Change]:
        p = presenced.sync.connect_service(f"presence://chat@127.0.0.1:{server.port}")
        p.on("online", lambda event: told.put(event.user))
        me = presenced.sync.connect(f"presence://u1@127.0.0.1:{server.port}/laptop")
        ended.append(p._thread.abandon)
        clients.append(p._client)
        return me.watch("u2")

    ended: list[Any] = []
    clients: list[Any] = []
    watch = begin()
    gc.collect()
    assert told.get(timeout=PATIENCE_S) == "u1" and next(watch).kind == "snapshot"
    ended[0](clients.pop())
    watch._client.close()  # type: ignore[attr-defined]


def test_many_threads_may_use_one_connection(p: Service) -> None:
    def work(number: int) -> None:
        for device in range(5):
            p.attach(f"u{number}", f"d{device}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(p.attached) == 40 and p.count_online() == 8


def test_errors_are_the_same_and_leave_no_thread() -> None:
    before = threading.active_count()
    with pytest.raises(presenced.ConnectionLost):
        presenced.sync.connect_service("presence://chat@127.0.0.1:1", timeout_s=1.0)
    with pytest.raises(presenced.AddressError):
        presenced.sync.connect("presence://127.0.0.1:1")
    assert threading.active_count() == before


def test_what_is_not_there_is_an_ordinary_attribute_error(p: Service) -> None:
    with pytest.raises(AttributeError):
        p.get_statsu  # noqa: B018
    with pytest.raises(presenced.AddressError):
        p.get_status("")


def test_an_exception_leaves_the_device_in_grace(server: InProcess) -> None:
    with pytest.raises(ZeroDivisionError):
        with presenced.sync.connect(f"presence://u1@127.0.0.1:{server.port}/laptop"):
            raise ZeroDivisionError
    server.until(lambda inner: not inner.links)
    assert server.ask(lambda inner: inner.engine.users["u1"].record.status) == "online"
