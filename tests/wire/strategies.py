"""Valid and wrong messages, derived from the message types themselves: a new message is covered by existing."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

UINT_MAX = 2**63 - 1

WRONG_VALUES: dict[str, bytes] = {
    "null": b"\xc0",
    "true": b"\xc3",
    "a float": b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00",
    "a whole float32": b"\xca\x3f\x80\x00\x00",
    "nan": b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    "a map": b"\x81\xa1a\x01",
    "an ext": b"\xd4\x05\x00",
    "a timestamp": b"\xd6\xff\x00\x00\x00\x01",
    "bytes": b"\xc4\x02ab",
    "text that is not UTF-8": b"\xa2\xff\xfe",
    "half a surrogate pair": b"\xa3\xed\xa0\x80",
    "a huge integer": b"\xcf" + b"\xff" * 8,
    "a very negative integer": b"\xd3\x80" + b"\0" * 7,
    "a nested list": b"\x91\x91\x91\xc0",
    "a word": b"\xa7nothing",
    "an empty list": b"\x90",
    "a list of floats": b"\x91\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00",
    "zero": b"\x00",
}


def fields_of(message: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    info = inspect.type_info(message)
    assert isinstance(info, inspect.StructType)
    return info.fields


def values_of(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Every value that a field's type admits."""
    match kind:
        case inspect.IntType(ge=low, le=high):
            return st.integers(0 if low is None else low, UINT_MAX if high is None else high)
        case inspect.StrType():
            return st.text(max_size=40)
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case inspect.ListType(item_type=item, min_length=low, max_length=high):
            return st.lists(values_of(item), min_size=low or 0, max_size=min(high or 6, 6))
        case inspect.UnionType(types=types):
            return st.one_of(*map(values_of, types))
        case inspect.StructType(cls=cls):
            return messages_of(cls)
        case _:
            raise AssertionError(f"{kind} is a new kind of field; teach it to the tests")


def messages_of(message: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    return st.builds(message, **{field.name: values_of(field.type) for field in fields_of(message)})


def plain(value: Any) -> Any:
    """A message as the lists and scalars that another language's codec sees. Only the outermost has a type."""
    if isinstance(value, msgspec.Struct):
        fields = [plain(getattr(value, name)) for name in value.__struct_fields__]
        tag = value.__struct_config__.tag
        return fields if tag is None else [tag, *fields]
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def admits(kind: inspect.Type, word: str) -> bool:
    """Whether the wrong value called `word` happens to be a right one for this type."""
    match kind:
        case inspect.UnionType(types=types):
            return any(admits(one, word) for one in types)
        case inspect.NoneType():
            return word == "null"
        case inspect.StrType():
            return word == "a word"
        case inspect.BoolType():
            return word == "true"
        case inspect.ListType(min_length=low):
            return word == "an empty list" and not low
        case inspect.IntType(ge=low, le=high):
            return word == "zero" and (low is None or low <= 0) and (high is None or high >= 0)
        case _:
            return False
