"""Waiting for descriptors, however many the process has open: `select.select` fails beyond number 1,023."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from typing import IO, Protocol

ANY_END = select.POLLHUP | select.POLLERR


class HasFileno(Protocol):
    def fileno(self) -> int: ...


def readable(what: int | HasFileno, wait_s: float = 0.0) -> bool:
    """Whether it can be read, or has ended, within this time."""
    return any_readable([what], wait_s)


def any_readable(those: Sequence[int | HasFileno], wait_s: float = 0.0) -> bool:
    """The same for one of several."""
    return _any(those, select.POLLIN, wait_s)


def writable(what: int | HasFileno, wait_s: float = 0.0) -> bool:
    """Whether it takes bytes, or has ended, within this time."""
    return _any([what], select.POLLOUT, wait_s)


def _any(those: Sequence[int | HasFileno], events: int, wait_s: float) -> bool:
    poll = select.poll()
    for one in those:
        poll.register(one, events | ANY_END)
    return bool(poll.poll(max(0.0, wait_s) * 1000))


class HasOutput(Protocol):
    stdout: IO[bytes] | None


def first_line(process: HasOutput, wait_s: float) -> str:
    """The first line that a program prints on its standard output, without its end; what there was of it if it ended
    or the time is over."""
    assert process.stdout is not None
    line = b""
    deadline = time.monotonic() + wait_s
    while not line.endswith(b"\n") and readable(process.stdout, deadline - time.monotonic()):
        piece = os.read(process.stdout.fileno(), 4096)
        if not piece:
            break
        line += piece
    return line.decode().strip()
