"""The repository keeps the rules."""

from __future__ import annotations

import pytest

from tests.tidy.names import nouns_are_needed
from tests.tidy.rules import BENCH_RULES, RULES
from tests.tidy.sources import BENCH, PACKAGE, WholeRule, sources


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_code_keeps(rule: WholeRule) -> None:
    complaints = [str(complaint) for complaint in rule(sources(PACKAGE))]
    assert not complaints, "\n" + "\n".join(complaints)


@pytest.mark.parametrize("rule", BENCH_RULES, ids=lambda rule: rule.__name__)
def test_the_bench_keeps(rule: WholeRule) -> None:
    complaints = [str(complaint) for complaint in rule(sources(BENCH))]
    assert not complaints, "\n" + "\n".join(complaints)


def test_each_noun_is_a_name_of_a_file() -> None:
    complaints = [str(complaint) for complaint in nouns_are_needed([*sources(PACKAGE), *sources(BENCH)])]
    assert not complaints, "\n" + "\n".join(complaints)
