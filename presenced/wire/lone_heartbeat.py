"""Recognizes a frame that is one heartbeat, without decoding it: nearly all that idle devices send is such frames.

Through the reader and the codec a heartbeat costs four times as much CPU. Anything but exactly one heartbeat in its
shortest form is left to them; a test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final, cast

from presenced.limits import IDLE_MS_MAX
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Heartbeat

NO_REPORT: Final = -1

_SMALL: Final = {frame(encode(Heartbeat(idle_ms))): idle_ms for idle_ms in range(256)}
_SMALL[frame(encode(Heartbeat(None)))] = NO_REPORT
# An array of one: the report is left out.
_SMALL[frame(b"\x91" + encode(Heartbeat(None))[1:2])] = NO_REPORT

_HEAD_BYTES: Final = 7
"""Frame length, array of two, type, and the byte that says how many bytes of a number follow (MessagePack)."""


def _form(code: str, least: int) -> tuple[int, bytes, Callable[[bytes], tuple[bytes, int]]]:
    """A heartbeat whose number has the width of `least`: its size, its head, and what cuts it into head and number."""
    data = frame(encode(Heartbeat(least)))
    cut = cast("Callable[[bytes], tuple[bytes, int]]", Struct(f">{_HEAD_BYTES}s{code}").unpack)
    return len(data), data[:_HEAD_BYTES], cut


_SIZE_16, _HEAD_16, _cut_16 = _form("H", 1 << 8)
_SIZE_32, _HEAD_32, _cut_32 = _form("I", 1 << 16)
_SIZE_64, _HEAD_64, _cut_64 = _form("Q", 1 << 32)


def lone_heartbeat(data: bytes) -> int | None:
    """The idle time in milliseconds if `data` is one heartbeat and nothing else. -1: the heartbeat tells none. None:
    the data are something else, or the codec has to look at them. O(1).

    Branches, because a table of forms takes half as long again.
    """
    size = len(data)
    if size == _SIZE_16:
        head, idle_ms = _cut_16(data)
        if head == _HEAD_16:
            return idle_ms
    elif size == _SIZE_32:
        head, idle_ms = _cut_32(data)
        if head == _HEAD_32:
            return idle_ms
    elif size == _SIZE_64:
        head, idle_ms = _cut_64(data)
        if head == _HEAD_64 and idle_ms <= IDLE_MS_MAX:
            return idle_ms
    return _SMALL.get(data)
