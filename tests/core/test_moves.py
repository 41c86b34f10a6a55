"""Users who change their home: in order, which nobody notices, and because their home is gone, which is a restart."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace

from presenced.core.handovers import SLICE_USERS
from presenced.core.horizon import Horizon
from presenced.core.model import CONNECTED, GONE, User
from presenced.core.policy import Policy
from presenced.core.positions import POSITION_MS_MAX
from presenced.core.records import ContactsSet, DeviceSet, RecordSet
from presenced.wire.messages import (
    AddActivity,
    Approve,
    Check,
    Checked,
    ContactEntry,
    Erase,
    Position,
    SetAudience,
    SetContacts,
    SetSchedule,
    SetStatus,
    ShowTo,
    Subscribe,
    Taken,
    Watch,
    WatchAll,
    Window,
)
from tests.core.copy_lives import ROUND_MS, USERS, Lives, each_other_round
from tests.core.fake_link import FakeLink
from tests.core.mirror import Home, open_pair
from tests.core.world import World
from tests.support.tiers import samples

GRACE_MS = 2 * ROUND_MS


def is_free(user: User, now_ms: int) -> bool:
    """Whether no link holds a device of the user, and nothing is overdue by the tolerance of the wheel."""
    timers = [user, *user.devices.values()]
    return all(device.state != CONNECTED for device in user.devices.values()) and not any(
        timer.scheduled and timer.due_ms <= now_ms for timer in timers
    )


def deadlines(user: User) -> dict[str, Any]:
    """What is due of a user, and what else has to come back as it was."""
    devices = {
        device.id: (
            device.state,
            device.due_ms,
            device.grace_until_ms,
            device.lease_ms,
            device.active_ms,
            device.heard_ms,
        )
        for device in user.devices.values()
        if device.state != GONE
    }
    claims = [(claim.name, claim.status, claim.due_ms) for claim in user.claims]
    return {
        "devices": devices,
        "claims": claims,
        "text": (user.text, user.text_due_ms),
        "record": user.record,
    }


def move(home: Home, name: str) -> None:
    """The home lets go of a user, the other node takes them over, and gives them back."""
    here, there = home.handovers_here, home.handovers
    user = home.user(name)
    facts = here.release(user, home.now_ms)
    assert not any(isinstance(fact, ContactsSet) for fact in facts)
    home.turn()
    home.copies.replace(name, facts, home.now_ms)
    there.adopt(name, home.now_ms, heard_ms=None, grace_ms=GRACE_MS)
    home.away.turn()
    assert not home.away.user(name).is_copy and home.user(name).is_copy
    back = there.release(home.away.user(name), home.now_ms)
    home.copies_here.replace(name, back, home.now_ms)
    here.adopt(name, home.now_ms, heard_ms=None, grace_ms=GRACE_MS)
    home.turn()


class Moving(Lives):
    """The lives of `Lives`, in which users whom no link holds change their home and come back."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.moves = 0
        self.acts += [self.move] * 8 + [self.go] * 4

    def move(self) -> None:
        name = self.r.choice(USERS)
        known = self.home.engine.users.awake(name)
        if known is None or not is_free(known, self.home.now_ms) or not known.record.version:
            return
        self.moves += 1
        before = deadlines(known)
        told = [(len(pair.here.messages), len(pair.there.messages)) for pair in self.pairs]
        move(self.home, name)
        assert [(len(pair.here.messages), len(pair.there.messages)) for pair in self.pairs] == told
        assert deadlines(self.home.user(name)) == before


@pytest.mark.parametrize("seed", range(samples(12)))
def test_nobody_notices_that_users_are_moved(seed: int) -> None:
    lives = Moving(seed)
    lives.run()
    assert lives.moves


