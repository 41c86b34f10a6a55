"""What a node that is gone had appended, some have read and others have not, and the log has lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from presenced.backplane.port import LEASE_MS
from presenced.cluster.log.entries import Offer, home_part_of
from presenced.core.contacts.agreement import check_contacts
from presenced.core.roster import LISTED, TO
from presenced.wire.messages import Block, ContactEntry, SetContacts, SetStatus
from tests.cluster.lives import relations
from tests.cluster.town import Town, TownNode, agreed

NAMES = [f"user{number}" for number in range(20)]


def read_all(node: TownNode) -> None:
    while node.read():
        pass


def stage(names: str, unread: str) -> tuple[Town, TownNode]:
    """A town and its last node, which is the home of all users, and of which some nodes do not read the newest."""
    town = Town(*names)
    home = town.nodes[-1]
    for name in NAMES:
        home.come(f"{name}/laptop")
    town.advance(1_000)
    town.pause(*(node for node in town.nodes if node.name in unread))
    return town, home


def lose(town: Town, home: TownNode) -> None:
    """Of the others some read what `home` appends now; the log loses that, and `home` is killed."""
    assert home.append()
    for node in town.nodes:
        if node is not home and node not in town.paused:
            read_all(node)
    town.engine.lose_tail(1)
    town.kill(home)
    town.resume()
    town.advance(2 * LEASE_MS)


STAGES = [("abc", "b"), ("abcd", "b"), ("abcd", "bc")]


@pytest.mark.parametrize(("names", "unread"), STAGES)
def test_users_whom_it_handed_over_have_one_home(names: str, unread: str) -> None:
    town, home = stage(names, unread)
    for place, name in enumerate(NAMES):
        assert home.node.hand_over(name, town.nodes[place % (len(names) - 1)].node.me)
    lose(town, home)
    agreed(town, NAMES)


@pytest.mark.parametrize(("names", "unread"), STAGES)
def test_what_it_said_of_users_is_told_by_all(names: str, unread: str) -> None:
    town, home = stage(names, unread)
    for link in home.links:
        link.say(SetStatus(link.next_id(), "dnd", "the last word"))
    home.turn()
    lose(town, home)
    agreed(town, NAMES)
    assert {town.nodes[0].shown(name).text for name in NAMES} == {"the last word"}


@pytest.mark.parametrize("home", [1, 2], ids=["witness", "other"])
def test_what_it_had_decided_of_pairs_is_told_by_whoever_decides_next(home: int) -> None:
    town = Town("a", "b", "c")
    a, b, c = town.nodes
    for name in ("alice", "bob"):
        town.nodes[home].come(f"{name}/laptop")
    town.advance(1_000)
    town.pause(c)
    app = a.dial("app", role="service")
    app.say(SetContacts(app.next_id(), "alice", [ContactEntry("bob", "to")]))
    app.say(Block(app.next_id(), "alice", user="bob"))
    assert a.append()
    read_all(a)
    read_all(b)
    town.engine.lose_tail(1)
    town.kill(a)
    town.resume()
    town.advance(2 * LEASE_MS)
    assert b.node.registrar == b.node.me
    versions = set()
    for node in (b, c):
        check_contacts(node.engine.users, node.engine.contacts.pairs)
        alice, bob = node.engine.users.get("alice"), node.engine.users.get("bob")
        assert alice is not None and alice.contacts is not None and alice.contacts.flags("bob") == LISTED | TO
        assert bob is not None and bob.privacy is not None and list(bob.privacy.blocked) == ["alice"]
        versions.add((alice.contacts.version, bob.contacts and bob.contacts.version))
    assert len(versions) == 1, "clients ask by the version for what is newer, wherever they come back to"


def test_what_a_witness_says_of_pairs_reaches_whoever_decides_them_behind_one_that_is_dead_as_well() -> None:
    """The log names a dead node as the one that decides when the witness speaks, and what is gone from a list is gone
    from the other side, too."""
    town = Town("a", "b", "c", "d")
    a, b, c, d = town.nodes
    for name in ("alice", "bob", "carl"):
        d.come(f"{name}/laptop").lose()
    app = a.dial("app", role="service")
    app.say(SetContacts(app.next_id(), "alice", [ContactEntry("bob", "both"), ContactEntry("carl", "both")]))
    town.advance(1_000)
    town.pause(c)
    app.say(SetContacts(app.next_id(), "alice", [ContactEntry("carl", "to")]))
    assert a.append()
    for node in (a, d):
        read_all(node)
    town.engine.lose_tail(1)
    town.kill(a)
    town.resume()
    town.advance(3_000)
    town.kill(b)
    town.advance(3 * LEASE_MS)
    assert {node.node.registrar for node in town.nodes} == {c.node.me}
    assert relations(c) == relations(d)
    for node in (c, d):
        check_contacts(node.engine.users, node.engine.contacts.pairs)
        alice, bob = node.engine.users.get("alice"), node.engine.users.get("bob")
        assert alice is not None and alice.contacts is not None and list(alice.contacts.contacts) == ["carl"]
        assert bob is not None and bob.contacts is not None and bob.contacts.flags("alice") == LISTED


def test_new_users_of_it_have_one_home() -> None:
    town, home = stage("abc", "b")
    new = [f"new{number}" for number in range(20)]
    home.node.bids.bid(new, lambda now_ms: None)
    assert home.append()
    read_all(home)
    for name in new:
        home.open(f"{name}/laptop")
    assert home.append()
    read_all(town.nodes[0])
    town.engine.lose_tail(2)
    town.kill(home)
    town.resume()
    town.advance(2 * LEASE_MS)
    agreed(town, new)
    for node in town.nodes:
        for name in new:
            node.dial(f"{name}/phone")
    town.advance(2 * LEASE_MS)
    agreed(town, new)


def test_one_that_lives_says_it_again_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    town, home = stage("abc", "b")
    for name in NAMES:
        assert home.node.hand_over(name, town.nodes[1].node.me)
    assert home.append()
    read_all(town.nodes[0])
    read_all(home)
    town.engine.lose_tail(1)
    said: list[object] = []
    for node in town.nodes:
        monkeypatch.setattr(node.node.batches, "add", noted(said, node.node.batches.add))
    town.resume()
    town.advance(1_000)
    # Nothing is left to say for it when it dies.
    town.kill(home)
    town.advance(2 * LEASE_MS)
    agreed(town, NAMES)
    assert not [item for item in said if isinstance(item, Offer)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_that_say_at_once_that_they_are_the_home_end_with_one(order: tuple[int, int]) -> None:
    town = Town("a", "b", "c")
    a, b, _ = town.nodes
    a.come("alice/laptop")
    town.pause()
    # As where the log has lost who is.
    b.node.homes.set("alice", b.node.mine)
    b.node.inheritance.take_up("alice", b.now_ms)
    both = [(a, b)[place] for place in order]
    for node in both:
        node.reader._disputes.append_whole("alice", home_part_of(node.node.copies, "alice", node.now_ms))
    for node in both:
        assert node.append()
    town.resume()
    agreed(town, ["alice"])
    link = town.nodes[2].dial("alice/phone")
    town.advance(2_000)
    link.say(SetStatus(1, "dnd", "afterwards"))
    town.nodes[2].turn()
    town.advance(2_000)
    agreed(town, ["alice"])
    assert a.shown("alice").text == "afterwards"


def noted(said: list[object], add: Callable[..., None]) -> Callable[..., None]:
    def added(item: object, *rest: object, **more: object) -> None:
        said.append(item)
        add(item, *rest, **more)

    return added
