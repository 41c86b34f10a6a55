"""The installed presenced in a container, and what the tests of both modules do with it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.readiness import readable
from tests.support.until import PATIENCE_S
from tests.systemd.container import REPOSITORY, SOURCE, Container, Failed

UNIT = "presenced.service"
PROGRAM = "/usr/local/lib/presenced/bin/python"
CONFIG = "/etc/presenced/presenced.toml"
STATE = "/var/lib/presenced"
ADDRESS = "127.0.0.1:5250"
INSTALL_S = 240.0
CROWD = 500

_FOR_THE_INDEX = ("PIP_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_", "REQUESTS_CA_BUNDLE")


def readme(*words: str) -> str:
    """The lines of the one block of commands in README.md that has these words, for root, who needs no sudo."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (REPOSITORY / "README.md").read_text(), re.M | re.S)
    (found,) = [block for block in blocks if all(word in block for word in words)]
    return re.sub(r"\bsudo ", "", found)


class Service(Container):
    """A container with presenced installed by `make install`."""

    said = ""
    """What `make install` printed."""
    state_at_first = ""
    """What systemd said of the unit then."""

    def install(self, target: str = "install") -> str:
        """`make install`, or another target of the Makefile; what it printed."""
        env = {name: value for name, value in os.environ.items() if name.upper().startswith(_FOR_THE_INDEX)}
        return self.run("make", "-C", SOURCE, target, network=True, env=env, timeout_s=INSTALL_S)

    def pin(self) -> None:
        """Keep systemd from forgetting the unit, and with it how it ended, when it is inactive."""
        self.write("/etc/systemd/system/pin.target", f"[Unit]\nDefaultDependencies=no\nWants={UNIT}\n")
        self.run("systemctl", "start", "--job-mode=ignore-dependencies", "pin.target")

    def fresh(self) -> None:
        """Running as installed: no drop-ins, its own configuration, no sockets of systemd, nothing failed."""
        before = (
            "systemctl stop presenced.socket presenced.service; rm -rf /etc/systemd/system/presenced.service.d; "
            f"test -e {CONFIG}.installed || cp {CONFIG} {CONFIG}.installed; cp {CONFIG}.installed {CONFIG}; "
            "systemctl daemon-reload; systemctl reset-failed"
        )
        self.sh(before)
        try:
            self.run("systemctl", "start", UNIT)
        except Failed as failure:
            raise Failed(f"{failure}{self.run('journalctl', '--no-pager', '--lines=50', '--unit', UNIT)}") from None

    def drop_in(self, text: str) -> None:
        """Change the unit by a drop-in; it takes effect at the next start, or for some settings at once."""
        self.write("/etc/systemd/system/presenced.service.d/test.conf", text)
        self.run("systemctl", "daemon-reload")

    def configure(self, section: str, line: str) -> None:
        """Put a line at the beginning of a section of the configuration."""
        text = self.read(CONFIG)
        assert f"\n[{section}]\n" in text
        self.write(CONFIG, text.replace(f"\n[{section}]\n", f"\n[{section}]\n{line}\n"))

    def ping(self, address: str = ADDRESS, secret: str = "/etc/presenced/secret") -> float:
        """A user connects and is answered; the round trip in milliseconds."""
        said = self.sh(
            f"presencectl --url presence://alice@{address}/laptop "
            f'--token "$(presenced token --user alice --secret-file {secret})" --json ping'
        )
        return float(json.loads(said)["rtt_ms"])

    def messages(self, after: str, unit: str = UNIT) -> str:
        """What the journal says of the unit, one message a line."""
        return "\n".join(str(entry["MESSAGE"]) for entry in self.journal(unit, after))

    def wait_until_active(self, unit: str = UNIT, other_than: int = 0) -> int:
        """Wait until the service is up, with another main process than that; returns its main process."""

        def is_up() -> bool:
            return self.show(unit, "ActiveState") == "active" and self.main_pid(unit) not in (0, other_than)

        self.wait_for(is_up, f"{unit} was active")
        return self.main_pid(unit)

    @contextmanager
    def crowd(self, directory: Path, count: int = CROWD) -> Iterator[Crowd]:
        """People who watch each other; see the program."""
        crowd = Crowd(self, directory, count)
        try:
            crowd.wait_until_ready()
            yield crowd
        finally:
            crowd.end()


class Crowd:
    """The running program `crowd.py`."""

    def __init__(self, service: Service, directory: Path, count: int) -> None:
        self.errors = directory / "crowd.log"
        program = (Path(__file__).parent / "crowd.py").read_text()
        with self.errors.open("ab") as errors:
            self._process = service.popen(
                PROGRAM,
                *("-c", program, str(count), ADDRESS, "/etc/presenced/secret"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self.count = count

    def wait_until_ready(self) -> None:
        assert self._line() == "ready"

    def report(self) -> dict[str, Any]:
        """What happened since the last report, once everybody is connected again."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return dict(json.loads(self._line()))

    def saw_nothing(self) -> None:
        """Everybody lost their link and came back, and nobody was told a thing or has another record."""
        report = self.report()
        assert report.pop("back_s") < 15.0, report
        assert report == {"told": [], "lost": self.count, "moved": [], "offline": []}

    def end(self) -> None:
        """End the program; it need not end in order."""
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def _line(self) -> str:
        deadline = time.monotonic() + PATIENCE_S
        stdout = self._process.stdout
        # One line is expected at a time, so nothing of it can wait in Python's buffer.
        if not readable(stdout, deadline - time.monotonic()):
            raise AssertionError(f"the crowd said nothing within {PATIENCE_S:g} s\n{self.errors.read_text()}")
        line = str(stdout.readline())
        assert line, f"the crowd ended\n{self.errors.read_text()}"
        return line.rstrip("\n")
