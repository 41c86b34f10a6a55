"""Awaits: when they are answered, with what, and what is refused (protocol.md, section 23.3)."""

from __future__ import annotations

import pytest

from presenced import limits
from presenced.core.parts import awaits
from presenced.core.policy import Policy
from presenced.wire.codec import BadMessage, decode_client, encode
from presenced.wire.messages import (
    Await,
    Awaited,
    Block,
    CancelAwait,
    Done,
    Erase,
    Error,
    Get,
    HideFrom,
    Kick,
    Records,
    SetAudience,
    SetStatus,
    ShowTo,
    Status,
    StopShowing,
    Unblock,
)
from tests.core.world import TICK_MS, FakeLink, World

HOUR = 3_600_000


def answers(link: FakeLink) -> list[tuple[int, bool, str]]:
    """What the link's awaits were answered, in order."""
    return [(told.id, told.met, told.record.status) for told in link.messages if isinstance(told, Awaited)]


def awaiting(
    link: FakeLink, user: str, *statuses: Status, least_ms: int = 0, most_ms: int = HOUR, kinds: tuple[str, ...] = ()
) -> int:
    """Await a user, and run a turn; the id of the request."""
    number = link.next_id()
    link.say(Await(number, user, most_ms, list(statuses), list(kinds), least_ms))
    link.world.turn()
    return number


# --- when it is met ----------------------------------------------------------------------------------------------


def test_whoever_comes_is_told_of_once() -> None:
    world = World()
    alice = world.open("alice/laptop")
    number = awaiting(alice, "bob")
    assert answers(alice) == []
    bob = world.open("bob/phone")
    assert answers(alice) == [(number, True, "online")]
    assert alice.pushes == [], "an await is no watch"
    bob.set_status("dnd")
    bob.bye()
    world.open("bob/phone")
    assert answers(alice) == [(number, True, "online")]
    assert world.engine.awaits.count == 0 and world.user("bob").awaited is None


def test_what_is_so_already_is_answered_at_once_with_the_record() -> None:
    world = World()
    alice, bob = world.open("alice/laptop"), world.open("bob/phone")
    bob.set_status("dnd", "busy")
    assert alice.ask(Await(70, "bob", HOUR, ["dnd", "xa"])) == Awaited(70, True, world.record("bob"))
    assert alice.ask(Await(71, "nobody", HOUR, ["offline"])) == Awaited(71, True, alice.get("nobody"))
    assert "nobody" not in world.engine.users


def test_only_the_statuses_that_are_wanted_count() -> None:
    world = World()
    alice, bob = world.open("alice/laptop"), world.open("bob/phone")
    number = awaiting(alice, "bob", "dnd", "offline")
    for status in ("away", "xa", "chat"):
        bob.set_status(status)
        assert answers(alice) == []
    bob.set_status("dnd")
    assert answers(alice) == [(number, True, "dnd")]


def test_of_what_changes_in_one_turn_only_the_last_counts() -> None:
    world = World()
    alice, bob = world.open("alice/laptop"), world.open("bob/phone")
    number = awaiting(alice, "bob", "dnd")
    bob.say(SetStatus(902, "dnd"))
    bob.say(SetStatus(903, "away"))
    world.turn()
    assert answers(alice) == []
    # Asked in the turn of a change, it is about what comes of the turn.
    bob.say(SetStatus(904, "dnd"))
    alice.say(Await(99, "bob", HOUR, ["away"]))
    bob.say(SetStatus(905, "xa"))
    world.turn()
    bob.set_status("dnd")
    assert answers(alice) == [(number, True, "dnd")]


def test_it_is_answered_behind_what_its_link_is_told_of_the_change() -> None:
    world = World()
    alice = world.open("alice/laptop")
    alice.watch("bob")
    awaiting(alice, "bob")
    alice.forget()
    world.open("bob/phone")
    assert [type(told).__name__ for told in alice.messages] == ["Presence", "Awaited"]


def test_a_lost_connection_that_is_back_within_grace_does_not_interrupt_it() -> None:
    world = World()
    alice, bob = world.open("alice/laptop"), world.open("bob/phone")
    number = awaiting(alice, "bob", least_ms=20_000)
    bob.lose()
    world.advance(10_000)
    world.open("bob/phone", again=True)
    world.advance(10_000 - 1)
    assert answers(alice) == []
    world.advance(1 + TICK_MS)
    assert answers(alice) == [(number, True, "online")]


