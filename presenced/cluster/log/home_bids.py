"""Asks for this node to become the home of users who have none, and lets requests wait until the log has decided.
Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from presenced.cluster.log.batches import Batches
from presenced.cluster.log.entries import New


class HomeBids:
    """The bids that are not decided yet. See `cluster.ports.BidsPort`."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._waiting: dict[str, list[Callable[[int], object]]] = {}
        """What is called once a user has a home, by the name of the user."""

    def bid(self, names: Sequence[str], then: Callable[[int], object]) -> None:
        """Ask to be the home of these users, who have none. `then` is called once with the time when all of them have a
        home, whichever node that is, and never inside of this. O(names)."""
        missing = [name for name in names if name not in self._waiting]
        left = len(names)

        def decided(now_ms: int) -> None:
            nonlocal left
            left -= 1
            if not left:
                then(now_ms)

        for name in names:
            self._waiting.setdefault(name, []).append(decided)
        if missing:
            self._batches.add(New(missing))

    def is_asked_for(self, name: str) -> bool:
        """Whether a bid for this user is not decided yet. O(1)."""
        return name in self._waiting

    def note_decided(self, name: str, now_ms: int) -> None:
        """The user has a home: call what waits for it."""
        for decided in self._waiting.pop(name, ()):
            decided(now_ms)