@pytest.mark.parametrize("seed", range(100, 100 + samples(16)))
def test_who_is_taken_over_from_a_home_that_is_gone_goes_on_as_after_a_restart(seed: int) -> None:
    lives = Lives(seed)
    lives.run(60)
    home = lives.home
    for pair in lives.pairs:
        pair.there.lose()
    away = home.away
    restarted = home.restarted(grace_ms=GRACE_MS, now_ms=home.now_ms, stopped_wall_ms=home.wall_ms)
    away.engine.users.copy_by(lambda name: False)
    for user in list(away.engine.users.order):
        home.handovers.adopt(user.name, home.now_ms, heard_ms=home.now_ms, grace_ms=GRACE_MS)
    for world in (away, restarted):
        # What was overdue has ended in both then.
        world.advance(130)
    for _ in range(16):
        assert seen(away) == seen(restarted)
        assert lists(away) == lists(restarted)
        away.advance(ROUND_MS)
        restarted.advance(ROUND_MS)
    assert away.engine.leases.live == 0


def seen(world: World) -> dict[str, tuple[object, ...]]:
    """What others see of each user, but for versions. Since when, by the tolerance of two wheels."""
    return {
        name: (record.status, record.text, record.emoji, pytest.approx(record.since_ms, rel=0, abs=130), record.device)
        for name, record in ((name, user.record) for name, user in sorted(world.engine.users.items()))
        if record.version
    }


def lists(world: World) -> dict[str, tuple[object, ...]]:
    """Whom users have to do with, and where they are."""
    return {
        name: (
            dict(sorted(user.contacts.contacts.items())) if user.contacts is not None else {},
            sorted(user.privacy.blocked) if user.privacy is not None else [],
            sorted(user.privacy.shown_to) if user.privacy is not None else [],
            sorted(user.channels or ()),
            user.schedule is not None,
        )
        for name, user in sorted(world.engine.users.items())
    }


# --- one thing at a time ------------------------------------------------------------------------------------------


def held_for(home: Home, *names: str) -> FakeLink:
    """A service at home that holds a device of each."""
    app = home.open("app", role="service", instance=1)
    for ref, name in enumerate(names, 1):
        home.advance(130)
        app.attach(ref, f"{name}/phone")
    return app


def test_who_sleeps_at_home_sleeps_elsewhere_and_is_taken_over_asleep() -> None:
    home = Home(Policy(sleep_after_ms=ROUND_MS))
    app = held_for(home, "alice")
    app.release(1)
    home.advance(20 * ROUND_MS)
    away = home.away.engine
    kept = home.copies_here.facts_of("alice", home.now_ms)
    assert isinstance(kept, bytes) and kept == home.copies.facts_of("alice", home.now_ms)
    assert home.engine.users.awake("alice") is None and away.users.awake("alice") is None
    other = Home(Policy())
    other.copies.replace("alice", kept, other.now_ms)
    other.handovers.adopt("alice", other.now_ms, heard_ms=other.now_ms, grace_ms=GRACE_MS)
    assert other.away.engine.users.awake("alice") is None
    assert other.away.record("alice") == home.record("alice")


def test_somebody_known_by_other_facts_is_told_of_when_they_sleep_elsewhere() -> None:
    home = Home(Policy(sleep_after_ms=ROUND_MS, change_spacing_ms=0))
    app = held_for(home, "alice")
    watcher = home.away.open("watcher", role="service")
    watcher.watch("alice")
    before = home.copies_here.facts_of("alice", home.now_ms)
    app.release(1)
    home.advance(20 * ROUND_MS)
    kept = home.copies_here.facts_of("alice", home.now_ms)
    assert isinstance(before, list) and isinstance(kept, bytes)
    watcher.forget()
    away = home.away
    versions = [away.record("alice").version]
    for facts, status in ((before, "online"), (kept, "offline")):
        home.copies.replace("alice", facts, home.now_ms)
        away.turn()
        assert watcher.pushes[-1].status == away.record("alice").status == status
        versions.append(away.record("alice").version)
    assert sorted(set(versions)) == versions


