"""While the data directory is read: operators are answered, signals are heard, clients wait, and nothing on the loop's
thread touches the engine. The replay is held back at a gate, half way or where all has been read."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import re
import shutil
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from presenced.cli import exits
from presenced.cli.admin_link import AdminLink
from presenced.config.settings import Settings
from presenced.core.restorer import Restorer
from presenced.errors import RequestError
from presenced.http.listener import HttpServer
from presenced.ops import metrics
from presenced.ops.admin_messages import VERBS
from presenced.ops.operations import Operations
from presenced.ops.startup import Starting
from presenced.server import replay, snapshots
from presenced.server.replay import StartAbandoned
from presenced.server.server import Server
from presenced.storage import meter
from presenced.storage.files import OsDirectory
from presenced.storage.layout import segment_name
from presenced.storage.manifest import read_manifest
from presenced.storage.recovery import DamageError
from presenced.storage.store import Locked
from presenced.wire.messages import Get, SetStatus
from tests.cli.commands import ctl
from tests.ops.http_stand import pages
from tests.support.daemon import Daemon
from tests.support.service_manager import Manager, listening
from tests.support.status import made_status
from tests.support.until import PATIENCE_S, until
from tests.support.wire import DONE, RECORDS, WELCOME, Wire, hello, opened

TEXTS = 40
HELD_AT = 10
"""The frame of the log after which the replay waits."""

GATE = """
import os
from presenced.core.restorer import Restorer
from presenced.server import replay
from presenced.storage import meter
replay.TELL_EVERY_MS = {tell_every_ms}
meter.PROGRESS_BYTES = 1
apply, applied = Restorer.apply_log, []
def held(self, facts):
    apply(self, facts)
    applied.append(1)
    if len(applied) == {held_at}:
        # Until the other end of the pipe is closed.
        open({gate!r}).read()
Restorer.apply_log = held
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of a daemon that was killed, with many users and a log of many frames."""
    place = tmp_path_factory.mktemp("kept")
    with Daemon(place / "log", "--data-dir", str(place / "data")) as daemon:
        with opened(daemon.port, "service", role="service") as link:
            for number in range(1, TEXTS + 1):
                user = f"user{number}" if number < TEXTS else "alice"
                link.send(SetStatus(number, text=f"text {number}", user=user))
                assert link.until(DONE)[1] == number
        daemon.kill()
    return place / "data"


@pytest.fixture
def data(kept: Path, tmp_path: Path) -> Path:
    """A copy of one's own."""
    return Path(shutil.copytree(kept, tmp_path / "data"))


# --- a real daemon ------------------------------------------------------------------------------------------------


class Held:
    """A daemon whose replay waits; it can be asked over HTTP and the admin socket, and clients can connect."""

    def __init__(
        self,
        tmp_path: Path,
        data: Path,
        *options: str,
        environ: dict[str, str] | None = None,
        tell_every_ms: int = 3_600_000,
    ) -> None:
        self.admin = str(tmp_path / "admin.sock")
        gate = tmp_path / "gate"
        os.mkfifo(gate)
        with listening() as http, listening() as client:
            self.http_port, self.port = http.getsockname()[1], client.getsockname()[1]
            self.daemon = Daemon(
                tmp_path / "log",
                *("--data-dir", str(data), "--admin-socket", self.admin),
                *options,
                environ={"LISTEN_FDNAMES": "http:client", **(environ or {})},
                sockets=(http, client),
                patches=GATE.format(gate=str(gate), held_at=HELD_AT, tell_every_ms=tell_every_ms),
                starts=False,
            )
        self._gate = -1

        def reached() -> bool:
            try:
                self._gate = os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                assert error.errno == errno.ENXIO and self.daemon.process.poll() is None, self.daemon.log()
            return self._gate >= 0

        try:
            until(reached, lambda: f"the replay does not begin\n{self.daemon.log()}")
        except BaseException:
            self.daemon.kill()
            raise

    def go_on(self) -> None:
        """Let the replay go on, and return once the daemon serves."""
        self.release()
        assert self.daemon.first_line().startswith("listening on "), self.daemon.log()

    def release(self) -> None:
        if self._gate >= 0:
            os.close(self._gate)
            self._gate = -1

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=PATIENCE_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self.daemon.kill()


