"""Writes lines to a file descriptor for somebody who must not wait: from a thread of its own, through a bounded queue.

A terminal that was stopped with Ctrl-S, a full pipe, a journal that hangs: a write to any of them returns when somebody
reads, which may be never, and inside of it the loop would answer nobody. Making the descriptor non-blocking instead
would make it so for everybody who shares it, such as the shell.
"""

from __future__ import annotations

import os
import queue
import select
import threading
import time
from collections.abc import Callable

LINES_MAX = 1_000
"""Lines that wait for a reader; what comes beyond them is dropped, so that what led there is kept."""

BYTES_MAX = 1 << 20
"""The same in bytes: a line with a traceback is long."""


class LineWriter:
    """The lines for one descriptor. `put` never waits."""

    def __init__(self, descriptor: int, describe_loss: Callable[[int], str]) -> None:
        """`describe_loss` is the line that is written where so many lines are missing."""
        self.descriptor = descriptor
        self.lost = 0
        """Lines that were dropped since the start."""
        self._describe_loss = describe_loss
        self._queue: queue.SimpleQueue[bytes | threading.Event] = queue.SimpleQueue()
        self._put_bytes = 0
        self._written_bytes = 0
        self._told = 0
        self._is_dropping = False
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def put(self, line: str) -> None:
        """Write the line as soon as the descriptor takes it; drop it if too much waits already. Not for two threads at
        a time."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        is_full = self._queue.qsize() >= LINES_MAX or self._put_bytes - self._written_bytes > BYTES_MAX
        # Once lines are missing, the rest waits until the place where they are missing can be told.
        self._is_dropping = is_full or (self._is_dropping and not self._queue.empty())
        if self._is_dropping:
            self.lost += 1
            return
        self._put_bytes += len(data)
        self._queue.put(data)

    def flush(self, timeout_s: float) -> bool:
        """Wait until what was put is written, but not longer than that if nobody reads; False if it is not written. A
        machine that is so busy that the thread does not get its turn is waited for ten times as long."""
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
                # Somebody who shares it has made it non-blocking.
                poll = select.poll()
                poll.register(self.descriptor, select.POLLOUT)
                poll.poll()
            except OSError:
                # The reader is gone for good; there is nobody to tell.
                self.lost += 1
                self._told += 1
                return
