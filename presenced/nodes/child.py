"""A process that the supervisor starts: it ends with the supervisor, whatever ends that, and gets no signal of the
terminal but what the supervisor passes on."""

from __future__ import annotations

import asyncio
import ctypes
import signal
from collections.abc import Collection, Mapping, Sequence
from functools import partial

_PR_SET_PDEATHSIG = 1
"""prctl(2)"""


async def start_child(
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    output: int = asyncio.subprocess.DEVNULL,
    blocked: Collection[signal.Signals] = (),
) -> asyncio.subprocess.Process:
    """Start a program; `output` is where its standard output goes. Its standard error is that of this process, and it
    begins with these signals `blocked`.

    Raises `OSError`.
    """
    return await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        env=dict(environ),
        # A group of its own: Ctrl-C is for the supervisor, and two signals would end a node without its drain.
        process_group=0,
        preexec_fn=partial(_in_child, _prctl(), frozenset(blocked)),
    )


def _prctl() -> object:
    # Loaded before the fork: a child that forked may not wait for a lock.
    return ctypes.CDLL(None).prctl


def _in_child(prctl: object, blocked: frozenset[signal.Signals]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    assert callable(prctl)
    prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def send_signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal, if the process still is."""
    try:
        process.send_signal(number)
    except ProcessLookupError:
        return
