"""Sentences on standard error, in lines of the terminal that is there."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from presenced.cli.text_lines import wrapped


def print_aside(sentence: str) -> None:
    """Print a sentence to standard error, wrapped if that is a terminal."""
    print(in_lines(sentence), file=sys.stderr, flush=True)


def in_lines(sentence: str) -> str:
    """The sentence in lines of the terminal at standard error; as it is if there is none."""
    return "\n".join(wrapped(sentence, terminal_width(sys.stderr) if sys.stderr.isatty() else 0))


def terminal_width(stream: TextIO) -> int:
    """The columns of the terminal at a stream, or what COLUMNS says of them; 0 = unknown.

    `shutil` has the same, and takes 5 ms to import."""
    said = os.environ.get("COLUMNS", "")
    if said.isascii() and said.isdecimal() and int(said):
        return int(said)
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 0
