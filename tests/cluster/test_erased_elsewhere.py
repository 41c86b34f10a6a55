"""Somebody is erased while a node is away whose disk knows them: nobody brings them back."""

from __future__ import annotations

import pytest

from presenced.wire.messages import ContactEntry, Done, Erase, SetContact, SetContacts, SetStatus, Subscribe
from tests.cluster.lives import relations
from tests.cluster.town import Town, TownNode, left
from tests.cluster.town_disk import TownDisk
from tests.core.world import World


def town_with_a_disk() -> tuple[Town, TownDisk]:
    """Two nodes, and the disk of a third that has left in order, and knows alice as they do."""
    town = Town()
    for name in "abc":
        town.add(name, TownNode(town, name, town.policy, TownDisk()))
    a, _, c = town.nodes
    link = a.dial("alice/laptop")
    link.say(SetStatus(link.next_id(), "dnd", "secret"))
    app = a.dial("app", role="service")
    app.say(SetContacts(app.next_id(), "bob", [ContactEntry("alice", "both")]))
    assert c.shown("alice").text == "secret"
    return town, left(town, c)


def erase(node: TownNode) -> None:
    root = node.dial("root", role="admin")
    root.say(Erase(request := root.next_id(), "alice"))
    assert isinstance(root.replies_to(request)[0], Done)


def nobody_knows_alice(town: Town) -> None:
    for node in town.nodes:
        assert (node.shown("alice").version, node.shown("alice").text) == (0, "")
        bob = node.engine.users.get("bob")
        assert bob is None or bob.contacts is None or not bob.contacts.contacts


@pytest.mark.parametrize("home", ["a", "b"])
def test_a_disk_that_was_away_does_not_bring_back_who_was_erased(home: str) -> None:
    town, disk = town_with_a_disk()
    erase(next(node for node in town.nodes if node.name == home))
    nobody_knows_alice(town)
    town.add("c", TownNode(town, "c", town.policy, disk))
    nobody_knows_alice(town)


def test_who_was_erased_stays_so_where_the_first_that_starts_again_was_away() -> None:
    town, disk = town_with_a_disk()
    erase(town.nodes[0])
    disks = {node.name: left(town, node) for node in list(town.nodes)}
    town.add("c", TownNode(town, "c", town.policy, disk))
    for name, known in disks.items():
        town.add(name, TownNode(town, name, town.policy, known))
    nobody_knows_alice(town)


def test_who_was_erased_and_has_come_back_is_as_they_are_now() -> None:
    town, disk = town_with_a_disk()
    erase(town.nodes[0])
    link = town.nodes[1].dial("alice/phone")
    link.say(SetStatus(link.next_id(), "away", "new"))
    town.add("c", TownNode(town, "c", town.policy, disk))
    assert [node.shown("alice").text for node in town.nodes] == ["new"] * 3


def test_a_disk_that_knows_of_an_erasure_tells_it_again_after_every_start() -> None:
    """Also one that begins from a snapshot, and is told of nobody's erasure since."""
    town, disk = town_with_a_disk()
    erase(town.nodes[0])
    for _ in range(2):
        disks = {node.name: left(town, node) for node in list(town.nodes)}
        for name, known in disks.items():
            town.add(name, TownNode(town, name, town.policy, known))
    town.add("c", TownNode(town, "c", town.policy, disk))
    nobody_knows_alice(town)


def test_what_was_decided_since_an_erasure_stays_where_a_disk_did_not_know_of_it() -> None:
    town, disk = town_with_a_disk()
    erase(town.nodes[0])
    app = town.nodes[1].dial("app", role="service")
    app.say(Subscribe(app.next_id(), "alice", user="bob"))
    app.say(SetContact(app.next_id(), "carl", user="alice"))
    town.add("c", TownNode(town, "c", town.policy, disk))
    for node in town.nodes:
        assert relations(node) == relations(town.nodes[0]) and set(relations(node)) == {"alice", "bob"}


def test_who_was_erased_is_no_name_that_is_kept_where_there_are_no_other_nodes() -> None:
    world = World()
    link = world.open("alice/laptop")
    link.set_status("dnd", text="secret")
    root = world.open("root", role="admin")
    root.done(Erase(root.next_id(), "alice"))
    assert not world.engine.users.knows("alice") or not world.engine.parts.keep(world.engine.users["alice"])
