"""Fixtures for all tests: the real daemon as a process of its own, on a free port of the loopback."""

from __future__ import annotations

import gc
import signal
import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import settings

from tests.support import warm
from tests.support.readiness import first_line
from tests.support.tiers import markers_of, samples

REPOSITORY = Path(__file__).parents[1]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what is to run in its background so, and the programs under test would inherit it: their Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("everywhere", max_examples=samples(100), deadline=None, derandomize=False, print_blob=True)
settings.load_profile("everywhere")
"""How long an example takes says how busy the machine is. In CI as well other examples each time, from a seed that is
printed; by itself hypothesis would try the same ones for ever there."""

_freeze = gc.freeze
gc.freeze = gc.unfreeze = lambda: None
"""A server that is started inside a test would put what the test has left open so far out of the collector's sight, and
the bench would bring back to it what other tests have left."""

START_S = 60.0
STOP_S = 60.0
"""Deadlines for a process on a busy machine; nothing waits this long unless it is about to fail."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Markers by place, so that no new test of a directory is without."""
    for item in items:
        for marker in markers_of(PurePosixPath(item.path.relative_to(REPOSITORY / "tests"))):
            item.add_marker(marker)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown() -> Generator[None]:
    """What a test leaves open is its own failure, and not that of the one during which it happens to be collected."""
    yield
    gc.collect()
    # What is still there lives on: looking at it after each of thousands of tests would cost minutes.
    _freeze()


class Daemon:
    """A running `presenced serve --dev --check`. Its log is in the file `stderr_path`."""

    def __init__(self, args: tuple[str, ...], stderr_path: Path) -> None:
        self.stderr_path = stderr_path
        with stderr_path.open("ab") as stderr:
            self.process = warm.Warm(
                "presenced", "serve", "--dev", "--listen", "127.0.0.1:0", "--check", *args, stderr=stderr.fileno()
            )
        self.address = ""
        self.port = 0

    def wait_until_listening(self) -> None:
        line = first_line(self.process, START_S)
        head = "listening on presence://"
        assert line.startswith(head), f"the daemon did not say where it listens, but {line!r}\n{self.log()}"
        self.address = line.removeprefix(head)
        self.port = int(self.address.rpartition(":")[2])

    def url(self, user: str, device: str) -> str:
        return f"presence://{user}@{self.address}/{device}"

    def log(self) -> str:
        """What the daemon wrote to stderr so far."""
        return self.stderr_path.read_text(errors="replace")

    def stop(self) -> None:
        """SIGTERM, and hold the daemon to a clean end: status 0 and no traceback. Idempotent."""
        stdout = self.process.stdout
        if stdout is None or stdout.closed:
            return
        ended_before = self.process.poll()
        if ended_before is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the daemon did not stop within {STOP_S:g} s of SIGTERM\n{self.log()}") from None
        finally:
            stdout.close()
        assert status == 0, f"the daemon ended with status {status}\n{self.log()}"
        assert "Traceback" not in self.log(), self.log()

    def kill(self) -> None:
        """End the process without ceremony; `stop` then has nothing to hold it to."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


StartDaemon = Callable[..., Daemon]


@pytest.fixture
def start_daemon(tmp_path: Path) -> Iterator[StartDaemon]:
    """Start daemons with further options: `start_daemon("--grace", "1s")`. All are stopped, and must stop cleanly."""
    daemons: list[Daemon] = []

    def start(*args: str) -> Daemon:
        daemon = Daemon(args, tmp_path / f"daemon-{len(daemons)}.log")
        daemons.append(daemon)
        try:
            daemon.wait_until_listening()
        except BaseException:
            daemon.kill()
            raise
        return daemon

    try:
        yield start
    finally:
        failures = []
        for daemon in daemons:
            try:
                daemon.stop()
            except AssertionError as failure:
                failures.append(failure)
        if failures:
            raise failures[0]


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> Daemon:
    """One daemon with its defaults."""
    return start_daemon()
