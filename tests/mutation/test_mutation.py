"""The list of changes fits the code as it is, and the program tells a change that is noticed from one that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutation import __main__ as program
from tests.mutation.mutants import REPOSITORY, Mutant, applied, read


def test_every_change_of_the_list_can_be_made() -> None:
    for mutant in read():
        applied(mutant, (REPOSITORY / mutant.file).read_text())
        assert mutant.tests and mutant.consequence and mutant.old != mutant.new
        for test in mutant.tests:
            path, _, name = test.partition("::")
            assert (REPOSITORY / path).exists(), f"{mutant.title}: there is no {path}"
            assert name.rpartition("::")[2] in (REPOSITORY / path).read_text() if name else True, test


def test_one_that_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match="stands in it 0 times; correct the entry"):
        applied(Mutant("a.py", "x = 1", "x = 2", "nothing", ("tests",)), "y = 1\n")


@pytest.mark.parametrize(("new", "is_noticed"), [("return left - right", True), ("return right + left", False)])
def test_it_tells_what_is_noticed(tmp_path: Path, new: str, is_noticed: bool) -> None:
    (tmp_path / "sums.py").write_text("def total(left, right):\n    return left + right\n")
    (tmp_path / "test_sums.py").write_text("from sums import total\n\ndef test_total():\n    assert total(2, 3) == 5\n")
    mutant = Mutant("sums.py", "return left + right", new, "sums are wrong", ("test_sums.py",))
    assert program.notices(mutant, tmp_path) is is_noticed
    assert "left + right" in (tmp_path / "sums.py").read_text(), "the copy is as it was"
