"""Sockets that the service manager opened: taken over, or refused with a sentence that says which."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from presenced.ops.activation import take_sockets
from presenced.ops.admin import leaving_the_file
from presenced.wire.messages import Get
from tests.support import REPOSITORY
from tests.support.daemon import Daemon
from tests.support.service_manager import listening
from tests.support.wire import RECORDS, WELCOME, Wire, hello, opened

EXIT_CONFIG = 78


def port_of(one: socket.socket) -> int:
    return int(one.getsockname()[1])


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.bind(str(tmp_path / "admin.sock"))
        one.listen(16)
        yield one


def test_another_process_s_sockets_are_left_alone() -> None:
    environ = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "client", "HOME": "/"}
    assert take_sockets(environ) == {}
    assert environ == {"HOME": "/"}, "and not passed on either"


@pytest.mark.parametrize("count", ["", "many", "-1", "0"])
def test_no_number_no_sockets(count: str) -> None:
    assert take_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count}) == {}


@pytest.mark.parametrize("name", ["client", "", "unknown", "presenced.socket"])
def test_the_clients_socket_is_taken_over(name: str, tmp_path: Path) -> None:
    with listening() as client:
        environ = {"LISTEN_FDNAMES": name} if name else {}
        with Daemon(tmp_path / "log", environ=environ, sockets=(client,)) as daemon:
            assert daemon.port == port_of(client), "and not the one that is configured"
            opened(daemon.port, "alice").close()


def test_a_process_that_the_daemon_starts_does_not_get_the_socket() -> None:
    with listening() as given:
        program = (
            "import os; from presenced.ops.activation import FIRST_FD, take_sockets; "
            f"os.dup2({given.fileno()}, FIRST_FD); "
            "environ = {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1'}; os.set_inheritable(FIRST_FD, True); "
            "taken = take_sockets(environ)['client']; print(taken.get_inheritable(), taken.getblocking())"
        )
        said = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, pass_fds=[given.fileno()], cwd=REPOSITORY
        )
    assert said.stdout.split() == ["False", "False"], said.stderr


def test_three_sockets_by_their_names(tmp_path: Path, admin: socket.socket) -> None:
    with listening() as http, listening() as client:
        environ = {"LISTEN_FDNAMES": "http:admin:client"}
        with Daemon(tmp_path / "log", environ=environ, sockets=(http, admin, client)) as daemon:
            assert daemon.port == port_of(client)
            opened(daemon.port, "alice").close()
            with urllib.request.urlopen(f"http://127.0.0.1:{port_of(http)}/metrics", timeout=10) as response:
                assert b"presenced_" in response.read()
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as operator:
                operator.settimeout(10)
                operator.connect(str(tmp_path / "admin.sock"))
        assert (tmp_path / "admin.sock").exists(), "it is the unit's, and stays"


def test_a_socket_of_another_process_is_not_listened_on(tmp_path: Path) -> None:
    with listening() as client:
        environ = {"TEST_OTHER_PID": "1"}
        with Daemon(tmp_path / "log", environ=environ, sockets=(client,)) as daemon:
            assert daemon.port != port_of(client)


def refused(tmp_path: Path, names: str, *sockets: socket.socket) -> str:
    daemon = Daemon(tmp_path / "log", environ={"LISTEN_FDNAMES": names}, sockets=sockets, starts=False)
    try:
        assert daemon.wait() == EXIT_CONFIG, daemon.log()
    finally:
        daemon.kill()
    log = daemon.log()
    assert "Traceback" not in log, log
    return log


def test_a_name_that_nothing_is_known_of(tmp_path: Path) -> None:
    with listening() as one:
        log = refused(tmp_path, "metrics", one)
    assert "passes a socket named 'metrics'; FileDescriptorName= may be client, http or admin" in log


def test_two_of_a_name(tmp_path: Path) -> None:
    with listening() as one, listening() as other:
        assert "two sockets named client; one is enough" in refused(tmp_path, "client:client", one, other)


def test_a_socket_of_datagrams(tmp_path: Path) -> None:
    with listening(kind=socket.SOCK_DGRAM) as one:
        assert "the socket client from systemd is not a listening stream socket" in refused(tmp_path, "client", one)


def test_a_connection_instead_of_a_listener(tmp_path: Path) -> None:
    with listening() as one, socket.create_connection(("127.0.0.1", port_of(one))) as connected:
        assert "the socket http from systemd is not a listening stream socket" in refused(tmp_path, "http", connected)


def test_a_socket_of_the_wrong_family(tmp_path: Path, admin: socket.socket) -> None:
    with listening() as one:
        log = refused(tmp_path, "client:admin", admin, one)
    assert "the socket client from systemd" in log and "the socket admin from systemd" in log, "all faults at once"


def test_a_descriptor_that_is_no_socket_at_all(tmp_path: Path) -> None:
    with open(os.devnull, "rb") as file:
        log = refused(tmp_path, "client", file)  # type: ignore[arg-type]
    assert "the descriptor that systemd passes as client is no socket" in log


def test_clients_that_come_while_no_daemon_runs_wait_and_are_served(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    with listening() as client:
        with Daemon(tmp_path / "log1", "--data-dir", data, "--drain-spread", "0s", sockets=(client,)) as daemon:
            opened(daemon.port, "alice").close()
        waiting = [Wire(port_of(client)) for _ in range(20)]
        for number, link in enumerate(waiting):
            link.send(hello(f"user{number}"))
        with Daemon(tmp_path / "log2", "--data-dir", data, "--drain-spread", "0s", sockets=(client,)):
            for link in waiting:
                assert link.next()[0] == WELCOME
            waiting[0].send(Get(1, ["alice", "user19"]))
            kind, _, _, _, records, *_ = waiting[0].until(RECORDS)
            assert [record[1] for record in records] == ["online", "online"], "alice within her grace"
            for link in waiting:
                link.close()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_socket_of_a_unit_stays_when_the_daemon_ends(tmp_path: Path, admin: socket.socket, loop: str) -> None:
    """It belongs to the unit, which has it for the next start: both loops would remove it with Python 3.13."""
    path = Path(admin.getsockname())
    environ = {"LISTEN_FDNAMES": "admin"}
    with Daemon(tmp_path / "log", "--loop", loop, environ=environ, sockets=(admin,)):
        assert path.is_socket()
    assert path.is_socket()


@pytest.mark.parametrize("new_event_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_loop_is_kept_from_removing_the_file_where_it_would(
    admin: socket.socket, new_event_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def open_and_close() -> None:
        server = await asyncio.start_unix_server(lambda reader, writer: None, sock=admin.dup(), **leaving_the_file())
        server.close()
        await server.wait_closed()

    path = Path(admin.getsockname())
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(open_and_close())
    assert path.is_socket()


def test_an_address_that_was_given_and_is_not_used_is_told(tmp_path: Path) -> None:
    file = tmp_path / "presenced.toml"
    file.write_text("[listen]\n\naddress = '127.0.0.2:5250'\n[auth]\ndev = true\n")
    with listening() as one:
        options = ("--config", str(file))
        with Daemon(tmp_path / "log", *options, dev=False, listen=None, sockets=(one,)) as daemon:
            assert daemon.port == port_of(one)
            said = daemon.until_log("is not used")
        passed = f"127.0.0.1:{port_of(one)}"
        assert (
            f"WARNING {file}:3: listen.address 127.0.0.2:5250 is not used, because systemd passes the socket {passed}; "
            "set it in ListenStream= of presenced.socket, or disable that unit"
        ) in said
        file.write_text(f"[listen]\naddress = '{passed}'\n[auth]\ndev = true\n")
        with Daemon(tmp_path / "other", *options, dev=False, listen=None, sockets=(one,)) as daemon:
            pass
        assert "is not used" not in daemon.log()


def test_a_start_that_fails_takes_a_second_where_systemd_holds_the_port(tmp_path: Path) -> None:
    """It would start the daemon again at once, as long as a client waits. What is wrong is said before."""
    times = "import time; sleep = time.sleep; time.sleep = lambda s: (print('paused', s, flush=True), sleep(0))"
    for sockets in (1, 0):
        with listening() as one:
            passed = (one,) if sockets else ()
            wrong = {"PRESENCED_PRESENCE__GRACE": "red"}
            daemon = Daemon(tmp_path / f"log{sockets}", patches=times, sockets=passed, starts=False, environ=wrong)
            said = daemon.first_line()
            assert daemon.wait() != 0
            daemon.kill()
        assert said == ("paused 1.0" if sockets else "")
        assert "grace" in daemon.log()
