"""What holds for every subcommand of `presenced` and `presencectl`: standard streams that cannot be written, and
options of the group that are written behind the subcommand."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

WRITE_FAILED = 74
EPILOG = "The options before the subcommand (see `presencectl --help`) may stand here, too."


class OutputFailed(Exception):
    """Standard output did not take what was written. No OSError: those are about what a command works on."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(reason.strerror or str(reason))
        self.reason = reason


class _Stdout(io.FileIO):
    """The file behind standard output, which tells its failures from all others."""

    def write(self, data: Any) -> int:
        """As `FileIO` does. Raises `OutputFailed`."""
        try:
            return super().write(data) or 0
        except OSError as error:
            raise OutputFailed(error) from None


class Commands(click.Group):
    """The group of a program: what its subcommands print and cannot write ends in one line and a code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """As click does, with streams that can be written to, or say that they cannot."""
        prepare_streams()
        try:
            try:
                return super().main(args, prog_name, complete_var, standalone_mode, **extra)
            finally:
                # Here, because what Python flushes at its exit fails with a traceback.
                sys.stdout.flush()
        except OutputFailed as error:
            discard_stdout()
            if isinstance(error.reason, BrokenPipeError):
                # The reader (`| head`) has enough.
                sys.exit(0)
            print(f"{self.name}: standard output cannot be written: {error}", file=sys.stderr)
            sys.exit(WRITE_FAILED)


def prepare_streams() -> None:
    """Let standard output and error be there and take every character: one that they cannot show becomes a `?`.

    A test's own are left alone. Idempotent.
    """
    if sys.stderr is None:
        # `print` would take None for standard output.
        sys.stderr = open(os.devnull, "w")
    if sys.stdout is None:
        # Opened for reading: to write to it fails, as it has to.
        stdout = os.open(os.devnull, os.O_RDONLY)
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(_Stdout(stdout, "w")), "utf-8")
    elif sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        old = sys.stdout
        raw: Any = _Stdout(old.fileno(), "w", closefd=False)
        # Unbuffered (python -u, PYTHONUNBUFFERED) is what it stays.
        buffer = raw if old.write_through else io.BufferedWriter(raw)
        sys.stdout = io.TextIOWrapper(
            buffer, old.encoding, "replace", line_buffering=old.line_buffering, write_through=old.write_through
        )


def discard_stdout() -> None:
    """Send what is still to be written to standard output nowhere, without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def accept_behind(
    group: click.Group, changed: Callable[[click.Context, dict[str, Any]], None], without: frozenset[str] = frozenset()
) -> None:
    """Let every subcommand of `group`, at any depth, take the group's options as well.

    `changed` is called in the subcommand's context with the values given there, by parameter name; a value there counts
    over one before the subcommand. `without` are options that stay with the group. A subcommand's own option of the
    same name stays its own.
    """

    def take(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if context.get_parameter_source(parameter.name or "") is click.core.ParameterSource.COMMANDLINE:
            changed(context, {parameter.name or "": value})
        return value

    options = [one for one in group.params if isinstance(one, click.Option) and one.name not in without]
    for command in _commands_of(group):
        own = {name for one in command.params for name in one.opts}
        for option in options:
            if own.isdisjoint(option.opts):
                command.params.append(_copy(option, take))
        if not isinstance(command, click.Group):
            command.epilog = "\n\n".join(filter(None, (command.epilog, EPILOG)))


def _commands_of(group: click.Group) -> list[click.Command]:
    found: list[click.Command] = []
    for command in group.commands.values():
        found.append(command)
        if isinstance(command, click.Group):
            found += _commands_of(command)
    return found


def _copy(option: click.Option, take: Callable[[click.Context, click.Parameter, Any], Any]) -> click.Option:
    return click.Option(
        [option.name or "", *option.opts],
        type=option.type,
        is_flag=option.is_flag,
        callback=take,
        expose_value=False,
        hidden=True,
        metavar=option.metavar,
    )
