"""Watching and asking: who is told what and when, slow watchers, counts, and what is left behind."""

from __future__ import annotations

from itertools import pairwise

import pytest

from presenced.core.model import unknown_record
from presenced.core.policy import Policy
from presenced.core.rights import rights_of
from presenced.wire.codec import encode
from presenced.wire.messages import (
    Block,
    Done,
    Error,
    Get,
    Hello,
    Presence,
    Records,
    SetStatus,
    Unblock,
    Unwatch,
    Watch,
    Who,
)
from tests.core.world import TICK_MS, FakeLink, World

NO_SPACING = Policy(change_spacing_ms=0)


def test_a_watch_is_answered_in_the_order_asked_and_pushes_follow() -> None:
    world = World()
    alice = world.open("alice/laptop")
    app = world.open("app", role="service")
    reply = app.expect(Watch(5, ["zoe", "alice", "zoe"]), Records)
    assert [record.user for record in reply.records] == ["zoe", "alice", "zoe"]
    assert [record.status for record in reply.records] == ["offline", "online", "offline"]
    assert (reply.epoch, reply.version) == (77, world.engine.ledger.version)
    alice.set_status("dnd")
    assert app.statuses("alice") == ["dnd"]


def test_users_who_are_not_known_can_be_watched_before_they_appear() -> None:
    world = World()
    app = world.open("app", role="service")
    (record,) = app.watch("alice")
    assert (record.status, record.version, record.since_ms, record.last_seen_ms) == ("offline", 0, 0, 0)
    world.open("alice/laptop")
    assert app.statuses("alice") == ["online"]


def test_a_watch_of_known_and_unknown_names_is_counted_and_told_as_one_of_each_alone() -> None:
    """Whoever sees all of them wholly is served in one go, and whoever does not, one by one."""
    for blocks in (False, True):
        world = World()
        world.open("bob/desk").set_status("dnd")
        alice, twin = world.open("alice/laptop"), world.open("alice/phone")
        if blocks:
            world.open("bob/phone").expect(Block(9, "alice"), Done)
        names = ["bob", "new", "carol", "new", "bob", "dave"]
        alice.watch("carol")
        together = alice.expect(Watch(5, names), Records).records
        assert [record.user for record in together] == names
        assert together == [twin.get(name) for name in names]
        assert together[0].status == ("offline" if blocks else "dnd")
        assert world.engine.watches.count == 4
        # Whoever comes is told to alice once, and so is whoever was watched before.
        for name in ("carol", "new"):
            world.open(f"{name}/desk")
            assert alice.statuses(name) == ["online"]
        alice.unwatch(*names)
        assert world.engine.watches.count == 0


def test_watching_made_up_names_leaves_nothing_behind() -> None:
    world = World()
    for ending in ("bye", "lose", "silence", "unwatch"):
        app = world.open("app", role="service")
        app.watch(*(f"made-up-{number}" for number in range(100)))
        assert len(world.engine.users) == 100
        if ending == "bye":
            app.bye()
        elif ending == "lose":
            app.lose()
        elif ending == "silence":
            world.advance(Policy().timeout_ms + TICK_MS)
            assert app.ended == "lease_expired"
        else:
            app.unwatch(*(f"made-up-{number}" for number in range(100)))
        assert world.engine.users == {}


@pytest.mark.parametrize("ending", ["bye", "lose"])
def test_a_watch_that_ends_in_the_turn_of_another_token_leaves_nothing_behind(ending: str) -> None:
    world = World()
    app = world.open("app", role="service")
    app.watch("made-up")
    renewed = rights_of({"see": []}, "app", "service")
    world.engine.sessions.renew(world.now_ms, app.session, 0, renewed)
    app.bye() if ending == "bye" else app.lose()
    assert world.engine.users == {}


def test_asking_for_made_up_names_leaves_nothing_behind() -> None:
    world = World()
    app = world.open("app", role="service")
    assert app.get("nobody").status == "offline"
    app.who("nobody")
    assert world.engine.users == {}


