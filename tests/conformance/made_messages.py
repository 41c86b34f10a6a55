"""Messages that are right: the examples of protocol.md, and what section 3 says of what a reader must accept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.conformance.fields import Field, Kind, filled, kinds
from tests.conformance.packing import packed, wide
from tests.docs.document import EXAMPLES

Case = dict[str, Any]

NEWER = ["later", 0, [[None, True], []]]
"""What a later version may add at the end of a message."""


RESERVED = {("AddClaim", "source", "schedule"), ("AddClaim", "status", "offline")}
"""Words that are right, and that the server refuses beside the rest of the example (section 15.1)."""


def messages() -> Iterator[Case]:
    for kind in kinds():
        yield from _examples(kind)
        yield from _lengths(kind)
        yield from _bounds(kind)
    yield from _deep()


def case(kind: Kind, name: str, value: list[Any], *, section: str = "", payload: bytes | None = None) -> Case:
    sender = "client" if kind.is_clients else "server"
    head = {"name": f"{kind.name}: {name}", "section": section or kind.section, "message": kind.name, "sender": sender}
    means = filled(value, kind.fields)
    made = head | {"hex": (payload or packed(value)).hex(), "json": value}
    return made if means == value else made | {"means": means}


def _examples(kind: Kind) -> Iterator[Case]:
    mine = [one for one in EXAMPLES if one.value[0] == kind.number]
    for number, example in enumerate(mine, 1):
        yield case(kind, f"example {number}", example.value, section=example.section, payload=example.payload)


def _lengths(kind: Kind) -> Iterator[Case]:
    whole = kind.example
    yield case(kind, "every field", whole)
    if kind.required < len(kind.fields):
        yield case(kind, "every default left off", whole[: kind.required + 1], section="3")
    yield case(kind, "elements that nobody knows at the end", [*whole, *NEWER], section="3")
    yield case(kind, "the longest headers of MessagePack", whole, section="3", payload=wide(whole))


def _bounds(kind: Kind) -> Iterator[Case]:
    """Each number at both of its bounds, each word, null where it may be, the shortest and the longest list of numbers
    or names."""
    for at, field in enumerate(kind.fields, 1):
        for words, value in field_values(field):
            if (kind.name, field.name, words) in RESERVED:
                continue
            yield case(kind, f"{field.name} {words}", [*kind.example[:at], value, *kind.example[at + 1 :]])


def field_values(field: Field) -> Iterator[tuple[str, Any]]:
    if field.admits_null:
        yield "null", None
    if field.kind == "int" and field.name != "id" and field.low is not None:
        yield f"at least {field.low}", field.low
        yield f"at most {field.high}", field.high
    elif field.kind == "string":
        for word in field.words:
            yield word, word
    elif field.name == "beats":
        yield "with the bounds of idle times", [1, field.item_low, 2, field.item_high]


def _deep() -> Iterator[Case]:
    ping = next(kind for kind in kinds() if kind.name == "Ping")
    nested: Any = 0
    for _ in range(500):
        nested = [nested]
    yield case(ping, "an element that nobody knows, nested 500 deep", [4, 1, nested], section="3")
    for name, request_id in (("the lowest id", 1), ("the highest id", 4294967295)):
        yield case(ping, name, [4, request_id], section="4.2")
