"""The commands of `presencectl` that carry out chat commands: one, or one on each line of standard input."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING

import click
from msgspec.structs import asdict

from presenced.cli import exits
from presenced.cli.context import Context, aside, tell_of_links
from presenced.errors import AddressError, PresenceError

if TYPE_CHECKING:
    import asyncio

    from presenced.cli.target import Acting
    from presenced.client.values import Answer

STDIN = 0
LINE_BYTES_MAX = 65_536
"""The longest line. Input without a line end must not fill the memory."""
LINES_AHEAD = 16
ENDS = frozenset({"quit", "exit"})


@click.command("do")
@click.argument("words", nargs=-1, required=True, metavar="COMMAND...")
@click.pass_obj
def do(context: Context, words: tuple[str, ...]) -> None:
    """Carry out a chat command and print the answer: `do "/presence away for 30m"`, `do help`.

    The exit code is 1 if the server did not carry it out. The answer is text; --json adds all of its data.
    """

    async def work() -> int:
        async with context.target.acting() as acting:
            return _show(context, await _command(acting, " ".join(words)))

    exits.run(work())


@click.command("shell")
@click.pass_obj
def shell(context: Context) -> None:
    """Carry out chat commands from standard input, one on each line, until its end (Ctrl-D), `quit` or `exit`.

    From a pipe or a file the exit code is 1 if the server did not carry out one of them.
    """
    if sys.stdin is None:
        raise click.UsageError("standard input is closed; give the commands by a pipe, a file or a terminal")
    is_terminal = os.isatty(STDIN)

    async def work() -> int:
        import asyncio  # Loaded by now, as this runs on its loop.

        code = exits.OK
        async with context.target.acting(reconnect=True) as acting:
            tell_of_links(acting.link, context.output)
            lines = _Lines()
            while True:
                try:
                    if is_terminal:
                        await aside(partial(click.echo, f"{acting.name}> ", nl=False, err=True))
                    line = await lines.next()
                except asyncio.CancelledError:
                    # What comes behind Ctrl-C begins on a line of its own.
                    if is_terminal:
                        click.echo(err=True)
                    raise
                if line is None or line.strip().lower() in ENDS:
                    break
                if line.strip():
                    code = max(code, await _one(context, acting, line.strip()))
        if is_terminal:
            if line is None:
                click.echo(err=True)
            return exits.OK
        return code

    exits.run(work())


async def _one(context: Context, acting: Acting, line: str) -> int:
    try:
        answer = await _command(acting, line)
        return await aside(partial(_show, context, answer))
    except PresenceError as error:
        # The next line may work, but not on a link that has ended for good.
        if acting.link.state == "closed":
            raise
        exits.complain(str(error), exits.NO)
        return exits.NO


async def _command(acting: Acting, text: str) -> Answer:
    answer: Answer = await acting.acts.command(acting.user, text)
    return answer


def _show(context: Context, answer: Answer) -> int:
    if context.wants_json:
        # Structs would become arrays, and programs need the names.
        listed = ("records", "devices", "activities")
        named = {key: [asdict(struct) for struct in getattr(answer, key)] for key in listed}
        context.output.line({**answer._asdict(), **named})
    else:
        context.output.sentence(answer.text)
    return exits.OK if answer.ok else exits.NO


class _Lines:
    """The lines of standard input, read by a thread that nothing waits for.

    The thread reads the descriptor: stuck in `sys.stdin` it would hold a lock that Python needs at its exit. The loop
    cannot read by itself, because standard input may be a file.
    """

    def __init__(self) -> None:
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Queue[str | AddressError | None] = asyncio.Queue()
        self._room = threading.Semaphore(LINES_AHEAD)
        threading.Thread(target=self._read, daemon=True).start()

    async def next(self) -> str | None:
        """The next line, None at the end. Raises `AddressError` if there is none because it cannot be read."""
        item = await self._ready.get()
        self._room.release()
        if isinstance(item, AddressError):
            raise item
        return item

    def _read(self) -> None:
        rest = b""
        try:
            while data := os.read(STDIN, 4096):
                *whole, rest = (rest + data).split(b"\n")
                for line in whole:
                    self._put(line.decode(errors="replace"))
                if len(rest) > LINE_BYTES_MAX:
                    self._put(AddressError(f"a line is longer than {LINE_BYTES_MAX} bytes", "bad_text"))
                    return
        except OSError as error:
            self._put(AddressError(f"standard input cannot be read: {error.strerror}", "bad_request"))
            return
        if rest:
            self._put(rest.decode(errors="replace"))
        self._put(None)

    def _put(self, item: str | AddressError | None) -> None:
        self._room.acquire()
        # At the end of the command the loop is closed, and no further line is needed.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ready.put_nowait, item)


COMMANDS: tuple[click.Command, ...] = (do, shell)
