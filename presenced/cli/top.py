"""`presencectl top`: a screen that shows the daemon at work and is drawn again after each interval.

`top_figures` computes the numbers, and `top_screen` makes lines of them. This module handles the terminal, the keys,
and the time while the daemon is away.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import TYPE_CHECKING

from presenced.cli import exits
from presenced.cli.admin_link import AdminLink, status_of
from presenced.cli.output import Output
from presenced.cli.top_figures import HISTORY_MAX, SORTS, Look, compare, to_json
from presenced.errors import ConnectionLost, RequestError, RequestTimeout
from presenced.server.status import ServerStatus

if TYPE_CHECKING:
    from rich.console import Group

SAMPLES_S = 1.0
"""The daemon keeps one sample for each second. With this interval, the bars start with those samples."""


class Top:
    """One run of the command, from the first look to the last."""

    def __init__(self, link: AdminLink, output: Output, interval_s: float, count: int | None) -> None:
        self._link = link
        self._output = output
        self._interval_s = interval_s
        self._left = count
        self._sort = SORTS[0]
        self._before: ServerStatus | None = None
        self._look: Look | None = None
        self._away = ""
        """Why the daemon could not be asked the last time; empty if it answered."""
        self._deliveries: list[float] = []
        self._turns: list[float] = []

    def run(self) -> int:
        """Show looks until `count` is reached or the user quits. Returns the exit code.

        Raises what `AdminLink.ask` raises if the first look fails, because then there may be no daemon at all.
        """
        self._ask()
        if self._output.is_json:
            return self._print()
        if self._interval_s == SAMPLES_S:
            samples = self._link.ask("history")
            self._deliveries = samples["deliveries_per_s"][-HISTORY_MAX:]
            self._turns = samples["turn_p99_us"][-HISTORY_MAX:]
        # The screen needs a terminal. Keys are read only if standard input is one, too.
        with _keys() as keys:
            return self._draw(keys)

    # --- looking ----------------------------------------------------------------------------------------------

    def _take(self) -> bool:
        """Take a look; returns False and keeps the reason while the daemon is away. Finds a restarted daemon."""
        try:
            self._ask()
        except (ConnectionLost, RequestTimeout, RequestError) as error:
            self._away = str(error)
            return False
        self._away = ""
        return True

    def _ask(self) -> None:
        now = status_of(self._link.ask("status"))
        self._look = look = compare(self._before, now)
        if self._before is not None and self._before.pid == now.pid:
            # The first look at a process covers all the time since its start, so it is not a sample like the others.
            self._deliveries = [*self._deliveries, look.deliveries_per_s][-HISTORY_MAX:]
            self._turns = [*self._turns, float(look.turn_p99_us)][-HISTORY_MAX:]
        self._before = now

    def _is_enough(self) -> bool:
        """Count one shown look; returns whether it was the last one."""
        if self._left is not None:
            self._left -= 1
        return self._left == 0

    # --- without a screen -------------------------------------------------------------------------------------

    def _print(self) -> int:
        """Print one line for each look. As with vmstat, the first line covers the time since the daemon's start."""
        while True:
            if not self._away and self._look is not None:
                self._output.line(to_json(self._look))
                if self._is_enough():
                    return exits.OK
            time.sleep(self._interval_s)
            was_away = bool(self._away)
            if not self._take() and not was_away:
                self._output.note(f"the daemon is away, retrying: {self._away}")

    # --- with one ---------------------------------------------------------------------------------------------

    def _draw(self, keys: KeyPresses) -> int:
        from rich.console import Console
        from rich.live import Live

        console = Console(no_color=not self._output.has_colour, highlight=False)
        with _ended_in_order(), Live(console=console, screen=True, auto_refresh=False) as live:
            next_s = time.monotonic() + self._interval_s
            live.update(self.picture(console.width, console.height), refresh=True)
            while self._away or not self._is_enough():
                while (key := keys.wait(next_s)) is not None:
                    if key == "q":
                        return exits.OK
                    if key == "s":
                        self._sort = SORTS[(SORTS.index(self._sort) + 1) % len(SORTS)]
                    # Any other key redraws too, because the window may have a new size.
                    live.update(self.picture(console.width, console.height), refresh=True)
                next_s = max(time.monotonic(), next_s + self._interval_s)
                self._take()
                live.update(self.picture(console.width, console.height), refresh=True)
        # The terminal shows its earlier content again. Print the last picture there, so that it stays.
        console.print(self.picture(console.width, console.height))
        return exits.OK

    def picture(self, width: int, height: int) -> Group:
        """The whole screen."""
        from rich.console import Group

        from presenced.cli.top_screen import TopView, screen

        assert self._look is not None
        return Group(*screen(TopView(self._look, self._deliveries, self._turns, self._sort, self._away), width, height))


class KeyPresses:
    """Reads pressed keys, one at a time. Without a terminal it only waits."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def wait(self, until_s: float) -> str | None:
        """The next key, or None at `until_s` of the monotonic clock."""
        while (left_s := until_s - time.monotonic()) > 0:
            if self._fd is None:
                time.sleep(left_s)
            elif select.select([self._fd], [], [], left_s)[0]:
                pressed = os.read(self._fd, 1)
                if pressed:
                    return pressed.decode(errors="replace")
                # The terminal is gone.
                self._fd = None
        return None


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the command by an exception, so that the terminal is restored."""

    def leave(number: int, _: object) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _keys() -> Iterator[KeyPresses]:
    """Read each key at once and without echo, and restore the terminal at the end. Ctrl-C still interrupts."""
    if not sys.stdin.isatty():
        yield KeyPresses(None)
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield KeyPresses(fd)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