def test_versions_rise_on_a_link_though_the_home_has_told_less_than_another_node() -> None:
    home = Home(Policy(change_spacing_ms=0))
    app = held_for(home, "alice")
    away = home.away
    bob = open_pair(home, "bob/laptop", instance=3)
    bob.ask(Watch(0, ["alice"]))
    # Of some time the other node's counter is ahead by an hour, and its links are told of a face by that.
    away.engine.ledger.raise_version(away.engine.ledger.version + 3_600_000, home.now_ms)
    away.versions = away.engine.ledger.version
    for level in ("nobody", "everyone"):
        home.advance(130)
        app.done(SetAudience(app.next_id(), level, level, level, user="alice"))
    home.advance(130)
    told = bob.there.view["alice"].version
    bob.there.forget()
    app.claim("alice", "trip", "manual", "dnd")
    assert home.record("alice").version < told
    assert [record.status for record in bob.there.pushes] == ["dnd"] and bob.there.view["alice"].version > told
    assert away.engine.copied_records.raised == 1
    # Once more the same is nothing new.
    home.copies.apply([fact for fact in home.log.facts if isinstance(fact, RecordSet)][-1:], home.now_ms)
    away.turn()
    assert len(bob.there.pushes) == 1


def test_what_is_not_said_any_longer_is_gone() -> None:
    home = Home(Policy(change_spacing_ms=0))
    app = held_for(home, "alice", "bob")
    app.join("alice/phone", "general")
    app.claim("alice", "trip", "manual", "dnd", 60_000)
    app.done(ShowTo(app.next_id(), "bob", "alice", "phone"))
    app.done(AddActivity(app.next_id(), "call", user="alice"))
    app.done(SetSchedule(app.next_id(), "X", [Window(127, 0, 60)], user="alice"))
    app.done(SetStatus(app.next_id(), None, "lunch", "*", 0, "alice"))
    app.done(Subscribe(app.next_id(), "bob", "", "alice"))
    home.advance(130)
    watcher = home.away.open("watcher", role="service")
    watcher.watch("alice")
    watcher.watch_channel("general")
    alice = home.away.user("alice")
    record = replace(alice.record, version=alice.record.version + 1)
    facts = [RecordSet("alice", "offline", record.since_ms, record.since_ms, "", record.version)]
    home.copies.replace("alice", facts, home.now_ms)
    home.away.turn()
    assert not (alice.devices or alice.claims or alice.activities or alice.channels or alice.text or alice.emoji)
    assert alice.schedule is None and alice.shown is None
    assert alice.privacy is None and home.away.user("bob").privacy is None
    assert [one.status for one in watcher.pushes] == ["offline"]
    assert [kind for _, kind, _ in watcher.told.room_events] == ["leave"]
    # Pairs are decided by one node for all users, and what is said of one of them says nothing of these.
    assert alice.contacts is not None and list(alice.contacts.contacts) == ["bob"]
    home.copies.replace("alice", [], home.now_ms)
    home.away.turn()
    assert watcher.pushes[-1].version == 0 and alice.record.version == 0


def test_a_position_holds_though_changes_come_in_versions_below_it() -> None:
    home = Home(Policy(change_spacing_ms=0))
    app = held_for(home, "alice", "bob", "carol")
    away, root = home.away, home.away.open("root", role="service", instance=9)
    horizon = Horizon(5)
    away.engine.positions.share(horizon)
    away.engine.copied_records.note_by(horizon.note)
    root.done(WatchAll(root.next_id()))
    # The other nodes have said that nothing comes below what is an hour ahead of the home.
    horizon.begin()
    horizon.reach(away.engine.ledger.version + 3_600_000)
    home.advance(130)
    place = root.expect(Check(root.next_id()), Checked)
    root.lose()
    for name in ("bob", "carol", "bob"):
        home.advance(130)
        app.claim(name, "trip", "manual", "dnd" if home.record(name).status == "online" else "away")
    assert all(away.record(name).version < place.version for name in ("alice", "bob", "carol"))
    back = away.open("root", role="service", instance=9)
    back.say(WatchAll(back.next_id(), True, place.epoch, place.version))
    away.turn()
    away.advance(0)
    (answer,) = [message for message in back.messages if isinstance(message, Position)]
    assert not answer.reset and {record.user: record for record in back.pushes} == {
        name: away.record(name) for name in ("bob", "carol")
    }
    # No node is a day ahead of another.
    latest = away.engine.ledger.version + POSITION_MS_MAX
    assert back.refused(WatchAll(back.next_id(), True, answer.epoch, latest + 1)) == "bad_position"
    # In another cluster all are told; what was asked for before, and waits for this node, ends with that.
    back.say(WatchAll(back.next_id(), True, answer.epoch, latest))
    horizon.origin = 9
    back.forget()
    back.say(WatchAll(back.next_id(), True, answer.epoch, answer.version))
    away.turn()
    _, answer = [message for message in back.messages if isinstance(message, Position)]
    assert answer.reset


