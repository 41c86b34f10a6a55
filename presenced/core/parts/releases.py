"""Lets go of all that an ended session held and watched, a slice each turn.

A service may hold hundreds of thousands of devices and watch a million users. To let go of all at once would take
seconds in which nobody is served. What is left for a later turn stays as it was: the ended session holds a device until
its turn comes, or until another session takes it. The grace of the device counts from the moment of the loss all the
same. Whatever the session is sent meanwhile is dropped, as for every closed link.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from presenced.core.model import Session
from presenced.core.part import Part

SLICE = 1_000
"""Devices, users and channels together that are let go of in one turn: about 2 ms."""


class Releases(Part):
    """Owns the ended sessions that still hold or watch something."""

    def __init__(self, holding: Sequence[Part]) -> None:
        """`holding`: the parts in which sessions hold something."""
        self._holding = holding
        self._end_parking: Callable[[Session], object] = lambda session: None
        self._sessions: dict[Session, int] = {}
        """Ended sessions that still hold something, and when each was lost."""

    def tell_parked(self, tell: Callable[[Session], object]) -> None:
        """Call this with each session that is `parked` once it has been let go of wholly."""
        self._end_parking = tell

    def add(self, session: Session, now_ms: int) -> None:
        """The session has ended. Let go now of what it holds and watches, but for what is more than a slice.
        Idempotent."""
        self._sessions.setdefault(session, now_ms)
        self._let_go_of(session, SLICE)

    def lost_ms(self, session: Session, now_ms: int) -> int:
        """When an ended session was lost, if it still holds or watches something; else `now_ms`. O(1)."""
        return self._sessions.get(session, now_ms)

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next: 0 = at once, None = nothing is left."""
        return 0 if self._sessions else None

    def tick(self, now_ms: int) -> None:
        """Let go of the next slice. O(`SLICE`)."""
        left = SLICE
        while self._sessions and left > 0:
            left = self._let_go_of(next(iter(self._sessions)), left)

    def finish(self) -> None:
        """Let go of all of it: the daemon is about to stop."""
        while self._sessions:
            self.tick(0)

    def _let_go_of(self, session: Session, most: int) -> int:
        """Let go of up to so many things of the session; returns what is left of `most`."""
        lost_ms = self._sessions[session]
        for part in self._holding:
            most -= part.let_go(session, lost_ms, most)
            if most <= 0:
                return 0
        del self._sessions[session]
        if session.parked is not None:
            self._end_parking(session)
        return most