# --- holding -----------------------------------------------------------------------------------------------------


def test_it_must_have_held_and_counts_anew_after_an_interruption() -> None:
    world = World()
    alice = world.open("alice/laptop")
    number = awaiting(alice, "bob", "online", "chat", "away", least_ms=10_000)
    bob = world.open("bob/phone")
    world.advance(9_000)
    bob.set_status("dnd")
    world.advance(5_000)
    bob.set_status("online")
    world.advance(6_000)
    # From one wanted status to another nothing is interrupted.
    bob.set_status("away")
    world.advance(4_000 - 1)
    assert answers(alice) == []
    world.advance(1 + TICK_MS)
    assert answers(alice) == [(number, True, "away")]


def test_who_asks_again_loses_nothing_of_the_holding_time() -> None:
    world = World()
    alice, bob = world.open("alice/laptop"), world.open("bob/phone")
    awaiting(alice, "bob", least_ms=10_000)
    world.advance(6_000)
    alice.lose()
    assert world.engine.awaits.count == 0
    world.advance(3_000)
    alice = world.open("alice/laptop", again=True)
    number = awaiting(alice, "bob", least_ms=10_000)
    world.advance(1_000 - 1)
    assert answers(alice) == []
    world.advance(1 + TICK_MS)
    assert answers(alice) == [(number, True, "online")]
    assert alice.ask(Await(70, "bob", 1, [], [], 9_000)) == Awaited(70, True, world.record("bob"))
    assert bob.open


def test_who_is_not_told_the_times_waits_from_the_request_on() -> None:
    world = World()
    alice, bob = world.open("alice/laptop"), world.open("bob/phone")
    bob.done(SetAudience(902, last_seen="nobody"))
    world.advance(60_000)
    number = awaiting(alice, "bob", least_ms=10_000)
    world.advance(10_000 - 1)
    assert answers(alice) == []
    world.advance(1 + TICK_MS)
    assert answers(alice) == [(number, True, "online")]


def test_the_holding_time_of_one_await_tells_another_link_nothing() -> None:
    """Another await has seen that the condition has held for longer than the record says."""
    world = World()
    world.open("carol/web")
    alice, bob, carol = world.open("alice/laptop"), world.open("bob/phone"), world.open("carol/laptop")
    first = awaiting(alice, "bob", least_ms=10_000)
    world.advance(8_000)
    bob.set_status("away")
    second = awaiting(carol, "bob", least_ms=10_000)
    world.advance(2_000 + TICK_MS)
    assert answers(alice) == [(first, True, "away")] and answers(carol) == []
    world.advance(8_000)
    assert answers(carol) == [(second, True, "away")]


# --- not met -----------------------------------------------------------------------------------------------------


def test_when_the_time_is_over_it_is_not_met() -> None:
    world = World()
    alice = world.open("alice/laptop")
    number = awaiting(alice, "bob", most_ms=30_000)
    world.advance(30_000 - 1)
    assert answers(alice) == []
    world.advance(1 + TICK_MS)
    assert answers(alice) == [(number, False, "offline")]
    assert "bob" not in world.engine.users
    world.open("bob/phone")
    assert len(answers(alice)) == 1


def test_what_is_met_when_the_time_is_over_is_met() -> None:
    world = World()
    alice, _ = world.open("alice/laptop"), world.open("bob/phone")
    number = awaiting(alice, "bob", least_ms=10_000, most_ms=10_000)
    world.advance(10_000 + TICK_MS)
    assert answers(alice) == [(number, True, "online")]


def test_what_is_cancelled_is_answered_first() -> None:
    world = World()
    alice = world.open("alice/laptop")
    number = awaiting(alice, "bob")
    alice.forget()
    alice.say(CancelAwait(90, number))
    alice.say(CancelAwait(91, number))
    alice.say(CancelAwait(92, 4_711))
    world.turn()
    assert answers(alice) == [(number, False, "offline")]
    assert [type(told) for told in alice.messages] == [Awaited, Done, Done, Done]
    assert len(world.engine.wheel) == 1 and world.engine.awaits.count == 0
    assert isinstance(alice.ask(Await(number + 50, "bob", HOUR, ["offline"])), Awaited)