def test_copies_keep_the_wall_times_of_home_when_a_clock_is_set() -> None:
    home = Home(Policy())
    app = held_for(home, "alice")
    app.claim("alice", "trip", "manual", "dnd", 60_000)
    home.advance(130)
    away = home.away
    device, claim = away.device("alice/phone"), away.user("alice").claims[0]
    heard_ms = device.heard_ms + away.engine.clock.offset_ms
    away.set_clock(away.wall_ms + 3_600_000)
    while away.engine.clock_jumps.next_ms is not None:
        away.turn()
    assert device.heard_ms + away.engine.clock.offset_ms == heard_ms
    assert home.copies.facts_of("alice", home.now_ms) == home.copies_here.facts_of("alice", home.now_ms)
    home.handovers.adopt("alice", home.now_ms, heard_ms=None, grace_ms=GRACE_MS)
    assert claim.due_ms == max(home.now_ms, claim.until_ms - away.engine.clock.offset_ms)


def test_links_that_hold_devices_of_who_is_let_go_of_are_lost() -> None:
    home = Home(Policy())
    app = held_for(home, "alice")
    link = home.open("alice/laptop", instance=2)
    app.forget()
    facts = home.handovers_here.release(home.user("alice"), home.now_ms)
    assert {fact.device: fact.silent for fact in facts if isinstance(fact, DeviceSet)} == {
        "phone": True,
        "laptop": True,
    }
    home.turn()
    assert link.ended == "" and [type(message) for message in app.messages] == [Taken]
    assert home.engine.leases.live == home.engine.leases.connected == 0
    home.handovers_here.adopt("alice", home.now_ms, heard_ms=None, grace_ms=GRACE_MS)
    home.advance(30_500)
    assert home.record("alice").status == "offline"


