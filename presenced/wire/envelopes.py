"""The type and the id of a message, told and replaced in its bytes, without a look at the rest of them.

A message that another node made for a link is handed on as it is, but for the id of the request: the link chose one,
and the nodes count with another between them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from presenced.wire.codec import CLIENT_MESSAGES, SERVER_MESSAGES, encode

_WITH_ID: Final = frozenset(
    tag
    for tag, message in (*CLIENT_MESSAGES.items(), *SERVER_MESSAGES.items())
    if message.__struct_fields__[:1] == ("id",)
)

_LONG_ARRAY: Final = 0xDC
_LONG_TYPE: Final = 0xCC
_ID_BYTES: Final = {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9}


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """What stands in front of a message's other fields."""

    type: int
    id: int
    """Of the request that it is or answers; 0 = it has none."""


def envelope_of(payload: bytes) -> Envelope:
    """The envelope of a message that this program has encoded. O(1)."""
    at = 3 if payload[0] == _LONG_ARRAY else 1
    kind = payload[at + 1] if payload[at] == _LONG_TYPE else payload[at]
    if kind not in _WITH_ID:
        return Envelope(kind, 0)
    at += 2 if payload[at] == _LONG_TYPE else 1
    first = payload[at]
    if first < 0x80:
        return Envelope(kind, first)
    return Envelope(kind, int.from_bytes(payload[at + 1 : at + _ID_BYTES[first]], "big"))


def with_id(payload: bytes, request_id: int) -> bytes:
    """The same message with another id; it must have one. O(bytes)."""
    at = 3 if payload[0] == _LONG_ARRAY else 1
    at += 2 if payload[at] == _LONG_TYPE else 1
    first = payload[at]
    rest = at + (1 if first < 0x80 else _ID_BYTES[first])
    return payload[:at] + encode(request_id) + payload[rest:]