def test_another_link_cannot_cancel_it() -> None:
    world = World()
    alice, carol = world.open("alice/laptop"), world.open("alice/phone")
    number = awaiting(alice, "bob")
    carol.done(CancelAwait(90, number))
    world.open("bob/phone")
    assert answers(alice) == [(number, True, "online")] and answers(carol) == []


def test_an_await_ends_with_its_link() -> None:
    world = World()
    for end in (lambda link: link.lose(), lambda link: link.bye()):
        alice = world.open("alice/laptop")
        for number in range(5):
            awaiting(alice, f"user{number}", "dnd")
        end(alice)
        assert world.engine.awaits.count == 0 and not any(name.startswith("user") for name in world.engine.users)


def test_very_many_of_one_link_end_a_slice_each_turn() -> None:
    world = World()
    app = world.open("app", role="service")
    for number in range(2_500):
        app.say(Await(1_000 + number, f"user{number % 7}", HOUR, ["dnd"]))
    world.turn()
    app.break_off()
    world.turn()
    assert 0 < world.engine.awaits.count < 2_500
    world.advance(0)
    assert world.engine.awaits.count == 0 and "user1" not in world.engine.users


# --- who may see whom --------------------------------------------------------------------------------------------


def test_who_may_not_see_waits_as_for_a_name_never_seen() -> None:
    world = World(Policy(grounds=("contacts",)))
    alice, bob = world.open("alice/laptop"), world.open("bob/phone")
    for user in ("bob", "never-seen"):
        awaiting(alice, user, most_ms=60_000)
    alice.forget()
    for status in ("dnd", "offline", "auto"):
        bob.set_status(status)
        world.advance(5_000)
    assert alice.messages == []
    world.advance(60_000)
    told = [payload[2:].replace(b"\xa3bob", b"\xaanever-seen") for payload in alice.raw]
    assert len(told) == 2 and told[0][1:] == told[1][1:]
    assert not any(met for _, met, _ in answers(alice))
    # And for `offline` they are both there at once.
    assert [alice.ask(Await(70 + n, user, HOUR, ["offline"])).met for n, user in enumerate(("bob", "x"))] == [True] * 2  # type: ignore[union-attr]


def test_a_block_and_its_end_count_like_changes_of_the_user() -> None:
    world = World()
    alice, bob = world.open("alice/laptop"), world.open("bob/phone")
    gone = awaiting(alice, "bob", "offline")
    bob.done(Block(902, "alice"))
    assert answers(alice) == [(gone, True, "offline")]
    back = awaiting(alice, "bob")
    bob.set_status("dnd")
    assert len(answers(alice)) == 1
    bob.done(Unblock(903, "alice"))
    assert answers(alice)[1:] == [(back, True, "dnd")]


def test_sight_that_is_lost_interrupts_the_holding_time() -> None:
    world = World()
    alice, bob = world.open("alice/laptop"), world.open("bob/phone")
    bob.done(SetAudience(902, last_seen="nobody"))
    number = awaiting(alice, "bob", least_ms=10_000)
    world.advance(8_000)
    bob.done(HideFrom(903, "alice"))
    world.advance(8_000)
    assert answers(alice) == []
    bob.done(ShowTo(904, "alice"))
    world.advance(TICK_MS)
    # A device that is shown is shown with its times.
    assert answers(alice) == [(number, True, "online")]


def test_a_device_that_is_shown_is_awaited_behind_an_offline() -> None:
    world = World()
    alice, bob = world.open("alice/laptop"), world.open("bob/phone")
    bob.set_status("offline")
    number, other = awaiting(alice, "bob"), awaiting(alice, "bob", "dnd")
    bob.done(ShowTo(903, "alice"))
    assert answers(alice) == [(number, True, "online")]
    bob.done(StopShowing(904, "alice"))
    bob.set_status("dnd")
    assert answers(alice)[1:] == [(other, True, "dnd")]


