"""Lists of contacts that another node tells of, each with one side of its pairs."""

from __future__ import annotations

import pytest

from presenced.core.contacts.agreement import check_contacts
from presenced.core.contacts.transitions import MIRRORED, STATE, STATES, mirrored
from presenced.core.copies import Copies
from presenced.core.dormants import packed, tally_of
from presenced.core.policy import Policy
from presenced.core.records import (
    AudienceSet,
    BlockSet,
    ContactSet,
    ContactSide,
    ContactsKept,
    ContactsSet,
    Fact,
    RecordSet,
)
from presenced.core.roster import APPROVED, ASKED, ASKS, FROM, LISTED, TO, Contact
from presenced.wire.codec import encode
from presenced.wire.messages import Approve, SetAudience, SetContact, Subscribe
from tests.core.world import World

BOTH = TO | FROM


@pytest.fixture
def world() -> World:
    world = World(Policy(sleep_after_ms=60_000))
    world.checks = False
    return world


def told(world: World, name: str, version: int, contacts: dict[str, int]) -> None:
    """Another node tells of the user's list, as it does of all."""
    fact = ContactsKept(name, list(contacts), list(contacts.values()), version)
    Copies(world.engine).replace(name, [fact], world.now_ms, was_told=False)
    world.turn()


def offered(world: World, name: str, version: int, contacts: dict[str, int], *, says_all: bool = False) -> list[Fact]:
    """The disk of another node knew the user's list; returns what was decided."""
    fact = ContactsKept(name, list(contacts), list(contacts.values()), version)
    before = len(world.log.facts)
    Copies(world.engine).decide_pairs(name, [fact], world.now_ms, says_all=says_all)
    world.turn()
    return world.log.facts[before:]


def flags(world: World, name: str) -> dict[str, int]:
    user = world.engine.users.get(name)
    roster = user.contacts if user is not None else None
    return {one: roster.flags(one) for one in roster.contacts} if roster is not None else {}


@pytest.mark.parametrize("theirs", [0, LISTED, APPROVED | LISTED, LISTED | BOTH])
@pytest.mark.parametrize("mine", STATES)
def test_the_other_side_of_each_state_is_a_state_that_agrees(mine: int, theirs: int) -> None:
    flags = mirrored(mine, theirs)
    assert flags & STATE in STATES and flags & LISTED == theirs & LISTED
    assert all(bool(mine & one) == bool(flags & other) for one, other in MIRRORED.items())
    assert not (flags & FROM and flags & APPROVED)
    assert bool(flags & APPROVED) == bool(theirs & APPROVED and not flags & FROM)


def test_lists_of_both_sides_take_the_place_of_what_the_own_disk_knew(world: World) -> None:
    app = world.open("app", role="service")
    for other in ("bob", "old"):
        app.done(SetContact(app.next_id(), other, "a name", user="anna"))
        app.done(Subscribe(app.next_id(), other, user="anna"))
        app.done(Approve(app.next_id(), "anna", user=other))
    told(world, "anna", 900, {"bob": FROM | LISTED, "cy": ASKED})
    told(world, "bob", 800, {"anna": TO})
    told(world, "cy", 900, {"anna": ASKS})
    told(world, "old", 700, {})
    assert flags(world, "anna") == {"bob": FROM | LISTED, "cy": ASKED}
    check_contacts(world.engine.users, world.engine.contacts.pairs)
    anna, bob = world.user("anna").contacts, world.user("bob").contacts
    assert anna is not None and bob is not None and (anna.version, bob.version) == (900, 800)
    assert anna.contact("bob") == Contact(FROM | LISTED)