def test_the_watch_limit_is_all_or_nothing() -> None:
    world = World(Policy(watch_users_max=3))
    alice = world.open("alice/laptop")
    alice.watch("a", "b")
    assert alice.refused(Watch(50, ["c", "d"])) == "watch_limit"
    assert set(world.engine.users) == {"alice", "a", "b"}
    world.open("c/d")
    assert alice.pushes == []
    # What is watched already does not count again.
    alice.watch("a", "b", "c", "c")
    assert alice.refused(Watch(51, ["a", "e"])) == "watch_limit"
    alice.unwatch("a")
    alice.watch("e")


def test_a_service_link_has_a_limit_of_its_own() -> None:
    world = World(Policy(watch_users_max=1))
    world.open("app", role="service").watch("a", "b", "c")


def test_a_bad_name_among_good_ones_refuses_the_whole_request() -> None:
    world = World()
    app = world.open("app", role="service")
    assert app.refused(Watch(5, ["alice", "b ob"])) == "bad_name"
    assert app.refused(Get(6, ["alice", ""])) == "bad_name"
    assert app.refused(Who(7, "b ob")) == "bad_name"
    assert world.engine.users == {}


def test_a_second_hello_is_refused_and_the_link_goes_on() -> None:
    world = World()
    alice = world.open("alice/laptop")
    alice.say(Hello([1], "", "alice", "laptop"))
    world.turn()
    (error,) = alice.messages
    assert (error.id, error.code) == (0, "hello_repeated")  # type: ignore[union-attr]
    assert alice.get("alice").status == "online"


def test_after_unwatch_nothing_more_is_pushed() -> None:
    world = World()
    alice, bob = world.open("alice/laptop"), world.open("bob/laptop")
    app = world.open("app", role="service")
    app.watch("alice", "bob")
    app.unwatch("alice", "never-watched")
    alice.set_status("dnd")
    bob.set_status("dnd")
    assert [record.user for record in app.pushes] == ["bob"]


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_block_in_the_turn_of_the_unwatch_is_not_pushed_after_it(who: str) -> None:
    world = World()
    links = {name: world.open(f"{name}/phone") for name in ("alice", "bob")}
    alice, blocker = links["alice"], links[who]
    alice.watch("bob")
    blocker.say(Block(blocker.next_id(), "bob" if who == "alice" else "alice"))
    alice.unwatch("bob")
    assert alice.pushes == []
    # A watch that begins again in that turn is answered by what is seen then, and goes on.
    blocker.done(Unblock(blocker.next_id(), "bob" if who == "alice" else "alice"))
    alice.watch("bob")
    blocker.say(Block(blocker.next_id(), "bob" if who == "alice" else "alice"))
    alice.say(Unwatch(alice.next_id(), ["bob"]))
    assert alice.watch("bob") == [unknown_record("bob")]
    assert alice.pushes == []
    blocker.done(Unblock(blocker.next_id(), "bob" if who == "alice" else "alice"))
    assert alice.statuses("bob") == ["online"]


def test_a_change_in_the_turn_of_the_unwatch_is_not_pushed_after_it() -> None:
    world = World()
    alice = world.open("alice/laptop")
    app = world.open("app", role="service")
    app.watch("alice")
    alice.say(SetStatus(5, "dnd"))
    app.say(Unwatch(6, ["alice"]))
    world.turn()
    assert app.pushes == []


def test_an_answer_is_never_older_than_what_the_link_said_before_it() -> None:
    world = World()
    alice = world.open("alice/laptop")
    alice.say(SetStatus(1, "dnd"))
    alice.say(Get(2, ["alice"]))
    world.turn()
    alice.say(SetStatus(3, "away"))
    alice.say(Who(4))
    world.turn()
    answers = {message.id: message for message in alice.messages}  # type: ignore[union-attr]
    assert answers[2].records[0].status == "dnd"  # type: ignore[union-attr]
    assert answers[4].records[0].status == "away"  # type: ignore[union-attr]
    assert isinstance(answers[1], Done)


def test_a_change_in_the_turn_of_the_watch_is_in_the_reply_and_not_pushed_as_well() -> None:
    world = World()
    alice = world.open("alice/laptop")
    app = world.open("app", role="service")
    alice.say(SetStatus(1, "dnd"))
    app.say(Watch(2, ["alice"]))
    world.turn()
    assert app.pushes == [] and app.view["alice"].status == "dnd"


