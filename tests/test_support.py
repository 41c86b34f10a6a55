"""What holds for the tests themselves: they share by `support` alone, and a bound that a test lowers is one that the
product reads."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from presenced import limits
from tests.support import REPOSITORY, lowering


def imported(text: str) -> Iterator[str]:
    """The modules that a file imports, and what it imports of them as if it were a module as well."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_tests(text: str) -> list[str]:
    """The test modules and conftests among them."""
    found = [name for name in imported(text) if name.startswith("tests.")]
    return [name for name in found if name.rpartition(".")[2] == "conftest" or _is_test_file(name)]


def _is_test_file(name: str) -> bool:
    return name.rpartition(".")[2].startswith("test_") and (REPOSITORY / f"{name.replace('.', '/')}.py").exists()


def test_no_test_module_is_imported_by_another() -> None:
    """What two of them need stands in `support`, or in a module of their directory that holds no test: a change of one
    test does not reach into another file then, and a file runs alone."""
    for path in sorted((REPOSITORY / "tests").rglob("*.py")):
        assert not imported_tests(path.read_text()), path.relative_to(REPOSITORY)


@pytest.mark.parametrize(
    "line",
    [
        "from tests.ops.test_doctor import findings",
        "from tests.ops import test_doctor",
        "import tests.ops.test_doctor",
        "from tests.conftest import daemon",
        "def late():\n    from tests.ops.test_doctor import findings",
    ],
)
def test_an_import_of_a_test_is_seen(line: str) -> None:
    assert imported_tests(line)


def test_a_bound_is_lowered_where_its_readers_are_known() -> None:
    for path in sorted((REPOSITORY / "tests").rglob("*.py")):
        if path != REPOSITORY / "tests/support/lowering.py" and path != REPOSITORY / "tests/test_support.py":
            assert not re.search(r"setattr\(limits,|\blimits\.[A-Z_]+ = ", path.read_text()), path.name


def test_an_import_of_what_tests_share_is_allowed() -> None:
    assert not imported_tests("from tests.support.daemon import Daemon\nfrom tests.core.world import World")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from presenced.limits import NAME", [("NAME", False)]),
        ("LATER = 2 * limits.NAME", [("NAME", False)]),
        ("class Settings:\n    bound: int = limits.NAME", [("NAME", False)]),
        ("def f(bound=limits.NAME): pass", [("NAME", False)]),
        ("@cached(limits.NAME)\ndef f(): pass", [("NAME", False)]),
        ("def f():\n    return limits.NAME", [("NAME", True)]),
        ("class Link:\n    async def f(self):\n        return limits.NAME", [("NAME", True)]),
        ("f = lambda: limits.NAME", [("NAME", True)]),
        ("from presenced import limits", []),
    ],
)
def test_when_a_bound_is_read(text: str, expected: list[tuple[str, bool]]) -> None:
    assert list(lowering.reads(ast.parse(text))) == expected


def test_a_bound_that_nobody_reads_is_not_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "A_BOUND_OF_NOTHING", 1, raising=False)
    with pytest.raises(AssertionError, match="nobody reads limits.A_BOUND_OF_NOTHING"):
        lowering.can_be_lowered_late({"A_BOUND_OF_NOTHING": 2})
    with pytest.raises(AssertionError, match="there is no limits.MISSPELT"):
        lowering.can_be_lowered_late({"MISSPELT": 2})


def test_a_bound_that_a_module_has_read_is_not_lowered_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not lowering.can_be_lowered_late({"GRACE_MS": 1})
    with pytest.raises(AssertionError, match=r"limits.GRACE_MS is already bound in .*presenced/config/settings.py"):
        lowering.lower_in_process(monkeypatch, GRACE_MS=1)


def test_a_bound_that_is_read_when_it_counts_is_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lowering.can_be_lowered_late({"CLOSE_TIMEOUT_MS": 1})
    lowering.lower_in_process(monkeypatch, CLOSE_TIMEOUT_MS=1)
    assert limits.CLOSE_TIMEOUT_MS == 1
