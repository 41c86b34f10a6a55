"""The levels of what nodes say, by which nodes of several versions run together: a node understands all up to its
level."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

LEVEL: Final = 1
"""What this version understands. Raise it by one whenever something is added that an earlier version cannot read: an
item, a message of nodes, a fact, or a word that a field of these may have. A field at the end needs no level, since a
node that does not know it passes over it.

A node appends nothing above the lowest level of the nodes that live (`nodes.Nodes.level`). So the nodes of a cluster
can be upgraded one after the other, while all of them serve.
"""


class NotUnderstood(Exception):
    """Another node has appended something that this version does not understand. `str` says what."""


def decoder_of(kind: Any) -> Callable[[bytes | msgspec.Raw], Any]:
    """A decoder of this type for bytes from another node. It raises `NotUnderstood` for what this version does not
    know, and `msgspec.DecodeError` for what is damaged."""
    decode = msgspec.msgpack.Decoder(kind).decode

    def understood(data: bytes | msgspec.Raw) -> Any:
        try:
            return decode(data)
        except msgspec.ValidationError as error:
            raise NotUnderstood(str(error)) from None

    return understood
