"""What is wrong with a configuration, and how values are shown to the person who wrote them. Pure."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable

SHOWN_CHARACTERS_MAX = 60
NAME_CHARACTERS_MAX = 4096

_USER_PART = re.compile(r"://.*@", re.DOTALL)


class SettingsError(Exception):
    """Settings that cannot work. Each of `faults` is one line that says where, which, why, and what to do."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Fault(ValueError):
    """What is wrong with a value, in words that follow it."""

    def and_advice(self, allowed: str) -> str:
        """The same with what can be given."""
        return f"{self}; give {allowed}"


class AdvisedFault(Fault):
    """The same where the words say what to do as well: a list of what can be given would lead away from that."""

    def and_advice(self, allowed: str) -> str:
        """The words alone."""
        return str(self)


def concealed(text: str) -> str:
    """`text` without what stands before the host of a URL in it: a password may stand there, and the fault of a value
    that is refused for it goes to a terminal or a log."""
    return _USER_PART.sub("://***@", text)


def shown(value: object) -> str:
    """`value` as a configuration file spells it, on one line and not longer than a line holds."""
    if isinstance(value, str):
        text = quoted(value)
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, dict):
        return "a table"
    elif isinstance(value, (list, tuple)):
        return "an array"
    elif isinstance(value, int) and abs(value) >= 1 << 64:
        return "a number beyond 64 bits"
    else:
        text = str(value)
    if len(text) > SHOWN_CHARACTERS_MAX:
        text = text[: SHOWN_CHARACTERS_MAX - 4] + "..." + ('"' if isinstance(value, str) else "")
    return text


def quoted(text: str) -> str:
    """A basic string of TOML. What cannot be printed, or is not valid UTF-8, is escaped."""
    literal = json.dumps(text, ensure_ascii=False)
    return "".join(character if character.isprintable() else _escape(character) for character in literal)


def _escape(character: str) -> str:
    return f"\\u{ord(character):04x}" if ord(character) <= 0xFFFF else f"\\U{ord(character):08x}"


def printable(word: str) -> str:
    """A name or path that somebody else chose, on one line: as it is if it can be printed, else quoted and cut."""
    return word if word.isprintable() and 0 < len(word) <= NAME_CHARACTERS_MAX else shown(word)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The known word that comes next to `word`; empty if none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return near[0] if near else ""
