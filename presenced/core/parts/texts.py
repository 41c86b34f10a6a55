"""The text and emoji of a user, with their end, and what others see instead while the user appears offline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from presenced.core.clock import Clock
from presenced.core.ledger import Ledger
from presenced.core.model import Shown, User
from presenced.core.part import Jump, Part, Restoring, TakeUp
from presenced.core.parts.user_ends import UserEnds
from presenced.core.precedence import is_hidden
from presenced.core.records import Fact, ShownSet, TextSet


class Texts(Part):
    """Owns text and emoji, which have one end between them, independent of status and claims (protocol.md, 7.4)."""

    def __init__(self, ledger: Ledger, clock: Clock, ends: UserEnds) -> None:
        self._ledger = ledger
        self._clock = clock
        self._ends = ends

    def change(self, user: User, text: str | None, emoji: str | None, due_ms: int) -> None:
        """Set the text, the emoji or both until `due_ms` (0 = until they are changed). None leaves one as it is, except
        that an empty text takes the emoji with it."""
        if text is None and emoji is None:
            return
        new_text = user.text if text is None else text
        new_emoji = emoji if emoji is not None else ("" if text == "" else user.emoji)
        if text is None and user.text and not due_ms:
            # Another emoji beside the same text: that keeps its end.
            until_ms, due_ms, by_wall = user.text_until_ms, user.text_due_ms, user.text_by_wall
        else:
            until_ms, by_wall = self._clock.wall_ms(due_ms) if due_ms else 0, False
        if not new_text and not new_emoji:
            until_ms = due_ms = 0
        if user.shown is None and is_hidden(user):
            # Nobody is told that it is another text, or the user would be seen to be there. What was seen until now
            # goes on to be seen, and ends when it would have ended.
            self._show(user, Shown(user.text, user.emoji, user.text_until_ms, user.text_due_ms, user.text_by_wall))
        self._set(user, new_text, new_emoji, until_ms, due_ms, by_wall=by_wall)

    def reveal(self, user: User) -> None:
        """Claims have changed: a user who does not appear offline any longer is seen with their own text."""
        if user.shown is not None and not is_hidden(user):
            user.shown = None

    def _set(self, user: User, text: str, emoji: str, until_ms: int, due_ms: int, *, by_wall: bool) -> None:
        user.text, user.emoji = text, emoji
        user.text_until_ms, user.text_due_ms, user.text_by_wall = until_ms, due_ms, by_wall
        self._ledger.add(TextSet(user.name, text, emoji, until_ms))
        self._ends.changed(user)

    def _show(self, user: User, shown: Shown) -> None:
        user.shown = shown
        self._ledger.add(ShownSet(user.name, shown.text, shown.emoji, shown.until_ms))
        self._ends.changed(user)

    def take_over(self, user: User, now_ms: int) -> None:
        """What another node decided about until now ends by this node's clock. O(1)."""
        user.text_due_ms = self._clock.due_ms(user.text_until_ms, now_ms)
        if (shown := user.shown) is not None:
            user.shown = shown._replace(due_ms=self._clock.due_ms(shown.until_ms, now_ms))

    # --- what ends, and the clock -----------------------------------------------------------------------------

    def due(self, user: User, now_ms: int) -> None:
        """The user's wheel entry came out: end a text that has come to its end. O(1)."""
        if user.text_due_ms and now_ms >= user.text_due_ms:
            self._set(user, "", "", 0, 0, by_wall=False)
        if user.shown is not None and user.shown.due_ms and now_ms >= user.shown.due_ms:
            self._show(user, Shown("", "", 0, 0, False))

    def clock_jumped(self, user: User, jump: Jump, now_ms: int) -> None:
        """A text that ends at a wall time is due at another moment, and one that ends after a time at another wall
        time."""
        clock, shown = self._clock, user.shown
        if not user.text_until_ms and shown is None:
            return
        if user.text_by_wall:
            user.text_due_ms = clock.due_ms(user.text_until_ms, now_ms)
        elif user.text_due_ms:
            user.text_until_ms = clock.wall_ms(user.text_due_ms)
            self._ledger.add(TextSet(user.name, user.text, user.emoji, user.text_until_ms))
        if shown is not None and shown.by_wall:
            user.shown = shown._replace(due_ms=clock.due_ms(shown.until_ms, now_ms))
        elif shown is not None and shown.due_ms:
            self._show(user, shown._replace(until_ms=clock.wall_ms(shown.due_ms)))
        self._ends.changed(user)

    # --- the disk ---------------------------------------------------------------------------------------------

    def keeps(self, user: User) -> bool:
        """Whether there is a text."""
        return bool(user.text or user.emoji)

    def erase(self, user: User, now_ms: int) -> None:
        """The text, and what is shown instead. O(claims)."""
        user.text = user.emoji = ""
        user.text_until_ms, user.text_due_ms, user.text_by_wall = 0, 0, False
        user.shown = None
        self._ends.arm(user)

    def facts_of(self, user: User, now_ms: int) -> Iterable[Fact]:
        """The text, and what is shown instead. O(1)."""
        if user.shown is not None:
            yield ShownSet(user.name, user.shown.text, user.shown.emoji, user.shown.until_ms)
        if user.text or user.emoji:
            yield TextSet(user.name, user.text, user.emoji, user.text_until_ms)

    def restorers(self) -> Mapping[type, TakeUp]:
        """Texts and what is shown instead."""
        return {ShownSet: self._restore_shown, TextSet: self._restore_text}

    def _restore_shown(self, source: Restoring, fact: ShownSet) -> None:
        due_ms = source.due_ms(fact.until_ms)
        source.user(fact.user).shown = Shown(fact.text, fact.emoji, fact.until_ms, due_ms, bool(fact.until_ms))

    def _restore_text(self, source: Restoring, fact: TextSet) -> None:
        user = source.user(fact.user)
        user.text, until_ms = fact.text, fact.until_ms
        user.emoji = source.shared(fact.emoji) if fact.emoji else ""
        user.text_until_ms, user.text_by_wall = until_ms, bool(until_ms)
        user.text_due_ms = source.due_ms(until_ms) if until_ms else 0
