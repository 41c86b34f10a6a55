"""What the engine asks of each part of the presence state, and the loops that ask it.

A part owns one kind of state per user or per session. To add a kind, write one `Part` and name it once in `Engine`.
From then on the kind is saved, restored and ticked, follows a clock that was set, and keeps its users known. Each
method of `Part` has a default, so that a part defines only the methods that it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from presenced.core.model import Device, Session, User
from presenced.core.records import Fact


class Jump(NamedTuple):
    """The wall clock was set."""

    jump_ms: int
    """By how much."""
    set_ms: int
    """When, on the monotonic clock."""


class Start(NamedTuple):
    """What a restart decides about the state that it found (`restorer.Restorer.finish`)."""

    now_ms: int
    grace_ms: int
    """The least grace of devices that were live."""
    spread_ms: int
    """The most that is added to it, spread over the users."""
    heard_ms: int | None
    """When devices that were live and not silent were heard last; None if that is not known."""
    begun_ms: list[int]
    """The starts that followed each other closely, this one the last."""
    is_unclean: bool = False
    """The daemon was killed: what it told last may not be among the facts."""


class Restoring(Protocol):
    """What a part may ask while facts are read. Times are as of the start, not of the facts."""

    now_ms: int
    offset_ms: int
    run: int
    """The run of the server that the facts may belong to (`records.UsersAsleep`); 0 = an earlier one."""
    order: Sequence[User]
    """All users about whom a fact was read."""

    def user(self, name: str) -> User:
        """The user of this name, made if there is none. O(1)."""

    def known_user(self, name: str) -> User | None:
        """The user of this name, if a fact about them was read. O(1)."""

    def shared(self, text: str) -> str:
        """The same text as one object for all users. Ids, labels and emoji are few, and each fact brings new copies."""

    def shared_number(self, number: int) -> int:
        """The same number as one object for all users."""

    def due_ms(self, until_ms: int) -> int:
        """The deadline for a wall time (`Clock.due_ms`)."""


class Deadline(Protocol):
    """Knows when something is due next."""

    @property
    def next_ms(self) -> int | None:
        """0 = at once, None = not until something happens."""


TakeUp = Callable[[Restoring, Any], object]
"""Applies one fact of its kind."""


class Part:
    """One kind of state, with all rules about it. A default stands for a part that has nothing to do."""

    # --- users ------------------------------------------------------------------------------------------------

    def facts_of(self, user: User, now_ms: int) -> Iterable[Fact]:
        """The facts about the user that a snapshot has to have. O(these)."""
        return ()

    def facts_asleep(self, user: User, now_ms: int, run: int) -> Iterable[Fact]:
        """The facts that are kept of a user who sleeps in this run (`records.UsersAsleep`), none of which others may
        change. O(these)."""
        return self.facts_of(user, now_ms)

    def general_facts(self, now_ms: int) -> Iterable[Fact]:
        """The facts of a snapshot that are about no user. They are taken one by one while the server goes on: facts
        that belong to one moment must be made at once."""
        return ()

    def restorers(self) -> Mapping[type, TakeUp]:
        """What applies each kind of this part's facts at a start. Facts come in the order in which they were logged,
        and a fact may come again."""
        return {}

    def appliers(self) -> Mapping[type, TakeUp]:
        """What applies facts that another node has decided, while this node runs (`copies`): for those kinds of facts
        of which somebody is told. `restorers` apply the others. No fact and no event comes of it."""
        return {}

    def resume(self, users: Sequence[User], start: Start) -> None:
        """All facts are read: make a state of them that goes on. Nobody is told anything. O(users)."""

    def keeps(self, user: User) -> bool:
        """Whether this part knows something of the user, so that the user must not be forgotten. O(1)."""
        return False

    def erase(self, user: User, now_ms: int) -> None:
        """Forget all that this part knows of the user, also outside of the `User`. The user's links and live devices
        have ended before. No fact is needed: the log has one for all parts, and this is called again when it is read,
        before `resume`. What changes for other users is logged as usual. O(what is known)."""

    def end_device(self, device: Device, now_ms: int) -> None:
        """The device is gone: drop what depended on it. O(that)."""

    def clock_jumped(self, user: User, jump: Jump, now_ms: int) -> None:
        """The wall clock was set: adjust the user's times and ends that are wall times. O(these)."""

    # --- sessions ---------------------------------------------------------------------------------------------

    def end_session(self, session: Session, now_ms: int) -> None:
        """The session has ended. Its device is still known. Idempotent. O(1): more belongs in `let_go`."""

    def let_go(self, session: Session, lost_ms: int, most: int) -> int:
        """Let go of up to `most` things that a session held, which was lost at `lost_ms`. Returns how many. It is
        called again in later turns until it returns fewer than `most`. O(`most`)."""
        return 0

    def resume_session(self, session: Session) -> None:
        """The session's link reads again: queue what it has missed, except records. O(that)."""

    def rights_changed(self, session: Session, now_ms: int) -> None:
        """The session has a token with other rights: adjust what depends on them. O(that)."""

    # --- time -------------------------------------------------------------------------------------------------

    deadline_source: Deadline | None = None
    """What knows when `tick` has to be called next, if that is not the part itself. It is asked twice a turn, so a part
    that only passed the question on would double the cost."""

    @property
    def next_ms(self) -> int | None:
        """When `tick` has to be called next: 0 = at once, None = not until something happens."""
        return None if self.deadline_source is None else self.deadline_source.next_ms

    def tick(self, now_ms: int) -> None:
        """Do what has become due, as much as a turn may take. `next_ms` says whether there is more."""

    def settle(self, now_ms: int) -> None:
        """The turn ends, and all records are made: queue what is told besides records."""

    def check(self, users: Iterable[User]) -> None:
        """Raise `AssertionError` if the part's own state is wrong. For tests and `--check`. O(users)."""


