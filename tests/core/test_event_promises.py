"""No follower is told of an event before its fact is as durable as promised, and none has a cursor that a kill takes
back."""

from __future__ import annotations

from collections.abc import Sequence

from presenced.core.records import EventAdded, EventsAt, Fact
from presenced.core.rights import rights_of
from presenced.server.fact_log import Ack
from presenced.testing.disk import KeepingLog
from presenced.wire.messages import Error, Follow, Following, SetStatus
from tests.core.fake_link import FakeLink
from tests.core.world import World


class SlowLog(KeepingLog):
    """A log whose disk takes as long as the test wants, or refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.is_held = False
        self.is_full = False
        self.waiting: list[Ack] = []
        self.kept = 0
        """Of the facts, those that a kill would leave."""

    @property
    def refusal(self) -> str:  # type: ignore[override]
        return "read_only" if self.is_full else ""

    def append(self, facts: Sequence[Fact], acks: Sequence[Ack]) -> None:
        self.facts.extend(facts)
        self.waiting.extend(acks)
        self.write()

    def write(self) -> None:
        if not self.is_held and not self.is_full:
            self._acks, self.waiting = [*self._acks, *self.waiting], []
            self.kept = len(self.facts)

    def take_refused(self) -> Sequence[Ack]:
        refused, self.waiting = (self.waiting, []) if self.is_full else ([], self.waiting)
        return refused


def stage() -> tuple[World, SlowLog, FakeLink, FakeLink]:
    world = World()
    log = world.log = SlowLog()
    app, link = world.open("app", role="service"), world.open("reader", role="service")
    link.expect(Follow(link.next_id()), Following)
    return world, log, app, link


def text(app: FakeLink, word: str) -> None:
    app.say(SetStatus(app.next_id(), text=word, user="alice"))
    app.world.turn()


def words(link: FakeLink) -> list[str]:
    return [event.new for event in link.told.events]


def test_an_event_waits_for_its_fact() -> None:
    world, log, app, link = stage()
    text(app, "a")
    log.is_held = True
    text(app, "b")
    text(app, "c")
    assert words(link) == ["a"]
    log.is_held = False
    log.write()
    world.turn()
    assert words(link) == ["a", "b", "c"]
    assert world.next_ms != 0


def test_while_the_disk_is_full_events_wait_and_no_turn_follows_another() -> None:
    world, log, app, link = stage()
    log.is_full = True
    text(app, "a")
    world.turn()
    assert words(link) == [] and world.next_ms != 0
    # Presence goes on.
    world.open("bob/laptop")
    world.advance(5_000)
    assert words(link) == []
    log.is_full = False
    # The log wakes the server when it takes facts again.
    world.turn()
    assert words(link) == ["a", "online", "online"]


def test_whoever_begins_to_follow_is_answered_once_its_cursor_holds() -> None:
    world, log, app, _ = stage()
    text(app, "a")
    log.is_held = True
    text(app, "b")
    late, back = world.open("late", role="service"), world.open("back", role="service")
    late.say(Follow(1))
    back.say(Follow(1, world.engine.events.epoch, 1))
    world.turn()
    assert late.messages == [], "its cursor would be behind an event that may never have been"
    assert back.messages == [Following(1, world.engine.events.epoch, 1, False)] and words(back) == []
    text(app, "c")
    log.is_held = False
    log.write()
    world.turn()
    assert late.messages[0] == Following(1, world.engine.events.epoch, 2, False) and words(late) == ["c"]
    assert words(back) == ["b", "c"]


def test_a_new_name_is_answered_once_it_is_kept() -> None:
    world, log, app, _ = stage()
    text(app, "a")
    log.is_held = True
    named = world.open("named", role="service")
    named.say(Follow(1, name="index"))
    world.turn()
    assert named.messages == []
    log.is_held = False
    log.write()
    world.turn()
    assert isinstance(named.messages[0], Following)


def test_a_kill_takes_back_no_event_that_was_told_and_no_number_comes_twice() -> None:
    world, log, app, link = stage()
    text(app, "a")
    log.is_held = True
    text(app, "lost")
    text(app, "lost, too")
    told, epoch = link.told.seq, world.engine.events.epoch
    version = world.engine.ledger.version
    for kill in range(1, 4):
        after = world.restarted(1_000, facts=log.facts[: log.kept], version_gap=kill << 32, version=version)
        back = after.open("reader", role="service")
        back.told.seq = told
        answer = back.expect(Follow(1, epoch, told), Following)
        assert not answer.reset and answer.seq >= kill << 32, "the cursor is behind the leap from now on"
        again = after.open("app", role="service")
        text(again, "b")
        assert [(event.old, event.new) for event in back.told.events] == [("a", "b")]
        for seq in (told + 1, told + 2, (kill << 32) - 5):
            other = after.open(f"other{seq}", role="service")
            assert other.expect(Follow(1, epoch, seq), Following).reset, "it stood for what is lost"


def test_a_cursor_holds_over_kill_after_kill_though_nothing_happens() -> None:
    """Also that of who sees some users, and from a snapshot."""
    world, log, app, link = stage()
    rights = {"see": ["bob"], "act": ["*"]}
    narrow = world.open("narrow", role="service", rights=rights)
    cursors = {None: link.told.seq, "narrow": 0}
    epochs = {None: world.engine.events.epoch, "narrow": narrow.expect(Follow(1), Following).epoch}
    text(app, "a")
    cursors[None] = link.told.seq
    for kill in range(1, 5):
        facts = world.snapshot() if kill == 3 else world.log.facts
        world = world.restarted(1_000, facts=facts, version_gap=1 << 32, version=world.engine.ledger.version)
        for name, seq in cursors.items():
            back = world.open(name or "back", role="service", rights=rights if name else None)
            answer = back.expect(Follow(1, epochs[name], seq), Following)
            assert not answer.reset and answer.seq > seq and back.told.events == []
            cursors[name] = answer.seq
    again = world.open("app", role="service")
    again.say(SetStatus(again.next_id(), text="b", user="bob"))
    world.turn()
    assert world.engine.events.seq == cursors[None] + 1


def test_a_gap_in_the_facts_ends_what_was_before_it() -> None:
    """A disk that was full for too long has dropped some, and the snapshot that makes up for it did not come about."""
    world, log, app, link = stage()
    for word in "abcd":
        text(app, word)
    facts = [fact for fact in log.facts if not (isinstance(fact, EventAdded) and fact.seq == 2)]
    after = world.restarted(1_000, facts=facts)
    events = after.engine.events
    assert not events.history.knows(1) and events.history.knows(2) and events.seq == 4
    assert events.begins_ms == next(fact.at_ms for fact in facts if isinstance(fact, EventAdded) and fact.seq == 3)


def test_the_log_says_from_when_on_events_are_known() -> None:
    world, log, app, link = stage()
    text(app, "a")
    first = world.restarted(1_000)
    (place,) = [fact for fact in first.log.facts if isinstance(fact, EventsAt)]
    second = first.restarted(1_000)
    assert [fact for fact in second.log.facts if isinstance(fact, EventsAt)] == [place]
    assert second.engine.events.known_from_ms == place.begins_ms == first.engine.events.known_from_ms


def test_no_event_comes_before_the_answer_that_says_from_where_it_follows() -> None:
    world, log, app, _ = stage()
    for word in "abc":
        text(app, word)
    log.is_held = True
    named = world.open("named", role="service")
    named.told.seq = 1
    named.say(Follow(1, world.engine.events.epoch, 1, "index"))
    world.turn()
    text(app, "d")
    assert named.messages == [], "its name is not durable yet, though what it is to be told of is"
    assert world.next_ms != 0, "turn after turn for somebody who waits for the disk"
    log.is_held = False
    log.write()
    world.turn()
    assert named.messages[0] == Following(1, world.engine.events.epoch, 1, False)
    world.turn()
    assert words(named) == ["b", "c", "d"]


def test_another_cursor_is_told_behind_the_answer_that_waits() -> None:
    world, log, app, _ = stage()
    text(app, "a")
    log.is_held = True
    link, other = (world.open(name, role="service") for name in ("named", "other"))
    for one in (link, other):
        one.say(Follow(1, name="index"))
        world.turn()
    world.engine.sessions.renew(world.now_ms, link.session, 0, rights_of({"see": ["alice"]}, "named", "service"))
    other.say(Follow(2))
    text(app, "b")
    assert link.messages == [] == other.messages
    log.is_held = False
    log.write()
    for _ in range(3):
        world.turn()
    first, second = link.messages[:2]
    assert isinstance(first, Following) and isinstance(second, Following)
    assert (first.id, second.id, second.reset) == (1, 0, True) and second.epoch > first.epoch
    assert words(link) == ["b"]
    assert [m.id for m in other.messages if isinstance(m, Following)] == [1, 2] and words(other) == ["b"]


def test_who_is_refused_by_the_disk_does_not_follow_and_has_no_name() -> None:
    world, log, app, _ = stage()
    log.is_held = True
    text(app, "a")
    named, unnamed = world.open("named", role="service"), world.open("unnamed", role="service")
    named.say(Follow(1, name="index"))
    unnamed.say(Follow(1))
    world.turn()
    assert world.engine.followers.get("named", "index") is not None
    log.is_full = True
    world.turn()
    for link in (named, unnamed):
        (error,) = link.messages
        assert isinstance(error, Error) and (error.id, error.code) == (1, "read_only")
        assert link.session not in world.engine.events.followers
    assert world.engine.followers.all() == []
    assert named.refused(Follow(2, name="index")) == "read_only"
    log.is_full = log.is_held = False
    world.turn()
    text(app, "b")
    assert words(named) == words(unnamed) == []
    assert named.expect(Follow(3, name="index"), Following).seq == 2


def test_a_name_that_is_not_kept_yet_is_kept_for_whoever_follows_under_it_next() -> None:
    world, log, app, _ = stage()
    log.is_held = True
    first, second = world.open("named", role="service"), world.open("named", role="service")
    first.say(Follow(1, name="index"))
    world.turn()
    first.lose()
    second.say(Follow(1, name="index"))
    world.turn()
    assert second.messages == []
    log.is_held = False
    log.write()
    world.turn()
    assert isinstance(second.messages[0], Following)
    log.is_held = True
    assert world.open("named", role="service").expect(Follow(1, name="index"), Following), "it is kept, and known"