def test_a_new_token_shows_and_hides_users() -> None:
    world = World()
    app = world.open("app", role="service", rights={"see": []})
    world.open("bob/phone")
    number = awaiting(app, "bob")
    assert answers(app) == []
    world.engine.sessions.renew(world.now_ms, app.session, 0, None)
    world.turn()
    assert answers(app) == [(number, True, "online")]


def test_who_is_erased_is_a_name_never_seen() -> None:
    world = World()
    app, alice = world.open("app", role="service"), world.open("alice/laptop")
    bob = world.open("bob/phone")
    number = awaiting(alice, "bob", "offline")
    app.done(Erase(902, "bob"))
    assert answers(alice) == [(number, True, "offline")] and not bob.open
    number = awaiting(alice, "bob")
    world.open("bob/phone")
    assert answers(alice)[1:] == [(number, True, "online")]


def test_the_awaits_of_somebody_who_is_kicked_are_over() -> None:
    world = World()
    app, alice = world.open("app", role="service"), world.open("alice/laptop")
    awaiting(alice, "bob")
    app.done(Kick(902, "alice"))
    assert world.engine.awaits.count == 0


def test_questions_about_strangers_are_paid_for() -> None:
    world = World(Policy(grounds=("contacts",)))
    alice = world.open("alice/laptop")
    world.open("bob/phone")
    curiosity = world.engine.curiosity
    for number in range(limits.STRANGERS_MAX):
        curiosity.note(alice.session, world.now_ms, number >= 0)
    assert curiosity.take_owed(alice.session) == 0
    awaiting(alice, "bob")
    assert curiosity.take_owed(alice.session) == limits.STRANGER_UNITS
    awaiting(alice, "never-seen")
    assert curiosity.take_owed(alice.session) == limits.STRANGER_UNITS
    awaiting(alice, "alice")
    assert curiosity.take_owed(alice.session) == 0


# --- kinds of devices --------------------------------------------------------------------------------------------


def test_a_device_of_a_kind_is_awaited_by_the_user_and_by_services() -> None:
    world = World()
    laptop = world.open("alice/laptop", kind="desktop")
    app = world.open("app", role="service")
    own, by_app = awaiting(laptop, "alice", kinds=("phone",)), awaiting(app, "alice", kinds=("tablet", "phone"))
    world.open("alice/pad", kind="watch")
    world.open("alice/other", kind="phone", priority=-1)
    assert answers(laptop) == answers(app) == []
    world.open("alice/phone", kind="phone")
    assert answers(laptop) == [(own, True, "online")] and answers(app) == [(by_app, True, "online")]


def test_with_kinds_the_holding_time_counts_from_when_it_was_seen() -> None:
    world = World()
    laptop, phone = world.open("alice/laptop"), world.open("alice/phone", kind="phone")
    world.advance(20_000)
    number = awaiting(laptop, "alice", kinds=("phone",), least_ms=10_000)
    world.advance(5_000)
    phone.bye()
    world.open("alice/phone", kind="phone")
    world.advance(10_000 - 1)
    assert answers(laptop) == []
    world.advance(1 + TICK_MS)
    assert answers(laptop) == [(number, True, "online")]


def test_kinds_of_somebody_else_are_nobodys_business() -> None:
    world = World()
    alice, app = world.open("alice/laptop"), world.open("app", role="service", rights={"see": ["*"], "act": ["bob"]})
    for link in (alice, app):
        known, unknown = (
            link.ask(Await(n, name, HOUR, [], ["phone"])) for n, name in ((70, "alice2"), (71, "bad name"))
        )
        assert isinstance(known, Error) and isinstance(unknown, Error) and known.code == unknown.code == "forbidden"
    assert world.engine.awaits.count == 0 and "alice2" not in world.engine.users
    awaiting(app, "bob", kinds=("phone",))
    assert world.engine.awaits.count == 1


def test_a_right_that_is_taken_away_ends_an_await_about_kinds() -> None:
    world = World()
    app = world.open("app", role="service")
    narrow = world.open("other", role="service", rights={"see": ["*"], "act": []}).session.rights
    kinds, plain = awaiting(app, "bob", kinds=("phone",)), awaiting(app, "bob")
    world.engine.sessions.renew(world.now_ms, app.session, 0, narrow)
    world.turn()
    assert [(told.id, told.code) for told in app.messages if isinstance(told, Error)] == [(kinds, "forbidden")]
    world.open("bob/phone", kind="phone")
    assert answers(app) == [(plain, True, "online")]


