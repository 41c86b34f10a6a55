"""Reads a TOML file: its values, the line of each key, and where exactly its syntax is broken.

`tomllib` tells no lines, so a valid text is parsed a second time, a statement at a time.
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
"""presence.idle.KIND is the deepest key; a deeper one has the line of its first three parts."""

STATEMENT_LINES_MAX = 100

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
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
    """The line of every key and table of a valid TOML text. O(length).

    Each statement is parsed by itself. One that goes over several lines is complete with the first line that makes it
    valid; after `STATEMENT_LINES_MAX` lines, which no setting needs, the rest of the file goes without lines.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    statement: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not statement and (not line.strip() or line.lstrip().startswith("#")):
            continue
        statement.append(line)
        try:
            path = _path_of(tomllib.loads("\n".join(statement)))
        except tomllib.TOMLDecodeError:
            if len(statement) == STATEMENT_LINES_MAX:
                break
            continue
        if statement[0].lstrip().startswith("["):
            table = path
        else:
            path = table + path
        for length in range(1, min(len(path), DEPTH_MAX) + 1):
            lines.setdefault(path[:length], number - len(statement) + 1)
        statement = []
    return lines


def _path_of(values: Any) -> KeyPath:
    """The keys that lead to the one value of a statement."""
    path: KeyPath = ()
    while isinstance(values, dict) and len(values) == 1:
        [(key, values)] = values.items()
        path += (key,)
    return path
