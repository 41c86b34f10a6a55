"""Which characters a name and a line of text may hold, and how text of other people is shown on a terminal. Pure.

The same for the server, its clients and its tools, whatever Unicode their interpreters know: all of them go by the
generated tables of `unicode_table`. A line of text may hold what is younger than these, a name may not.
"""

from __future__ import annotations

import re
from bisect import bisect_right

from presenced.unicode_table import NOT_IN_LINES, NOT_IN_NAMES

_TAGS = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")
"""The flag of a part of a country, such as Scotland: a black flag, the code in tags, the end of the tags. Tags anywhere
else are text that nobody sees."""
_FIRST_TAG, _LAST_TAG = 0xE0020, 0xE007F
_OPEN_ISOLATES = frozenset("\u2066\u2067\u2068")
_END_ISOLATE = "\u2069"
REPLACED = "\ufffd"


def refused_in_name(name: str) -> str:
    """The first character of `name` that no name may hold; empty if there is none. O(length)."""
    for character in name:
        if character == "/" or bisect_right(NOT_IN_NAMES, ord(character)) & 1:
            return character
    return ""


def refused_in_line(line: str) -> str:
    """The first character of `line` that no line of text may hold at its place; empty if there is none. O(length).

    An isolate of writing direction must be ended, and what is after the line must not be drawn into it; tags stand in
    flags only.
    """
    if line.isascii():
        return "" if line.isprintable() else next(filter(lambda character: not character.isprintable(), line))
    depth = 0
    opened = ""
    flags = [match.span() for match in _TAGS.finditer(line)] if "\U000e007f" in line else []
    for at, character in enumerate(line):
        if " " <= character <= "~":
            continue
        point = ord(character)
        if bisect_right(NOT_IN_LINES, point) & 1:
            return character
        if character in _OPEN_ISOLATES:
            depth, opened = depth + 1, character
        elif character == _END_ISOLATE:
            depth -= 1
        elif _FIRST_TAG <= point <= _LAST_TAG and not any(start < at < end for start, end in flags):
            return character
        if depth < 0:
            return character
    return opened if depth else ""


def printable(text: str) -> str:
    """`text` for a terminal: as it is if a line may hold it, else with what a terminal would obey, or nobody would see,
    replaced. O(length)."""
    if not refused_in_line(text):
        return text
    return "".join(REPLACED if _is_doubtful(character) else character for character in text)


def _is_doubtful(character: str) -> bool:
    point = ord(character)
    if character in _OPEN_ISOLATES or character == _END_ISOLATE or _FIRST_TAG <= point <= _LAST_TAG:
        return True
    return bool(bisect_right(NOT_IN_LINES, point) & 1)
