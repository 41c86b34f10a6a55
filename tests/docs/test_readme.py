"""The README's commands, run as they are written, but for the port and the directories."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest

from tests.support.engines import free_port, redis_server
from tests.support.readiness import readable

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
LONG_S = 60.0


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


OF_THE_INSTALLED = ("secret.new", "renewal-hooks", "presenced@two", "node.conf")
"""Words of the blocks that `tests/systemd/test_service.py` runs as they stand, in a container."""


def commands() -> list[str]:
    here = [block for block in blocks("sh") if not any(word in block for word in OF_THE_INSTALLED)]
    return [line.partition(" #")[0].strip() for block in here for line in block.splitlines() if line.strip()]


def written(start: str) -> str:
    """The one command of the README that begins so."""
    found = [command for command in commands() if command.startswith(start)]
    assert len(found) == 1, f"the README has {len(found)} commands that begin with {start!r}"
    return found[0]


class Place:
    """A free port and an empty directory, and the README's commands adapted to them."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.directory = directory

    def adapt(self, command: str) -> list[str]:
        command = command.replace("127.0.0.1/", f"127.0.0.1:{self.port}/").replace("5250", str(self.port))
        command = command.replace("var/presenced", str(self.directory / "data")).replace(
            "/tmp/copy", f"{self.directory}/copy"
        )
        command = command.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
        return shlex.split(command)

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.adapt(command), cwd=ROOT, capture_output=True, text=True, timeout=LONG_S, check=False
        )

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )


def line(process: subprocess.Popen[str]) -> str:
    """The next line, byte by byte: what a buffered reader had read ahead, `select` would not see."""
    assert process.stdout is not None
    said = b""
    while not said.endswith(b"\n"):
        assert readable(process.stdout, LONG_S), f"nothing was printed after {said!r}"
        byte = os.read(process.stdout.fileno(), 1)
        if not byte:
            assert process.stderr is not None
            raise AssertionError(f"it ended after {said!r}: {process.stderr.read()}")
        said += byte
    return said.decode()


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=LONG_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """`make run`, as the README's first command, on a port and a directory of its own."""
    place = Place(tmp_path)
    assert commands()[0] == "make run"
    options = f"OPTIONS=--listen 127.0.0.1:{place.port} --data-dir {tmp_path / 'data'}"
    options += f" --admin-socket {tmp_path / 'admin.sock'} --http 127.0.0.1:0"
    # The environment that runs these tests is the one that `make` would make.
    daemon = place.start(["make", "--silent", "run", f"BIN={Path(sys.executable).parent}", "RUNNABLE=", options])
    assert line(daemon) == f"listening on presence://127.0.0.1:{place.port}\n"
    yield place
    subprocess.run(["pkill", "-INT", "-P", str(daemon.pid)], check=False)
    daemon.communicate(timeout=LONG_S)


def test_one_watches_what_another_sets(place: Place) -> None:
    watching = place.start(place.adapt(written(".venv/bin/presencectl --url presence://bob")))
    try:
        assert '"kind": "snapshot"' in line(watching)
        done = place.run(written(".venv/bin/presencectl --url presence://anna"))
        assert done.returncode == 0, done.stderr
        while '"status": "away"' not in (seen := line(watching)):
            pass
        assert "back at three" in seen, "as one change"
    finally:
        end(watching)


