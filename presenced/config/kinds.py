"""Kinds of values that a setting can have: how each is read, checked and written. Pure.

A kind knows three spellings: what TOML gives (`read`), the text of an environment variable (`read_text`), and the
value that `Settings` holds (`check`). What is wrong is a `Fault`, a `ValueError` whose words follow the value:
"is not a duration".
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Any

from presenced.address import DEFAULT_PORT, check_label
from presenced.config.durability import Durability
from presenced.config.faults import SettingsError, did_you_mean, quoted
from presenced.durations import parse_duration_ms
from presenced.errors import AddressError
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
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_OCTAL = re.compile(r"0?[0-7]{3}")
_YES_NO = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class Fault(ValueError):
    """What is wrong with a value, in words that follow it."""


class Kind(ABC):
    """The base of all kinds; `allowed` says what can be written, in words that follow "give"."""

    allowed = ""

    def read(self, given: object) -> Any:
        """What `Settings` holds for a value of a TOML file; raises `Fault`. Most kinds are written as text."""
        if not isinstance(given, str):
            raise Fault("is not text in quotes")
        return self.read_text(given)

    @abstractmethod
    def read_text(self, text: str) -> Any:
        """The same for the text of an environment variable."""

    @abstractmethod
    def check(self, value: Any) -> None:
        """Raise `Fault` unless `Settings` may hold `value`."""

    def text(self, value: Any) -> str:
        """How an environment variable spells it; `read_text` gives the same value back."""
        return str(value)

    def toml(self, value: Any) -> str:
        """How a file spells it; `read` gives the same value back."""
        return quoted(self.text(value))

    def _checked(self, value: Any) -> Any:
        self.check(value)
        return value


class Bool(Kind):
    """`true` or `false`."""

    allowed = "true or false"

    def read(self, given: object) -> bool:
        if not isinstance(given, bool):
            raise Fault("is neither true nor false")
        return given

    def read_text(self, text: str) -> bool:
        value = _YES_NO.get(text.strip().lower())
        if value is None:
            raise Fault("is neither true nor false")
        return value

    def check(self, value: Any) -> None:
        self.read(value)

    def text(self, value: Any) -> str:
        return "true" if value else "false"

    def toml(self, value: Any) -> str:
        return self.text(value)


class Int(Kind):
    """A whole number within bounds; with `otherwise`, also that word, which stands for None."""

    def __init__(self, least: int, most: int, *, otherwise: str = "") -> None:
        self.least, self.most, self.otherwise = least, most, otherwise
        self.allowed = f"a whole number from {least} to {most}" + (f', or "{otherwise}"' if otherwise else "")

    def read(self, given: object) -> int | None:
        if self.otherwise and given == self.otherwise:
            return None
        if isinstance(given, bool) or not isinstance(given, int):
            raise Fault("is not a whole number")
        self.check(given)
        return given

    def read_text(self, text: str) -> int | None:
        text = text.strip()
        if self.otherwise and text == self.otherwise:
            return None
        if not _WHOLE.fullmatch(text):
            raise Fault("is not a whole number")
        return self.read(int(text))

    def check(self, value: Any) -> None:
        if value is None and self.otherwise:
            return
        if isinstance(value, bool) or not isinstance(value, int):
            raise Fault("is not a whole number")
        if not self.least <= value <= self.most:
            raise Fault("is out of range")

    def text(self, value: Any) -> str:
        return self.otherwise if value is None else str(value)

    def toml(self, value: Any) -> str:
        return quoted(self.otherwise) if value is None else str(value)


class Amount(Kind):
    """A number with a unit. The number 0 needs none, being the same in all. With `otherwise`, also that word, which
    stands for None."""

    noun = ""

    def __init__(self, least: int, most: int, example: str, *, zero: bool = False, otherwise: str = "") -> None:
        self.least, self.most, self.zero, self.otherwise = least, most, zero, otherwise
        self.allowed = f"a {self.noun} from {self.text(least)} to {self.text(most)}" + (", or 0" if zero else "")
        self.allowed += f", such as {quoted(example)}" + (f', or "{otherwise}"' if otherwise else "")

    def read(self, given: object) -> Any:
        if given == 0 and not isinstance(given, (bool, float)):
            return self._checked(0)
        if isinstance(given, int) and not isinstance(given, bool):
            raise Fault("has no unit")
        return super().read(given)

    def check(self, value: Any) -> None:
        if value is None and self.otherwise:
            return
        if isinstance(value, bool) or not isinstance(value, int):
            raise Fault(f"is not a {self.noun}")
        if not self.least <= value <= self.most and not (self.zero and value == 0):
            raise Fault("is out of range")


class Duration(Amount):
    """Milliseconds, written `30s` or `1h30m`."""

    noun = "duration"

    def __init__(self, least: int, most: int = DURATION_MS_MAX, *, example: str = "30s", zero: bool = False) -> None:
        super().__init__(least, most, example, zero=zero)

    def read_text(self, text: str) -> int:
        return int(self._checked(_duration_ms(text)))

    def text(self, value: Any) -> str:
        return exact_duration(value)


def _duration_ms(text: str) -> int:
    try:
        return parse_duration_ms(text)
    except ValueError:
        bare = text.strip()
        if bare.isascii() and bare.isdigit():
            raise Fault("has no unit") from None
        raise Fault("is not a duration of at most 366 days") from None


def exact_duration(duration_ms: int) -> str:
    """`1h30m`, `0`; unlike `format_duration` it leaves nothing out, and is read back as the same duration."""
    text, rest_ms = "", duration_ms
    for unit, unit_ms in _DURATION_UNITS_MS.items():
        count, rest_ms = divmod(rest_ms, unit_ms)
        text += f"{count}{unit}" if count else ""
    return text or "0"


class Size(Amount):
    """Bytes, written `64MiB`."""

    noun = "size"

    def read_text(self, text: str) -> int | None:
        if self.otherwise and text.strip() == self.otherwise:
            return None
        if text.strip() == "0":
            return int(self._checked(0))
        match = _SIZE.fullmatch(text.strip())
        if match and not match[2]:
            raise Fault("has no unit")
        if not match or match[2] not in _SIZE_UNITS:
            raise Fault("is not a size in B, KiB, MiB, GiB or TiB")
        return int(self._checked(int(match[1]) * _SIZE_UNITS[match[2]]))

    def text(self, value: Any) -> str:
        if value is None:
            return self.otherwise
        for unit, unit_bytes in _SIZE_UNITS.items():
            if value and value % unit_bytes == 0:
                return f"{value // unit_bytes}{unit}"
        return "0"


class Choice(Kind):
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.allowed = f"{', '.join(words[:-1])} or {words[-1]}"

    def read_text(self, text: str) -> str:
        return str(self._checked(text.strip()))

    def check(self, value: Any) -> None:
        if value in self.words:
            return
        near = did_you_mean(value, self.words) if isinstance(value, str) else ""
        raise Fault("is none of the choices" + (f" (did you mean {near}?)" if near else ""))


class DurabilityText(Kind):
    """See `Durability`."""

    allowed = 'always, interval=DURATION (such as "interval=1s", at most 1h), os or off'

    def read_text(self, text: str) -> str:
        return str(self._checked(text.strip()))

    def check(self, value: Any) -> None:
        try:
            Durability.parse(value)
        except (SettingsError, AttributeError):
            raise Fault("is none of the policies") from None


class Mode(Kind):
    """Permission bits of a file, in octal."""

    allowed = 'three octal digits in quotes, such as "0660"'

    def read_text(self, text: str) -> int:
        if not _OCTAL.fullmatch(text.strip()):
            raise Fault("is not the mode of a file")
        return int(text, 8)

    def check(self, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0o777:
            raise Fault("is not the mode of a file")

    def text(self, value: Any) -> str:
        return f"{value:04o}"


class Text(Kind):
    """One line; empty = none."""

    def __init__(self, allowed: str, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.allowed = allowed

    def read_text(self, text: str) -> str:
        return str(self._checked(text))

    def check(self, value: Any) -> None:
        if not isinstance(value, str):
            raise Fault("is not text")
        try:
            size_bytes = len(value.encode())
        except UnicodeEncodeError:
            raise Fault("is not valid UTF-8") from None
        if size_bytes > self.bytes_max:
            raise Fault(f"has {size_bytes} bytes, more than {self.bytes_max}")
        if not value.isprintable():
            raise Fault("holds a character that cannot be printed")


class Path(Text):
    """The path of a file, directory or socket; empty = none. With `credential`, `credential:NAME` is one too."""

    def __init__(self, *, credential: bool = False, bytes_max: int = PATH_BYTES_MAX, what: str = "") -> None:
        self.credential = credential
        what = what or ("a path or credential:NAME" if credential else "a path")
        super().__init__(f"{what} of at most {bytes_max} bytes", bytes_max)

    def check(self, value: Any) -> None:
        super().check(value)
        if value.startswith(CREDENTIAL) and not self.credential:
            raise Fault("is a credential, and those are files that are only read")


class Address(Kind):
    """HOST:PORT; `optional` lets it be empty = none."""

    def __init__(self, *, optional: bool = False) -> None:
        self.optional = optional
        self.allowed = f"HOST:PORT, such as 127.0.0.1:{DEFAULT_PORT}" + (', or "" for none' if optional else "")

    def read_text(self, text: str) -> str:
        return str(self._checked(text.strip()))

    def check(self, value: Any) -> None:
        if self.optional and value == "":
            return
        try:
            parse_address(value)
        except (ValueError, AttributeError):
            raise Fault("is not HOST:PORT") from None


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT; an IPv6 host may stand in brackets. Raises `ValueError`."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdecimal() or len(port) > 5 or int(port) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT")
    if not host.isprintable() or " " in host or "[" in host or "]" in host or "/" in host:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return host, int(port)


class IdleTimes(Kind):
    """Idle times for kinds of devices. `Settings` holds them as KIND=AWAY,OFFLINE texts, in order of kind."""

    allowed = 'AWAY,OFFLINE, such as "10m,0" (0 = never)'

    def read_text(self, text: str) -> tuple[str, ...]:
        return tuple(sorted(self.entry(*part.split("=", 1)) for part in text.split(";") if part.strip()))

    def entry(self, kind: str, times: str = "") -> str:
        """KIND=AWAY,OFFLINE in its one spelling; raises `Fault`."""
        kind = kind.strip()
        try:
            check_label(kind, "kind")
        except AddressError:
            raise Fault("is for a kind that no device can have") from None
        if not kind or "=" in kind or ";" in kind:
            raise Fault("is for a kind that cannot be written: it is empty, or holds = or ;")
        away, comma, offline = times.partition(",")
        if not comma:
            raise Fault("is not two durations")
        return f"{kind}={exact_duration(_duration_ms(away))},{exact_duration(_duration_ms(offline))}"

    def check(self, value: Any) -> None:
        if not isinstance(value, tuple) or not all(isinstance(text, str) for text in value):
            raise Fault("is not a list of KIND=AWAY,OFFLINE")
        for text in value:
            self.entry(*text.split("=", 1))

    def by_kind(self, value: tuple[str, ...]) -> dict[str, tuple[int, int]]:
        """The same as numbers of milliseconds; raises `Fault`."""
        found = {}
        for text in value:
            kind, _, times = self.entry(*text.split("=", 1)).partition("=")
            away, _, offline = times.partition(",")
            found[kind] = (parse_duration_ms(away), parse_duration_ms(offline))
        return found

    def text(self, value: Any) -> str:
        return ";".join(value)