# --- links that do not read --------------------------------------------------------------------------------------


def test_a_link_that_does_not_read_is_answered_by_what_is_so_when_it_reads() -> None:
    world = World()
    alice = world.open("alice/laptop")
    first, second, third = (
        awaiting(alice, "bob"),
        awaiting(alice, "bob", "dnd"),
        awaiting(alice, "carol", most_ms=5_000),
    )
    alice.fill()
    bob = world.open("bob/phone")
    bob.set_status("dnd")
    bob.set_status("away")
    world.advance(10_000)
    assert alice.session.replies == [] and alice.session.pending == []
    alice.drain()
    assert answers(alice) == [(first, True, "away"), (third, False, "offline")]
    bob.set_status("dnd")
    assert answers(alice)[2:] == [(second, True, "dnd")]


def test_what_ends_while_a_link_does_not_read_leaves_nothing() -> None:
    world = World()
    alice = world.open("alice/laptop")
    number = awaiting(alice, "bob")
    alice.fill()
    world.open("bob/phone")
    alice.say(CancelAwait(90, number))
    world.turn()
    alice.drain()
    assert answers(alice) == [(number, False, "online")]
    awaiting(alice, "carol")
    alice.fill()
    world.open("carol/phone")
    alice.lose()
    assert world.engine.awaits.count == 0 and not world.engine.awaits._held


# --- bounds ------------------------------------------------------------------------------------------------------


def test_a_link_has_so_many_and_no_more() -> None:
    world = World()
    alice = world.open("alice/laptop")
    for number in range(limits.AWAITS_PER_LINK_MAX):
        awaiting(alice, f"user{number}")
    refused = alice.expect(Await(9_000, "bob", HOUR), Error)
    assert refused.code == "await_limit" and "cancel" in refused.message and "bob" not in world.engine.users
    alice.done(CancelAwait(9_001, 2))
    awaiting(alice, "bob")
    assert alice.refused(Await(9_002, "carol", HOUR, ["offline"])) == "await_limit", "also what would be met at once"


def test_an_id_that_is_in_use_is_refused() -> None:
    world = World()
    alice = world.open("alice/laptop")
    alice.say(Await(70, "bob", HOUR))
    assert alice.refused(Await(70, "carol", HOUR)) == "bad_request"
    world.open("bob/phone")
    assert answers(alice) == [(70, True, "online")]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (Await(5, "bob", 0), "for_at_most_ms"),
        (Await(5, "bob", limits.AWAIT_MS_MAX + 1), "for_at_most_ms"),
        (Await(5, "bob", 1, [], [], -1), "for_at_least_ms"),
        (Await(5, "bob", 1, [], [], limits.AWAIT_MS_MAX + 1), "for_at_least_ms"),
        (Await(5, "bob", 1, ["busy"]), "statuses"),  # type: ignore[list-item]
        (Await(5, "bob", 1, ["dnd"] * 7), "statuses"),
        (Await(5, "bob", 1, [], ["phone"] * 17), "kinds"),
        (CancelAwait(5, 0), "request"),
    ],
)
def test_what_is_out_of_range_is_refused_and_named(message: Await | CancelAwait, field: str) -> None:
    with pytest.raises(BadMessage) as caught:
        decode_client(encode(message))
    assert (caught.value.code, caught.value.request_id) == ("bad_request", 5) and field in str(caught.value)


@pytest.mark.parametrize(("user", "kinds"), [("", []), ("two words", []), ("alice", ["a\nb"]), ("alice", ["x" * 65])])
def test_names_and_kinds_that_break_the_rules_are_refused(user: str, kinds: list[str]) -> None:
    world = World()
    alice = world.open("alice/laptop")
    assert alice.refused(Await(5, user, HOUR, [], kinds)) == ("bad_text" if kinds else "bad_name")
    assert world.engine.awaits.count == 0


