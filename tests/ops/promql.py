"""As much of PromQL as is needed to know which metrics and labels an expression names. Not an evaluator."""

from __future__ import annotations

import re
from typing import NamedTuple

_TOKEN = re.compile(
    r"""\s+
    |(?P<string>"(?:\\.|[^"\\])*")
    |(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w]))
    |(?P<duration>\d+(?:ms|[smhdwy]))
    |(?P<variable>\$\w+)
    |(?P<word>[A-Za-z_:][\w:]*)
    |(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){}\[\],])
    """,
    re.X | re.A,
)
FUNCTIONS = {"sum", "max", "min", "avg", "count", "rate", "increase", "changes", "resets", "last_over_time", "time"}
FUNCTIONS |= {"histogram_quantile", "abs"}
GROUPING = {"by", "without", "on", "ignoring"}
OPERATORS = {"and", "or", "unless", "bool", "offset"}


class Selector(NamedTuple):
    """A metric with its label matchers: (label, sign, value)."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]


class Names(NamedTuple):
    """What an expression names."""

    selectors: list[Selector]
    grouped: set[str]
    """Labels in by, without, on and ignoring."""


def names(expression: str) -> Names:
    """Raises `ValueError` for what is not understood: an unknown function, unbalanced brackets, a stray sign."""
    tokens = list(_tokens(expression))
    found = Names([], set())
    closing = {"(": ")", "{": "}", "[": "]"}
    expected: list[str] = []
    index = 0
    while index < len(tokens):
        kind, text = tokens[index]
        following = tokens[index + 1][1] if index + 1 < len(tokens) else ""
        if kind == "word" and text in GROUPING:
            index, labels = _list(tokens, index + 1)
            found.grouped.update(labels)
            continue
        if kind == "word" and following == "(":
            if text not in FUNCTIONS and text not in OPERATORS:
                raise ValueError(f"{text} is no function that is known here")
        elif kind == "word" and text in FUNCTIONS:
            if following not in GROUPING:
                raise ValueError(f"{text} is not called")
        elif kind == "word" and text not in OPERATORS:
            matchers: tuple[tuple[str, str, str], ...] = ()
            if following == "{":
                index, matchers = _matchers(tokens, index + 1)
                found.selectors.append(Selector(text, matchers))
                continue
            found.selectors.append(Selector(text, matchers))
        elif text in closing:
            expected.append(closing[text])
        elif text in closing.values():
            if not expected or expected.pop() != text:
                raise ValueError(f"{text} closes nothing")
        index += 1
    if expected:
        raise ValueError(f"{expected[-1]} is missing")
    return found


def _tokens(expression: str) -> list[tuple[str, str]]:
    tokens = []
    at = 0
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None:
            raise ValueError(f"{expression[at:]!r} is not understood")
        at = match.end()
        if match.lastgroup is not None:
            tokens.append((match.lastgroup, match[0]))
    return tokens


def _list(tokens: list[tuple[str, str]], at: int) -> tuple[int, list[str]]:
    end = tokens.index(("sign", ")"), at)
    inner = tokens[at + 1 : end]
    if tokens[at][1] != "(" or any((kind == "word") != (place % 2 == 0) for place, (kind, _) in enumerate(inner)):
        raise ValueError("labels are not listed in brackets")
    return end + 1, [text for kind, text in inner if kind == "word"]


def _matchers(tokens: list[tuple[str, str]], at: int) -> tuple[int, tuple[tuple[str, str, str], ...]]:
    end = tokens.index(("sign", "}"), at)
    inner = tokens[at + 1 : end]
    matchers = []
    for place in range(0, len(inner), 4):
        kinds = [kind for kind, _ in inner[place : place + 3]]
        if kinds != ["word", "sign", "string"] or (place + 3 < len(inner) and inner[place + 3][1] != ","):
            raise ValueError("a matcher is not LABEL SIGN STRING")
        label, sign, quoted = (text for _, text in inner[place : place + 3])
        matchers.append((label, sign, quoted[1:-1]))
    return end + 1, tuple(matchers)
