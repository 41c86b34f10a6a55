"""The programs from their first instruction on: Ctrl-C while they import."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from presenced.cli import exits
from presenced.cli.group import Commands
from tests.support import REPOSITORY

HELD = """
import sys, time
print("importing", flush=True)
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    time.sleep(0.01)
"""
"""A module that takes long to import."""


@pytest.mark.parametrize(
    ("program", "late", "words"),
    [("daemon", "msgspec", ()), ("ctl", "msgspec", ()), ("ctl", "asyncio", ("await", "bob"))],
)
def test_ctrl_c_during_the_imports_says_nothing(
    program: str, late: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / f"{late}.py").write_text(HELD)
    with subprocess.Popen(
        [sys.executable, "-c", f"from presenced.cli.entry import {program}; {program}()", *words],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
        assert (process.returncode, told) == (exits.INTERRUPTED, "")


def test_ctrl_c_in_the_middle_of_a_command_says_nothing() -> None:
    @click.command()
    def work() -> None:
        raise KeyboardInterrupt

    group = Commands("program")
    group.add_command(work)
    ended = CliRunner().invoke(group, ["work"])
    assert (ended.exit_code, ended.output) == (exits.INTERRUPTED, "")


@pytest.mark.filterwarnings("error")
def test_a_command_that_is_interrupted_before_it_begins_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> int:
        return exits.OK

    def interrupted(main: Coroutine[object, object, int]) -> None:
        main.close()
        raise KeyboardInterrupt

    monkeypatch.setattr("asyncio.run", interrupted)
    coroutine = work()
    with pytest.raises(SystemExit) as end:
        exits.run(coroutine)
    assert end.value.code == exits.INTERRUPTED and inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


SLOW = """
import importlib, os, sys, time
print("importing", flush=True)
while not os.path.exists(os.environ["GO_ON"]):
    time.sleep(0.01)
sys.path.remove(os.path.dirname(__file__))
del sys.modules[__name__]
sys.modules[__name__] = importlib.import_module(__name__)
"""
"""Stands in front of a module until there is a file."""


def begun(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    """The program `presenced`, in the middle of its imports, with SIGHUP and SIGUSR1 on their way."""
    (tmp_path / "msgspec.py").write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, "-c", "from presenced.cli.entry import daemon; daemon()", *words],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}",
            "GO_ON": str(tmp_path / "go on"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGUSR1)
    (tmp_path / "go on").write_text("")
    return process


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_signals_for_the_running_daemon_wait_until_it_runs(tmp_path: Path, loop: str) -> None:
    with begun(tmp_path, "serve", "--dev", "--listen", "127.0.0.1:0", "--loop", loop) as process:
        assert process.stdout is not None and process.stdout.readline().startswith("listening on ")
        assert process.stderr is not None
        waited_for = {"reload: done", "snapshot: none is taken"}
        while waited_for:
            line = process.stderr.readline()
            assert line, waited_for
            waited_for = {words for words in waited_for if words not in line}
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_other_commands_end_as_usual(tmp_path: Path) -> None:
    with begun(tmp_path, "config", "default") as process:
        process.communicate(timeout=30)
    assert process.returncode in (-signal.SIGHUP, -signal.SIGUSR1)
