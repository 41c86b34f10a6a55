"""Other values for the bounds of `presenced.limits`, and the proof that the product takes notice of them.

Modules read a bound in two ways. `limits.NAME` inside a function is read each time it runs, so a value that is set
later counts. `from presenced.limits import NAME`, and `limits.NAME` in a default or at the top of a module, are read
once, at the import: a value counts there only if it is set before. A bound that nobody reads cannot be set at all.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

import pytest

from presenced import limits
from tests.support import REPOSITORY


class Readers(NamedTuple):
    """The modules that read one bound, as paths below the repository."""

    when_run: frozenset[str]
    at_import: frozenset[str]


def lower_in_process(monkeypatch: pytest.MonkeyPatch, **values: float) -> None:
    """Set bounds in this process for the length of a test. Raises `AssertionError` for a bound that some module has
    read already, since that module would keep the old value and say nothing."""
    for name, value in values.items():
        readers = _readers_of(name)
        assert not readers.at_import, f"limits.{name} is already bound in {', '.join(sorted(readers.at_import))}"
        monkeypatch.setattr(limits, name, value)


def can_be_lowered_late(values: Mapping[str, float]) -> bool:
    """Whether all readers of these bounds take notice of values that are set after the imports. Raises
    `AssertionError` for a bound that does not exist or that nobody reads."""
    return not any([_readers_of(name).at_import for name in values])


def statements(values: Mapping[str, float]) -> str:
    """Python that sets the bounds in a process that has not imported the product, or in any if
    `can_be_lowered_late`."""
    return "".join(f"import presenced.limits; presenced.limits.{name} = {value!r}\n" for name, value in values.items())


def _readers_of(name: str) -> Readers:
    assert hasattr(limits, name), f"there is no limits.{name}"
    found = _readers().get(name)
    assert found is not None, f"nobody reads limits.{name}, so that lowering it changes nothing"
    return found


@cache
def _readers() -> dict[str, Readers]:
    when_run: dict[str, set[str]] = {}
    at_import: dict[str, set[str]] = {}
    for path in sorted((REPOSITORY / "presenced").rglob("*.py")):
        place = str(path.relative_to(REPOSITORY))
        if place != "presenced/limits.py":
            for name, is_late in reads(ast.parse(path.read_text())):
                (when_run if is_late else at_import).setdefault(name, set()).add(place)
    return {
        name: Readers(frozenset(when_run.get(name, ())), frozenset(at_import.get(name, ())))
        for name in when_run | at_import
    }


def reads(tree: ast.AST, is_late: bool = False) -> Iterator[tuple[str, bool]]:
    """The bounds that a module reads, each with whether that happens when a function runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "presenced.limits":
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "limits":
            yield node.attr, is_late
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            body = node.body if isinstance(node.body, list) else [node.body]
            heads = [child for child in ast.iter_child_nodes(node) if child not in body]
            yield from reads(ast.Module(heads, []), is_late)  # type: ignore[arg-type]
            yield from reads(ast.Module(body, []), True)  # type: ignore[arg-type]
        else:
            yield from reads(node, is_late)