def percent_in(text: str) -> int:
    found = re.search(r"the daemon is starting and has read (\d+) % of the data directory", text)
    assert found is not None, text
    return int(found[1])


def test_operators_are_answered_and_clients_wait(data: Path, tmp_path: Path) -> None:
    with Held(tmp_path, data, tell_every_ms=0) as held:
        early = Wire(held.port)
        early.send(hello("bob"))
        assert held.get("/healthz") == (200, "ok\n")
        status, told = held.get("/readyz")
        assert status == 503 and told.startswith("not ready: ") and 0 < percent_in(told) < 99 and len(told) < 100
        status, told = held.get("/metrics")
        assert status == 200 and 'presenced_state{state="starting"} 1.0' in told and "presenced_ready 0.0" in told
        assert "presenced_users_online" not in told, "a zero would be a lie"
        status, told = held.get("/statusz")
        assert status == 503 and "<!doctype html>" in told and 0 < percent_in(told) < 99
        status, told = held.get("/statusz.json")
        assert status == 503 and json.loads(told)["state"] == "starting" and percent_in(json.loads(told)["message"])
        assert held.get("/")[0] == 200 and held.get("/nowhere")[0] == 404
        done = ctl("--socket", held.admin, "status")
        assert done.returncode == exits.TEMPORARY and done.stdout == ""
        assert 0 < percent_in(done.stderr) < 99 and "ask again in a moment" in done.stderr
        with AdminLink(held.admin, PATIENCE_S) as link:
            for verb in VERBS:
                with pytest.raises(RequestError) as refused:
                    link.ask(verb)
                assert refused.value.code == "starting" and percent_in(str(refused.value)) > 0
            assert early.quiet(), "nobody is served before"
            held.go_on()
            assert early.until(WELCOME)
            early.send(Get(1, ["alice"]))
            assert f"text {TEXTS}" in early.until(RECORDS)[4][0]
            early.close()
            assert link.ask("status")["state"] == "serving"
        assert held.get("/readyz") == (200, "ready\n")
        assert held.get("/statusz")[0] == held.get("/statusz.json")[0] == 200
        assert "presenced_users_online" in held.get("/metrics")[1]
        held.daemon.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_it_ends_at_once_and_harms_nothing(number: int, data: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    with Manager(str(tmp_path / "notify")) as manager, Held(tmp_path, data, environ=manager.environ) as held:
        with AdminLink(held.admin, PATIENCE_S) as link, pytest.raises(RequestError):
            link.ask("status")
        held.daemon.signal(number)
        # The replay is still held: it is not waited for.
        assert held.daemon.wait() == 0, held.daemon.log()
        manager.until("STOPPING=1")
        assert not os.path.exists(held.admin)
        log = held.daemon.log()
        assert "ending before the start is over" in log and "Traceback" not in log
    assert {path.name: path.read_bytes() for path in data.iterdir()} == before
    with Daemon(tmp_path / "log2", "--data-dir", str(data)) as daemon, opened(daemon.port, "bob") as link:
        link.send(Get(1, ["alice"]))
        assert f"text {TEXTS}" in link.until(RECORDS)[4][0]


def test_a_reload_waits_until_it_serves_and_no_signal_for_the_running_kills_it(data: Path, tmp_path: Path) -> None:
    config = tmp_path / "presenced.toml"
    config.write_text("[presence]\ngrace = '10s'\n")
    with Manager(str(tmp_path / "notify")) as manager:
        environ = manager.environ
        with Held(tmp_path, data, "--config", str(config), environ=environ) as held:
            config.write_text("[presence]\ngrace = '5s'\n")
            for _ in range(2):
                held.daemon.signal(signal.SIGHUP)
                held.daemon.until_log("reload: put off until the start is over")
            held.daemon.signal(signal.SIGUSR1)
            held.daemon.until_log("snapshot: none is taken, because the daemon is starting")
            assert "presence.grace" not in held.daemon.log()
            held.go_on()
            log = held.daemon.until_log("reload: done in")
            assert "presence.grace: 10s -> 5s" in log
            held.daemon.stop()
            assert held.daemon.log().count("reload: done in") == 1
        told = [lines[0] for lines in manager.waiting() if not lines[0].startswith("STATUS=")]
        assert told == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]


