"""Kinds of values that a setting can have. Pure.

A kind says each thing once: `parse` reads the text of a value, `write` writes it, and `allowed` says what can be given.
Everything else follows from the two. A file may also give a value of TOML's own type (`native`), and `Settings` may
hold a value if it is read back from its text. A fault is a `Fault`, a `ValueError` whose words follow the value: "is
not a duration".
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Any

from presenced.address import DEFAULT_PORT
from presenced.config.durability import Durability
from presenced.config.faults import Fault, SettingsError, did_you_mean, quoted, shown
from presenced.config.hosts import PORT_MAX, parse_address
from presenced.durations import parse_duration_ms
from presenced.limits import DURATION_MS_MAX

PATH_BYTES_MAX = 4095
"""PATH_MAX of Linux without its NUL."""

SOCKET_PATH_BYTES_MAX = 107
"""sun_path of unix(7) has 108 bytes, the last of them NUL."""

CREDENTIAL = "credential:"
"""A path that begins so names a file in systemd's `$CREDENTIALS_DIRECTORY`."""

_DURATION_UNITS_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_SIZE_UNITS = {"TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
_SIZE = re.compile(r"([0-9]{1,16}) ?([A-Za-z]*)")
_WHOLE = re.compile(r"-?[0-9]{1,40}")
_OCTAL = re.compile(r"0?[0-7]{3}")
_YES_NO = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class ValueKind(ABC):
    """The base of all kinds."""

    allowed = ""
    """What can be given, in words that follow "give"."""
    wrong = "is not text"
    """What is wrong with a value of another type."""
    native: type | None = None
    """The type that TOML has for this kind; None = a file writes it as text."""
    otherwise = ""
    """A word that stands for None; empty = None is no value."""

    @abstractmethod
    def parse(self, text: str) -> Any:
        """The value that a text stands for; raises `Fault`."""

    def write(self, value: Any) -> str:
        """The text of a value, which `parse` reads back."""
        return str(value)

    def read_text(self, text: str) -> Any:
        """The value of an environment variable; raises `Fault`."""
        return None if self.otherwise and text.strip() == self.otherwise else self.parse(text)

    def read(self, given: object) -> Any:
        """The value of a key in a TOML file; raises `Fault`."""
        if isinstance(given, str):
            if self.native is None or (self.otherwise and given == self.otherwise):
                return self.read_text(given)
        elif type(given) is self.native:
            return self.parse(self.write(given))
        raise Fault("is not text in quotes" if self.native is None else self.wrong)

    def check(self, value: Any) -> None:
        """Raise `Fault` unless `Settings` may hold `value`."""
        try:
            again = self.read_text(self.text(value))
        except Fault:
            raise
        except (TypeError, ValueError, AttributeError):
            raise Fault(self.wrong) from None
        if type(again) is not type(value) or again != value:
            raise Fault(self.wrong)

    def text(self, value: Any) -> str:
        """How an environment variable spells `value`."""
        return self.otherwise if value is None and self.otherwise else self.write(value)

    def toml(self, value: Any) -> str:
        """How a file spells `value`."""
        return self.text(value) if self.native is not None and value is not None else quoted(self.text(value))


class Bool(ValueKind):
    """`true` or `false`."""

    allowed = "true or false"
    wrong = "is neither true nor false"
    native = bool

    def parse(self, text: str) -> bool:
        value = _YES_NO.get(text.strip().lower())
        if value is None:
            raise Fault(self.wrong)
        return value

    def write(self, value: Any) -> str:
        return str(value).lower()


class Int(ValueKind):
    """A whole number within bounds, or the word `otherwise`."""

    wrong = "is not a whole number"
    native = int

    def __init__(self, least: int, most: int, *, otherwise: str = "") -> None:
        self.least, self.most, self.otherwise = least, most, otherwise
        self.allowed = f"a whole number from {least} to {most}" + (f', or "{otherwise}"' if otherwise else "")

    def parse(self, text: str) -> int:
        if not _WHOLE.fullmatch(text.strip()):
            raise Fault(self.wrong)
        value = int(text)
        if not self.least <= value <= self.most:
            raise Fault("is out of range")
        return value


class Amount(ValueKind):
    """A number with a unit, or the word `otherwise`. The number 0 needs no unit."""

    noun = ""

    def __init__(self, least: int, most: int, example: str, *, zero: bool = False, otherwise: str = "") -> None:
        """`zero`: 0 is allowed although it is below `least`."""
        self.least, self.most, self.zero, self.otherwise = least, most, zero, otherwise
        self.wrong = f"is not a {self.noun}"
        self.allowed = f"a {self.noun} from {self.text(least)} to {self.text(most)}" + (", or 0" if zero else "")
        self.allowed += f", such as {quoted(example)}" + (f', or "{otherwise}"' if otherwise else "")

    def read(self, given: object) -> Any:
        # A number of TOML: the text has no unit either, which only 0 may do without.
        return super().read(str(given) if type(given) is int else given)

    def parse(self, text: str) -> int:
        text = text.strip()
        if text.isascii() and text.isdigit() and text.strip("0"):
            raise Fault("has no unit")
        value = self.amount(text)
        if not self.least <= value <= self.most and not (self.zero and value == 0):
            raise Fault("is out of range")
        return value

    @abstractmethod
    def amount(self, text: str) -> int:
        """The number that the text stands for, whatever its size; raises `Fault`."""


class Duration(Amount):
    """Milliseconds, written `30s` or `1h30m`."""

    noun = "duration"

    def __init__(self, least: int, most: int = DURATION_MS_MAX, *, example: str = "30s", zero: bool = False) -> None:
        super().__init__(least, most, example, zero=zero)

    def amount(self, text: str) -> int:
        return duration_ms(text)

    def write(self, value: Any) -> str:
        return exact_duration(value)


def duration_ms(text: str) -> int:
    """Milliseconds; raises `Fault`."""
    try:
        return parse_duration_ms(text)
    except ValueError:
        bare = text.strip()
        if bare.isascii() and bare.isdigit():
            raise Fault("has no unit") from None
        raise Fault("is not a duration of at most 366 days") from None


def exact_duration(value_ms: int) -> str:
    """`1h30m`, `0`; unlike `format_duration` it leaves nothing out, and is read back as the same duration."""
    text, rest_ms = "", value_ms
    for unit, unit_ms in _DURATION_UNITS_MS.items():
        count, rest_ms = divmod(rest_ms, unit_ms)
        text += f"{count}{unit}" if count else ""
    return text or "0"


class Size(Amount):
    """Bytes, written `64MiB`."""

    noun = "size"

    def amount(self, text: str) -> int:
        if text == "0":
            return 0
        match = _SIZE.fullmatch(text)
        if not match or match[2] not in _SIZE_UNITS:
            raise Fault("is not a size in B, KiB, MiB, GiB or TiB")
        return int(match[1]) * _SIZE_UNITS[match[2]]

    def write(self, value: Any) -> str:
        fitting = (unit for unit, unit_bytes in _SIZE_UNITS.items() if value and value % unit_bytes == 0)
        unit = next(fitting, "")
        return f"{value // _SIZE_UNITS[unit]}{unit}" if unit else "0"


class Choice(ValueKind):
    """One of a few words."""

    wrong = "is none of the choices"

    def __init__(self, *words: str) -> None:
        self.words = words
        self.allowed = f"{', '.join(words[:-1])} or {words[-1]}"

    def parse(self, text: str) -> str:
        text = text.strip()
        if text not in self.words:
            near = did_you_mean(text, self.words)
            raise Fault(self.wrong + (f" (did you mean {near}?)" if near else ""))
        return text


class Choices(ValueKind):
    """Any of a few words, as a list; `Settings` holds them as a tuple without repetitions."""

    wrong = "is not a list of the choices"
    native = list

    def __init__(self, *words: str) -> None:
        self._choice = Choice(*words)
        self.allowed = f"a list of any of {', '.join(words[:-1])} and {words[-1]}"

    def parse(self, text: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self._parsed(word) for word in text.split(",") if word.strip()))

    def _parsed(self, word: str) -> str:
        try:
            return self._choice.parse(word)
        except Fault as fault:
            raise Fault(f"has {shown(word.strip())}, which {fault}") from None

    def write(self, value: Any) -> str:
        return ",".join(value)

    def read(self, given: object) -> tuple[str, ...]:
        if type(given) is not list or not all(isinstance(word, str) for word in given):
            raise Fault(self.wrong)
        return self.parse(self.write(given))

    def toml(self, value: Any) -> str:
        return "[" + ", ".join(quoted(word) for word in value) + "]"


