"""Where the programs begin, before the imports. Imports take a while, and Ctrl-C has to end them in silence; and they
fail if only the client is installed, so that this module says what to install.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from presenced.cli.signals import FOR_THE_DAEMON, ending_in_silence

CONFIG = 78

GARBAGE_OBJECTS = 50_000
"""After so many new objects Python looks for garbage. With its own 700 it does so dozens of times during the imports,
which make none."""


def daemon() -> None:
    """The program `presenced`.

    SIGHUP and SIGUSR1 wait until `serve` has handlers for them, because they must not end a daemon in its first tenths
    of a second. The other commands unblock them before they begin.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_DAEMON)
    thresholds = gc.get_threshold()
    gc.set_threshold(GARBAGE_OBJECTS)
    try:
        with ending_in_silence():
            from presenced.cli.daemon import main
    except ModuleNotFoundError as error:
        _say_what_to_install("presenced", error)

    gc.set_threshold(*thresholds)
    main(prog_name="presenced")


def ctl() -> None:
    """The program `presencectl`."""
    gc.set_threshold(GARBAGE_OBJECTS)
    try:
        with ending_in_silence():
            from presenced.cli.ctl import main
    except ModuleNotFoundError as error:
        _say_what_to_install("presencectl", error)

    _end_at_once(lambda: main(prog_name="presencectl"))


def _end_at_once(program: Callable[[], object]) -> NoReturn:
    """Run it and end the process with its exit code, without taking Python apart: that is a seventh of a short command,
    and the kernel frees everything all the same. `program` has written its output; a reason that is a text, and any
    other exception, end it as always."""
    try:
        program()
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            raise
        code = end.code or 0
    else:
        code = 0
    sys.stderr.flush()
    os._exit(code)


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
