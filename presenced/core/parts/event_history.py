"""The newest events as encoded frames, bounded in number and in bytes. A follower that was away gets what it
missed from here.

The events have no gap: the oldest go first, and a cursor from before the oldest is too old.
"""

from __future__ import annotations

from presenced.limits import EVENTS_BYTES_MAX, EVENTS_KEPT

FRAME_BYTES = 48
"""What an event takes besides its own bytes: the object that holds them, and its place in the list."""


class EventHistory:
    """Owns the frames, and the number of the newest."""

    def __init__(self) -> None:
        self.seq = 0
        """Number of the newest event."""
        self.bytes = 0
        """What is kept takes, about."""
        self._frames: list[bytes] = []
        """The first `_gone` of them are given up and empty."""
        self._gone = 0
        self._bytes_max = EVENTS_BYTES_MAX

    @property
    def oldest(self) -> int:
        """The oldest cursor that can be gone on from; the number of the newest if nothing is kept."""
        return self.seq - len(self._frames) + self._gone

    def add(self, data: bytes) -> None:
        """Keep the frame of the next event, whose number is `seq` + 1; the oldest make room. Amortized O(1)."""
        self.seq += 1
        self._frames.append(data)
        self.bytes += len(data) + FRAME_BYTES
        self._make_room()

    def after(self, seq: int, count: int) -> list[bytes]:
        """Up to `count` frames of the events after this cursor, which must not be before `oldest`. O(count)."""
        start = seq - self.oldest + self._gone
        return self._frames[start : start + count]

    def with_bytes(self, part: bytes) -> list[int]:
        """The numbers of the kept events whose frames hold these bytes. O(bytes kept)."""
        first = self.oldest + 1 - self._gone
        return [first + place for place, data in enumerate(self._frames) if part in data]

    def at(self, seq: int) -> bytes:
        """The frame of a kept event. O(1)."""
        return self._frames[self._place(seq)]

    def replace(self, seq: int, data: bytes) -> None:
        """Keep another frame in the place of a kept one. O(1)."""
        place = self._place(seq)
        self.bytes += len(data) - len(self._frames[place])
        self._frames[place] = data

    def _place(self, seq: int) -> int:
        return seq - 1 - self.oldest + self._gone

    def bound(self, bytes_max: int) -> None:
        """Keep no more than fits in so many bytes from now on."""
        self._bytes_max = bytes_max
        self._make_room()

    def forget(self) -> None:
        """Keep nothing of what has been. What happens from now on need not be added: no cursor holds over that."""
        self._frames = []
        self._gone = self.bytes = 0
        self.seq += 1

    def _make_room(self) -> None:
        frames = self._frames
        while self.bytes > self._bytes_max or len(frames) - self._gone > EVENTS_KEPT:
            self.bytes -= len(frames[self._gone]) + FRAME_BYTES
            frames[self._gone] = b""
            self._gone += 1
        if 2 * self._gone > len(frames):
            # Taking the first off a list moves all others.
            del frames[: self._gone]
            self._gone = 0
