"""What the engine asks of every part of the presence state, and the loops that ask it.

A part owns one kind of state per user or per session. To add a kind is to write one `Part` and to name it once in
`Engine`: from then on it is saved, restored, brought up to date by a clock that was set, ticked, and asked whether it
keeps a user known. Everything of a `Part` has a default, so that a part says only what it has an answer to.
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
    """And up to this much more, spread over the users."""
    heard_ms: int | None
    """When devices that were live and not silent were heard last; None if that is not known."""
    begun_ms: list[int]
    """The starts that followed each other closely, this one the last."""
    is_unclean: bool = False
    """The daemon was killed: what it told last may not be among the facts."""


class Restoring(Protocol):
    """What a part may ask while facts are read. Times are those of the start, not of the facts."""

    now_ms: int
    offset_ms: int
    run: int
    """The run of the server in which what is read may go on (`records.UsersAsleep`); 0 = it is of earlier ones."""
    order: Sequence[User]
    """All users of whom anything was read."""

    def user(self, name: str) -> User:
        """The user of this name, made if need be. O(1)."""

    def known_user(self, name: str) -> User | None:
        """The user of this name, if anything was read of them. O(1)."""

    def shared(self, text: str) -> str:
        """The same text as one object for all users: ids, labels and emoji are few, and each fact has new copies."""

    def shared_number(self, number: int) -> int:
        """The same for numbers."""

    def due_ms(self, until_ms: int) -> int:
        """The deadline for a wall time (`Clock.due_ms`)."""


class Deadline(Protocol):
    """Knows when something is due next."""

    @property
    def next_ms(self) -> int | None:
        """0 = at once, None = not until something happens."""


TakeUp = Callable[[Restoring, Any], object]
"""Takes up one fact of the kind that it stands for."""


class Part:
    """One kind of state, with every rule about it. The defaults here are those of a part that has nothing to say."""

    # --- users ------------------------------------------------------------------------------------------------

    def facts_of(self, user: User, now_ms: int) -> Iterable[Fact]:
        """What of the user is to be saved in a snapshot. O(that)."""
        return ()

    def facts_asleep(self, user: User, now_ms: int, run: int) -> Iterable[Fact]:
        """What of the user is to be kept while they sleep in this run (`records.UsersAsleep`), others may change
        nothing of. O(that)."""
        return self.facts_of(user, now_ms)

    def general_facts(self, now_ms: int) -> Iterable[Fact]:
        """What belongs to no user and is to be saved in a snapshot. It is taken one by one while the server goes on:
        what belongs to the same moment must be made at once."""
        return ()

    def restorers(self) -> Mapping[type, TakeUp]:
        """For each kind of its facts: what takes one up. Facts come in the order in which they were logged, and one
        may come again."""
        return {}

    def appliers(self) -> Mapping[type, TakeUp]:
        """The same for facts that another node has decided while this one runs (`copies`), for those kinds of which
        somebody is told. The others are taken up as by `restorers`. No fact comes of it, and no event."""
        return {}

    def resume(self, users: Sequence[User], start: Start) -> None:
        """All facts are read: make of them a state that goes on. Nobody is told anything. O(users)."""

    def keeps(self, user: User) -> bool:
        """Whether something is known of the user here, so that the user must not be forgotten. O(1)."""
        return False

    def erase(self, user: User, now_ms: int) -> None:
        """Forget all that is known of the user here, also beside the `User`, as if nothing had ever been said. The
        user's links and live devices have ended before. No fact is needed: one for all parts stands for it in the log,
        and this is called again when that is read, before `resume`. What changes for other users is logged as usual.
        O(what is known)."""

    def end_device(self, device: Device, now_ms: int) -> None:
        """The device is gone: let go of what depended on it. O(that)."""

    def clock_jumped(self, user: User, jump: Jump, now_ms: int) -> None:
        """The wall clock was set: bring the user's moments and ends that are wall times up to date. O(these)."""

    # --- sessions ---------------------------------------------------------------------------------------------

    def end_session(self, session: Session, now_ms: int) -> None:
        """The session has ended. Its device is still known. Idempotent. O(1): more belongs in `let_go`."""

    def let_go(self, session: Session, lost_ms: int, most: int) -> int:
        """Let go of up to `most` things that a session held, which was lost at `lost_ms`; returns of how many. It is
        called again in later turns until that is fewer. O(`most`)."""
        return 0

    def resume_session(self, session: Session) -> None:
        """The session's link reads again: queue what it missed, but for records. O(that)."""

    def rights_changed(self, session: Session, now_ms: int) -> None:
        """The session has a token with other rights: bring up to date what depends on them. O(that)."""

    # --- time -------------------------------------------------------------------------------------------------

    deadline_source: Deadline | None = None
    """What knows when `tick` wants to be called next, if that is not the part itself. It is asked twice a turn, and a
    part that only passed the question on would double what it costs."""

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next: 0 = at once, None = not until something happens."""
        return None if self.deadline_source is None else self.deadline_source.next_ms

    def tick(self, now_ms: int) -> None:
        """Do what time alone brings about, as much as a turn may take; `next_ms` tells of more."""

    def settle(self, now_ms: int) -> None:
        """The turn ends and all records are made: queue what is to be told beside them."""

    def check(self, users: Iterable[User]) -> None:
        """Raise `AssertionError` if the part's own state is wrong. For tests and `--check`. O(users)."""


