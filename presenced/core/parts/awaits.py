"""Awaits: links that wait until a user shows a status, and the one answer that each gets (protocol.md, section 23.3).

An await is about what its link is shown of the user. A link that may not see the user waits as for a name never seen.
So awaits are not filed by faces: one is looked at again whenever the user or the face has changed, and when time alone
decides. The result depends on the moment and on the result of the look before.

A change of a user whom nobody awaits costs one test. Awaits of other users are looked at when the turn ends, once all
records are made, and only some in each turn if there are very many. The user may change again meanwhile. An await that
has missed a change counts its holding time anew, so that it never counts too much.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, get_args

from presenced.core.awaited_states import OneAwait, changes_of, has_kind, kinds_of, states_of
from presenced.core.clock import Clock
from presenced.core.model import Session, User
from presenced.core.outboxes import Outboxes
from presenced.core.part import Part
from presenced.core.parts.users import Users
from presenced.core.pending_awaits import AwaitedUser, PendingAwait
from presenced.core.publisher import Publisher
from presenced.core.sight import Sight
from presenced.core.wheel import Wheel
from presenced.errors import RequestError
from presenced.limits import AWAITS_PER_LINK_MAX, SERVICE_AWAITS_PER_LINK_MAX
from presenced.wire.codec import encode
from presenced.wire.messages import Await, Awaited, Error, Record, Status

TURN_COST_MAX: Final = 3_000
"""What is done about awaits at the end of one turn, in about a microsecond: about 3 ms."""

LOOK_COST: Final = 1
ANSWER_COST: Final = 8

SHARE: Final = 256
"""Awaits of one user that are looked at before those of another have their turn."""

BITS: Final[dict[str, int]] = {status: 1 << place for place, status in enumerate(get_args(Status))}
ANY_BUT_OFFLINE: Final = sum(BITS.values()) - BITS["offline"]


class Awaits(Part):
    """Owns the awaits of all links, and what is still to be looked at."""

    def __init__(
        self, users: Users, sight: Sight, wheel: Wheel, clock: Clock, publisher: Publisher, outboxes: Outboxes
    ) -> None:
        self.count = 0
        """Awaits under way."""
        # counted for the operator
        self.met = 0
        self.unmet = 0
        self.looks = 0
        """How often one was looked at."""
        self._asked = 0
        self._users = users
        self._sight = sight
        self._wheel = wheel
        self._clock = clock
        self._publisher = publisher
        self._outboxes = outboxes
        self._due: dict[OneAwait, None] = {}
        """To be looked at when this turn ends."""
        self._lines: dict[User | Session, list[OneAwait]] = {}
        """Of a user or of a link, those that are still to be looked at, the next one last."""
        self._again: dict[User | Session, None] = {}
        """Users and links among these that changed again meanwhile: all are looked at once more after that."""
        self._held: dict[Session, dict[OneAwait, None]] = {}
        """Of links that do not read, the awaits that would have been answered."""

    # --- what links ask ---------------------------------------------------------------------------------------

    def add(self, now_ms: int, session: Session, asked: Await) -> User:
        """Answer this await once, now or later; returns the user whom it is about, whose record is up to date.

        Raises `RequestError` (`await_limit`, `bad_request`) before anything is kept. O(1), with kinds O(devices).
        """
        awaits = session.awaits
        if awaits is None:
            awaits = session.awaits = {}
        most = AWAITS_PER_LINK_MAX if session.role == "user" else SERVICE_AWAITS_PER_LINK_MAX
        if asked.id in awaits:
            raise RequestError("bad_request", f"Await: the await {asked.id} of this link is under way; take another id")
        if len(awaits) >= most:
            sentence = f"this link has {most} awaits under way, as many as it may; cancel one, or wait"
            raise RequestError("await_limit", sentence)
        user = self._users.get_or_new(asked.user)
        statuses = 0
        for status in asked.statuses:
            statuses |= BITS[status]
        self._asked += 1
        one = PendingAwait(
            self._asked,
            session,
            asked.id,
            user,
            statuses or ANY_BUT_OFFLINE,
            tuple(asked.kinds),
            asked.for_at_least_ms,
            now_ms + asked.for_at_most_ms,
        )
        awaits[asked.id] = one
        awaited = user.awaited
        if awaited is None:
            awaited = user.awaited = AwaitedUser()
            awaited.states = states_of(user)
        awaited.awaits[one] = None
        if one.kinds:
            awaited.of_kinds += 1
            if awaited.of_kinds == 1:
                awaited.counted_kinds = kinds_of(user)
        self.count += 1
        self._look(one, now_ms)
        return user

    def cancel(self, session: Session, request_id: int) -> None:
        """Answer the await of this id now. That it was answered before is no error. O(1)."""
        one = (session.awaits or {}).get(request_id)
        if one is not None:
            self._forget(one)
            self._reply(one, met=False, record=self._sight.answer(session, one.user))

    # --- what makes them worth a look -------------------------------------------------------------------------

    def come_due(self, one: OneAwait) -> None:
        """Its wheel entry came out. It is looked at when the turn ends: what else ends now belongs to it. O(1)."""
        self._due[one] = None

    def pair_changed(self, session: Session, user: User) -> None:
        """How the link sees the user may have changed. O(awaits of the link), if anybody awaits the user."""
        if user.awaited is not None and session.awaits is not None:
            self._due.update((one, None) for one in session.awaits.values() if one.user is user)

    def subject_changed(self, user: User) -> None:
        """How anybody sees the user may have changed. O(awaits of the user), without anything done for each."""
        if user.awaited is not None:
            self._line_up(user)

    def user_changed(self, user: User) -> None:
        """Something of the user may be other than it was. O(awaits of the user), without anything done for each."""
        awaited = user.awaited
        if awaited is None:
            return
        if awaited.states != states_of(user) or (awaited.of_kinds and awaited.counted_kinds != kinds_of(user)):
            self._note_change(user, awaited)

    def session_changed(self, session: Session) -> None:
        """How the link sees anybody may have changed. O(awaits of the link), without anything done for each."""
        if session.awaits is not None:
            self._line_up(session)

    def resume_session(self, session: Session) -> None:
        """The link reads again: what it would have been answered is looked at now."""
        held = self._held.pop(session, None)
        if held is not None:
            self._line_up(session)

    def erase(self, user: User, now_ms: int) -> None:
        """The awaits are others' and stay: they are about a name of which nothing is known now."""
        if user.awaited is not None:
            self._note_change(user, user.awaited)

    # --- time -------------------------------------------------------------------------------------------------

    @property
    def next_ms(self) -> int | None:
        """When the rest is to be looked at: 0 = at once, None = there is none."""
        return 0 if self._lines else None

    def settle(self, now_ms: int) -> None:
        """Look at what may be decided, up to a bound on what that costs. Who changed most is not served first: they
        take turns."""
        for user in self._publisher.take_awaited():
            self.user_changed(user)
        if not self._due and not self._lines:
            return
        left = TURN_COST_MAX
        due, self._due = self._due, {}
        # As they were asked. What order the wheel gives depends on other users.
        for one in sorted(due, key=_number):
            left -= self._look(one, now_ms)
        while self._lines and left > 0:
            whose = next(iter(self._lines))
            line = self._lines.pop(whose)
            share = SHARE
            while line and share > 0 and left > 0:
                left -= self._look(line.pop(), now_ms)
                share -= 1
            if line:
                self._lines[whose] = line
            elif self._again.pop(whose, 0) is None:
                self._line_up(whose)

    # --- what the engine asks ---------------------------------------------------------------------------------

    def keeps(self, user: User) -> bool:
        """Whether somebody awaits the user."""
        return user.awaited is not None

    def end_session(self, session: Session, now_ms: int) -> None:
        """Nothing that waits for the link to read will be answered."""
        self._held.pop(session, None)

    def let_go(self, session: Session, lost_ms: int, most: int) -> int:
        """End the awaits of a link that has ended, without an answer, some at a time."""
        count = 0
        while session.awaits and count < most:
            self._forget(next(reversed(session.awaits.values())))
            count += 1
        session.awaits = session.awaits or None
        return count

    def check(self, users: Iterable[User]) -> None:
        """Both sides agree, and whatever is not answered yet is in the wheel or waits for its link. O(awaits)."""
        count = 0
        for user in users:
            awaited = user.awaited
            if awaited is None:
                continue
            assert awaited.awaits, f"{user.name} is awaited by nobody"
            assert awaited.of_kinds == sum(bool(one.kinds) for one in awaited.awaits)
            count += len(awaited.awaits)
            for one in awaited.awaits:
                assert one.user is user and not one.is_over, f"an await about {user.name} is over, or of somebody else"
                if one.session.ended:
                    continue
                assert (one.session.awaits or {}).get(one.id) is one, f"an await about {user.name} is not its link's"
                is_held = one in self._held.get(one.session, {})
                assert is_held or one.scheduled, f"an await about {user.name} waits for nothing"
        assert count == self.count, f"{count} awaits are counted as {self.count}"

    # --- within -----------------------------------------------------------------------------------------------

    def _note_change(self, user: User, awaited: AwaitedUser[Session, User]) -> None:
        before, awaited.states = awaited.states, states_of(user)
        awaited.record_changes += awaited.states[0] != before[0]
        awaited.shown_changes += awaited.states[1] != before[1]
        awaited.all_changes += 1
        if awaited.of_kinds:
            awaited.counted_kinds = kinds_of(user)
        self._line_up(user)

    def _line_up(self, whose: User | Session) -> None:
        """Look at all awaits of a user or a link, from this turn's end on."""
        if whose in self._lines:
            self._again[whose] = None
            return
        if isinstance(whose, User):
            awaits = list(whose.awaited.awaits) if whose.awaited is not None else []
        else:
            awaits = list((whose.awaits or {}).values())
        if awaits:
            awaits.reverse()
            self._lines[whose] = awaits

    def _look(self, one: OneAwait, now_ms: int) -> int:
        """Answer the await if it is decided, else wait for when it may be; returns what that cost."""
        session, user = one.session, one.user
        awaited = user.awaited
        if one.is_over or session.ended or awaited is None:
            return LOOK_COST
        self.looks += 1
        if one.kinds and session.viewer is None and session.rights is not None:
            if not session.rights.acts_for(user.name):
                self._forget(one)
                sentence = "the token of this link does not let it ask for kinds of devices of this user any longer"
                self._outboxes.reply(session, encode(Error(one.id, "forbidden", sentence)))
                return ANSWER_COST
        kind, before_ms = self._sight.face(session, user), one.held_from_ms
        record, changes = self._sight.present(user, kind), changes_of(one, awaited, kind)
        if not BITS[record.status] & one.statuses or (one.kinds and not has_kind(user, one.kinds)):
            one.held_from_ms = None
        elif before_ms is None or (kind == one.face and one.looked + 1 < changes):
            one.held_from_ms = self._held_from(one, record, now_ms)
        one.looked, one.face = changes, kind
        held_from_ms = one.held_from_ms
        if one.scheduled and held_from_ms == before_ms:
            # Time decides, and the wheel says when: a few milliseconds sooner would tell that the user has changed.
            return LOOK_COST
        due_ms = one.until_ms if held_from_ms is None else min(one.until_ms, held_from_ms + one.least_ms)
        if due_ms > now_ms:
            if not one.scheduled or one.due_ms > due_ms:
                # One that comes out too early is looked at, and waits again.
                self._wheel.schedule(one, due_ms)
            return LOOK_COST
        if session.owed is not None:
            # The latest is answered once the link reads: what it would be told now may not hold by then.
            self._wheel.cancel(one)
            self._held.setdefault(session, {})[one] = None
            return LOOK_COST
        self._forget(one)
        met = held_from_ms is not None and held_from_ms + one.least_ms <= now_ms
        self._reply(one, met=met, record=self._sight.answer(session, user))
        return ANSWER_COST

    def _held_from(self, one: OneAwait, record: Record, now_ms: int) -> int:
        """From when on it has held, as far as the link may know: since the status began, if it is told that and asks
        for nothing else, so that one who comes back loses nothing."""
        if one.kinds or not record.since_ms:
            return now_ms
        return now_ms - max(0, self._clock.wall_ms(now_ms) - record.since_ms)

    def _reply(self, one: OneAwait, *, met: bool, record: Record) -> None:
        if met:
            self.met += 1
        else:
            self.unmet += 1
        self._outboxes.reply(one.session, encode(Awaited(one.id, met, record)))

    def _forget(self, one: OneAwait) -> None:
        """It waits no longer. O(1)."""
        session, user = one.session, one.user
        one.is_over = True
        self._wheel.cancel(one)
        self.count -= 1
        if session.awaits is not None:
            session.awaits.pop(one.id, None)
        if session in self._held:
            self._held[session].pop(one, None)
        awaited = user.awaited
        if awaited is not None:
            awaited.awaits.pop(one, None)
            awaited.of_kinds -= bool(one.kinds)
            if not awaited.awaits:
                user.awaited = None
                self._users.forget_if_blank(user)


def _number(one: OneAwait) -> int:
    return one.number
