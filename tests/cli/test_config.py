"""`presenced config check`, `show` and `default`, and `presenced serve` with a file."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from presenced.cli.daemon import main
from presenced.config import Settings, load, loader
from presenced.config.writer import default_text, settings_text
from tests.cli.daemon_commands import BUSY, CONFIG, SECRET, refused, run
from tests.config.making import written
from tests.support.certificates import make_certificate
from tests.support.daemon import Daemon
from tests.support.wire import opened


@pytest.fixture(autouse=True)
def nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but what the test says: no file of this machine, no variable of this session."""
    monkeypatch.setattr(loader, "SYSTEM_DIRECTORY", str(tmp_path / "etc"))
    for name in list(os.environ):
        if name.startswith("PRESENCED_") or name.endswith("_DIRECTORY"):
            monkeypatch.delenv(name)


@pytest.fixture
def secret_file(tmp_path: Path) -> str:
    path = written(tmp_path / "secret", SECRET)
    os.chmod(path, 0o600)
    return path


def config(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["config", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def said(result: Result) -> list[str]:
    lines = result.stderr.splitlines()
    assert all(line.startswith("presenced: ") for line in lines)
    return [line.removeprefix("presenced: ") for line in lines]


# --- check -------------------------------------------------------------------------------------------------------


def test_a_sound_configuration_is_one_line(tmp_path: Path, secret_file: str) -> None:
    path = written(tmp_path / "f.toml", f"[auth]\nsecret_file = '{secret_file}'\n")
    drop_in = written(tmp_path / "f.d" / "x.toml", "[storage]\ndirectory = '/var/lib/x'\n")
    result = config("check", "--config", path)
    assert (result.exit_code, said(result)) == (0, [])
    assert result.stdout == (
        f"ok: {path}, {drop_in}; listens on presence://127.0.0.1:5250, state in /var/lib/x (always)\n"
    )


def test_no_file_at_all(secret_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESENCED_AUTH__SECRET_FILE", secret_file)
    result = config("check")
    assert result.stdout == "ok: no file; listens on presence://127.0.0.1:5250, state in memory only\n"


def test_every_fault_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "[listen]\nrate = -1\ntls_cert = '/nonexistent/cert'\ntls_key = '/nonexistent/key'\naddress = 'no..host:1'\n"
    text += "[auth]\nsecret_file = '/nonexistent/secret'\n[drain]\nspread = '1h'\n"
    path = written(tmp_path / "f.toml", text)
    monkeypatch.setenv("PRESENCED_LOG__LEVEL", "loud")
    result = config("check", "--config", path)
    assert (result.exit_code, result.stdout) == (CONFIG, "")
    assert [line.split(" ")[0] for line in said(result)] == [
        f"{path}:2:",
        "PRESENCED_LOG__LEVEL:",
        "drain.timeout",
        "listen.address",
        "listen.tls_cert",
        "listen.tls_key",
        "the",
    ]
    assert "the secret file /nonexistent/secret does not exist; make one with" in said(result)[-1]


def test_webhooks_that_nothing_signs_are_one_fault(tmp_path: Path) -> None:
    text = "[auth]\ndev = true\n[webhooks]\nurl = 'https://app.example.org/'\n"
    result = config("check", "--config", written(tmp_path / "f.toml", text))
    assert result.exit_code == CONFIG
    (line,) = said(result)
    assert "needs webhooks.secret_file" in line


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    short = written(tmp_path / "short", "hunter2")
    os.chmod(short, 0o600)
    result = config("check", "--config", written(tmp_path / "f.toml", f"[auth]\nsecret_file = '{short}'\n"))
    assert result.exit_code == CONFIG
    (line,) = said(result)
    assert "has 7 bytes and needs at least 32" in line and "hunter2" not in line
    certificate, key = map(str, make_certificate(tmp_path, "cert"))
    text = f"[auth]\ndev = true\n[listen]\ntls_cert = '{certificate}'\ntls_key = '{certificate}'\n"
    path = written(tmp_path / "f.toml", text)
    assert "holds no private key in PEM form" in said(config("check", "--config", path))[-1]
    written(tmp_path / "f.toml", text.replace(f"tls_key = '{certificate}'", f"tls_key = '{key}'"))
    assert "presences://127.0.0.1:5250" in config("check", "--config", path).stdout


@pytest.mark.parametrize("how", ["check", "serve"])
def test_settings_and_what_they_name_are_told_together(tmp_path: Path, how: str) -> None:
    """Whoever mends the first fault is not to meet the next at the next start."""
    text = "[listen]\naddress = 'no..host:1'\nrate = -1\ntls_cert = '/nonexistent/cert'\ntls_key = '/nonexistent/key'\n"
    text += "[auth]\nsecret_file = '/nonexistent/secret'\n[http]\naddress = 'none..such:1'\n"
    path = written(tmp_path / "f.toml", text)
    ended = run(*(("config", "check") if how == "check" else ("serve",)), "--config", path)
    assert (ended.returncode, ended.stdout) == (CONFIG, "")
    lines = [line.removeprefix("presenced: ") for line in ended.stderr.splitlines() if "warning: " not in line]
    begins = (
        f"{path}:3: listen.rate",
        "listen.address 'no..host' is not",
        "http.address 'none..such' is not",
        "listen.tls_cert /nonexistent/cert does not exist",
        "listen.tls_key /nonexistent/key does not exist",
        "the secret file /nonexistent/secret does not exist",
    )
    assert len(lines) == len(begins), ended.stderr
    for line, begin in zip(lines, begins, strict=True):
        assert line.startswith(begin), line


def test_more_links_than_this_shell_may_have_files_is_a_warning(tmp_path: Path, secret_file: str) -> None:
    """The service has a limit of its own; but `serve` itself would not start."""
    text = f"[auth]\nsecret_file = '{secret_file}'\n[listen]\nmax_links = 999999999\n"
    path = written(tmp_path / "f.toml", text)
    result = config("check", "--config", path)
    assert result.exit_code == 0
    (line,) = said(result)
    assert line.startswith("warning: listen.max_links 999999999 is more than the limit of ")
    assert "listen.max_links 999999999 is more" in refused(CONFIG, "--config", path)


def test_faults_are_lines_of_json_if_the_log_is_json(tmp_path: Path) -> None:
    path = written(tmp_path / "f.toml", "[log]\nformat = 'json'\n[auth]\nsecret_file = '/nonexistent'\n")
    ended = run("serve", "--config", path, "--heartbeat", "0")
    assert ended.returncode == CONFIG
    entries = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [entry["level"] for entry in entries] == ["error", "error"]
    assert entries[0]["message"].startswith("--heartbeat: ")
    assert entries[1]["message"].startswith("the secret file /nonexistent does not exist")


def test_what_ends_a_start_is_a_line_of_json_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run("serve", "--dev", "--listen", address, "--log-format", "json")
    assert ended.returncode == BUSY
    assert f"{address} is in use" in json.loads(ended.stderr.splitlines()[-1])["message"]


def test_a_file_that_is_not_toml(tmp_path: Path) -> None:
    path = written(tmp_path / "f.toml", "[listen]\naddress = \n")
    result = config("check", "--config", path)
    assert (result.exit_code, said(result)) == (CONFIG, [f"{path}:2:11: is not TOML: invalid value"])


def test_warnings(tmp_path: Path, secret_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chmod(secret_file, 0o644)
    text = f"[auth]\nsecret_file = '{secret_file}'\n[http]\naddress = '0.0.0.0:9250'\n"
    text += "[listen]\naddress = '[::]:5250'\n[admin]\nsocket = 'auto'\nmode = '0666'\n"
    monkeypatch.setenv("PRESENCED_LOG_LEVEL", "debug")
    result = config("check", "--config", written(tmp_path / "f.toml", text))
    assert result.exit_code == 0 and result.stdout.startswith("ok: ")
    begins = (
        "PRESENCED_LOG_LEVEL is not read",
        "http.address 0.0.0.0:9250 can be reached from other machines",
        "listen.address [::]:5250 can be reached from other machines, and without listen.tls_cert tokens",
        "admin.mode 0666 lets every account",
        f"the secret file {secret_file} can be read by every account (mode 0644)",
    )
    assert len(said(result)) == len(begins)
    for line, begin in zip(said(result), begins, strict=True):
        assert line.startswith(f"warning: {begin}")


def test_what_is_well_gets_no_warning(tmp_path: Path, secret_file: str) -> None:
    os.chmod(secret_file, 0o640)
    text = f"[auth]\nsecret_file = '{secret_file}'\n[http]\naddress = '[::1]:9250'\n[admin]\nsocket = 'auto'\n"
    result = config("check", "--config", written(tmp_path / "f.toml", text))
    assert (result.exit_code, said(result)) == (0, [])


def test_what_is_at_fault_gets_no_warning_beside(tmp_path: Path) -> None:
    path = written(tmp_path / "f.toml", "[auth]\ndev = true\n[http]\naddress = '0.0.0.0'\n[listen]\naddress = '0'\n")
    result = config("check", "--config", path)
    assert result.exit_code == CONFIG
    assert [line.split(":")[1] for line in said(result)] == ["4", "6"]


# --- show and default --------------------------------------------------------------------------------------------


def test_show_prints_what_is_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "f.toml", "[auth]\nsecret_file = '/s'\n[presence.idle]\nmobile = '600s,0'\n")
    monkeypatch.setenv("PRESENCED_LISTEN__RATE", "7")
    shown = config("show", "--config", path)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert tomllib.loads(shown.stdout)["presence"]["idle"] == {"mobile": "10m,0"}
    again = load({}, {}, written(tmp_path / "again.toml", shown.stdout)).settings
    assert again == Settings(secret_file="/s", rate=7, idle=("mobile=10m,0",))
    with_origin = config("show", "--origin", "--config", path).stdout
    assert f'secret_file = "/s"  # {path}:2\n' in with_origin
    assert "rate = 7  # PRESENCED_LISTEN__RATE\n" in with_origin
    assert "burst = 10  # default\n" in with_origin


def test_show_prints_what_cannot_work_together_too_and_says_so() -> None:
    shown = config("show")
    assert shown.exit_code == CONFIG
    assert shown.stdout == settings_text(Settings())
    assert said(shown)[0].startswith("no setting says how to check who a client is")


def test_show_prints_nothing_that_is_not_in_force(tmp_path: Path) -> None:
    shown = config("show", "--config", written(tmp_path / "f.toml", "[auth]\ndev = 3\n"))
    assert (shown.exit_code, shown.stdout) == (CONFIG, "")
    assert "auth.dev = 3 is neither true nor false" in said(shown)[0]


def test_default_prints_the_commented_file() -> None:
    result = run("config", "default")
    assert (result.returncode, result.stdout, result.stderr) == (0, default_text(), "")


# --- serve -------------------------------------------------------------------------------------------------------


def test_serve_reads_the_file_the_environment_and_the_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(
        tmp_path / "f.toml",
        "[auth]\ndev = true\n[listen]\naddress = '127.0.0.1:1'\n[heartbeat]\ninterval = '7s'\n"
        "[presence]\ngrace = '3s'\naway_after = '1s'\n[log]\nformat = 'json'\n",
    )
    monkeypatch.setenv("PRESENCED_PRESENCE__AWAY_AFTER", "2m")
    monkeypatch.setenv("PRESENCED_LOG_FORMAT", "text")
    options = ("--config", path, "--grace", "4s", "--offline-after", "0")
    with Daemon(tmp_path / "log", *options, dev=False) as daemon, opened(daemon.port, "alice") as link:
        assert link.told[0][5:10] == [7_000, 17_500, 4_000, 120_000, 0]
    log = daemon.log()
    assert f"settings from {path}" in log
    assert "PRESENCED_LOG_FORMAT is not read; did you mean PRESENCED_LOG__FORMAT?" in log
    assert log.startswith("{")


def test_serve_tells_all_faults_one_a_line(tmp_path: Path) -> None:
    path = written(tmp_path / "f.toml", "[listen]\nrate = -1\nadress = 'x:1'\n")
    ended = run("serve", "--config", path, "--heartbeat", "0", PRESENCED_CHANGE__BURST="0")
    assert (ended.returncode, ended.stdout) == (CONFIG, "")
    lines = ended.stderr.splitlines()
    assert [line.split(" ")[:2] for line in lines] == [
        ["presenced:", f"{path}:2:"],
        ["presenced:", f"{path}:3:"],
        ["presenced:", "PRESENCED_CHANGE__BURST:"],
        ["presenced:", "--heartbeat:"],
        ["presenced:", "no"],
    ]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--config", "/nonexistent/f.toml"), "/nonexistent/f.toml: does not exist"),
        (("--http", "9250"), '--http: http.address = "9250" is not HOST:PORT'),
        (("--admin-socket", "x" * 108), "--admin-socket: admin.socket = "),
        (("--drain-spread", "1m"), "drain.timeout (default) is 20s and would cut off what --drain-spread spreads over"),
        (("--drain-timeout", "2h"), '--drain-timeout: drain.timeout = "2h" is out of range'),
        (("--idle", "mobile=1m"), '--idle: presence.idle.mobile = "1m" is not two durations'),
        (("--durability", "never"), '--durability: storage.durability = "never" is none of the policies'),
        (("--secret-file", "credential:x"), "CREDENTIALS_DIRECTORY is not set"),
    ],
)
def test_serve_with_options_that_cannot_work(options: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused(CONFIG, "--dev", "--listen", "127.0.0.1:0", *options)


def test_sighup_reads_the_file_anew(tmp_path: Path) -> None:
    path = written(tmp_path / "f.toml", "[auth]\ndev = true\n[presence]\ngrace = '3s'\n")
    with Daemon(tmp_path / "log", "--config", path, dev=False) as daemon:
        written(tmp_path / "f.toml", "[auth]\ndev = true\n[presence]\ngrace = '5s'\n")
        daemon.signal(signal.SIGHUP)
        daemon.until_log("presence.grace: 3s -> 5s")
        with opened(daemon.port, "alice") as link:
            assert link.told[0][7] == 5_000
        written(tmp_path / "f.toml", "[presence]\ngrace = 'soon'\n")
        daemon.signal(signal.SIGHUP)
        daemon.until_log(f'{path}:2: presence.grace = "soon" is not a duration')
        with opened(daemon.port, "bob") as link:
            assert link.told[0][7] == 5_000


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@needs_root
def test_what_another_user_may_read_is_judged_as_that_user(tmp_path: Path) -> None:
    """Root may read everything; the service may not."""
    certificate, key = map(str, make_certificate(tmp_path, "cert"))
    secret = written(tmp_path / "secret", SECRET)
    text = f"[listen]\ntls_cert = '{certificate}'\ntls_key = '{key}'\n[auth]\nsecret_file = '{secret}'\n"
    path = written(tmp_path / "f.toml", text)
    for file, mode in ((path, 0o644), (certificate, 0o644), (key, 0o600), (secret, 0o600)):
        os.chmod(file, mode)
    for place in (tmp_path, *tmp_path.parents):
        if str(place) != "/tmp" and str(place).startswith("/tmp/"):
            os.chmod(place, 0o755)
    assert config("check", "--config", path).exit_code == 0, "as root"
    result = config("check", "--config", path, "--user", "nobody")
    assert result.exit_code == CONFIG
    faults = [line for line in said(result) if "warning: " not in line]
    advice = (
        "cannot be read by the user nobody, who runs this process; let nobody read the file "
        "(chown nobody FILE; chmod 0400 FILE)"
    )
    assert [line.partition(" and enter the directories")[0] for line in faults] == [
        f"listen.tls_key {key} {advice}",
        f"the secret file {secret} {advice}",
    ]
    for file in (key, secret):
        os.chown(file, pwd.getpwnam("nobody").pw_uid, -1)
    result = config("check", "--config", path, "--user", "nobody")
    assert result.exit_code == 0 and result.stdout.rstrip().endswith("checked as the user nobody")
    os.chmod(path, 0o600)
    assert f"{path}: cannot be read by the user nobody" in "".join(
        said(config("check", "--config", path, "--user", "nobody"))
    )


@needs_root
def test_what_the_unit_hides_is_no_good_to_the_service(secret_file: str, tmp_path: Path) -> None:
    text = "[auth]\nsecret_file = '/root/presenced/secret'\n"
    result = config("check", "--config", written(tmp_path / "f.toml", text), "--user", "root")
    assert "the service cannot see files below /root (ProtectHome= of the unit); move the file" in "".join(said(result))


def test_a_user_who_does_not_exist(secret_file: str, tmp_path: Path) -> None:
    path = written(tmp_path / "f.toml", f"[auth]\nsecret_file = '{secret_file}'\n")
    result = config("check", "--config", path, "--user", "nobody-at-all")
    assert result.exit_code == 2 and "there is no user 'nobody-at-all'" in result.stderr


def test_what_has_no_effect_without_a_cluster_is_named(tmp_path: Path) -> None:
    text = "[auth]\ndev = true\n[cluster]\nnode = 'w'\nlease = '20s'\nack = 'engine'\n"
    result = config("check", "--config", written(tmp_path / "f.toml", text))
    sentence = "without cluster.url this daemon is alone, and cluster.node, cluster.lease have no effect"
    assert (result.exit_code, said(result)) == (0, [f"warning: {sentence}; give --cluster URL, or --nodes NUMBER"])
    # Several on one machine are named after it.
    result = config("check", "--config", written(tmp_path / "g.toml", text + "nodes = 2\n"))
    assert not any("no effect" in line for line in said(result))
