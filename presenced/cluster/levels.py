"""What a node understands of what others say: one number, so that nodes of several versions can run together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

LEVEL: Final = 1
"""What this version understands. Raise it by one with whatever is added that a node of before cannot read: an item, a
message of nodes, a fact, or a word that a field of any of these may have. Fields at the end need no level: whoever does
not know them passes over them.

A node says nothing that is above the least level of the nodes that live (`nodes.Nodes.level`), so that one after the
other can be upgraded while all serve."""


class NotUnderstood(Exception):
    """A node has said in the log what this version does not understand. `str` says what."""


def decoder_of(kind: Any) -> Callable[[bytes | msgspec.Raw], Any]:
    """What makes this of bytes that a node has said. It raises `NotUnderstood` on what this version does not know, and
    `msgspec.DecodeError` on what is damaged."""
    decode = msgspec.msgpack.Decoder(kind).decode

    def understood(data: bytes | msgspec.Raw) -> Any:
        try:
            return decode(data)
        except msgspec.ValidationError as error:
            raise NotUnderstood(str(error)) from None

    return understood
