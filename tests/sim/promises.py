"""What the server owes after a crash, kept apart from it: what clients were answered, and what must come back; and what
it owes to clients that come back with what they have.

Two accounts of it. `Faces`: how every user stood after each turn that gave the log anything; after a start all users
stand as after one and the same of these turns, and not as before the last one that a client has an answer from.
`Register`: of single things that clients set, which values are possible at all, going by what clients sent and when
they were answered. The first is exact and trusts the core, the second trusts nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from presenced.core.dormants import unpacked
from presenced.core.engine import Engine
from presenced.core.records import (
    ActivityAdded,
    AudienceSet,
    BlockSet,
    ClaimSet,
    DeviceSet,
    Fact,
    HidingSet,
    MembershipSet,
    RecordSet,
    ScheduleSet,
    ShowingSet,
    ShownSet,
    TextSet,
)
from presenced.wire.messages import Checked, Record
from tests.coming_back.words import checksum_of, digest_of

_decode = msgspec.msgpack.Decoder(list[Fact]).decode

Face = dict[str, tuple[Any, ...]]
"""How users stand, by name: without the times that heartbeats move, and without versions."""


def face_of(engine: Engine) -> Face:
    """How every user stands now. O(everything)."""
    face = {user.name: _stance(engine.parts.facts_of(user, 0)) for user in engine.users.order}
    if engine.users.dormants:
        for name, both in engine.users.dormants.items():
            face[name] = _stance(_decode(unpacked(both)[1]))
    return {name: stance for name, stance in face.items() if stance}


def _stance(facts: Sequence[Fact]) -> tuple[Any, ...]:
    parts: list[Any] = []
    places: list[tuple[str, ...]] = []
    for fact in facts:
        if isinstance(fact, ClaimSet):
            parts.append((fact.claim, fact.source, fact.status, fact.device))
        elif isinstance(fact, TextSet | ShownSet):
            parts.append((type(fact).__name__, fact.text, fact.emoji))
        elif isinstance(fact, DeviceSet):
            parts.append(
                (
                    fact.device, fact.kind, fact.name, fact.priority, fact.status, fact.live,
                    fact.idle_level, fact.idle_known, fact.holder, fact.taken_out,
                )
            )  # fmt: skip
        elif isinstance(fact, MembershipSet):
            places.append((fact.device, fact.channel))
        elif isinstance(fact, BlockSet | HidingSet):
            places.append((type(fact).__name__, fact.contact))
        elif isinstance(fact, ShowingSet):
            places.append(("shown to", fact.contact, fact.device))
        elif isinstance(fact, AudienceSet):
            parts.append(("audience", fact.text, fact.last_seen, fact.device, tuple(fact.always), tuple(fact.never)))
        elif isinstance(fact, ActivityAdded):
            # Without its time and place among them: one from ahead of a clock that was set back is shown as earlier.
            places.append((fact.activity, fact.channel))
        elif isinstance(fact, RecordSet):
            parts.append(("record", fact.status, fact.device))
        elif isinstance(fact, ScheduleSet):
            parts.append(("schedule", fact.zone, len(fact.windows)))
    return (*parts, *sorted(places))


class Faces:
    """How users stood after each turn that gave the log anything, since the last start."""

    def __init__(self) -> None:
        self.after: list[Face] = [{}]
        self.promised = 0
        """The first of them that may come back: a client has an answer from the turn before it."""
        self._answers: dict[tuple[int, int], int] = {}
        """By client and request: the turn at whose end the answer waited for the disk."""

    def note(self, face: Face, answers: Sequence[tuple[int, int]]) -> None:
        """A turn has ended: how users stand, and which requests wait for the disk with it."""
        self.after.append(face)
        for answer in answers:
            self._answers[answer] = len(self.after) - 1

    def answered(self, client: int, request_id: int) -> None:
        """A client has that answer."""
        self.promised = max(self.promised, self._answers.get((client, request_id), 0))

    def judge(self, face: Face, *, is_kept: bool) -> None:
        """The server has started and stands so. `is_kept`: what was answered must be there."""
        floor = self.promised if is_kept else 0
        if face not in self.after[floor:]:
            late = face in self.after
            what = "lost what was answered" if late else "is in a state that never was"
            raise AssertionError(f"the start {what}: {_differences(self.after[-1], face)}")
        self.after, self.promised = [face], 0
        self._answers.clear()


def _differences(before: Face, after: Face) -> str:
    return "; ".join(
        f"{name} was {before.get(name)} at the end, is {after.get(name)}"
        for name in sorted({**before, **after})
        if before.get(name) != after.get(name)
    )


WhatWasHad = dict[str, Record | None]
"""What a client has of users, as it says."""


class Views:
    """What clients are told who come back with what they have: what differs from that and nothing else."""

    def __init__(self) -> None:
        self.returns: Counter[str] = Counter()
        """By the way in which they came."""
        self.resumed = 0
        """Those who were given back what their last link had."""
        self.told = self.kept = 0
        """Users whom they were told of, and of whom they were right."""
        self.checks = 0

    def hold_told(self, who: str, had: WhatWasHad, records: Sequence[Record]) -> None:
        """A client that has said what it has is answered with these."""
        names = [record.user for record in records]
        assert len(set(names)) == len(names), f"{who} is told of somebody twice: {names}"
        for record in records:
            assert record.user in had, f"{who} is told of {record}, whom it has not named"
            mine = had[record.user]
            assert digest_of(record) != digest_of(mine), f"{who} has {mine}, and is told of {record}"
        self.told += len(records)
        self.kept += len(had) - len(records)

    def hold_checked(self, who: str, checked: Checked, view: Sequence[Record | None]) -> None:
        """A checksum has come to a client that has this of those whom it watches."""
        mine = checksum_of(record for record in view if record is not None)
        assert (checked.users, checked.checksum) == (len(view), mine), f"{who} has {view}, and is told of {checked}"
        self.checks += 1


class Write:
    """Somebody set something."""

    __slots__ = ("done", "ends", "resolved", "sent", "value")

    def __init__(self, value: str | None, sent: int, *, ends: bool) -> None:
        self.value = value
        """None = nobody here can tell what comes of it."""
        self.sent = sent
        self.resolved: int | None = None
        self.done = False
        self.ends = ends
        """It may end by itself."""


class Register:
    """One thing of one user that several clients set: which values it may have."""

    def __init__(self, value: str = "") -> None:
        self._writes: list[Write] = []
        self.settle(value)

    def settle(self, value: str) -> None:
        """This is its value now, whoever set it. It may still end, if one that was possible may, or if it is one from
        before, of which nothing is kept here."""
        is_old = bool(self._writes) and not self.admits(value)
        write = Write(value, 0, ends=is_old or any(write.ends for write in self._writes))
        write.resolved, write.done = 0, True
        self._writes = [write]

    def begin(self, value: str | None, now: int, *, ends: bool) -> Write:
        """It is asked for; tell what came of it by `resolve`, or not if nobody knows."""
        write = Write(value, now, ends=ends)
        self._writes.append(write)
        return write

    def resolve(self, write: Write, now: int, *, done: bool) -> None:
        """It was answered."""
        write.resolved, write.done = now, done
        if not done:
            self._writes = [other for other in self._writes if other is not write]
            return
        # What was answered before this one was sent can never show again.
        self._writes = [w for w in self._writes if w.resolved is None or w.resolved >= write.sent or w is write]

    def give_up(self, now: int) -> None:
        """Nothing that is under way can still come in: those who asked have gone."""
        for write in self._writes:
            if write.resolved is None:
                write.resolved = now

    def admits(self, value: str) -> bool:
        """Whether it may have this value."""
        return any(w.value is None or w.ends or w.value == value for w in self._writes)
