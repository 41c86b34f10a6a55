"""What explain answers: the rule, what each device and claim has to say, what is pending and what comes next; and to
whom. That the next change is the one that then happens is shown in `test_forecast`."""

from __future__ import annotations

from typing import Any

import pytest

from presenced.core.policy import Policy
from presenced.core.projection import READINGS_MAX
from presenced.server.zones import calendar
from presenced.wire.messages import (
    Block,
    Error,
    Explain,
    Explanation,
    Get,
    Records,
    SetAudience,
    SetSchedule,
    ShowTo,
    Window,
)
from tests.core.foretold import MIN, Life
from tests.core.merging import merged_by_the_words
from tests.core.world import FakeLink, World
from tests.support.tiers import samples


def stage() -> tuple[World, FakeLink, FakeLink]:
    """A world, a service, and alice's laptop, which tells how idle it is."""
    world = World(calendar=calendar)
    return world, world.open("app", role="service"), world.open("alice/laptop", idle_ms=0)


def explained(link: FakeLink, user: str = "") -> Explanation:
    return link.expect(Explain(link.next_id(), user), Explanation)


def devices(told: Explanation) -> dict[str, str]:
    return {each.device.device: each.reason for each in told.devices}


def claims(told: Explanation) -> list[tuple[str, str]]:
    return [(each.claim.claim, each.reason) for each in told.claims]


def kinds(told: Explanation) -> list[tuple[str, str]]:
    return [(each.kind, each.about) for each in told.deadlines]


# --- the rule and the reasons ------------------------------------------------------------------------------------


def test_of_one_device_that_is_used() -> None:
    world, _, alice = stage()
    told = explained(alice)
    assert (told.rule, devices(told), claims(told)) == ("device", {"laptop": "decides"}, [])
    assert told.sentence == "no claim holds, and of the devices that count laptop has the most to say: online"
    assert told.record == world.record("alice") and told.at_ms == world.wall_ms
    assert kinds(told) == [("silence", "laptop"), ("idle_away", "laptop"), ("idle_offline", "laptop")]
    assert [each.at_ms - world.wall_ms for each in told.deadlines] == [75_000, 5 * MIN, 60 * MIN]
    assert told.next is not None and (told.next.status, told.next.device) == ("away", "laptop")
    assert 0 <= told.next.at_ms - world.wall_ms - 5 * MIN < 64
    assert told.next.because == [told.deadlines[1]]


def test_each_device_says_why_it_does_not_decide() -> None:
    world, app, alice = stage()
    world.open("alice/second")
    world.open("alice/tool", priority=-1)
    world.open("alice/tv", status="xa")
    world.open("alice/old").bye()
    world.open("alice/unused", status="dnd", idle_ms=6 * MIN)
    world.open("alice/left", idle_ms=61 * MIN)
    assert devices(explained(alice)) == {
        "laptop": "decides",
        "second": "same",
        "tool": "negative",
        "tv": "weaker",
        "old": "gone",
        "unused": "unused_dnd",
        "left": "idle",
    }
    app.claim("alice", "meeting", "call", "dnd")
    told = explained(alice)
    assert told.rule == "claim" and {devices(told)[name] for name in ("laptop", "second", "tv", "unused")} == {"claim"}
    assert told.sentence == "the claim meeting of the source call says dnd, and no other stands above it"


def test_an_unused_device_alone_decides() -> None:
    world = World()
    alice = world.open("alice/laptop", status="dnd", idle_ms=6 * MIN)
    world.open("alice/phone", idle_ms=6 * MIN)
    assert devices(explained(alice)) == {"laptop": "decides", "phone": "weaker"}
    alice.set_device("online")
    alice.beat(6 * MIN)
    world.advance(5 * MIN)
    told = explained(world.open("app", role="service"), "alice")
    assert told.sentence.endswith("which says online, has not been used for long: away") or told.rule == "no_device"


