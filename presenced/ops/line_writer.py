"""Writes lines to a file descriptor from a thread of its own, through a bounded queue, so that the event loop never
waits.

A write to a terminal that was stopped with Ctrl-S, to a full pipe or to a journal that hangs may never return, and the
loop would answer nobody meanwhile. A non-blocking descriptor is no way out: it would be non-blocking for every process
that shares it, such as the shell.
"""

from __future__ import annotations

import os
import queue
import select
import threading
import time
from collections.abc import Callable

LINES_MAX = 1_000
"""Lines that wait for a reader. Later lines are dropped, so that the log shows how the trouble began."""

BYTES_MAX = 1 << 20
"""The same bound in bytes, because a line with a traceback is long."""


class LineWriter:
    """The lines for one descriptor. `put` never waits."""

    def __init__(self, descriptor: int, describe_loss: Callable[[int], str]) -> None:
        """`describe_loss` returns the line to write where a number of lines is missing."""
        self.descriptor = descriptor
        self.lost = 0
        """Lines dropped since the start."""
        self._describe_loss = describe_loss
        self._queue: queue.SimpleQueue[bytes | threading.Event] = queue.SimpleQueue()
        self._put_bytes = 0
        self._written_bytes = 0
        self._told = 0
        self._is_dropping = False
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def put(self, line: str) -> None:
        """Write the line as soon as the descriptor takes it, or drop it if too much waits already. Not for two threads
        at a time."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        is_full = self._queue.qsize() >= LINES_MAX or self._put_bytes - self._written_bytes > BYTES_MAX
        # Once a line is dropped, so are all others until a line can say how many are missing.
        self._is_dropping = is_full or (self._is_dropping and not self._queue.empty())
        if self._is_dropping:
            self.lost += 1
            return
        self._put_bytes += len(data)
        self._queue.put(data)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all lines are written; returns False if they are not. Without a reader the wait ends after
        `timeout_s`; on a machine so busy that the thread gets no turn, after ten times as long."""
        reached = threading.Event()
        self._queue.put(reached)
        if reached.wait(timeout_s):
            return True
        give_up_s = time.monotonic() + 9 * timeout_s
        while time.monotonic() < give_up_s and self._is_read() and not reached.wait(0.02):
            pass
        return reached.is_set()

    def _is_read(self) -> bool:
        poll = select.poll()
        poll.register(self.descriptor, select.POLLOUT)
        return bool(poll.poll(0))

    # --- on the thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if isinstance(item, threading.Event):
                item.set()
                continue
            self._write(item)
            self._written_bytes += len(item)
            if self.lost != self._told and self._queue.empty():
                missing = self.lost - self._told
                self._told += missing
                self._write(self._describe_loss(missing).encode() + b"\n")

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self.descriptor, data) :]
            except BlockingIOError:
                # Another process that shares the descriptor has made it non-blocking.
                poll = select.poll()
                poll.register(self.descriptor, select.POLLOUT)
                poll.poll()
            except OSError:
                # The reader is gone for good.
                self.lost += 1
                self._told += 1
                return
