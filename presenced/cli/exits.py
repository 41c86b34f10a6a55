"""How `presencectl` ends: exit codes, and each error as one line that says what to do next."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import click

from presenced.cli.asides import print_aside
from presenced.cli.group import WRITE_FAILED
from presenced.cli.signals import INTERRUPTED as INTERRUPTED, ending_in_silence
from presenced.errors import (
    AddressError,
    AuthError,
    ConnectionLost,
    PresenceError,
    ProtocolError,
    RequestError,
    RequestTimeout,
)

OK = 0
NO = 1
USAGE = 2
REFUSED = 65
UNREACHABLE = 69
INTERNAL = 70
OUTPUT = WRITE_FAILED
TEMPORARY = 75
PROTOCOL = 76
DENIED = 77
CONFIG = 78
TERMINATED = 143

OUTPUT_THREAD = "output"
"""The name of threads that print to a reader who may not read."""

UNREAD_S = 0.5

TOLD = {
    0: "done; yes",
    1: "no: the user is offline or unknown, the wanted changes or status did not come, a device does not show the "
    "latest own state, a chat command was not carried out, the doctor found a problem, or there was no link to kick",
    2: "wrong usage: an option, a name, a URL, a line of a file to import",
    65: "the server refused the request",
    69: "the server cannot be reached, or the link was lost",
    70: "presencectl itself failed",
    74: "standard output cannot be written",
    75: "the server is busy or starting, or did not answer in time; try again",
    76: "the server there does not speak presenced's protocol",
    77: "not permitted: the token is missing, wrong, expired or of another role, or the admin socket is for other "
    "users",
    78: "a token or certificate cannot be used, or a new configuration is refused",
    130: "interrupted by Ctrl-C",
    143: "ended by SIGTERM",
}
"""The exit codes, as the help lists them."""

_SERVER_TEMPORARY = frozenset({"busy", "device_limit", "going_away", "link_failed"})

_ADVICE = {
    "unreachable": " (start one with `presenced serve --dev`)",
    "token_revoked": " (`presenced token --user NAME --ttl 1d --secret-file FILE`, then --token or PRESENCE_TOKEN)",
    "token_expired": " (`presenced token --user NAME --ttl 1d --secret-file FILE`, then --token or PRESENCE_TOKEN)",
    "tls_failed": " (see --ca-file and --insecure)",
    "forbidden": " (--as USER acts for others, with a token of the role service)",
    "no_such_device": " (`presencectl devices` lists them; `presencectl online` connects the URL's device)",
    "bad_token": " (pass one with --token, --token-file or PRESENCE_TOKEN)",
}

_ADVICE_WITHOUT_AS = {
    **_ADVICE,
    "forbidden": " (a service may, with a token for it: `presencectl --url presence://SERVICE@HOST ...`)",
}
"""Of commands that do not take --as, as they are asked in the name of whoever the URL names."""


def exit_code(error: PresenceError) -> int:
    """The exit code for an error; the order is from the special to the general."""
    if isinstance(error, AddressError):
        return USAGE
    if error.code in ("tls_failed", "bad_token_file"):
        return CONFIG
    if isinstance(error, AuthError) or error.code == "forbidden":
        return DENIED
    if isinstance(error, ProtocolError):
        return PROTOCOL
    if isinstance(error, RequestTimeout) or error.code in _SERVER_TEMPORARY:
        return TEMPORARY
    if isinstance(error, ConnectionLost):
        return UNREACHABLE
    if isinstance(error, RequestError):
        return TEMPORARY if error.temporary else REFUSED
    return INTERNAL


def run(work: Coroutine[Any, Any, int]) -> None:
    """Run a command to its end and exit with its code. An error becomes one line on stderr, never a traceback."""
    with ending_in_silence():
        import asyncio  # It takes a third of a command's start, which --help and wrong usage can save.

    async def ended_in_order() -> int:
        # SIGTERM ends it as Ctrl-C does: what a command says at its end is for a script as well.
        is_ended = False
        task = asyncio.current_task()
        assert task is not None

        def end() -> None:
            nonlocal is_ended
            is_ended = True
            task.cancel()

        # Signals are for the main thread alone, and a command may run in another.
        if threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
        try:
            return await work
        except asyncio.CancelledError:
            if not is_ended:
                raise
            return TERMINATED

    try:
        run_blocking(lambda: asyncio.run(ended_in_order()))
    finally:
        # Ctrl-C may come before the loop has begun with it; of what has ended nothing is left to close.
        work.close()


def run_blocking(work: Callable[[], int]) -> None:
    """The same for a command that needs no event loop."""
    try:
        code = work()
    except PresenceError as error:
        code = complain(str(error) + _advice_on(error), exit_code(error))
    except KeyboardInterrupt:
        code = INTERRUPTED
    if _output_is_stuck():
        # The thread holds the lock of a stream that Python would flush at the end.
        os._exit(code)
    sys.exit(code)


def _advice_on(error: PresenceError) -> str:
    line = click.get_current_context(silent=True)
    takes_as = line is None or getattr(line.obj, "takes_as", True)
    return (_ADVICE if takes_as else _ADVICE_WITHOUT_AS).get(error.code, "")


def _output_is_stuck() -> bool:
    """Whether a thread prints what nobody reads."""
    printing = [thread for thread in threading.enumerate() if thread.name == OUTPUT_THREAD]
    for thread in printing:
        thread.join(UNREAD_S)
    return any(thread.is_alive() for thread in printing)


def complain(sentence: str, code: int) -> int:
    """Print what is wrong; returns `code`."""
    print_aside(f"presencectl: {sentence}")
    return code
