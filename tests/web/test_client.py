"""The JavaScript client against a real server: scripts for Node, which hold what a page may rely on."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest

from presenced.wire.codec import decode_client
from tests.durable.node import Node
from tests.support.daemon import Daemon
from tests.support.until import PATIENCE_S

SCRIPTS = Path(__file__).parent
NO_NODE = (
    "Node.js is not installed, and these tests run the JavaScript client with it; install it: apt-get install nodejs"
)

pytestmark = pytest.mark.skipif(not shutil.which("node"), reason=NO_NODE)


def run(script: str, *words: str, answers: Mapping[str, Callable[[], object]] | None = None) -> list[str]:
    """Run a script to its end and return the lines that it said. When it asks for one of `answers`, that is called."""
    said: list[str] = []
    command = ["node", "--unhandled-rejections=strict", str(SCRIPTS / script), *words]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        patience = threading.Timer(PATIENCE_S, process.kill)
        patience.start()
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            said.append(line.strip())
            answer = (answers or {}).get(said[-1])
            if answer is not None:
                answer()
                process.stdin.write("\n")
                process.stdin.flush()
        complaint = process.stderr.read()
        process.wait()
        patience.cancel()
    assert process.returncode == 0 and said[-1] == "done", "\n".join([*said, complaint])
    return said


def url_of(log: str) -> str:
    """The address of the WebSocket, by what a daemon says as it starts."""
    found = re.findall(r"http://(127\.0\.0\.1:\d+)", log)
    return f"ws://{found[-1]}/ws"


def test_everyday_calls(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "log", "--http", "127.0.0.1:0", "--grace", "5m")
    try:
        run("basics.mjs", url_of(daemon.until_log("at presence://")))
    finally:
        daemon.kill()


def test_a_lost_link_and_a_killed_server_are_told_as_net_changes(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        http = f"127.0.0.1:{free.getsockname()[1]}"
    with Node(tmp_path, "--http", http).start() as node:

        def restart() -> None:
            node.kill()
            node.start()

        run("returning.mjs", f"ws://{http}/ws", answers={"restart": restart})


def test_tokens_are_renewed_in_time_and_shown_to_nobody_else(tmp_path: Path) -> None:
    secret = "a secret of more than thirty-two bytes"
    (tmp_path / "secret").write_text(secret)
    daemon = Daemon(tmp_path / "log", "--http", "127.0.0.1:0", "--secret-file", str(tmp_path / "secret"), dev=False)
    try:
        said = run("tokens.mjs", url_of(daemon.until_log("at presence://")), secret)
        tokens = [line.partition(" ")[2] for line in said if line.startswith("token ")]
        assert len(tokens) > 5
        assert not any(token.rpartition(".")[2] in daemon.log() for token in tokens)
    finally:
        daemon.kill()


def test_servers_that_say_what_none_should_clocks_that_jump_and_thousands_of_users() -> None:
    run("hostile.mjs")


def test_the_server_reads_every_message_that_the_client_can_send() -> None:
    sent = [json.loads(line.partition(" ")[2]) for line in run("messages.mjs") if line.startswith("message ")]
    for message in sent:
        read = decode_client(msgspec.msgpack.encode(message))
        assert len(message) <= 1 + len(read.__struct_fields__), f"{message} has more fields than protocol.md"
    # Everything but a second page of a channel, which has the form of the first one.
    wanted = "1 2 3 4 5 7 8 9 10 15 17 18 23 24 26 27 28 35 36 37 38 39 40 41 42 44 45 46 56 57 59 63"
    assert {message[0] for message in sent} == {int(kind) for kind in wanted.split()}
