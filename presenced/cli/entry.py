"""Where the programs begin, before the imports. Imports take a while, and Ctrl-C has to end them in silence; and they
fail if only the client is installed, so that this module says what to install.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from presenced.cli.signals import FOR_THE_DAEMON

INTERRUPTED = 130
CONFIG = 78


def daemon() -> None:
    """The program `presenced`.

    SIGHUP and SIGUSR1 wait until `serve` has handlers for them, because they must not end a daemon in its first tenths
    of a second. The other commands unblock them before they begin.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_DAEMON)
    _interrupt_quietly()
    try:
        from presenced.cli.daemon import main
    except ModuleNotFoundError as error:
        _say_what_to_install("presenced", error)

    _interrupt_as_usual()
    main(prog_name="presenced")


def ctl() -> None:
    """The program `presencectl`."""
    _interrupt_quietly()
    try:
        from presenced.cli.ctl import main
    except ModuleNotFoundError as error:
        _say_what_to_install("presencectl", error)

    _interrupt_as_usual()
    main(prog_name="presencectl")


def _interrupt_quietly() -> None:
    """Let Ctrl-C end the process at once during the imports. An exception would be raised in the module that is being
    imported, and some modules turn it into an error of their own."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def _interrupt_as_usual() -> None:
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(number: int, frame: object) -> None:
    os._exit(INTERRUPTED)


def _say_what_to_install(program: str, error: ModuleNotFoundError) -> NoReturn:
    """End with a sentence if a library is missing. A missing module of this package is a bug, and is raised."""
    name = error.name or "a library"
    if name.partition(".")[0] == "presenced":
        raise error
    way_out = "only the client is installed here; for the commands: pip install 'presenced[server]'"
    if sys.platform == "win32":
        way_out = "it runs on Linux; on Windows only the client runs (import presenced)"
    print(f"{program}: the module {name} is missing: {way_out}", file=sys.stderr)
    sys.exit(CONFIG)
