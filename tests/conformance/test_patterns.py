"""Patterns match what they say, bind what they name, and say why something else does not match."""

from __future__ import annotations

from typing import Any

import pytest

from presenced.conformance.dialogue_files import Named
from presenced.conformance.message_types import digest, fault, filled
from presenced.conformance.patterns import made, message_mismatch, mismatch
from presenced.conformance.vector_files import vectors

MATCHING: list[tuple[Any, Any]] = [
    (1, 1),
    ([1, "a", None], [1, "a", None]),
    ({"any": True}, [1]),
    ({"least": 1}, 1),
    ({"least": 1, "most": 3}, 3),
    ({"one_of": [1, {"least": 7}]}, 9),
    ({"not": 1}, 2),
    ({"each": {"least": 1}, "most": 2}, [1, 2]),
    ({"each": {"any": True}}, []),
    ({"holds": [2, 1]}, [1, 3, 2]),
    ({"fields": {"a": 1}}, {"a": 1, "b": 2}),
    (["$x", "$x"], [5, 5]),
    ([{"as": "x", "is": {"least": 2}}, "$x"], [2, 2]),
    ({"digest_of": ["bob", "dnd", "in a meeting", "📅", 1767225600000, 0, "phone", 82]}, 3350514223),
]
DIFFERING: list[tuple[Any, Any]] = [
    (1, 2),
    (1, True),
    (0, False),
    (None, 0),
    ([1], [1, 2]),
    ([1, 2], [1]),
    ([1], "1"),
    ({"least": 1}, 0),
    ({"least": 0}, True),
    ({"least": 0}, "5"),
    ({"most": 3}, 4),
    ({"one_of": [1, 2]}, 3),
    ({"not": {"least": 0}}, 0),
    ({"each": {"least": 1}, "most": 1}, [1, 2]),
    ({"each": {"least": 1}, "least": 1}, []),
    ({"each": {"least": 1}}, [1, 0]),
    ({"holds": [1, 1]}, [1, 2]),
    ({"fields": {"a": 1}}, {"b": 1}),
    ({"fields": {"a": 1}}, None),
    (["$x", "$x"], [5, 6]),
    ([{"as": "x", "is": {"least": 2}}, "$x"], [2, 3]),
]


@pytest.mark.parametrize(("pattern", "value"), MATCHING)
def test_a_pattern_matches(pattern: Any, value: Any) -> None:
    assert mismatch(pattern, value, {}) == ""


@pytest.mark.parametrize(("pattern", "value"), DIFFERING)
def test_a_pattern_says_why_it_does_not_match(pattern: Any, value: Any) -> None:
    bound: dict[str, Any] = {}
    assert mismatch(pattern, value, bound)
    assert bound == {}, "what does not match binds nothing"


def test_a_rule_that_nobody_knows_is_an_error_of_the_script() -> None:
    with pytest.raises(ValueError):
        mismatch({"lest": 1}, 1, {})
    with pytest.raises(ValueError):
        message_mismatch(Named("Ping", {"ident": 1}), [4, 1], {})


def test_a_message_may_have_more_than_its_pattern_and_is_asked_by_name() -> None:
    assert message_mismatch([9, "$id", ["bob"]], [9, 5, ["bob"], None], bound := {}) == ""
    assert bound == {"id": 5}
    assert message_mismatch(Named("Watch", {"users": ["bob"]}), [9, 5, ["bob"], None], {}) == ""
    assert message_mismatch(Named("Watch", {"users": ["eve"]}), [9, 5, ["bob"], None], {})
    assert message_mismatch(Named("Unwatch", {}), [9, 5, ["bob"], None], {})


def test_templates_are_made_of_what_was_bound() -> None:
    record = ["bob", "online", "", "", 1, 0, "phone", 9]
    made_list = made(["$x", {"digest_of": "$r"}, {"checksum_of": ["$r", "$r"]}], {"x": 7, "r": record})
    assert made_list == [7, digest(record), 2 * digest(record) % 2**32]
    with pytest.raises(KeyError):
        made("$unknown", {})


def test_the_runner_fills_in_what_a_message_leaves_off_as_the_vectors_say() -> None:
    for case in vectors("messages").cases:
        count = len(case.means or case.json)
        assert filled(case.json)[:count] == (case.means or case.json), case.name


def test_the_runner_finds_fault_with_what_is_no_message_of_a_client() -> None:
    for case in vectors("messages").cases:
        assert bool(fault(case.json)) == (case.sender == "server"), case.name
    of_a_type = [
        case for case in vectors("refusals").cases if case.name.endswith(("of another type", "null", "missing"))
    ]
    assert len(of_a_type) > 300
    for case in of_a_type:
        if case.message is not None:
            assert fault(case.json), case.name
