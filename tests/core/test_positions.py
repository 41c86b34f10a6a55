"""Positions of links that are told of everybody: what has changed since is told, each user once, over kills as well."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, strategies as st

from presenced.core.parts import positions as part
from presenced.core.positions import POSITION_MS_MAX, Life, carried, next_version, since, uncarried
from presenced.core.records import Fact, PositionsKnown, VersionsRaised
from presenced.core.restorer import Restorer
from presenced.core.rights import rights_of
from presenced.digests import digest
from presenced.limits import VERSION_GAP
from presenced.wire.messages import (
    Attach,
    Check,
    Checked,
    Done,
    Erase,
    Get,
    Position,
    Presence,
    Record,
    Records,
    SetStatus,
    WatchAll,
    WhoPage,
)
from tests.core.world import FakeLink, World

EPOCH = 77


def checked(link: FakeLink) -> Checked:
    return link.expect(Check(link.next_id()), Checked)


def come_back(link: FakeLink, epoch: int, version: int) -> tuple[Position, list[Record]]:
    """Say the position; returns the answer, and what was told before it."""
    link.forget()
    request = link.next_id()
    link.say(WatchAll(request, True, epoch, version))
    link.world.turn()
    link.world.advance(0)
    (place,) = [at for at, message in enumerate(link.messages) if isinstance(message, Position)]
    answer = link.messages[place]
    assert isinstance(answer, Position) and answer.id == request
    return answer, [message.record for message in link.messages[:place] if isinstance(message, Presence)]


def restart(world: World, facts: Sequence[Fact], *, killed: bool, down_ms: int = 1_000) -> World:
    """What starts from these facts, as the daemon starts from a data directory."""
    version = world.engine.ledger.version
    after = World(world.engine.policy, now_ms=900_000, wall_ms=world.wall_ms + down_ms)
    restorer = Restorer(after.engine, after.now_ms)
    restorer.apply(facts)
    after.engine.ledger.continue_from(EPOCH, version, after.now_ms)
    restorer.finish(grace_ms=30_000, spread_ms=0, version_gap=VERSION_GAP if killed else 0)
    after.log.facts.extend(facts)
    after.engine.catch_up(after.now_ms)
    after.turn()
    return after


def snapshot(world: World) -> list[Fact]:
    return [*world.snapshot(), *world.engine.positions.general_facts(world.now_ms)]


def world_with(count: int = 5) -> tuple[World, FakeLink, FakeLink]:
    """Some users who are online, the service that holds them, and one that is told of everybody."""
    world = World()
    app = world.open("app", role="service", instance=1)
    for ref in range(1, count + 1):
        app.attach(ref, f"u{ref}/tab")
    root = world.open("root", role="service", instance=2)
    root.done(WatchAll(root.next_id()))
    world.advance(1_000)
    return world, app, root


# --- what is told ----------------------------------------------------------------------------------------------------


def test_who_has_changed_since_is_told_once_as_they_are_now_and_nobody_else() -> None:
    world, app, root = world_with()
    at = checked(root)
    root.lose()
    world.advance(1_000)
    app.release(2)
    app.done(SetStatus(app.next_id(), "dnd", user="u3"))
    world.advance(1_000)
    app.done(SetStatus(app.next_id(), "away", user="u3"))
    app.attach(9, "new/tab")
    again = world.open("root", role="service")
    answer, told = come_back(again, at.epoch, at.version)
    assert not answer.reset and answer.epoch == at.epoch and answer.version == world.engine.ledger.version
    assert sorted((record.user, record.status) for record in told) == [
        ("new", "online"), ("u2", "offline"), ("u3", "away"),
    ]  # fmt: skip
    again.forget()
    app.done(SetStatus(app.next_id(), "chat", user="u4"))
    assert [record.user for record in again.pushes] == ["u4"], "and then every change"
    world.advance(1)
    answer, _ = come_back(again, *at_of(answer))
    app.done(SetStatus(app.next_id(), "dnd", user="u4"))
    assert come_back(again, answer.epoch, answer.version)[1] == [world.record("u4")]


def test_a_change_in_the_moment_of_the_position_is_told_again() -> None:
    world, app, root = world_with()
    app.done(SetStatus(app.next_id(), "dnd", user="u1"))
    at = checked(root)
    app.done(SetStatus(app.next_id(), "away", user="u2"))
    _, told = come_back(world.open("root", role="service"), at.epoch, at.version)
    assert sorted(record.user for record in told) == ["u1", "u2"]


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("from_snapshot", [False, True])
def test_a_position_is_good_over_a_restart(killed: bool, from_snapshot: bool) -> None:
    world, app, root = world_with()
    at = checked(root)
    world.advance(5_000)
    app.done(SetStatus(app.next_id(), "dnd", user="u3"))
    after = restart(world, snapshot(world) if from_snapshot else world.log.facts, killed=killed)
    later = after.open("app", role="service", instance=1)
    for ref in range(1, 6):
        later.attach_again(ref, f"u{ref}/tab")
    later.done(SetStatus(later.next_id(), "away", user="u5"))
    answer, told = come_back(after.open("root", role="service"), at.epoch, at.version)
    assert not answer.reset and sorted(record.user for record in told) == ["u3", "u5"]


def test_a_position_is_good_over_several_kills_in_each_of_which_others_change() -> None:
    world, _, root = world_with(6)
    at = checked(root)
    for number in range(1, 5):
        app = world.open("app", role="service", instance=1)
        app.done(SetStatus(app.next_id(), "dnd", user=f"u{number}"))
        facts = snapshot(world) if number % 2 else world.log.facts
        world = restart(world, facts, killed=number != 2)
    answer, told = come_back(world.open("root", role="service"), at.epoch, at.version)
    assert not answer.reset and sorted(record.user for record in told) == ["u1", "u2", "u3", "u4"]


def test_a_position_that_was_lost_in_a_kill_is_reset_and_nothing_is_told_for_it() -> None:
    world, app, root = world_with()
    good = checked(root)
    kept = len(world.log.facts)
    world.advance(1_000)
    app.done(SetStatus(app.next_id(), "dnd", user="u1"))
    lost = checked(root)
    after = restart(world, world.log.facts[:kept], killed=True)
    answer, told = come_back(after.open("root", role="service"), lost.epoch, lost.version)
    assert answer.reset and told == [] and answer.version == after.engine.ledger.version
    answer, told = come_back(after.open("root", role="service"), good.epoch, good.version)
    assert not answer.reset and told == []
    between = after.engine.ledger.version - 2 * POSITION_MS_MAX
    assert come_back(after.open("root", role="service"), good.epoch, between)[0].reset, "no such version was ever told"


def test_the_position_in_an_answer_is_good_over_a_kill_as_well() -> None:
    world, app, root = world_with()
    at = checked(root)
    world.advance(5_000)
    answer, _ = come_back(root, *at_of(at))
    world.advance(5_000)
    app.done(SetStatus(app.next_id(), "dnd", user="u1"))
    after = restart(world, world.log.facts, killed=True)
    again, told = come_back(after.open("root", role="service"), *at_of(answer))
    assert not again.reset and [record.user for record in told] == ["u1"]


def test_a_position_of_more_than_a_day_before_a_kill_is_reset() -> None:
    world, app, root = world_with()
    world.checks = False
    at = checked(root)
    world.now_ms += POSITION_MS_MAX + 5_000
    world.engine.ledger.reach(world.now_ms)
    root = world.open("root", role="service")
    root.done(WatchAll(root.next_id()))
    app = world.open("app", role="service")
    app.done(SetStatus(app.next_id(), "dnd", user="u1"))
    late = checked(root)
    assert not come_back(root, at.epoch, at.version)[0].reset, "without a kill there is no bound"
    after = restart(world, world.log.facts, killed=True)
    assert come_back(after.open("root", role="service"), at.epoch, at.version)[0].reset
    assert not come_back(after.open("root", role="service"), late.epoch, late.version)[0].reset


def test_facts_that_may_have_been_lost_make_no_position_good_over_a_kill() -> None:
    world, _, root = world_with()
    world.engine.set_read_only("read_only")
    world.engine.set_read_only("")
    world.advance(1_000)
    at = checked(root)
    assert not come_back(world.open("root", role="service"), at.epoch, at.version)[0].reset
    assert come_back(restart(world, world.log.facts, killed=True).open("r", role="service"), *at_of(at))[0].reset
    assert not come_back(restart(world, snapshot(world), killed=False).open("r", role="service"), *at_of(at))[0].reset


def at_of(answer: Checked | Position) -> tuple[int, int]:
    return answer.epoch, answer.version


# --- what ends positions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["live", "clean", "killed", "snapshot"])
def test_after_an_erasure_everything_is_to_be_taken(how: str) -> None:
    """To tell that one user is gone would take to remember who was."""
    world, _, root = world_with()
    at = checked(root)
    root.say(Erase(root.next_id(), "u2"))
    world.advance(10)
    later = checked(root)
    if how != "live":
        world = restart(world, snapshot(world) if how == "snapshot" else world.log.facts, killed=how == "killed")
    root = world.open("root", role="service")
    assert come_back(root, *at_of(at))[0].reset
    assert not come_back(root, *at_of(later))[0].reset


def test_a_position_of_another_epoch_or_server_is_reset() -> None:
    world, _, root = world_with()
    at = checked(root)
    for epoch, version in ((EPOCH + 1, at.version), (1, 2**53), (2**53, 0)):
        answer, told = come_back(root, epoch, version)
        assert answer.reset and told == [] and answer.epoch == EPOCH


def test_a_position_of_the_future_is_refused_and_changes_nothing() -> None:
    world, app, root = world_with()
    at = checked(root)
    fresh = world.open("fresh", role="service")
    for version in (world.engine.ledger.version + 1, 2**53):
        assert fresh.refused(WatchAll(fresh.next_id(), True, at.epoch, version)) == "bad_position"
    app.done(SetStatus(app.next_id(), "dnd", user="u1"))
    assert fresh.pushes == [] and not world.engine.outboxes.is_told_all(fresh.session)


def test_a_user_may_not_ask() -> None:
    world, _, root = world_with()
    at = checked(root)
    assert world.open("u1/phone").refused(WatchAll(9, True, *at_of(at))) == "forbidden"


def test_times_that_a_clock_ahead_has_told_are_told_anew() -> None:
    world = World()
    app = world.open("app", role="service")
    root = world.open("root", role="service")
    root.done(WatchAll(root.next_id()))
    app.attach(1, "u1/tab")
    world.advance(1_000)
    at = checked(root)
    after = restart(world, world.log.facts, killed=False, down_ms=-60_000)
    assert come_back(after.open("root", role="service"), *at_of(at))[0].reset


# --- whom a token sees -----------------------------------------------------------------------------------------------


def test_a_position_is_good_for_the_same_sight_alone() -> None:
    world, app, root = world_with()
    narrow = {"see": ["u1", "u2", "v*"]}
    few = world.open("few", role="service", rights=narrow)
    few.done(WatchAll(few.next_id()))
    at = checked(few)
    assert at.epoch not in (0, EPOCH)
    app.done(SetStatus(app.next_id(), "dnd", user="u2"))
    app.done(SetStatus(app.next_id(), "dnd", user="u3"))
    same = world.open("few", role="service", rights={"see": ["v*", "u2", "u1"]})
    answer, told = come_back(same, *at_of(at))
    assert not answer.reset and [record.user for record in told] == ["u2"] and answer.epoch == at.epoch
    for other in (None, {"see": ["u1", "u2", "u3", "v*"]}, {"see": ["u1"]}):
        answer, told = come_back(world.open("few", role="service", rights=other), *at_of(at))
        assert answer.reset and told == []
    assert come_back(same, *at_of(checked(root)))[0].reset


def test_a_link_with_a_new_token_has_no_position_until_it_has_asked_again() -> None:
    world, _, _ = world_with()
    few = world.open("few", role="service", rights={"see": ["u1"]})
    few.done(WatchAll(few.next_id()))
    at = checked(few)
    world.engine.sessions.renew(world.now_ms, few.session, 0, rights_of({"see": ["u1", "u2"]}, "few", "service"))
    assert checked(few).epoch == 0, "it was not told of u2"
    assert come_back(few, *at_of(at))[0].reset
    assert checked(few).epoch not in (0, at.epoch)


# --- slices, and links that do not read ------------------------------------------------------------------------------


def test_very_many_are_told_in_slices_and_changes_meanwhile_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part, "SLICE_LOOKS", 7)
    monkeypatch.setattr(part, "SLICE_TOLD", 3)
    world, app, root = world_with(40)
    world.standing_max = 100
    at = checked(root)
    world.advance(1_000)
    for ref in range(1, 41, 2):
        app.say(SetStatus(app.next_id(), "dnd", user=f"u{ref}"))
    world.turn()
    again = world.open("root", role="service")
    again.say(WatchAll(1_000, True, *at_of(at)))
    again.say(Check(1_001))
    world.turn()
    assert not [message for message in again.messages if isinstance(message, Position)]
    app.say(SetStatus(app.next_id(), "xa", user="u2"))
    app.say(Attach(app.next_id(), 99, "new", "tab"))
    world.advance(0)
    view = {message.record.user: message.record for message in again.messages if isinstance(message, Presence)}
    assert sorted(view) == sorted([*(f"u{ref}" for ref in range(1, 41, 2)), "u2", "new"])
    assert all(record == world.record(user) for user, record in view.items())
    (early,) = [message for message in again.messages if isinstance(message, Checked)]
    assert early.epoch == 0, "what was told by then was not all"
    assert isinstance(again.messages[-1], Position) and checked(again).epoch == EPOCH


def test_a_link_that_does_not_read_is_told_when_it_does_and_the_answer_comes_last() -> None:
    world, app, root = world_with()
    at = checked(root)
    world.advance(1_000)
    for ref in (1, 2, 3):
        app.say(SetStatus(app.next_id(), "dnd", user=f"u{ref}"))
    world.turn()
    again = world.open("root", role="service")
    again.stall()
    again.fill()
    again.say(WatchAll(1_000, True, *at_of(at)))
    world.advance(5_000)
    assert not [message for message in again.messages if isinstance(message, Position)]
    again.drain()
    world.advance(0)
    told = [message.record.user for message in again.messages if isinstance(message, Presence)]
    assert sorted({user for user in told if user.startswith("u")}) == ["u1", "u2", "u3"]
    assert isinstance(again.messages[-1], Position)


def test_another_word_ends_what_is_under_way_and_every_request_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part, "SLICE_LOOKS", 2)
    world, _, root = world_with(20)
    world.standing_max = 100
    at = checked(root)
    for last in (WatchAll(902, False), WatchAll(902, True), WatchAll(902, True, *at_of(at))):
        link = world.open("root", role="service")
        link.say(WatchAll(901, True, *at_of(at)))
        link.say(last)
        world.turn()
        world.advance(0)
        answers = [(type(one), one.id) for one in link.messages if isinstance(one, Position | Done)]
        assert answers == [(Position, 901), (Position if last.epoch else Done, 902)]
        first = next(one for one in link.messages if isinstance(one, Position))
        assert first.reset and world.engine.outboxes.is_told_all(link.session) == last.on
        link.lose()
    assert not world.engine.positions._walks


# --- versions over kills ---------------------------------------------------------------------------------------------

VERSIONS = st.lists(st.integers(1, 3 * POSITION_MS_MAX), min_size=1, max_size=20)


@given(VERSIONS, st.integers(0, 3))
def test_versions_keep_their_order_over_kills_as_far_as_positions_reach(versions: list[int], kills: int) -> None:
    told, lives, counter = list(versions), list[Life](), max(versions)
    before = list(versions)
    for _ in range(kills + 1):
        life = Life(counter + VERSION_GAP, max(versions), counter + 9)
        assert min(carried(version, life) for version in versions) > life.above >= max(told)
        assert all(
            (one < other) == (carried(one, life) < carried(other, life))
            for one in versions
            for other in versions
            if min(one, other) > life.newest - POSITION_MS_MAX
        )
        versions = [carried(version, life) for version in versions]
        assert next_version(life) == max(versions) + 1
        counter = next_version(life)
        told += versions
        lives.append(life)
    for position in (*before, max(before) + 7):
        least = since(position, lives)
        if least is not None:
            assert least <= counter, "whoever changes now is above it"
            changed = [number for number, version in enumerate(versions) if version >= least]
            assert changed == [number for number, version in enumerate(before) if version >= position]


def test_what_an_earlier_program_wrote_makes_no_position_good() -> None:
    assert carried(5, Life(100, 0, 0)) == carried(99, Life(100, 0, 0)) == 101
    assert since(50, [Life(100, 0, 0)]) is None
    assert VersionsRaised("", 100) == VersionsRaised("", 100, 0, 0)


def test_the_log_is_told_of_a_position_once_in_a_moment_and_of_none_for_links_that_watch_by_name() -> None:
    world, _, root = world_with()
    by_name = world.open("other", role="service")
    by_name.watch("u1")
    before = len(world.log.facts)
    assert checked(by_name).epoch == EPOCH and len(world.log.facts) == before
    for _ in range(3):
        checked(root)
    (fact,) = world.log.facts[before:]
    assert isinstance(fact, PositionsKnown) and fact.given == world.engine.ledger.version


# --- random lives ----------------------------------------------------------------------------------------------------


class Watcher:
    """What a client does that watches everybody, as section 22.4 has it."""

    def __init__(self) -> None:
        self.view: dict[str, Record] = {}
        self.position: tuple[int, int] | None = None
        self.resets = self.told = 0

    def connect(self, world: World) -> FakeLink:
        link = world.open("root", role="service")
        before, of_link = self.position, dict[str, Record]()
        if before is None:
            link.done(WatchAll(link.next_id()))
            self.list(world, link)
            return link
        answer, told = come_back(link, *before)
        self.told += len(told)
        of_link.update((record.user, record) for record in told)
        self.view.update(of_link)
        if answer.reset:
            self.resets += 1
            self.list(world, link)
            return link
        # Told after the position, and perhaps undone by a kill.
        is_doubtful = [user for user, one in self.view.items() if not 0 < one.version < before[1]]
        doubtful = [user for user in is_doubtful if user not in of_link]
        if doubtful:
            for record in link.expect(Get(link.next_id(), doubtful), Records).records:
                self.view[record.user] = record
        return link

    def list(self, world: World, link: FakeLink) -> None:
        page: WhoPage = link.who(limit=256)
        listed = {record.user: record for record in page.records}
        others = [user for user in self.view if user not in listed]
        self.view = dict(listed)
        if others:
            records = link.expect(Get(link.next_id(), others), Records).records
            self.view.update((record.user, record) for record in records)

    def take(self, link: FakeLink) -> None:
        """What was pushed since."""
        self.view.update((record.user, record) for record in link.pushes)
        link.forget()

    def agrees(self, world: World) -> None:
        for name, user in world.engine.users.items():
            if user.record.status != "offline" or name in self.view:
                has = self.view.get(name)
                assert has is not None and digest(has) == digest(user.record), f"{name}: {has} and {user.record}"
        for name, record in self.view.items():
            assert world.engine.users.knows(name) or digest(record) == 0, f"{name} is known to nobody"


@pytest.mark.parametrize("seed", range(24))
def test_in_random_lives_a_client_that_comes_back_by_its_position_has_the_view_of_the_server(seed: int) -> None:
    dice, world, watcher = Random(seed), World(), Watcher()
    link: FakeLink | None = None
    ends = [0]
    for _ in range(120):
        act = dice.choice(("change", "change", "change", "check", "lose", "back", "erase", "clean", "kill", "wait"))
        users = [f"u{number}" for number in range(6)]
        if act == "change":
            app = world.open("app", role="service", instance=1)
            for user in dice.sample(users, dice.randrange(1, 3)):
                ref = users.index(user) + 1
                what = dice.choice(("attach", "bye", "dnd", "away"))
                if what == "attach":
                    app.attach(ref, f"{user}/tab")
                elif what == "bye" and user in world.engine.users and world.user(user).devices.get("tab"):
                    app.attach(ref, f"{user}/tab")
                    app.release(ref)
                elif what in ("dnd", "away"):
                    app.done(SetStatus(app.next_id(), what, dice.choice(("", "lunch")), user=user))  # type: ignore[arg-type]
            app.lose()
        elif act == "erase" and dice.random() < 0.3:
            admin = world.open("admin", role="service")
            admin.say(Erase(admin.next_id(), dice.choice(users)))
            world.turn()
            admin.lose()
        elif act == "check" and link is not None:
            watcher.take(link)
            answer = checked(link)
            watcher.take(link)
            watcher.position = (answer.epoch, answer.version)
        elif act == "lose" and link is not None:
            watcher.take(link)
            link.lose()
            link = None
        elif act == "back" and link is None:
            link = watcher.connect(world)
            watcher.take(link)
            watcher.agrees(world)
        elif act in ("clean", "kill"):
            if link is not None:
                watcher.take(link)
            link = None
            facts = world.log.facts
            if act == "kill":
                facts = facts[: dice.choice(ends[-4:])]
            elif dice.random() < 0.5:
                facts = snapshot(world)
            world = restart(world, facts, killed=act == "kill", down_ms=dice.choice((10, 2_000)))
            ends = [len(world.log.facts)]
        world.advance(dice.choice((0, 1, 5, 300, 20_000)))
        if link is not None and not link.open:
            link = None
        ends.append(len(world.log.facts))
        if link is not None:
            watcher.take(link)
            link.beat()
            watcher.agrees(world)


@given(st.integers(1, 10**12), st.integers(0, 10**6), st.integers(0, 10**9))
def test_what_a_version_was_before_a_kill_can_be_told_of_all_that_kept_their_place(
    newest: int, before: int, lost: int
) -> None:
    life = Life(newest + lost, newest, 0)
    version = max(1, newest - before)
    assert uncarried(carried(version, life), [life]) == version
    later = Life(carried(newest, life) + lost, carried(newest, life), 0)
    assert uncarried(carried(carried(version, life), later), [life, later]) == version
    assert uncarried(carried(newest, life) + 1, [life]) == carried(newest, life) + 1, "it was given since"