# --- a server in this process -------------------------------------------------------------------------------------


class Gate(NamedTuple):
    """Where the thread of the replay waits."""

    reached: threading.Event
    open: threading.Event
    passed: list[str]
    """For each time that the thread came by, where that was."""

    def hold(self, where: str) -> None:
        """On the thread."""
        self.passed.append(where)
        self.reached.set()
        assert self.open.wait(PATIENCE_S)

    async def until_reached(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not self.reached.is_set():
                await asyncio.sleep(0.005)


@pytest.fixture(params=["half way", "all read"])
def gate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """The replay waits at its first frame, or where nothing is left to be read."""
    gate = Gate(threading.Event(), threading.Event(), [])
    name = "apply_log" if request.param == "half way" else "finish"
    original = getattr(Restorer, name)

    def held(self: Restorer, *args: Any, **named: Any) -> None:
        gate.hold(name)
        original(self, *args, **named)

    monkeypatch.setattr(Restorer, name, held)
    monkeypatch.setattr(meter, "PROGRESS_BYTES", 1)
    monkeypatch.setattr(replay, "TELL_EVERY_MS", 0)
    yield gate
    gate.open.set()


def server_on(data: Path, **fields: Any) -> Server:
    return Server(Settings(dev=True, listen="127.0.0.1:0", data_dir=str(data), **fields))


def replaying_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("replay")]


async def assert_good(data: Path) -> None:
    """The lock is free, in this very process, and everything is there."""
    again = server_on(data)
    await again.start(Operations(again))
    assert again.engine.users["alice"].record.text == f"text {TEXTS}"
    await again.stop()
    assert not replaying_threads()


class Untouchable:
    """An engine that nobody may look at now."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"{name} of the engine was asked for while the data directory is read")


async def asked(http: HttpServer, path: str) -> int:
    """The status of the answer, over a real connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    status = int((await reader.readline()).split()[1])
    await reader.read()
    writer.close()
    await writer.wait_closed()
    return status


async def test_nothing_on_the_loop_s_thread_touches_the_engine(
    gate: Gate, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = server_on(data, http="127.0.0.1:0", admin_socket=str(tmp_path / "admin.sock"))
    operations = Operations(server)
    starting = asyncio.create_task(server.start(operations))
    await gate.until_reached()
    engine, server.engine = server.engine, cast(Any, Untouchable())
    assert operations.http is not None
    for path in ("/", "/healthz", "/metrics", "/readyz", "/statusz", "/statusz.json", "/nowhere", "/ws"):
        assert (await asked(operations.http, path)) in (200, 404, 503), path
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "admin.sock"))
    for verb in VERBS:
        writer.write(json.dumps({"do": verb}).encode() + b"\n")
        assert json.loads(await reader.readline())["code"] == "starting"
    writer.close()
    await writer.wait_closed()
    operations.begin_reload()
    server.take_snapshot()
    operations._wants_reload = False
    server.engine = engine
    gate.open.set()
    await starting
    assert server.state == "serving" and not replaying_threads()
    await server.stop()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_stopped_meanwhile_it_ends_in_order(gate: Gate, data: Path) -> None:
    server = server_on(data)
    starting = asyncio.create_task(server.start(Operations(server)))
    await gate.until_reached()
    stopping = [asyncio.create_task(server.stop()) for _ in range(2)]
    await asyncio.sleep(0)
    assert server.state == "starting" and replaying_threads(), "what the thread works on is not taken from it"
    gate.open.set()
    with pytest.raises(StartAbandoned):
        await starting
    await asyncio.gather(*stopping)
    await server.wait_stopped()
    assert server.state == "stopped" and not replaying_threads()
    assert len(gate.passed) == 1, "the rest is not read"
    await assert_good(data)


