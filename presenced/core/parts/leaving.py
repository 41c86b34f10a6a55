"""What becomes of all that an ended session held and watched: it is let go of, a slice each turn.

A service may hold hundreds of thousands of devices and watch a million users; at once that would be seconds in which
nobody is served. Whatever is left for a later turn is as it was: a device is held by the ended session until its turn
comes, or until another takes it, and then its grace counts from the moment of the loss. What is sent to the session
meanwhile goes nowhere, as to every link that is closed.
"""

from __future__ import annotations

from presenced.core.model import Session
from presenced.core.parts.channels import Channels
from presenced.core.parts.leases import Leases
from presenced.core.parts.watching import Watching

SLICE = 1_000
"""Devices, users and channels together that are let go of in one turn: about 2 ms."""


class Leaving:
    """Ended sessions that still hold or watch something."""

    def __init__(self, leases: Leases, watching: Watching, channels: Channels) -> None:
        self._leases = leases
        self._watching = watching
        self._channels = channels
        self._sessions: dict[Session, int] = {}
        """And when each was lost."""

    def take(self, session: Session, now_ms: int) -> None:
        """The session has ended. What it holds and watches is let go of now, but for what is more than a slice.
        Idempotent."""
        self._sessions.setdefault(session, now_ms)
        self._let_go(session, SLICE)

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next: 0 = at once, None = nothing is left."""
        return 0 if self._sessions else None

    def tick(self) -> None:
        """Let go of the next slice. O(`SLICE`)."""
        left = SLICE
        while self._sessions and left > 0:
            left = self._let_go(next(iter(self._sessions)), left)

    def finish(self) -> None:
        """Let go of all of it: the daemon is about to stop."""
        while self._sessions:
            self.tick()

    def _let_go(self, session: Session, most: int) -> int:
        """Let go of so much of it; gives what is left of `most`."""
        lost_ms, refs = self._sessions[session], session.refs
        while refs and most > 0:
            self._leases.lose(refs.popitem()[1], lost_ms)
            most -= 1
        if most > 0:
            session.refs = None
            most -= self._watching.remove_some(session, most)
        if most > 0:
            most -= self._channels.unwatch_some(session, most)
        if most > 0:
            del self._sessions[session]
        return most
