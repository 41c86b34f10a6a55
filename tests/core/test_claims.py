"""Claims: what is stated for a whole user, by whom, for how long, and which of it shows."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings, strategies as st

from presenced.core.parts.claims import FIND_USERS
from presenced.limits import CLAIMS_PER_USER_MAX, DURATION_MS_MAX
from presenced.server.zones import calendar
from presenced.wire.messages import (
    AddClaim,
    ClaimInfo,
    ClaimList,
    ClaimsPage,
    EndClaim,
    FindClaims,
    GetClaims,
    SetSchedule,
    SetStatus,
    Window,
)
from tests.core.twin import TwinClaims
from tests.core.world import TICK_MS, WALL_MS, FakeLink, World
from tests.support.tiers import samples

ROUND_MS = 26 * 2 * 64
SOURCES = ("call", "manual", "calendar")


def stage() -> tuple[World, FakeLink, FakeLink]:
    """A world, a service that watches alice, and alice's laptop."""
    world = World()
    app = world.open("app", role="service")
    app.watch("alice")
    return world, app, world.open("alice/laptop")


def claims_of(link: FakeLink, user: str = "alice") -> list[ClaimInfo]:
    return link.expect(GetClaims(link.next_id(), user), ClaimList).claims


# --- which one shows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(permutations(("meeting", "manual", "trip"))))
def test_a_call_over_manual_over_calendar_ended_in_any_order_uncovers_the_one_below(order: tuple[str, ...]) -> None:
    world, app, alice = stage()
    rank = {"meeting": "dnd", "manual": "away", "trip": "xa"}
    app.claim("alice", "trip", "calendar", "xa")
    app.claim("alice", "meeting", "call", "dnd")
    alice.set_status("away")
    left = dict(rank)
    for name in order:
        assert world.record("alice").status == next(iter(left.values()))
        app.end_claim("alice", name)
        del left[name]
    assert world.record("alice").status == "online"


def test_within_a_source_the_newest_claim_shows_and_one_made_anew_is_the_newest() -> None:
    world, app, _ = stage()
    app.claim("alice", "one", "calendar", "dnd")
    app.claim("alice", "two", "calendar", "away")
    assert world.record("alice").status == "away"
    app.claim("alice", "one", "calendar", "xa")
    assert world.record("alice").status == "xa"
    assert [info.claim for info in claims_of(app)] == ["one", "two"]
    app.end_claim("alice", "one")
    assert world.record("alice").status == "away"


def test_a_claim_to_be_offline_hides_the_user_whatever_ranks_above_it() -> None:
    world, app, alice = stage()
    app.claim("alice", "meeting", "call", "dnd")
    app.claim("alice", "night", "manual", "offline")
    assert world.record("alice").status == "offline" and world.record("alice").device == ""
    assert app.view["alice"].last_seen_ms == world.wall_ms
    app.claim("alice", "second", "call", "chat")
    assert world.record("alice").status == "offline"
    app.end_claim("alice", "night")
    assert world.record("alice").status == "chat"
    assert alice.open


def test_of_two_claims_to_be_offline_the_newer_is_named_first_and_counts() -> None:
    world, app, _ = stage()
    app.claim("alice", "trip", "manual", "offline")
    app.claim("alice", "focus", "manual", "offline", for_ms=5_000)
    assert claims_of(app)[0].claim == "focus"
    claim = world.user("alice").claim
    assert claim is not None and claim.name == "focus"


def test_a_claim_of_somebody_without_a_live_device_shows_nothing_until_a_device_comes() -> None:
    world = World()
    app = world.open("app", role="service")
    app.watch("alice")
    app.claim("alice", "meeting", "call", "dnd")
    assert app.get("alice").status == "offline" and app.pushes == []
    world.open("alice/laptop")
    assert app.statuses("alice") == ["dnd"]


def test_auto_ends_the_manual_claim_and_no_other() -> None:
    world, app, alice = stage()
    app.claim("alice", "trip", "calendar", "xa")
    app.claim("alice", "own", "manual", "dnd")
    alice.set_status("chat")
    assert world.record("alice").status == "chat"
    alice.set_status("auto")
    assert world.record("alice").status == "dnd"
    assert sorted(info.claim for info in claims_of(app)) == ["own", "trip"]


