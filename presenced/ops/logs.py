"""The form of the log: one line for each event on standard error, for people, for the journal, or as JSON.

Python's own logging is enough for a daemon that logs events and never traffic; `report` holds back events that come too
often. The daemon never waits for the reader of the log: lines that are not read are dropped and counted
(`line_writer`).
"""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
from datetime import UTC, datetime
from typing import TextIO, cast

from presenced.config.settings import LogFormat, LogLevel
from presenced.ops.line_writer import LineWriter

logger = logging.getLogger("presenced")

_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
"""syslog(3) priorities; the journal reads them from `<N>` at the start of a line (sd-daemon(3))."""


class LineFormatter(logging.Formatter):
    """The base of all forms."""

    def __init__(self, node: str = "") -> None:
        """`node` is the name of this node of a cluster; empty = the daemon is alone."""
        super().__init__()
        self.node = node

    @property
    def prefix(self) -> str:
        """What stands before the sentence."""
        return f"{self.node}: " if self.node else ""


class TextFormatter(LineFormatter):
    """Time, level and sentence."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return f"{_time(record)} {record.levelname} {self.prefix}{one_line(record)}"


class JournalFormatter(LineFormatter):
    """Priority and sentence; the journal adds the time."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return f"<{_PRIORITY.get(record.levelno, 5)}>{self.prefix}{one_line(record)}"


class JsonFormatter(LineFormatter):
    """One object on a line: time, level, message, the node if there are several, and `error` with the traceback if
    there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        entry = {"time": _time(record), "level": record.levelname.lower(), "message": record.getMessage()}
        if self.node:
            entry["node"] = self.node
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def one_line(record: logging.LogRecord) -> str:
    """Message and traceback on one line, so that an event is one entry of the journal, and no input can forge
    another."""
    text = record.getMessage()
    if record.exc_info:
        text += " | " + logging.Formatter().formatException(record.exc_info)
    text = " | ".join(text.splitlines())
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    """A character that acts on a terminal, shown as an escape."""
    return character if character.isprintable() else ascii(character)[1:-1]


FLUSH_S = 0.5
"""How long the end of the process waits for the reader of the log."""


class _Handler(logging.Handler):
    """Passes each line to the one writer of standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if _writer is not None:
                _writer.put(self.format(record))
        except Exception:
            self.handleError(record)

    def describe_loss(self, number: int) -> str:
        """The line that stands where lines are missing."""
        about = "log: %d lines are missing here, because nobody read the log in time"
        return self.format(logger.makeRecord(logger.name, logging.WARNING, __file__, 0, about, (number,), None))


_handler: _Handler | None = None
_node = ""
_writer: LineWriter | None = None
"""The writer of this process; made when it is first needed, since it has a thread."""


def name_node(name: str) -> None:
    """Have each line from the next `configure` on begin with the name of this node: several write into one log."""
    global _node
    _node = name


def configure(log_format: LogFormat, level: LogLevel, stream: TextIO | None = None) -> None:
    """Send the log to standard error, or to `stream`, for whose reader each line then waits. A second call replaces the
    first."""
    global _handler, _writer
    target = stream or sys.stderr
    if log_format == "auto":
        log_format = "journal" if is_journal(target) else "text"
    formatters = {"journal": JournalFormatter, "json": JsonFormatter}
    handler: logging.Handler
    if stream is None and _has_a_reader(target):
        handler = _handler = _Handler()
        if _writer is None or _writer.descriptor != target.fileno():
            _writer = LineWriter(target.fileno(), _describe_loss)
    else:
        handler = logging.StreamHandler(target)
    handler.setFormatter(formatters.get(log_format, TextFormatter)(_node))
    root = logging.getLogger()
    for other in root.handlers[:]:
        root.removeHandler(other)
    root.addHandler(handler)
    set_level(level)


def _describe_loss(number: int) -> str:
    return _handler.describe_loss(number) if _handler is not None else ""


def _has_a_reader(stream: TextIO) -> bool:
    """Whether a write to it can wait for a reader: it is the process's own standard error, and no file. A stream that a
    test puts in its place is written to directly."""
    try:
        return stream is sys.__stderr__ and not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def flush(timeout_s: float = FLUSH_S) -> None:
    """Wait until the lines are written, at most for `timeout_s`. Call it before the process ends."""
    if _writer is not None:
        _writer.flush(timeout_s)


def say(line: str) -> None:
    """Write a line as it is. If there is a log, this does not wait for its reader either."""
    if _writer is None:
        print(line, file=sys.stderr)
    else:
        _writer.put(line)
        flush()


def lost() -> int:
    """How many lines were dropped because nobody read them."""
    return _writer.lost if _writer is not None else 0


def set_level(level: LogLevel) -> None:
    """Set the level of the log."""
    logger.setLevel(level.upper())
    logging.getLogger().setLevel(max(logging.WARNING, logger.level))


def level() -> LogLevel:
    """The level of the log."""
    return cast(LogLevel, logging.getLevelName(logger.getEffectiveLevel()).lower())


def is_journal(stream: TextIO) -> bool:
    """Whether the stream goes straight to the journal (systemd.exec(5), `JOURNAL_STREAM`)."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
