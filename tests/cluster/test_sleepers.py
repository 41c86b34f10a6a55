"""Users with contacts who sleep on several nodes: at their homes and as copies, and nobody can tell."""

from __future__ import annotations

import pytest

from presenced.backplane.port import LEASE_MS
from presenced.cluster.log import lessons
from presenced.core.contacts.agreement import rosters_asleep
from presenced.core.policy import Policy
from presenced.limits import RESTART_GRACE_MS, RESTART_SPREAD_MS
from presenced.wire.messages import (
    Block,
    ContactEntry,
    ContactList,
    Erase,
    GetContacts,
    Heartbeat,
    RemoveContact,
    SetContacts,
    SetStatus,
    Subscribe,
    Unblock,
    Watch,
)
from tests.cluster.client import Client
from tests.cluster.lives import relations
from tests.cluster.town import Town, TownNode

WHILE_MS = 10_000
COUNT = 40


def town_of(*names: str) -> Town:
    return Town(*names, policy=Policy(sleep_after_ms=WHILE_MS, grace_ms=1_000))


def app_at(node: TownNode) -> Client:
    return node.dial("app", role="service")


def befriend(app: Client, user: str, *others: str) -> None:
    """The user's list is these, who are seen and see the user."""
    app.say(SetContacts(app.next_id(), user, [ContactEntry(other, "both") for other in others]))


def come_and_go(*nodes: TownNode) -> list[str]:
    """Users of all of these nodes, who are contacts of each other in a ring and are gone."""
    names = [f"user{number}" for number in range(COUNT)]
    for number, name in enumerate(names):
        nodes[number % len(nodes)].dial(f"{name}/desk").lose()
    app = app_at(nodes[0])
    for number, name in enumerate(names):
        befriend(app, name, names[number - 1], names[(number + 1) % COUNT])
    app.lose()
    return names


