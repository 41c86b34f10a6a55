"""The commands of operators: real processes against a real daemon's admin socket, and what they say when none is
there."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from presenced.cli import exits
from presenced.cli.admin_link import AdminLink, cannot_connect
from presenced.cli.status_sentence import status_sentence
from presenced.errors import AuthError, ConnectionLost, RequestError, RequestTimeout
from presenced.runtime_paths import node_admin_path
from presenced.sync import connect, connect_service
from tests.cli.commands import ENVIRONMENT, command, ctl, on_terminal as shown_on_terminal
from tests.support import REPOSITORY
from tests.support.daemon import Daemon, StartDaemon
from tests.support.healthy import HEALTHY, LOG, WALL_MS
from tests.support.status import made_cluster
from tests.support.until import PATIENCE_S


@pytest.fixture
def admin(admin_daemon: Daemon, admin_path: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command against the daemon, with pipes."""
    return lambda *args: ctl("--socket", admin_path, *args)


def one_answer(path: str, answer: bytes) -> threading.Thread:
    """Something that listens at `path` and answers the first line with `answer`, then waits for the caller to go."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def serve() -> None:
        with listener:
            taken, _ = listener.accept()
            with taken:
                taken.recv(4096)
                if answer:
                    taken.sendall(answer)
                    taken.shutdown(socket.SHUT_WR)
                taken.recv(4096)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


class TestLooking:
    def test_status(self, admin: Any, admin_daemon: Daemon, on_terminal: Any, admin_path: str) -> None:
        with connect(admin_daemon.url("alice", "laptop")):
            answer = json.loads(admin("status").stdout)
            assert answer["users_online"] == 1 and answer["pid"] == admin_daemon.process.pid
            terminal = on_terminal("--socket", admin_path, "status")
            told = terminal.until("DEVELOPMENT MODE").replace("\r\n", " ")
            assert "serving for" in told and "1 user online (1 online), 1 device, 1 of" in told
            assert "state in memory only" in told
            narrow = shown_on_terminal("--socket", admin_path, "status", env={"COLUMNS": "40"}).splitlines()
            assert len(narrow) > 3 and all(len(line) <= 40 for line in narrow)
            assert "1 user online (1 online), 1 device, 1 of" in " ".join(narrow)
            assert terminal.end() == 0

    def test_the_sentence(self) -> None:
        assert status_sentence(HEALTHY).endswith(", node web-2 of 3 nodes")
        apart = msgspec.structs.replace(HEALTHY, cluster=made_cluster(state="isolated"))
        assert status_sentence(apart).endswith(", node web-2 of 3 nodes, ISOLATED")
        now = msgspec.structs.replace(HEALTHY, uptime_ms=11_520_000, links=2_900, cluster=None)
        assert status_sentence(now) == (
            "presenced 0.1.0 serving for 3h12m, 1,200 users online (1,000 online, 200 away), 1,304 devices, "
            "2,900 of 19,872 links, log ok (always), snapshot 5m ago"
        )
        none = msgspec.structs.replace(now, log=msgspec.structs.replace(LOG, snapshot_wall_ms=0, state="full"))
        assert status_sentence(none).endswith("log full (always), no snapshot yet")
        now = msgspec.structs.replace(now, log=msgspec.structs.replace(LOG, snapshot_running=True))
        assert status_sentence(now).endswith("taking a snapshot")
        assert WALL_MS - LOG.snapshot_wall_ms == 300_000

    def test_doctor(self, admin: Any, admin_daemon: Daemon, admin_path: str, on_terminal: Any) -> None:
        done = admin("doctor")
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 0, "warnings are no problem"
        assert {one["severity"] for one in found} == {"warning"}, "what is well is not asked about"
        everything = [json.loads(line)["severity"] for line in admin("doctor", "--all").stdout.splitlines()]
        assert set(everything) == {"warning", "ok"} and len(everything) > 10
        worded = admin("--text", "doctor").stdout
        assert worded.startswith("warning") and "\n         -> " in worded, "sentences, for who asks for them"
        os.chmod(admin_path, 0o666)
        done = admin("doctor")
        assert done.returncode == 1
        assert json.loads(done.stdout.splitlines()[0])["check"] == "admin_socket"
        terminal = on_terminal("--socket", admin_path, "doctor")
        assert terminal.end() == 1
        assert "problem \x1b[0m every user of this machine" in terminal.shown
        assert "-> set admin.mode to 0660" in terminal.shown and "3 to look at (--all)" in terminal.shown
        assert "Python" not in terminal.shown
        assert (
            "Python"
            in subprocess.run(
                [*command("--socket", admin_path, "--json", "doctor", "--all")],
                capture_output=True,
                text=True,
                cwd=REPOSITORY,
            ).stdout
        )

    def test_links(self, admin: Any, admin_daemon: Daemon, admin_path: str, on_terminal: Any) -> None:
        with connect(admin_daemon.url("alice", "laptop")), connect(admin_daemon.url("bob", "tab")):
            rows = [json.loads(line) for line in admin("links").stdout.splitlines()]
            assert [row["user"] for row in rows] == ["bob", "alice"]
            [row] = [json.loads(line) for line in admin("links", "alice", "--limit", "5").stdout.splitlines()]
            assert row["device"] == "laptop"
            with connect_service(admin_daemon.url("shop", "")) as shop:
                shop.attach("alice", "phone")
                both = [json.loads(line)["user"] for line in admin("links", "alice").stdout.splitlines()]
                assert both == ["shop", "alice"], "a service that holds a device of hers speaks for her as well"
                [only] = [json.loads(line) for line in admin("links", "alice/phone").stdout.splitlines()]
                assert only["user"] == "shop"
                assert admin("links", "alice/phone", "--role", "user").stdout == ""
            assert admin("links", "--slow", "--sort", "held", "--role", "user").stdout == ""
            terminal = on_terminal("--socket", admin_path, "links", "--limit", "1")
            assert terminal.end() == 0
            assert "tab" in terminal.shown and "laptop" not in terminal.shown
            assert "1 of 2 matching links; 2 links in all" in terminal.shown

    def test_loglevel(self, admin: Any, admin_daemon: Daemon) -> None:
        assert json.loads(admin("loglevel").stdout) == {"level": "info"}
        assert json.loads(admin("loglevel", "warning").stdout) == {"level": "warning"}
        assert admin("loglevel", "loud").returncode == exits.USAGE
        assert "admin: log level warning, asked by uid" in admin_daemon.log()


class TestDoing:
    def test_kick(self, admin: Any, admin_daemon: Daemon) -> None:
        with connect(admin_daemon.url("alice", "laptop"), reconnect=False) as alice:
            done = admin("kick", "alice", "--message", "bye", "--retry", "1m")
            assert (done.returncode, json.loads(done.stdout)) == (0, {"links": 1, "held_by": []})
            with pytest.raises(ConnectionLost) as caught:
                while True:
                    alice.ping()
            assert (caught.value.code, caught.value.message) == ("kicked", "bye")
        done = admin("kick", "alice")
        assert (done.returncode, json.loads(done.stdout)["links"]) == (exits.NO, 0)
        assert admin("kick").returncode == exits.USAGE
        assert admin("kick", "--role", "user", "--yes").returncode == exits.NO

    @pytest.mark.parametrize("args", [("drain",), ("kick", "--role", "user")])
    def test_without_a_terminal_it_takes_a_yes(self, admin: Any, admin_daemon: Daemon, args: tuple[str, ...]) -> None:
        with connect(admin_daemon.url("alice", "laptop"), reconnect=False) as alice:
            done = admin(*args)
            assert (done.returncode, done.stdout) == (exits.USAGE, "")
            assert "Without a terminal nobody can answer; give --yes to go on" in done.stderr
            assert alice.ping() > 0
        assert admin_daemon.process.poll() is None

    @pytest.mark.parametrize("by_signal", [True, False])
    def test_interrupted_at_the_question(
        self, admin_daemon: Daemon, admin_path: str, on_terminal: Any, by_signal: bool
    ) -> None:
        terminal = on_terminal("--socket", admin_path, "drain")
        terminal.until("[y/N]: ")
        if by_signal:
            # Not before it reads: Python sees a signal that comes just before a read only after it.
            terminal.until_it_waits()
            terminal.process.send_signal(signal.SIGINT)
        else:
            terminal.type("\x04")
        assert terminal.end() == exits.INTERRUPTED
        assert "Aborted" not in terminal.shown and "Traceback" not in terminal.shown
        assert admin_daemon.process.poll() is None

    def test_a_whole_role_is_asked_about(self, admin_daemon: Daemon, admin_path: str, on_terminal: Any) -> None:
        with connect(admin_daemon.url("alice", "laptop"), reconnect=False) as alice:
            terminal = on_terminal("--socket", admin_path, "kick", "--role", "user")
            terminal.until("Close every link of the role user? [y/N]")
            terminal.type("n\n")
            assert terminal.end() == 1
            assert alice.ping() > 0
            terminal = on_terminal("--socket", admin_path, "kick", "--role", "user", "--yes")
            terminal.until("1 link closed")
            assert terminal.end() == 0

    @pytest.mark.parametrize("args", [("links", "--node", "b"), ("drain", "--yes", "--node", "b")])
    def test_a_server_that_is_alone_has_no_other_nodes(
        self, admin: Any, admin_daemon: Daemon, args: tuple[str, ...]
    ) -> None:
        done = admin(*args)
        assert (done.returncode, done.stdout) == (exits.REFUSED, "")
        assert "this server is alone; set cluster.url on each node" in done.stderr
        assert json.loads(admin("status").stdout)["state"] == "serving"

    def test_drain_asks(self, admin_daemon: Daemon, admin_path: str, on_terminal: Any) -> None:
        terminal = on_terminal("--socket", admin_path, "drain")
        terminal.until("Stop the daemon? [y/N]")
        terminal.type("n\n")
        assert terminal.end() == 1
        assert admin_daemon.process.poll() is None
        terminal = on_terminal("--socket", admin_path, "drain", "--wait")
        terminal.until("[y/N]")
        terminal.type("y\n")
        terminal.until("stopping: 0 links to be closed within ")
        terminal.until("and all is over in ")
        terminal.until("stopped")
        assert terminal.end() == 0
        assert admin_daemon.process.wait(PATIENCE_S) == 0

    def test_drain(self, admin: Any, admin_daemon: Daemon, admin_path: str) -> None:
        done = admin("drain", "--yes")
        assert done.returncode == 0 and json.loads(done.stdout)["links"] == 0
        assert admin_daemon.process.wait(PATIENCE_S) == 0
        assert not os.path.exists(admin_path)
        assert "admin: drain, asked by uid" in admin_daemon.log()

    def test_snapshot(self, start_daemon: StartDaemon, admin_path: str, tmp_path: Path, on_terminal: Any) -> None:
        start_daemon("--admin-socket", admin_path, "--data-dir", str(tmp_path / "data"))
        answer = json.loads(ctl("--socket", admin_path, "snapshot", "--wait").stdout)
        assert answer["finished"] and answer["bytes"] > 0
        terminal = on_terminal("--socket", admin_path, "snapshot", "--wait")
        terminal.until(f"snapshot of {answer['bytes']:,} bytes taken in")
        assert terminal.end() == 0

    def test_a_snapshot_of_nothing(self, admin: Any) -> None:
        done = admin("snapshot")
        assert done.returncode == exits.REFUSED and "in memory only" in done.stderr

    def test_reload(self, start_daemon: StartDaemon, admin_path: str, tmp_path: Path, on_terminal: Any) -> None:
        file = tmp_path / "presenced.toml"
        file.write_text('[presence]\ngrace = "20s"\n')
        start_daemon("--admin-socket", admin_path, "--config", str(file))
        file.write_text('[presence]\ngrace = "25s"\n[heartbeat]\ninterval = "40s"\n')
        answer = json.loads(ctl("--socket", admin_path, "reload").stdout)
        assert answer["ok"] and len(answer["applied"]) == len(answer["needs_restart"]) == 1
        terminal = on_terminal("--socket", admin_path, "reload")
        terminal.until("needs restart  heartbeat.interval")
        terminal.until("reloaded in")
        assert terminal.end() == 0
        file.write_text('[presence]\ngrace = "soon"\n')
        done = ctl("--socket", admin_path, "reload")
        assert done.returncode == exits.CONFIG
        assert "refused, the old configuration stays" in done.stderr and "presence.grace" in done.stderr
        assert json.loads(done.stdout)["ok"] is False

    def test_a_level_set_by_hand_stays_until_the_configuration_has_another(
        self, start_daemon: StartDaemon, admin_path: str, tmp_path: Path, on_terminal: Any
    ) -> None:
        file = tmp_path / "presenced.toml"
        file.write_text("[log]\nlevel = 'info'\n")
        daemon = start_daemon("--admin-socket", admin_path, "--config", str(file))

        def reloaded(text: str = "") -> list[str]:
            if text:
                file.write_text(text)
            kept: list[str] = link.ask("reload", is_long=True)["kept"]
            return kept

        with AdminLink(admin_path, PATIENCE_S) as link:
            assert reloaded() == []
            link.ask("loglevel", level="debug")
            [kept] = reloaded()
            assert kept.startswith("log.level: debug was set by hand and stays; the configuration says info")
            assert f"reload: {kept}" in daemon.log()
            # Another format makes the log anew, and not the level.
            assert len(reloaded("[log]\nformat = 'json'\n")) == 1
            assert link.ask("loglevel") == {"level": "debug"}
            terminal = on_terminal("--socket", admin_path, "reload")
            terminal.until("kept           log.level: debug")
            assert terminal.end() == 0
            assert reloaded("[log]\nlevel = 'warning'\n") == []
            assert link.ask("loglevel") == {"level": "warning"}
            # What is refused changes neither.
            link.ask("loglevel", level="error")
            file.write_text("[log]\nlevel = 'loud'\n")
            assert not link.ask("reload", is_long=True)["ok"]
            assert link.ask("loglevel") == {"level": "error"}
            # Set by hand to what the configuration says: there is nothing to tell.
            link.ask("loglevel", level="warning")
            assert reloaded("[log]\nlevel = 'warning'\n") == []


class TestFindingIt:
    def test_the_environment_names_it(self, admin_daemon: Daemon, admin_path: str) -> None:
        assert ctl("loglevel", env={"PRESENCED_ADMIN_SOCKET": admin_path}).returncode == 0

    def test_ones_own_is_the_default(self, start_daemon: StartDaemon, tmp_path: Path) -> None:
        if os.path.exists("/run/presenced/admin.sock"):
            pytest.skip("this machine has a service of its own, which comes first")
        own = {"XDG_RUNTIME_DIR": str(tmp_path)}
        (tmp_path / "presenced").mkdir(mode=0o700)
        start_daemon("--admin-socket", str(tmp_path / "presenced" / "admin.sock"))
        assert ctl("loglevel", env=own).returncode == 0

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can listen as another user")
    def test_another_users_is_not_believed(self) -> None:
        """Anybody may make /tmp/presenced-UID before its owner does, with a socket that answers."""
        directory = Path(tempfile.mkdtemp(prefix="presenced-foreign-"))
        os.chmod(directory, 0o777)
        (directory / "presenced").mkdir(mode=0o777)
        os.chmod(directory / "presenced", 0o777)
        path = directory / "presenced" / "admin.sock"
        foreign = (
            "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); "
            "s.listen(); print('ready', flush=True); c, _ = s.accept(); print(c.recv(4096), flush=True)"
        )
        with subprocess.Popen([sys.executable, "-c", foreign, str(path)], stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None and process.stdout.readline() == "ready\n"
                done = ctl("status", env={"XDG_RUNTIME_DIR": str(directory)})
                assert done.returncode == exits.DENIED, done.stderr
                assert f"{path} is not yours" in done.stderr and "name it with --socket" in done.stderr
                assert done.stdout == "" and process.stdout.readline() == "b''\n", "it was not even asked"
            finally:
                process.kill()
        shutil.rmtree(directory)

    def test_it_is_not_there(self, admin_path: str) -> None:
        done = ctl("--socket", admin_path, "status")
        assert done.returncode == exits.UNREACHABLE and done.stdout == ""
        assert f"there is no admin socket at {admin_path}: is presenced running, with admin.socket set" in done.stderr

    def test_nobody_answers(self, admin_path: str) -> None:
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(admin_path)
        stale.close()
        done = ctl("--socket", admin_path, "status")
        assert done.returncode == exits.UNREACHABLE and "the daemon that made the socket has stopped" in done.stderr

    def test_what_is_no_socket(self, tmp_path: Path) -> None:
        file = tmp_path / "letter.txt"
        file.write_text("hello")
        done = ctl("--socket", str(file), "status")
        assert done.returncode == exits.UNREACHABLE and f"{file} is not a socket; see --socket" in done.stderr

    def test_no_answer_in_time(self, admin_path: str) -> None:
        thread = one_answer(admin_path, b"")
        done = ctl("--socket", admin_path, "--timeout", "0.2", "status")
        assert done.returncode == exits.TEMPORARY and "does not answer" in done.stderr
        thread.join(PATIENCE_S)

    @pytest.mark.parametrize(
        ("answer", "code", "says"),
        [
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", exits.PROTOCOL, "is not presenced"),
            (b"[]\n", exits.PROTOCOL, "is not presenced"),
            (b'{"ok": true}\n', exits.PROTOCOL, "is not presenced"),
            (b'{"ok": tr', exits.UNREACHABLE, "closed the connection"),
            (b'{"ok": false, "code": "busy", "message": "too many"}\n', exits.TEMPORARY, "too many"),
            (b'{"ok": false, "code": "failed", "message": "oh"}\n', exits.REFUSED, "oh"),
        ],
    )
    def test_answers_that_are_none(self, admin_path: str, answer: bytes, code: int, says: str) -> None:
        thread = one_answer(admin_path, answer)
        done = ctl("--socket", admin_path, "status")
        assert done.returncode == code and says in done.stderr and "Traceback" not in done.stderr
        thread.join(PATIENCE_S)

    def test_another_version(self, admin_path: str, on_terminal: Any) -> None:
        thread = one_answer(admin_path, b'{"ok": true, "result": {"version": "9"}}\n')
        terminal = on_terminal("--socket", admin_path, "status")
        terminal.until("the daemon is of another version than presencectl")
        assert terminal.end() == exits.PROTOCOL
        thread.join(PATIENCE_S)

    def test_acting_for_others_has_no_meaning(self, admin_daemon: Daemon, admin_path: str) -> None:
        done = ctl("--socket", admin_path, "--as", "alice", "status")
        assert done.returncode == exits.USAGE and "`status` does not use --as" in done.stderr

    def test_a_node_where_none_is(self, admin_path: str) -> None:
        """The answer says what is there instead."""
        done = ctl("--socket", admin_path, "--node", "3", "status")
        assert done.returncode == exits.UNREACHABLE and "for the nodes of `presenced serve --nodes N`" in done.stderr
        there = {
            node_admin_path(admin_path, 1): "node 1 is the only one there",
            node_admin_path(admin_path, 2): "the nodes that run there are 1 to 2",
            admin_path: "a single daemon, without numbered nodes; leave --node out",
        }
        for path, says in there.items():
            Path(path).touch()
            assert says in ctl("--socket", admin_path, "--node", "3", "status").stderr

    def test_an_instance_that_does_not_run(self) -> None:
        nobody = ctl("--instance", "no-such", "status")
        assert nobody.returncode == exits.UNREACHABLE and "`systemctl status presenced@no-such`" in nobody.stderr

    @pytest.mark.parametrize(
        ("gid", "mode", "says"),
        [
            (1, 0o660, "is for the group operators, and "),
            (1, 0o660, "`sudo usermod -aG operators "),
            (2, 0o660, "is for the group 2, and "),
            (0, 0o660, "only root may use /run/admin.sock; use sudo, or set admin.group"),
            (1, 0o600, "only the owner of /run/admin.sock may use it (mode 600)"),
        ],
    )
    def test_one_that_is_for_others(self, monkeypatch: pytest.MonkeyPatch, gid: int, mode: int, says: str) -> None:
        """By the error and the file alone: root, who may run these tests, is let in everywhere."""
        file = SimpleNamespace(st_gid=gid, st_mode=stat.S_IFSOCK | mode)
        groups = {1: SimpleNamespace(gr_name="operators")}
        monkeypatch.setattr("presenced.cli.admin_link.os.stat", lambda _: file)
        monkeypatch.setattr("presenced.cli.admin_link.grp.getgrgid", groups.__getitem__)
        denied = cannot_connect("/run/admin.sock", PermissionError(errno.EACCES, "Permission denied"))
        assert isinstance(denied, AuthError) and exits.exit_code(denied) == exits.DENIED
        assert says in denied.message

    def test_one_that_cannot_be_seen(self, tmp_path: Path) -> None:
        hidden = cannot_connect(str(tmp_path / "none" / "a"), PermissionError(errno.EACCES, "Permission denied"))
        assert f"may not enter {tmp_path}/none" in hidden.message

    def test_other_troubles(self, admin_path: str) -> None:
        busy = cannot_connect(admin_path, BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"))
        assert exits.exit_code(busy) == exits.TEMPORARY
        other = cannot_connect(admin_path, OSError(errno.ENOTDIR, "Not a directory"))
        assert exits.exit_code(other) == exits.UNREACHABLE

    def test_two_daemons_at_one_socket(self, admin_daemon: Daemon, admin_path: str) -> None:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "presenced",
                "serve",
                "--dev",
                "--listen",
                "127.0.0.1:0",
                "--admin-socket",
                admin_path,
            ],
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            timeout=PATIENCE_S,
            env=ENVIRONMENT,
        )
        assert done.returncode == 75 and done.stdout == ""
        assert f"another presenced answers on the admin socket {admin_path}" in done.stderr
        way_out = "make run OPTIONS='--listen 127.0.0.1:PORT --http 127.0.0.1:PORT --admin-socket FILE'"
        assert way_out in done.stderr, "the second checkout meets this first"
        assert ctl("--socket", admin_path, "loglevel").returncode == 0

    def test_a_daemon_that_was_killed(self, start_daemon: StartDaemon, admin_path: str) -> None:
        start_daemon("--admin-socket", admin_path).kill()
        assert stat.S_ISSOCK(os.stat(admin_path).st_mode)
        start_daemon("--admin-socket", admin_path)
        assert ctl("--socket", admin_path, "loglevel").returncode == 0


class TestLink:
    def test_it_connects_anew_after_a_loss(self, start_daemon: StartDaemon, admin_path: str) -> None:
        first = start_daemon("--admin-socket", admin_path)
        with AdminLink(admin_path, PATIENCE_S) as link:
            pid = link.ask("status")["pid"]
            first.process.send_signal(signal.SIGTERM)
            first.process.wait(PATIENCE_S)
            with pytest.raises(ConnectionLost):
                link.ask("status")
            start_daemon("--admin-socket", admin_path)
            assert link.ask("status")["pid"] != pid

    def test_a_late_answer_is_not_the_next_ones(self, admin_path: str) -> None:
        thread = one_answer(admin_path, b"")
        with AdminLink(admin_path, 0.1) as link:
            with pytest.raises(RequestTimeout):
                link.ask("status")
            thread.join(PATIENCE_S)
            assert link._socket is None

    def test_refusals_bear_the_daemons_code(self, admin_daemon: Daemon, admin_path: str) -> None:
        with AdminLink(admin_path, PATIENCE_S) as link:
            with pytest.raises(RequestError) as caught:
                link.ask("snapshot")
            assert caught.value.code == "no_data_dir"
            assert link.until_closed(0.01) is False
        assert link.until_closed(0.01) is True
