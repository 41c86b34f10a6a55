"""Every call of the other systems once, and the bot; and the README's table of the calls against both."""

from __future__ import annotations

import ast
import re
import signal
import subprocess
import textwrap
from typing import Any

import click
import pytest

import presenced
from presenced.cli.daemon import serve
from tests.examples.programs import command, deadline, run, stream
from tests.support import REPOSITORY
from tests.support.daemon import Daemon

CALLS = REPOSITORY / "presenced" / "examples" / "calls.py"

GO = {"SetOnline", "SetOffline", "SetAway", "GetStatus", "GetOnlineUsers", "UpdateLastSeen"}
TYPESCRIPT = set(
    "getStatus getStatuses setStatus setCustomStatus clearCustomStatus recordActivity getActivity getDevices "
    "setDeviceStatus getOnlineUsers statusChange online offline sync getSyncStatus /presence heartbeatIntervalMs "
    "awayAfterMs offlineAfterMs".split()
)


def section() -> str:
    return (REPOSITORY / "README.md").read_text().split("## For an application's backend")[1].split("\n## ")[0]


def table() -> dict[str, str]:
    """Each call of the README's table to what stands in the column `here`."""
    rows: dict[str, str] = {}
    for line in section().splitlines():
        if line.startswith("| `"):
            theirs, here, better = (cell.strip() for cell in line.strip("|").split("|"))
            assert better, line
            for name in re.findall(r"`([^`]+)`", theirs):
                rows[name.partition("(")[0]] = here
    return rows


def made() -> dict[str, str]:
    """Each call that the example shows to the method of `p` with which it does, empty for none."""
    found = {}
    for node in ast.walk(ast.parse(CALLS.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("do", "show"):
            name, doing = node.args
            if isinstance(name, ast.Constant):
                called = doing.func if isinstance(doing, ast.Call) else None
                found[str(name.value)] = called.attr if isinstance(called, ast.Attribute) else ""
    return found


def test_every_call_is_made_and_printed(daemon: Daemon) -> None:
    urls = ("--url", f"presence://backend@{daemon.address}")
    device = ("--device-url", f"presence://example@{daemon.address}/display?priority=-1")
    done = run("calls", *urls, *device)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    printed = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert set(printed) == GO | TYPESCRIPT
    assert "status='away'" in printed["GetStatus"] and "user='example'" in printed["GetOnlineUsers"]
    assert "text='in a meeting'" in printed["getStatus"] and "'nobody-knows-me'" in printed["getStatuses"]
    assert "activity='message'" in printed["getActivity"]
    assert "status='chat'" in printed["getDevices"]
    assert "user='example'" in printed["getOnlineUsers"]
    assert "you are chat" in printed["/presence"]
    assert "total=1" in printed["getSyncStatus"]
    assert "old='offline', new='online'" in printed["statusChange"]
    assert "reason='bye'" in printed["offline"]
    assert printed["heartbeatIntervalMs"] == "30000"


def test_without_a_server() -> None:
    for name in ("calls", "bot"):
        done = run(name, "--url", "presence://backend@127.0.0.1:1")
        assert done.returncode == 1 and done.stderr.startswith(f"{name}: "), done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [("calls", "", 1), ("bot", "alice: /presence\nbob: who\n", 1), ("push", "bob,carol general: lunch?\n", 0)],
)
def test_a_reader_that_has_read_enough(daemon: Daemon, name: str, text: str, lines: int) -> None:
    """As with `| head`: the program ends in silence."""
    process = subprocess.Popen(
        command(name, "--url", f"presence://backend@{daemon.address}", *device_of(name, daemon)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
        text=True,
    )
    with deadline(process):
        if lines:
            stream(process.stdin).write(text)
            stream(process.stdin).flush()
        assert [bool(stream(process.stdout).readline()) for _ in range(lines)] == [True] * lines
        stream(process.stdout).close()
        if not lines:
            stream(process.stdin).write(text)
        stream(process.stdin).close()
        assert (process.wait(), stream(process.stderr).read()) == (0, "")
        stream(process.stderr).close()


def device_of(name: str, daemon: Daemon) -> list[str]:
    return ["--device-url", f"presence://example@{daemon.address}/display?priority=-1"] if name == "calls" else []


@pytest.mark.parametrize(("name", "typed"), [("bot", "alice: /presence\n"), ("push", "alice general: lunch?\n")])
def test_ctrl_c_needs_no_traceback_and_no_further_line(daemon: Daemon, name: str, typed: str) -> None:
    process = subprocess.Popen(
        command(name, "--url", f"presence://backend@{daemon.address}"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
        text=True,
    )
    with deadline(process):
        stream(process.stdin).write(typed)
        stream(process.stdin).flush()
        assert stream(process.stdout).readline().startswith("alice: ")
        process.send_signal(signal.SIGINT)
        assert (process.wait(), stream(process.stderr).read()) == (130, "")
        for file in (process.stdin, process.stdout, process.stderr):
            stream(file).close()


def test_the_bot_passes_on_what_people_type(daemon: Daemon) -> None:
    with presenced.sync.connect_service(f"presence://chat@{daemon.address}") as p:
        p.attach("alice", "web")
        typed = "alice: /presence away for 30m\nalice:/presence\nbob: who\n\nalice: dance\n"
        done = run("bot", "--url", f"presence://bot@{daemon.address}", text=typed)
        assert done.returncode == 0, done.stderr
        away, shown, who, nobody, unknown = done.stdout.splitlines()
        assert away == "alice: You are now away, for 30m"
        assert shown.startswith("alice: You are away, for ")
        assert who == "bob: 1 online: alice (away)"
        assert nobody.startswith(": the user name is empty")
        assert unknown.startswith("alice: I do not know 'dance'. Try: who")
        assert p.get_status("alice").status == "away"


def test_the_table_of_the_readme_has_every_call_and_no_other() -> None:
    assert set(table()) == GO | TYPESCRIPT


def test_what_the_readme_names_exists() -> None:
    options = {name for option in serve.params if isinstance(option, click.Option) for name in option.opts}
    for method in re.findall(r"\bp\.(\w+)\(", section()):
        assert callable(getattr(presenced.Service, method, None)), f"no Service.{method}"
    for flag in re.findall(r"presenced serve (--[\w-]+)", section()):
        assert flag in options, f"presenced serve has no {flag}"
    for theirs, here in table().items():
        assert re.match(r"`(p\.\w+\(|presenced serve --)", here), f"{theirs}: {here}"


async def test_the_python_of_the_readme_runs(daemon: Daemon) -> None:
    (snippet,) = re.findall(r"^```python\n(.*?)^```", section(), re.MULTILINE | re.DOTALL)
    snippet = snippet.replace("127.0.0.1:5250", daemon.address)
    names: dict[str, Any] = {"presenced": presenced}
    exec("async def main():\n" + textwrap.indent(snippet, "    "), names)
    await names["main"]()
    with presenced.sync.connect_service(f"presence://other@{daemon.address}") as p:
        assert [record.user for record in p.get_online_users(channel="general")] == ["u1"]


def test_the_example_does_it_as_the_table_says() -> None:
    rows, calls = table(), made()
    assert set(calls) == set(rows)
    for theirs, method in calls.items():
        if method not in ("", "get"):
            assert f"`p.{method}(" in rows[theirs], (
                f"{theirs}: the example calls {method}, the table says {rows[theirs]}"
            )
