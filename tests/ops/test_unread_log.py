"""Nobody reads the log, or what a command prints: presence goes on, and so does a stop."""

from __future__ import annotations

import fcntl
import os
import signal
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from presenced.ops.line_writer import LineWriter
from presenced.wire.messages import Ping
from tests.support.daemon import Daemon
from tests.support.until import until
from tests.support.wire import PONG, opened

FEW_LINES = "import presenced.ops.line_writer as w; w.LINES_MAX = 5"
PIPE_BYTES = 4096
SIGNALS = 200
"""Each is a line of the log at once: without a data directory no snapshot is taken."""


class Reader:
    """The other end of a daemon's standard error: a full pipe, or a terminal that was stopped with Ctrl-S."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._stopped = -1
        if kind == "pipe":
            self.path = folder / "log"
            os.mkfifo(self.path)
            self._end = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
            fcntl.fcntl(self._end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        else:
            self._end, self._stopped = os.openpty()
            self.path = Path(os.ttyname(self._stopped))
            os.set_blocking(self._end, False)

    def stop_reading(self) -> None:
        if self._stopped >= 0:
            termios.tcflow(self._stopped, termios.TCOOFF)

    def go_on(self) -> None:
        if self._stopped >= 0:
            termios.tcflow(self._stopped, termios.TCOON)

    def read(self) -> str:
        """What is there."""
        parts = []
        try:
            while part := os.read(self._end, 65_536):
                parts.append(part)
        except OSError:
            pass
        return b"".join(parts).decode()

    def close(self) -> None:
        for descriptor in (self._end, self._stopped):
            if descriptor >= 0:
                os.close(descriptor)


class Unread(Daemon):
    """A daemon whose log goes to the reader; `log` is what was read of it."""

    def __init__(self, reader: Reader, *options: str) -> None:
        self._reader, self._seen = reader, ""
        super().__init__(reader.path, *options, patches=FEW_LINES)

    def log(self) -> str:
        self._seen += self._reader.read()
        return self._seen


@pytest.fixture(params=["pipe", "terminal"])
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(request.param, tmp_path)
    yield reader
    reader.close()


def test_whoever_does_not_read_the_log_holds_nothing_up(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "presenced.toml").write_text("")
    with Unread(reader, "--config", str(tmp_path / "presenced.toml")) as daemon, opened(daemon.port, "alice") as link:
        daemon.until_log("at presence://127.0.0.1")
        reader.stop_reading()
        for number in range(1, SIGNALS):
            daemon.signal(signal.SIGUSR1)
            link.send(Ping(number))
            assert link.until(PONG)[1] == number
        reader.go_on()
        daemon.until_log("lines are missing here, because nobody read the log in time")
        daemon.signal(signal.SIGHUP)
        daemon.until_log("reload: done")
        assert daemon.log().count("snapshot: none is taken") < SIGNALS


def test_a_stop_waits_for_no_reader(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "presenced.toml").write_text("")
    daemon = Unread(reader, "--config", str(tmp_path / "presenced.toml"))
    with opened(daemon.port, "alice") as link:
        reader.stop_reading()
        for number in range(1, SIGNALS):
            daemon.signal(signal.SIGUSR1)
            link.send(Ping(number))
            link.until(PONG)
    daemon.signal(signal.SIGTERM)
    try:
        assert daemon.wait() == 0
    finally:
        daemon.kill()


def test_lines_that_were_dropped_are_counted_where_they_are_missing() -> None:
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    writer = LineWriter(write_end, lambda number: f"{number} lost")
    long, said = "x" * (PIPE_BYTES - 1), 0
    while writer.lost < 10:
        writer.put(long)
        said += 1
    text = ""
    while not text.endswith(" lost\n"):
        text += os.read(read_end, 65_536).decode()
    writer.put("after")
    assert writer.flush(20)
    text += os.read(read_end, 65_536).decode()
    lines = text.splitlines()
    assert lines[-2:] == ["10 lost", "after"]
    assert lines[:-2] == [long] * (said - 10)
    # Who reads is gone: that is no reason to fail, and counts as well.
    os.close(read_end)
    writer.put("to nobody")
    assert writer.flush(20)
    assert writer.lost == 11
    os.close(write_end)


def test_a_descriptor_that_somebody_made_non_blocking_is_waited_for() -> None:
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.set_blocking(write_end, False)
    writer = LineWriter(write_end, str)
    lines = [str(number) * 1000 for number in range(10)]
    for line in lines:
        writer.put(line)
    text = ""
    while text.count("\n") < 10:
        text += os.read(read_end, 65_536).decode()
    assert text.splitlines() == lines and writer.lost == 0
    os.close(read_end)
    os.close(write_end)


def test_nobody_has_to_read_where_it_listens(tmp_path: Path) -> None:
    """Standard output may be the same terminal."""
    reader = Reader("terminal", tmp_path)
    reader.stop_reading()
    say = f"import os; os.dup2(os.open({str(reader.path)!r}, os.O_WRONLY | os.O_NOCTTY), 1)"
    daemon = Daemon(tmp_path / "log", patches=say, starts=False)
    with daemon:
        daemon.until_log("nobody reads standard output, which would say where")
        reader.go_on()
        until(lambda: "listening on presence://" in reader.read(), lambda: "it is not written at last")
    reader.close()
