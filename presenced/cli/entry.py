"""Where the programs begin: before the imports, which take a while, so that Ctrl-C ends them in silence, too."""

from __future__ import annotations

import os
import signal

INTERRUPTED = 130


def daemon() -> None:
    """The program `presenced`."""
    _interrupt_quietly()
    from presenced.cli.daemon import main

    _interrupt_as_usual()
    main(prog_name="presenced")


def ctl() -> None:
    """The program `presencectl`."""
    _interrupt_quietly()
    from presenced.cli.ctl import main

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