class Parts:
    """All parts in one order, which every loop keeps. `Engine` gives the order and the reasons."""

    def __init__(self) -> None:
        self.all: list[Part] = []
        self._keeping: list[Part] = []
        self._ticking: list[Part] = []
        self.deadlines: list[Deadline] = []
        """Whatever may need a turn: the parts that tick, and others."""
        self._settling: list[Part] = []
        self._saved: list[Part] = []
        self._generally_saved: list[Part] = []
        self._clocked: list[Part] = []
        self._erasing: list[Part] = []

    def add(self, *parts: Part) -> None:
        """Add these parts behind the others."""
        self.all += parts
        # These loops run in every turn or for every user, so they have only the parts that define the method.
        self._keeping += _with(parts, "keeps")
        self._ticking += _with(parts, "tick")
        self.deadlines += [
            part if part.deadline_source is None else part.deadline_source for part in _with(parts, "tick")
        ]
        self._settling += _with(parts, "settle")
        self._saved += _with(parts, "facts_of")
        self._generally_saved += _with(parts, "general_facts")
        self._clocked += _with(parts, "clock_jumped")
        self._erasing += _with(parts, "erase")

    def add_deadline(self, deadline: Deadline) -> None:
        """Add something that may need a turn although no part ticks for it."""
        self.deadlines.append(deadline)

    def keep(self, user: User) -> bool:
        """Whether any part knows something of the user. Nothing else decides that. O(parts)."""
        for part in self._keeping:
            if part.keeps(user):
                return True
        return False

    def facts_of(self, user: User, now_ms: int) -> list[Fact]:
        """The facts that restore a settled user; none for a user who is only watched. O(what is known)."""
        return [fact for part in self._saved for fact in part.facts_of(user, now_ms)]

    def facts_asleep(self, user: User, now_ms: int, run: int) -> list[Fact]:
        """The facts that make the user again, whoever else sleeps meanwhile. O(what is known)."""
        return [fact for part in self._saved for fact in part.facts_asleep(user, now_ms, run)]

    def general_facts(self, now_ms: int) -> Iterator[Fact]:
        """The facts that are about no user, one by one."""
        for part in self._generally_saved:
            yield from part.general_facts(now_ms)

    def restorers(self) -> dict[type, TakeUp]:
        """What applies each kind of fact at a start."""
        return {kind: restorer for part in self.all for kind, restorer in part.restorers().items()}

    def appliers(self) -> dict[type, TakeUp]:
        """What applies each kind of fact of another node."""
        applied = {kind: applier for part in self.all for kind, applier in part.appliers().items()}
        return self.restorers() | applied

    def tick(self, now_ms: int) -> None:
        """Let each part do what has become due."""
        for part in self._ticking:
            part.tick(now_ms)

    def clock_jumped(self, user: User, jump: Jump, now_ms: int) -> None:
        """The wall clock was set: adjust what is known of the user."""
        for part in self._clocked:
            part.clock_jumped(user, jump, now_ms)

    def erase(self, user: User, now_ms: int) -> None:
        """Let each part forget what it knows of the user."""
        for part in self._erasing:
            part.erase(user, now_ms)

    def settle(self, now_ms: int) -> None:
        """Let each part queue what is told at the end of a turn."""
        for part in self._settling:
            part.settle(now_ms)

    def end_devices(self, devices: Sequence[Device], now_ms: int) -> None:
        """These devices are gone, all at once. O(devices * parts, and what depended on them)."""
        for part in self.all:
            for device in devices:
                part.end_device(device, now_ms)

    def end_session(self, session: Session, now_ms: int) -> None:
        """The session has ended."""
        for part in self.all:
            part.end_session(session, now_ms)

    def rights_changed(self, session: Session, now_ms: int) -> None:
        """The session has a token with other rights."""
        for part in self.all:
            part.rights_changed(session, now_ms)

    def resume_session(self, session: Session) -> None:
        """The session's link reads again."""
        for part in self.all:
            part.resume_session(session)


def _with(parts: Iterable[Part], name: str) -> list[Part]:
    """The parts that define this method themselves."""
    return [part for part in parts if getattr(type(part), name) is not getattr(Part, name)]