def test_no_claim_touches_the_text() -> None:
    world, app, alice = stage()
    alice.set_status(text="lunch", emoji="*", for_ms=60_000)
    app.claim("alice", "meeting", "call", "dnd", for_ms=10_000)
    app.claim("alice", "trip", "calendar", "dnd")
    alice.set_status("away")
    alice.set_status("auto")
    app.end_claim("alice", "trip")
    world.advance_beating(20_000, app, alice, every_ms=10_000)
    assert (world.record("alice").text, world.record("alice").emoji) == ("lunch", "*")
    assert world.record("alice").status == "online"
    world.advance_beating(40_000 + TICK_MS, app, alice, every_ms=10_000)
    assert (world.record("alice").text, world.record("alice").emoji) == ("", "")


# --- ends -----------------------------------------------------------------------------------------------------


def test_a_claim_ends_by_itself_at_its_time_and_not_before() -> None:
    world, app, alice = stage()
    app.claim("alice", "trip", "calendar", "xa", for_ms=20_000)
    app.claim("alice", "meeting", "call", "dnd", until_ms=WALL_MS + 10_000)
    world.advance(9_999)
    assert world.record("alice").status == "dnd"
    world.advance(1 + TICK_MS)
    assert world.record("alice").status == "xa"
    world.advance(10_000)
    assert world.record("alice").status == "online"
    assert app.statuses("alice")[-3:] == ["dnd", "xa", "online"]
    assert claims_of(app) == []
    assert alice.open


def test_of_two_ends_in_one_claim_the_earlier_holds() -> None:
    _, app, _ = stage()
    app.claim("alice", "one", "call", "dnd", for_ms=5_000, until_ms=WALL_MS + 9_000)
    app.claim("alice", "two", "call", "dnd", for_ms=9_000, until_ms=WALL_MS + 5_000)
    assert [info.until_ms for info in claims_of(app)] == [WALL_MS + 5_000] * 2


def test_a_claim_that_is_made_anew_without_an_end_has_none() -> None:
    world, app, _ = stage()
    app.claim("alice", "meeting", "call", "dnd", for_ms=5_000)
    app.claim("alice", "meeting", "call", "dnd")
    world.advance(20_000)
    assert world.record("alice").status == "dnd"
    assert claims_of(app)[0].until_ms == 0


@pytest.mark.parametrize("until_ms", [1, WALL_MS - 1, WALL_MS])
def test_a_claim_in_the_past_is_refused_and_changes_nothing(until_ms: int) -> None:
    world, app, _ = stage()
    app.claim("alice", "meeting", "call", "dnd")
    before = (claims_of(app), world.record("alice"), len(world.log.facts))
    assert app.refused(AddClaim(app.next_id(), "meeting", "call", "away", 0, until_ms, "alice")) == "claim_past"
    assert (claims_of(app), world.record("alice"), len(world.log.facts)) == before
    assert app.refused(AddClaim(app.next_id(), "meeting", "call", "away", 9_000, until_ms, "ghost")) == "claim_past"
    assert "ghost" not in world.engine.users


def test_a_claim_cannot_end_later_than_the_longest_duration() -> None:
    world, app, _ = stage()
    far_ms = world.wall_ms + DURATION_MS_MAX
    app.claim("alice", "meeting", "call", "dnd", until_ms=far_ms)
    assert app.refused(AddClaim(app.next_id(), "other", "call", "dnd", 0, far_ms + 1, "alice")) == "bad_time"


# --- limits and names -----------------------------------------------------------------------------------------


def test_as_many_claims_as_are_allowed_and_one_more_is_refused_until_one_ends() -> None:
    world, app, alice = stage()
    for number in range(CLAIMS_PER_USER_MAX):
        app.claim("alice", f"claim{number}", "calendar", "away")
    before = (claims_of(app), world.record("alice"), len(world.log.facts))
    assert app.refused(AddClaim(app.next_id(), "more", "call", "dnd", user="alice")) == "claim_limit"
    assert (claims_of(app), world.record("alice"), len(world.log.facts)) == before
    app.claim("alice", "claim3", "call", "xa")
    assert world.record("alice").status == "xa"
    app.end_claim("alice", "claim0")
    app.claim("alice", "more", "call", "dnd")
    assert len(claims_of(app)) == CLAIMS_PER_USER_MAX


def test_a_person_may_say_something_however_much_applications_claim() -> None:
    world, app, alice = stage()
    for number in range(CLAIMS_PER_USER_MAX):
        app.claim("alice", f"claim{number}", "calendar", "away")
    alice.set_status("dnd")
    assert world.record("alice").status == "dnd"
    assert app.refused(AddClaim(app.next_id(), "more", "call", "dnd", user="alice")) == "claim_limit"


