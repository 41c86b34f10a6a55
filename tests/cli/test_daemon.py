"""`presenced serve` and `presenced token`: options, sentences and exit codes."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import jwt
import pytest

from presenced.cli.ends import explain
from presenced.config import Settings
from presenced.errors import AuthError
from presenced.server.clocks import SYSTEM_CLOCKS
from presenced.server.fact_log import LogFailed
from presenced.server.identity import Verifier
from presenced.server.key_ring import KeyRing
from presenced.server.listeners import CannotListen
from tests.cli.daemon_commands import BUSY, CONFIG, PERMISSION, SECRET, USAGE, refused, run
from tests.support import REPOSITORY
from tests.support.daemon import Daemon
from tests.support.wire import opened

CONFIGURATIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "nobody is told apart": ((), "no setting says how to check who a client is"),
    "dev for all the world": (("--dev", "--listen", "0.0.0.0:0"), "only loopback addresses"),
    "dev for all the world in IPv6": (("--dev", "--listen", "[::]:0"), "only loopback addresses"),
    "dev by another name": (("--dev", "--listen", "example.org:0"), "only loopback addresses"),
    "dev and a secret": (("--dev", "--secret-file", "x"), "give one of the two"),
    "a secret that is not there": (("--secret-file", "/nonexistent/secret"), "does not exist; make one with"),
    "a secret that is a directory": (("--secret-file", "/"), "is a directory; name the file in it"),
    "a secret that is a pipe": (
        ("--secret-file", "/dev/stdin"),
        "and not a regular file, so a reload could not",
    ),
    "a secret where its file belongs": (("--secret-file", "q9" * 32), "is not the path of a file that exists here"),
    "an address without port": (("--dev", "--listen", "127.0.0.1"), "HOST:PORT"),
    "an address without host": (("--dev", "--listen", ":5250"), "HOST:PORT"),
    "a port that is none": (("--dev", "--listen", "127.0.0.1:65536"), "HOST:PORT"),
    "a port by name": (("--dev", "--listen", "127.0.0.1:http"), "HOST:PORT"),
    "a certificate alone": (("--dev", "--tls-cert", "x"), "go together"),
    "a key alone": (("--dev", "--tls-key", "x"), "go together"),
    "a certificate that is not there": (
        ("--dev", "--tls-cert", "/nonexistent", "--tls-key", __file__),
        "does not exist",
    ),
    "a heartbeat of nothing": (
        ("--dev", "--heartbeat", "0"),
        '--heartbeat: heartbeat.interval = "0" is out of range; give a duration from 10ms',
    ),
    "a burst of nothing": (
        ("--dev", "--change-burst", "0"),
        "--change-burst: change.burst = 0 is out of range; give a whole number from 1",
    ),
    "more links than descriptors": (("--dev", "--max-links", "99999999"), "ulimit -n"),
}


def test_an_option_given_twice_is_not_chosen_from() -> None:
    """The last would win without a word, and it need not be the one that is meant."""
    told = refused(USAGE, "--dev", "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:5250")
    assert "--listen was given 2 times; give it once" in told


def test_the_rate_takes_the_word_that_its_help_names(tmp_path: Path) -> None:
    with Daemon(tmp_path / "log", "--rate", "auto") as process:
        assert process.port
    assert "neither a whole number nor 'auto'" in refused(USAGE, "--dev", "--rate", "many")


@pytest.mark.parametrize(("arguments", "sentence"), CONFIGURATIONS.values(), ids=list(CONFIGURATIONS))
def test_a_configuration_that_cannot_work(arguments: tuple[str, ...], sentence: str) -> None:
    if "--listen" not in arguments:
        arguments = (*arguments, "--listen", "127.0.0.1:0")
    assert sentence in refused(CONFIG, *arguments)


def test_a_secret_that_is_too_short(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"\n  {SECRET[1:]}  \n")
    said = refused(CONFIG, "--secret-file", str(path), "--listen", "127.0.0.1:0")
    assert "has 31 bytes and needs at least 32" in said
    assert SECRET[1:] not in said


def test_hosts_that_do_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(SECRET)
    for host in ("no..host", "x" * 64 + ".example"):
        assert "give an address of this machine" in refused(CONFIG, "--secret-file", str(path), "--listen", f"{host}:0")


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    """192.0.2.0/24 is nobody's (RFC 5737)."""
    path = tmp_path / "secret"
    path.write_text(SECRET)
    said = refused(BUSY, "--secret-file", str(path), "--listen", "192.0.2.1:0")
    assert "cannot listen on 192.0.2.1:0: this machine does not have that address, or not yet" in said


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
@pytest.mark.parametrize(("address", "key"), [("", "listen.address"), ("127.0.0.1:81", "http.address")])
def test_a_port_without_permission(code: int, address: str, key: str) -> None:
    settings = Settings(dev=True, listen="127.0.0.1:80")
    sentence, exit_code = explain(CannotListen(OSError(code, "no"), address), settings)
    assert exit_code == PERMISSION
    assert sentence.startswith(f"no permission to listen on {address or '127.0.0.1:80'}: ") and key in sentence