def test_several_changes_of_one_turn_are_one_push() -> None:
    world = World()
    alice = world.open("alice/laptop")
    app = world.open("app", role="service")
    app.watch("alice")
    for number, status in enumerate(("dnd", "xa", "chat"), 1):
        alice.say(SetStatus(number, status))  # type: ignore[arg-type]
    world.turn()
    assert app.statuses("alice") == ["chat"]


def test_a_change_that_is_taken_back_within_its_turn_is_no_change() -> None:
    world = World()
    alice = world.open("alice/laptop")
    app = world.open("app", role="service")
    app.watch("alice")
    changed = world.engine.publisher.changed
    alice.say(SetStatus(1, "dnd"))
    alice.say(SetStatus(2, "auto"))
    world.turn()
    assert app.pushes == [] and world.engine.publisher.changed == changed


def test_all_watchers_get_the_same_bytes() -> None:
    world = World()
    alice = world.open("alice/laptop")
    watchers = [world.open(f"app{number}", role="service") for number in range(5)]
    for app in watchers:
        app.watch("alice")
        app.forget()
    alice.set_status("dnd", "lunch")
    expected = encode(Presence(world.record("alice")))
    assert [app.raw for app in watchers] == [[expected]] * 5


def test_links_that_are_owed_different_frames_in_one_turn_get_each_its_own() -> None:
    world = World()
    links = [world.open(f"u{number}/d") for number in range(3)]
    watches = {"a": "u0 u1", "b": "u0 u1", "c": "u1 u2", "d": "u2", "e": "u0", "f": "u0 u1 u2"}
    watchers = {name: world.open(f"app-{name}", role="service") for name in watches}
    for name, app in watchers.items():
        app.watch(*watches[name].split())
    for link in links:
        link.say(SetStatus(1, "dnd"))
    world.turn()
    for name, app in watchers.items():
        assert [record.user for record in app.pushes] == watches[name].split()


def test_links_that_are_owed_the_same_frames_share_one_buffer() -> None:
    world = World()
    links = [world.open(f"u{number}/d") for number in range(2)]
    watchers = [world.open(f"app{number}", role="service") for number in range(3)]
    for app in watchers:
        app.watch("u0", "u1")
    for link in links:
        link.say(SetStatus(1, "dnd"))
    world.turn()
    assert all(app.written is watchers[0].written for app in watchers)
    assert len(watchers[0].pushes) == 2


def test_versions_of_a_user_strictly_increase_and_timers_get_them_too() -> None:
    world = World(NO_SPACING)
    links = [world.open(f"u{number}/d", idle_ms=0) for number in range(3)]
    app = world.open("app", role="service")
    app.watch("u0", "u1", "u2")
    links[0].set_status("dnd", for_ms=5_000)
    links[1].set_status(text="x", for_ms=5_000)
    links[2].lose()
    for _ in range(12):
        world.advance(30_000)
        app.beat()
        for link in links[:2]:
            link.beat()
    versions = [record.version for record in app.pushes]
    assert [(r.user, r.status, r.text) for r in app.pushes if r.user == "u2"] == [("u2", "offline", "")]
    assert app.statuses("u0") == ["dnd", "online", "away"]
    assert len(versions) == 7
    assert all(a <= b for a, b in pairwise(versions)) and versions[-1] <= world.engine.ledger.version
    for name in ("u0", "u1", "u2"):
        assert all(a < b for a, b in pairwise(record.version for record in app.pushes if record.user == name))


# --- slow watchers --------------------------------------------------------------------------------------------


def stalled(users: int) -> tuple[World, list[FakeLink], FakeLink]:
    world = World(NO_SPACING)
    links = [world.open(f"u{number}/d") for number in range(users)]
    app = world.open("app", role="service")
    app.watch(*(f"u{number}" for number in range(users)))
    app.stall()
    links[0].set_status(text="fills the buffer")
    assert app.session.owed is not None
    app.forget()
    return world, links, app


