"""Taking back what a lost link had (protocol.md, 22.3): what comes back, for whom, until when, and who is told what."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from presenced.core.model import CONNECTED, GRACE
from presenced.core.parts import resumptions
from presenced.core.parts.resumptions import (
    BOUND,
    CUT_OFF,
    LATE,
    LIMIT,
    MEMORY,
    OTHER,
    RESUMED,
    UNKNOWN,
    USED,
)
from presenced.core.policy import Policy
from presenced.limits import PARKED_LINK_ENTRIES
from presenced.wire.messages import (
    Attach,
    Beats,
    ContactEntry,
    Erase,
    GetContacts,
    Kick,
    Presence,
    Revoke,
    SetContacts,
    SetStatus,
    WatchAll,
    WatchChannel,
    Welcome,
)
from tests.core.returning import Returner, opened, settle
from tests.core.world import START_MS, WALL_MS, World
from tests.support.tiers import samples

GRACE_MS = Policy().grace_ms


def outcomes(world: World) -> dict[str, int]:
    """Of the tokens that hellos have shown."""
    return dict(world.engine.resumptions.outcomes)


def told(link: Returner) -> list[str]:
    """The kinds of all that the link was sent behind the welcome."""
    assert isinstance(link.messages[0], Welcome)
    return [type(message).__name__ for message in link.messages[1:]]


def parked(world: World) -> int:
    return world.engine.resumptions.count


# --- what comes back --------------------------------------------------------------------------------------------


def test_a_hello_that_does_not_want_it_is_given_no_token_and_keeps_nothing() -> None:
    world = World()
    link = opened(world, "alice/laptop", resume=None)
    assert (link.welcome.resume, link.welcome.resume_ms, link.welcome.resumed) == ("", 0, False)
    link.watch("bob")
    link.lose()
    assert parked(world) == 0 and outcomes(world) == {}


def test_the_watch_of_a_lost_link_is_back_without_a_word() -> None:
    world = World()
    alice = opened(world, "alice/laptop")
    assert len(alice.welcome.resume) == 22 and alice.welcome.resume_ms == GRACE_MS and not alice.welcome.resumed
    bob = world.open("bob/phone")
    alice.watch("bob", "carol", "alice")
    before = alice.had
    alice.lose()
    assert parked(world) == 1 and world.engine.watches.count == 0
    world.advance(GRACE_MS - 1)
    bob.set_status("dnd")
    back = alice.come_back()
    assert back.welcome.resumed and back.welcome.resume not in ("", alice.welcome.resume)
    assert back.had == before and told(back) == [], "what has changed meanwhile is for the client to ask"
    bob.set_status("away")
    assert back.statuses("bob") == ["away"]
    back.unwatch("bob")
    bob.set_status("dnd")
    assert back.statuses("bob") == ["away"]
    assert parked(world) == 0 and outcomes(world) == {RESUMED: 1}


def test_what_changes_in_the_turn_of_the_hello_is_not_told_beside_the_answer_that_has_it() -> None:
    world = World()
    alice, bob = opened(world, "alice/laptop"), world.open("bob/phone")
    alice.watch("bob")
    alice.lose()
    bob.say(SetStatus(7, "dnd"))
    back = alice.come_back(turns=False)
    assert back.watch("bob")[0].status == "dnd"
    assert back.pushes == []


def test_channels_everybody_and_news_of_contacts_come_back_as_well() -> None:
    world = World()
    app = opened(world, "app", role="service")
    app.watch_channel("room")
    app.done(WatchAll(app.next_id(), True))
    app.watches_all = True
    alice = opened(world, "alice/laptop")
    alice.ask(GetContacts(alice.next_id()))
    alice.watch_channel("room")
    had = app.had, alice.had
    assert had[0][3] and had[1][4]
    app.lose()
    alice.lose()
    back, alice = app.come_back(), alice.come_back()
    assert (back.had, alice.had) == had
    bob = world.open("bob/phone")
    assert back.statuses("bob") == ["online"]
    bob.join("bob/phone", "room")
    assert [type(message).__name__ for message in alice.messages[1:]] == ["ChannelEvent"]


def test_contacts_come_back_without_their_records_unless_the_hello_wants_them() -> None:
    world = World(Policy(grounds=("contacts",)))
    app = world.open("app", role="service")
    app.done(SetContacts(app.next_id(), "alice", [ContactEntry("bob"), ContactEntry("carol")]))
    alice = opened(world, "alice/laptop", contacts=True)
    assert told(alice) == ["ContactRecords"] and alice.had[1] == ["bob", "carol"]
    for said, expected in (
        ({}, []),
        ({"contacts": True, "quiet": True}, []),
        ({"contacts": True}, ["ContactRecords"]),
    ):
        alice.lose()
        alice = alice.come_back(**said)
        assert alice.welcome.resumed and alice.had[1] == ["bob", "carol"] and alice.had[4]
        assert told(alice) == expected
    quiet = opened(world, "alice/phone", contacts=True, quiet=True)
    assert told(quiet) == [] and quiet.had[1] == ["bob", "carol"]


def test_whoever_watches_by_face_is_filed_by_the_face_of_now() -> None:
    world = World(Policy(grounds=("contacts",)))
    app = world.open("app", role="service")
    bob = world.open("bob/phone")
    alice = opened(world, "alice/laptop")
    assert alice.watch("bob")[0].version == 0
    alice.lose()
    app.done(SetContacts(app.next_id(), "alice", [ContactEntry("bob")]))
    back = alice.come_back()
    bob.set_status("dnd")
    assert back.statuses("bob") == ["dnd"]
    back.lose()
    app.done(SetContacts(app.next_id(), "alice", []))
    again = back.come_back()
    bob.set_status("away")
    assert again.pushes == [] and again.watch("bob")[0].version == 0


def test_a_service_has_its_devices_back_under_their_refs_and_nothing_of_them_changes() -> None:
    world = World()
    watcher = world.open("looker", role="service")
    watcher.watch("u1", "u2")
    app = opened(world, "app", role="service")
    app.attach(1, "u1/tab", kind="web", name="One", idle_ms=1_000)
    app.attach(2, "u2/tab", status="dnd", priority=3)
    app.join("u1/tab", "room")
    watcher.forget()
    changed, facts = world.engine.publisher.changed, len(world.log.facts)
    for _ in range(3):
        app.lose()
        assert world.device("u1/tab").state == GRACE
        world.advance(GRACE_MS - 100)
        app = app.come_back()
        assert app.refs == {1: "u1/tab", 2: "u2/tab"} and told(app) == []
    device = world.device("u1/tab")
    assert (device.state, device.kind, device.name, device.holder) == (CONNECTED, "web", "One", 1)
    assert list(device.channels or ()) == ["room"] and world.device("u2/tab").status == "dnd"
    assert watcher.pushes == [] and world.engine.publisher.changed == changed
    assert len(world.log.facts) == facts, "nothing of it is for the log"
    world.advance_beating(Policy().timeout_ms - 1, app)
    assert app.taken == [], "the lease of each runs from the return"


def test_a_device_that_is_back_is_lost_again_if_nobody_beats_for_it() -> None:
    world = World()
    app = opened(world, "app", role="service")
    app.attach(1, "u1/tab")
    app.lose()
    app = app.come_back()
    world.advance_beating(Policy().timeout_ms + 200, app)
    assert app.taken == [(1, "lost")]


def test_a_device_whose_grace_is_longer_than_a_lease_is_looked_at_in_time() -> None:
    world = World(Policy(grace_by_kind={"tv": 3_600_000}))
    app = opened(world, "app", role="service")
    app.attach(1, "u1/tab", kind="tv")
    app.lose()
    app = app.come_back()
    world.advance_beating(Policy().timeout_ms + 200, app)
    assert app.taken == [(1, "lost")]


def test_own_links_are_told_that_a_device_is_connected_again_if_they_were_told_otherwise() -> None:
    world = World()
    app = opened(world, "app", role="service")
    app.attach(1, "alice/tab")
    phone = world.open("alice/phone", sync=True)
    app.lose()
    phone.set_status(text="meanwhile")
    assert phone.told.own
    states = {info.device: info.state for info in phone.told.own[-1].devices}
    assert states["tab"] == "grace"
    app.come_back()
    states = {info.device: info.state for info in phone.told.own[-1].devices}
    assert states["tab"] == "connected"


# --- what is no longer this client's ----------------------------------------------------------------------------


def service_with(world: World, *addresses: str) -> Returner:
    app = opened(world, "app", role="service")
    for ref, address in enumerate(addresses, 1):
        app.attach(ref, address)
    return app


@pytest.mark.parametrize("when", ["before it is let go of", "afterwards", "while it is brought back"])
def test_refs_whose_devices_were_taken_meanwhile_are_told(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.core.parts.releases.SLICE", 1)
    monkeypatch.setattr(resumptions, "SLICE", 1)
    world = World()
    other, admin = world.open("other", role="service", instance=2), world.open("admin", role="admin")
    app = service_with(world, "u1/tab", "u2/tab", "u3/tab", "u4/tab", "u5/tab")
    back = None
    if when == "before it is let go of":
        app.break_off()
    elif when == "afterwards":
        app.lose()
    else:
        app.lose()
        back = app.come_back(turns=False)
    # The last that was attached is let go of, and brought back, first.
    other.say(Attach(7, 1, "u1", "tab"))
    admin.say(Kick(8, "u2"))
    other.say(Attach(9, 3, "u3", "tab"))
    other.break_off()
    back = back or app.come_back(turns=False)
    settle(world)
    assert back.welcome.resumed and back.refs == {4: "u4/tab", 5: "u5/tab"}
    assert back.taken == [(1, "replaced"), (2, "kicked"), (3, "replaced")]
    world.advance(1_000)
    assert len(back.taken) == 3, "each is told once"


def test_a_device_whose_own_grace_is_over_is_told_as_lost() -> None:
    world = World(Policy(grace_by_kind={"tv": 1_000}))
    app = opened(world, "app", role="service")
    app.attach(1, "u1/tab", kind="tv")
    app.attach(2, "u2/tab")
    app.lose()
    world.advance(2_000)
    back = app.come_back()
    assert back.refs == {2: "u2/tab"} and back.taken == [(1, "lost")]


def test_a_device_whose_lease_is_over_is_told_so() -> None:
    world = World()
    app = opened(world, "app", role="service")
    app.attach(1, "u1/job", for_at_most_ms=1_000)
    app.attach(2, "u2/job", for_at_most_ms=60_000)
    app.lose()
    world.advance(2_000)
    back = app.come_back()
    assert back.refs == {2: "u2/job"} and back.taken == [(1, "ended")]


def test_a_device_that_another_had_and_lost_belongs_to_the_other() -> None:
    world = World()
    app, other = service_with(world, "u1/tab"), world.open("other", role="service", instance=2)
    app.lose()
    other.attach(5, "u1/tab")
    other.lose()
    back = app.come_back()
    assert back.refs == {} and back.taken == [(1, "replaced")]


def test_beats_for_what_is_not_back_yet_are_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumptions, "SLICE", 1)
    world = World()
    app = service_with(world, "u1/tab", "u2/tab", "u3/tab")
    app.lose()
    back = app.come_back(turns=False)
    back.say(Beats([1, 0, 2, 0, 3, 0]))
    settle(world)
    assert back.taken == [] and len(back.refs) == 3
    back.beats(9, 0)
    assert back.taken == [(9, "not_held")]


def test_a_channel_that_was_closed_meanwhile_does_not_come_back() -> None:
    world = World()
    alice = opened(world, "alice/laptop")
    alice.watch_channel("room")
    alice.watch("bob")
    alice.lose()
    world.engine.set_policy(Policy(channels_watch="service"), world.now_ms)
    back = alice.come_back()
    assert back.welcome.resumed and back.had[2] == [] and back.had[0] == ["bob"]
    assert back.refused(WatchChannel(back.next_id(), "room", 10)) == "forbidden"


# --- for whom, and until when -----------------------------------------------------------------------------------

STRANGERS: dict[str, dict[str, Any]] = {
    "user": {"address": "mallory/laptop"},
    "device": {"address": "alice/phone"},
    "instance": {"instance": 2},
    "no instance": {"instance": 0},
    "rights": {"rights": {"see": ["bob"]}},
    "fewer rights": {"rights": {"only_read": True}},
    "role": {"role": "service"},
}


@pytest.mark.parametrize("who", STRANGERS)
def test_whoever_is_not_the_same_client_gets_nothing_and_takes_nothing(who: str) -> None:
    answers = {}
    for token in ("real", "made up"):
        world = World()
        alice = opened(world, "alice/laptop")
        alice.watch("bob", "carol")
        alice.lose()
        stolen = alice.session_token if token == "real" else "A" * 22
        thief = alice.come_back(token=stolen, **{"only_free": False, **STRANGERS[who]})
        assert not thief.welcome.resumed and thief.had[0] == []
        answers[token] = [repr(message).replace(thief.welcome.resume, "") for message in thief.messages]
        assert outcomes(world) == {OTHER if token == "real" else UNKNOWN: 1}
        thief.bye()
        if who in ("user", "device", "role"):
            assert alice.come_back().welcome.resumed, "it is still there for whom it is"
    assert answers["real"] == answers["made up"], "that a token is somebody's is told to nobody"


def test_a_token_is_good_once() -> None:
    world = World()
    alice = opened(world, "alice/laptop")
    alice.watch("bob")
    alice.lose()
    back = alice.come_back()
    again = alice.come_back()
    assert back.ended == "replaced" and not again.welcome.resumed and again.had[0] == []
    assert outcomes(world) == {RESUMED: 1, USED: 1}
    world.advance(GRACE_MS)
    assert not alice.come_back().welcome.resumed
    assert outcomes(world) == {RESUMED: 1, USED: 1, UNKNOWN: 1}, "after a while it is nobody's any longer"


def test_a_token_is_good_until_the_grace_is_over() -> None:
    world = World(Policy(grace_by_kind={"phone": 60_000}))
    for kind, good_ms in (("desktop", GRACE_MS), ("phone", 60_000)):
        for late_ms, expected in ((0, RESUMED), (1, LATE)):
            alice = opened(world, "alice/laptop", kind=kind)
            assert alice.welcome.resume_ms == good_ms
            alice.watch("bob")
            alice.lose()
            world.engine.resumptions.outcomes.clear()
            world.advance(good_ms - 1 + late_ms)
            alice.come_back().bye()
            assert outcomes(world) == {expected: 1}
    world.advance(120_000)
    world.turn()
    assert world.engine.resumptions.entries == 0 and world.engine.resumptions.next_ms is None


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("bye", UNKNOWN),
        ("kick", UNKNOWN),
        ("kick later", CUT_OFF),
        ("erase later", CUT_OFF),
        ("revoke", UNKNOWN),
        ("revoke later", CUT_OFF),
        ("replaced by another client", UNKNOWN),
        ("token expired", UNKNOWN),
        ("lease expired", RESUMED),
        ("lost", RESUMED),
    ],
)
def test_what_ended_otherwise_than_by_a_loss_is_not_taken_back(how: str, expected: str) -> None:
    world = World()
    admin = world.open("admin", role="admin")
    ends_ms = START_MS + 60_000 if how == "token expired" else 0
    alice = opened(world, "alice/laptop", issued_ms=WALL_MS - 5_000, expires_ms=ends_ms)
    alice.watch("bob")
    if how == "bye":
        alice.bye()
    elif how == "replaced by another client":
        opened(world, "alice/laptop", instance=9)
    elif how == "token expired":
        world.advance_beating(40_000, admin, alice, every_ms=20_000)
        world.advance(20_100)
    elif how == "lease expired":
        world.advance_beating(Policy().timeout_ms + 100, admin)
    elif how not in ("kick", "revoke"):
        alice.lose()
    if how.startswith("kick"):
        admin.ask(Kick(admin.next_id(), "alice"))
    elif how.startswith("erase"):
        admin.ask(Erase(admin.next_id(), "alice"))
    elif how.startswith("revoke"):
        admin.ask(Revoke(admin.next_id(), "alice", WALL_MS))
    alice.messages[:] = [message for message in alice.messages if isinstance(message, Welcome)]
    back = alice.come_back(instance=9 if how.startswith("replaced") else 1, issued_ms=WALL_MS + 1)
    assert outcomes(world) == {expected: 1} and back.welcome.resumed == (expected == RESUMED)


def test_a_revocation_leaves_those_whose_tokens_are_newer() -> None:
    world = World()
    admin = world.open("admin", role="admin")
    old = opened(world, "alice/laptop", issued_ms=WALL_MS - 5_000)
    new = opened(world, "alice/phone", issued_ms=WALL_MS - 1_000)
    old.lose()
    new.lose()
    admin.ask(Revoke(admin.next_id(), "alice", WALL_MS - 2_000))
    assert new.come_back().welcome.resumed and not old.come_back(issued_ms=WALL_MS).welcome.resumed


@pytest.mark.parametrize("address", ["alice/laptop", "app"])
def test_an_old_link_that_is_still_open_is_replaced_first(address: str) -> None:
    world = World()
    role: Any = "user" if "/" in address else "service"
    old = opened(world, address, role=role)
    old.watch("bob", "carol")
    if role == "service":
        old.attach(1, "u1/tab")
    had = old.had
    thief = old.come_back(instance=7, address=address + "x")
    assert not thief.welcome.resumed and old.open, "nobody else ends it by the token"
    thief.bye()
    changed = world.engine.publisher.changed
    back = old.come_back()
    assert old.ended == "replaced" and back.welcome.resumed and back.had == had and back.taken == []
    assert not any(isinstance(message, Presence) for message in back.messages)
    assert world.engine.publisher.changed == changed
    replay = old.come_back()
    assert not replay.welcome.resumed and outcomes(world)[USED] == 1


@pytest.mark.parametrize("other", [{"instance": 7}, {"rights": {"see": ["bob"]}}])
def test_an_old_link_that_is_still_open_is_nobody_elses_to_take_over(other: dict[str, Any]) -> None:
    world = World()
    old = opened(world, "app", role="service")
    old.watch("bob")
    thief = old.come_back(**other)
    assert not thief.welcome.resumed and thief.had[0] == []
    assert old.open and old.had[0] == ["bob"]


def test_what_another_client_takes_over_is_not_taken_back_even_if_the_old_link_breaks_at_that_moment() -> None:
    world = World()
    old = opened(world, "alice/laptop")
    other = Returner(world, "alice/laptop", instance=9)
    old.break_off()
    world.turn()
    assert parked(world) == 0
    other.bye()
    assert not old.come_back().welcome.resumed


def test_a_link_that_may_not_watch_as_many_any_longer_takes_back_nothing() -> None:
    world = World()
    alice = opened(world, "alice/laptop")
    alice.watch("bob", "carol")
    alice.lose()
    world.engine.policy.watch_users_max = 1
    back = alice.come_back()
    assert not back.welcome.resumed and back.had[0] == [] and outcomes(world) == {LIMIT: 1}


# --- bounds -----------------------------------------------------------------------------------------------------


def test_who_was_lost_first_gives_way_to_who_is_lost_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumptions, "PARKED_MAX", 2 * (PARKED_LINK_ENTRIES + 3))
    world = World()
    links = [opened(world, f"u{number}/tab") for number in range(4)]
    for link in links:
        link.watch("a", "b", "c")
    for link in links:
        link.lose()
    assert parked(world) == 2 and world.engine.resumptions.given_up == {BOUND: 2}
    assert [link.come_back().welcome.resumed for link in links] == [False, False, True, True]
    assert outcomes(world) == {UNKNOWN: 2, RESUMED: 2}


@pytest.mark.parametrize(("address", "role"), [("alice/laptop", "user"), ("app", "service")])
def test_of_one_device_or_client_the_latest_loss_alone_is_kept(address: str, role: Any) -> None:
    world = World()
    for _ in range(20):
        first = opened(world, address, role=role)
        first.watch("bob")
        first.lose()
    entries = PARKED_LINK_ENTRIES * 20 + 1
    assert parked(world) == 1 and world.engine.resumptions.entries == entries
    second = opened(world, "alice/phone" if role == "user" else "app", role=role, instance=2)
    second.lose()
    assert parked(world) == 2
    assert second.come_back().welcome.resumed and first.come_back().welcome.resumed


def test_what_is_taken_back_is_paid_for() -> None:
    world = World()
    alice = opened(world, "alice/laptop")
    alice.watch(*(f"u{number}" for number in range(100)))
    alice.lose()
    assert alice.cost == 0 and alice.come_back().cost == (100 + PARKED_LINK_ENTRIES) // 32


def test_one_that_is_larger_than_all_that_may_be_kept_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumptions, "PARKED_MAX", PARKED_LINK_ENTRIES + 2)
    world = World()
    link = opened(world, "alice/tab")
    link.watch("a", "b", "c")
    link.lose()
    assert parked(world) == 0 and world.engine.resumptions.entries == 0
    assert not link.come_back().welcome.resumed


def test_while_memory_is_short_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumptions, "SLICE", 10)
    world = World()
    links = [opened(world, f"u{number}/tab") for number in range(9)]
    for link in links[:8]:
        link.watch("a", "b")
        link.lose()
    world.engine.set_memory_level(1)
    world.turn()
    assert 0 < parked(world) < 8, "it is given up a slice at a time"
    settle(world)
    links[8].lose()
    assert parked(world) == 0 and world.engine.resumptions.given_up == {MEMORY: 8}
    world.engine.set_memory_level(0)
    assert not links[0].come_back().welcome.resumed
    last = opened(world, "last/tab")
    last.lose()
    assert last.come_back().welcome.resumed


def test_who_is_lost_while_it_is_brought_back_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumptions, "SLICE", 2)
    world = World()
    app = service_with(world, *(f"u{number}/tab" for number in range(6)))
    app.lose()
    back = app.come_back(turns=False)
    world.turn()
    assert back.welcome.resumed and 0 < len(back.refs) < 6
    back.lose()
    settle(world)
    assert parked(world) == 0 and world.engine.resumptions.next_ms is not None
    again = back.come_back()
    assert not again.welcome.resumed and again.refs == {}
    for number in range(6):
        again.attach_again(number + 1, f"u{number}/tab")
    assert len(again.refs) == 6


# --- anything in any order --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(samples(100)))
def test_after_any_loss_all_is_there_as_if_there_had_been_none(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two worlds: in one nothing is ever lost. What the client has in the other after each return is the same, with
    slices of any size, returns in the middle of a release, and a link that is still open."""
    random = Random(seed)
    monkeypatch.setattr("presenced.core.parts.releases.SLICE", random.choice([1, 3, 1_000]))
    monkeypatch.setattr(resumptions, "SLICE", random.choice([1, 2, 1_000]))
    worlds = World(), World()
    apps = [opened(world, "app", role="service") for world in worlds]
    others = [[world.open(f"u{number}/own") for number in range(6)] for world in worlds]
    refs = 0
    for _ in range(60):
        act, name = (
            random.choice("watch unwatch room leave all attach detach say lose lose wait".split()),
            f"u{random.randrange(8)}",
        )
        number = random.randrange(6)
        refs += 1
        held = list(apps[0].refs)
        ref = random.choice(held) if held else 0
        turns, is_open = random.randrange(4), random.random() < 0.3
        for place, world in enumerate(worlds):
            app = apps[place]
            match act:
                case "watch":
                    app.watch(name, f"v{number}")
                case "unwatch":
                    app.unwatch(name)
                case "room":
                    app.watch_channel(f"room{number}")
                case "all":
                    app.done(WatchAll(app.next_id(), number % 2 == 0))
                case "attach":
                    app.attach(refs, f"{name}/tab{number}")
                case "detach" if ref:
                    app.release(ref)
                case "say":
                    others[place][number].set_device(status="dnd" if name < "u4" else "online")
                case "lose" if place == 0:
                    if not is_open:
                        app.break_off()
                    for _ in range(turns):
                        world.turn()
                    apps[0] = app.come_back()
                    assert apps[0].welcome.resumed and apps[0].taken == []
                case "wait":
                    world.advance(100)
        assert apps[0].had == apps[1].had
        for user in worlds[1].engine.users.values():
            twin = worlds[0].user(user.name)
            assert (twin.record.status, twin.record.device) == (user.record.status, user.record.device)
    assert worlds[0].engine.publisher.changed == worlds[1].engine.publisher.changed, "nobody has seen a loss"


