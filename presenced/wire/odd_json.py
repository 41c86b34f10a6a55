"""JSON that a decoder or msgpack has no form for: whole numbers beyond 64 bits, numbers that no float can hold, and
elements that are nested too deep. It is JSON all the same, so that it is answered as what is odd in msgpack is
(protocol.md, sections 3 and 24.2): by an error, and the link goes on.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

INT_LEAST: Final = -(1 << 63)
INT_MOST: Final = (1 << 64) - 1
"""The bounds of an integer of MessagePack."""

_NO_INTEGER: Final = 0.5
"""What takes the place of a number that cannot be told: no field takes a float, and an element that nobody knows may be
anything."""

_BLANK = rb"[ \t\n\r]*"
_INT = rb"(-?(?:0|[1-9][0-9]*))"
_HEAD = re.compile(
    _BLANK + rb"\[" + _BLANK + _INT + _BLANK + rb"(?:," + _BLANK + _INT + rb"(?=" + _BLANK + rb"[,\]]))?"
)
"""The type of a message, and the element behind it if that is a whole number."""

_LONG = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[1-9][0-9]{18,}(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?', re.DOTALL)
"""A string, or a number that may be out of bounds."""

_decode = msgspec.json.Decoder(float_hook=lambda digits: _NO_INTEGER).decode
_encode = msgspec.msgpack.Encoder().encode


def odd_payload(message: bytes, error: Exception) -> bytes:
    """The message as msgpack, after the plain way has raised this error: with a float for a number that msgpack has
    not, and with nesting as deep in the place of what is nested too deep. Raises `msgspec.MsgspecError`, `ValueError`
    or the error if it is not JSON, as far as that can be known. O(bytes)."""
    if not isinstance(error, RecursionError):
        return _encode(_decode(_LONG.sub(_shortened, message)))
    head = _HEAD.match(message)
    if head is None:
        raise error
    message.decode()
    known = [_told(digits) for digits in head.groups() if digits is not None]
    depth = min(message.count(b"[") + message.count(b"{"), len(message) // 2)
    return b"".join((bytes((0x91 + len(known),)), *map(_encode, known), b"\x91" * depth, b"\xc0"))


def _shortened(found: re.Match[bytes]) -> bytes:
    token = found[0]
    if token[:1] == b'"' or (token.lstrip(b"-").isdigit() and _told(token) != _NO_INTEGER):
        return token
    return str(_NO_INTEGER).encode()


def _told(digits: bytes) -> float:
    """The whole number of these digits, if msgpack has it. 22 of them are enough to know."""
    number = int(digits[:22])
    return number if INT_LEAST <= number <= INT_MOST else _NO_INTEGER