class DurabilityText(ValueKind):
    """See `Durability`."""

    allowed = 'always, interval=DURATION (such as "interval=1s", at most 1h), os or off'
    wrong = "is none of the policies"

    def parse(self, text: str) -> str:
        try:
            Durability.parse(text.strip())
        except SettingsError:
            raise Fault(self.wrong) from None
        return text.strip()


class Mode(ValueKind):
    """Permission bits of a file, in octal."""

    allowed = 'three octal digits in quotes, such as "0660"'
    wrong = "is not the mode of a file"

    def parse(self, text: str) -> int:
        if not _OCTAL.fullmatch(text.strip()):
            raise Fault(self.wrong)
        return int(text, 8)

    def write(self, value: Any) -> str:
        return f"{value:04o}"


class Text(ValueKind):
    """One line; empty = none."""

    def __init__(self, allowed: str, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.allowed = allowed

    def parse(self, text: str) -> str:
        try:
            size_bytes = len(text.encode())
        except UnicodeEncodeError:
            raise Fault("is not valid UTF-8") from None
        if size_bytes > self.bytes_max:
            raise Fault(f"has {size_bytes} bytes, more than {self.bytes_max}")
        if not text.isprintable():
            raise Fault("holds a character that cannot be printed")
        return text


class Path(Text):
    """The path of a file, directory or socket; empty = none. With `credential` it may be `credential:NAME`."""

    def __init__(self, *, credential: bool = False, bytes_max: int = PATH_BYTES_MAX, what: str = "") -> None:
        self.credential = credential
        what = what or ("a path or credential:NAME" if credential else "a path")
        super().__init__(f"{what} of at most {bytes_max} bytes", bytes_max)

    def parse(self, text: str) -> str:
        text = super().parse(text)
        if text.startswith(CREDENTIAL) and not self.credential:
            raise Fault("is a credential, and those are files that are only read")
        return text


class Address(ValueKind):
    """HOST:PORT; `optional` lets it be empty = none."""

    wrong = "is not HOST:PORT"

    def __init__(self, port: int = DEFAULT_PORT, *, optional: bool = False) -> None:
        """`port` is the one of the example, which no two addresses of a daemon share."""
        self.optional = optional
        self.allowed = f"HOST:PORT, such as 127.0.0.1:{port}" + (', or "" for none' if optional else "")

    def parse(self, text: str) -> str:
        text = text.strip()
        if text or not self.optional:
            try:
                parse_address(text)
            except ValueError:
                port = text.rpartition(":")[2]
                is_high = port.isascii() and port.isdecimal() and int(port[:9]) > PORT_MAX
                raise Fault(f"has a port above {PORT_MAX}" if is_high else self.wrong) from None
        return text
