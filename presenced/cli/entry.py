"""Where the programs begin: before the imports, which take a while, so that Ctrl-C ends them in silence, too, and which
fail where the client alone is installed, so that the person is told what to install.
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

    SIGHUP and SIGUSR1 wait until `serve` has handlers for them, since a daemon is not to die of them in its first
    tenths of a second. The other commands let them in before they begin.
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
    """Let Ctrl-C end the process at once, as long as nothing has been begun. An exception would come out of whatever
    module is being imported, and some of them turn it into an error of their own."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def _interrupt_as_usual() -> None:
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(number: int, frame: object) -> None:
    os._exit(INTERRUPTED)


def _say_what_to_install(program: str, error: ModuleNotFoundError) -> NoReturn:
    """End with a sentence if a library is missing; a module of this package that is missing is a fault of its own."""
    name = error.name or "a library"
    if name.partition(".")[0] == "presenced":
        raise error
    way_out = "the client alone is installed here; for the commands: pip install 'presenced[server]'"
    if sys.platform == "win32":
        way_out = "it runs on Linux; on Windows only the client does (import presenced)"
    print(f"{program}: there is no module {name}: {way_out}", file=sys.stderr)
    sys.exit(CONFIG)
