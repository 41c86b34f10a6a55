"""The client without the server: what `pip install presenced` brings and imports, and what the commands then say."""

from __future__ import annotations

import ast
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support import REPOSITORY
from tests.support.daemon import Daemon

INSTALL_S = 240

CLIENT = ("address", "client", "durations", "errors", "limits", "sync", "wire", "__init__")
"""The parts of the package that a program which connects imports."""

ONLY_POSIX = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "readline", "curses")
ONLY_THE_SERVERS = (
    *("uvloop", "click", "rich", "prometheus_client", "jwt", "sortedcontainers", "tzdata", "zoneinfo"),
    *("msgpack", "pygments"),
)

WITHOUT = f"""
import asyncio, logging, ssl, sys
for name in {(*ONLY_POSIX, *ONLY_THE_SERVERS)!r}:
    sys.modules.pop(name, None)

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {(*ONLY_POSIX, *ONLY_THE_SERVERS)!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
"""
"""What it takes for granted of the standard library is there first: asyncio's own modules differ with the system."""

USE = """
import presenced, presenced.sync

assert all(getattr(presenced, name) is not None for name in presenced.__all__)

async def main(url):
    async with presenced.connect(url) as me, me.watch("bob") as watch:
        await me.set_status("dnd", text="busy", until=60)
        await me.set_schedule("Europe/Berlin", [("mon-fri", "18:00", "08:00")])
        print((await anext(watch)).kind, (await me.get_status("alice")).status)

asyncio.run(main(sys.argv[1]))
with presenced.sync.connect_service(sys.argv[1].replace("alice", "app").rpartition("/")[0]) as p:
    p.attach("carol", "web")
    print(p.get_status("carol").status)
"""


def run(python: str, code: str, *arguments: str, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    command = [python, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_S)


def test_the_client_needs_neither_posix_nor_the_libraries_of_the_server(daemon: Daemon) -> None:
    done = run(sys.executable, WITHOUT + USE, daemon.url("alice", "laptop"))
    assert (done.returncode, done.stdout) == (0, "snapshot dnd\nonline\n"), done.stderr


@pytest.mark.parametrize("name", ["fcntl", "click"])
def test_what_is_blocked_there_cannot_be_imported(name: str) -> None:
    assert f"{name} is blocked" in run(sys.executable, f"{WITHOUT}\nimport {name}").stderr


def test_the_client_uses_of_the_system_what_every_system_has() -> None:
    """`os` has less in it on Windows than here; nothing would notice before somebody calls it there."""
    everywhere = {"strerror", "register_at_fork"}
    for part in CLIENT:
        found = REPOSITORY / "presenced" / part
        for path in sorted(found.rglob("*.py")) if found.is_dir() else [found.with_suffix(".py")]:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
                    assert node.attr in everywhere, f"{path}:{node.lineno}"
                if isinstance(node, ast.Import | ast.ImportFrom):
                    assert "signal" not in ast.unparse(node), f"{path}:{node.lineno}"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment into which the package was installed as a program of one's own would."""
    place = tmp_path_factory.mktemp("alone")
    venv.create(place, with_pip=False, symlinks=True)
    python = str(place / "bin" / "python")
    constraints = str(REPOSITORY / "constraints.txt")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install", "--quiet"]
    made = subprocess.run(
        [*command, "-c", constraints, str(REPOSITORY)], capture_output=True, text=True, timeout=INSTALL_S
    )
    assert made.returncode == 0, made.stderr
    return place


def test_installing_the_package_brings_the_codec_and_nothing_else(alone: Path, daemon: Daemon, tmp_path: Path) -> None:
    python = str(alone / "bin" / "python")
    listed = run(
        python, "import importlib.metadata as m; print(sorted(d.name for d in m.distributions()))", cwd=tmp_path
    )
    assert listed.stdout == "['msgspec', 'presenced']\n", listed.stderr
    done = run(python, "import asyncio, sys\n" + USE, daemon.url("alice", "laptop"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "snapshot dnd\nonline\n"), done.stderr


@pytest.mark.parametrize("program", ["presenced", "presencectl"])
def test_the_commands_say_what_they_lack(alone: Path, program: str) -> None:
    done = subprocess.run([alone / "bin" / program, "--help"], capture_output=True, text=True, timeout=INSTALL_S)
    assert done.returncode == 78
    assert done.stderr == (
        f"{program}: the module click is missing: only the client is installed here; "
        "for the commands: pip install 'presenced[server]'\n"
    )
