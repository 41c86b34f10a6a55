"""The files that the rules judge, their imports, and what a rule answers."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "presenced"
BENCH = REPOSITORY / "bench"


class Source(NamedTuple):
    """One file: its path below the repository, its text and its tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def module(self) -> str:
        """The dotted name below `presenced` or `bench`: `core.engine`, `errors`, `__init__`."""
        parts = Path(self.path).with_suffix("").parts[1:]
        return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)

    @property
    def part(self) -> str:
        """The first word of `module`: the package, or the file if it is in none."""
        return self.module.split(".")[0]

    @property
    def prose(self) -> str:
        """The docstring of the module on one line."""
        return " ".join((ast.get_docstring(self.tree) or "").split())


class Complaint(NamedTuple):
    """A breach of a rule."""

    path: str
    line: int
    subject: str
    """What the breach is about: an attribute, a class; empty = the file."""
    why: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.why}"


FileRule = Callable[[Source], Iterator[tuple[int, str]]]
"""A rule that needs one file to judge it: lines and reasons."""

WholeRule = Callable[[Sequence[Source]], Iterator[Complaint]]
"""A rule that needs all files to judge one."""


def for_each(rule: FileRule) -> WholeRule:
    """The same rule, for all files."""

    def judge(sources: Sequence[Source]) -> Iterator[Complaint]:
        for source in sources:
            for line, why in rule(source):
                yield Complaint(source.path, line, "", why)

    judge.__name__ = rule.__name__
    return judge


def read(path: str, text: str) -> Source:
    return Source(path, text, ast.parse(text, path))


@cache
def sources(package: Path = PACKAGE) -> tuple[Source, ...]:
    """Every file of the package, in the order of paths."""
    return tuple(
        read(path.relative_to(REPOSITORY).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(package.rglob("*.py"))
    )


@cache
def walk(node: ast.AST) -> tuple[ast.AST, ...]:
    """As `ast.walk`, once for all rules: that is most of what they cost."""
    return tuple(ast.walk(node))


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything imported, wherever in the file."""
    for node in walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = [Path(source.path).parts[0], *source.module.split(".")]
                if not source.path.endswith("__init__.py"):
                    parts = parts[:-1]
                parts = parts[: len(parts) - node.level + 1]
                base = ".".join([*parts, base] if base else parts)
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def within(name: str, parts: tuple[str, ...]) -> bool:
    """Whether the module is one of these, or inside of one."""
    return any(name == part or name.startswith(part + ".") for part in parts)
