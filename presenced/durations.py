"""Durations as people write them on a command line: `90s`, `1h30m`, `200ms`, `2d`. Pure.

A number without a unit is refused (is `--for 30` half a minute or half an hour?), except 0, which is the same in
every unit. Units go from large to small, each at most once, so that a slip of the keyboard is not obeyed.
"""

from __future__ import annotations

import re

from presenced.limits import DURATION_MS_MAX

_UNITS_MS = {
    "w": 7 * 24 * 3600 * 1000,
    "d": 24 * 3600 * 1000,
    "h": 3600 * 1000,
    "m": 60 * 1000,
    "s": 1000,
    "ms": 1,
}
_SHAPE = re.compile(r"(?:[0-9]{1,18}(?:ms|[wdhms]))+")
_PART = re.compile(r"([0-9]+)(ms|[wdhms])")
_ADVICE = "write it like 30m, 1h30m, 90s, 2d or 200ms"


def parse_duration_ms(text: str) -> int:
    """Milliseconds of `text`, 0 to 366 days; raises `ValueError` with a sentence that says what to write."""
    text = text.strip()
    if text == "0":
        return 0
    if text.isascii() and text.isdigit():
        raise ValueError(f"the duration {text!r} has no unit; {_ADVICE}")
    if not _SHAPE.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration; {_ADVICE}")
    parts = [(int(number), _UNITS_MS[unit]) for number, unit in _PART.findall(text)]
    units_ms = [unit_ms for _, unit_ms in parts]
    if any(later >= earlier for earlier, later in zip(units_ms, units_ms[1:], strict=False)):
        raise ValueError(f"the units of {text!r} do not go from large to small; {_ADVICE}")
    total_ms = sum(number * unit_ms for number, unit_ms in parts)
    if total_ms > DURATION_MS_MAX:
        raise ValueError(f"the duration {text!r} is longer than 366 days; give a shorter one")
    return total_ms


def parse_span_ms(text: str) -> int:
    """As `parse_duration_ms`, for what has to hold for a while: zero is refused, and not taken for ever."""
    span_ms = parse_duration_ms(text)
    if not span_ms:
        raise ValueError(f"the duration {text.strip()!r} is no time at all; give a longer one such as 30m, or none")
    return span_ms


def format_duration(duration_ms: int) -> str:
    """The largest whole unit or two, for people: `1h30m`, `45s`, `200ms`."""
    parts: list[str] = []
    rest_ms = duration_ms
    for unit, unit_ms in _UNITS_MS.items():
        count, rest_ms = divmod(rest_ms, unit_ms)
        if count:
            parts.append(f"{count}{unit}")
        if len(parts) == 2 or (parts and rest_ms == 0):
            break
    return "".join(parts) or "0s"