def sleep(town: Town) -> None:
    """Long enough that all who can be are asleep."""
    town.advance(15 * WHILE_MS, WHILE_MS // 2)


def asleep(node: TownNode) -> list[str]:
    return sorted(name for name, _ in node.engine.users.dormants.items())


def all_know_the_same(town: Town) -> dict[str, object]:
    first = relations(town.nodes[0])
    for node in town.nodes:
        assert relations(node) == first, node.name
    return first


def test_who_has_contacts_sleeps_at_home_and_as_a_copy() -> None:
    town = town_of("a", "b", "c")
    names = come_and_go(*town.nodes)
    before = all_know_the_same(town)
    sleep(town)
    for node in town.nodes:
        assert asleep(node) == sorted(names) and len(rosters_asleep(node.engine.users)) == COUNT
    assert all_know_the_same(town) == before
    records = {name: {node.shown(name) for node in town.nodes} for name in names}
    assert all(len(shown) == 1 for shown in records.values())


def test_what_is_decided_of_sleepers_is_known_on_every_node() -> None:
    a, b, c = (town := town_of("a", "b", "c")).nodes
    come_and_go(a, b, c)
    sleep(town)
    app = app_at(c)
    app.say(RemoveContact(app.next_id(), "user1", user="user0"))
    befriend(app, "user5", "user20", "user6")
    for node in town.nodes:
        # These alone were woken, and on the node that decides whom they keep.
        assert len(asleep(node)) == COUNT - (6 if node is a else 5), node.name
    link = b.dial("user9/phone")
    link.say(SetStatus(link.next_id(), "dnd"))
    assert {node.shown("user9").status for node in town.nodes} == {"dnd"}
    all_know_the_same(town)
    link.lose()
    sleep(town)
    assert all(len(asleep(node)) >= COUNT - 1 for node in town.nodes)
    all_know_the_same(town)


def test_a_node_that_joins_is_told_who_sleeps_and_nobody_wakes() -> None:
    a, b = (town := town_of("a", "b")).nodes
    names = come_and_go(a, b)
    sleep(town)
    c = town.add("c")
    for node in town.nodes:
        assert asleep(node) == sorted(names), node.name
    assert c.engine.contacts.pairs.contacts == a.engine.contacts.pairs.contacts == 2 * COUNT
    all_know_the_same(town)
    version = a.engine.users["user3"].contacts
    link = c.dial("user3/phone")
    link.say(GetContacts(number := link.next_id()))
    [told] = [reply for reply in link.replies_to(number) if isinstance(reply, ContactList)]
    assert version is not None and sorted(info.contact for info in told.contacts) == ["user2", "user4"]


@pytest.mark.parametrize("is_orderly", [True, False])
def test_who_inherits_sleepers_decides_them(is_orderly: bool) -> None:
    a, b, c = (town := town_of("a", "b", "c")).nodes
    names = come_and_go(b)
    sleep(town)
    before = all_know_the_same(town)
    if is_orderly:
        town.leave(b)
    else:
        town.kill(b)
        town.advance(LEASE_MS + 3_000)
    for node in (a, c):
        assert asleep(node) == sorted(names)
    assert all_know_the_same(town) == before
    assert {a.node.home_of(name) for name in names} == {a.node.me, c.node.me}
    link = a.dial("user7/phone")
    assert {node.shown("user7").status for node in town.nodes} == {"online"}
    link.lose()
    town.advance(RESTART_GRACE_MS + RESTART_SPREAD_MS + 2_000)
    assert {node.shown("user7").status for node in town.nodes} == {"offline"}
    assert all_know_the_same(town) == before


def test_a_sleeper_whose_heir_has_a_slow_clock_is_shown_as_before() -> None:
    a, b = (town := town_of("a", "b")).nodes
    b.dial("anna/desk").lose()
    sleep(town)
    # A world begins at a wall time of its own, which is behind by now.
    c = town.add("c")
    before = a.shown("anna")
    town.leave(b)
    town.leave(a)
    assert c.node.own("anna") and asleep(c) == ["anna"] and before.since_ms > c.wall_ms
    assert c.shown("anna") == before


@pytest.mark.parametrize("before", [0, 5, 20, COUNT])
@pytest.mark.parametrize("is_ahead", [True, False])
def test_what_is_decided_while_users_are_told_of_holds(
    before: int, is_ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registrar decides when so many parcels have come, and the others are made by a node that does not know it.
    `is_ahead`: the log has it before the parcels that were made by then."""
    monkeypatch.setattr(lessons, "PARCEL_COST", 1)
    a, b = (town := town_of("a", "b")).nodes
    names = come_and_go(b)
    sleep(town)
    town.pause()
    c = TownNode(town, "c", town.policy)
    town.nodes.append(c)
    c.join()
    while b.read():
        pass
    for _ in range(before):
        b.work()
        if not is_ahead:
            b.append()
    app = app_at(a)
    befriend(app, names[0], names[5])
    for other in (names[1], names[-1]):
        app.say(RemoveContact(app.next_id(), names[0], user=other))
    app.say(RemoveContact(app.next_id(), names[20], user=names[21]))
    app.say(Block(app.next_id(), names[7], user=names[6]))
    root = a.dial("root", role="admin")
    root.say(Erase(root.next_id(), names[10]))
    while a.append():
        pass
    while b.work():
        b.append()
        c.read()
    town.resume()
    town.advance(2_000)
    assert c.node.is_ready
    known = all_know_the_same(town)
    assert known[f"{names[6]} blocks"] == [names[7]] and names[10] not in known
    assert all(names[10] not in str(relation) for relation in known.values())


def test_whom_nobody_has_seen_has_a_home_and_is_told_to_who_joins() -> None:
    a, b = (town := town_of("a", "b")).nodes
    app = app_at(b)
    befriend(app, "anna", "bob")
    app.say(Subscribe(app.next_id(), "cy", user="anna"))
    app.say(Block(app.next_id(), "eve", user="di"))
    assert {a.node.home_of(name) for name in ("anna", "bob", "cy", "di", "eve")} == {a.node.me}
    town.add("c")
    known = all_know_the_same(town)
    assert set(known) == {"anna", "bob", "cy", "di blocks"}


def back_from_disk(town: Town, node: TownNode) -> TownNode:
    """A node of this name whose disk says what the node knows now."""
    world = node.restarted(facts=node.snapshot(), now_ms=town.now_ms)
    back = TownNode(town, node.name, town.policy)
    back.engine, back.log = world.engine, world.log
    return back


def test_what_has_ended_while_a_node_was_away_is_not_known_from_its_disk() -> None:
    a, b = (town := town_of("a", "b")).nodes
    names = come_and_go(a, b)
    app = app_at(a)
    app.say(Block(app.next_id(), names[9], user=names[8]))
    sleep(town)
    back = back_from_disk(town, b)
    town.leave(b)
    app = app_at(a)
    app.say(Unblock(app.next_id(), names[9], user=names[8]))
    befriend(app, names[0])
    for other in (names[1], names[-1]):
        app.say(RemoveContact(app.next_id(), names[0], user=other))
    town.add("b", back)
    known = all_know_the_same(town)
    assert names[0] not in known and f"{names[8]} blocks" not in known
    assert len(asleep(back)) >= COUNT - 6, "most are on its shelves as they were"


@pytest.mark.parametrize("is_newer", [True, False])
def test_lists_of_whom_a_disk_alone_knew_are_known_everywhere(is_newer: bool) -> None:
    town = town_of("a", "b")
    names = come_and_go(*town.nodes)
    sleep(town)
    other = TownNode(town, "d", town.policy)
    if is_newer:
        other.engine.ledger.raise_version(town.nodes[0].engine.ledger.version + 10, other.now_ms)
    for name in ("dora", "dick", names[2]):
        other.open(f"{name}/phone").bye()
    link = other.open("app", role="service")
    link.done(SetContacts(link.next_id(), "dora", [ContactEntry(name, "both") for name in ("dick", names[2])]))
    link.bye()
    other.advance(20 * WHILE_MS)
    assert len(asleep(other)) == 3
    town.add("d", other)
    known = all_know_the_same_but_for_versions(town)
    assert known["dick"] == ["dora"] and known["dora"] == ["dick", names[2]]
    # Of a pair with somebody of whom the others know more, the newer list decides who sees whom.
    assert (names[2] in town.nodes[0].engine.users and "dora" in known[names[2]]) == is_newer
    assert {node.node.home_of("dora") for node in town.nodes} == {other.node.me}
    town.kill(other)
    town.advance(LEASE_MS + 3_000)
    assert all_know_the_same_but_for_versions(town) == known


def test_whom_nobody_decided_is_a_copy_once_a_disk_has_a_home_for_them() -> None:
    a, b = (town := town_of("a", "b")).nodes
    watcher = a.dial("watcher/screen")
    watcher.say(Watch(watcher.next_id(), ["dora"]))
    other = TownNode(town, "d", town.policy)
    other.open("dora/phone")
    town.add("d", other)
    assert watcher.view["dora"].status == "online"
    town.kill(other)
    town.advance(LEASE_MS + 3_000)
    watcher.say(Heartbeat(None))
    town.advance(RESTART_GRACE_MS + RESTART_SPREAD_MS + 2_000, 1_000)
    assert {node.shown("dora").status for node in town.nodes} == {"offline"}


def all_know_the_same_but_for_versions(town: Town) -> dict[str, list[str]]:
    found = []
    for node in town.nodes:
        lists = {name: known[1] for name, known in relations(node).items() if isinstance(known, tuple)}
        found.append(lists)
        assert lists == found[0], node.name
    return {name: sorted(contacts) for name, contacts in found[0].items()}


def test_a_version_of_a_list_that_another_node_has_told_is_not_taken_for_one_of_this() -> None:
    a, b = (town := town_of("a", "b")).nodes
    link = a.dial("anna/desk")
    link.say(GetContacts(link.next_id()))
    a.engine.contacts.follow(link.session)  # type: ignore[arg-type]
    app = app_at(a)
    befriend(app, "anna", "bob")
    roster = a.engine.users["anna"].contacts
    assert roster is not None
    version = roster.version
    befriend(app, "anna", "bob", "cy")
    link.lose()
    sleep(town)
    c = town.add("c")
    assert "anna" in asleep(a) and "anna" in asleep(c)
    at_home = a.engine.contacts.changes(a.engine.users["anna"], version)
    assert at_home is not None and [info.contact for info in at_home[0]] == ["cy"]
    assert c.engine.contacts.changes(c.engine.users["anna"], version) is None, "of another node's run nothing is known"
