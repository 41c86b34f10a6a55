"""How the log is written: one line an event on standard error, for people, for the journal, or as JSON.

Python's own logging is enough for a daemon that logs events and never traffic; what would make too many lines is
held back before it gets here (`report`).
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import TextIO, cast

from presenced.config.settings import LogFormat, LogLevel

logger = logging.getLogger("presenced")

_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
"""syslog(3) priorities; the journal takes them from a `<N>` at the start of a line (sd-daemon(3))."""


class TextFormatter(logging.Formatter):
    """Time, level and sentence."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return f"{_time(record)} {record.levelname} {one_line(record)}"


class JournalFormatter(logging.Formatter):
    """Priority and sentence: the journal knows the time."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return f"<{_PRIORITY.get(record.levelno, 5)}>{one_line(record)}"


class JsonFormatter(logging.Formatter):
    """An object a line: time, level, message; `error` with the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        entry = {"time": _time(record), "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def one_line(record: logging.LogRecord) -> str:
    """Message and traceback on one line: an event is one entry of the journal, and no input can forge a second."""
    text = record.getMessage()
    if record.exc_info:
        text += " | " + logging.Formatter().formatException(record.exc_info)
    text = " | ".join(text.splitlines())
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    """What would act on a terminal is shown instead."""
    return character if character.isprintable() else ascii(character)[1:-1]


def configure(log_format: LogFormat, level: LogLevel, stream: TextIO | None = None) -> None:
    """Send the log to `stream` (standard error). Idempotent: what was set before is replaced."""
    stream = stream or sys.stderr
    if log_format == "auto":
        log_format = "journal" if is_journal(stream) else "text"
    handler = logging.StreamHandler(stream)
    formatters = {"journal": JournalFormatter, "json": JsonFormatter}
    handler.setFormatter(formatters.get(log_format, TextFormatter)())
    root = logging.getLogger()
    for other in root.handlers[:]:
        root.removeHandler(other)
    root.addHandler(handler)
    set_level(level)


def set_level(level: LogLevel) -> None:
    """From now on."""
    logger.setLevel(level.upper())
    logging.getLogger().setLevel(max(logging.WARNING, logger.level))


def level() -> LogLevel:
    """The level in force."""
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
