"""The admin socket at a real server: its file, its protocol, and what each request does."""

from __future__ import annotations

import asyncio
import errno
import grp
import logging
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from presenced.cli.admin_link import AdminLink
from presenced.config import Configuration
from presenced.errors import ConnectionLost, RequestError
from presenced.ops import logs
from presenced.ops.admin import (
    CONNECTIONS_MAX,
    AdminServer,
    CannotOpenAdmin,
    SocketPlace,
    group_id,
    listening_socket,
    make_directory,
)
from presenced.ops.admin_messages import LINE_BYTES_MAX, VERBS, AdminLinks
from presenced.ops.control import Caller, Control
from presenced.ops.examination import Examination
from presenced.runtime_paths import admin_path, admin_path_for_commands
from presenced.server.clocks import SYSTEM_CLOCKS
from presenced.server.link import ENDING, OPEN
from presenced.server.link_report import SLICE_LINKS, FoundLinks, LinkQuery, find_links
from presenced.server.server import Server
from presenced.storage.files import DiskFull
from presenced.sync import connect, connect_service
from tests.support.in_process import InProcess
from tests.support.until import PATIENCE_S


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "admin.sock")


@pytest.fixture
def served(path: str) -> Iterator[InProcess]:
    with InProcess(admin_socket=path) as one:
        yield one


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    """The level of the log belongs to the process, and so to all tests."""
    loggers = logging.getLogger("presenced"), logging.getLogger()
    before = [logger.level for logger in loggers]
    loggers[0].setLevel(logging.INFO)
    yield
    for logger, number in zip(loggers, before, strict=True):
        logger.setLevel(number)


@pytest.fixture
def ask(path: str) -> Iterator[Any]:
    with AdminLink(path, PATIENCE_S) as link:
        yield link.ask


@pytest.fixture
def users(served: InProcess) -> Iterator[Any]:
    """Connect users and services; they are closed with the test."""
    with ExitStack() as stack:

        def come(user: str, device: str = "", *watched: str) -> Any:
            if device:
                url = f"presence://{user}@127.0.0.1:{served.port}/{device}"
                client = stack.enter_context(connect(url, reconnect=False))
                if watched:
                    stack.enter_context(client.watch(*watched))
                return client
            return stack.enter_context(connect_service(f"presence://{user}@127.0.0.1:{served.port}", reconnect=False))

        yield come


class Raw:
    """A connection that sends what it likes."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        try:
            self.socket.connect(path)
        except OSError:
            self.socket.close()
            raise
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def send(self, data: bytes) -> Any:
        """The answer; None if the connection was closed instead."""
        self.socket.sendall(data)
        line = self.file.readline()
        return msgspec.json.decode(line) if line else None


NO_CONTROL = cast(Control, None)
"""For sockets over which nothing is asked."""


def open_at(path: str) -> None:
    asyncio.run(AdminServer.open(NO_CONTROL, SocketPlace(path)))


def kicked_with(client: Any) -> ConnectionLost:
    """How a link came to its end, once it has."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            client.ping()
        except ConnectionLost as reason:
            return reason
        assert time.monotonic() < deadline, "the link is still there"


