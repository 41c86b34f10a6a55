"""Each kind of value: what is read, what is refused with which words, and that what is written is read back."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, strategies as st

from presenced.config.durability import Durability
from presenced.config.faults import SettingsError, did_you_mean, printable, quoted, shown
from presenced.config.hosts import parse_address
from presenced.config.kinds import (
    Address,
    Bool,
    Choice,
    Choices,
    DurabilityText,
    Duration,
    Fault,
    Int,
    Mode,
    Path,
    Size,
    Text,
    ValueKind,
    exact_duration,
)
from presenced.config.times_by_kind import Graces, IdleTimes
from presenced.durations import parse_duration_ms
from presenced.limits import DURATION_MS_MAX

READ: list[tuple[ValueKind, object, object]] = [
    (Bool(), True, True),
    (Int(0, 9), 9, 9),
    (Int(0, 9, otherwise="auto"), "auto", None),
    (Duration(0), "1h30m", 5_400_000),
    (Duration(0), 0, 0),
    (Duration(0), "0", 0),
    (Duration(10, zero=True), 0, 0),
    (Size(1, 1 << 40, "1MiB"), "64MiB", 64 << 20),
    (Size(1, 1 << 40, "1MiB"), "64 KiB", 64 << 10),
    (Size(1, 1 << 40, "1MiB"), "7B", 7),
    (Size(1, 1 << 50, "1MiB"), "1000000000000001B", 1_000_000_000_000_001),
    (Size(0, 9, "1B"), 0, 0),
    (Size(5, 9, "6B", zero=True), 0, 0),
    (Size(5, 9, "6B", otherwise="auto"), "auto", None),
    (Size(5, 9, "6B", otherwise="auto"), "7B", 7),
    (Choice("a", "b"), "b", "b"),
    (Choices("a", "b"), ["b", "a", "b"], ("b", "a")),
    (Choices("a", "b"), [], ()),
    (DurabilityText(), "interval=1s", "interval=1s"),
    (Mode(), "0640", 0o640),
    (Mode(), "640", 0o640),
    (Path(), "", ""),
    (Path(), "/a b/\u00e9", "/a b/\u00e9"),
    (Path(credential=True), "credential:x", "credential:x"),
    (Address(), "[::1]:5250", "[::1]:5250"),
    (Address(), "host:0", "host:0"),
    (Address(optional=True), "", ""),
]

REFUSED: list[tuple[ValueKind, object, str]] = [
    (Bool(), 1, "neither true nor false"),
    (Bool(), "true", "neither true nor false"),
    (Int(0, 9), 10, "out of range"),
    (Int(0, 9), -1, "out of range"),
    (Int(0, 9), True, "not a whole number"),
    (Int(0, 9), 1.0, "not a whole number"),
    (Int(0, 9), "1", "not a whole number"),
    (Int(0, 9), "auto", "not a whole number"),
    (Duration(0), 30, "has no unit"),
    (Duration(0), "30", "has no unit"),
    (Duration(0), True, "is not text in quotes"),
    (Duration(0), False, "is not text in quotes"),
    (Duration(0), 0.0, "is not text in quotes"),
    (Duration(0), "soon", "is not a duration"),
    (Duration(0), "367d", "is not a duration of at most 366 days"),
    (Duration(10), "9ms", "out of range"),
    (Duration(10), 0, "out of range"),
    (Duration(10, 20), "21ms", "out of range"),
    (Duration(10, zero=True), "9ms", "out of range"),
    (Size(1, 9, "1B"), 5, "has no unit"),
    (Size(1, 9, "1B"), "5", "has no unit"),
    (Size(1, 9, "1B"), "5MB", "not a size in B, KiB"),
    (Size(1, 9, "1B"), "5 mib", "not a size in B, KiB"),
    (Size(1, 9, "1B"), "1KiB", "out of range"),
    (Size(1, 9, "1B"), "auto", "not a size"),
    (Size(5, 9, "6B", zero=True, otherwise="auto"), "4B", "out of range"),
    (Size(1, 9, "1B"), "-1B", "not a size"),
    (Size(1, 9, "1B"), "9" * 400 + "B", "not a size"),
    (Choice("warning", "error"), "warn", "did you mean warning?"),
    (Choice("warning", "error"), "x", "none of the choices"),
    (Choice("warning", "error"), 3, "not text in quotes"),
    (Choices("a", "b"), "a", "not a list of the choices"),
    (Choices("a", "b"), ["a", 3], "not a list of the choices"),
    (Choices("a", "b"), ["a", "c"], "none of the choices"),
    (DurabilityText(), "always=", "none of the policies"),
    (DurabilityText(), "interval=0", "none of the policies"),
    (DurabilityText(), "interval=2h", "none of the policies"),
    (DurabilityText(), "interval=1h1ms", "none of the policies"),
    (Mode(), 0o660, "not text in quotes"),
    (Mode(), "0888", "not the mode"),
    (Mode(), "1777", "not the mode"),
    (Path(), 3, "not text in quotes"),
    (Path(), "a\nb", "cannot be printed"),
    (Path(), "a\0b", "cannot be printed"),
    (Path(bytes_max=107), "\u00e9" * 54, "has 108 bytes, more than 107"),
    (Path(), "credential:x", "is a credential"),
    (Text("text", 9), "\udcff", "not valid UTF-8"),
    (Address(), "", "not HOST:PORT"),
    (Address(), "host", "not HOST:PORT"),
    (Address(), ":1", "not HOST:PORT"),
    (Address(), "h:65536", "a port above 65535"),
    (Address(), "h:\u0663", "not HOST:PORT"),
    (Address(), "h:" + "0" * 5000, "not HOST:PORT"),
    (Address(), "http://h:1", "not HOST:PORT"),
    (Address(), "a b:1", "not HOST:PORT"),
]


@pytest.mark.parametrize(("kind", "given", "value"), READ)
def test_what_is_read(kind: ValueKind, given: object, value: object) -> None:
    assert kind.read(given) == value
    assert type(kind.read(given)) is type(value)
    kind.check(value)


@pytest.mark.parametrize(("kind", "given", "why"), REFUSED)
def test_what_is_refused(kind: ValueKind, given: object, why: str) -> None:
    with pytest.raises(Fault, match=why.replace("?", r"\?")):
        kind.read(given)
    assert kind.allowed


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Bool(), "Yes", True),
        (Bool(), "off", False),
        (Bool(), " 1 ", True),
        (Int(0, 9), " 7 ", 7),
        (Int(0, 9, otherwise="auto"), "auto", None),
        (Duration(0), " 5s ", 5_000),
        (Size(1, 99, "1B"), " 5B ", 5),
        (IdleTimes(), "tv=1h,0; mobile = 10m, 60s;", ("mobile=10m,1m", "tv=1h,0")),
        (IdleTimes(), "", ()),
        (Graces(), "tv=0; mobile = 120s;", ("mobile=2m", "tv=0")),
        (Choices("a", "b"), " b, a,", ("b", "a")),
        (Choices("a", "b"), "", ()),
    ],
)
def test_variables(kind: ValueKind, text: str, value: object) -> None:
    assert kind.read_text(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        (Bool(), "maybe", "neither"),
        (Bool(), "", "neither"),
        (Int(0, 9), "1.0", "not a whole number"),
        (Int(0, 9), "\u0663", "not a whole number"),
        (Int(0, 9), "9" * 5000, "not a whole number"),
        (Int(0, 9), "1_0", "not a whole number"),
        (IdleTimes(), "mobile", "not two durations"),
        (IdleTimes(), "=1s,1s", "kind that cannot be written"),
        (IdleTimes(), "a=1s,x", "not a duration"),
        (IdleTimes(), "a=1,0", "has no unit"),
        (Graces(), "a=10", "has no unit"),
        (Graces(), "a=1s,1s", "not a duration"),
        (Graces(), "=1s", "kind that cannot be written"),
        (IdleTimes(), "x" * 65 + "=1s,1s", "no device can have"),
        (IdleTimes(), "a\nb=1s,1s", "no device can have"),
    ],
)
def test_variables_that_are_refused(kind: ValueKind, text: str, why: str) -> None:
    with pytest.raises(Fault, match=why):
        kind.read_text(text)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Bool(), 1),
        (Int(0, 9), None),
        (Duration(0), "5s"),
        (Duration(0), True),
        (Size(1, 9, "1B"), 1.5),
        (Choice("a", "b"), []),
        (Choices("a", "b"), ["a"]),
        (Choices("a", "b"), ("a", "a")),
        (Choices("a", "b"), (3,)),
        (DurabilityText(), None),
        (Mode(), "0660"),
        (Mode(), 0o1777),
        (Path(), None),
        (Address(), 3),
        (IdleTimes(), ["a=1s,0"]),
        (IdleTimes(), (3,)),
        (IdleTimes(), ("a",)),
        (Graces(), ("a",)),
    ],
)
def test_values_of_the_wrong_type(kind: ValueKind, value: Any) -> None:
    """Options and programs give values directly."""
    with pytest.raises(Fault):
        kind.check(value)


ODD = "ab/:= \"\\'\n\r\t\x00\x1b\x7f\u00e9\u2028\ue000\U0001f600"
"""Letters, what needs an escape, and what lies beyond ASCII and beyond 16 bits."""

KINDS = st.sampled_from(
    [
        (Duration(0), st.integers(0, DURATION_MS_MAX)),
        (Size(1, 1 << 40, "1B"), st.integers(1, 1 << 40)),
        (Int(-5, 5, otherwise="auto"), st.none() | st.integers(-5, 5)),
        (Mode(), st.integers(0, 0o777)),
        (Bool(), st.booleans()),
        (Path(), st.text(ODD, max_size=40)),
        (Choices("a", "b", "c"), st.lists(st.sampled_from("abc"), unique=True).map(tuple)),
    ]
)


@given(KINDS.flatmap(lambda pair: st.tuples(st.just(pair[0]), pair[1])))
def test_what_is_written_is_read_back(made: tuple[ValueKind, Any]) -> None:
    kind, value = made
    try:
        kind.check(value)
    except Fault:
        return
    assert kind.read_text(kind.text(value)) == value
    assert kind.read(tomllib.loads(f"k = {kind.toml(value)}")["k"]) == value


@given(st.integers(0, DURATION_MS_MAX))
def test_a_duration_loses_nothing(duration_ms: int) -> None:
    assert parse_duration_ms(exact_duration(duration_ms)) == duration_ms


@given(st.text(ODD))
def test_quoted_text_is_toml_on_one_line(text: str) -> None:
    assert quoted(text).isprintable()
    assert tomllib.loads(f"k = {quoted(text)}")["k"] == text


@given(
    st.recursive(st.none() | st.integers() | st.floats() | st.text(ODD), lambda inner: st.lists(inner), max_leaves=5)
)
def test_shown_values_fit_on_a_line(value: object) -> None:
    assert len(shown(value)) <= 60
    assert shown(value).isprintable()


def test_names_are_shown_as_they_are_if_they_can_be() -> None:
    assert [printable(word) for word in ("a.b", "", "\u00e9", "a\nb", "\udcff")] == [
        "a.b",
        '""',
        "\u00e9",
        '"a\\nb"',
        '"\\udcff"',
    ]


def test_near_words() -> None:
    assert did_you_mean("adress", ["address", "rate"]) == "address"
    assert did_you_mean("xyz", ["address", "rate"]) == ""


def test_an_address_in_its_parts() -> None:
    assert parse_address("[::1]:70") == ("::1", 70)
    assert parse_address("example.org:0") == ("example.org", 0)


def test_a_durability() -> None:
    assert Durability.parse("interval=1s") == Durability("interval", 1_000)
    assert Durability.parse("interval=1h") == Durability("interval", 3_600_000), "the longest"
    with pytest.raises(SettingsError, match="none of always"):
        Durability.parse("sometimes")