def test_a_list_that_has_not_changed_where_it_is_decided_keeps_its_version(world: World) -> None:
    """Whoever decides it was not told of anna yet, and has nothing of her of which it could take something away."""
    told(world, "anna", 900, {"bob": APPROVED})
    told(world, "bob", 800, {"anna": APPROVED})
    Copies(world.engine).apply([ContactSet("bob", "anna", APPROVED, 0, 800, 0)], world.now_ms)
    Copies(world.engine).apply([ContactSet("anna", "bob", APPROVED, APPROVED, 900, 800)], world.now_ms)
    assert flags(world, "anna") == {"bob": APPROVED} and flags(world, "bob") == {"anna": APPROVED}
    anna, bob = world.user("anna").contacts, world.user("bob").contacts
    assert anna is not None and bob is not None and (anna.version, bob.version) == (900, 800)


def test_who_slept_here_sleeps_on_with_what_another_node_tells(world: World) -> None:
    for name in ("anna", "bob"):
        world.open(f"{name}/desk").bye()
    twin = World(Policy(sleep_after_ms=60_000))
    twin.checks = False
    for one in (world, twin):
        told(one, "anna", 100, {"bob": BOTH | LISTED})
        one.engine.users.get("bob")
        one.open("anna/desk").bye()
        one.open("bob/desk").bye()
    told(twin, "anna", 200, {"bob": BOTH | LISTED, "cy": ASKED, "di": BOTH})
    for one in (world, twin):
        one.advance(200_000)
    packed = twin.engine.users.dormants.peek("anna")
    assert packed is not None and tally_of(packed).contacts == 3
    assert world.engine.users.awake("anna") is None
    before = world.engine.contacts.pairs.contacts
    copies = Copies(world.engine)
    assert copies.facts_of("anna", world.now_ms) != packed
    copies.replace("anna", packed, world.now_ms, was_told=False)
    assert world.engine.users.awake("anna") is None, "nobody was woken for it"
    assert world.engine.contacts.pairs.contacts == before + 2
    assert flags(world, "anna") == {"bob": BOTH | LISTED, "cy": ASKED, "di": BOTH}


def test_of_a_list_from_a_disk_what_is_newer_is_decided_for_both_sides(world: World) -> None:
    told(world, "bob", 50, {"anna": LISTED, "cy": LISTED})
    decided = offered(world, "anna", 100, {"bob": LISTED | BOTH, "di": ASKED})
    assert flags(world, "anna") == {"bob": LISTED | BOTH, "di": ASKED}
    assert flags(world, "bob") == {"anna": LISTED | BOTH, "cy": LISTED} and flags(world, "di") == {"anna": ASKS}
    assert [type(fact) for fact in decided] == [ContactSet, ContactSet, ContactsSet]
    # A node that has none of the two changes learns the version from the last.
    last = decided[-1]
    assert isinstance(last, ContactsSet) and last.user == "anna"
    roster = world.user("anna").contacts
    assert roster is not None and roster.version == 100
    check_contacts(world.engine.users, world.engine.contacts.pairs)
    assert offered(world, "anna", 100, {"bob": LISTED, "eve": LISTED}) == [], "it is not newer"
    # The list of somebody who was made known by that of another is newer still.
    offered(world, "di", 40, {"anna": ASKS | LISTED})
    assert flags(world, "di") == {"anna": ASKS | LISTED}


@pytest.mark.parametrize("sleeps", [False, True])
def test_what_says_nothing_of_pairs_leaves_the_list_as_it_was_told(world: World, sleeps: bool) -> None:
    told(world, "anna", 60, {"bob": LISTED, "cy": LISTED})
    said: list[Fact] = [RecordSet("anna", "offline", 1, 2, "laptop", 2**40)]
    told_now = packed(2**40, encode(said)) if sleeps else said
    Copies(world.engine).replace("anna", told_now, world.now_ms, was_told=False, says_pairs=False)
    world.turn()
    assert flags(world, "anna") == {"bob": LISTED, "cy": LISTED}
    assert world.user("anna").record.version == 2**40
    check_contacts(world.engine.users, world.engine.contacts.pairs)


