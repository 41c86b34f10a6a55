"""A link that waits for an answer is told what others did in the same write as its answer: with no other frames and in
no other order than at once, and never late.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings, strategies as st

from presenced.core.corks import CORK_MS, CORK_TURNS
from presenced.core.policy import Policy
from presenced.server.fact_log import Ack
from presenced.testing.disk import KeepingLog
from presenced.wire.messages import Get, Presence, ServerMessage, SetStatus, Unwatch
from tests.core.world import FakeLink, World
from tests.support.tiers import samples

NO_SPACING = Policy(change_spacing_ms=0)
STATUSES = ("online", "away", "dnd")


class LateLog(KeepingLog):
    """A log that has saved nothing until it is told so."""

    def __init__(self) -> None:
        super().__init__()
        self.is_late = True

    def take_durable(self) -> Sequence[Ack]:
        """See `Log`."""
        return () if self.is_late else super().take_durable()


class Stage:
    """Alice, who changes and watches the others, and those whom she watches."""

    def __init__(self, *others: str) -> None:
        self.world = World(NO_SPACING)
        self.alice = self.world.open("alice/desk")
        self.others = [self.world.open(f"{name}/desk") for name in others]
        self.alice.watch(*others)
        self.alice.forget()
        self.log = self.world.log = LateLog()
        self._writes = 0
        send = self.alice.send

        def counted(data: bytes) -> None:
            self._writes += 1
            send(data)

        self.alice.session.sink.send = counted  # type: ignore[method-assign]

    @property
    def writes(self) -> int:
        """How often alice was written to since the last call."""
        writes, self._writes = self._writes, 0
        return writes

    def change(self, link: FakeLink, status: str) -> None:
        """Somebody changes; the answer waits for the log."""
        link.say(SetStatus(link.next_id(), status))  # type: ignore[arg-type]

    def others_change(self, status: str) -> list[str]:
        """All others change; gives what alice is told of it."""
        for link in self.others:
            self.change(link, status)
        return [f"{link.session.user_name}:{status}" for link in self.others]

    def turn(self, after_ms: int = 0) -> None:
        """A turn so many milliseconds later."""
        self.world.now_ms += after_ms
        self.world.turn()

    def answer(self, after_ms: int = 0) -> None:
        """The log has saved everything."""
        self.log.is_late = False
        self.turn(after_ms)
        self.log.is_late = True


def told(link: FakeLink) -> list[str]:
    """Pushes as `user:status`, replies by their type, in the order in which they were read."""
    return [_word(message) for message in link.messages]


def _word(message: ServerMessage) -> str:
    return f"{message.record.user}:{message.record.status}" if isinstance(message, Presence) else type(message).__name__


def test_what_others_do_comes_in_one_write_with_the_answer() -> None:
    stage = Stage("bob", "carol")
    stage.change(stage.alice, "dnd")
    away = stage.others_change("away")
    stage.turn()
    assert (told(stage.alice), stage.writes) == ([], 0)
    stage.answer(1)
    assert (told(stage.alice), stage.writes) == ([*away, "Done"], 1)


def test_who_waits_for_no_answer_is_told_at_once() -> None:
    stage = Stage("bob", "carol")
    away = stage.others_change("away")
    stage.turn()
    assert told(stage.alice) == away


def test_the_only_change_of_a_turn_is_told_at_once() -> None:
    stage = Stage("bob")
    stage.change(stage.alice, "dnd")
    stage.turn()
    stage.change(stage.others[0], "away")
    stage.turn(1)
    assert told(stage.alice) == ["bob:away"]


def test_an_answer_that_is_late_keeps_nothing_back_for_longer_than_the_cork() -> None:
    stage = Stage("bob", "carol")
    stage.change(stage.alice, "dnd")
    away = stage.others_change("away")
    stage.turn()
    assert stage.world.next_ms == stage.world.now_ms + CORK_MS
    stage.turn(CORK_MS - 1)
    assert told(stage.alice) == []
    assert stage.world.next_ms == stage.world.now_ms + 1
    stage.turn(1)
    assert told(stage.alice) == away
    stage.answer()
    assert told(stage.alice) == [*away, "Done"]


def test_while_answers_are_late_nothing_is_kept_back() -> None:
    stage = Stage("bob", "carol")
    stage.change(stage.alice, "dnd")
    away = stage.others_change("away")
    stage.turn()
    stage.turn(CORK_MS)
    dnd = stage.others_change("dnd")
    stage.turn(1)
    assert told(stage.alice) == away + dnd
    # An answer in time: it is worth it again.
    stage.answer(100)
    stage.change(stage.alice, "online")
    stage.turn()
    stage.answer(1)
    stage.alice.forget()
    stage.change(stage.alice, "dnd")
    online = stage.others_change("online")
    stage.turn()
    assert told(stage.alice) == []
    stage.answer(1)
    assert told(stage.alice) == [*online, "Done"]


def test_turns_that_take_long_since_there_is_much_to_do_keep_it_for_a_few_of_them() -> None:
    stage = Stage("bob", "carol")
    stage.change(stage.alice, "dnd")
    expected = stage.others_change("away")
    stage.turn()
    for number in range(CORK_TURNS - 1):
        expected += stage.others_change(STATUSES[number % 2])
        stage.turn(100)
        assert told(stage.alice) == []
    expected += stage.others_change("dnd")
    stage.turn(100)
    assert told(stage.alice) == expected


def test_a_turn_in_which_nothing_is_changed_ends_it() -> None:
    stage = Stage("bob", "carol")
    stage.change(stage.alice, "dnd")
    away = stage.others_change("away")
    stage.turn()
    stage.turn(100)
    assert told(stage.alice) == away


def test_the_first_answer_ends_it_where_several_are_due() -> None:
    stage = Stage("bob", "carol")
    stage.change(stage.alice, "dnd")
    stage.turn()
    stage.log.is_late = False
    away = stage.others_change("away")
    stage.change(stage.alice, "away")
    stage.turn(1)
    assert told(stage.alice) == [*away, "Done", "Done"]


def test_what_was_kept_stands_before_what_is_told_in_front_of_a_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.core.outboxes.WATCHERS", 1)
    stage = Stage("bob", "carol", "dave")
    dave = stage.others[2]
    dave.watch("dave")
    stage.change(stage.alice, "dnd")
    stage.change(stage.others[0], "away")
    stage.change(stage.others[1], "away")
    stage.turn()
    stage.alice.say(Get(stage.alice.next_id(), ["bob"]))
    # Of two watchers: they are told in a slice, in front of the reply of the same turn.
    stage.change(dave, "dnd")
    stage.turn(1)
    stage.turn(CORK_MS)
    assert told(stage.alice) == ["bob:away", "carol:away", "dave:dnd", "Records"]


def test_a_link_that_ends_is_told_what_was_kept() -> None:
    stage = Stage("bob", "carol")
    stage.change(stage.alice, "dnd")
    away = stage.others_change("away")
    stage.turn()
    last = stage.world.engine.outboxes.take_last(stage.alice.session)
    assert len(last) == len(away)
    stage.alice.break_off()
    stage.answer(1)
    assert stage.world.engine.outboxes.corks.next_ms is None


def test_a_link_that_stops_reading_is_told_once_it_reads_again() -> None:
    stage = Stage("bob", "carol")
    stage.change(stage.alice, "dnd")
    away = stage.others_change("away")
    stage.turn()
    stage.alice.fill()
    dnd = stage.others_change("dnd")
    stage.turn(1)
    stage.answer(CORK_MS)
    assert told(stage.alice) == []
    stage.alice.drain()
    assert told(stage.alice) == [*away, "Done", *dnd]


# --- against a server that writes at once ---------------------------------------------------------------------

_LINKS = 4

_acts = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.integers(0, _LINKS - 1), st.sampled_from(STATUSES)),
        st.tuples(st.just("get"), st.integers(0, _LINKS - 1), st.integers(0, _LINKS - 1)),
        st.tuples(st.just("unwatch"), st.integers(0, _LINKS - 1), st.integers(0, _LINKS - 1)),
        st.tuples(st.just("turn"), st.sampled_from((0, 1, 3, CORK_MS, 100)), st.booleans()),
    ),
    max_size=40,
)


@given(acts=_acts)
@settings(max_examples=samples(60), deadline=None)
def test_everybody_is_told_the_same_in_the_same_order_as_at_once(acts: list[tuple[str, int, object]]) -> None:
    assert _play(acts, corks=True) == _play(acts, corks=False)


def _play(acts: list[tuple[str, int, object]], *, corks: bool) -> list[list[bytes]]:
    world = World(NO_SPACING)
    links = [world.open(f"u{number}/desk") for number in range(_LINKS)]
    for link in links:
        link.watch(*(f"u{number}" for number in range(_LINKS)))
        link.forget()
    log = world.log = LateLog()
    if not corks:
        world.engine.outboxes.corks.put = lambda session, now_ms: None  # type: ignore[method-assign]
    for kind, first, second in acts:
        link = links[first % _LINKS]
        if kind == "change":
            link.say(SetStatus(link.next_id(), second))  # type: ignore[arg-type]
        elif kind == "get":
            link.say(Get(link.next_id(), [f"u{second}"]))
        elif kind == "unwatch":
            link.say(Unwatch(link.next_id(), [f"u{second}"]))
        else:
            world.now_ms += first
            log.is_late = bool(second)
            world.turn()
            _check_bound(world)
    log.is_late = False
    world.now_ms += 100
    world.turn()
    return [link.raw for link in links]


def _check_bound(world: World) -> None:
    """Whoever is kept waiting is looked at in time."""
    corks = world.engine.outboxes.corks
    for session in corks.kept:
        assert session.pending
        assert world.next_ms is not None
        assert world.next_ms <= world.now_ms + CORK_MS
