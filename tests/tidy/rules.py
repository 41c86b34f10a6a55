"""The rules by which the tests judge the package and the bench."""

from __future__ import annotations

from tests.tidy.layers import bench_layering, circles, layering
from tests.tidy.names import files_are_nouns, one_meaning, same_meanings_are_needed
from tests.tidy.purity import core_is_synchronous, purity
from tests.tidy.shape import docstring, imports_at_the_top, no_swallowing, size
from tests.tidy.sources import WholeRule, for_each
from tests.tidy.state import owners, owners_are_needed, requests_write_nothing

RULES: list[WholeRule] = [
    for_each(layering),
    circles,
    for_each(purity),
    for_each(core_is_synchronous),
    for_each(no_swallowing),
    for_each(size),
    for_each(docstring),
    for_each(imports_at_the_top),
    for_each(requests_write_nothing),
    owners,
    owners_are_needed,
    one_meaning,
    same_meanings_are_needed,
    for_each(files_are_nouns),
]

BENCH_RULES: list[WholeRule] = [
    for_each(bench_layering),
    circles,
    for_each(no_swallowing),
    for_each(size),
    for_each(docstring),
    for_each(files_are_nouns),
]

OF_THE_TABLES = ("owners_are_needed", "same_meanings_are_needed")
"""Rules on the tables of the others: what a table excuses is there."""
