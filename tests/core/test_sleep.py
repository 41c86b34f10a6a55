"""Users who sleep: who may, how they wake, and that nobody can tell that they slept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, strategies as st

from presenced.core.dormants import Dormants, packed, unpacked
from presenced.core.policy import Policy
from presenced.core.positions import Life, carried, next_version
from presenced.core.records import UsersAsleep
from presenced.wire.messages import Approve, Erase, Records, SetContact, Subscribe, Watch
from tests.core.fake_link import FakeLink
from tests.core.world import World
from tests.support.sleepy import portrait, put_all_to_sleep

WHILE_MS = 60_000


@pytest.fixture
def world() -> World:
    return World(Policy(sleep_after_ms=WHILE_MS, grace_ms=1_000))


def asleep(world: World) -> int:
    return len(world.engine.users.dormants)


def come_and_go(world: World, *names: str, text: str = "") -> None:
    for name in names:
        link = world.open(f"{name}/desk")
        if text:
            link.set_status(text=text)
        link.bye()


# --- the table ----------------------------------------------------------------------------------------------------

TWELVE = [f"u{number}" for number in range(10)] + ["u", "\u00e4u1"]
NAMES = st.sampled_from(TWELVE)


@given(st.lists(st.tuples(st.sampled_from(["put", "take", "carry", "look"]), NAMES, st.integers(1, 99))))
def test_the_table_is_a_dict_with_versions(steps: list[tuple[str, str, int]]) -> None:
    table, twin = Dormants(per_shelf=1), dict[str, tuple[int, bytes]]()
    first, lives = 0, list[Life]()
    for what, name, number in steps:
        if what == "put":
            table.take(name)
            version = first + number if number % 5 else 0
            table.put(name, packed(version, name.encode()))
            twin[name] = (version, name.encode())
        elif what == "take":
            both = table.take(name)
            assert (unpacked(both) if both is not None else None) == twin.pop(name, None)
        elif what == "carry":
            life = Life(first + number, max(table.newest, 1), 0)
            lives.append(life)
            table.carry(life.above, partial(carried, life=life))
            twin = {
                one: (carried(version, life) if 0 < version <= life.above else version, facts)
                for one, (version, facts) in twin.items()
            }
            first = max(next_version(life), table.newest)
        else:
            least = first + number
            assert sorted(one for shelf in range(table.shelves) for one in table.since(shelf, least)) == sorted(
                one for one, (version, _) in twin.items() if version >= least
            )
        assert len(table) == len(twin)
        assert (name in table) == (name in twin)
        assert table.newest >= max((version for version, _ in twin.values()), default=0)
    assert {name: unpacked(both) for name, both in table.items()} == twin
    for again in (copied(table), copied(table, backwards=True)):
        for life in lives:
            again.carry(life.above, partial(carried, life=life))
        assert {name: unpacked(both) for name, both in again.items()} == twin
        assert len(again) == len(twin) and all(name in again for name in twin)
    while (some := table.any_name()) is not None:
        both = table.take(some)
        assert both is not None and unpacked(both) == twin.pop(some)
    assert not twin


@given(st.lists(st.tuples(st.sampled_from(["own", "told", "shelf", "take", "carry"]), NAMES, st.integers(1, 99))))
def test_what_another_node_tells_keeps_its_version_though_it_is_below_what_a_kill_has_carried(
    steps: list[tuple[str, str, int]],
) -> None:
    table, twin = Dormants(per_shelf=1), dict[str, tuple[int, bytes]]()
    first = 0
    for what, name, number in steps:
        if what in ("own", "told", "shelf"):
            table.take(name)
            version = number + (first if what == "own" else 0)
            twin[name] = (version, name.encode())
            if what == "shelf":
                table.put_all([(name, packed(*twin[name]))])
            else:
                table.put(name, packed(*twin[name]))
        elif what == "take":
            both = table.take(name)
            assert (unpacked(both) if both is not None else None) == twin.pop(name, None)
        else:
            life = Life(first + number, max(table.newest, 1), 0)
            table.carry(life.above, partial(carried, life=life))
            twin = {
                one: (carried(version, life) if 0 < version <= life.above else version, facts)
                for one, (version, facts) in twin.items()
            }
            first = max(next_version(life), table.newest)
        assert {one: unpacked(both) for one, both in table.items()} == twin


def copied(table: Dormants, *, backwards: bool = False) -> Dormants:
    """The table as a start takes it from a snapshot; `backwards`: into one that has another number of shelves."""
    again = Dormants(per_shelf=1)
    if backwards:
        again.put("somebody", packed(1, b""))
    for number in range(table.shelves)[:: -1 if backwards else 1]:
        if table.shelf(number).sizes:
            again.put_shelf(number, table.shelves, table.shelf(number), table.newest, table.tally_of_shelf(number))
    again.take("somebody")
    return again


# --- who sleeps ---------------------------------------------------------------------------------------------------


def test_who_is_offline_for_a_while_sleeps_and_wakes_as_before(world: World) -> None:
    come_and_go(world, "anna", text="on holiday")
    world.advance(WHILE_MS - 1)
    before = portrait(world.user("anna"))
    assert not asleep(world)
    world.advance(2)
    assert asleep(world) == 1 and not world.engine.users and world.engine.users.known == 1
    assert portrait(world.user("anna")) == before
    assert not asleep(world) and world.engine.users.known == 1


def test_who_comes_and_goes_sleeps_after_the_last_time(world: World) -> None:
    come_and_go(world, "anna")
    world.advance(WHILE_MS // 2)
    come_and_go(world, "anna")
    world.advance(WHILE_MS // 2 + 10)
    assert not asleep(world)
    world.advance(WHILE_MS // 2)
    assert asleep(world) == 1


def test_whoever_asks_cannot_tell(world: World) -> None:
    come_and_go(world, "anna", text="away")
    before = world.user("anna").record
    world.advance(10 * WHILE_MS)
    bob = world.open("bob/desk")
    assert asleep(world) == 1
    bob.watch("anna", "nobody")
    assert not asleep(world), "watching wakes"
    assert world.user("anna").record == before
    world.advance_beating(20 * WHILE_MS, bob)
    assert not asleep(world), "whom somebody watches does not sleep"
    bob.bye()
    world.advance(30 * WHILE_MS)
    assert asleep(world) == 2, "anna is looked at again later"


def test_a_login_wakes_and_goes_on_with_what_was_known(world: World) -> None:
    come_and_go(world, "anna", text="back soon")
    version = world.user("anna").record.version
    world.advance(10 * WHILE_MS)
    link = world.open("anna/phone")
    user = world.user("anna")
    assert user.record.status == "online" and user.record.text == "back soon" and user.record.version > version
    assert set(user.devices) == {"desk", "phone"}
    link.bye()


def test_who_has_something_to_come_does_not_sleep(world: World) -> None:
    says: dict[str, Callable[[FakeLink], None]] = {
        "claims": lambda link: link.set_status("dnd"),
        "ends": lambda link: link.set_status(text="x", for_ms=10**10),
        "nothing": lambda link: None,
    }
    for name, say in says.items():
        link = world.open(f"{name}/desk")
        say(link)
        link.bye()
    world.advance(100 * WHILE_MS)
    assert set(world.engine.users) == {"claims", "ends"} and asleep(world) == 1


# --- contacts -----------------------------------------------------------------------------------------------------


def befriend(world: World, name: str, *others: str) -> None:
    app = world.open("app", role="service")
    for other in others:
        app.done(Subscribe(app.next_id(), other, user=name))
        app.done(Approve(app.next_id(), name, user=other))
    app.done(SetContact(app.next_id(), others[0], "the first", ["friends"], user=name))
    app.bye()


def listed(world: World, name: str) -> dict[str, object]:
    roster = world.user(name).contacts
    assert roster is not None
    return {contact: roster.contact(contact) for contact in roster.contacts}


def test_who_has_contacts_sleeps_and_both_sides_of_a_pair_agree(world: World) -> None:
    come_and_go(world, "anna", "bob", "cy")
    befriend(world, "anna", "bob", "cy")
    before = {name: listed(world, name) for name in ("anna", "bob", "cy")}
    world.advance(20 * WHILE_MS)
    assert asleep(world) == 3
    pairs = world.engine.contacts.pairs
    assert pairs.contacts == sum(map(len, before.values())) == 4
    again = world.restarted(facts=world.snapshot())
    assert asleep(again) == 3 and again.engine.contacts.pairs.contacts == 4
    for one in (world, again):
        assert one.engine.users.get("bob") is not None
        # One of the two is awake and the other is not.
        half = one.restarted(facts=one.snapshot())
        assert half.engine.contacts.pairs.contacts == 4
        assert {name: listed(half, name) for name in before} == before
        assert {name: listed(one, name) for name in before} == before


def test_who_is_erased_is_in_no_list_of_who_sleeps(world: World) -> None:
    come_and_go(world, "anna", "bob", "cy")
    befriend(world, "anna", "bob", "cy")
    world.advance(20 * WHILE_MS)
    world.open("app", role="service").done(Erase(9, "cy"))
    assert set(listed(world, "anna")) == {"bob"}
    again = world.restarted()
    assert set(listed(again, "anna")) == {"bob"} and again.engine.contacts.pairs.contacts == 2


def test_what_a_client_missed_is_told_though_its_user_slept(world: World) -> None:
    come_and_go(world, "anna", "bob", "cy")
    befriend(world, "anna", "bob")
    link = world.open("anna/desk")
    world.engine.contacts.follow(link.session)
    link.bye()
    roster = world.user("anna").contacts
    assert roster is not None
    version = roster.version
    befriend(world, "anna", "cy")
    world.advance(20 * WHILE_MS)
    assert asleep(world) == 3
    found = world.engine.contacts.changes(world.user("anna"), version)
    assert found is not None and [info.contact for info in found[0]] == ["cy"]
    world.turn()
    world.advance(20 * WHILE_MS)
    assert asleep(world) == 3
    again = world.restarted(facts=world.snapshot())
    assert again.engine.contacts.changes(again.user("anna"), version) is None, "of another run nothing is known"


def test_without_a_log_who_has_contacts_stays_awake(world: World) -> None:
    world.engine.sleep.keep_pairs_awake()
    come_and_go(world, "anna", "bob", "cy")
    befriend(world, "anna", "bob")
    world.advance(20 * WHILE_MS)
    assert set(world.engine.users) == {"anna", "bob"} and asleep(world) == 1


# --- all of them, and the disk -------------------------------------------------------------------------------------


def test_they_are_in_a_snapshot_and_sleep_on_after_a_restart(world: World) -> None:
    come_and_go(world, "anna", "bob", text="x")
    records = {name: world.user(name).record for name in ("anna", "bob")}
    world.advance(10 * WHILE_MS)
    facts = world.snapshot()
    assert sum(len(fact.sizes) for fact in facts if isinstance(fact, UsersAsleep)) == 4 * 2
    again = world.restarted(facts=facts)
    assert asleep(again) == 2
    assert {name: again.user(name).record for name in records} == records
    # What was logged behind the snapshot is added to what they are.
    world.open("anna/desk").set_status(text="y")
    world.turn()
    later = world.restarted(facts=facts + world.log.facts[-20:])
    assert asleep(later) == 1 and later.user("anna").record.text == "y"


def test_a_kill_carries_their_versions(world: World) -> None:
    come_and_go(world, "anna", "bob")
    world.advance(10 * WHILE_MS)
    version = world.engine.ledger.version
    facts = world.snapshot()
    killed = world.restarted(facts=facts, version_gap=1 << 32, version=version)
    world.engine.policy.sleep_after_ms = 0
    awake = world.restarted(version_gap=1 << 32, version=version)
    assert asleep(killed) == 2 and not asleep(awake)
    for name in ("anna", "bob"):
        assert killed.user(name).record.version > version
        assert killed.user(name).record == awake.user(name).record


def test_a_clock_that_is_set_wakes_all_and_they_sleep_again(world: World) -> None:
    world.checks = False
    come_and_go(world, *(f"u{number}" for number in range(150)))
    world.advance(10 * WHILE_MS)
    assert asleep(world) == 150
    world.set_clock(world.wall_ms + 3_600_000)
    world.advance(100)
    assert not asleep(world) and len(world.engine.users) == 150
    world.advance(1_000 * WHILE_MS)
    assert asleep(world) == 150


def test_nobody_falls_asleep_while_somebody_walks(world: World) -> None:
    come_and_go(world, "anna")
    world.engine.sleep.hold()
    world.advance(10 * WHILE_MS)
    assert not asleep(world) and world.engine.sleep.next_ms is None
    world.engine.sleep.release()
    world.turn()
    world.advance(1)
    assert asleep(world) == 1


def test_those_of_the_log_are_looked_at_in_slices(world: World) -> None:
    world.checks = False
    for name in (f"u{number}" for number in range(600)):
        link = world.open(f"{name}/desk")
        # Of whom more than this is in the log a user is made first.
        link.set_status("dnd")
        link.set_status("auto")
        link.bye()
    world.advance(30_000)
    again = world.restarted(down_ms=10 * WHILE_MS)
    again.checks = False
    assert asleep(again) < 300
    again.advance(1_000)
    assert asleep(again) == 600
    assert again.engine.sleep.next_ms is None


def test_put_all_to_sleep_sees_a_difference(world: World) -> None:
    come_and_go(world, "anna", text="x")
    world.user("anna").devices["desk"].priority = 3
    assert put_all_to_sleep(world.engine, world.now_ms) == 1
    world.user("anna").seen_ms += 1
    assert put_all_to_sleep(world.engine, world.now_ms) == 0, "what is shown otherwise than it was noted is not at rest"


def test_a_watch_wakes_those_who_sleep_among_those_who_do_not(world: World) -> None:
    alice = world.open("alice/laptop")
    come_and_go(world, "bob", "carol", text="gone fishing")
    world.open("dave/desk")
    put_all_to_sleep(world.engine, world.now_ms)
    assert asleep(world) == 2
    told = alice.expect(Watch(3, ["dave", "carol", "eve", "bob", "eve"]), Records).records
    assert [(record.user, record.status, bool(record.version)) for record in told] == [
        ("dave", "online", True),
        ("carol", "offline", True),
        ("eve", "offline", False),
        ("bob", "offline", True),
        ("eve", "offline", False),
    ]
    assert asleep(world) == 0 and len(world.engine.users) == 5