def test_the_python_program_prints_what_it_sees(place: Place, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(blocks("python")[0].replace("5250", str(place.port)))
    running = place.start([sys.executable, "-u", str(program)])
    try:
        assert "bob" in line(running)
        assert line(running).startswith("snapshot bob")
    finally:
        end(running)


def test_contacts_from_a_shell(place: Place) -> None:
    asked = place.run(written(".venv/bin/presencectl --url presence://carol@127.0.0.1/laptop"))
    assert '"asked": true' in asked.stdout, asked.stderr
    approved = place.run(written(".venv/bin/presencectl --url presence://dave@127.0.0.1/laptop"))
    assert '"subscription": "from"' in approved.stdout, approved.stderr
    pair, _, importing = written("echo 'erin,carol'").partition(" | ")
    done = subprocess.run(
        place.adapt(importing), input=shlex.split(pair)[1], cwd=ROOT, capture_output=True, text=True, timeout=LONG_S
    )
    assert done.stdout == '{"lists": 1, "contacts": 1}\n', done.stderr
    listed = place.run(written(".venv/bin/presencectl --url presence://carol@127.0.0.1/phone"))
    assert [line.split(",")[0] for line in listed.stdout.splitlines()] == ['{"contact": "dave"', '{"contact": "erin"']
    watching = place.start(place.adapt(written(".venv/bin/presencectl --url presence://carol@127.0.0.1/tablet")))
    try:
        assert '"user": "dave"' in line(watching) and '"user": "erin"' in line(watching)
        audience = place.run(written(".venv/bin/presencectl --url presence://dave@127.0.0.1/phone"))
        assert '"last_seen": "nobody"' in audience.stdout, audience.stderr
        assert place.run(written(".venv/bin/presencectl --url presence://dave@127.0.0.1/tablet")).returncode == 0
    finally:
        end(watching)


def test_the_store_can_be_looked_at_and_copied(place: Place) -> None:
    assert place.run(written(".venv/bin/presencectl --url presence://anna")).returncode == 0
    for start in (".venv/bin/presenced store check", ".venv/bin/presenced store dump", ".venv/bin/presenced backup"):
        done = place.run(written(start))
        assert done.returncode == 0, f"{start}: {done.stderr}"
        assert done.stdout


def test_the_state_can_be_kept_in_redis(tmp_path: Path) -> None:
    port = free_port()
    with redis_server(tmp_path / "redis", port=port) as redis:
        command = written(".venv/bin/presenced serve --dev --storage")
        place = Place(tmp_path)
        daemon = place.start(
            [*place.adapt(command.replace("//127.0.0.1", f"//127.0.0.1:{port}")), "--listen", "127.0.0.1:0"]
        )
        assert line(daemon).startswith("listening on ")
        assert "{presenced}:store" in redis.send("KEYS", "*")
        end(daemon)


def test_a_daemon_with_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path)
    secret = tmp_path / "secret"
    subprocess.run(written("(umask 077; head -c 48"), shell=True, check=True, cwd=tmp_path)
    assert secret.stat().st_mode & 0o777 == 0o600
    for command in [one for one in commands() if one.startswith(".venv/bin/presenced token")]:
        token = place.run(command.replace("--secret-file secret", f"--secret-file {secret}"))
        assert token.stdout.count(".") == 2, token.stderr
    serve = written(".venv/bin/presenced serve --secret-file").split(" --listen")[0]
    command = [*place.adapt(serve.replace("secret-file secret", f"secret-file {secret}"))]
    daemon = place.start([*command, "--listen", f"127.0.0.1:{place.port}"])
    try:
        assert "listening" in line(daemon)
        url = f"presence://alice@127.0.0.1:{place.port}/laptop"
        asked = place.run(f".venv/bin/presencectl --url {url} --token {token.stdout.strip()} get alice")
        assert '"user": "alice"' in asked.stdout, asked.stderr
        monkeypatch.chdir(tmp_path)
        (example,) = re.findall(r"jwt\.encode\([^|]*?\"HS256\"\)", (ROOT / "protocol.md").read_text())
        by_hand = eval(example, {"jwt": jwt, "time": time, "Path": Path})
        asked = place.run(f".venv/bin/presencectl --url {url} --token {by_hand} get alice")
        assert '"user": "alice"' in asked.stdout, asked.stderr
    finally:
        end(daemon)


def test_the_configuration_can_be_looked_at(tmp_path: Path) -> None:
    place = Place(tmp_path)
    default = place.run(written(".venv/bin/presenced config default"))
    assert "[listen]" in default.stdout, default.stderr
    secret = tmp_path / "secret"
    secret.write_text("x" * 64)
    file = tmp_path / "presenced.toml"
    file.write_text(f'auth.secret_file = "{secret}"\n')
    command = written(".venv/bin/presenced config check").replace("/etc/presenced/presenced.toml", str(file))
    checked = place.run(command)
    assert checked.returncode == 0, checked.stderr
    command = written(".venv/bin/presenced config show").replace("/etc/presenced/presenced.toml", str(file))
    shown = place.run(command)
    assert shown.returncode == 0 and str(file) in shown.stdout, shown.stderr


def test_the_running_daemon_can_be_looked_at(place: Place) -> None:
    socket_option = f" --socket {place.directory / 'admin.sock'}"
    for verb in ("status", "doctor", "links", "top"):
        command = written(f".venv/bin/presencectl {verb}").replace(" ", socket_option + " ", 1)
        command += " -n 1" if verb == "top" else ""
        done = place.run(command)
        assert done.returncode == 0, f"{verb}: {done.stderr}"
        assert done.stdout or verb == "links"