async def test_cancelled_meanwhile_it_waits_for_the_thread(gate: Gate, data: Path) -> None:
    server = server_on(data)
    starting = asyncio.create_task(server.start(Operations(server)))
    await gate.until_reached()
    for _ in range(3):
        starting.cancel()
        await asyncio.sleep(0)
    assert not starting.done() and replaying_threads()
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert server.state == "stopped" and not replaying_threads()
    await assert_good(data)


async def test_stopped_before_the_replay_it_does_not_begin_one(tmp_path: Path) -> None:
    server = server_on(tmp_path / "data")
    operations = Operations(server)
    open_operators = operations.open

    async def open_and_stop() -> None:
        await open_operators()
        await server.stop()

    operations.open = open_and_stop  # type: ignore[method-assign]
    with pytest.raises(StartAbandoned):
        await server.start(operations)
    assert server.state == "stopped" and not (tmp_path / "data").exists()


async def test_what_is_found_on_the_thread_reaches_the_caller(data: Path) -> None:
    holder = server_on(data)
    await holder.start(Operations(holder))
    second = server_on(data)
    with pytest.raises(Locked):
        await second.start(Operations(second))
    assert second.state == "stopped" and not replaying_threads()
    await holder.stop()
    directory = OsDirectory(data, create=False)
    manifest, _ = read_manifest(directory)
    directory.close()
    assert manifest is not None
    (data / segment_name(manifest.segments[-1].number)).unlink()
    damaged = server_on(data)
    with pytest.raises(DamageError):
        await damaged.start(Operations(damaged))
    assert damaged.state == "stopped" and not replaying_threads()


# --- what is said -------------------------------------------------------------------------------------------------


def test_metrics_have_the_names_and_the_help_that_they_have_later() -> None:
    now = Starting("", "uvloop", 1_000)
    lines = metrics.render_starting(now).decode().splitlines()
    said = [line for line in lines if line.startswith("#")]
    later = metrics.render(metrics.registry_of(made_status)).decode().splitlines()
    assert said and {*said} <= {*later}
    labels = [
        line.partition("{")[2].count("=")
        for line in metrics.render_starting(now).decode().splitlines()
        if "_info{" in line
    ]
    assert labels == [line.partition("{")[2].count("=") for line in later if line.startswith("presenced_build_info{")]


def test_no_page_is_kept_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now: list[Starting | None] = [Starting("the daemon is starting", "uvloop", 1)]
    made = pages()
    monkeypatch.setattr(made, "_starting", lambda: now[0])
    assert made.answer("/statusz").status == 503
    now[0] = None
    assert made.answer("/statusz").status == 200


async def test_the_percentage_never_falls_and_is_a_hundred_only_when_it_serves(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "PROGRESS_BYTES", 1)
    monkeypatch.setattr(replay, "TELL_EVERY_MS", 0)
    monkeypatch.setattr(snapshots, "PIECE_BYTES", 1)
    # The second time from a snapshot, of which the users who sleep are a few frames.
    for least in (TEXTS / 2, 4):
        told: list[int] = []
        server = server_on(data)
        operations = Operations(server)
        operations.replaying = told.append  # type: ignore[method-assign,assignment]
        await server.start(operations)
        assert told == sorted(told) and told[-1] <= 99, told
        assert len({*told}) > least, told
        server.take_snapshot()
        await server.stop()
