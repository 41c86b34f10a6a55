"""What a token lets a link see and do: patterns against an obvious twin of them, and what a wrong claim is told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from presenced.core.pattern_index import PatternIndex
from presenced.core.rights import EVERYBODY, NOBODY, Patterns, Rights, compiled, rights_of
from presenced.limits import NAME_BYTES_MAX, PATTERNS_MAX
from presenced.wire.messages import Role
from tests.support.tiers import samples

LETTERS = "ab@\u00e9\u4e16\U0001f600"
"""Few, so that names and patterns meet; of one to four bytes each."""

pieces = st.text(LETTERS, min_size=1, max_size=5)
parts = st.text(LETTERS.replace("@", ""), min_size=1, max_size=3)
patterns = st.one_of(st.just("*"), pieces, pieces.map(lambda text: text + "*"), parts.map(lambda text: "*@" + text))


def matches(pattern: str, name: str) -> bool:
    """The words of protocol.md, 1.4, for one pattern."""
    if pattern == "*":
        return True
    if pattern.startswith("*@"):
        return name.endswith(pattern[1:])
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


@settings(max_examples=samples(400))
@given(st.lists(patterns, max_size=6), st.lists(pieces, min_size=1, max_size=20))
def test_a_list_matches_what_one_of_its_patterns_does(listed: list[str], names: list[str]) -> None:
    made = compiled(listed)
    assert [made.match(name) for name in names] == [any(matches(one, name) for one in listed) for name in names]
    assert compiled(reversed(listed)) == made and hash(compiled(reversed(listed))) == hash(made)
    for prefix in made.prefixes:
        assert not any(other.startswith(prefix) for other in made.prefixes if other != prefix)
    for name in made.names:
        assert not name.startswith(made.prefixes) and not name.endswith(made.endings)


@given(st.lists(patterns, max_size=4), st.lists(patterns, max_size=4), st.lists(pieces, min_size=1, max_size=20))
def test_a_list_that_covers_another_matches_what_that_does(more: list[str], less: list[str], names: list[str]) -> None:
    wide, narrow = compiled(more), compiled(less)
    assert compiled([*more, *less]).covers(narrow) and wide.covers(wide)
    if wide.covers(narrow):
        assert all(wide.match(name) for name in [*names, *less] if narrow.match(name))


@pytest.mark.parametrize(
    "more, less, covers",
    [
        (["*"], ["bob", "v*", "*@acme"], True), (["v*"], ["*"], False), (["v*"], ["vi*", "vip"], True),
        (["vi*"], ["v*"], False), (["*@acme"], ["bob@acme"], True), (["*@acme"], ["*@b"], False),
        (["*@acme"], ["b*"], False), (["bob"], ["b*"], False), (["bob"], [], True), ([], ["bob"], False),
    ],
)  # fmt: skip
def test_what_a_list_covers(more: list[str], less: list[str], covers: bool) -> None:
    assert compiled(more).covers(compiled(less)) == covers


def test_lists_that_say_the_same_are_equal() -> None:
    assert compiled(["*", "bob", "a*"]) == EVERYBODY and compiled([]) == NOBODY
    assert compiled(["al*", "alice", "alba*", "x@acme", "*@acme"]) == compiled(["*@acme", "al*"])


@pytest.mark.parametrize(
    ("pattern", "there", "not_there"),
    [
        ("bob", ["bob"], ["bobby", "Bob", "ob", "bo"]),
        ("bob*", ["bob", "bobby", "bob@acme"], ["bo", "xbob"]),
        ("*@acme", ["a@acme", "a@b@acme", "@acme"], ["a@acme@b", "acme", "a@xacme", "a@acme2", "a@b.acme"]),
        ("a@b@c", ["a@b@c"], ["a@c", "x@b@c"]),
        ("a@*", ["a@", "a@b", "a@b@c"], ["a", "b@a@"]),
        ("\u00fc*", ["\u00fc", "\u00fcber"], ["u\u0308ber", "u"]),
        ("*@\u4e16", ["x@\u4e16"], ["x@\u4e16\u4e16"]),
    ],
)
def test_a_pattern(pattern: str, there: list[str], not_there: list[str]) -> None:
    made = compiled([pattern])
    assert [name for name in [*there, *not_there] if made.match(name)] == there


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("", "is empty"),
        ("**", "a * stands where no pattern has one"),
        ("a*b", "a * stands where no pattern has one"),
        ("*b", "a * stands where no pattern has one"),
        ("*b*", "a * stands where no pattern has one"),
        ("*@a*", "a * stands where no pattern has one"),
        ("*@", "is empty"),
        ("*@a@b", "a @ stands where no pattern has one"),
        ("a b", "spaces"),
        ("a/b*", "slashes"),
        ("*@a\u200b", "U+200B"),
        ("u\u0308*", "NFC"),
        ("\ud800", "surrogate"),
        ("a" * (NAME_BYTES_MAX + 1), "longer than 128 bytes"),
    ],
)
def test_what_is_no_pattern(pattern: str, says: str) -> None:
    with pytest.raises(ValueError, match="^claim presence: see, pattern 2: ") as caught:
        rights_of({"see": ["a", pattern]}, "app", "service")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("claim", "role", "says"),
    [
        (None, "service", "is no object"),
        ([], "service", "is no object"),
        ("*", "user", "is no object"),
        ({"See": ["*"]}, "service", "has a key that is none of see, act"),
        ({"see": "*"}, "service", "see is no list"),
        ({"see": None}, "service", "see is no list"),
        ({"join": {"a": 1}}, "user", "join is no list"),
        ({"watch_channels": ["a", 5]}, "user", "watch_channels is no list of strings"),
        ({"act": ["bob", None]}, "service", "act is no list of strings"),
        ({"only_read": 1}, "user", "only_read is neither true nor false"),
        ({"only_read": None}, "user", "only_read is neither true nor false"),
        ({"act": []}, "user", "acts for its own user alone"),
        ({"act": ["bob"], "see": ["bob"]}, "user", "acts for its own user alone"),
        ({"see": ["a"] * (PATTERNS_MAX + 1)}, "service", "see has more than 64 patterns"),
    ],
)
def test_a_claim_that_is_refused(claim: Any, role: Role, says: str) -> None:
    with pytest.raises(ValueError, match="^claim presence") as caught:
        rights_of(claim, "ann", role)
    assert says in str(caught.value)


@pytest.mark.parametrize("role", ["service", "admin"])
@pytest.mark.parametrize(
    ("claim", "sees", "acts_for", "is_narrow"),
    [
        ({}, ["app", "bob", "eve"], ["app", "bob", "eve"], False),
        ({"only_read": True}, ["app", "bob", "eve"], ["app", "bob", "eve"], False),
        ({"see": ["bob"]}, ["app", "bob"], ["app", "bob"], True),
        ({"act": ["bob"]}, ["app", "bob"], ["app", "bob"], True),
        ({"see": ["*"], "act": ["bob"]}, ["app", "bob", "eve"], ["app", "bob"], False),
        ({"see": ["eve"], "act": ["b*"]}, ["app", "eve"], ["app", "bob"], True),
        ({"see": []}, ["app"], ["app"], True),
        ({"see": [], "act": ["*"]}, ["app"], ["app", "bob", "eve"], True),
        ({"see": [], "act": []}, ["app"], ["app"], True),
        ({"see": ["bob"] * PATTERNS_MAX}, ["app", "bob"], ["app", "bob"], True),
    ],
)
def test_what_a_service_may(
    claim: dict[str, Any], role: Role, sees: list[str], acts_for: list[str], is_narrow: bool
) -> None:
    rights = rights_of(claim, "app", role)
    assert [name for name in ("app", "bob", "eve") if rights.sees(name)] == sees
    assert [name for name in ("app", "bob", "eve") if rights.acts_for(name)] == acts_for
    assert rights.is_narrow == is_narrow and rights.only_read == ("only_read" in claim)


def test_what_a_user_may() -> None:
    rights = rights_of({"see": ["b*"], "join": ["room-*"], "watch_channels": ["*"]}, "ann", "user")
    assert rights.sees("bob") and not rights.sees("eve") and not rights.is_narrow
    assert not rights.acts_for("bob")
    assert rights.may_join("room-1") and not rights.may_join("hall") and rights.may_watch_channel("hall")
    none = rights_of({}, "ann", "user")
    assert not none.sees("bob") and not none.may_join("hall") and not none.may_watch_channel("hall")


def test_rights_that_say_the_same_are_equal() -> None:
    one = rights_of({"act": ["bob", "a*"]}, "app", "service")
    other = rights_of({"see": ["a*", "bob"], "act": ["bob", "a*", "al*"]}, "app", "service")
    assert one == other and hash(one) == hash(other) and isinstance(one, Rights)
    assert one.see == Patterns(names=frozenset({"bob", "app"}) - {"app"}, prefixes=("a",))


@settings(max_examples=samples(200))
@given(
    st.lists(st.tuples(st.integers(0, 5), st.lists(patterns, max_size=4) | st.none()), max_size=30),
    st.lists(pieces, min_size=1, max_size=10),
)
def test_those_who_see_a_name_are_found_as_by_asking_each(
    changes: list[tuple[int, list[str] | None]], names: list[str]
) -> None:
    index: PatternIndex[int] = PatternIndex()
    twin: dict[int, Patterns] = {}
    for item, listed in changes:
        index.remove(item)
        twin.pop(item, None)
        if listed is not None:
            twin[item] = compiled(listed)
            index.add(item, twin[item])
    assert index.all == twin
    for name in names:
        found = index.of(name)
        assert sorted(found) == sorted(item for item, one in twin.items() if one.match(name)), "each of them, and once"
        assert all(index.sees(item, name) == (item in found) for item in range(6))
    for item in twin:
        index.remove(item)
    assert not index._by_name and not index._by_ending and not index._others, "nothing is left of them"
