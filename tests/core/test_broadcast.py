"""The first fan-out of a turn is kept back until it is written: whatever happens in between, everybody is told exactly
what they would have been told at once, and in the same order.

A change is settled at the end of a turn; what was put off until then, and what a link does while the turn writes, can
still come between the two.
"""

from __future__ import annotations

from presenced.core.policy import Policy
from presenced.wire.messages import Get, Presence, Records, SetStatus, Unwatch, Watch, WatchAll
from tests.core.world import FakeLink, World

NO_SPACING = Policy(change_spacing_ms=0)


def told(link: FakeLink) -> list[str]:
    """Pushes as `user:status`, replies by their type, in the order in which they were read."""
    return [
        f"{message.record.user}:{message.record.status}" if isinstance(message, Presence) else type(message).__name__
        for message in link.messages
    ]


def changed(world: World, alice: FakeLink, status: str, asker: FakeLink) -> None:
    """Alice changes, somebody asks for it, and it is settled; the turn has not written yet."""
    alice.say(SetStatus(alice.next_id(), status))  # type: ignore[arg-type]
    asker.say(Get(asker.next_id(), ["alice"]))
    world.engine.settle(world.now_ms)


def stage(*watchers: str) -> tuple[World, FakeLink, FakeLink, list[FakeLink]]:
    """Alice, somebody who asks, and watchers of alice."""
    world = World(NO_SPACING)
    alice = world.open("alice/laptop")
    asker = world.open("asker/desk")
    links = [world.open(f"{name}/desk") for name in watchers]
    for link in links:
        link.watch("alice")
        link.messages.clear()
    return world, alice, asker, links


def test_all_watchers_are_told_with_one_object() -> None:
    world, alice, _, links = stage("bob", "carol", "dave")
    before = world.engine.outboxes.deliveries
    alice.set_status("dnd")
    assert [told(link) for link in links] == [["alice:dnd"]] * 3
    assert links[0].written is links[1].written is links[2].written
    assert world.engine.outboxes.deliveries == before + 3


def test_a_reply_that_comes_after_the_change_is_read_after_it() -> None:
    world, alice, asker, (bob, carol) = stage("bob", "carol")
    changed(world, alice, "dnd", asker)
    bob.say(Get(77, ["carol"]))
    world.turn()
    assert told(bob) == ["alice:dnd", "Records"]
    assert told(carol) == ["alice:dnd"]


def test_a_second_change_of_the_turn_comes_second() -> None:
    world, alice, asker, (bob,) = stage("bob")
    bob.watch("asker")
    bob.messages.clear()
    before = world.engine.outboxes.deliveries
    changed(world, alice, "dnd", asker)
    bob.say(Get(bob.next_id(), ["nobody"]))
    asker.say(SetStatus(asker.next_id(), "away"))
    world.engine.settle(world.now_ms)
    changed(world, alice, "online", asker)
    world.turn()
    assert told(bob) == ["alice:dnd", "Records", "asker:away", "alice:online"]
    assert world.engine.outboxes.deliveries == before + 3


def test_who_stops_watching_after_the_change_was_told_of_it() -> None:
    world, alice, asker, (bob, carol) = stage("bob", "carol")
    changed(world, alice, "dnd", asker)
    bob.say(Unwatch(9, ["alice"]))
    world.turn()
    assert told(bob) == ["alice:dnd", "Done"]
    assert told(carol) == ["alice:dnd"]


def test_who_begins_to_watch_after_the_change_is_told_once() -> None:
    world, alice, asker, (bob,) = stage("bob")
    late = world.open("late/desk")
    late.messages.clear()
    changed(world, alice, "dnd", asker)
    late.say(Watch(9, ["alice"]))
    world.turn()
    assert told(late) == ["Records"]
    (reply,) = late.messages
    assert isinstance(reply, Records) and reply.records[0].status == "dnd"
    assert told(bob) == ["alice:dnd"]


def test_who_stops_reading_after_the_change_is_told_when_they_read_again() -> None:
    world, alice, asker, (bob, carol) = stage("bob", "carol")
    changed(world, alice, "dnd", asker)
    bob.fill()
    world.turn()
    assert told(carol) == ["alice:dnd"]
    bob.drain()
    assert told(bob) == ["alice:dnd"]


def test_one_who_did_not_read_is_owed_it_and_counted_once() -> None:
    world, alice, _, (bob, carol) = stage("bob", "carol")
    bob.fill()
    before = world.engine.outboxes.deliveries
    alice.set_status("dnd")
    assert world.engine.outboxes.deliveries == before + 1
    alice.set_status("away")
    bob.drain()
    assert told(bob) == ["alice:away"]
    assert told(carol) == ["alice:dnd", "alice:away"]
    assert world.engine.outboxes.deliveries == before + 3


def test_who_reads_again_in_the_turn_of_the_change_is_told_once() -> None:
    world, alice, asker, (bob,) = stage("bob")
    bob.fill()
    alice.set_status("away")
    changed(world, alice, "dnd", asker)
    bob.drain()
    assert told(bob) == ["alice:dnd"]


def test_who_leaves_after_the_change_disturbs_nobody() -> None:
    world, alice, asker, (bob, carol) = stage("bob", "carol")
    changed(world, alice, "dnd", asker)
    bob.lose()
    world.turn()
    assert told(carol) == ["alice:dnd"]


def test_one_who_is_told_of_everybody_is_told_too() -> None:
    world, alice, asker, (bob,) = stage("bob")
    app = world.open("app", role="service")
    app.ask(WatchAll(app.next_id(), True))
    app.messages.clear()
    changed(world, alice, "dnd", asker)
    world.turn()
    assert "alice:dnd" in told(app)
    assert told(bob) == ["alice:dnd"]
