"""The daemon as a process, for tests that need other identities, limits or signals than the common fixture gives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support import warm
from tests.support.readiness import first_line

REPOSITORY = Path(__file__).parents[2]
WAIT_S = 60.0


class Process:
    """`presenced serve` with these options. `limits` lowers bounds of `presenced.limits` before it starts; with `apart`
    it starts from nothing, so that its memory is its own from the first byte."""

    def __init__(
        self, log_path: Path, *options: str, limits: dict[str, float] | None = None, apart: bool = False
    ) -> None:
        code = "import presenced.limits as limits\n"
        code += "".join(f"limits.{name} = {value!r}\n" for name, value in (limits or {}).items())
        code += "from presenced.cli.daemon import main\nmain()"
        self.log_path = log_path
        address = () if "--listen" in options else ("--listen", "127.0.0.1:0")
        with log_path.open("ab") as log:
            self.process: subprocess.Popen[bytes] | warm.Warm
            if limits is None and not apart:
                self.process = warm.Warm("presenced", "serve", *address, *options, stderr=log.fileno())
            else:
                self.process = subprocess.Popen(
                    [sys.executable, "-c", code, "serve", *address, *options],
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=REPOSITORY,
                )
        line = first_line(self.process, WAIT_S)
        if not line.startswith("listening on "):
            self.kill()
            raise AssertionError(f"the daemon said {line!r}\n{self.log()}")
        self.line = line
        self.port = int(line.rpartition(":")[2])

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit status."""
        return self.process.wait(WAIT_S)

    def rss_bytes(self) -> int:
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        """SIGTERM, status 0, and no exception in the log."""
        try:
            if self.process.poll() is None:
                self.signal(signal.SIGTERM)
            status = self.wait()
        finally:
            self.kill()
        assert status == 0, f"status {status}\n{self.log()}"
        assert "Traceback" not in self.log(), self.log()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill()