class TestFile:
    @pytest.mark.parametrize("mode", [0o660, 0o600, 0o666])
    def test_its_mode_is_as_set_whatever_the_mask(self, path: str, mode: int) -> None:
        mask = os.umask(0o077)
        try:
            with InProcess(admin_socket=path, admin_mode=mode):
                assert stat.S_IMODE(os.stat(path).st_mode) == mode
                assert os.umask(0o077) == 0o077, "the mask is as it was"
        finally:
            os.umask(mask)

    def test_nobody_else_may_connect_at_any_moment(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Before the mode is set the file is for its owner, and nobody at all is taken before it is."""
        seen: list[int] = []
        real = os.chmod

        def chmod(file: str, mode: int) -> None:
            seen.append(stat.S_IMODE(os.stat(file).st_mode))
            with pytest.raises(ConnectionRefusedError):
                Raw(file)
            real(file, mode)

        monkeypatch.setattr("presenced.ops.admin.os.chmod", chmod)
        mask = os.umask(0)
        try:
            listening_socket(path, 0o660, None).close()
        finally:
            os.umask(mask)
        assert seen == [0o600]

    def test_its_group(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        own = grp.getgrgid(os.getgid())
        with InProcess(admin_socket=path, admin_group=own.gr_name):
            assert os.stat(path).st_gid == own.gr_gid
        with pytest.raises(CannotOpenAdmin, match="'no-such-group' does not exist"):
            group_id("no-such-group")

    @pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL])
    def test_a_group_that_it_may_not_be_given_to(self, path: str, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        """EINVAL is what a unit with PrivateUsers= gets. Its own group it has without asking."""

        def refuse(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("presenced.ops.admin.os.chown", refuse)
        other = next(group for group in grp.getgrall() if group.gr_gid != os.getgid())
        with pytest.raises(CannotOpenAdmin, match=f"members of the group {other.gr_name} .*admin-group.conf") as caught:
            listening_socket(path, 0o660, other.gr_gid)
        assert caught.value.reason.errno == errno.EPERM
        assert not os.path.exists(path), "nothing half-made stays"
        listening_socket(path, 0o660, os.getgid()).close()

    def test_a_caller_without_a_number_here(self) -> None:
        overflow = int(Path("/proc/sys/kernel/overflowuid").read_text())
        assert str(Caller(overflow, 7)) == "unmapped uid (pid 7)"
        assert str(Caller(0, 7)) == "uid 0 (pid 7)"

    def test_one_that_nobody_answers_on_is_replaced(self, path: str, ask: Any) -> None:
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(path)
        stale.close()
        with InProcess(admin_socket=path):
            assert ask("status")["state"] == "serving"

    def test_one_that_answers_is_left_alone(self, served: InProcess, path: str, ask: Any) -> None:
        with pytest.raises(CannotOpenAdmin, match="another presenced answers") as caught:
            open_at(path)
        assert caught.value.reason.errno == errno.EADDRINUSE
        assert ask("status")["state"] == "serving"

    def test_what_is_no_socket_is_left_alone(self, tmp_path: Path) -> None:
        file = tmp_path / "precious"
        file.write_text("letters")
        with pytest.raises(CannotOpenAdmin, match="is no socket"):
            open_at(str(file))
        assert file.read_text() == "letters"

    @pytest.mark.parametrize(
        ("name", "says"), [("none/admin.sock", "does not exist; make it"), ("x" * 120, "cannot be made: AF_UNIX path")]
    )
    def test_a_path_that_cannot_be(self, tmp_path: Path, name: str, says: str) -> None:
        with pytest.raises(CannotOpenAdmin, match=says):
            open_at(str(tmp_path / name))

    def test_it_is_removed_at_the_end(self, path: str) -> None:
        with InProcess(admin_socket=path):
            assert os.path.exists(path)
        assert not os.path.exists(path)

    def test_one_that_took_its_place_is_not(self, path: str) -> None:
        with InProcess(admin_socket=path):
            os.rename(path, path + ".old")
            listening_socket(path, 0o600, None).close()
            inode = os.stat(path).st_ino
        assert os.stat(path).st_ino == inode

    def test_an_inherited_socket_is_its_makers(self, path: str) -> None:
        inherited = socket.socket(socket.AF_UNIX)
        inherited.bind(path)
        inherited.listen()

        async def once() -> str:
            admin = await AdminServer.open(NO_CONTROL, SocketPlace(""), inherited)
            await admin.close()
            await admin.close()
            return admin.path

        assert asyncio.run(once()) == path
        assert os.path.exists(path)

    def test_auto(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        with InProcess(admin_socket="auto"), AdminLink(f"{tmp_path}/presenced/admin.sock", PATIENCE_S) as link:
            assert link.ask("status")["listeners"][-1] == f"unix:{tmp_path}/presenced/admin.sock"
        assert stat.S_IMODE((tmp_path / "presenced").stat().st_mode) == 0o700

    @pytest.mark.parametrize("how", ["mode", "link", "file", "owner"])
    def test_a_directory_that_somebody_else_may_have_made(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        directory = tmp_path / "presenced-1"
        if how == "link":
            (tmp_path / "elsewhere").mkdir(mode=0o700)
            directory.symlink_to(tmp_path / "elsewhere")
        elif how == "file":
            directory.write_text("")
        else:
            directory.mkdir()
            directory.chmod(0o777 if how == "mode" else 0o700)
        if how == "owner":
            monkeypatch.setattr("presenced.ops.admin.os.getuid", lambda: os.geteuid() + 1)
        with pytest.raises(CannotOpenAdmin, match="ours alone|cannot be made"):
            make_directory(str(directory))

    def test_where_it_is_by_default(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert admin_path({"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": "/x"}, 7) == "/run/a/admin.sock"
        assert admin_path({"XDG_RUNTIME_DIR": "/run/user/7"}, 7) == "/run/user/7/presenced/admin.sock"
        assert admin_path({}, 7) == "/tmp/presenced-7/admin.sock"
        service = tmp_path / "admin.sock"
        monkeypatch.setattr("presenced.runtime_paths.SYSTEM_ADMIN_PATH", str(service))
        assert admin_path_for_commands({}, 7) == "/tmp/presenced-7/admin.sock"
        service.write_text("")
        assert admin_path_for_commands({}, 7) == str(service)


class TestProtocol:
    def test_many_requests_over_one_connection(self, served: InProcess, path: str) -> None:
        with Raw(path) as raw:
            for _ in range(3):
                answer = raw.send(b'{"do": "status"}\n')
                assert answer["ok"] is True and answer["result"]["state"] == "serving"
            raw.socket.sendall(b'{"do":"loglevel"}\n{"do":"links"}\n{"do')
            assert msgspec.json.decode(raw.file.readline())["result"] == {"level": "info"}
            assert msgspec.json.decode(raw.file.readline())["result"]["links"] == []
            assert raw.send(b'":"loglevel"}\n')["ok"] is True

    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"nonsense",
            b"[]",
            b"7",
            b'"status"',
            b"{}",
            b'{"do": 7}',
            b'{"do": "explode"}',
            b'{"do": "status", "more": 1}',
            b'{"do": "links", "limit": 1001}',
            b'{"do": "links", "limit": -1}',
            b'{"do": "links", "sort": "beauty"}',
            b'{"do": "kick", "user": ["a"]}',
            b'{"do": "kick"}',
            b'{"do": "loglevel", "level": "loud"}',
            b"\xff\xfe{}",
            b"[" * 60_000,
            b'{"do": ' + b'{"a":' * 10_000,
        ],
    )
    def test_what_is_no_request_is_answered(self, served: InProcess, path: str, line: bytes) -> None:
        with Raw(path) as raw:
            answer = raw.send(line + b"\n")
            assert answer["ok"] is False and answer["code"] == "bad_request" and answer["message"]
            assert raw.send(b'{"do": "loglevel"}\n')["ok"] is True
        assert served.loop_errors == []

    def test_the_answer_tells_what_is_known(self, served: InProcess, path: str) -> None:
        with Raw(path) as raw:
            message = raw.send(b'{"do": "explode"}\n')["message"]
        assert all(verb in message for verb in VERBS)

    def test_a_line_without_end(self, served: InProcess, path: str, users: Any) -> None:
        alice = users("alice", "laptop")
        with Raw(path) as raw:
            answer = raw.send(b"x" * (LINE_BYTES_MAX + 1))
            assert answer["code"] == "too_long"
            assert raw.file.read() == b"", "where the next request begins is unknown"
        assert alice.ping() > 0
        assert served.loop_errors == []

    def test_no_more_connections_than_allowed(self, served: InProcess, path: str) -> None:
        with ExitStack() as stack:
            raws = [stack.enter_context(Raw(path)) for _ in range(CONNECTIONS_MAX)]
            assert all(raw.send(b'{"do": "loglevel"}\n')["ok"] for raw in raws)
            with Raw(path) as one_more:
                assert msgspec.json.decode(one_more.file.readline())["code"] == "busy"
                assert one_more.file.read() == b""
            raws[0].__exit__()
            served.until(lambda _: len(cast(Any, served.operations.admin)._connections) < CONNECTIONS_MAX)
            with Raw(path) as another:
                assert another.send(b'{"do": "loglevel"}\n')["ok"]

    def test_one_over_which_nothing_is_asked_is_closed(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("presenced.ops.admin.IDLE_S", 0.05)
        with InProcess(admin_socket=path) as served, Raw(path) as raw:
            assert raw.file.read() == b""
            assert served.loop_errors == []

    @pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
    def test_the_end_closes_connections_that_wait(self, path: str, loop: str) -> None:
        with ExitStack() as stack:
            with InProcess(loop, admin_socket=path) as served:
                raws = [stack.enter_context(Raw(path)) for _ in range(3)]
                assert raws[0].send(b'{"do": "loglevel"}\n')["ok"]
                served.until(lambda _: len(cast(Any, served.operations.admin)._connections) == 3)
            assert [raw.file.read() for raw in raws] == [b""] * 3
            assert served.loop_errors == []

    def test_a_fault_of_ours_is_an_answer(
        self, served: InProcess, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(_: Examination) -> None:
            raise ZeroDivisionError("oh")

        monkeypatch.setattr(Examination, "status", fail)
        with Raw(path) as raw:
            answer = raw.send(b'{"do": "status"}\n')
            assert answer["code"] == "failed" and "ZeroDivisionError: oh" in answer["message"]
            assert raw.send(b'{"do": "loglevel"}\n')["ok"]
        assert "admin: status failed" in caplog.text and "Traceback" in caplog.text

    def test_a_caller_that_leaves_while_it_is_answered(self, served: InProcess, path: str) -> None:
        for _ in range(10):
            with Raw(path) as raw:
                raw.socket.sendall(b'{"do": "status"}\n' * 50)
        served.until(lambda _: not cast(Any, served.operations.admin)._connections)
        assert served.loop_errors == []


class TestLinks:
    def names(self, answer: Any) -> list[str]:
        return [one["user"] for one in answer["links"]]

    def test_what_is_told_of_each(self, served: InProcess, ask: Any, users: Any) -> None:
        users("alice", "laptop", "bob", "carol")
        shop = users("shop")
        shop.attach("dave", "web")
        [service, alice] = ask("links")["links"]
        ages = [service.pop("age_ms"), alice.pop("age_ms"), service.pop("silent_ms"), alice.pop("silent_ms")]
        assert all(0 <= age < PATIENCE_S * 1000 for age in ages)
        assert service.pop("peer").startswith("127.0.0.1:") and alice.pop("peer").startswith("127.0.0.1:")
        nothing = {"watching": 0, "holds": 0, "held": 0, "slow": False}
        assert alice == {**nothing, "user": "alice", "device": "laptop", "role": "user", "watching": 2}
        assert service == {**nothing, "user": "shop", "device": "", "role": "service", "holds": 1}

    def test_one_without_a_hello(self, served: InProcess, ask: Any) -> None:
        with socket.create_connection(("127.0.0.1", served.port)):
            served.until(lambda server: len(server.links) == 1)
            [one] = ask("links", role="none")["links"]
            assert (one["user"], one["role"], one["silent_ms"]) == ("", "none", -1)
            assert ask("links", role="user")["matching"] == 0
            assert ask("kick", role="none") == {"links": 1, "held_by": []}

    def test_filters_and_order(self, served: InProcess, ask: Any, users: Any) -> None:
        users("alice", "laptop", "bob")
        users("alice", "phone", "bob", "carol", "dave")
        users("bob", "laptop")
        users("shop")
        everybody = ask("links")
        assert (everybody["total"], everybody["matching"]) == (4, 4)
        assert self.names(everybody) == ["shop", "bob", "alice", "alice"], "the newest first"
        assert self.names(ask("links", user="alice")) == ["alice", "alice"]
        assert [one["device"] for one in ask("links", user="alice/phone")["links"]] == ["phone"]
        assert self.names(ask("links", user="alic")) == []
        assert self.names(ask("links", role="service")) == ["shop"]
        assert self.names(ask("links", user="alice", role="service")) == []
        watching = ask("links", sort="watching", limit=2)
        assert [one["watching"] for one in watching["links"]] == [3, 1]
        assert (watching["total"], watching["matching"]) == (4, 4)
        assert ask("links", limit=0) == {"total": 4, "matching": 4, "links": []}

    def test_slow_ones(self, served: InProcess, ask: Any, users: Any) -> None:
        for name in ("alice", "bob", "carol"):
            users(name, "laptop", "dave", "erin")
        changing = {name: users(name, "laptop") for name in ("dave", "erin")}

        def hold(*names: str) -> None:
            def held(server: Server) -> None:
                for link in server.links:
                    if link.session is not None and link.session.user_name in names:
                        server.engine.outboxes.pause(link.session, server.pacing.begin())

            served.ask(held)

        hold("alice")
        changing["dave"].set_status("away")
        hold("bob")
        changing["erin"].set_status("away")
        slow = ask("links", slow=True, sort="held")
        assert [(one["user"], one["held"], one["slow"]) for one in slow["links"]] == [
            ("alice", 2, True),
            ("bob", 1, True),
        ]
        assert (slow["total"], slow["matching"]) == (5, 2)
        assert self.names(ask("links", sort="held", limit=1)) == ["alice"]

    async def test_many_links_are_looked_at_in_slices(self) -> None:
        """The loop turns at least once for each slice, so that nothing else waits for the whole."""
        number = 20_000
        links: dict[Any, None] = {StandIn(at * 7919 % number): None for at in range(number)}
        control = control_of(links)
        passes = 0

        async def count() -> None:
            nonlocal passes
            while True:
                passes += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        answer = cast(Any, await control.perform(AdminLinks(limit=3), Caller(0, 0)))
        counting.cancel()
        ages = [msgspec.json.decode(one)["age_ms"] for one in answer.links]
        assert (answer.total, answer.matching) == (number, number)
        assert ages == sorted(ages) and ages[2] - ages[0] == 2, "the newest three, out of all slices"
        assert passes >= number // SLICE_LINKS

    async def test_those_that_end_meanwhile_are_left_out(self) -> None:
        links: dict[Any, None] = {StandIn(at): None for at in range(3)}
        first = next(iter(links))
        first.state = ENDING
        control = control_of(links)
        answer = cast(Any, await control.perform(AdminLinks(), Caller(0, 0)))
        assert (answer.total, len(answer.links)) == (2, 2)


def control_of(links: dict[Any, None]) -> Control:
    """What lists links, at a server that has these links and knows no user."""

    class Table(dict[Any, None]):
        engine = SimpleNamespace(users={})
        elsewhere = None

    async def found(query: LinkQuery, node: str) -> FoundLinks:
        return await find_links(cast(Any, Table(links)), query, SYSTEM_CLOCKS)

    server = cast(Any, SimpleNamespace(find_links=found))
    return Control(
        server,
        cast(Any, None),
        cast(Any, None),
        starting=lambda: "",
        reload=cast(Any, None),
        test_webhooks=cast(Any, None),
    )


class StandIn:
    """A link as far as a list needs it."""

    def __init__(self, since_ms: int) -> None:
        self.state = OPEN
        self.since_ms = since_ms
        self.session = None
        self.peer = "x"


class TestKick:
    def test_a_user(self, served: InProcess, ask: Any, users: Any) -> None:
        laptop, phone, bob = users("alice", "laptop"), users("alice", "phone"), users("bob", "laptop")
        assert ask("kick", user="alice", message="upgrade first", retry_ms=60_000) == {"links": 2, "held_by": []}
        for client in (laptop, phone):
            reason = kicked_with(client)
            assert (reason.code, reason.message) == ("kicked", "upgrade first")
            assert reason.temporary and 60_000 <= reason.retry_ms <= 120_000
        first, second = (kicked_with(client).retry_ms for client in (laptop, phone))
        assert first != second, "each at a moment of its own"
        assert bob.ping() > 0
        assert ask("status")["goodbyes"]["kicked"] == 2

    def test_a_device(self, served: InProcess, ask: Any, users: Any) -> None:
        laptop, phone = users("alice", "laptop"), users("alice", "phone")
        assert ask("kick", user="alice/phone")["links"] == 1
        assert kicked_with(phone).code == "kicked"
        assert laptop.ping() > 0

    def test_nobody(self, served: InProcess, ask: Any) -> None:
        assert ask("kick", user="nobody") == {"links": 0, "held_by": []}

    def test_whom_a_service_holds(self, served: InProcess, ask: Any, users: Any) -> None:
        """The service speaks for others too."""
        shop, alice = users("shop"), users("alice", "laptop")
        shop.attach("alice", "web")
        assert ask("kick", user="alice") == {"links": 1, "held_by": ["shop"]}
        assert kicked_with(alice).code == "kicked"
        assert shop.ping() > 0
        assert ask("kick", user="alice/laptop")["held_by"] == []

    def test_devices_that_are_gone_at_once(self, served: InProcess, ask: Any, users: Any) -> None:
        shop, alice = users("shop"), users("alice", "laptop")
        shop.attach("alice", "web")
        assert ask("kick", user="alice", gone=True) == {"links": 1, "held_by": []}
        assert kicked_with(alice).code == "kicked"
        assert {info.device: info.state for info in shop.get_devices("alice")} == {"laptop": "gone", "web": "gone"}
        assert shop.attached == []
        for whom in ({"user": "alice/web"}, {"user": "alice", "role": "user"}, {"role": "user"}):
            with pytest.raises(RequestError, match="give the user alone"):
                ask("kick", gone=True, **whom)

    def test_a_role(self, served: InProcess, ask: Any, users: Any) -> None:
        shop, alice = users("shop"), users("alice", "laptop")
        assert ask("kick", role="service") == {"links": 1, "held_by": []}
        assert kicked_with(shop).code == "kicked"
        assert alice.ping() > 0

    def test_it_takes_a_name_or_a_role(self, served: InProcess, ask: Any, users: Any) -> None:
        users("alice", "laptop")
        with pytest.raises(RequestError, match="nobody is named") as caught:
            ask("kick")
        assert caught.value.code == "bad_request"
        assert ask("links")["total"] == 1


class TestDaemon:
    def test_drain(self, served: InProcess, path: str, users: Any) -> None:
        alice = users("alice", "laptop")
        with AdminLink(path, PATIENCE_S) as link:
            answer = link.ask("drain")
            assert answer["links"] == 1 and answer["spread_ms"] == served.settings.drain_spread_ms
            assert link.until_closed(PATIENCE_S)
        assert kicked_with(alice).code == "going_away"
        served._thread.join(PATIENCE_S)
        assert not served._thread.is_alive()
        assert served.loop_errors == []

    def test_a_snapshot(self, path: str, tmp_path: Path, ask: Any) -> None:
        data = tmp_path / "data"
        data.mkdir()
        with InProcess(admin_socket=path, data_dir=str(data)) as served:
            with connect(f"presence://alice@127.0.0.1:{served.port}/laptop") as alice:
                alice.set_status("away", text="lunch")
            answer = ask("snapshot", wait=True)
            assert answer["begun"] and answer["finished"] and answer["took_ms"] >= 0
            [file] = [file for file in data.rglob("*snap*") if file.stat().st_size == answer["bytes"]]
            assert ask("status")["log"]["snapshots"] == 1
            assert ask("snapshot") == {"begun": True, "finished": False, "bytes": 0, "took_ms": 0}

    def test_a_snapshot_of_nothing(self, served: InProcess, ask: Any) -> None:
        with pytest.raises(RequestError, match="in memory only") as caught:
            ask("snapshot")
        assert caught.value.code == "no_data_dir"

    def test_a_snapshot_that_fails(self, path: str, tmp_path: Path, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        with InProcess(admin_socket=path, data_dir=str(tmp_path / "data")) as served:

            def full(_: object) -> None:
                raise DiskFull("No space left on device")

            monkeypatch.setattr("presenced.storage.journal.Journal.begin_snapshot", full)
            with pytest.raises(RequestError, match="given up") as caught:
                ask("snapshot", wait=True)
            assert caught.value.code == "snapshot_failed"
            monkeypatch.undo()
            assert ask("snapshot", wait=True)["finished"]
            assert served.loop_errors == []

    def test_a_reload_of_nothing(self, served: InProcess, ask: Any) -> None:
        answer = ask("reload")
        assert answer["ok"] is False and "without a configuration" in answer["faults"][0]

    def test_the_level_of_the_log(self, served: InProcess, ask: Any, caplog: pytest.LogCaptureFixture) -> None:
        assert ask("loglevel") == {"level": "info"}
        assert ask("loglevel", level="warning") == {"level": "warning"}
        assert logging.getLogger("presenced").level == logging.WARNING
        ask("loglevel", level="error")
        assert ask("loglevel", level="debug") == {"level": "debug"}
        said = [record.getMessage() for record in caplog.records if "log level" in record.getMessage()]
        assert len(said) == 2, "heard as the log falls silent, and as it speaks again"
        assert "warning" in said[0] and "debug" in said[1]

    def test_the_doctor(self, served: InProcess, path: str, ask: Any) -> None:
        os.chmod(path, 0o666)
        first, second, *rest = ask("doctor")
        assert (first["severity"], first["check"]) == ("problem", "admin_socket") and path in first["what"]
        assert second["severity"] == "warning" and len(rest) > 10

    def test_a_configuration_that_was_changed(self, tmp_path: Path, path: str, served: InProcess, ask: Any) -> None:
        file = tmp_path / "presenced.toml"
        settings = served.settings
        flags = {"dev": True, "listen": settings.listen, "admin_socket": path}
        configuration = Configuration(flags, {}, str(file))
        served.ask(lambda server: setattr(server, "configuration", configuration))

        def said(text: str) -> tuple[str, str]:
            file.write_text(f"[runtime]\ncheck = true\n{text}")
            [one] = [one for one in ask("doctor") if one["check"] == "configuration"]
            return str(one["severity"]), str(one["what"])

        assert said("")[0] == "ok"
        assert said("[presence]\ngrace = '3s'\n")[1].endswith("has changed since the daemon read it: presence.grace")
        assert said("[presence]\ngraze = '3s'\n")[0] == "problem"

    def test_the_history(self, served: InProcess, ask: Any) -> None:
        served.until(lambda _: len(served.operations.history) > 0)
        series = ask("history")
        assert len(series["deliveries_per_s"]) == len(series["at_ms"]) >= 1

    def test_what_changes_anything_is_logged(
        self, path: str, tmp_path: Path, ask: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        with InProcess(admin_socket=path, data_dir=str(tmp_path / "data")):
            for verb in ("status", "doctor", "links", "history", "loglevel"):
                ask(verb)
            assert [record for record in caplog.records if "admin:" in record.getMessage()] == []
            who = f"asked by uid {os.getuid()} (pid {os.getpid()})"
            ask("kick", user="al\nice")
            ask("kick", role="admin")
            ask("snapshot", wait=True)
            ask("reload")
            ask("loglevel", level="info")
            ask("drain")
        said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("admin:")]
        assert said == [
            f"admin: kick 'al\\nice', 0 links closed, {who}",
            f"admin: kick role admin, 0 links closed, {who}",
            f"admin: snapshot, {who}",
            f"admin: reload, {who}",
            f"admin: log level info, {who}",
            f"admin: drain, {who}",
        ]
        assert logs.level() == "info"