@pytest.mark.slow
def test_a_hundred_thousand_are_taken_over_in_slices() -> None:
    count = 100_000
    home = Home(Policy())
    away, copies = home.away, home.copies
    away.checks = False
    wall_ms = away.wall_ms
    for number in range(count):
        name, is_live = f"u{number:06}", number % 2 == 0
        status = "online" if is_live else "offline"
        device = DeviceSet(
            name, "phone", "", "", 0, "online", is_live, wall_ms, wall_ms, gone_ms=0 if is_live else wall_ms
        )
        seen_ms = 0 if is_live else wall_ms
        copies.apply([device, RecordSet(name, status, wall_ms, seen_ms, "phone" if is_live else "", 1)], home.now_ms)
    away.turn()
    watcher = away.open("watcher", role="service")
    watcher.done(WatchAll(watcher.next_id()))
    names = [user.name for user in away.engine.users.order]
    away.engine.users.copy_by(lambda name: False)
    for start in range(0, count, SLICE_USERS):
        for name in names[start : start + SLICE_USERS]:
            home.handovers.adopt(name, away.now_ms, heard_ms=away.now_ms, grace_ms=GRACE_MS, spread_ms=10_000)
        away.turn()
    # Nobody notices, and nothing is said of anybody who did not change.
    assert watcher.pushes == [] and not away.log.facts
    assert away.engine.leases.live == count // 2
    live = [device for user in away.engine.users.order for device in user.devices.values() if device.state != GONE]
    graces = Counter(device.grace_until_ms // 1_000 for device in live)
    assert len(graces) >= 10 and max(graces.values()) < count // 10
    away.engine.users.copy_by(lambda name: True)


def test_an_older_input_of_who_is_moved_is_only_a_client_that_restarted() -> None:
    home = Home(Policy())
    link = home.open("alice/laptop", idle_ms=0, instance=1)
    active_ms = home.device("alice/laptop").active_ms
    link.lose()
    home.advance(130)
    move(home, "alice")
    home.open("alice/laptop", idle_ms=50_000, instance=1, again=True)
    assert home.device("alice/laptop").active_ms == active_ms


def test_who_was_active_may_have_been_so_until_their_home_was_gone() -> None:
    home = Home(Policy(away_after_ms=300_000))
    link = home.open("alice/laptop", idle_ms=0, instance=1)
    for _ in range(10):
        home.advance(29_000)
        link.beat(0)
    away, heard_ms = home.away, home.now_ms
    home.advance(12_000)
    away.engine.users.copy_by(lambda name: False)
    home.handovers.adopt("alice", home.now_ms, heard_ms=heard_ms, grace_ms=GRACE_MS)
    away.advance(10_000)
    # More than five minutes after the last input that was said in a fact.
    assert away.record("alice").status == "online" and away.device("alice/laptop").heard_ms == heard_ms


def test_nothing_of_who_is_let_go_of_is_waited_for_or_read_again() -> None:
    home = Home(Policy(), calendar=each_other_round)
    app = held_for(home, "alice")
    app.release(1)
    app.done(SetSchedule(app.next_id(), "X", [Window(127, 0, 60)], user="alice"))
    app.done(SetStatus(app.next_id(), "dnd", "lunch", None, 5 * ROUND_MS, "alice"))
    alice = home.user("alice")
    home.handovers_here.release(alice, home.now_ms)
    home.turn()
    made = len(home.log.facts)
    home.engine.schedules.rules_changed()
    home.engine.ends.arm(alice)
    home.advance(60 * ROUND_MS)
    assert not alice.scheduled and len(home.log.facts) == made
    assert [claim.status for claim in alice.claims if claim.name == "manual"] == ["dnd"] and alice.text == "lunch"


def test_a_link_without_a_device_is_told_of_contacts_from_the_first() -> None:
    home = Home(Policy(change_spacing_ms=0))
    app = home.open("app", role="service", instance=1)
    app.done(SetStatus(app.next_id(), None, "hello", None, 0, "bob"))
    carol = home.away.open("carol")
    carol.watches_all = True
    home.away.engine.watches.add_contacts(home.now_ms, carol.session)
    entries = [ContactEntry("bob", "to")]
    app.done(SetContacts(app.next_id(), "carol", entries))
    home.advance(130)
    app.attach(1, "bob/phone")
    assert [record.status for record in carol.pushes][-1:] == ["online"]


def test_an_erasure_is_an_event_of_its_home_alone() -> None:
    home = Home(Policy())
    app = held_for(home, "alice", "bob")
    for name, other in (("alice", "bob"), ("bob", "alice")):
        app.done(Subscribe(app.next_id(), other, "", name))
        app.done(Approve(app.next_id(), other, name))
    assert home.away.user("bob").contacts is not None
    admin = home.open("admin", role="admin")
    admin.done(Erase(admin.next_id(), "alice"))
    home.turn()
    assert home.away.engine.events.seq == 0
    roster = home.away.user("bob").contacts
    assert roster is None or not roster.contacts


def test_who_is_offline_when_they_come_over_falls_asleep_in_time() -> None:
    home = Home(Policy(sleep_after_ms=60_000))
    app = held_for(home, "alice")
    app.release(1)
    home.advance(130)
    facts = home.copies_here.facts_of("alice", home.now_ms)
    other = Home(Policy(sleep_after_ms=ROUND_MS))
    other.copies.replace("alice", facts, other.now_ms)
    other.away.turn()
    assert other.away.engine.users.awake("alice") is not None
    other.away.advance(5 * ROUND_MS)
    assert other.away.engine.users.awake("alice") is None and other.away.engine.users.knows("alice")
