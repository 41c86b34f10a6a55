"""The repository keeps the rules, but for what it still owes."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.tidy.names import nouns_are_needed
from tests.tidy.owed import OWED
from tests.tidy.rules import BENCH_RULES, RULES
from tests.tidy.sources import BENCH, PACKAGE, Complaint, WholeRule, sources


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_code_keeps(rule: WholeRule) -> None:
    check(rule, rule(sources(PACKAGE)), "presenced", "tests")


@pytest.mark.parametrize("rule", BENCH_RULES, ids=lambda rule: rule.__name__)
def test_the_bench_keeps(rule: WholeRule) -> None:
    check(rule, rule(sources(BENCH)), "bench")


def test_each_noun_is_a_name_of_a_file() -> None:
    check(nouns_are_needed, nouns_are_needed([*sources(PACKAGE), *sources(BENCH)]), "tests")


def check(rule: WholeRule, complaints: Iterable[Complaint], *places: str) -> None:
    """Every breach is owed, and nothing is owed that is no breach any longer."""
    owed = {
        (path, subject)
        for path, subjects in OWED.get(rule.__name__, {}).items()
        if path.startswith(places)
        for subject in subjects.split()
    }
    found = {(complaint.path, complaint.subject or "file"): complaint for complaint in complaints}
    unpaid = [str(complaint) for key, complaint in found.items() if key not in owed]
    assert not unpaid, "\n" + "\n".join(unpaid)
    paid = [f"{path}: {subject}" for path, subject in sorted(owed - found.keys())]
    assert not paid, f"good: take these off {rule.__name__} in tests/tidy/owed.py:\n" + "\n".join(paid)