@pytest.mark.parametrize(
    ("code", "expected"), [(errno.EADDRINUSE, BUSY), (errno.EADDRNOTAVAIL, BUSY), (errno.EAFNOSUPPORT, CONFIG)]
)
def test_what_can_pass_is_tried_again_and_the_rest_is_not(code: int, expected: int) -> None:
    for address, key in (("", "listen.address"), ("127.0.0.1:81", "http.address")):
        sentence, exit_code = explain(CannotListen(OSError(code, "no"), address), Settings(dev=True))
        assert exit_code == expected
        assert key in sentence and (address or Settings().listen) in sentence


def test_the_line_names_the_socket_that_systemd_passed(tmp_path: Path) -> None:
    """Not the address of the settings, which nobody listens on."""
    with socket.create_server(("127.0.0.2", 0)) as passed:
        port = passed.getsockname()[1]
        daemon = Daemon(tmp_path / "log", listen="127.0.0.1:5250", sockets=(passed,))
        with daemon:
            assert daemon.line == f"listening on presence://127.0.0.2:{port}"


def test_an_address_that_systemd_opened_need_not_be_one(tmp_path: Path) -> None:
    """The settings' own is not used, so it is not looked up either."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as passed:
        options = ("--secret-file", str(secret))
        with Daemon(tmp_path / "log", *options, listen="no..host:1", sockets=(passed,), dev=False) as daemon:
            assert daemon.port == passed.getsockname()[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--heartbeat", "30"),
        ("--grace", "soon"),
        ("--rate", "-1"),
        ("--max-links", "-1"),
        ("--loop", "trio"),
        ("--change-burst", "x"),
        ("--no-such-option",),
        ("surplus",),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert "Usage: " in refused(USAGE, "--dev", *arguments)


def test_a_second_daemon_on_the_same_port(tmp_path: Path) -> None:
    with Daemon(tmp_path / "log") as first:
        said = refused(BUSY, "--dev", "--listen", f"127.0.0.1:{first.port}")
        assert f"127.0.0.1:{first.port} is in use" in said
        assert "make run OPTIONS='--listen 127.0.0.1:PORT'" in said, "who tries it out has met no settings yet"
        more = ("--http", "127.0.0.1:0", "--admin-socket", str(tmp_path / "admin.sock"))
        said = refused(BUSY, "--dev", "--listen", f"127.0.0.1:{first.port}", *more)
        options = "--listen 127.0.0.1:PORT --http 127.0.0.1:PORT --admin-socket FILE"
        assert f"make run OPTIONS='{options}'" in said, "what else would be taken is told at once"
        opened(first.port, "alice").close()


def test_a_restart_on_the_same_port_at_once(tmp_path: Path) -> None:
    """Connections of the first that linger in TIME_WAIT do not keep the second from starting."""
    with Daemon(tmp_path / "log") as first:
        link = opened(first.port, "alice")
        first.signal(signal.SIGTERM)
        link.ended_with("going_away")
        assert first.wait() == 0
    with Daemon(tmp_path / "log2", listen=f"127.0.0.1:{first.port}") as second:
        assert second.port == first.port


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_the_one_line_on_stdout(tmp_path: Path, loop: str) -> None:
    with Daemon(tmp_path / "log", "--loop", loop) as daemon:
        assert daemon.line == f"listening on presence://127.0.0.1:{daemon.port}"
        assert daemon.process.stdout is not None
        daemon.signal(signal.SIGINT)
        assert daemon.wait() == 0
        assert daemon.process.stdout.read() == b""
    log = daemon.log()
    assert "DEVELOPMENT MODE: every name is believed" in log
    assert log.splitlines()[-1].endswith(" INFO stopped")


def test_ipv6(tmp_path: Path) -> None:
    with Daemon(tmp_path / "log", listen="[::1]:0") as daemon:
        assert daemon.line == f"listening on presence://[::1]:{daemon.port}"
        socket.create_connection(("::1", daemon.port), 10).close()


def test_the_welcome_tells_the_options(tmp_path: Path) -> None:
    options = ("--heartbeat", "7s", "--grace", "3s", "--away-after", "2m", "--offline-after", "0")
    with Daemon(tmp_path / "log", *options) as daemon, opened(daemon.port, "alice") as link:
        assert link.told[0][5:10] == [7_000, 17_500, 3_000, 120_000, 0]


def test_what_config_check_warns_of_is_logged_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESENCED_ADMIN__MODE", "0666")
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o644)
    options = ("--secret-file", str(secret))
    with Daemon(tmp_path / "log", *options, "--admin-socket", str(tmp_path / "admin.sock"), dev=False) as daemon:
        pass
    assert f"the secret file {secret} can be read by every account (mode 0644); chmod 0600" in daemon.log()
    assert "admin.mode 0666 lets every account" in daemon.log()
    secret.chmod(0o600)
    with Daemon(tmp_path / "log-2", *options, dev=False) as daemon:
        pass
    assert "every account" not in daemon.log()


# --- token -------------------------------------------------------------------------------------------------------


@pytest.fixture
def secret_file(tmp_path: Path) -> str:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return str(path)


def test_a_python_that_keeps_what_was_interned_is_told_of_at_the_start() -> None:
    """Here the one that runs the test counts as one; the server runs all the same."""
    code = """
