"""Recognizes a frame that is one heartbeat, without decoding it: nearly all that idle devices send is such frames.

Through the reader and the codec a heartbeat costs four times as much CPU. Anything but exactly one heartbeat in its
shortest form is left to them; a test holds the two against each other.
"""

from __future__ import annotations

from typing import Final

from presenced.limits import IDLE_MS_MAX
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Heartbeat

NO_REPORT: Final = -1

_SMALL: Final = {frame(encode(Heartbeat(idle_ms))): idle_ms for idle_ms in range(128)}
_SMALL[frame(encode(Heartbeat(None)))] = NO_REPORT
# An array of one: the report is left out.
_SMALL[frame(b"\x91" + encode(Heartbeat(None))[1:2])] = NO_REPORT
_HEAD_BYTES: Final = 7
_SIZES: Final = {
    # Frame length, array of two, type, and the byte that says how many follow (msgpack uint 8 to 64).
    frame(encode(Heartbeat(least)))[:_HEAD_BYTES]: len(frame(encode(Heartbeat(least))))
    for least in (128, 1 << 8, 1 << 16, 1 << 32)
}


def lone_heartbeat(data: bytes) -> int | None:
    """The idle time in milliseconds if `data` is one heartbeat and nothing else. -1: the heartbeat tells none. None:
    the data are something else, or the codec has to look at them. O(1)."""
    if len(data) != _SIZES.get(data[:_HEAD_BYTES]):
        return _SMALL.get(data)
    idle_ms = int.from_bytes(data[_HEAD_BYTES:], "big")
    return idle_ms if idle_ms <= IDLE_MS_MAX else None