def test_a_leased_device_that_is_taken_back_keeps_its_lease_also_in_the_log() -> None:
    world = World()
    app = opened(world, "app", role="service")
    app.attach(1, "u1/job", for_at_most_ms=240_000)
    app.lose()
    world.advance(1_000)
    back = app.come_back()
    settle(world)
    assert back.welcome.resumed and back.refs == {1: "u1/job"}
    stopped_ms = world.wall_ms + 9_000
    world.advance(9_000)
    after = world.restarted(1_000, stopped_wall_ms=stopped_ms)
    assert after.device("u1/job").lease_ms == after.now_ms + 240_000 - 11_000
    after.advance(240_000)
    assert after.record("u1").last_seen_ms == stopped_ms, "it had a link until the stop"


@pytest.mark.parametrize("end", ["detached", "kicked"])
def test_a_device_that_is_gone_in_the_hands_of_another_is_told_as_lost(end: str) -> None:
    world = World()
    app, other = opened(world, "app", role="service"), world.open("other", role="service", instance=2)
    app.attach(1, "ann/tab")
    app.lose()
    other.attach(7, "ann/tab")
    if end == "detached":
        other.release(7)
    else:
        other.done(Kick(other.next_id(), "ann"))
    back = app.come_back()
    assert back.refs == {} and back.taken == [(1, "lost")]
