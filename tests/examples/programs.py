"""Running the examples as processes, and talking to the chat as nc would."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from tests.support import REPOSITORY
from tests.support.until import PATIENCE_S


def command(name: str, *args: str) -> list[str]:
    return [sys.executable, "-m", f"presenced.examples.{name}", *args]


def run(name: str, *args: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(name, *args),
        cwd=REPOSITORY,
        input=text,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


class ChatProcess:
    """`presenced.examples.chat`, listening."""

    def __init__(self, server: str, listen: str = "127.0.0.1:0") -> None:
        args = command("chat", "--listen", listen, "--url", f"presence://chat@{server}")
        self.process = subprocess.Popen(args, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with deadline(self.process):
            said = stream(self.process.stdout).readline()
        assert said.startswith("listening on "), stream(self.process.stderr).read()
        self.address = said.split()[-1]

    def end(self, *, cruelly: bool = False) -> str:
        """Its standard error."""
        if cruelly:
            self.process.kill()
        else:
            self.process.terminate()
        return self.process.communicate(timeout=PATIENCE_S)[1]


@contextmanager
def deadline(process: subprocess.Popen[str]) -> Iterator[None]:
    """Whoever waits for the process's output does not wait for ever: it is killed then."""
    timer = threading.Timer(PATIENCE_S, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def stream(file: IO[str] | None) -> IO[str]:
    assert file is not None
    return file


class Caller:
    """A person at nc."""

    def __init__(self, address: str, first_line: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), PATIENCE_S)
        self.lines = self.socket.makefile("r", encoding="utf-8")
        assert self.read() == "Your name?"
        self.say(first_line)

    def say(self, line: str) -> None:
        self.socket.sendall(f"{line}\n".encode())

    def read(self) -> str:
        """The next line; empty at the end."""
        return self.lines.readline().removesuffix("\n")

    def until(self, start: str) -> str:
        """The first line that begins so; what came before it is passed over."""
        passed: list[str] = []
        while not (line := self.read()).startswith(start):
            assert line, f"the chat ended the connection after {passed}"
            passed.append(line)
        return line

    def reads(self, *lines: str) -> None:
        """Exactly these come next."""
        assert [self.read() for _ in lines] == [*lines]

    def hang_up(self) -> None:
        self.lines.close()
        self.socket.close()