def test_each_claim_says_why_it_does_not_decide() -> None:
    world, app, alice = stage()
    app.claim("alice", "trip", "calendar", "xa")
    alice.set_status("away")
    alice.set_status("dnd", for_ms=30 * MIN)
    app.claim("alice", "first", "call", "dnd")
    app.claim("alice", "second", "call", "dnd")
    assert claims(explained(alice)) == [
        ("second", "decides"), ("first", "older"), ("manual", "weaker"), ("trip", "weaker"), ("manual", "covered"),
    ]  # fmt: skip
    app.claim("alice", "ghost", "manual", "offline")
    told = explained(alice)
    assert (told.rule, claims(told)[0]) == ("hidden", ("ghost", "decides"))
    assert {reason for name, reason in claims(told)[1:]} == {"hidden", "covered"}
    assert "ghost says offline" in told.sentence and told.record.status == "offline"


def test_quiet_hours_stand_above_what_was_said_before_them() -> None:
    world, app, alice = stage()
    alice.set_status("online")
    app.done(SetSchedule(app.next_id(), "UTC", [Window(127, 0, 0)], "dnd", "alice"))
    told = explained(alice)
    assert claims(told) == [("schedule", "decides"), ("manual", "quiet_hours")] and told.record.status == "dnd"


def test_without_a_device_nothing_that_is_claimed_shows() -> None:
    world, app, alice = stage()
    app.claim("alice", "trip", "calendar", "xa", for_ms=MIN)
    alice.bye()
    told = explained(app, "alice")
    assert (told.rule, told.sentence, claims(told)) == ("no_device", "no device is there", [("trip", "no_device")])
    assert kinds(told) == [("claim_end", "trip")] and told.next is None
    world.open("alice/laptop", idle_ms=61 * MIN)
    assert explained(app, "alice").sentence.startswith("no device counts")


def test_a_claim_to_be_there_shows_as_away_while_no_device_is_used() -> None:
    world = World()
    alice = world.open("alice/laptop", idle_ms=6 * MIN)
    app = world.open("app", role="service")
    app.claim("alice", "desk", "calendar", "online")
    told = explained(alice)
    assert (told.rule, told.record.status) == ("claim", "away")
    assert told.sentence == "the claim desk says online, but no device has been used for long: away"


def test_of_nobody() -> None:
    world, app, _ = stage()
    told = explained(app, "eve")
    assert (told.rule, told.sentence, told.next) == ("unknown", "nothing is known of eve", None)
    assert told.devices == [] and told.claims == [] and told.deadlines == [] and told.record.version == 0
    assert "eve" not in world.engine.users


def test_the_reasons_agree_with_the_record_in_random_lives() -> None:
    for seed in range(samples(12)):
        life = Life(seed)
        for _ in range(40):
            life.act()
            app = life.world.open("looker", role="service")
            for name in ("alice", "bob", "carol"):
                agrees(life.world, explained(app, name))
            app.lose()
            life.wait()


def agrees(world: World, told: Explanation) -> None:
    user = world.engine.users.get(told.record.user)
    if user is None:
        assert told.rule == "unknown"
        return
    assert told.record == user.record
    deciding = [each for each in told.devices if each.reason == "decides"]
    assert len(deciding) == (told.rule == "device"), told
    first = [each for each in told.claims if each.reason == "decides"]
    assert len(first) == (told.rule in ("claim", "hidden")) and first == told.claims[: len(first)], told
    does_not_count = {each.device.device for each in told.devices if each.reason in ("idle", "negative", "gone")}
    others = [device for device in user.devices.values() if device.id not in does_not_count]
    status, _ = merged_by_the_words(others, user.claim, user.primary, 0)
    assert status == user.record.status, "a device that counts is told as one that does not"
    assert bool(others) == (told.rule in ("claim", "device")) or told.rule == "hidden"
    if deciding:
        # Without all that have less to say nothing changes, but that an unused dnd counts while no other is used.
        (only,) = [device for device in others if device.id == deciding[0].device.device]
        alone = merged_by_the_words([only], None, None, 0)[0]
        assert alone == user.record.status or (alone, user.record.status) == ("dnd", "away")


# --- who is answered ---------------------------------------------------------------------------------------------


def test_a_user_explains_nobody_else() -> None:
    world, _, alice = stage()
    world.open("bob/laptop")
    for name in ("bob", "eve"):
        refused = alice.expect(Explain(alice.next_id(), name), Error)
        assert refused.code == "forbidden" and name in refused.message
    assert explained(alice, "alice").record == explained(alice).record


