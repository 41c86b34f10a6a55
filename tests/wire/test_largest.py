"""No message of the server can be longer than its frame may be: by the limits, added up, and by the longest values."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import inspect

from presenced import limits
from presenced.wire.codec import SERVER_MESSAGES, encode
from presenced.wire.messages import ContactInfo, Message, NextInfo, RouteInfo
from tests.wire.largest import LARGEST, LISTS, STRINGS, TEXTS
from tests.wire.strategies import fields_of


def longest(message: type[msgspec.Struct]) -> Any:
    """A message with the longest value in each field. The last field of a place decides which of a union's it is."""
    return message(**{field.name: _longest(field.type, message.__name__, field.name) for field in fields_of(message)})


def _longest(kind: inspect.Type, message: str, field: str) -> Any:
    match kind:
        case inspect.IntType():
            return 2**53
        case inspect.BoolType():
            return True
        case inspect.StrType():
            return "\U0001f334" * (TEXTS.get(f"{message}.{field}", STRINGS.get(field, 0)) // 4)
        case inspect.LiteralType(values=values):
            return max(values, key=lambda word: len(str(word)))
        case inspect.ListType(item_type=item):
            return [_longest(item, message, field)] * LISTS[f"{message}.{field}"]
        case inspect.StructType(cls=cls):
            return longest(cls)
        case inspect.UnionType(types=types):
            (inner,) = (part for part in types if not isinstance(part, inspect.NoneType))
            return _longest(inner, message, field)
        case _:
            raise AssertionError(f"{kind} is a new kind of field; teach it to the sums")


@pytest.mark.parametrize("message", SERVER_MESSAGES.values(), ids=lambda message: message.__name__)
def test_the_longest_of_each_message_fits_what_was_added_up_and_that_fits_a_frame(message: type[Message]) -> None:
    payload = encode(longest(message))
    assert len(payload) <= LARGEST[message] <= limits.SERVER_FRAME_BYTES_MAX
    assert LARGEST[message] - len(payload) < 64 + LARGEST[message] // 3, "the sum is no bound but a guess"


def test_every_bound_belongs_to_a_field() -> None:
    places = {
        f"{message.__name__}.{field.name}"
        for message in (*SERVER_MESSAGES.values(), ContactInfo, NextInfo, RouteInfo)
        for field in fields_of(message)
    }
    assert set(LISTS) | set(TEXTS) <= places
