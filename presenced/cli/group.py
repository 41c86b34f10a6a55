"""The group of the subcommands of `presenced` and `presencectl`. It handles standard streams that cannot be written
and options that are given on the wrong side of the subcommand, and it imports a subcommand only to run it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import IO, Any

import click

from presenced.cli.asides import print_aside, terminal_width
from presenced.cli.signals import INTERRUPTED, ending_in_silence
from presenced.cli.text_lines import LEAST_WIDTH

WRITE_FAILED = 74

SENTENCE_CHARACTERS_MAX = 500
"""No first sentence of a help is longer."""


CLICK_WIDTH = 52
"""click's help fits into terminals that have so many columns."""


class OutputFailed(Exception):
    """Standard output could not be written. This is not an `OSError`: those concern what a command works on."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(reason.strerror or str(reason))
        self.reason = reason


class _Stdout(io.FileIO):
    """The file behind standard output, whose failures differ from all others by their class."""

    def write(self, data: Any) -> int:
        """As `FileIO.write`. Raises `OutputFailed`."""
        try:
            return super().write(data) or 0
        except OSError as error:
            raise OutputFailed(error) from None


class UsageInLines(click.UsageError):
    """Wrong usage, shown in lines of the terminal. click leaves that to the terminal, which cuts words in two."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Like click's own method; without a `file`, to standard error."""
        told = io.StringIO()
        super().show(told)
        if file is None:
            print_aside(told.getvalue().rstrip("\n"))
        else:
            file.write(told.getvalue())


class SentenceGroup(click.Group):
    """A group whose help has the whole first sentence of each command, where click cuts it at the end of the line."""

    sections: Mapping[str, Sequence[str]] = {}
    """The commands under titles, in the order of the help; none = all in one list."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Like click's own method, with whole sentences and under the titles of `sections`."""
        for title, names in (self.sections or {"Commands": self.list_commands(ctx)}).items():
            found = [self.get_command(ctx, name) for name in names]
            rows = [
                (name, one.get_short_help_str(SENTENCE_CHARACTERS_MAX))
                for name, one in zip(names, found, strict=True)
                if one is not None
            ]
            with formatter.section(title):
                formatter.write_dl(rows)


class Commands(SentenceGroup):
    """The group of a program. Output that cannot be written leads to one line on standard error and an exit code. An
    option of the group after the subcommand leads to a sentence that says where it belongs.

    A subcommand of `modules` is imported when it is asked for.
    """

    def __init__(
        self,
        *args: Any,
        modules: Mapping[str, Sequence[str]] | None = None,
        sections: Mapping[str, Sequence[str]] | None = None,
        exit_codes: Mapping[int, str] | None = None,
        **extra: Any,
    ) -> None:
        """`modules` says which commands are in the `COMMANDS` of which module, `sections` as in `SentenceGroup`. The
        help ends with what the `exit_codes` mean."""
        super().__init__(*args, **extra)
        self.sections = sections or {}
        self._exit_codes = exit_codes or {}
        self._module_of = {name: module for module, names in (modules or {}).items() for name in names}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Like click's own method, with the commands that are not imported yet."""
        return sorted({*super().list_commands(ctx), *self._module_of})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Like click's own method, but imports the command if that is still to be done."""
        if cmd_name not in self.commands:
            # For a name that nobody knows, click looks for similar ones among all that are imported.
            modules = [self._module_of[cmd_name]] if cmd_name in self._module_of else {*self._module_of.values()}
            with ending_in_silence():
                found = [command for module in modules for command in import_module(module).COMMANDS]
            for command in found:
                self.add_command(command)
        return super().get_command(ctx, cmd_name)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Like click's own method, with the exit codes."""
        super().format_epilog(ctx, formatter)
        if self._exit_codes:
            with formatter.section("Exit codes"):
                formatter.write_dl([(str(code), meaning) for code, meaning in self._exit_codes.items()])

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Like click's own method, but a narrow terminal has its help in lines of its own width, where click's are
        never shorter than 50 columns. Raises `UsageInLines`."""
        width = terminal_width(sys.stdout)
        if LEAST_WIDTH <= width < CLICK_WIDTH:
            extra.setdefault("terminal_width", width - 1)
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            raise UsageInLines(error.format_message(), error.ctx) from None

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Like click's own method, but makes sure that the streams can be written, or says that they cannot."""
        prepare_streams()
        try:
            try:
                return super().main(args, prog_name, complete_var, standalone_mode, **extra)
            finally:
                # Here, because a flush at the exit of Python fails with a traceback.
                sys.stdout.flush()
        except OutputFailed as error:
            discard_stdout()
            if isinstance(error.reason, BrokenPipeError):
                # The reader, such as `| head`, has read enough.
                sys.exit(0)
            print_aside(f"{self.name}: standard output cannot be written: {error}")
            sys.exit(WRITE_FAILED)

    def invoke(self, ctx: click.Context) -> Any:
        """Like click's own method, but Ctrl-C ends the program in silence and with its own exit code, where click says
        "Aborted!" and ends with 1, which means "no". Raises `UsageInLines`, of an option on the wrong side of the
        subcommand with a sentence that says where it belongs."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except click.UsageError as error:
            place = self._place_of(error) if isinstance(error, click.NoSuchOption) else ""
            raise UsageInLines(place or error.format_message(), error.ctx) from None

    def _place_of(self, error: click.NoSuchOption) -> str:
        """A sentence with the right command line, if the option is one of this group; else nothing."""
        found = next((one for one in self.params if error.option_name in one.opts), None)
        if found is None or error.ctx is None:
            return ""
        program, *rest = error.ctx.command_path.split(" ")
        value = "" if isinstance(found, click.Option) and found.is_flag else f" {found.make_metavar(error.ctx)}"
        given = f"{program} {error.option_name}{value} {' '.join(rest)}"
        return f"{error.option_name} goes before the subcommand: `{given} ...`"


def prepare_streams() -> None:
    """Make sure that standard output and error exist and take every character; one that they cannot show becomes a `?`.

    Streams that a test has put in their place stay as they are. Idempotent.
    """
    if sys.stderr is None:
        # `print` would take None for standard output.
        sys.stderr = open(os.devnull, "w")
    if sys.stdout is None:
        # It is opened for reading, because a write to it has to fail.
        stdout = os.open(os.devnull, os.O_RDONLY)
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(_Stdout(stdout, "w")), "utf-8")
    elif sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        old = sys.stdout
        raw: Any = _Stdout(old.fileno(), "w", closefd=False)
        # An unbuffered stream (python -u, PYTHONUNBUFFERED) stays unbuffered.
        buffer = raw if old.write_through else io.BufferedWriter(raw)
        sys.stdout = io.TextIOWrapper(
            buffer, old.encoding, "replace", line_buffering=old.line_buffering, write_through=old.write_through
        )


def discard_stdout() -> None:
    """Drop what is still to be written to standard output, silently."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