@pytest.mark.parametrize(
    ("rights", "answered"),
    [({}, True), ({"act": ["alice"]}, True), ({"see": ["al*"]}, True), ({"see": ["alice"], "act": []}, False),
     ({"see": [], "act": ["*"]}, False), ({"see": ["*"], "act": ["bob"]}, False), ({"only_read": True}, True)],
)  # fmt: skip
def test_a_service_must_both_see_and_act(rights: dict[str, Any], answered: bool) -> None:
    world, _, _ = stage()
    app = world.open("bot", role="service", rights=rights)
    told = app.ask(Explain(7, "alice"))
    unknown = app.ask(Explain(8, "al"))
    if answered:
        assert isinstance(told, Explanation) and told.record.status == "online"
    else:
        assert isinstance(told, Error) and isinstance(unknown, Error)
        assert (told.code, told.message) == ("forbidden", unknown.message.replace("'al'", "'alice'"))


# --- how long a record holds -------------------------------------------------------------------------------------


def valid(link: FakeLink, *users: str) -> list[int]:
    told = link.expect(Get(link.next_id(), list(users), True), Records)
    assert len(told.valid_until_ms) == len(told.records)
    return told.valid_until_ms


def test_it_is_told_with_the_records_that_are_asked_for_with_it_alone() -> None:
    world, app, alice = stage()
    bob = world.open("bob/laptop")
    assert bob.expect(Get(bob.next_id(), ["alice"]), Records).valid_until_ms == []
    following = explained(alice).next
    assert following is not None
    for link in (app, alice, bob):
        assert valid(link, "alice", "eve", "bob") == [following.at_ms, 0, 0]
    world.advance_beating(following.at_ms - world.wall_ms - 1, alice, bob, app)
    assert bob.get("alice").status == "online"
    world.advance(1)
    assert bob.get("alice").status == "away"


def test_it_is_not_told_to_who_does_not_see_all() -> None:
    world, app, alice = stage()
    bob, carol, dave = (world.open(f"{name}/laptop") for name in ("bob", "carol", "dave"))
    alice.done(SetAudience(alice.next_id(), last_seen="nobody", always=["carol"]))
    alice.done(Block(alice.next_id(), "dave"))
    assert [bool(valid(link, "alice")[0]) for link in (app, alice, bob, carol, dave)] == [
        True,
        True,
        False,
        True,
        False,
    ]
    narrow = world.open("bot", role="service", rights={"see": ["x"]})
    assert valid(narrow, "alice") == [0]


def test_who_appears_offline_is_told_as_who_is() -> None:
    """The status that is hidden, and when that ends, move nothing that others can read."""
    answers = []
    for hides in (False, True):
        world = World(Policy(grace_ms=0))
        alice, bob = world.open("alice/laptop", idle_ms=0), world.open("bob/laptop")
        alice.set_status(text="lunch", for_ms=10 * MIN)
        if hides:
            alice.set_status("offline", for_ms=5 * MIN)
            alice.set_status(text="shopping", for_ms=7 * MIN)
            alice.done(ShowTo(alice.next_id(), "carol"))
            app = world.open("app", role="service")
            app.claim("alice", "trip", "calendar", "away", for_ms=MIN)
        else:
            alice.bye()
        answers.append([at - world.wall_ms for at in valid(bob, "alice")])
        if hides:
            carol = world.open("carol/laptop")
            assert carol.get("alice").status == "away" and valid(carol, "alice") == [0]
    assert answers[0] == answers[1] and answers[0][0] >= 10 * MIN


def test_schedules_are_read_within_a_bound() -> None:
    """With 28 windows of several days each, none of which anybody sees, the server gives up and says so."""
    world, app, alice = stage()
    windows = [Window(127, 50 * number, 50 * number + 25, "away") for number in range(27)]
    app.done(SetSchedule(app.next_id(), "UTC", [*windows, Window(64, 1400, 1430, "dnd")], "xa", "alice"))
    alice.set_status("online")
    alice.beat()
    reads = []
    opening = world.engine.schedules._calendar
    world.engine.schedules._calendar = lambda schedule, wall_ms: (reads.append(1), opening(schedule, wall_ms))[1]  # type: ignore[assignment,func-returns-value]
    world.engine.policy.away_after_ms = world.engine.policy.offline_after_ms = 0
    told = explained(alice)
    assert told.next is None and len(reads) == READINGS_MAX // 32
