"""The promise of protocol.md: a client written from it alone, without any of our code, works against the daemon."""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue

import pytest

from tests.support.until import PATIENCE_S

PLAIN_CLIENT = Path(__file__).with_name("plain_client.py")


class PlainClient:
    """The client as a process of its own; its lines are awaited, never slept for."""

    def __init__(self, port: int, user: str, device: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(PLAIN_CLIENT), "127.0.0.1", str(port), user, device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: Queue[str] = Queue()
        self.seen: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.rstrip())

    def type(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def wait_for(self, line: str, times: int = 1) -> None:
        """Until `line` has come `times` more times; a line that ends in `...` stands for all that begin so."""
        deadline = time.monotonic() + PATIENCE_S
        while times:
            try:
                got = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise AssertionError(f"{line!r} did not come within {PATIENCE_S:g} s; there came {self.seen}") from None
            self.seen.append(got)
            times -= got.startswith(line[:-3]) if line.endswith("...") else got == line

    def quit(self) -> None:
        """End of input: the client says bye and ends."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        status = self.process.wait(PATIENCE_S)
        assert self.process.stderr is not None
        assert (status, self.process.stderr.read()) == (0, "")

    def clean_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.reader.join(PATIENCE_S)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def clients() -> Iterator[list[PlainClient]]:
    started: list[PlainClient] = []
    yield started
    for client in started:
        client.clean_up()


def test_one_watches_and_the_other_changes(daemon, clients: list[PlainClient]) -> None:  # type: ignore[no-untyped-def]
    watcher = PlainClient(daemon.port, "bob", "desk")
    clients.append(watcher)
    watcher.wait_for("welcome bob desk")
    watcher.type("watch alice")
    watcher.wait_for("presence alice offline")

    alice = PlainClient(daemon.port, "alice", "laptop")
    clients.append(alice)
    watcher.wait_for("presence alice online")
    alice.type("set dnd in a meeting")
    alice.wait_for("done 1 ...")
    watcher.wait_for("presence alice dnd in a meeting")
    alice.type("set auto back")
    watcher.wait_for("presence alice online back")

    alice.quit()
    watcher.wait_for("presence alice offline back")
    watcher.quit()
    told = [line for line in watcher.seen if line.startswith("presence")]
    assert told == [
        "presence alice offline",
        "presence alice online",
        "presence alice dnd in a meeting",
        "presence alice online back",
        "presence alice offline back",
    ]


def test_heartbeats_keep_the_link(start_daemon, clients: list[PlainClient]) -> None:  # type: ignore[no-untyped-def]
    """Six heartbeats take longer than the lease: without them the link would have been closed."""
    daemon = start_daemon("--heartbeat", "400ms")
    client = PlainClient(daemon.port, "carol", "phone")
    clients.append(client)
    client.wait_for("heartbeat", times=6)
    client.type("set away walking")
    client.wait_for("done 1 ...")
    client.quit()


def test_a_refusal_is_told(daemon, clients: list[PlainClient]) -> None:  # type: ignore[no-untyped-def]
    client = PlainClient(daemon.port, "no spaces", "phone")
    clients.append(client)
    assert client.process.wait(PATIENCE_S) == 1
    assert client.process.stderr is not None
    assert client.process.stderr.read().startswith("goodbye bad_hello: ")


def test_the_client_uses_nothing_of_ours() -> None:
    tree = ast.parse(PLAIN_CLIENT.read_text(encoding="utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert sorted(names) == ["msgpack", "os", "select", "socket", "struct", "sys", "time"]


def test_without_its_arguments_it_says_how_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-I", str(PLAIN_CLIENT)], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (1, "usage: python plain_client.py HOST PORT USER DEVICE\n")