import sys
from presenced.ops.checks import program
program.INTERNED_FOR_EVER = (3, 11, 0), sys.version_info[:3]
from presenced.cli.entry import daemon
sys.argv = ["presenced", "serve", "--dev", "--listen", "127.0.0.1:0"]
daemon()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None and daemon.stdout.readline().startswith("listening on ")
        daemon.terminate()
        _, log = daemon.communicate(timeout=30)
    assert f"WARNING Python {sys.version.split()[0]} never frees interned strings" in log


def test_a_token_is_signed_with_the_first_line(tmp_path: Path) -> None:
    """The file may be a pipe here: a command reads it once."""
    keys = [b"k" * 32, b"q" * 32]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"\n".join(keys),), daemon=True)
    writer.start()
    token = run("token", "--user", "alice", "--secret-file", str(pipe)).stdout.strip()
    assert Verifier(KeyRing(tuple(keys[:1]))).verify(token, SYSTEM_CLOCKS.wall_ms()).user == "alice"
    with pytest.raises(AuthError):
        Verifier(KeyRing(tuple(keys[1:]))).verify(token, SYSTEM_CLOCKS.wall_ms())


def test_a_token(secret_file: str) -> None:
    ended = run("token", "--user", "alice", "--role", "service", "--ttl", "1h30m", "--secret-file", secret_file)
    assert (ended.returncode, ended.stderr) == (0, "")
    claims = jwt.decode(ended.stdout.strip(), SECRET, algorithms=["HS256"])
    assert "presence" not in claims
    assert (claims["sub"], claims["role"], claims["exp"] - claims["iat"]) == ("alice", "service", 5_400)


def test_a_token_with_rights(secret_file: str) -> None:
    options = (
        "--see",
        "*@acme",
        "--see",
        "bob",
        "--act",
        "bob",
        "--join",
        "room-*",
        "--watch-channel",
        "*",
        "--only-read",
    )
    ended = run("token", "--user", "app", "--role", "service", "--secret-file", secret_file, *options)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert jwt.decode(ended.stdout.strip(), SECRET, algorithms=["HS256"])["presence"] == {
        "see": ["*@acme", "bob"],
        "act": ["bob"],
        "join": ["room-*"],
        "watch_channels": ["*"],
        "only_read": True,
    }


@pytest.mark.parametrize(
    ("code", "sentence", "arguments"),
    [
        (USAGE, "claim presence: see, pattern 1: a * stands", ("--user", "alice", "--see", "a*b")),
        (USAGE, "a token of the role user acts", ("--user", "alice", "--act", "bob")),
        (USAGE, "the user name", ("--user", "a b")),
        (USAGE, "the user name is empty", ("--user", "")),
        (CONFIG, "does not exist", ("--user", "alice", "--secret-file", "/nonexistent")),
        (USAGE, "--ttl", ("--user", "alice", "--ttl", "1")),
        (USAGE, "at least 1s", ("--user", "alice", "--ttl", "999ms")),
        (USAGE, "--role", ("--user", "alice", "--role", "king")),
        (USAGE, "--user", ()),
    ],
)
def test_no_token(secret_file: str, code: int, sentence: str, arguments: tuple[str, ...]) -> None:
    ended = run("token", "--secret-file", secret_file, *arguments)
    assert ended.returncode == code
    assert ended.stdout == ""
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr and SECRET not in ended.stderr


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.EIO, "the disk under /data failed: [Errno 5] Input/output error; free or replace it"),
        (
            errno.EMFILE,
            "no file descriptor was left for the log in /data: [Errno 24] Too many open files; raise the limit",
        ),
        (errno.ENFILE, "no file descriptor was left for the log in /data: [Errno 23]"),
    ],
)
def test_a_log_that_failed_is_told_with_what_it_failed_for(number: int, says: str) -> None:
    sentence, code = explain(LogFailed(OSError(number, os.strerror(number))), Settings(data_dir="/data"))
    assert sentence.startswith(says) and code == 74
