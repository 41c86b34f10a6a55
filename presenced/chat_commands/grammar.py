"""Takes a line apart that a person typed into a chat: the verb, a text with or without quotes, and a time. Pure.

Phones turn quotes into typographic ones and begin a line with a capital letter, and a person writes `1h 30m` as well as
`1h30m`. What stays unclear is refused with a sentence that says what to write: a guess would be shown to everybody. So
is more than a verb takes: to do the command all the same would clear or tell what nobody asked for.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from presenced.address import check_name, check_text
from presenced.core.replies import quoted
from presenced.durations import parse_span_ms

_SLASH = re.compile(r"\A\s*/?presence\b\s*", re.IGNORECASE)
_FOR_ALONE = re.compile(r"\Afor(?:\s+[0-9].*)?\Z", re.IGNORECASE)

_STRAIGHT = '"\uff02'
_CURLY = "\u201c\u201d\u201e\u201f\u00ab\u00bb"
_DOUBLE = _STRAIGHT + _CURLY
_SINGLE = "'\u2018\u2019\u201a\u201b\u2039\u203a`\u00b4\uff07"
"""Quotes as the keyboards of several languages make them. Which one opens and which one closes differs among them."""

_APOSTROPHE = re.compile(rf"(?<=\w)[{_SINGLE}](?=\w)")

_UNITS = {
    "seconds": "s", "second": "s", "secs": "s", "sec": "s", "s": "s", "ms": "ms",
    "minutes": "m", "minute": "m", "mins": "m", "min": "m", "m": "m",
    "hours": "h", "hour": "h", "hrs": "h", "hr": "h", "h": "h",
    "days": "d", "day": "d", "d": "d", "weeks": "w", "week": "w", "w": "w",
}  # fmt: skip
_SPAN = re.compile(r"(?:[0-9]{1,18} ?[a-z]+ ?)+")
_PART = re.compile(r"([0-9]+) ?([a-z]+)")
_SPAN_WORDS_MAX = 8
"""As many as `1 week 2 days 3 hours 4 minutes` has."""

_AFTER_QUOTE = 'nothing but "for 30m" can follow the closing quote; put quotes around the whole text'


class Argument(NamedTuple):
    """What stands after a verb."""

    words: str = ""
    for_ms: int = 0
    """How long it is to hold; 0 = until it is changed."""


def verb_and_rest(line: str) -> tuple[str, str]:
    """The verb in small letters, and what stands after it. Both are empty for `/presence` alone."""
    words = _SLASH.sub("", line, count=1).strip().split(None, 1)
    verb, rest = (*words, "", "")[:2]
    return verb.lower(), rest


def nothing(verb: str, rest: str) -> Argument:
    """No argument. Raises `ValueError` if there is one."""
    if rest:
        extra = quoted(rest.split()[0])
        raise ValueError(f"{verb} takes nothing after it, and I do not understand {extra}; write {verb} alone")
    return Argument()


def user(verb: str, rest: str) -> Argument:
    """One user. Raises `ValueError` for none or several, and `AddressError` for what cannot be a name."""
    names = rest.split()
    if len(names) != 1:
        raise ValueError(f"{verb} takes one user after it: {verb} NAME")
    check_name(names[0], "user")
    return Argument(names[0])


def duration(verb: str, rest: str) -> Argument:
    """Perhaps `for D`. Raises `ValueError` for anything else."""
    # With the verb in front, since a `for` that begins a line is no time.
    before, for_ms = split_for(f"{verb} {rest}")
    if before.strip() != verb:
        raise ValueError(f"{verb} takes nothing but 'for 30m'; a text goes with: status \"...\"")
    return Argument("", for_ms)


def auto(verb: str, rest: str) -> Argument:
    """No argument, of which a time is the likely one. Raises `ValueError` if there is one."""
    before, for_ms = split_for(f"{verb} {rest}")
    if for_ms and before.strip() == verb:
        raise ValueError(f"{verb} takes no time: it ends what you set, and your devices decide again")
    return nothing(verb, rest)


def text(verb: str, rest: str) -> Argument:
    """A line of text, perhaps in quotes, perhaps `for D`. Raises `ValueError` as `text_and_span` and if there is no
    text, and `AddressError` for one that cannot be shown."""
    words, for_ms = text_and_span(rest)
    if not words or (_FOR_ALONE.match(words) and words == rest.strip()):
        raise ValueError('say what your status is: status "in a meeting" for 30m, or clear')
    check_text(words)
    return Argument(words, for_ms)


def text_and_span(rest: str) -> tuple[str, int]:
    """The text of a `status` command, and for how many milliseconds (0 = until it is changed).

    What is inside quotes is never taken for a time. Raises `ValueError` as `split_for`, for a quote without an end, and
    for words after the closing quote that are no time. O(length).
    """
    rest = rest.strip()
    if rest and rest[0] in _DOUBLE:
        end = _closing(rest)
        after = rest[end + 1 :].split()
        if not after:
            return rest[1:end], 0
        if after[0].lower() != "for" or len(after) == 1:
            raise ValueError(_AFTER_QUOTE)
        return rest[1:end], _span_ms(after[1:])
    inner = _single_quoted(rest)
    if inner is not None:
        return inner, 0
    try:
        text, for_ms = split_for(rest)
    except ValueError as error:
        raise ValueError(f"{error}; put the text in quotes if that belongs to it") from None
    inner = _single_quoted(text)
    return (text if inner is None else inner), for_ms


def split_for(rest: str) -> tuple[str, int]:
    """What stands before a `for D` at the end, and its milliseconds (0 = there is none): D is one word such as `1h30m`,
    or several such as `1h 30m` or `30 minutes`.

    Raises `ValueError` if what follows the last `for` is one word or begins with a digit, and is no time. O(length).
    """
    # From the end, word by word: a pattern that is searched for tries each run of spaces from each of its places.
    words: list[str] = []
    before = rest.rstrip()
    while before and len(words) <= _SPAN_WORDS_MAX:
        *head, word = before.rsplit(None, 1)
        before = head[0].rstrip() if head else ""
        if word.lower() == "for":
            is_time = before and words and (len(words) == 1 or words[0][0] in "0123456789")
            return (before, _span_ms(words)) if is_time else (rest, 0)
        words.insert(0, word)
    return rest, 0


def _closing(text: str) -> int:
    """Where the quote with which the text begins is closed."""
    # Typographic quotes may hold straight ones.
    for closers in (_CURLY, _DOUBLE) if text[0] in _CURLY else (_DOUBLE,):
        for at in range(1, len(text)):
            if text[at] in closers:
                return at
    raise ValueError('the quote at the start is not closed; write status "in a meeting" for 30m')


def _single_quoted(text: str) -> str | None:
    """What is within single quotes around the whole text; None if there are none. An apostrophe is no quote."""
    if len(text) < 2 or text[0] not in _SINGLE or text[-1] not in _SINGLE:
        return None
    inner = text[1:-1]
    return None if any(quote in _APOSTROPHE.sub("", inner) for quote in _SINGLE) else inner


def _span_ms(words: list[str]) -> int:
    """The milliseconds of a time in one word or several."""
    said = " ".join(words).lower()
    parts = _PART.findall(said) if _SPAN.fullmatch(said) else []
    if parts and all(unit in _UNITS for _, unit in parts):
        said = "".join(number + _UNITS[unit] for number, unit in parts)
    return parse_span_ms(said)
