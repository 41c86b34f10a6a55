"""The README's chapter "From any language", executed: curl as it stands there, and the scripts that it names."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.http.asking import Asked
from tests.support import REPOSITORY
from tests.support.until import PATIENCE_S

README = (REPOSITORY / "README.md").read_text()
CHAPTER = README.partition("## From any language\n")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", CHAPTER, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
SHOWN = {kind: block for kind, block in BLOCKS if kind != "sh"}
PORT = "127.0.0.1:5251"

DAY = """anna is dnd in a meeting
bob is offline
in the room: anna
a notification for anna: at, because of dnd
refused: bad_request: set_status: status: Invalid enum value 'busy'\
; there are chat, online, away, xa, dnd, offline, auto
""".splitlines()


@pytest.fixture
def server() -> Iterator[Asked]:
    with Asked() as server:
        yield server


def needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


def adapted(command: str, server: Asked) -> list[str]:
    assert PORT in command, command
    return shlex.split(command.replace(PORT, f"127.0.0.1:{server.http_port}"))


def named(value: Any) -> Any:
    """The names of fields, without what they hold."""
    if isinstance(value, dict):
        return {name: named(inner) for name, inner in value.items()}
    return [named(inner) for inner in value] if isinstance(value, list) else type(value)


def test_curl(server: Asked) -> None:
    needs("curl")
    told: dict[str, Any] = {}
    following = next(command for command in COMMANDS if command.endswith("/v1/events"))
    with subprocess.Popen(adapted(following, server), stdout=subprocess.PIPE, text=True) as stream:
        try:
            assert stream.stdout is not None
            assert stream.stdout.readline() == "event: following\n"
            for command in COMMANDS:
                if command.startswith("curl") and command != following:
                    done = subprocess.run(
                        adapted(command, server), capture_output=True, text=True, timeout=PATIENCE_S, check=True
                    )
                    told[command.rpartition("/")[2]] = json.loads(done.stdout)
            lines = [stream.stdout.readline() for _ in range(3)]
            while '"kind":"offline"' not in lines[-1]:
                lines.append(stream.stdout.readline())
        finally:
            stream.kill()
    assert list(told) == ["attach", "beat", "set_status", "get_status", "detach"]
    shown = json.loads(SHOWN["json"])
    assert named(told["get_status"]) == named(shown)
    for one, other in zip(told["get_status"]["records"], shown["records"], strict=True):
        for field in ("user", "status", "text", "device"):
            assert one[field] == other[field]
    told_last, shown_last = lines[-1], SHOWN["text"].splitlines()[-1]
    assert re.sub("[0-9]+", "0", told_last.strip()) == re.sub("[0-9]+", "0", shown_last)


@pytest.mark.parametrize("program", ["node", "php"])
def test_a_backends_day_in_a_script(server: Asked, program: str) -> None:
    needs(program)
    (command,) = [command for command in COMMANDS if command.startswith(f"{program} ")]
    done = subprocess.run(
        adapted(command, server), cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert [line for line in said if not line.startswith("event: ")] == DAY
    assert [line for line in said if line.startswith("event: ")] == ["event: anna is online", "event: anna is offline"]
    assert not done.stderr


@pytest.mark.parametrize("program", ["node", "php"])
def test_a_script_ends_although_anna_is_there_on_another_device(server: Asked, program: str) -> None:
    needs(program)
    with server.backend() as app:
        app.done("attach", user="anna", device="laptop")
        (command,) = [command for command in COMMANDS if command.startswith(f"{program} ")]
        done = subprocess.run(
            adapted(command, server), cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "anna is still there, on another device"
    assert not done.stderr


@pytest.mark.parametrize("program", ["node", "php"])
def test_a_script_says_that_no_server_is_there_or_lets_it_in(tmp_path: Path, program: str) -> None:
    needs(program)
    script = next(shlex.split(command)[1] for command in COMMANDS if command.startswith(f"{program} "))

    def complaint(url: str) -> str:
        done = subprocess.run(
            [program, script, url], cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode != 0
        return done.stdout + done.stderr

    assert "no presenced answers at http://127.0.0.1:1" in complaint("http://127.0.0.1:1")
    (tmp_path / "secret").write_text("a secret of more than thirty-two bytes")
    with Asked(dev=False, secret_file=str(tmp_path / "secret")) as server:
        assert "no token was sent" in complaint(f"http://127.0.0.1:{server.http_port}")
