"""Several daemons that are one to whoever starts them: real processes, signals and exit codes.

These nodes join nothing (`lone_nodes`), but have a real engine beside them. What they are to each other is tried with
the cluster.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from presenced.cli import ctl
from tests.nodes.supervised import Nodes
from tests.support.daemon import StartFailed
from tests.support.engines import free_port
from tests.support.service_manager import Manager, listening
from tests.support.until import until

IMPATIENT = (
    "from presenced.nodes import node_life, node_process\n"
    "node_life.SILENT_MS = node_process.SILENT_MS = 1_000\nnode_life.KILLED_AFTER_MS = 10\n"
)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with Nodes(tmp_path) as started:
        yield started


def three_ports() -> int:
    """The first of three ports in a row that nobody has."""
    for _ in range(100):
        with contextlib.ExitStack() as held:
            first = free_port()
            with contextlib.suppress(OSError):
                for port in range(first, first + 3):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
                return first
    raise AssertionError("there are no three ports in a row")


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_they_are_ready_together_and_end_together(tmp_path: Path) -> None:
    with Manager(str(tmp_path / "notify")) as manager:
        watched = {**manager.environ, "WATCHDOG_USEC": "2000000"}
        nodes = Nodes(tmp_path, "--data-dir", str(tmp_path / "data"), environ=watched)
        with nodes:
            ready = manager.until("READY=1")
            assert "STATUS=2 nodes serve" in ready
            manager.until("WATCHDOG=1")
            pids = [nodes.pid_of(number) for number in (1, 2)]
            engine = nodes.engine_pid()
            assert engine and 0 not in pids and len({*pids, nodes.pid}) == 3
            assert (nodes.log().count(" n-1: presenced "), nodes.log().count(" n-2: presenced ")) == (1, 1)
            assert f"2 nodes serve at {nodes.line.removeprefix('listening on ')}: n-1, n-2" in nodes.until_log(
                "2 nodes"
            )
            assert all((tmp_path / "data" / f"node-{number}" / "MANIFEST").exists() for number in (1, 2))
        told = [line for lines in (*manager.told, *manager.waiting()) for line in lines]
        assert told.count("READY=1") == 1 and "STOPPING=1" in told
    assert not any(is_there(pid) for pid in (*pids, engine))
    assert os.listdir(tmp_path / "run" / "presenced") == []


def test_clients_are_dealt_out_and_each_has_http_of_its_own(tmp_path: Path) -> None:
    http = three_ports()
    with Nodes(tmp_path, "--http", f"127.0.0.1:{http}") as nodes:
        for _ in range(64):
            with socket.create_connection(("127.0.0.1", nodes.port)) as one:
                one.sendall(b"GET / HTTP/1.1\r\n\r\n")
                one.recv(1)
        accepted = [nodes.ask(number)["accepted"] for number in (1, 2)]
        assert sum(accepted) == 64 and all(accepted)
        pids = [statusz(http + number)["pid"] for number in (1, 2)]
        assert pids == [nodes.pid_of(1), nodes.pid_of(2)]
        assert statusz(http)["pid"] in pids


def test_presencectl_names_the_node(nodes: Nodes) -> None:
    environ = {"RUNTIME_DIRECTORY": "", "XDG_RUNTIME_DIR": str(nodes.run_path), "PRESENCED_ADMIN_SOCKET": ""}
    asked = CliRunner(env=environ)
    for number in (1, 2):
        found = asked.invoke(ctl.main, ["--node", str(number), "status"])
        assert msgspec.json.decode(found.stdout)["pid"] == nodes.pid_of(number)
    assert "the server there runs as several nodes" in asked.invoke(ctl.main, ["status"]).stderr
    assert "does not use --node" in asked.invoke(ctl.main, ["--node", "1", "get", "bob"]).stderr


def statusz(port: int) -> Any:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
        one.sendall(b"GET /statusz.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        parts = []
        while part := one.recv(65_536):
            parts.append(part)
    return msgspec.json.decode(b"".join(parts).partition(b"\r\n\r\n")[2])


def test_one_that_is_killed_is_started_again_while_the_other_serves(nodes: Nodes) -> None:
    first, second = nodes.pid_of(1), nodes.pid_of(2)
    os.kill(second, signal.SIGKILL)
    nodes.until_log(f"node n-2 (process {second}) ended with signal 9, and is started again")
    assert nodes.pid_of(1) == first
    with socket.create_connection(("127.0.0.1", nodes.port)) as one:
        one.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert one.recv(1)
    assert nodes.until_pid(2, other_than=second)
    assert nodes.pid_of(1) == first


def test_a_stop_does_not_wait_for_one_that_is_to_be_started_again(tmp_path: Path) -> None:
    with Nodes(tmp_path) as nodes:
        second = nodes.pid_of(2)
        nodes.ends.write_text("n-2=70")
        os.kill(second, signal.SIGKILL)
        nodes.until_log("ended with exit code 70, and is started again", times=2)
    assert nodes.log().count("exit code 70") == 2, "the stop was in order, and nobody was started for it"


def test_one_that_is_stuck_is_ended_and_started_again(tmp_path: Path) -> None:
    with Nodes(tmp_path, patches=IMPATIENT) as nodes:
        stuck = nodes.pid_of(1)
        os.kill(stuck, signal.SIGSTOP)
        nodes.until_log(f"node n-1 (process {stuck}) gives no sign of life; ending it")
        nodes.until_log(f"node n-1 (process {stuck}) ended with signal 9, and is started again")
        assert nodes.until_pid(1, other_than=stuck)


def test_a_reload_reaches_all_and_brings_back_one_that_nothing_could_mend(nodes: Nodes) -> None:
    second = nodes.pid_of(2)
    nodes.ends.write_text("n-2=78")
    os.kill(second, signal.SIGKILL)
    nodes.until_log("ended with exit code 78")
    nodes.ends.write_text("")
    nodes.signal(signal.SIGHUP)
    nodes.until_pid(2, other_than=second)
    assert "n-1: reload" in nodes.until_log("n-1: reload")
    assert nodes.log().count("ended with exit code 78") == 1
    nodes.until_log("n-2: presenced ", times=2)
    nodes.signal(signal.SIGHUP)
    nodes.until_log("n-2: reload")


def test_a_reload_by_presencectl_asks_each_node_and_tells_of_a_refusal(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[presence]\ngrace = "20s"\n')
    with Nodes(tmp_path, "--config", str(config)) as nodes:
        alone = str(nodes.run_path / "presenced" / "admin.sock")

        def reload(*options: str) -> Result:
            return CliRunner().invoke(ctl.main, ["--socket", alone, "--text", *options])

        config.write_text('[presence]\ngrace = "30s"\n')
        said = reload("reload")
        assert (said.exit_code, said.stdout.count("presence.grace")) == (0, 2), said.output
        config.write_text('[presence]\ngrace = "40s"\n')
        said = reload("--node", "2", "reload")
        assert (said.exit_code, said.stdout.count("presence.grace")) == (0, 1), said.output
        config.write_text("[presence]\ngrace = 1\n")
        said = reload("reload", "--main-pid", str(nodes.pid))
        assert said.exit_code == 78 and "has no unit" in said.stderr
        config.write_text("")
        assert reload("reload", "--main-pid", str(nodes.pid)).exit_code == 0
        nodes.until_log("n-2: reload: done", times=4)


def test_another_number_of_nodes_needs_a_restart(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[cluster]\nnodes = 2\n")
    with Nodes(tmp_path, "--config", str(config), given_nodes=()) as nodes:
        nodes.signal(signal.SIGHUP)
        nodes.until_log("n-2: reload")
        assert "needs a restart" not in nodes.log()
        config.write_text("[cluster]\nnodes = 3\n")
        nodes.signal(signal.SIGHUP)
        nodes.until_log("cluster.nodes is 3 now, and 2 run; it needs a restart")


def test_one_that_an_operator_drains_stays_away_and_the_last_one_s_end_is_the_end_of_all(nodes: Nodes) -> None:
    nodes.ask(2, "drain")
    nodes.until_log("n-2: stopped")
    assert nodes.pid_of(1)
    assert not nodes.pid_of(2)
    nodes.ask(1, "drain")
    assert nodes.wait() == 0


@pytest.mark.parametrize("code", [70, 73])
def test_a_start_that_fails_in_one_is_a_start_that_fails(tmp_path: Path, code: int) -> None:
    (tmp_path / "ends").write_text(f"n-2={code}")
    with pytest.raises(StartFailed) as caught:
        Nodes(tmp_path)
    assert caught.value.status == code
    assert "not every node could be started" in str(caught.value)


def test_the_engine_is_started_again(nodes: Nodes) -> None:
    engine, pids = nodes.engine_pid(), [nodes.pid_of(number) for number in (1, 2)]
    os.kill(engine, signal.SIGKILL)
    nodes.until_log("the engine of the nodes ended with signal 9, and is started again")
    until(lambda: nodes.engine_pid() not in (0, engine), "there is another engine")
    assert [nodes.pid_of(number) for number in (1, 2)] == pids


def test_nobody_outlives_the_supervisor(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    pids = [nodes.engine_pid(), *(nodes.pid_of(number) for number in (1, 2))]
    nodes.kill()
    until(lambda: not any(map(is_there, pids)), "all are gone")
    # What it left is removed by the next one.
    left = [name for name in os.listdir(nodes.run_path / "presenced") if name.startswith("nodes-")]
    with Nodes(tmp_path) as again:
        now = [name for name in os.listdir(again.run_path / "presenced") if name.startswith("nodes-")]
        assert left != now and len(now) == 1


def test_a_second_signal_ends_all_at_once(tmp_path: Path) -> None:
    (tmp_path / "ends").write_text("n-1=slow")
    nodes = Nodes(tmp_path)
    nodes.signal(signal.SIGTERM)
    nodes.until_log("n-2: stopped")
    assert nodes.pid_of(1)
    nodes.signal(signal.SIGTERM)
    assert nodes.wait() == 128 + signal.SIGTERM
    nodes.kill()


def test_a_port_that_somebody_has_is_not_shared(tmp_path: Path) -> None:
    with listening() as other, pytest.raises(StartFailed, match="is in use, perhaps by another presenced") as caught:
        Nodes(tmp_path, listen=f"127.0.0.1:{other.getsockname()[1]}")
    assert caught.value.status == 75


def test_two_supervisors_do_not_share_a_port(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with Nodes(tmp_path / "a") as nodes, pytest.raises(StartFailed) as caught:
        Nodes(tmp_path / "b", listen=f"127.0.0.1:{nodes.port}")
    assert caught.value.status == 75


def test_the_state_of_a_single_daemon_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "MANIFEST").touch()
    with pytest.raises(StartFailed, match="holds the state of a single daemon") as caught:
        Nodes(tmp_path, "--data-dir", str(tmp_path / "data"))
    assert caught.value.status == 73


def test_without_an_engine_to_start_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="apt install redis-server") as caught:
        Nodes(tmp_path, environ={"PATH": str(tmp_path)})
    assert caught.value.status == 78


def test_a_runtime_directory_in_which_no_socket_can_be_is_one_sentence(tmp_path: Path) -> None:
    runtime = tmp_path / ("long" * 25)
    runtime.mkdir(mode=0o700)
    with pytest.raises(StartFailed, match="at least [0-9]+ bytes shorter") as caught:
        Nodes(tmp_path, environ={"XDG_RUNTIME_DIR": str(runtime)})
    assert caught.value.status == 78
    told = (tmp_path / "log").read_text()
    assert told.count("\n") == 1 and f"{runtime}/presenced/nodes-PID" in told and "set RUNTIME_DIRECTORY" in told
    assert not list(runtime.iterdir())


def test_an_engine_that_is_too_old_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho 'Redis server v=6.2.14 sha=00000000:0'\n")
    program.chmod(0o755)
    with pytest.raises(StartFailed, match="is 6.2, and 7.0 or later is needed") as caught:
        Nodes(tmp_path, environ={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert caught.value.status == 75


def test_with_another_engine_none_is_started(tmp_path: Path) -> None:
    with Nodes(tmp_path, "--cluster", "redis://127.0.0.1:1", environ={"PATH": str(tmp_path)}) as nodes:
        assert not nodes.engine_pid()
