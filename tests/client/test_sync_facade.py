"""The client without an event loop: plain threads, blocking iterators, and what may go wrong with them."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator

import pytest

import presenced
import presenced.sync
from tests.client.fake_server import DEADLINE_S
from tests.server.in_process import InProcess


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
    assert started.wait(DEADLINE_S)
    p.close()
    assert ended.wait(DEADLINE_S)
    thread.join(DEADLINE_S)
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
    assert outcomes.get(timeout=DEADLINE_S) == "ConnectionLost"
    thread.join(DEADLINE_S)
    server.until(lambda server: not server.links)


def test_callbacks_run_beside_it_and_may_be_ended(p: Service) -> None:
    told: queue.Queue[presenced.Event] = queue.Queue()
    end = p.on("online", told.put)
    p.attach("u1", "web")
    assert told.get(timeout=DEADLINE_S).user == "u1"
    end()
    p.attach("u2", "web")
    p.ping()
    assert told.empty()


def test_a_callback_that_waits_for_its_own_connection_is_told_so(p: Service) -> None:
    raised: queue.Queue[BaseException] = queue.Queue()

    def callback(event: presenced.Event) -> None:
        try:
            p.get_status(event.user)
        except RuntimeError as error:
            raised.put(error)

    p.on("online", callback)
    p.attach("u1", "web")
    assert "hand the work to another thread" in str(raised.get(timeout=DEADLINE_S))


def test_many_threads_may_use_one_connection(p: Service) -> None:
    def work(number: int) -> None:
        for device in range(5):
            p.attach(f"u{number}", f"d{device}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
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
