"""What type checkers say of a program that uses the client: mypy and pyright, both strict, both run for real."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client import sync_stub
from tests.support import REPOSITORY

CHECK_S = 300.0


PROGRAM = """
from __future__ import annotations

import presenced
import presenced.sync
from presenced import Change, Event, EventName, Idle, Kind, Moment, Source, State, Status, StatusRequest, Token, Until
from presenced import DeviceStatus, DeviceState, MemberChangeKind, PresenceError, Role, WindowLike, Window, Welcome
from presenced import Sevice  # wrong


def shown(status: Status, kind: Kind) -> str:
    return f"{kind}: {status}"


def told(state: State, reason: PresenceError | None) -> None:
    print(state, reason.code if reason else "")


async def person(until: Until, idle: Idle, status: StatusRequest, token: Token) -> None:
    async with presenced.connect("presence://alice@127.0.0.1/laptop", token=token, idle=idle) as me:
        me.on_state(told)
        await me.set_status(status, text="back soon", until=until)
        await me.set_status("lunch")  # wrong
        await me.set_statsu("dnd")  # wrong
        await me.set_text(text="lunch", until=until)
        await me.set_text("lunch", user="bob")  # wrong
        windows: list[WindowLike] = [("mon-fri", "18:00", "08:00"), Window(1, 0, 60)]
        await me.set_schedule("Europe/Berlin", windows)
        change: Change
        async for change in me.watch("bob"):
            print(shown(change.new.status, change.kind))
            change.new.statsu  # wrong
        welcome: Welcome = me.welcome
        print(welcome.role)
    presenced.conect("presence://alice@127.0.0.1/laptop")  # wrong


async def backend(name: EventName, since: Moment, source: Source, role: Role, own: DeviceStatus) -> None:
    p = await presenced.connect_service("presence://app@127.0.0.1")

    def left(event: Event) -> None:
        print(event.user, event.reason)

    p.on(name, left)
    p.on("ofline", left)  # wrong
    await p.attach("u1", "web", status=own)
    await p.get_activity("u1", since=since)
    await p.add_claim("u1", "call", source, "dnd")
    await p.add_claim(user="u1", claim="call", source=source, status="dnd")
    await p.add_claim("u1", "call", source, "lunch")  # wrong
    await p.get_claims()  # wrong
    states: list[DeviceState] = [device.state for device in await p.get_devices("u1")]
    kinds: set[MemberChangeKind] = set()
    async with p.watch_channel("general") as watch:
        async for member in watch:
            kinds.add(member.kind)
    print(states, kinds, role)
    await p.close()


def script() -> None:
    with presenced.sync.connect("presence://alice@127.0.0.1/laptop", timeout_s=1) as me:
        me.set_status("dnd", until=60)
        print(me.get_status("bob").status, me.user)
        me.get_statsu("bob")  # wrong
        me.set_status("lunch")  # wrong
        me.attach("u1", "web")  # wrong
        with me.watch("bob") as watch:
            for change in watch:
                print(shown(change.new.status, change.kind), watch.records["bob"].since_ms)
                watch.add("carol")
                watch.ad("carol")  # wrong
        for record in me.online_users("general"):
            print(record.user)
            record.usr  # wrong
    p: presenced.sync.BlockingService = presenced.sync.connect_service(host="127.0.0.1", user="app")
    end = p.on("offline", lambda event: print(event.user))
    end()
    with p.open_page("u1", "tab") as page:
        page.active()
    for event in p.events():
        print(event.cursor)
    p.close()
    presenced.sync.conect("presence://alice@127.0.0.1/laptop")  # wrong
    presenced.sync.connect("presence://alice@127.0.0.1/laptop", tiemout_s=1)  # wrong
"""

WRONG = [number for number, line in enumerate(PROGRAM.splitlines(), 1) if line.endswith("# wrong")]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def run(program: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, program.name], cwd=program.parent, capture_output=True, text=True, timeout=CHECK_S)


def test_mypy_finds_what_is_wrong_and_nothing_else(program: Path) -> None:
    cache = str(program.parent / "cache")
    options = ["--strict", "--no-error-summary", "--show-error-codes", "--hide-error-context", "--cache-dir", cache]
    done = run(program, sys.executable, "-m", "mypy", *options)
    found = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert sorted({int(line.split(":")[1]) for line in found}) == WRONG, done.stdout + done.stderr


def test_pyright_finds_what_is_wrong_and_nothing_else(program: Path) -> None:
    if importlib.util.find_spec("pyright") is None or shutil.which("node") is None:
        pytest.skip("needs pyright, which [dev] brings, and node, which would have to be fetched to run it")
    settings = {"typeCheckingMode": "strict", "reportUnusedExpression": False, "extraPaths": [str(REPOSITORY)]}
    (program.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    done = run(program, sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable)
    found = [entry for entry in json.loads(done.stdout)["generalDiagnostics"] if entry["severity"] == "error"]
    lines = sorted({entry["range"]["start"]["line"] + 1 for entry in found})
    assert lines == WRONG, "\n".join(f"{entry['range']['start']['line'] + 1}: {entry['message']}" for entry in found)


def test_the_stub_of_the_synchronous_face_is_written_from_the_clients_of_now(tmp_path: Path) -> None:
    again = tmp_path / "sync.pyi"
    sync_stub.write(again)
    assert again.read_text() == (REPOSITORY / "presenced" / "sync.pyi").read_text(), "see `make stub`"
