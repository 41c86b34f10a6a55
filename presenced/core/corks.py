"""Links whose answer is about to come, and which are told everything else together with it, in one write.

A write costs a few microseconds, which is what all else that a change costs comes to. Where answers wait for a disk or
for other nodes, each link that changes something is written to twice: what others did, and then its answer. The cork
joins the two. It is for `CORK_MS` at most, or for `CORK_TURNS` turns of a server that has much to do, and it is not
used while answers take longer than that.
"""

from __future__ import annotations

from typing import Final

from presenced.core.model import Session

CORK_MS: Final = 4
"""So long a link that waits for an answer is not told what others did."""

CORK_TURNS: Final = 3
"""Where each turn takes longer than that, since there is much to do: for so many turns."""


class Corks:
    """The links that wait for an answer, and since when."""

    def __init__(self) -> None:
        self.kept: dict[Session, int] = {}
        """Those that were not written to in the last turn, and how many frames are pending since."""
        self._waiting: dict[Session, tuple[int, int]] = {}
        """When each was put, and in which turn."""
        self._turn = 0
        self._is_worth = True
        """Answers come in time."""
        self._next_ms: int | None = None

    def put(self, session: Session, now_ms: int) -> None:
        """An answer that waits for the log is owed to the link. O(1)."""
        if session not in self._waiting:
            self._waiting[session] = now_ms, self._turn

    def take(self, session: Session, now_ms: int) -> None:
        """The answer is there. O(1)."""
        put = self._waiting.pop(session, None)
        if put is not None:
            self._is_worth = now_ms - put[0] < CORK_MS or self._turn - put[1] <= CORK_TURNS

    def divide(self, sessions: list[Session], now_ms: int, *, is_busy: bool) -> list[Session]:
        """Of all sessions with something pending, return those to write to now. The others are `kept` until their
        answer comes, or takes too long. Called once in a turn; `is_busy`: the turn has changed something. O(sessions),
        or O(1) if none waits."""
        self._turn += 1
        self._next_ms = None
        self.kept = kept = {}
        if not self._waiting or not self._is_worth:
            return sessions
        waiting, turn = self._waiting, self._turn
        oldest_ms = now_ms
        rest: list[Session] = []
        for session in sessions:
            put = waiting.get(session)
            if put is None:
                rest.append(session)
            elif now_ms - put[0] < CORK_MS or (is_busy and turn - put[1] <= CORK_TURNS):
                if session.pending:
                    kept[session] = len(session.pending)
                    oldest_ms = min(oldest_ms, put[0])
            else:
                self._is_worth = False
                rest.append(session)
        if kept:
            self._next_ms = max(now_ms + 1, oldest_ms + CORK_MS)
        return rest

    def clear(self) -> None:
        """Whoever waits for an answer is written to, too: this is the last turn. O(links that wait)."""
        self._waiting.clear()

    @property
    def next_ms(self) -> int | None:
        """When those that are kept are to be looked at again, if nothing happens; None = none is kept."""
        return self._next_ms
