"""Which users sleep, and how they wake (`dormants`).

A user falls asleep who has been offline for a while, if nothing of the user is due, nothing is still to be told of
them, and no part needs the object. All that is known is then in the facts that a snapshot would save. Whoever asks for
the user wakes them, and cannot tell that they slept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from presenced.core.clock import Clock
from presenced.core.dormants import NOTHING, Shelf, Tally, packed, unpacked
from presenced.core.ledger import Ledger
from presenced.core.model import GONE, User
from presenced.core.nameless_facts import decode_facts, encode_nameless
from presenced.core.part import Part, Parts, Restoring, Start, TakeUp
from presenced.core.parts.session_leases import SessionLeases
from presenced.core.parts.users import Users
from presenced.core.policy import Policy
from presenced.core.publisher import Publisher
from presenced.core.records import Fact, RecordSet, UsersAsleep

SLICE_COST_MAX: Final = 128
"""What is looked at in one turn, in users: about 2 ms if all of them can sleep."""

CONTACTS_PER_COST: Final = 16
"""Contacts that take as long as a user."""

SLICE_GAP_MS: Final = 10
AGAIN: Final = 10
"""Who could not sleep because somebody looks is tried again after so many times the while."""


class Sleep(Part):
    """Puts users to sleep, some in a turn, and wakes them."""

    def __init__(
        self,
        policy: Policy,
        users: Users,
        parts: Parts,
        session_leases: SessionLeases,
        publisher: Publisher,
        clock: Clock,
        ledger: Ledger,
        is_owed: Callable[[User], bool],
    ) -> None:
        """`is_owed` says whether a link that does not read is still to be told of the user."""
        self._policy = policy
        self._users = users
        self._parts = parts
        self._session_leases = session_leases
        self._publisher = publisher
        self._clock = clock
        self._ledger = ledger
        self._is_owed = is_owed
        self.run = 1
        """Of those in which users have slept, above all that are in the snapshot from which this one began. Each life
        of one of several nodes has one of its own."""
        self._pairs_sleep = True
        self._holds = 0
        self._offset_ms: int | None = None
        self._left: deque[tuple[int, User]] = deque()
        """Who went offline, and when to look at them; the earliest first."""
        self._again: deque[tuple[int, User]] = deque()
        """Users who were looked at and could not sleep, and when to look at them again."""
        self._risen: deque[tuple[int, User]] = deque()
        """Users who were woken, and when to look at them."""
        self._just_woken: list[User] = []
        self._unseen = 0
        """Places of `Users.order` that were filled by the start and not looked at yet, from the end."""
        self._unseen_ms = 0
        self._restorers: dict[type, TakeUp] = {}
        users.wake_by(self.wake)

    # --- falling asleep ---------------------------------------------------------------------------------------

    def keep_pairs_awake(self) -> None:
        """Nobody with contacts sleeps: there is no log, and the two sides of a pair would be saved at different
        moments. O(those who sleep with contacts)."""
        self._pairs_sleep = False
        for name in self._users.dormants.that_count():
            self._users.get(name)

    def name_run(self, run: int) -> None:
        """This run is told from those of other nodes by this number, which none of them has. What they have kept for
        clients counts for nothing here. O(1)."""
        self.run = run

    def went_offline(self, user: User, now_ms: int) -> None:
        """Look at the user when the while is over. O(1)."""
        if self._policy.sleep_after_ms:
            self._left.append((now_ms + self._policy.sleep_after_ms, user))

    def resume(self, users: Sequence[User], start: Start) -> None:
        """Who was read from the log is awake: look at all of them."""
        if self._policy.sleep_after_ms:
            self._unseen = len(users)
            self._unseen_ms = start.now_ms

    def hold(self) -> None:
        """Nobody falls asleep until `release`: somebody walks over all users."""
        self._holds += 1

    def release(self) -> None:
        """See `hold`. Once for each."""
        self._holds -= 1

    @property
    def is_held(self) -> bool:
        """Whether nobody may fall asleep now."""
        return self._holds > 0

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next; None = not until somebody goes offline, or a walk ends."""
        if self._holds:
            return None
        # Twice in each turn: without a list.
        first_ms = self._unseen_ms if self._unseen else None
        for line in (self._left, self._risen, self._again):
            if line and (first_ms is None or line[0][0] < first_ms):
                first_ms = line[0][0]
        return first_ms

    def tick(self, now_ms: int) -> None:
        """Put some to sleep. O(`SLICE_COST_MAX`)."""
        if self._holds:
            return
        left = SLICE_COST_MAX
        if self._unseen and now_ms >= self._unseen_ms:
            left = self._look_at_unseen(now_ms, left)
        for line in (self._left, self._risen, self._again):
            while left > 0 and line and line[0][0] <= now_ms:
                user = line.popleft()[1]
                left -= _cost_of(user)
                self._look_at(user, now_ms)

    def settle(self, now_ms: int) -> None:
        """Whoever was woken in this turn is looked at again when the while is over."""
        if self._just_woken:
            woken, self._just_woken = self._just_woken, []
            self._risen += [(now_ms + self._policy.sleep_after_ms, user) for user in woken]

    def _look_at_unseen(self, now_ms: int, left: int) -> int:
        order = self._users.order
        at = min(self._unseen, len(order))
        while at and left > 0:
            at -= 1
            user = order[at]
            left -= _cost_of(user)
            if user.record.status == "offline" and not self.put_to_sleep(user, now_ms) and self._is_plain(user):
                self._again.append((now_ms + AGAIN * self._policy.sleep_after_ms, user))
        self._unseen, self._unseen_ms = at, now_ms + SLICE_GAP_MS
        return left

    def _look_at(self, user: User, now_ms: int) -> None:
        if user.record.status != "offline" or self._users.awake(user.name) is not user:
            return
        if self._clock.wall_ms(now_ms) - user.since_ms < self._policy.sleep_after_ms:
            # The user has come and gone since: another entry stands for that. Or the clock of their home is ahead.
            if user.is_copy:
                self.went_offline(user, now_ms)
            return
        if not self.put_to_sleep(user, now_ms) and self._is_plain(user):
            self._again.append((now_ms + AGAIN * self._policy.sleep_after_ms, user))

    def put_to_sleep(self, user: User, now_ms: int) -> bool:
        """Put the user to sleep; returns whether that could be. O(what is known of the user)."""
        if not (self._is_plain(user) and self._is_quiet(user, now_ms)):
            return False
        roster = user.contacts
        tally = Tally(roster.listed, len(roster.asking or ())) if roster is not None else NOTHING
        facts = encode_nameless(user.name, self._parts.facts_asleep(user, now_ms, self.run))
        self._users.put_to_sleep(user, packed(user.record.version, facts, tally))
        return True

    def _is_plain(self, user: User) -> bool:
        """Whether the user is offline, and nothing is known of them that may come due or that others have a part in,
        but for contacts."""
        return (
            user.record.status == "offline"
            and (user.record.version > 0 or user.contacts is not None)
            and (user.contacts is None or self._pairs_sleep)
            and not user.claims
            and user.schedule is None
            and user.shown is None
            and not user.text_until_ms
            and not user.activities
            and not user.channels
            and user.privacy is None
        )

    def _is_quiet(self, user: User, now_ms: int) -> bool:
        """Whether nobody looks at a plain user, and nothing is under way. What was noted by a clock that was ahead is
        not at rest: it is shown otherwise once the clock has caught up."""
        record = user.record
        return not (
            user.dirty
            or user.scheduled
            or user.push_waits
            or user.watchers
            or user.faces
            or user.hidden_watchers
            or user.own is not None
            or user.awaited is not None
            or any(device.state != GONE or device.channels for device in user.devices.values())
            or record.since_ms != user.since_ms
            or record.last_seen_ms != user.seen_ms
            or max(record.since_ms, record.last_seen_ms) > self._clock.wall_ms(now_ms)
            or self._session_leases.keeps(user)
            or self._is_owed(user)
        )

    # --- waking -----------------------------------------------------------------------------------------------

    def wake(self, user: User, both: bytes) -> None:
        """Make the user from this, as they were. O(facts)."""
        self._apply(self._ledger.now_ms, user, both, lambda text: text)
        self._publisher.take_up(user)
        if self._policy.sleep_after_ms:
            self._just_woken.append(user)

    def wake_to_restore(self, source: Restoring, user: User, both: bytes) -> None:
        """As `wake` while facts are read: more of the user may come, and `resume` is to follow."""
        self._apply(source.now_ms, user, both, source.shared)

    def wake_with(self, offset_ms: int | None) -> None:
        """How far the wall clock was ahead of the monotonic clock when those who sleep now fell asleep; None = as far
        as it is."""
        self._offset_ms = offset_ms

    def _apply(self, now_ms: int, user: User, both: bytes, shared: Callable[[str], str]) -> None:
        if not self._restorers:
            self._restorers = self._parts.restorers()
        version, facts = unpacked(both)
        offset_ms = self._clock.offset_ms if self._offset_ms is None else self._offset_ms
        source = _Waking(user, self._users, self._clock, now_ms, offset_ms, self.run, shared)
        for fact in decode_facts(facts):
            self._restorers[type(fact)](source, fact)
        self._publisher.set_version(user, version)

    # --- users of other nodes (`copies`) ----------------------------------------------------------------------

    def put_new(self, name: str, both: bytes) -> None:
        """A user who is not awake here sleeps at their home: this is what is kept of them, and nothing that was kept
        before. What is counted of lists is for the caller to see to. O(bytes of a shelf)."""
        self._users.dormants.take(name)
        self._users.dormants.put(name, both)

    @staticmethod
    def facts_in(name: str, both: bytes) -> list[Fact]:
        """What is kept of a user who sleeps, as facts of somebody who is awake. O(facts)."""
        version, facts = unpacked(both)
        named: list[Fact] = [replace(fact, user=name) for fact in decode_facts(facts)]
        return [replace(fact, version=version) if isinstance(fact, RecordSet) else fact for fact in named]

    # --- the disk ---------------------------------------------------------------------------------------------

    def fact_of(self, number: int) -> UsersAsleep | None:
        """What a snapshot is to say of the users on one shelf; None = there is nobody. O(1)."""
        dormants = self._users.dormants
        shelf = dormants.shelf(number)
        if not shelf.sizes:
            return None
        tally = dormants.tally_of_shelf(number)
        return UsersAsleep("", number, dormants.shelves, dormants.newest, *tally, *shelf, self.run)

    def restorers(self) -> Mapping[type, TakeUp]:
        """Users who slept when the snapshot was taken."""
        return {UsersAsleep: self._restore}

    def _restore(self, source: Restoring, fact: UsersAsleep) -> None:
        self.run = max(self.run, fact.run + 1)
        users, shelf = self._users, Shelf(fact.names, fact.sizes, fact.packed)
        if not users:
            tally = Tally(fact.contacts, fact.requests)
            users.dormants.put_shelf(fact.shelf, fact.shelves, shelf, fact.newest, tally)
            return
        for encoded, both in shelf.users():
            name = encoded.decode()
            if name in users:
                # The same is read twice, and more was said of the user in between.
                self.wake_to_restore(source, source.user(name), both)
            else:
                users.dormants.put(name, both)

    def check(self, users: Iterable[User]) -> None:
        """See `Part`."""
        dormants = self._users.dormants
        assert not any(user.name in dormants for user in users), "a user is awake and asleep"


def _cost_of(user: User) -> int:
    """What it takes to put the user to sleep, if that can be. O(1)."""
    roster = user.contacts
    return 1 if roster is None else 1 + len(roster.contacts) // CONTACTS_PER_COST


class _Waking(Restoring):
    """What parts may ask while one user wakes, whose facts have no name."""

    def __init__(
        self,
        user: User,
        users: Users,
        clock: Clock,
        now_ms: int,
        offset_ms: int,
        run: int,
        shared: Callable[[str], str],
    ) -> None:
        self.now_ms = now_ms
        self.offset_ms = offset_ms
        self.run = run
        self.order = (user,)
        self._shared = shared
        self._user = user
        self._users = users
        self._clock = clock

    def user(self, name: str) -> User:
        return self._user

    def known_user(self, name: str) -> User | None:
        return self._users.get(name) if name else self._user

    def shared(self, text: str) -> str:
        return self._shared(text)

    def shared_number(self, number: int) -> int:
        return number

    def due_ms(self, until_ms: int) -> int:
        return self._clock.due_ms(until_ms, self.now_ms)
