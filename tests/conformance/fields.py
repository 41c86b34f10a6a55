"""What protocol.md says of the fields of a message, as values: types, defaults, bounds. It asks the document alone, so
that the vectors are of the protocol and not of this code."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from tests.docs.document import DOCUMENTED, EXAMPLES, SECTIONS, table

REQUIRED = object()
"""In place of a default, where a field has none."""

CLIENT_TYPES = frozenset({*range(1, 64), *range(128, 192)})
"""The numbers of messages that a client sends (section 3)."""


class Field(NamedTuple):
    name: str
    type: str
    default: Any
    words: tuple[str, ...]
    low: int | None
    high: int | None
    item_low: int | None
    item_high: int | None

    @property
    def admits_null(self) -> bool:
        return self.type.endswith(" or null")

    @property
    def kind(self) -> str:
        """`int`, `string`, `bool`, `list`, or the name of a value of section 14."""
        plain = self.type.removesuffix(" or null")
        return "list" if plain.startswith("list of ") else plain

    @property
    def item(self) -> str:
        """The type of the items of a list."""
        return self.type.partition("list of ")[2].removesuffix(" or null")


class Kind(NamedTuple):
    """A type of message, as the document describes it."""

    name: str
    number: int
    section: str
    fields: list[Field]
    example: list[Any]
    """The first example, with all fields."""

    @property
    def is_clients(self) -> bool:
        return self.number in CLIENT_TYPES

    @property
    def required(self) -> int:
        """How many fields have no default. They come first."""
        return sum(field.default is REQUIRED for field in self.fields)

    @property
    def has_id(self) -> bool:
        return bool(self.fields) and self.fields[0].name == "id"


def fields_of(section: str) -> list[Field]:
    return [_field(row) for row in table(SECTIONS[section].body, "#")]


def _field(row: dict[str, str]) -> Field:
    words = tuple(re.findall(r"`([^`]+)`", row["limit"]))
    each = re.search(r"each (-?\d+) to (-?\d+)", row["limit"])
    span = re.match(r"(-?\d+) to (-?\d+)", row["limit"])
    low, high = (int(span[1]), int(span[2])) if span else (None, None)
    item_low, item_high = (int(each[1]), int(each[2])) if each else (None, None)
    default = json.loads(row["default"].strip("`")) if row["default"] else REQUIRED
    return Field(row["field"].strip("`"), row["type"], default, words, low, high, item_low, item_high)


def kinds() -> list[Kind]:
    """Every type of message, in the order of the document."""
    found = []
    for name, (section, number) in DOCUMENTED.items():
        if number is None:
            continue
        fields = fields_of(section)
        example = next(one.value for one in EXAMPLES if one.value[0] == number)
        found.append(Kind(name, number, section, fields, filled(example, fields)))
    return found


def filled(value: list[Any], fields: list[Field]) -> list[Any]:
    """The message with the defaults of what it leaves off, and without what nobody knows."""
    missing = [field.default for field in fields[len(value) - 1 :]]
    assert REQUIRED not in missing, f"{value} leaves off a field that has no default"
    return [*value[: len(fields) + 1], *missing]


def inner(value: Any, kind: str) -> list[Field]:
    """The fields of a value that travels in a message: `record`, `contactentry`, ..."""
    named = {name.removesuffix("Info").lower(): section for name, (section, number) in DOCUMENTED.items() if not number}
    return fields_of(named[kind])