def test_the_bench_runs(place: Place) -> None:
    command = written(".venv/bin/python -m bench fanout --watchers").replace("1000", "20").replace("200", "5")
    done = place.run(f"{command} --rounds 1 --peers none")
    assert done.returncode == 0, done.stderr
    assert "presenced over it" in done.stdout


def test_the_examples_run(place: Place) -> None:
    chat = written(".venv/bin/python -m presenced.examples.chat")
    started = place.start(
        place.adapt(chat.replace("6667", "0") + " --url presence://chat@127.0.0.1:5250"),
    )
    try:
        assert line(started).startswith("listening on 127.0.0.1:")
    finally:
        end(started)
    typed, _, bot = written("echo 'alice: /presence").partition(" | ")
    said = subprocess.run(
        place.adapt(bot + " --url presence://bot@127.0.0.1:5250"),
        input=shlex.split(typed)[1] + "\n",
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )
    assert said.stdout.startswith("alice: You will show as away"), said.stderr
    calls = written(".venv/bin/python -m presenced.examples.calls")
    device = "--device-url presence://example@127.0.0.1:5250/display?priority=-1"
    done = place.run(f"{calls} --url presence://backend@127.0.0.1:5250 {device}")
    assert done.returncode == 0, done.stderr


def test_webhooks_reach_a_receiver(tmp_path: Path) -> None:
    place = Place(tmp_path)
    subprocess.run(written("(umask 077; head -c 32"), shell=True, check=True, cwd=tmp_path)
    receiving = written(".venv/bin/python -m presenced.examples.webhook_receiver")
    receiving = receiving.replace("127.0.0.1:8080", "127.0.0.1:0").replace(
        "webhook-secrets", f"{tmp_path}/webhook-secrets"
    )
    receiver = place.start([*place.adapt(receiving), "--database", f"{tmp_path}/handled.db"])
    assert receiver.stderr is not None
    port = receiver.stderr.readline().strip().rstrip("/").rpartition(":")[2]
    (settings,) = [block for block in blocks("toml") if "[webhooks]" in block]
    settings = settings.replace('"webhook-secrets"', f'"{tmp_path}/webhook-secrets"').replace("8080", port)
    config = tmp_path / "webhooks.toml"
    config.write_text(settings)
    serve = [str(Path(sys.executable).parent / "presenced"), "serve", "--dev", "--config", str(config)]
    daemon = place.start(
        [*serve, "--listen", f"127.0.0.1:{place.port}", "--admin-socket", str(tmp_path / "admin.sock")]
    )
    try:
        assert "listening" in line(daemon)
        done = place.run(written(".venv/bin/presencectl --url presence://anna@127.0.0.1/laptop set"))
        assert done.returncode == 0, done.stderr
        assert line(receiver) == "anna online offline -> away\n"
        for command in (one for one in commands() if one.startswith(".venv/bin/presencectl webhooks")):
            said = place.run(command.replace(" ", f" --socket {tmp_path / 'admin.sock'} ", 1))
            assert said.returncode == 0 and f"127.0.0.1:{port}" in said.stdout, said.stderr
    finally:
        end(daemon)
        end(receiver)


def test_every_command_of_the_readme_is_run_here() -> None:
    tested = (
        "make run",
        "make test",
        ".venv/bin/presencectl",
        ".venv/bin/presenced",
        "(umask 077; head -c",
        ".venv/bin/python",
        "echo 'alice",
        "echo 'erin",
        # tests/web/test_package.py does the same in a directory of its own
        "npm install ./presenced/web",
        # tests/examples/test_push.py runs the program
        "echo 'bob,carol general",
        # tests/http/test_from_any_language.py runs these
        "curl -s",
        "node presenced/examples/backend",
        "php presenced/examples/backend",
        # tests/systemd runs these under a real systemd
        "sudo make install",
        "sudo presenced backup",
        "git pull && sudo make install",
        "sudo systemctl",
        "systemctl status",
        "sudo presenced token",
        # tests/cli/test_ctl_moderation.py runs these
        "presencectl revoke",
        "presencectl kick",
        "presencectl erase",
    )
    left = [command for command in commands() if not command.startswith(tested)]
    assert not left, f"no test runs {left}"
