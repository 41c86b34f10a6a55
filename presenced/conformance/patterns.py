"""Patterns for what comes, and templates for what is sent. Maps never occur in messages, so that a map in a pattern
of a message is a rule and no value.

| in a pattern | matches |
|---|---|
| `"$x"` | anything the first time, which is then x; after that what is equal to it |
| `{"any": true}` | anything |
| `{"least": 1, "most": 9}` | an integer within these bounds, either of which may be left out |
| `{"one_of": [...]}` | what matches one of these |
| `{"not": ...}` | what does not match |
| `{"as": "x", "is": ...}` | what matches, which is then x |
| `{"each": ..., "least": 1, "most": 9}` | a list each item of which matches, of so many |
| `{"holds": [...]}` | a list in which each of these is matched by another item |
| `{"fields": {...}}` | a map in which these fields match |
| anything else | what is equal; lists item by item. A message may have more items than its pattern |

| in a template | stands for |
|---|---|
| `"$x"` | x |
| `{"digest_of": record}`, `{"checksum_of": [record, ...]}` | protocol.md, sections 6.6 and 22.2 |
"""

from __future__ import annotations

from typing import Any, Final

from presenced.conformance.message_types import Elements, all_types, checksum, digest, name_of

Bound = dict[str, Any]
"""The variables of one dialogue."""

ANY: Final = {"any": True}


def mismatch(pattern: Any, value: Any, bound: Bound, *, is_prefix: bool = False) -> str:
    """Why `value` does not match, in words; empty if it does, and then the variables in it are in `bound`. With
    `is_prefix` a list may be longer than its pattern."""
    trial = dict(bound)
    why = _mismatch(pattern, value, trial, is_prefix)
    if not why:
        bound.update(trial)
    return why


def message_mismatch(pattern: Any, message: Elements, bound: Bound) -> str:
    """The same for a whole message, and a pattern that is a list or names fields."""
    if isinstance(pattern, list):
        return mismatch(pattern, message, bound, is_prefix=True)
    if name_of(message) != pattern.type:
        return f"it is no {pattern.type}"
    found = all_types()[pattern.type]
    named = {field.name: value for field, value in zip(found.fields, message[1:], strict=False)}
    unknown = pattern.fields.keys() - {field.name for field in found.fields}
    if unknown:
        raise ValueError(f"{pattern.type} has no field {unknown}")
    return mismatch({"fields": pattern.fields}, named, bound)


def _mismatch(pattern: Any, value: Any, bound: Bound, is_prefix: bool = False) -> str:
    if isinstance(pattern, str) and pattern.startswith("$"):
        expected = bound.setdefault(pattern[1:], value)
        return "" if _same(expected, value) else f"{value!r} is not {pattern}, which is {expected!r}"
    if isinstance(pattern, dict):
        return _rule(pattern, value, bound)
    if isinstance(pattern, list) and isinstance(value, list):
        if len(value) < len(pattern) or (len(value) > len(pattern) and not is_prefix):
            return f"{len(value)} items, not {len(pattern)}: {value!r}"
        return next(filter(None, (_mismatch(one, item, bound) for one, item in zip(pattern, value, strict=False))), "")
    return "" if _same(pattern, value) else f"{value!r} is not {pattern!r}"


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _rule(rule: dict[str, Any], value: Any, bound: Bound) -> str:
    match rule:
        case {"any": True}:
            return ""
        case {"one_of": options}:
            return _one_of(options, value, bound)
        case {"not": unwanted}:
            return "" if _mismatch(unwanted, value, dict(bound)) else f"{value!r} is what must not be: {unwanted!r}"
        case {"as": name, "is": inner}:
            why = _mismatch(inner, value, bound)
            return why or _mismatch(f"${name}", value, bound)
        case {"each": inner}:
            if not isinstance(value, list):
                return f"{value!r} is no list"
            why = _bounds(rule, len(value))
            return why or next(filter(None, (_mismatch(inner, item, bound) for item in value)), "")
        case {"holds": inners}:
            return _holds(inners, value, bound)
        case {"fields": fields}:
            if not isinstance(value, dict):
                return f"{value!r} is no map"
            each = ((name, _mismatch(inner, value.get(name), bound)) for name, inner in fields.items())
            return next((f"{name}: {why}" for name, why in each if why), "")
        case {"digest_of": _} | {"checksum_of": _}:
            return _mismatch(made(rule, bound), value, bound)
        case {"least": _} | {"most": _}:
            return _bounds(rule, value) if type(value) is int else f"{value!r} is no integer"
    raise ValueError(f"there is no rule {rule!r}")


def _one_of(options: list[Any], value: Any, bound: Bound) -> str:
    for option in options:
        trial = dict(bound)
        if not _mismatch(option, value, trial):
            bound.update(trial)
            return ""
    return f"{value!r} is none of {options!r}"


def _bounds(rule: dict[str, Any], number: int) -> str:
    if number < rule.get("least", number):
        return f"{number} is less than {rule['least']}"
    return f"{number} is more than {rule['most']}" if number > rule.get("most", number) else ""


def _holds(inners: list[Any], value: Any, bound: Bound) -> str:
    if not isinstance(value, list):
        return f"{value!r} is no list"
    left = list(value)
    for inner in inners:
        for item in left:
            trial = dict(bound)
            if not _mismatch(inner, item, trial):
                bound.update(trial)
                left.remove(item)
                break
        else:
            return f"{inner!r} is not in {value!r}"
    return ""


def made(template: Any, bound: Bound) -> Any:
    """The value of a template. Raises `KeyError` for a variable that nothing was bound to."""
    if isinstance(template, str) and template.startswith("$"):
        return bound[template[1:]]
    if isinstance(template, list):
        return [made(item, bound) for item in template]
    if not isinstance(template, dict):
        return template
    match template:
        case {"digest_of": record}:
            return digest(made(record, bound))
        case {"checksum_of": records}:
            return checksum(made(records, bound))
    return {name: made(item, bound) for name, item in template.items()}
