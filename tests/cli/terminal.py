"""A command whose input and output are a terminal, as a person has it."""

from __future__ import annotations

import codecs
import os
import pty
import time
from pathlib import Path

from tests.cli.commands import ENVIRONMENT
from tests.support import warm
from tests.support.readiness import readable
from tests.support.until import PATIENCE_S


class Terminal:
    """Starts at once; `until` and `end` wait with a deadline."""

    def __init__(self, *args: str) -> None:
        self.controller, terminal = pty.openpty()
        self.shown = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        """A read may end inside a character."""
        try:
            self.process = warm.Warm(
                "presenced.cli.ctl",
                *args,
                stdin=terminal,
                stdout=terminal,
                stderr=terminal,
                new_session=True,
                env={**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
            )
        finally:
            os.close(terminal)

    def until(self, text: str) -> str:
        """What was shown up to and with `text`; fails if it does not come."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.shown:
            left_s = deadline - time.monotonic()
            assert left_s > 0 and readable(self.controller, left_s), f"only {self.shown!r}"
            self._read(text)
        before, _, self.shown = self.shown.partition(text)
        return before + text

    def type(self, keys: str) -> None:
        os.write(self.controller, keys.encode())

    def until_it_waits(self) -> None:
        """Return once the process sleeps in the kernel, as it does while it reads from the terminal."""
        deadline = time.monotonic() + PATIENCE_S
        while Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < deadline, "it does not wait for anything"

    def end(self) -> int:
        """Wait for the end; the exit code. What was shown last stays in `shown`."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end: {self.shown!r}"
            if readable(self.controller, 0.05):
                try:
                    self._read("the end")
                except AssertionError:
                    break
        code = self.process.wait(PATIENCE_S)
        while readable(self.controller):
            try:
                self._read("more")
            except AssertionError:
                break
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.controller)

    def _read(self, wanted: str) -> None:
        try:
            data = os.read(self.controller, 65_536)
        except OSError:
            data = b""  # Linux says EIO once the other side of a terminal is closed.
        assert data, f"it ended without {wanted!r}, after {self.shown!r}"
        self.shown += self._decoder.decode(data)
