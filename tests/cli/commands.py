"""`presencectl` as a process: run to its end, going on, or with a terminal as its output."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from typing import Any

from click.testing import CliRunner

from presenced.cli.ctl import main
from presenced.wire.messages import Record
from tests.support import warm
from tests.support.readiness import readable
from tests.support.until import PATIENCE_S

ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith("PRESENCE_") and name not in ("NO_COLOR", "FORCE_COLOR")
}


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "presenced.cli.ctl", *args]


def ctl(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run to the end, in this process and without a terminal: a fork costs ten times as much processor time. With an
    environment of its own it is a process."""
    if env is not None:
        return ctl_process(*args, env=env)
    removed = {name: None for name in os.environ if name not in ENVIRONMENT}
    result = CliRunner().invoke(main, args, prog_name="presencectl", env=removed)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(args, result.exit_code, result.stdout, result.stderr)


def ctl_process(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run to the end as a process, with pipes."""
    return warm.run("presenced.cli.ctl", *args, env={**ENVIRONMENT, **(env or {})}, timeout_s=PATIENCE_S)


class Running:
    """A command that goes on; its lines can be waited for."""

    def __init__(self, *args: str) -> None:
        self.process = warm.Warm("presenced.cli.ctl", *args, env=ENVIRONMENT)

    def line(self, stream: str = "stdout") -> str:
        """The next line; fails if none comes in time."""
        pipe = getattr(self.process, stream)
        line = b""
        deadline = time.monotonic() + PATIENCE_S
        while not line.endswith(b"\n"):
            left_s = deadline - time.monotonic()
            assert left_s > 0 and readable(pipe, left_s), f"no line on {stream}, only {line!r}"
            byte = os.read(pipe.fileno(), 1)
            assert byte, f"{stream} ended after {line!r}"
            line += byte
        return line.decode().rstrip("\n")

    def json(self) -> dict[str, Any]:
        value = json.loads(self.line())
        assert isinstance(value, dict)
        return value

    def end(self, number: signal.Signals | None = None) -> tuple[int, str]:
        """Send a signal, wait; the exit code and what is left on stderr."""
        if number is not None:
            self.process.send_signal(number)
        _, stderr = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, stderr.decode()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def online(start: Any, url: str) -> Running:
    """A device that is online by the time this returns."""
    device: Running = start("--url", url, "online")
    assert "Ctrl-C to leave" in device.line("stderr")
    return device


def on_terminal(
    *args: str, env: dict[str, str] | None = None, module: str = "presenced.cli.ctl", has_errors: bool = False
) -> str:
    """What a person sees: standard output is a terminal, and standard error as well if `has_errors`."""
    controller, terminal = pty.openpty()
    variables = {**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "100", **(env or {})}
    errors = terminal if has_errors else subprocess.DEVNULL
    with warm.start(module, *args, stdout=terminal, stderr=errors, env=variables) as process:
        os.close(terminal)
        shown = b""
        try:
            while data := os.read(controller, 4096):
                shown += data
        except OSError:
            pass  # Linux says EIO once the other side of a terminal is closed.
        finally:
            os.close(controller)
        process.wait(PATIENCE_S)
    return shown.decode()


def record(status: str, text: str = "", emoji: str = "", device: str = "phone", since_ms: int = 1) -> Record:
    return Record("bob", status, text, emoji, since_ms, 0, device, 1)  # type: ignore[arg-type]
