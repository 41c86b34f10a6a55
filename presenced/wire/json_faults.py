"""Why bytes are not the JSON that a client may send, in a sentence for its author."""

from __future__ import annotations

import re

_LONE_ESCAPE = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F][0-9a-fA-F]{2})"
)
_RAW = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
"""The bytes that UTF-8 would have for a half, and has not."""


def json_fault(data: bytes, error: Exception) -> str:
    """What is wrong with `data`, which a decoder has refused with this error. The decoder has no word of its own for
    half of a surrogate pair, which a program gets that cuts a text within a character. O(bytes)."""
    found = _lone_surrogate(data)
    if found:
        return f"\\u{found:04x} is half of a surrogate pair, which is no character; leave it out, or send both halves"
    return str(error)


def _lone_surrogate(data: bytes) -> int:
    """A half of a surrogate pair without its other half; 0 = there is none."""
    # A backslash that is escaped begins no escape.
    escape = _LONE_ESCAPE.search(data.replace(rb"\\", b"  "))
    if escape is not None:
        return int(escape[0][2:], 16)
    raw = _RAW.search(data)
    return ord(raw[0].decode("utf-8", "surrogatepass")) if raw is not None else 0
