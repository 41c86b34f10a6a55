"""Asks the person at the terminal before something that cannot be undone."""

from __future__ import annotations

import sys
from typing import TextIO

import click

from presenced.cli import exits


def confirm(question: str, yes: bool) -> None:
    """Ask, and leave unless the answer is yes. Without a terminal --yes is needed."""
    if yes:
        return
    if not (_is_terminal(sys.stdin) and _is_terminal(sys.stdout)):
        raise click.UsageError(f"{question} Without a terminal nobody can answer; give --yes to go on")
    try:
        is_meant = click.confirm(question)
    except click.Abort:
        # Ctrl-C, or the end of what is typed.
        click.echo()
        sys.exit(exits.INTERRUPTED)
    if not is_meant:
        sys.exit(exits.NO)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()