def test_where_the_list_of_the_contact_is_newer_that_holds(world: World) -> None:
    told(world, "bob", 100, {"anna": LISTED})
    offered(world, "anna", 50, {"bob": LISTED | BOTH})
    assert flags(world, "anna") == {"bob": LISTED} and flags(world, "bob") == {"anna": LISTED}
    check_contacts(world.engine.users, world.engine.contacts.pairs)


def test_lists_of_which_one_side_alone_was_told_get_the_other() -> None:
    world = World(Policy(sleep_after_ms=60_000))
    world.checks = False
    told(world, "anna", 100, {"bob": BOTH | LISTED, "cy": ASKED, "di": LISTED, "eve": TO})
    told(world, "bob", 200, {"anna": LISTED, "fay": LISTED})
    told(world, "eve", 50, {"anna": APPROVED | LISTED})
    copies = Copies(world.engine)
    assert copies.agree_pairs("anna", world.now_ms) == ["cy"], "di does not know that she is in a list"
    assert flags(world, "anna") == {"bob": LISTED, "cy": ASKED, "di": LISTED, "eve": TO}
    assert flags(world, "bob") == {"anna": LISTED, "fay": LISTED}, "it is newer"
    assert flags(world, "cy") == {"anna": ASKS} and flags(world, "eve") == {"anna": FROM | LISTED}
    check_contacts(world.engine.users, world.engine.contacts.pairs)
    world.turn()
    before = len(world.log.facts)
    for name in ("anna", "bob", "cy", "eve", "nobody"):
        assert copies.agree_pairs(name, world.now_ms) == []
    world.turn()
    assert len(world.log.facts) == before, "they agree"
    # The disk of another node knows the list that this one did not.
    offered(world, "cy", 40, {"anna": ASKS | LISTED, "gil": LISTED})
    assert flags(world, "cy") == {"anna": ASKS | LISTED, "gil": LISTED}


def test_to_whom_believes_a_list_of_its_disk_all_is_said_that_holds(world: World) -> None:
    told(world, "anna", 100, {"bob": LISTED})
    [fact] = offered(world, "anna", 60, {"cy": LISTED | TO}, says_all=True)
    assert isinstance(fact, ContactsSet) and dict(zip(fact.contacts, fact.flags, strict=True)) == {"bob": 32, "cy": 0}
    there = World()
    there.checks = False
    told(there, "anna", 60, {"cy": LISTED | TO})
    Copies(there.engine).apply([fact], there.now_ms)
    there.turn()
    assert flags(there, "anna") == flags(world, "anna") == {"bob": LISTED}


def test_blocks_of_a_disk_hold_besides_and_an_audience_if_there_is_none(world: World) -> None:
    app = world.open("app", role="service")
    app.done(SetAudience(app.next_id(), "contacts", user="bob"))
    before = len(world.log.facts)
    known: list[Fact] = [BlockSet("anna", "bob", True), AudienceSet("anna", "nobody", "nobody", "nobody", [], [])]
    copies = Copies(world.engine)
    copies.decide_pairs("anna", known, world.now_ms, says_all=True)
    other = AudienceSet("bob", "nobody", "nobody", "nobody", [], [])
    copies.decide_pairs("bob", [other], world.now_ms, says_all=True)
    world.turn()
    assert world.log.facts[before:] == known
    privacy = world.user("anna").privacy
    assert privacy is not None and list(privacy.blocked) == ["bob"] and privacy.audience.text == "nobody"


def test_who_asks_is_told_with_note_and_order(world: World) -> None:
    sides = [(0, ContactSide(note="second", asked=20)), (1, ContactSide(note="first", asked=10))]
    fact = ContactsKept("anna", ["bob", "cy"], [ASKS, ASKS], 30, sides)
    Copies(world.engine).replace("anna", [fact], world.now_ms, was_told=False)
    roster = world.user("anna").contacts
    assert roster is not None and list(roster.asking or ()) == ["cy", "bob"]
    assert roster.contact("cy").note == "first" and world.engine.contacts.pairs.requests == 2