def test_without_memory_none_is_begun_and_those_that_are_go_on() -> None:
    world = World()
    alice = world.open("alice/laptop")
    number = awaiting(alice, "bob")
    world.engine.set_memory_level(1)
    assert alice.refused(Await(70, "carol", HOUR)) == "memory_low"
    world.open("bob/phone")
    assert answers(alice) == [(number, True, "online")]


# --- what they cost ----------------------------------------------------------------------------------------------


def test_a_change_of_another_user_costs_nothing() -> None:
    """100,000 awaits, and not one of them is looked at."""
    world = World()
    world.checks = False
    app, bob = world.open("app", role="service"), world.open("bob/phone")
    for number in range(limits.SERVICE_AWAITS_PER_LINK_MAX):
        app.say(Await(1_000 + number, f"user{number % 50_000}", HOUR, ["dnd"]))
    world.turn()
    looks, entries = world.engine.awaits.looks, len(world.engine.wheel)
    for status in ("dnd", "away", "offline", "auto"):
        bob.set_status(status)
    assert world.engine.awaits.looks == looks and len(world.engine.wheel) == entries
    world.open("user7/phone").set_status("dnd")
    assert world.engine.awaits.looks == looks + 4, "two, for two changes"
    assert [met for _, met, _ in answers(app)] == [True, True]


def test_very_many_about_one_user_are_answered_some_each_turn() -> None:
    world = World()
    world.checks = False
    app = world.open("app", role="service")
    other = world.open("alice/laptop")
    count = 2_000
    for number in range(count):
        app.say(Await(1_000 + number, "bob", HOUR))
    world.turn()
    mine = awaiting(other, "carol")
    world.standing_max = 50
    turns = 0
    bob = world.open("bob/phone")
    world.open("carol/phone")
    assert answers(other) == [(mine, True, "online")], "it does not wait for all those of another user"
    before = len(answers(app))
    most = awaits.TURN_COST_MAX // awaits.ANSWER_COST
    assert 0 < before <= 2 * most + 2
    while world.engine.next_ms == 0:
        world.turn()
        turns += 1
        assert len(answers(app)) - before <= most + 1
        before = len(answers(app))
    assert turns > 2
    assert sorted(told[0] for told in answers(app)) == [1_000 + number for number in range(count)]
    assert bob.open and world.engine.awaits.count == 0


def test_who_changes_again_while_they_are_looked_at_is_looked_at_again() -> None:
    world = World()
    world.checks = False
    app = world.open("app", role="service")
    bob = world.open("bob/phone")
    count = 9_000
    for number in range(count):
        app.say(Await(1_000 + number, "bob", HOUR, ["dnd" if number % 2 else "away"], [], 1_000 * (number % 3)))
    world.turn()
    bob.set_status("dnd")
    bob.set_status("away")
    bob.set_status("xa")
    world.standing_max = 100
    world.advance(0)
    told = dict((number, status) for number, _, status in answers(app))
    assert set(told.values()) <= {"dnd", "away"}
    assert all(status == ("dnd" if number % 2 else "away") for number, status in told.items())
    bob.set_status("away")
    world.advance(5_000)
    bob.set_status("dnd")
    world.advance(5_000)
    assert sorted(one[0] for one in answers(app)) == [1_000 + number for number in range(count)]


def test_one_that_has_missed_a_change_counts_anew() -> None:
    """Looked at late, it must not take two times of being dnd for one."""
    world = World()
    world.checks = False
    app = world.open("app", role="service")
    bob = world.open("bob/phone", kind="phone")
    bob.set_status("dnd")
    for number in range(9_000):
        app.say(Await(1_000 + number, "bob", HOUR, ["dnd"], ["phone"], 10_000))
    world.turn()
    world.advance(9_000)
    world.standing_max = 100
    bob.set_status("away")
    bob.set_status("dnd")
    world.advance(9_000)
    assert answers(app) == []
    world.advance(2_000)
    assert len(answers(app)) == 9_000


def test_a_get_and_an_await_say_the_same() -> None:
    world = World()
    alice, bob = world.open("alice/laptop"), world.open("bob/phone")
    bob.done(SetAudience(902, "nobody", "nobody", "nobody"))
    told = alice.expect(Await(70, "bob", HOUR), Awaited)
    (record,) = alice.expect(Get(71, ["bob"]), Records).records
    assert told.record == record and record.since_ms == 0
