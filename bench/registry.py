"""What is known of a profile without importing it, and how it is run; `bench.catalog` is the table of them."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from bench.errors import BenchError
from bench.results.outcome import Outcome


@dataclass(frozen=True)
class Option:
    """One `--name` of a profile, handed to its `run` as `name`."""

    name: str
    default: Any
    help: str
    kind: Any = click.IntRange(1)
    quick: Any = None
    """What `python -m bench all --quick` sets instead of the default."""
    multiple: bool = False


@dataclass(frozen=True)
class Profile:
    """One profile. Its module has a `run` that takes the options and gives an `Outcome`."""

    name: str
    title: str
    about: str
    """What it measures, in a sentence or two: the help, and "how it was measured" in the report."""
    options: tuple[Option, ...] = ()
    rounds: int = 0
    """The default of --rounds; 0 if it has none."""
    peers: tuple[str, ...] = ()
    """Which of --peers it knows."""
    place: bool = False
    """Whether it puts data on a disk."""
    file: str = ""
    """The file of `bench.profiles` where it is, if that cannot have its name."""

    @property
    def module(self) -> str:
        """Where it is."""
        return f"bench.profiles.{self.file or self.name}"

    def load(self) -> Callable[..., Outcome]:
        """Its `run`; `BenchError` if its module or something that it needs is not there."""
        try:
            run: Callable[..., Outcome] = importlib.import_module(self.module).run
        except (ImportError, AttributeError) as error:
            raise BenchError(f"the profile {self.name} cannot be loaded: {error}") from error
        return run

    def run(self, **given: Any) -> Outcome:
        """Run it with its options and whatever of the rest it takes."""
        run = self.load()
        taken = inspect.signature(run).parameters
        return run(**{name: value for name, value in given.items() if name in taken})

    def settings(self, *, quick: bool) -> dict[str, Any]:
        """The options as they are if nobody sets any."""
        found = {}
        for option in self.options:
            value = option.quick if quick and option.quick is not None else option.default
            found[option.name] = tuple(value) if option.multiple else value
        if self.rounds:
            found["rounds"] = min(self.rounds, 3) if quick else self.rounds
        return found
