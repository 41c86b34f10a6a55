"""What the commands import: each what it needs and no more. A script calls `presencectl get` for each of many users,
and a supervisor waits for `presenced serve`; a library takes them tens of milliseconds to load."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from click import Context, Group
from click.testing import CliRunner

from presenced.cli import ctl
from presenced.cli.daemon import main as presenced_main
from presenced.cli.group import Commands
from tests.cli.commands import ENVIRONMENT
from tests.support import REPOSITORY
from tests.support.daemon import Daemon
from tests.support.until import PATIENCE_S

TELLING = """
import atexit, sys
atexit.register(lambda: print("imported", *sys.modules, file=sys.stderr))
from presenced.cli.{module} import main
main()
"""

SERVER = ("presenced.server", "presenced.core", "presenced.storage", "presenced.config", "presenced.ops", "uvloop")
DOORS = ("presenced.http", "presenced.webhooks", "httptools", "websockets", "prometheus_client")
TOKENS = ("jwt", "cryptography")
SHOWN = ("rich", "importlib.metadata")
CLIENT = ("presenced.client",)
LINK = ("asyncio", "ssl", *CLIENT)


def imported(module: str, *words: str) -> set[str]:
    """All modules that a command has imported by its end."""
    done = subprocess.run(
        [sys.executable, "-c", TELLING.format(module=module), *words],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        timeout=PATIENCE_S,
    )
    assert "\nimported " in f"\n{done.stderr}", done.stderr
    return {*f"\n{done.stderr}".rpartition("\nimported ")[2].split()}


def of(modules: Iterable[str], packages: Iterable[str]) -> set[str]:
    """Those of the modules that are in one of the packages."""
    return {one for one in modules for package in packages if one == package or one.startswith(f"{package}.")}


def commands_of(modules: Iterable[str]) -> set[str]:
    """The files of commands among the modules."""
    return {one for one in modules if one.startswith("presenced.cli.ctl_")}


def test_get_loads_the_client_and_nothing_of_the_server(daemon: Daemon) -> None:
    modules = imported("ctl", "--url", daemon.url("alice", "laptop"), "get", "bob")
    assert "presenced.client.client" in modules
    assert of(modules, (*SERVER, *DOORS, *TOKENS, *SHOWN)) == set()
    assert commands_of(modules) == {"presenced.cli.ctl_status"}


def test_an_operators_command_needs_no_link(tmp_path: Path) -> None:
    modules = imported("ctl", "--socket", f"{tmp_path}/none", "status")
    assert of(modules, (*LINK, *DOORS, *TOKENS, *SHOWN, "presenced.core", "presenced.storage")) == set()


@pytest.mark.parametrize("words", [["--version"], ["get"], ["get", "--help"], ["--url"]])
def test_what_asks_nobody_needs_no_link(words: list[str]) -> None:
    modules = imported("ctl", *words)
    assert of(modules, (*LINK, *SERVER, *DOORS, *TOKENS, *SHOWN)) == set()


def test_the_daemon_without_http_loads_no_door(tmp_path: Path) -> None:
    """It ends right after the imports, since the data directory cannot be."""
    words = ("serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", "/dev/null/none")
    modules = imported("daemon", *words)
    assert "presenced.server.server" in modules and "uvloop" in modules
    assert of(modules, (*CLIENT, *DOORS, *TOKENS, *SHOWN)) == set()
    assert of(modules, ("presenced.cli.store", "presenced.cli.token", "presenced.cli.openapi")) == set()


def test_each_command_is_in_the_file_that_the_table_names() -> None:
    for module, names in ctl.MODULES.items():
        commands = importlib.import_module(f"presenced.cli.{module}").COMMANDS
        assert tuple(command.name for command in commands) == names


@pytest.mark.parametrize("group", [ctl.main, presenced_main], ids=["presencectl", "presenced"])
def test_every_command_is_listed_and_found(group: Group) -> None:
    context = Context(group)
    names = group.list_commands(context)
    assert len(names) > 5
    for name in names:
        command = group.get_command(context, name)
        assert command is not None and command.name == name


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one() -> None:
    """Also if its file is not imported yet."""
    late = Commands("late", modules={"presenced.cli.ctl_awaits": ("await",)})
    found = CliRunner().invoke(late, ["awai"])
    assert found.exit_code == 2 and "await" in found.output
