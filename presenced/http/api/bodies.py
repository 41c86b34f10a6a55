"""Reads the body of a request: JSON in, the fields of a message out, and a sentence that names what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from presenced.errors import PresenceError, RequestError
from presenced.http.api.requests import ApiRequest
from presenced.wire.choices import with_choices
from presenced.wire.json_faults import json_fault

JSON_TYPE = "application/json"

_WRONG_CHARS_MAX = 200
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)


class UnsupportedType(PresenceError):
    """The body is not said to be JSON."""

    def __init__(self, said: str) -> None:
        what = f"is {said[:100]!r}" if said else "is missing"
        super().__init__(
            "unsupported_type", f"the Content-Type {what}; send {JSON_TYPE} (curl has --json for this), or no body"
        )


def read_body(request: ApiRequest, body: bytes, headers: Mapping[str, str]) -> Any:
    """What the body says, as `request.form`; an empty one says nothing. Raises `UnsupportedType` and `RequestError`
    (`bad_request`). O(bytes)."""
    if body:
        said = headers.get("content-type", "")
        if said != JSON_TYPE and not _is_json(said):
            # A page of a stranger can make a browser send a form or a text, but not JSON, without asking first.
            raise UnsupportedType(said)
    try:
        value = request.read(body or b"{}")
        if body.count(b":") > 1:
            # The decoder takes the last of several. A proxy or a log may have taken the first.
            json.loads(body, object_pairs_hook=_once_each)
    except _Twice as error:
        raise RequestError("bad_request", f"{request.name}: the field {error.name} stands twice") from None
    except Exception as error:
        # Catching broadly is right here: hostile bytes reach more than the decoder's own classes.
        raise RequestError("bad_request", f"{request.name}: {_sentence(error, request, body)}") from None
    return value


def _is_json(content_type: str) -> bool:
    kind, _, parameters = content_type.partition(";")
    charset = parameters.strip().lower().replace('"', "")
    return kind.strip().lower() == JSON_TYPE and charset in ("", "charset=utf-8")


class _Twice(Exception):
    def __init__(self, name: str) -> None:
        self.name = name[:40]


def _once_each(pairs: list[tuple[str, Any]]) -> None:
    names = {name for name, _ in pairs}
    if len(names) != len(pairs):
        seen: set[str] = set()
        raise _Twice(next(name for name, _ in pairs if name in seen or seen.add(name)))  # type: ignore[func-returns-value]


def _sentence(error: Exception, request: ApiRequest, body: bytes) -> str:
    if isinstance(error, RecursionError):
        return "the body is nested deeper than any request; send its fields and nothing else"
    if not isinstance(error, msgspec.ValidationError):
        return f"the body is not JSON in UTF-8: {json_fault(body, error)[:_WRONG_CHARS_MAX]}"
    # Of the sentence the field comes first: `Expected ... - at `$.users[0]`` becomes `users[0]: Expected ...`.
    what, _, place = str(error).rpartition(" - at `$")
    place = place.removesuffix("`").removeprefix(".") if what else ""
    what = what or str(error)
    if unknown := _UNKNOWN.fullmatch(what):
        fields = ", ".join(request.form.__struct_fields__)
        # Nobody else says what may stand inside of a value, which has a place.
        what = f"the field {unknown[1][:40]} is not known" + ("" if place else f"; there are {fields or 'none'}")
    elif missing := _MISSING.fullmatch(what):
        what = f"the field {missing[1]} is missing"
    elif place:
        what = with_choices(what, request.form, place)
    else:
        what = f"the body is no JSON object: {what}"
    return f"{place[:60]}: {what[:_WRONG_CHARS_MAX]}" if place else what[: _WRONG_CHARS_MAX + 100]
