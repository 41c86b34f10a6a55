"""`presencectl` as people and scripts use it: real processes against the real daemon."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from presenced.address import Url
from presenced.cli import exits
from presenced.cli.ctl import SECTIONS, main
from presenced.cli.output import Output, OutputRow, clock_time, describe, printable
from presenced.cli.target import Target
from presenced.client import Change
from presenced.errors import (
    AddressError,
    AuthError,
    ConnectionLost,
    PresenceError,
    ProtocolError,
    RequestError,
    RequestTimeout,
)
from presenced.server.identity import mint
from tests.cli.commands import ENVIRONMENT, Running, command, ctl, on_terminal, online, record
from tests.support import REPOSITORY
from tests.support.daemon import Daemon, StartDaemon
from tests.support.until import PATIENCE_S


@pytest.fixture
def start() -> Iterator[Any]:
    """Start commands that are ended with the test."""
    running: list[Running] = []

    def start(*args: str) -> Running:
        running.append(Running(*args))
        return running[-1]

    yield start
    for one in running:
        one.kill()


def commands_below(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """All commands without subcommands, each with what is typed for it."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from commands_below(found, f"{path} {name}")


KEYS = ["user", "status", "text", "emoji", "since_ms", "last_seen_ms", "device", "version"]


class TestOneShot:
    def test_set_beside_a_running_device_and_get(self, daemon: Daemon, start: Any) -> None:
        url = daemon.url("alice", "laptop")
        device = online(start, url)
        done = ctl("--url", url, "set", "dnd", "--text", "lunch", "--emoji", "\U0001f334", "--for", "30m")
        assert (done.returncode, done.stderr) == (0, "")
        shown = ctl("--url", daemon.url("bob", "x"), "get", "alice")
        record = json.loads(shown.stdout)
        assert list(record) == KEYS
        assert (record["status"], record["text"], record["emoji"]) == ("dnd", "lunch", "\U0001f334")
        assert (record["device"], shown.returncode) == ("laptop", 0)
        assert device.process.poll() is None, "`set` must not replace the device"
        cleared = json.loads(ctl("--url", url, "clear").stdout)
        assert (cleared["status"], cleared["text"]) == ("online", "")

    def test_set_by_somebody_on_no_device_shows_for_the_grace_and_says_so(self, start_daemon: Any, start: Any) -> None:
        daemon = start_daemon("--grace", "1s")
        watch = start("--url", daemon.url("bob", "desk"), "watch", "alice", "-C", "4")
        assert json.loads(watch.line("stdout"))["status"] == "offline"
        done = ctl("--url", daemon.url("alice", "laptop"), "set", "dnd", "--text", "lunch", "--emoji", "*")
        assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "dnd")
        assert done.stderr == "alice has no device online; `presencectl online` keeps one online\n"
        seen = json.loads(watch.line("stdout"))
        assert (seen["kind"], seen["status"], seen["device"]) == ("online", "dnd", "laptop")
        assert (seen["text"], seen["emoji"]) == ("lunch", "*"), "all of it is one change"
        assert json.loads(watch.line("stdout"))["kind"] == "offline"
        quiet = ctl("-q", "--url", daemon.url("alice", "laptop"), "set", "dnd")
        assert (quiet.stderr, json.loads(watch.line("stdout"))["kind"]) == ("", "online")

    def test_what_cannot_be_set_is_not_half_seen(self, daemon: Daemon) -> None:
        url = daemon.url("alice", "laptop")
        done = ctl("--url", url, "set", "dnd", "--text", "x" * 600)
        assert done.returncode == exits.USAGE and "longer than 512 bytes" in done.stderr
        assert json.loads(ctl("--url", url, "get", "alice").stdout)["since_ms"] == 0
        assert ctl("--url", url, "devices").stdout == ""

    def test_the_others_make_nobody_available(self, daemon: Daemon) -> None:
        assert ctl("--url", daemon.url("alice", "laptop"), "clear").returncode == 0
        assert ctl("--url", daemon.url("alice", "laptop"), "set", "offline").stderr == ""
        assert json.loads(ctl("--url", daemon.url("bob", "x"), "get", "alice").stdout)["status"] == "offline"

    def test_get_says_no_by_its_exit_code_for_one_user(self, daemon: Daemon) -> None:
        url = daemon.url("alice", "laptop")
        assert ctl("--url", url, "get", "bob").returncode == exits.NO
        several = ctl("--url", url, "get", "bob", "carol")
        assert several.returncode == 0
        assert [json.loads(line)["user"] for line in several.stdout.splitlines()] == ["bob", "carol"]

    def test_who(self, daemon: Daemon, start: Any) -> None:
        for user in ("carol", "alice"):
            online(start, daemon.url(user, "laptop"))
        url = daemon.url("bob", "x")
        assert [json.loads(line)["user"] for line in ctl("--url", url, "who").stdout.splitlines()] == [
            "alice",
            "carol",
        ]
        assert ctl("--url", url, "who", "--count").stdout == "2\n"
        assert len(ctl("--url", url, "who", "--limit", "1").stdout.splitlines()) == 1

    def test_ping(self, daemon: Daemon) -> None:
        done = ctl("--url", daemon.url("alice", ""), "ping", "-c", "2")
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(answers) == 2 and all(0 < answer["rtt_ms"] < 10_000 for answer in answers)

    def test_the_url_may_come_from_the_environment(self, daemon: Daemon) -> None:
        done = ctl("ping", env={"PRESENCE_URL": daemon.url("alice", "laptop")})
        assert done.returncode == 0