class Parts:
    """All parts in one order, which holds for every loop. `Engine` says which and why."""

    def __init__(self) -> None:
        self.all: list[Part] = []
        self._keeping: list[Part] = []
        self._ticking: list[Part] = []
        self.deadlines: list[Deadline] = []
        """Whatever may want a turn, the parts that tick and others."""
        self._settling: list[Part] = []
        self._saved: list[Part] = []
        self._generally_saved: list[Part] = []
        self._clocked: list[Part] = []
        self._erasing: list[Part] = []

    def add(self, *parts: Part) -> None:
        """Ask these, too, behind those that there are."""
        self.all += parts
        # Asked in every turn or of every user: only those that have an answer.
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
        """Also what no part ticks for may want a turn."""
        self.deadlines.append(deadline)

    def keep(self, user: User) -> bool:
        """Whether anything is known of the user: the one place that says so. O(parts)."""
        for part in self._keeping:
            if part.keeps(user):
                return True
        return False

    def facts_of(self, user: User, now_ms: int) -> list[Fact]:
        """What it takes to restore a settled user; nothing for one who is only watched. O(what is known)."""
        return [fact for part in self._saved for fact in part.facts_of(user, now_ms)]

    def facts_asleep(self, user: User, now_ms: int, run: int) -> list[Fact]:
        """What it takes to make the user again, whoever else sleeps. O(what is known)."""
        return [fact for part in self._saved for fact in part.facts_asleep(user, now_ms, run)]

    def general_facts(self, now_ms: int) -> Iterator[Fact]:
        """What of the state belongs to no user, one by one."""
        for part in self._generally_saved:
            yield from part.general_facts(now_ms)

    def restorers(self) -> dict[type, TakeUp]:
        """What takes up each kind of fact."""
        return {kind: restorer for part in self.all for kind, restorer in part.restorers().items()}

    def appliers(self) -> dict[type, TakeUp]:
        """What takes up each kind of fact of another node."""
        applied = {kind: applier for part in self.all for kind, applier in part.appliers().items()}
        return self.restorers() | applied

    def tick(self, now_ms: int) -> None:
        """Let each part do what time brings about."""
        for part in self._ticking:
            part.tick(now_ms)

    def clock_jumped(self, user: User, jump: Jump, now_ms: int) -> None:
        """The wall clock was set: bring what is known of the user up to date."""
        for part in self._clocked:
            part.clock_jumped(user, jump, now_ms)

    def erase(self, user: User, now_ms: int) -> None:
        """Let each part forget what it knows of the user."""
        for part in self._erasing:
            part.erase(user, now_ms)

    def settle(self, now_ms: int) -> None:
        """Let each part queue what is to be told at the end of a turn."""
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
    """Those that do not leave this to the default."""
    return [part for part in parts if getattr(type(part), name) is not getattr(Part, name)]
