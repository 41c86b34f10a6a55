"""Reads the list of changes and applies one of them to a copy of the repository."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
LIST = Path(__file__).with_name("mutants.toml")
NOTICED_SHARE = 0.9
"""Of the list, what the tests have to notice at the least."""

COPIED = ("presenced", "tests", "bench", "systemd", "README.md", "protocol.md", "pyproject.toml", "Makefile")


class Mutant(NamedTuple):
    """One change. `old` stands in `file` exactly once."""

    file: str
    old: str
    new: str
    consequence: str
    """What the product would do wrong."""
    tests: tuple[str, ...]
    """The nearest ones, as pytest takes them."""

    @property
    def title(self) -> str:
        return f"{self.file}: {self.consequence}"


def read(path: Path = LIST) -> list[Mutant]:
    """The list. Raises `ValueError` for an entry that lacks something."""
    entries = tomllib.loads(path.read_text())["mutant"]
    try:
        return [
            Mutant(entry["file"], entry["old"], entry["new"], entry["consequence"], tuple(entry["tests"]))
            for entry in entries
        ]
    except KeyError as error:
        raise ValueError(f"an entry of {path.name} has no {error}") from None


def copy_repository(to: Path) -> None:
    """What the tests need, without the environment."""
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__", "build"))
        else:
            shutil.copy(source, to / name)


def applied(mutant: Mutant, text: str) -> str:
    """The file's text with the change. Raises `ValueError` unless `old` stands in it exactly once."""
    count = text.count(mutant.old)
    if count != 1:
        raise ValueError(f"{mutant.file}: {mutant.old!r} stands in it {count} times; correct the entry")
    return text.replace(mutant.old, mutant.new)
