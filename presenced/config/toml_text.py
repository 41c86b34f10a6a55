"""Reads a TOML file: its values, the line of each key, and where exactly its syntax is broken.

`tomllib` gives the values and no places, so the text is walked a second time for those. The walk relies on tomllib
having accepted the text: it never judges, it only skips.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, NamedTuple

from presenced.config.faults import printable
from presenced.config.files import UnusableFile, read_regular, why_unread

FILE_BYTES_MAX = 1 << 20
"""A configuration has a few kilobytes; something larger is another file."""

DEPTH_MAX = 3
"""presence.idle.KIND is the deepest key; of deeper ones the line of their first three parts is told."""

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_KEY = re.compile(r"""[ \t]*(?:([A-Za-z0-9_-]+)|'([^'\n]*)'|"((?:[^"\\\n]|\\.)*)")[ \t]*(\.?)""")
_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_PLAIN = re.compile(r"[^\"'#\[\]{}\n]+|#[^\n]*")

KeyPath = tuple[str, ...]


class FileFault(Exception):
    """The file cannot be used; the sentence begins with its path."""


class Document(NamedTuple):
    """What a file says."""

    path: str
    values: dict[str, Any]
    lines: dict[KeyPath, int]

    def line(self, *path: str) -> int:
        """Where the key stands, or else the nearest that holds it; lines count from 1."""
        path = path[:DEPTH_MAX]
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return 1


def read_document(path: str) -> Document:
    """Read and parse the file; raises `FileFault`."""
    text = _decode(path, _read(path))
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FileFault(_syntax_fault(path, text, str(error))) from None
    except (ValueError, RecursionError):
        # A number of thousands of digits, or arrays nested as deep.
        raise FileFault(f"{printable(path)}: holds a value that no setting can have; remove it") from None
    return Document(path, values, key_lines(text))


def _read(path: str) -> bytes:
    try:
        return read_regular(path, FILE_BYTES_MAX)
    except FileNotFoundError:
        raise FileFault(
            f"{printable(path)}: does not exist; `presenced config default` prints one to start from"
        ) from None
    except (OSError, ValueError, UnusableFile) as error:
        raise FileFault(f"{printable(path)}: {why_unread(error)}") from None


def _decode(path: str, content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FileFault(f"{printable(path)}:1: is UTF-16; save it as UTF-8")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileFault(
            f"{printable(path)}:{line}: byte 0x{content[error.start]:02x} is not UTF-8; save it as UTF-8"
        ) from None
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def _syntax_fault(path: str, text: str, message: str) -> str:
    place = _PLACE.search(message)
    if place and place[1]:
        line, column = int(place[1]), int(place[2])
    else:
        line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
    what = message[: place.start()] if place else message
    return f"{printable(path)}:{line}:{column}: is not TOML: {what[:1].lower()}{what[1:]}"


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line of every key and table of a valid TOML text; what stands inside a value has none. O(length)."""
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    position = 0
    line, counted = 1, 0
    while True:
        position = _end(_BLANK, text, position)
        if position >= len(text):
            return lines
        line, counted = line + text.count("\n", counted, position), position
        if text[position] == "[":
            brackets = 2 if text.startswith("[[", position) else 1
            table, position = _key_path(text, position + brackets)
            path = table
            position += brackets
        else:
            path, position = _key_path(text, position)
            path = table + path
            position = _value_end(text, position + 1)
        for length in range(1, DEPTH_MAX + 1):
            lines.setdefault(path[:length], line)


def _key_path(text: str, position: int) -> tuple[KeyPath, int]:
    parts: list[str] = []
    while match := _KEY.match(text, position):
        bare, literal, basic, dot = match.groups()
        if basic is not None:
            parts.append(str(tomllib.loads(f'k = "{basic}"')["k"]))
        else:
            parts.append(bare if bare is not None else literal)
        position = match.end()
        if not dot:
            break
    return tuple(parts), position


def _value_end(text: str, position: int) -> int:
    """Where the line ends that the value ends on; brackets may make it span several."""
    depth = 0
    while position < len(text):
        character = text[position]
        if character in "\"'":
            # The + 1 is for a text that tomllib would not have accepted: the walk must end all the same.
            position = max(_end(_STRING, text, position), position + 1)
            continue
        if character == "\n" and depth == 0:
            return position
        if character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        position = max(_end(_PLAIN, text, position), position + 1)
    return position


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position
