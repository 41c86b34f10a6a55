"""MessagePack for the vectors: the shortest form by another codec than the package's, and the longest form by hand."""

from __future__ import annotations

import struct
from typing import Any

import msgpack


def packed(value: Any) -> bytes:
    """The shortest form."""
    payload: bytes = msgpack.packb(value)
    return payload


def wide(value: Any) -> bytes:
    """The same value with the longest headers of MessagePack: 64 bits for each integer, 32 bits for each length."""
    if value is None or isinstance(value, bool):
        return packed(value)
    if isinstance(value, int):
        return b"\xd3" + struct.pack(">q", value) if value < 0 else b"\xcf" + struct.pack(">Q", value)
    if isinstance(value, str):
        data = value.encode()
        return b"\xdb" + struct.pack(">I", len(data)) + data
    return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(wide, value))
