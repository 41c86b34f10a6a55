"""Sentences in lines of a terminal, so that no word is cut in two. Pure."""

from __future__ import annotations

import re
from unicodedata import east_asian_width

LEAST_WIDTH = 20
"""Of a narrower terminal nothing could be made that is read more easily."""

_WORD = re.compile(r"\s*\S+")


def wrapped(sentence: str, width: int, indent: int = 0) -> list[str]:
    """The sentence in lines of at most `width` columns, all but the first with `indent` spaces before them; as it is if
    `width` is 0 or very small. A word that is longer than a line, such as a path, has one of its own and stays whole.
    Each line of a text of several begins anew."""
    if width < LEAST_WIDTH:
        return [sentence]
    return [part for line in sentence.split("\n") for part in _wrapped_line(line, width, indent)]


def _wrapped_line(sentence: str, width: int, indent: int) -> list[str]:
    lines: list[str] = []
    line = ""
    for word in _WORD.findall(sentence):
        if line.strip() and columns(line + word) > width:
            lines.append(line)
            line = " " * indent + word.lstrip()
        else:
            line += word
    return [*lines, line]


def columns(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)
