"""The words that a field may have, for whoever sent another. Pure."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args, get_origin

import msgspec

_QUOTED_CHARS_MAX = 40

_NO_CHOICE = re.compile(r"Invalid enum value (.*)", re.DOTALL)


def with_choices(wrong: str, form: type[msgspec.Struct], field: str) -> str:
    """msgspec's sentence about a field of `form`, with the words that there are if the one that was sent is none of
    them. The sender's word is cut. O(fields)."""
    found = _NO_CHOICE.fullmatch(wrong)
    words = _words(form, field) if found is not None else []
    if found is None or not words:
        return wrong
    word = found[1] if len(found[1]) <= _QUOTED_CHARS_MAX else f"{found[1][:_QUOTED_CHARS_MAX]}...'"
    return f"Invalid enum value {word}; there are {', '.join(words)}"


def _words(form: type[msgspec.Struct], field: str) -> list[str]:
    types = [one.type for one in msgspec.structs.fields(form) if one.name == field]
    return [str(word) for one in types for word in _literals(one)]


def _literals(kind: Any) -> list[Any]:
    if get_origin(kind) is Literal:
        return [*get_args(kind)]
    return [word for one in get_args(kind) for word in _literals(one)]