def test_a_schedules_window_opens_also_for_somebody_with_as_many_claims_as_are_allowed() -> None:
    world = World(calendar=calendar)
    app = world.open("app", role="service")
    world.open("alice/laptop")
    for number in range(CLAIMS_PER_USER_MAX):
        app.claim("alice", f"claim{number}", "calendar", "away")
    app.done(SetSchedule(app.next_id(), "UTC", [Window(127, 0, 720), Window(127, 720, 0)], "dnd", "alice"))
    assert len(claims_of(app)) == CLAIMS_PER_USER_MAX + 1
    assert app.refused(AddClaim(app.next_id(), "more", "call", "dnd", user="alice")) == "claim_limit"
    assert world.record("alice").status == "away"


def test_the_names_and_the_source_of_the_schedule_and_of_the_person_are_kept_for_them() -> None:
    _, app, alice = stage()
    for claim, source in (("schedule", "call"), ("other", "schedule"), ("manual", "call"), ("manual", "calendar")):
        assert app.refused(AddClaim(app.next_id(), claim, source, "dnd", user="alice")) == "bad_request"  # type: ignore[arg-type]
    assert app.refused(EndClaim(app.next_id(), "schedule", "alice")) == "bad_request"
    assert app.refused(AddClaim(app.next_id(), "", "call", "dnd", user="alice")) == "bad_name"
    assert app.refused(AddClaim(app.next_id(), "two words", "call", "dnd", user="alice")) == "bad_name"
    assert claims_of(alice, "") == []


def test_the_manual_claim_is_what_set_status_makes() -> None:
    world, app, alice = stage()
    app.claim("alice", "manual", "manual", "dnd")
    alice.set_status("away")
    assert [(info.claim, info.source, info.status) for info in claims_of(alice, "")] == [("manual", "manual", "away")]
    app.end_claim("alice", "manual")
    assert world.record("alice").status == "online"


def test_ending_a_claim_that_is_not_there_is_no_error_and_makes_nobody_known() -> None:
    world, app, _ = stage()
    app.end_claim("alice", "nothing")
    app.end_claim("ghost", "nothing")
    assert claims_of(app, "ghost") == []
    assert "ghost" not in world.engine.users


def test_of_somebody_who_only_had_a_claim_nothing_is_kept_when_it_ends() -> None:
    world, app, _ = stage()
    for name in ("one", "two", "three"):
        app.claim(name, "meeting", "call", "dnd", for_ms=5_000)
        app.done(SetStatus(app.next_id(), "away", user=name))
    app.end_claim("one", "meeting")
    app.done(SetStatus(app.next_id(), "auto", user="one"))
    assert "one" not in world.engine.users
    app.done(SetStatus(app.next_id(), "auto", user="two"))
    world.advance(5_000 + TICK_MS)
    assert "two" not in world.engine.users and "three" in world.engine.users


def test_what_leaves_nothing_to_remember_makes_nobody_known() -> None:
    world, app, _ = stage()
    app.done(SetStatus(app.next_id(), "auto", user="ghost"))
    app.done(SetStatus(app.next_id(), None, "", user="ghost"))
    app.done(SetSchedule(app.next_id(), "", [], user="ghost"))
    assert "ghost" not in world.engine.users


# --- against the twin -----------------------------------------------------------------------------------------

names = st.sampled_from(("manual", "a", "b", "c", "d"))
making = st.tuples(
    st.just("make"),
    names,
    st.sampled_from(SOURCES),
    st.sampled_from(("dnd", "chat", "online", "away", "xa", "offline")),
    st.integers(0, 5),
)
ending = st.tuples(st.just("end"), names)
waiting = st.tuples(st.just("wait"), st.integers(1, 3))
device = st.tuples(st.just("device"), st.sampled_from(("dnd", "away", "gone")))


@given(steps=st.lists(making | ending | waiting | device, max_size=25))
@settings(max_examples=samples(120), deadline=None)
def test_whatever_is_claimed_and_ended_the_record_is_what_the_twin_says(steps: list[tuple[object, ...]]) -> None:
    world = World()
    world.checks = False
    app = world.open("app", role="service")
    app.watch("alice")
    twin = TwinClaims()
    of_devices = "offline"
    for at, step in enumerate(steps):
        # Each step at a residue of its own, so that none falls into the tolerance of another's end.
        for _ in range(step[1] if step[0] == "wait" else 0):  # type: ignore[call-overload]
            world.advance(ROUND_MS)
            app.beats(1, -1)
        world.advance(2 * TICK_MS)
        if step[0] == "make":
            _, name, source, status, rounds = step
            source = "manual" if name == "manual" or status == "offline" else source
            for_ms = rounds * ROUND_MS + TICK_MS * (rounds > 0)  # type: ignore[operator]
            app.say(AddClaim(at + 1_000, name, source, status, for_ms, 0, "alice"))  # type: ignore[arg-type]
            twin.set(world.now_ms, name, source, status, world.now_ms + for_ms if for_ms else None)  # type: ignore[arg-type]
        elif step[0] == "end":
            app.say(EndClaim(at + 1_000, step[1], "alice"))  # type: ignore[arg-type]
            twin.end(world.now_ms, step[1])  # type: ignore[arg-type]
        elif step[0] == "device" and step[1] != "gone":
            app.attach(1, "alice/laptop", status=step[1])  # type: ignore[arg-type]
            of_devices = step[1]  # type: ignore[assignment]
        elif step[0] == "device" and of_devices != "offline":
            app.release(1)
            of_devices = "offline"
        world.turn()
        world.check()
        assert world.record("alice").status == twin.status(world.now_ms, of_devices)
        assert [info.claim for info in claims_of(app)] == twin.order(world.now_ms)


