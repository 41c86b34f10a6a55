"""From facts to a running engine: what a daemon does with its data directory when it starts.

Restoring applies facts in order, newest last; each is absolute. Then `finish` makes of what was written down a state
that goes on: everybody who was live is held in grace, nothing is told to anyone, and what came due while nobody was
running is due now. Which fact means what is for the parts to say.
"""

from __future__ import annotations

from collections.abc import Sequence

from presenced.core.engine import Engine
from presenced.core.gathered_facts import Gathering
from presenced.core.model import User
from presenced.core.part import Restoring, Start
from presenced.core.records import Fact, VersionsRaised

STRINGS_MAX = 100_000


class Restorer(Restoring):
    """Fills a fresh engine. Call `apply` or `apply_log` with all facts in order, then `finish` once."""

    def __init__(self, engine: Engine, now_ms: int) -> None:
        self.engine = engine
        self.now_ms = now_ms
        self.offset_ms = engine.clock.offset_ms
        self.run = 0
        self.order = engine.users.order
        self._last = User("")
        self._strings: dict[str, str] = {}
        """One object for each device id, label and emoji: a million users have few different ones, and every fact
        comes with new copies. 280 bytes less per user, measured with a million."""
        self._numbers: dict[int, int] = {}
        """One object for each number of a holder."""
        self._restorers = engine.parts.restorers()
        engine.users.wake_by(self._wake)
        self._gathering = Gathering(
            engine.users, self._apply, now_ms + self.offset_ms, sleeps=bool(engine.policy.sleep_after_ms)
        )
        self._adders = self._gathering.adders()
        engine.events.begin_restoring()

    def apply(self, facts: Sequence[Fact]) -> None:
        """Apply facts in order. O(facts)."""
        restorers = self._restorers
        for fact in facts:
            restorers[type(fact)](self, fact)

    def apply_log(self, facts: Sequence[Fact]) -> None:
        """Apply facts of a log, many of which are replaced by later ones. O(facts)."""
        adders, restorers = self._adders, self._restorers
        for fact in facts:
            add = adders.get(type(fact))
            if add is not None:
                add(fact)
                continue
            if type(fact) is VersionsRaised:
                # It is about the records that have been read by now.
                self._gathering.finish()
            restorers[type(fact)](self, fact)

    def _apply(self, fact: Fact) -> None:
        self._restorers[type(fact)](self, fact)

    def finish(
        self,
        *,
        grace_ms: int,
        spread_ms: int,
        version_gap: int,
        stopped_wall_ms: int = 0,
        starts: Sequence[int] = (),
    ) -> None:
        """Make the state go on from now. O(users + devices).

        Devices that were live, and so were heard until about `stopped_wall_ms` unless they were silent, are in grace
        for `grace_ms` from now, or that of their kind if it is longer, and up to `spread_ms` more, spread evenly over
        the users. The version counter goes on
        from no less than any version seen. With a `version_gap` it goes on that much further, and all records get a new
        version: watchers may hold records that were pushed and not saved, and take only what is newer.

        `starts` are the wall times of the starts that followed each other closely, this one the last: the grace of a
        device that has not been back since the first of them counts from that, or a daemon that is killed again and
        again would hold everybody online for ever. Who has been back is known from the log, where it is noted.
        """
        self._gathering.finish()
        self.engine.users.make_by(None)
        ledger, users = self.engine.ledger, self.order
        newest = max((user.record.version for user in users), default=0)
        newest = max(newest, self.engine.users.dormants.newest)
        if version_gap:
            # The gap counts from what the manifest says, as it does in the store. No record should be above it. Logged
            # before anything else of this run, so that a start after a quiet one gives the same versions again.
            newest = self.engine.positions.end_life(users, max(ledger.version + version_gap, newest))
        ledger.raise_version(newest, self.now_ms)
        heard_ms = min(stopped_wall_ms - self.offset_ms, self.now_ms) if stopped_wall_ms else None
        begun_ms = [start - self.offset_ms for start in starts]
        start = Start(self.now_ms, grace_ms, spread_ms, heard_ms, begun_ms, bool(version_gap))
        self.engine.users.wake_by(self.engine.sleep.wake)
        for part in self.engine.parts.all:
            part.resume(users, start)
        self.engine.forget_blank()

    def _wake(self, user: User, both: bytes) -> None:
        """More is said of a user who slept in the snapshot."""
        self._last = user
        self.engine.sleep.wake_to_restore(self, user, both)

    # --- what parts ask (`Restoring`) -------------------------------------------------------------------------

    def user(self, name: str) -> User:
        """See `Restoring`. The facts of one user come together: a comparison is cheaper than a look into a table of a
        million."""
        if name != self._last.name:
            self._last = self.engine.users.get_or_new(name)
        return self._last

    def known_user(self, name: str) -> User | None:
        """See `Restoring`."""
        return self.engine.users.get(name)

    def shared(self, text: str) -> str:
        """See `Restoring`."""
        if len(self._strings) > STRINGS_MAX:
            self._strings.clear()
        return self._strings.setdefault(text, text)

    def shared_number(self, number: int) -> int:
        """See `Restoring`."""
        if len(self._numbers) > STRINGS_MAX:
            self._numbers.clear()
        return self._numbers.setdefault(number, number)

    def due_ms(self, until_ms: int) -> int:
        """See `Restoring`."""
        return self.engine.clock.due_ms(until_ms, self.now_ms)
