"""How far a node of a cluster knows what all decide, and which positions follow from that."""

from __future__ import annotations

import pytest

from presenced.core import horizon as module
from presenced.core.horizon import Horizon
from presenced.wire.messages import Check, Checked, Position, WatchAll
from tests.core.world import FakeLink, World


def begun(version: int, floor: int = 0) -> Horizon:
    one = Horizon(5)
    one.learn(7, version, floor)
    one.begin()
    return one


def test_before_its_beginning_nothing_is_known_but_what_older_nodes_say() -> None:
    one = Horizon(5)
    one.reach(90)
    one.learn(0, 0, 0)
    assert (one.version, one.origin) == (0, 5), "an older node of an earlier version says nothing"
    one.learn(7, 40, 10)
    one.learn(7, 40, 20)
    one.note("alice", 3)
    one.begin()
    assert (one.version, one.floor, one.origin) == (40, 20, 7)
    assert one.late_since(1) == [], "what older nodes tell of users was known before"
    one.begin()
    one.reach(30)
    assert one.version == 40


def test_what_ends_positions_while_a_node_arrives_ends_all_from_before() -> None:
    one = Horizon(5)
    one.end_earlier()
    one.learn(7, 40, 10)
    one.begin()
    assert one.floor == 40
    other = Horizon(5)
    other.learn(7, 40, 10)
    other.begin_again(60)
    other.begin()
    assert (other.version, other.floor) == (60, 60)


def test_what_comes_below_is_late_and_counts_as_of_that_moment() -> None:
    one = begun(40)
    one.note("alice", 40)
    one.note("bob", 39)
    one.reach(50)
    one.note("carol", 3)
    assert one.late_since(40) == ["carol", "bob"] and one.late_since(41) == ["carol"]
    one.note("bob", 49)
    assert one.late_since(41) == ["bob", "carol"]
    assert one.told_floor == 50 and one.floor == 0, "nobody else can know whom"


def test_late_ones_who_are_forgotten_end_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATE_MAX", 1)
    one = begun(40)
    one.note("alice", 3)
    one.reach(50)
    one.note("bob", 3)
    assert one.floor == 40 and one.late_since(41) == ["bob"]


def test_a_log_that_had_lost_something_ends_the_positions_of_whoever_had_read_it() -> None:
    one = begun(40)
    one.begin_again(60)
    assert (one.version, one.floor) == (60, 60)
    one.begin_again(50)
    assert (one.version, one.floor) == (60, 60)


# --- positions -------------------------------------------------------------------------------------------------------


def shared() -> tuple[World, FakeLink, Horizon]:
    world = World()
    app = world.open("app", role="service", instance=1)
    for ref in range(1, 6):
        app.attach(ref, f"u{ref}/tab")
    world.advance(100)
    one = begun(50)
    world.engine.positions.share(one)
    return world, app, one


def say(world: World, epoch: int, version: int) -> tuple[FakeLink, list[Position]]:
    root = world.open("root", role="service", instance=2)
    root.say(WatchAll(root.next_id(), True, epoch, version))
    world.turn()
    world.advance(0)
    return root, answers(root)


def answers(root: FakeLink) -> list[Position]:
    return [message for message in root.messages if isinstance(message, Position)]


def test_a_position_is_no_further_than_the_horizon() -> None:
    world, app, one = shared()
    root = world.open("root", role="service", instance=2)
    root.done(WatchAll(root.next_id()))
    checked = root.expect(Check(root.next_id()), Checked)
    assert checked.version == 50 < world.engine.ledger.version and checked.epoch
    app.release(2)
    world.advance(100)
    back, [answer] = say(world, checked.epoch, 50)
    assert (answer.epoch, answer.version, answer.reset) == (checked.epoch, 50, False)
    assert [record.user for record in back.pushes] == ["u2"]
    one.origin = 9
    assert say(world, checked.epoch, 50)[1][0].reset, "another cluster"


def test_a_position_of_a_node_that_has_come_further_waits_for_this_one() -> None:
    world, app, one = shared()
    epoch = 77 ^ 7
    back, given = say(world, epoch, 80)
    assert not given and not back.pushes
    app.release(2)
    assert not answers(back) and [record.user for record in back.pushes] == ["u2"], "what comes is told at once"
    one.note("u3", 45)
    one.reach(85)
    one.note("u4", 45)
    world.advance(0)
    [answer] = answers(back)
    assert (answer.version, answer.reset) == (85, False)
    assert [record.user for record in back.pushes][1:] == ["u4", "u2"] or {r.user for r in back.pushes} == {"u2", "u4"}


def test_a_position_waits_for_five_seconds() -> None:
    world, _, one = shared()
    back, given = say(world, 77 ^ 7, 1_000_000)
    assert not given
    world.advance(4_900)
    assert not answers(back)
    world.advance(200)
    [answer] = answers(back)
    assert answer.reset and answer.version == 50


def test_a_position_that_waits_is_not_good_any_more_when_the_log_has_lost_what_it_stood_for() -> None:
    world, _, one = shared()
    back, given = say(world, 77 ^ 7, 80)
    assert not given
    one.begin_again(90)
    world.advance(0)
    [answer] = answers(back)
    assert answer.reset and answer.version == 90