def test_a_watcher_that_does_not_read_gets_one_net_update_for_each_user_when_it_drains() -> None:
    world, links, app = stalled(5)
    for number in range(50):
        links[number % 3].set_status(text=f"text {number}")
    assert len(app.session.pending) == 0 and app.pushes == []
    app.drain()
    # One frame lay in the kernel's buffer; the rest is the latest of each of the three.
    assert app.pushes[0].text == "fills the buffer"
    assert sorted((r.user, r.text) for r in app.pushes[1:]) == [("u0", "text 48"), ("u1", "text 49"), ("u2", "text 47")]
    links[0].set_status("dnd")
    assert app.pushes[-1].status == "dnd"


def test_what_is_kept_for_a_stalled_watcher_is_bounded_by_what_it_watches() -> None:
    world, links, app = stalled(4)
    for number in range(400):
        links[number % 4].set_status(text=str(number))
    held = app.session.owed
    assert held is not None and len(held) == 4
    assert app.session.pending == [] and app.session.reply_bytes == 0


def test_replies_wait_in_order_for_a_stalled_link_and_are_counted() -> None:
    world, links, app = stalled(2)
    app.say(Get(70, ["u0"]))
    world.turn()
    links[0].set_status("dnd")
    app.say(Get(71, ["u0"]))
    world.turn()
    assert app.session.reply_bytes == sum(map(len, app.session.replies)) > 0
    app.drain()
    replies = [message for message in app.messages if isinstance(message, Records)]
    assert [(r.id, r.records[0].status) for r in replies] == [(70, "online"), (71, "dnd")]
    assert app.session.reply_bytes == 0 and app.view["u0"].status == "dnd"


def test_what_was_queued_when_the_buffer_filled_waits_as_well() -> None:
    world = World()
    alice = world.open("alice/laptop")
    app = world.open("app", role="service")
    app.watch("alice")
    app.say(Get(70, ["alice"]))
    app.fill()
    alice.set_status("dnd")
    assert app.statuses("alice") == []
    app.drain()
    assert [message.id for message in app.messages if isinstance(message, Records)][-1] == 70
    assert app.statuses("alice") == ["dnd"]


def test_a_user_unwatched_while_the_link_stalls_is_not_told_of_after_it() -> None:
    world, links, app = stalled(2)
    links[0].set_status("dnd")
    links[1].set_status("dnd")
    app.say(Unwatch(80, ["u0"]))
    world.turn()
    app.drain()
    assert [r.user for r in app.pushes if r.status == "dnd"] == ["u1"]


def test_a_stalled_watcher_costs_the_others_nothing() -> None:
    world, links, app = stalled(1)
    other = world.open("other", role="service")
    other.watch("u0")
    links[0].set_status("dnd")
    links[0].set_status("xa")
    assert other.statuses("u0") == ["dnd", "xa"]
    # It is not disconnected for it; only silence ends it.
    assert app.open
    world.advance_beating(Policy().timeout_ms, links[0], other)
    world.advance(TICK_MS)
    assert app.ended == "lease_expired" and other.open


def test_draining_twice_or_without_a_stall_is_harmless() -> None:
    world, links, app = stalled(1)
    links[0].set_status("dnd")
    app.drain()
    count = len(app.pushes)
    app.drain()
    assert len(app.pushes) == count


def test_of_several_names_the_one_that_is_bad_is_told_by_its_place() -> None:
    world = World()
    app = world.open("app", role="service")
    names = [f"u{number}" for number in range(256)]
    for request in (Get, Watch):
        error = app.expect(request(app.next_id(), [*names[:41], "two words", *names[42:]]), Error)
        assert (error.code, error.message[:36]) == ("bad_name", "name 42 of 256: the user name holds ")
        alone = app.expect(request(app.next_id(), ["two words"]), Error)
        assert alone.message.startswith("the user name holds ")


def test_of_two_requests_with_one_id_each_is_answered_with_it() -> None:
    world = World()
    app = world.open("app", role="service")
    app.say(Get(70, ["u1"]))
    app.say(Who(70, "", 0))
    app.say(Get(70, ["two words"]))
    world.turn()
    replies = [message for message in app.messages if getattr(message, "id", None) == 70]
    assert sorted(type(reply).__name__ for reply in replies) == ["Error", "Records", "WhoPage"]
