"""When something was last said of each user. Time alone changes users as well, as when a grace ends, and that does not
count. Nodes of a cluster compare these times to find which of two states is newer (`newness.Newness`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from presenced.core.model import User

_T = TypeVar("_T")


class SaidTimes:
    """Keeps `User.said_ms` for one engine, by which of its users were found out of date by a tick."""

    def __init__(self, dirty: Callable[[], list[User]]) -> None:
        """`dirty` gives those whose records are to be made anew, the latest last."""
        self._dirty = dirty
        self.are_told = False
        """Facts of records say when something was last said."""
        self._is_ticking = False
        self._ticked: dict[User, None] = {}
        """Dirty users of whom nobody has said anything."""
        self._by_time: dict[User, None] = {}
        """The same of those who were refreshed since the last turn."""

    def tell(self) -> None:
        """Facts of records say from now on when something was last said of their users. O(1)."""
        self.are_told = True

    # --- what makes records out of date -----------------------------------------------------------------------

    def let_pass(self, change: Callable[[_T], object], what: _T) -> None:
        """Call this: whom it makes dirty nobody has said anything of. O(these), on a node of a cluster, and what the
        call costs."""
        if not self.are_told:
            change(what)
            return
        # Somebody may wake, or be outdated, in a tick.
        first, was_ticking, self._is_ticking = len(self._dirty()), self._is_ticking, True
        change(what)
        self._is_ticking = was_ticking
        self._ticked |= dict.fromkeys(self._dirty()[first:])

    def note_dirty(self, user: User, *, is_again: bool) -> None:
        """The user is dirty; `is_again`: as they were before. O(1)."""
        if not is_again:
            self._by_time.pop(user, None)
        elif not self._is_ticking:
            self._ticked.pop(user, None)

    # --- what becomes of them ---------------------------------------------------------------------------------

    def begin_refresh(self) -> None:
        """All who are dirty are about to be refreshed. O(1)."""
        self._by_time, self._ticked = self._ticked, {}

    def note_refreshed(self, user: User) -> None:
        """The user is refreshed before the others. O(1)."""
        if self._ticked and self._ticked.pop(user, self) is None:
            self._by_time[user] = None

    def note_said(self, user: User, wall_ms: int) -> bool:
        """Something has become of the user in this turn. Returns whether somebody has said it: then just now, and later
        than all that was said before, whatever clocks show. O(1)."""
        if not self.are_told or user in self._by_time:
            return False
        said_ms = max(wall_ms, user.said_ms + 1)
        # The same time as one object: it takes 32 bytes.
        user.said_ms = user.since_ms if said_ms == user.since_ms else said_ms
        return True

    def note_erased(self, user: User, at_ms: int) -> None:
        """The user was erased at this wall time: what is said of them from now on is newer. O(1)."""
        user.said_ms = max(user.said_ms, at_ms)

    def forget(self, user: User) -> None:
        """Nothing was ever said of the user. O(1)."""
        user.said_ms = 0

    def take(self, user: User, since_ms: int, after_ms: int) -> None:
        """What a fact says of it (`RecordSet.said_after_ms`). O(1)."""
        if self.are_told:
            user.said_ms = since_ms + after_ms if after_ms else since_ms

    def after_ms(self, user: User, since_ms: int) -> int:
        """What a fact is to say of it. O(1)."""
        return user.said_ms - since_ms if self.are_told else 0
