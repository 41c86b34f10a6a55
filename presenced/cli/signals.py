"""Signals of the programs before they are under way. Imports no library, because it is there before all of them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130

FOR_THE_DAEMON = (signal.SIGHUP, signal.SIGUSR1)
"""Signals that must not end the daemon in its first tenths of a second; they wait until it has handlers for them."""


@contextmanager
def ending_in_silence() -> Iterator[None]:
    """Let Ctrl-C end the process at once during imports. An exception would be raised in the module that is being
    imported, and some modules turn it into an error of their own."""
    # Handlers are for the main thread alone, and whoever has one of their own keeps it.
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(number: int, frame: object) -> None:
    os._exit(INTERRUPTED)
