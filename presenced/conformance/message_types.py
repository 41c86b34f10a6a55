"""What the runner knows of messages: the tables of `types.json`, and nothing of the code that it judges."""

from __future__ import annotations

from functools import cache
from typing import Any, Final
from zlib import crc32

from msgspec import UNSET

from presenced.conformance.vector_files import TypeVector, vectors

Elements = list[Any]

REQUEST_ID_MAX: Final = 4_294_967_295


@cache
def all_types() -> dict[str, TypeVector]:
    """The types of messages and of the values inside them, by name."""
    return {one.name: one for one in vectors("types").cases}


@cache
def _by_number() -> dict[int, TypeVector]:
    return {one.number: one for one in all_types().values() if one.number is not None}


def type_of(message: Elements) -> TypeVector | None:
    """The type of a message; None if nobody knows it."""
    return _by_number().get(message[0]) if message and type(message[0]) is int else None


def name_of(message: Elements) -> str:
    """The name of its type, or `?`."""
    found = type_of(message)
    return found.name if found is not None else "?"


def filled(message: Elements) -> Elements:
    """The message with the defaults of what its sender has left off."""
    found = type_of(message)
    if found is None:
        return message
    missing = found.fields[len(message) - 1 :]
    return [*message, *[None if field.default is UNSET else field.default for field in missing]]


def request_id(message: Elements) -> int:
    """The id of a request or a reply; 0 if it has none."""
    found = type_of(message)
    has_id = found is not None and bool(found.fields) and found.fields[0].name == "id"
    return message[1] if has_id and len(message) > 1 and type(message[1]) is int else 0


def fault(message: Any) -> str:
    """What is wrong with the form of a client's message (protocol.md, section 3); empty if nothing is."""
    if not isinstance(message, list) or not message or type(message[0]) is not int:
        return "it is not an array with an integer first"
    found = type_of(message)
    if found is None or found.sender != "client":
        return f"no client sends a message of type {message[0]}"
    required = sum(field.default is UNSET for field in found.fields)
    if len(message) <= required:
        return f"{found.name}: the field {found.fields[len(message) - 1].name} is missing"
    for field, value in zip(found.fields, message[1:], strict=False):
        if not _is_of(field.type, value):
            return f"{found.name}: {field.name} is {value!r}, and must be {field.type}"
    has_id = found.fields and found.fields[0].name == "id"
    if has_id and not 1 <= message[1] <= REQUEST_ID_MAX:
        return f"{found.name}: the id {message[1]} is out of range"
    return ""


_PLAIN: Final[dict[str, type]] = {"int": int, "string": str, "bool": bool}


def _is_of(kind: str, value: Any) -> bool:
    if kind.endswith(" or null"):
        return value is None or _is_of(kind.removesuffix(" or null"), value)
    if kind.startswith("list of "):
        return isinstance(value, list) and all(_is_of(kind.removeprefix("list of "), item) for item in value)
    if kind in _PLAIN:
        return type(value) is _PLAIN[kind]
    return isinstance(value, list)


def unseen(user: str) -> Elements:
    """The record of a user of whom nothing is known (section 6.3)."""
    return [user, "offline", "", "", 0, 0, "", 0]


def digest(record: Elements) -> int:
    """The digest of a record (section 6.6)."""
    if record[7] == 0 or record[1:7] == unseen("")[1:7]:
        return 0
    return crc32("\0".join(map(str, record[:7])).encode()) or 1


def checksum(records: list[Elements]) -> int:
    """The sum of the digests (section 22.2)."""
    return sum(map(digest, records)) % 2**32