class TestWatch:
    def test_a_snapshot_and_then_a_line_for_each_change(self, daemon: Daemon, start: Any) -> None:
        url = daemon.url("alice", "laptop")
        watch = start("--url", daemon.url("bob", "x"), "watch", "alice")
        first = watch.json()
        assert list(first) == ["kind", *KEYS, "old_status"]
        assert (first["kind"], first["status"], first["old_status"]) == ("snapshot", "offline", None)
        device = online(start, url)
        assert watch.json()["kind"] == "online"
        ctl("--url", url, "set", "away")
        change = watch.json()
        assert (change["kind"], change["status"], change["old_status"]) == ("status", "away", "online")
        device.end(signal.SIGINT)
        assert watch.json()["kind"] == "offline"
        assert watch.end(signal.SIGINT) == (exits.INTERRUPTED, "")

    def test_it_ends_after_a_count_or_a_time(self, daemon: Daemon) -> None:
        url = daemon.url("alice", "laptop")
        counted = ctl("--url", url, "watch", "-C", "2", "bob", "carol", "dave")
        assert (counted.returncode, len(counted.stdout.splitlines())) == (0, 2)
        assert ctl("--url", url, "watch", "-W", "0.2", "bob").returncode == 0
        assert ctl("--url", url, "watch", "-W", "0.2", "-C", "5", "bob").returncode == exits.NO

    @pytest.mark.parametrize(
        ("number", "code"), [(signal.SIGINT, exits.INTERRUPTED), (signal.SIGTERM, exits.TERMINATED)]
    )
    def test_a_later_watch_goes_on_from_a_position(
        self, daemon: Daemon, start: Any, number: signal.Signals, code: int
    ) -> None:
        url = daemon.url("alice", "laptop")
        first = ctl("--url", url, "watch", "-W", "0.2", "--since", "", "bob", "carol")
        *shown, last = [json.loads(line) for line in first.stdout.splitlines()]
        assert [line["user"] for line in shown] == ["bob", "carol"] and last["kind"] == "position"
        same = ctl("--url", url, "watch", "-W", "0.2", "--since", last["position"], "carol", "bob")
        assert [json.loads(line) for line in same.stdout.splitlines()] == [last]
        online(start, daemon.url("bob", "desk"))
        watch = start("--url", url, "watch", "--since", last["position"], "bob", "carol")
        assert watch.json()["status"] == "online"
        watch.process.send_signal(number)
        at_the_end = watch.json()
        assert at_the_end["kind"] == "position" and at_the_end != last
        assert watch.end() == (code, "")
        wrong = ctl("--url", url, "watch", "--since", "nonsense", "bob")
        assert wrong.returncode == exits.USAGE and "not a position" in wrong.stderr
        assert ctl("--url", url, "watch", "--contacts", "--since", "").returncode == exits.USAGE

    def test_a_reader_that_has_enough_is_no_error(self, daemon: Daemon) -> None:
        url = daemon.url("alice", "laptop")
        users = [f"u{number}" for number in range(5000)]
        with subprocess.Popen(
            command("--url", url, "get", *users),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=REPOSITORY,
            env=ENVIRONMENT,
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(PATIENCE_S) == 0


class TestOnline:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_leaving_is_seen_at_once_in_spite_of_grace(
        self, start_daemon: StartDaemon, start: Any, number: signal.Signals
    ) -> None:
        daemon = start_daemon("--grace", "1h")
        device = online(start, daemon.url("alice", "laptop"))
        watch = start("--url", daemon.url("bob", "x"), "watch", "alice")
        assert watch.json()["status"] == "online"
        assert device.end(number) == (0, "")
        assert watch.json()["kind"] == "offline"

    def test_without_bye_the_grace_time_runs(self, start_daemon: StartDaemon, start: Any) -> None:
        daemon = start_daemon("--grace", "1h")
        url = daemon.url("alice", "laptop")
        device = start("--url", url, "online", "--status", "chat", "--name", "My Mac", "--no-bye")
        assert "is chat at" in device.line("stderr")
        assert device.end(signal.SIGINT) == (0, "")
        assert json.loads(ctl("--url", daemon.url("bob", "x"), "get", "alice").stdout)["status"] == "chat"

    def test_a_second_one_ends_the_first_and_says_why(self, daemon: Daemon, start: Any) -> None:
        url = daemon.url("alice", "laptop")
        first = online(start, url)
        online(start, url)
        code, stderr = first.end()
        assert code == exits.UNREACHABLE
        assert stderr.startswith("presencectl: ") and "same device" in stderr


class TestErrors:
    def line(self, done: subprocess.CompletedProcess[str]) -> str:
        """Errors are one line, and never a traceback."""
        assert done.stdout == ""
        assert done.stderr.startswith("presencectl: ") and done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    def test_no_daemon(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            done = ctl("--url", f"presence://alice@127.0.0.1:{unused.getsockname()[1]}/laptop", "ping")
        assert done.returncode == exits.UNREACHABLE
        assert "presenced serve --dev" in self.line(done)

    def test_another_kind_of_server(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve() -> None:
                link, _ = listener.accept()
                with link:
                    link.recv(1)
                    link.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

            thread = threading.Thread(target=serve)
            thread.start()
            done = ctl("--url", f"presence://alice@127.0.0.1:{listener.getsockname()[1]}/laptop", "get", "bob")
            thread.join()
        assert done.returncode == exits.PROTOCOL
        assert "is the port right?" in self.line(done)

    def test_tokens(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_bytes(b"k" * 48)
        token = tmp_path / "token"
        token.write_text(mint(b"k" * 48, "alice", "user", int(time.time()), 600) + "\n")
        old = mint(b"k" * 48, "alice", "user", int(time.time()) - 700, 600)
        process = subprocess.Popen(
            [sys.executable, "-m", "presenced", "serve", "--secret-file", str(secret), "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=REPOSITORY,
        )
        try:
            assert process.stdout is not None
            address = process.stdout.readline().decode().split("//")[1].strip()
            url = f"presence://alice@{address}/laptop"
            assert ctl("--url", url, "--token-file", str(token), "ping").returncode == 0
            assert ctl("--url", url, "ping", env={"PRESENCE_TOKEN": token.read_text().strip()}).returncode == 0
            expired = ctl("--url", url, "--token", old, "ping")
            assert expired.returncode == exits.DENIED and "presenced token" in self.line(expired)
            missing = ctl("--url", url, "ping")
            assert missing.returncode == exits.DENIED and "--token" in self.line(missing)
            missing = ctl("--url", url, "--token-file", str(token), "--ca-file", str(tmp_path / "ca"), "ping")
            assert missing.returncode == exits.CONFIG, "without TLS, too"
            assert "cannot be used: No such file or directory (see" in self.line(missing)
            unreadable = ctl("--url", url, "--token-file", str(tmp_path / "none"), "ping")
            assert unreadable.returncode == exits.CONFIG
            assert self.line(unreadable).endswith(f"{tmp_path / 'none'} cannot be read: No such file or directory\n")
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE_S)

    @pytest.mark.parametrize(
        ("args", "reason"),
        [
            (["--url", "http://x", "ping"], "presence://"),
            (["--url", "presence://a b@x", "ping"], "the URL holds U+0020"),
            (["--url", "presence://a%20b@x", "ping"], "spaces"),
            (["set", "lunch"], "lunch"),
            (["set", "dnd", "--for", "30"], "no unit"),
            (["set", "dnd", "--for", "0s"], "'--for': the duration '0s' is no time at all"),
            (["claim", "add", "c", "call", "dnd", "--for", "0"], "'--for': the duration '0' is no time at all"),
            (["activity", "--since", "0m"], "'--since': the duration '0m' is no time at all"),
            (["get"], "USER"),
            (["--timeout", "0", "ping"], "timeout"),
        ],
    )
    def test_wrong_usage(self, args: list[str], reason: str) -> None:
        done = CliRunner().invoke(main, args)
        assert done.exit_code == exits.USAGE
        assert reason in done.output and "Traceback" not in done.output

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (AddressError("x"), 2),
            (RequestError("watch_limit", "x"), 65),
            (RequestError("overloaded", "x", temporary=True), 75),
            (ConnectionLost("unreachable", "x"), 69),
            (ConnectionLost("link_lost", "x"), 69),
            (ConnectionLost("replaced", "x"), 69),
            (ConnectionLost("busy", "x"), 75),
            (RequestTimeout("x"), 75),
            (ProtocolError("not_presenced", "x"), 76),
            (AuthError("token_expired", "x"), 77),
            (ConnectionLost("tls_failed", "x"), 78),
            (AuthError("bad_token_file", "x"), 78),
            (PresenceError("internal", "x"), 70),
        ],
    )
    def test_the_exit_code_of_each_error(self, error: PresenceError, code: int) -> None:
        assert exits.exit_code(error) == code

    def test_an_argument_has_a_short_name_and_its_help_the_words(self) -> None:
        for path, one in commands_below(main, "presencectl"):
            shown = " ".join(CliRunner().invoke(main, [*path.split()[1:], "--help"]).output.split())
            for argument in one.params:
                if isinstance(argument, click.Argument) and isinstance(argument.type, click.Choice):
                    assert argument.metavar, f"{path}: {argument.name} is named by all its words"
                    assert all(re.search(rf"\b{word}\b", shown) for word in argument.type.choices), path

    def test_the_help_has_each_command_once_under_a_title_with_a_whole_sentence(self) -> None:
        named = [name for names in SECTIONS.values() for name in names]
        assert sorted(named) == main.list_commands(click.Context(main))
        for path, one in commands_below(main, "presencectl"):
            group = path.split()[1:-1]
            shown = CliRunner().invoke(main, [*group, "--help"]).output
            assert f"\n  {path.split()[-1]} " in shown
            assert one.help is not None and one.help.split(".")[0].split()[-1] in shown
            assert "..." not in shown.replace("[ARGS]...", "").replace("USER...", "")

    def test_the_help_lists_every_exit_code(self) -> None:
        shown = CliRunner().invoke(main, ["--help"]).output
        codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
        assert len(codes) == 13
        for code in codes:
            assert f"\n  {code} " in shown


def ran(line: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A line of a shell, in which `ctl` and `daemon` are the two commands."""
    names = {"ctl": "presenced.cli.ctl", "daemon": "presenced"}
    functions = "".join(f'{name}() {{ "{sys.executable}" -m {module} "$@"; }}; ' for name, module in names.items())
    return subprocess.run(
        ["sh", "-c", functions + line],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=REPOSITORY,
        env={**ENVIRONMENT, **env},
    )


class TestWhatCannotBeWritten:
    @pytest.mark.parametrize("where", [">/dev/full", ">&-"])
    @pytest.mark.parametrize("line", ["who", "who --count", "ping", "get bob carol"])
    def test_one_line_and_a_code(self, daemon: Daemon, start: Any, line: str, where: str) -> None:
        online(start, daemon.url("alice", "laptop"))
        done = ran(f"ctl {line} {where}", PRESENCE_URL=daemon.url("alice", "laptop"))
        assert done.returncode == exits.OUTPUT == 74
        assert done.stderr.startswith("presencectl: standard output cannot be written: ")
        assert done.stderr.count("\n") == 1

    @pytest.mark.parametrize(
        "line", ["config default", "dashboard grafana", "--help", "token --user alice --secret-file SECRET"]
    )
    @pytest.mark.parametrize("where", [">/dev/full", ">&-"])
    def test_of_the_daemons_command(self, line: str, where: str, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_bytes(b"k" * 48)
        done = ran(f"daemon {line} {where}".replace("SECRET", str(secret)))
        assert done.returncode == exits.OUTPUT
        assert done.stderr.startswith("presenced: standard output cannot be written: ")
        assert done.stderr.count("\n") == 1

    def test_errors_do_not_go_to_standard_output_instead(self) -> None:
        done = ran("ctl --url http://x ping 2>&-")
        assert (done.returncode, done.stdout) == (exits.USAGE, "")

    def test_a_reader_that_has_enough_is_no_error(self) -> None:
        done = ran("{ daemon config default; echo $? >&2; } | head -1")
        assert (done.stderr, len(done.stdout.splitlines())) == ("0\n", 1)

    def test_characters_that_the_terminal_has_not(self, daemon: Daemon, start: Any) -> None:
        url = daemon.url("emo", "laptop")
        online(start, url)
        assert ctl("--url", url, "set", "dnd", "--text", "caf\u00e9", "--emoji", "\U0001f334").returncode == 0
        plain = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
        piped = ctl("--url", url, "get", "emo", env=plain)
        assert piped.stdout.isascii() and json.loads(piped.stdout)["text"] == "caf\u00e9"
        assert "caf?" in on_terminal("--url", url, "get", "emo", env=plain)


class TestOptionsOfTheGroup:
    @pytest.mark.parametrize(
        ("args", "says"),
        [
            (["get", "bob", "--url", "x"], "--url goes before the subcommand: `presencectl --url URL get ...`"),
            (["get", "--json", "bob"], "--json goes before the subcommand: `presencectl --json get ...`"),
            (["set", "dnd", "-q"], "-q goes before the subcommand: `presencectl -q set ...`"),
            (["status", "--socket=x"], "`presencectl --socket PATH status ...`"),
            (["activity", "add", "x", "--as", "bob"], "`presencectl --as USER activity add ...`"),
            (["activity", "bob", "--as", "bob"], "`presencectl --as USER activity list ...`"),
            (["get", "bob", "--nowhere"], "No such option"),
        ],
    )
    def test_behind_the_subcommand_they_are_told_where_they_go(self, args: list[str], says: str) -> None:
        done = CliRunner().invoke(main, args, prog_name="presencectl")
        assert done.exit_code == exits.USAGE and says in done.output, done.output

    def test_a_subcommand_keeps_its_own_option_of_that_name(self, daemon: Daemon) -> None:
        done = ctl("--url", daemon.url("alice", "laptop"), "set", "dnd", "--text", "busy")
        assert done.returncode == 0 and json.loads(done.stdout)["text"] == "busy"

    @pytest.mark.parametrize(
        ("args", "says"),
        [
            (["--as", "kim", "events"], "`events` does not use --as"),
            (["--as", "kim", "who"], "`who` does not use --as"),
            (["--as", "kim", "status"], "`status` does not use --as"),
            (["--socket", "x", "get", "bob"], "`get` does not use --socket"),
            (["--instance", "x", "get", "bob"], "`get` does not use --instance"),
            (["--socket", "x", "--instance", "y", "status"], "--socket and --instance both name a server"),
        ],
    )
    def test_what_has_no_meaning_is_refused(self, args: list[str], says: str) -> None:
        done = CliRunner().invoke(main, args)
        assert done.exit_code == exits.USAGE and says in done.output

    def test_a_socket_in_the_environment_is_in_nobody_s_way(self, daemon: Daemon) -> None:
        done = ctl("--url", daemon.url("alice", ""), "ping", env={"PRESENCED_ADMIN_SOCKET": "/nowhere"})
        assert done.returncode == 0


class TestCover:
    def test_it_says_what_covers_the_devices_status(self, daemon: Daemon, start: Any) -> None:
        url = daemon.url("alice", "laptop")
        assert ctl("--url", url, "set", "away").returncode == 0
        covered = online(start, url)
        assert covered.line("stderr") == (
            "watchers see away: the manual status covers the device's status; `presencectl clear` ends it"
        )


class TestDeviceOfACommand:
    def test_it_is_not_made_of_what_two_containers_share(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The name of the host and the number of the process may be equal in both."""
        monkeypatch.setattr("socket.gethostname", lambda: "app")
        monkeypatch.setattr("os.getpid", lambda: 1)
        devices = []

        async def note(self: Target, url: Url, reconnect: bool, **options: Any) -> Any:
            devices.append(url.device)
            raise AddressError("enough")

        monkeypatch.setattr(Target, "_connect", note)
        target = Target("presence://alice@127.0.0.1:1/laptop", "", "", "", False, 1.0)

        async def come() -> None:
            async with target.one_shot():
                pass

        for _ in range(2):
            with pytest.raises(AddressError):
                asyncio.run(come())
        assert len(set(devices)) == 2 and all(device.startswith("ctl-app-") for device in devices)


class TestTables:
    ROWS = [
        OutputRow({}, ("laptop-of-alice", "desktop", "the old one in the cellar", "online", "connected", "12:00:05"))
    ]
    TITLES = ("device", "kind", "name", "status", "state", "last active")

    def shown(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        Output(is_json=False, has_colour=False, is_quiet=False).rows(self.ROWS, self.TITLES)
        return capsys.readouterr().out.splitlines()

    def test_on_a_wide_terminal_a_row_is_a_line(self, capsys: Any, monkeypatch: Any) -> None:
        assert len(self.shown(capsys, monkeypatch, 110)) == 2

    def test_sentences_are_wrapped_before_anything_else(self, capsys: Any, monkeypatch: Any) -> None:
        lines = self.shown(capsys, monkeypatch, 78)
        assert len(lines) == 3 and "laptop-of-alice" in lines[1] and "12:00:05" in lines[1]

    def test_where_it_does_not_fit_no_word_is_broken(self, capsys: Any, monkeypatch: Any) -> None:
        lines = self.shown(capsys, monkeypatch, 50)
        found = dict(line.split(maxsplit=1) for line in lines[:5])
        assert found["device"].strip() == "laptop-of-alice" and found["name"].strip() == "the old one in the cellar"
        assert lines[5].split() == ["last", "active", "12:00:05"]


class TestTerminal:
    def test_a_table_with_colour(self, daemon: Daemon, start: Any) -> None:
        online(start, daemon.url("alice", "laptop"))
        url = daemon.url("bob", "x")
        shown = on_terminal("--url", url, "get", "alice", "carol")
        assert "user" in shown and "alice" in shown and "online" in shown and "\x1b[32m" in shown
        assert "{" not in shown

    @pytest.mark.parametrize("how", ["option", "environment"])
    def test_without_colour_on_request(self, daemon: Daemon, how: str) -> None:
        args = ["--no-color"] if how == "option" else []
        env = {"NO_COLOR": "1"} if how == "environment" else None
        shown = on_terminal(*args, "--url", daemon.url("bob", "x"), "watch", "-C", "1", "alice", env=env)
        assert "alice  offline  (never seen)" in shown and "\x1b" not in shown

    def test_json_on_request(self, daemon: Daemon) -> None:
        shown = on_terminal("--json", "--url", daemon.url("bob", "x"), "get", "alice")
        assert json.loads(shown)["user"] == "alice"


class TestWording:
    @pytest.mark.parametrize(
        ("change", "line"),
        [
            (Change("snapshot", None, record("offline", device="", since_ms=0)), "bob  offline  (never seen)"),
            (Change("online", record("offline"), record("online")), "bob  online  (was offline)  on phone"),
            (
                Change("status", record("online"), record("dnd", "lunch", "\U0001f334")),
                "bob  dnd  (was online)  \u201c\U0001f334 lunch\u201d  on phone",
            ),
            (Change("text", record("dnd", "x"), record("dnd")), "bob  dnd  (text cleared)  on phone"),
            (Change("device", record("dnd"), record("dnd", device="tv")), "bob  dnd  (now on tv)"),
        ],
    )
    def test_changes_in_a_line(self, change: Change, line: str) -> None:
        assert describe(change) == line

    def test_nothing_that_a_terminal_would_obey_is_printed(self) -> None:
        assert printable("a\x1b[2Jb\u202ec\u200dd") == "a\ufffd[2Jb\ufffdc\u200dd"

    @pytest.mark.parametrize(
        "text", ["a\u00a0b", "\u4e00\u3000\u4e8c", "\u0645\u06cc\u200c\u062e", "\U0001fae8", "co\u00adop"]
    )
    def test_what_a_text_may_hold_is_printed(self, text: str, capsys: pytest.CaptureFixture[str]) -> None:
        output = Output(is_json=False, has_colour=False, is_quiet=False)
        output.records([record("dnd", text)])
        output.change(Change("text", record("dnd"), record("dnd", text)))
        output.say({}, text)
        assert capsys.readouterr().out.count(text) == 3

    def test_times_are_local_and_short_today(self) -> None:
        noon = datetime(2030, 5, 1, 12, 0, 5)
        wall_ms = int(noon.timestamp() * 1000)
        assert clock_time(wall_ms, noon) == "12:00:05"
        assert clock_time(wall_ms, datetime(2030, 5, 2, 9, 0)) == "2030-05-01 12:00"
        assert clock_time(0) == ""
