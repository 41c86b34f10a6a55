"""What the server has to refuse of one payload, and with which code (protocol.md, section 3 and the tables of fields).

A payload in the state `open` comes after the welcome, on a link of the role `service`, which no request is forbidden.
One in the state `new` is the first of its link.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgpack

from tests.conformance.fields import Field, Kind, kinds
from tests.conformance.packing import packed

Case = dict[str, Any]

WRONG = {"int": "1", "string": 5, "bool": 1, "list": "x"}
"""For each type, something of another."""


def refusals() -> Iterator[Case]:
    for kind in kinds():
        if kind.is_clients:
            yield from _missing(kind)
            for at, field in enumerate(kind.fields, 1):
                yield from _fields(kind, at, field)
    yield from _types()
    yield from _no_messages()
    yield from _first_messages()


def _case(kind: Kind, name: str, value: list[Any], *, section: str = "", payload: bytes | None = None) -> Case:
    """A message of which a field is wrong."""
    request_id = value[1] if kind.has_id and len(value) > 1 and _is_id(value[1]) else 0
    owed: dict[str, Any] = {"error": [request_id, "bad_request"]}
    if kind.name == "Hello":
        owed = {"goodbye": "bad_hello"}
    return {
        "name": f"{kind.name}: {name}",
        "section": section or kind.section,
        "message": kind.name,
        "state": "new" if kind.name == "Hello" else "open",
        "hex": (payload or packed(value)).hex(),
        "json": None if payload else value,
        "owed": owed,
    }


def _is_id(value: Any) -> bool:
    return type(value) is int and 1 <= value <= 4294967295


def _missing(kind: Kind) -> Iterator[Case]:
    for count in range(kind.required):
        name = f"{kind.fields[count].name} and what is behind it missing"
        yield _case(kind, name, kind.example[: count + 1], section="3")


def _fields(kind: Kind, at: int, field: Field) -> Iterator[Case]:
    def with_value(name: str, value: Any, payload: bytes | None = None) -> Case:
        whole = [*kind.example[:at], value, *kind.example[at + 1 :]]
        return _case(kind, f"{field.name} {name}", whole, payload=payload)

    yield with_value("of another type", WRONG[field.kind])
    if not field.admits_null:
        yield with_value("null", None)
    if field.kind == "int" and field.low is not None and field.high is not None:
        yield with_value("below its bound", field.low - 1)
        yield with_value("above its bound", field.high + 1)
        # 5.0 is a number of another type than 5 (section 10.2); text forms cannot tell them apart.
        floating = b"\xcb" + struct.pack(">d", float(max(field.low, 1)))
        pieces = [floating if number == at else packed(value) for number, value in enumerate(kind.example)]
        payload = msgpack.Packer().pack_array_header(len(pieces)) + b"".join(pieces)
        yield with_value("a float", None, payload=payload)
    if field.kind == "string" and field.words:
        yield with_value("an unknown word", "nonsense")
        yield with_value("empty", "")
    if field.kind == "list":
        yield with_value("with an item of another type", [WRONG.get(field.item, 5)])
        if field.low is not None and field.low > 0:
            yield with_value("with too few items", [])
        if field.item in ("int", "string") and field.high is not None and field.high <= 1000:
            item = "a" if field.item == "string" else 1
            yield with_value("with too many items", [item] * (field.high + 1))
        if field.item_low is not None and field.item_high is not None:
            yield with_value("with an item below its bound", [field.item_low - 1])
            yield with_value("with an item above its bound", [field.item_high + 1])


def _open(name: str, section: str, value: Any, owed: dict[str, Any], payload: bytes | None = None) -> Case:
    return {
        "name": name,
        "section": section,
        "message": None,
        "state": "open",
        "hex": (payload or packed(value)).hex(),
        "json": None if payload else value,
        "owed": owed,
    }


def _types() -> Iterator[Case]:
    for number in (0, 191, 1000, -1, 2**53):
        yield _open(f"type {number}, which does not exist", "3", [number, 7], {"error": [7, "unknown_type"]})
    for kind in kinds():
        if not kind.is_clients:
            value = kind.example
            owed = {"error": [value[1] if _is_id(value[1]) else 0, "unknown_type"]}
            yield _open(f"{kind.name}, which is not a client's to send", "3", value, owed)
    yield _open("an unknown type alone", "3", [191], {"error": [0, "unknown_type"]})
    yield _open("an unknown type and no id", "3", [191, "x"], {"error": [0, "unknown_type"]})
    yield _open("an unknown type and an id out of range", "3", [191, 0], {"error": [0, "unknown_type"]})
    yield _open("a second hello", "5.1", [1, [1], "", "alice", "laptop"], {"error": [0, "hello_repeated"]})
    focus = [63, 17, 5]
    yield _open("Focus: what stands where others have an id", "13.67", focus, {"error": [0, "bad_request"]})
    nested: Any = b"\x00"
    for _ in range(5000):
        nested = b"\x91" + nested
    yield _open("nested deeper than anything", "3", None, {"error": [7, "bad_request"]}, b"\x93\x04\x07" + nested)


def _no_messages() -> Iterator[Case]:
    """Payloads that are not one array with an integer first: the link is closed."""
    payloads: list[tuple[str, Any, bytes | None]] = [
        ("a number", 5, None),
        ("a string", "ping", None),
        ("null", None, None),
        ("a map", {"type": 4, "id": 1}, None),
        ("an empty array", [], None),
        ("an array with a string first", ["ping", 1], None),
        ("an array with null first", [None, 1], None),
        ("an array with an array first", [[4], 1], None),
        ("an array with a float first", None, b"\x92\xcb" + struct.pack(">d", 4.0) + b"\x01"),
        ("an array with a boolean first", [True, 1], None),
        ("an array that is cut off", None, b"\x92\x04"),
        ("two arrays", None, b"\x92\x04\x01\x92\x04\x02"),
        ("bytes behind an array", None, b"\x92\x04\x01\x00"),
        ("a byte that MessagePack does not use", None, b"\xc1"),
        ("text of HTTP", None, b"GET / HTTP/1.1\r\n\r\n"),
        ("text of JSON", None, b"[4, 1]"),
    ]
    for name, value, payload in payloads:
        yield _open(name, "3", value, {"goodbye": "bad_frame"}, payload)


def _first_messages() -> Iterator[Case]:
    def new(name: str, section: str, value: Any, code: str) -> Case:
        return _open(name, section, value, {"goodbye": code}) | {"state": "new"}

    for kind in kinds():
        if kind.is_clients and kind.name != "Hello":
            yield new(f"{kind.name} before hello", "4", kind.example, "hello_required")
    yield new("an unknown type before hello", "4", [191, 1], "hello_required")
    yield new("a version that nobody speaks", "4.1", [1, [65535], "", "alice", "laptop"], "bad_version")
    yield new("a user without a device", "5.1", [1, [1], "", "alice", ""], "bad_hello")
    yield new("neither user nor token", "5.1", [1, [1], "", "", "laptop"], "bad_hello")
    yield new("a user whose name has a space", "5.1", [1, [1], "", "al ice", "laptop"], "bad_hello")
    yield new("a device whose name has a slash", "5.1", [1, [1], "", "alice", "lap/top"], "bad_hello")
    yield new("a kind of 65 bytes", "5.1", [1, [1], "", "alice", "laptop", "k" * 65], "bad_hello")