def test_who_asks_is_in_order_of_time_in_whichever_order_that_is_told(world: World) -> None:
    """As by a node that says again what the log has lost."""
    facts = [
        ContactSet(name, "anna", ASKED, ASKS, 30, 30, None, ContactSide(asked=asked))
        for name, asked in (("bob", 20), ("cy", 10), ("di", 30), ("ed", 15))
    ]
    Copies(world.engine).apply(facts, world.now_ms)
    roster = world.user("anna").contacts
    assert roster is not None and list(roster.asking or ()) == ["cy", "ed", "bob", "di"] and roster.last_asked == 30
    gone = [ContactSet(name, "anna", 0, 0, 31, 31) for name in ("cy", "ed", "bob", "di")]
    Copies(world.engine).apply(gone, world.now_ms)
    assert roster.asking is None and roster.last_asked == 0


def test_who_asks_is_in_the_order_that_the_node_which_decides_it_tells(world: World) -> None:
    """It may have learned of the requests in another order than this one, and all are to have one."""

    def asks(name: str, asked: int, note: str = "") -> ContactSet:
        return ContactSet(name, "anna", ASKED, ASKS, 30, 30, None, ContactSide(note=note, asked=asked))

    Copies(world.engine).apply([asks("bob", 10), asks("cy", 20), asks("di", 30)], world.now_ms)
    Copies(world.engine).apply([asks("bob", 25), asks("di", 5, "another note")], world.now_ms)
    roster = world.user("anna").contacts
    assert roster is not None and roster.asking == {"di": 5, "cy": 20, "bob": 25}
    assert list(roster.asking) == ["di", "cy", "bob"] and roster.last_asked == 25


def test_the_list_of_who_is_asked_says_who_asked_first(world: World) -> None:
    """The lists of those who ask do not, and may come before it."""
    offered(world, "cy", 100, {"anna": ASKED})
    sides = [(0, ContactSide(note="first", asked=10)), (1, ContactSide(note="second", asked=20))]
    fact = ContactsKept("anna", ["bob", "cy"], [ASKS, ASKS], 100, sides)
    Copies(world.engine).decide_pairs("anna", [fact], world.now_ms, says_all=True)
    world.turn()
    roster = world.user("anna").contacts
    assert roster is not None and list((roster.asking or {}).items()) == [("bob", 10), ("cy", 20)]
    said = world.log.facts[-1]
    assert isinstance(said, ContactsSet) and said.sides == [(place, side, None) for place, side in sides]


@pytest.mark.parametrize("knew", [False, True])
def test_a_list_keeps_its_version_where_a_block_hides_a_request_from_it(world: World, knew: bool) -> None:
    if knew:
        told(world, "bob", 50, {"anna": ASKS})
    fact = ContactsKept("bob", ["anna"], [ASKS], 100, [(0, ContactSide(note="let me", asked=10))])
    told(world, "anna", 90, {"bob": ASKED})
    known: list[Fact] = [BlockSet("bob", "anna", True), fact]
    Copies(world.engine).replace("bob", known, world.now_ms, was_told=False)
    world.turn()
    roster = world.user("bob").contacts
    assert roster is not None and roster.version == 100
    check_contacts(world.engine.users, world.engine.contacts.pairs)


def test_who_is_gone_from_a_newer_list_is_gone_from_the_other_side_but_where_that_one_is_newer_still(
    world: World,
) -> None:
    told(world, "anna", 10, {"bob": LISTED | BOTH, "cy": LISTED | BOTH})
    told(world, "bob", 10, {"anna": BOTH})
    told(world, "cy", 30, {"anna": BOTH})
    offered(world, "anna", 20, {})
    assert flags(world, "anna") == {"cy": BOTH}, "who lists whom is each one's own"
    assert (flags(world, "bob"), flags(world, "cy")) == ({}, {"anna": BOTH})
    check_contacts(world.engine.users, world.engine.contacts.pairs)