# --- claims that end with a device, and claims of all users ---------------------------------------------------


def tied(link: FakeLink, claim: str, device: str, user: str = "alice") -> AddClaim:
    return AddClaim(link.next_id(), claim, "call", "dnd", user=user, device=device)


def test_a_claim_ends_with_the_device_that_it_is_tied_to() -> None:
    world, app, alice = stage()
    world.open("alice/phone")
    app.done(tied(app, "meeting", "laptop"))
    assert claims_of(app)[0].device == "laptop"
    alice.lose()
    assert world.record("alice").status == "dnd", "a link that is lost for a moment ends no call"
    alice = world.open("alice/laptop")
    alice.lose()
    world.advance(world.engine.policy.grace_ms + TICK_MS)
    assert world.record("alice").status == "online" and claims_of(app) == []
    alice = world.open("alice/laptop")
    alice.done(tied(alice, "meeting", "laptop", ""))
    app.forget()
    alice.bye()
    assert app.statuses("alice") == ["online"], "the end of both is one change"


def test_a_claim_that_is_made_anew_without_a_device_outlives_it() -> None:
    world, app, alice = stage()
    world.open("alice/phone")
    app.done(tied(app, "meeting", "laptop"))
    app.claim("alice", "meeting", "call", "dnd")
    alice.bye()
    assert world.record("alice").status == "dnd"


def test_a_claim_is_tied_to_a_live_device_of_the_user_only() -> None:
    world, app, _ = stage()
    world.open("alice/phone").bye()
    assert app.refused(tied(app, "meeting", "tv")) == "no_such_device"
    assert app.refused(tied(app, "meeting", "phone")) == "no_such_device"
    assert app.refused(tied(app, "meeting", "laptop", "ghost")) == "no_such_device"
    manual = AddClaim(app.next_id(), "manual", "manual", "dnd", user="alice", device="laptop")
    assert app.refused(manual) == "bad_request"
    assert claims_of(app) == [] and "ghost" not in world.engine.users


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_a_claim_ends_with_its_device_after_a_restart_as_well(from_snapshot: bool) -> None:
    world, app, alice = stage()
    phone = world.open("alice/phone")
    app.done(tied(app, "meeting", "laptop"))
    app.done(tied(app, "other", "phone"))
    phone.bye()
    after = world.restarted(1_000, facts=world.snapshot() if from_snapshot else None)
    assert [claim.name for claim in after.user("alice").claims] == ["meeting"]
    phone = after.open("alice/phone")
    assert after.record("alice").status == "dnd"
    after.advance(30_000 + TICK_MS)
    assert after.record("alice").status == "online"


def test_a_service_finds_the_claims_of_a_name_over_all_users() -> None:
    world, app, alice = stage()
    world.checks = False
    for number in range(FIND_USERS + 10):
        app.say(AddClaim(10_000 + number, "meeting" if number % 500 == 0 else "trip", "call", "dnd", user=f"u{number}"))
    world.turn()
    found: dict[str, str] = {}
    pages, after = 0, 0
    while pages == 0 or after:
        page = app.expect(FindClaims(app.next_id(), "meeting", after, 2), ClaimsPage)
        assert len(page.users) == len(page.claims) <= 2
        found |= {user: info.claim for user, info in zip(page.users, page.claims, strict=True)}
        pages, after = pages + 1, page.next
    assert found == {f"u{number}": "meeting" for number in range(0, FIND_USERS + 10, 500)}
    page = app.expect(FindClaims(app.next_id(), "", 0, 256), ClaimsPage)
    assert len(page.claims) == 256 and page.next
    assert app.expect(FindClaims(app.next_id(), "nothing"), ClaimsPage).claims == []
    assert alice.refused(FindClaims(alice.next_id(), "meeting")) == "forbidden"
