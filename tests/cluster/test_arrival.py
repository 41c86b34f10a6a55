"""Nodes that come while others go: they serve only once they know all users."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from presenced.backplane.port import LEASE_MS
from presenced.cluster.log import homes, inheritance, lessons
from presenced.cluster.log.arrival import BROUGHT_AT_ONCE, MOVED_WAIT_MS
from presenced.cluster.log.entries import Happened, Parcel, decode_batch
from presenced.core.contacts.agreement import check_contacts
from presenced.core.policy import Policy
from presenced.core.positions import Life, carried, next_version
from presenced.core.roster import FROM, TO
from presenced.limits import RESTART_GRACE_MS, RESTART_SPREAD_MS, VERSION_GAP
from presenced.wire.messages import ContactEntry, Done, Follow, SetContacts, SetStatus
from tests.cluster.client import Client
from tests.cluster.town import Town, TownNode, agreed
from tests.cluster.town_disk import TownDisk


def test_who_joins_while_a_dead_node_is_still_believed_to_live_waits_for_its_heirs() -> None:
    a, b = (town := Town("a", "b")).nodes
    for number in range(20):
        b.come(f"user{number}/laptop")
    town.kill(b)
    d = town.add("d")
    assert not d.node.is_ready, "nobody has told it of b's users"
    town.advance(LEASE_MS + 3_000)
    assert d.node.is_ready
    assert all(d.node.home_of(f"user{number}") == a.node.me for number in range(20))
    assert all(d.shown(f"user{number}") == a.shown(f"user{number}") for number in range(20))


def test_an_end_that_was_made_before_a_death_was_read_is_none() -> None:
    a, b = (town := Town("a", "b")).nodes
    for number in range(20):
        b.come(f"user{number}/laptop")
    town.kill(b)
    town.pause()
    d = TownNode(town, "d")
    town.nodes.append(d)
    d.join()
    while a.read() or a.work():
        pass
    # All that a has to tell is made, and not appended: the death comes before it in the log.
    step_ms = 1_000
    for _ in range(LEASE_MS // step_ms + 3):
        town.now_ms += step_ms
        for node in (a, d):
            node.now_ms = town.now_ms
            node.renew()
    assert any(entry.kind == "gone" for entry, _, _ in town.engine.entries.values())
    town.resume()
    town.advance(2_000)
    assert d.node.is_ready
    assert all(d.node.home_of(f"user{number}") == a.node.me for number in range(20))


def test_no_parcel_has_more_than_a_turn_may_cost_however_many_users_are_in_a_bucket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (homes, inheritance, lessons):
        monkeypatch.setattr(module, "BUCKETS", 2)
    monkeypatch.setattr(lessons, "PARCEL_COST", 2 * lessons.AWAKE_COST)
    [a] = (town := Town("a")).nodes
    for number in range(9):
        a.come(f"user{number}/laptop").set_status("dnd", text=str(number))
    d = town.add("d")
    batches = [decode_batch(entry.data) for entry, _, _ in town.engine.entries.values() if entry.kind == "batch"]
    parcels = [item.number for batch in batches for item in batch.items if isinstance(item, Parcel)]
    assert len(parcels) == 6 and parcels[-1] == 0, "five of at most two users each, and the end"
    assert d.node.is_ready
    assert all(d.node.home_of(f"user{number}") == a.node.me for number in range(9))
    assert all(d.shown(f"user{number}") == a.shown(f"user{number}") for number in range(9))


def test_who_is_handed_over_while_another_joins_is_known_to_it() -> None:
    a, b = (town := Town("a", "b")).nodes
    for number in range(30):
        a.come(f"user{number}/laptop").lose()
    town.pause()
    d = TownNode(town, "d")
    town.nodes.append(d)
    d.join()
    for node in (a, b):
        while node.read():
            pass
    while b.work():
        pass
    for number in range(30):
        assert a.node.hand_over(f"user{number}", b.node.me)
    town.resume()
    assert d.node.is_ready
    assert all(d.node.home_of(f"user{number}") == b.node.me for number in range(30))
    assert all(d.shown(f"user{number}") == b.shown(f"user{number}") for number in range(30))


def test_users_of_one_that_goes_before_the_only_other_serves_are_taken_over_by_that_one() -> None:
    [a] = (town := Town("a")).nodes
    for name in ("alice", "bob"):
        a.come(f"{name}/laptop").set_status("dnd", text=name)
    town.pause()
    late = TownNode(town, "late")
    town.nodes.append(late)
    late.join()
    while any([a.read() or a.work() or a.append(), late.read() or late.work()]):
        pass
    assert late.node.batches.has_more and not late.node.is_ready, "it asks to serve, and has not said so"
    town.kill(a)
    for _ in range(LEASE_MS // 1_000 + 3):
        town.now_ms += 1_000
        late.now_ms = town.now_ms
        late.renew()
    while late.read():
        pass
    assert late.node.home_of("alice") == 0 and not late.node.is_ready, "nobody who serves was there to inherit"
    town.resume()
    assert late.node.is_ready
    assert all(late.node.own(name) for name in ("alice", "bob"))
    assert late.shown("alice").status == "dnd"
    town.advance(RESTART_GRACE_MS + RESTART_SPREAD_MS + 5_000)
    assert late.shown("alice").status == "offline" and late.shown("bob").text == "bob"


def test_who_alone_is_left_before_it_was_told_of_all_users_knows_both_sides_of_each_pair() -> None:
    a, b = (town := Town("a", "b")).nodes
    a.come("alice/laptop")
    b.come("bob/laptop")
    app = a.dial("app", role="service")
    app.say(SetContacts(app.next_id(), "alice", [ContactEntry("bob", "both")]))
    town.kill(b)
    d = town.add("d")
    assert d.node.home_of("alice") == a.node.me and not d.node.home_of("bob"), "b is still to tell of its users"
    town.kill(a)
    town.advance(LEASE_MS + 3_000)
    assert d.node.is_ready and d.node.own("alice") and d.node.own("bob")
    check_contacts(d.engine.users, d.engine.contacts.pairs)
    e = town.add("e")
    assert e.node.is_ready
    check_contacts(e.engine.users, e.engine.contacts.pairs)
    for node in town.nodes:
        bob = node.engine.users.get("bob")
        assert bob is not None and bob.contacts is not None and bob.contacts.flags("alice") == TO | FROM


@pytest.mark.parametrize("hears_all", [False, True], ids=["was not told all", "was told all"])
def test_what_one_of_two_that_arrive_was_told_alone_is_known_to_all_once_nobody_else_is_left(hears_all: bool) -> None:
    """The older of the two serves first, and does not know these users; the other has taken it for their heir."""
    [a] = (town := Town("a")).nodes
    names = [f"user{number}" for number in range(20)]
    for name in names:
        a.come(f"{name}/laptop").set_status("dnd", text=name)
    town.pause()
    older, later = TownNode(town, "older"), TownNode(town, "later")
    for node in (older, later):
        town.nodes.append(node)
        node.join()
    while a.read():
        pass
    lesson = next(lesson for member, lesson in a.reader._lessons._lessons.items() if member.name == "older")
    lesson.ahead_bytes = lessons.AHEAD_BYTES
    busy = (a, older, later) if hears_all else (a, later)
    while any([node.work() or node.append() or node.read() for node in busy]):
        pass
    assert later.node.home_of("user7") == a.node.me and not older.node.home_of("user7")
    assert not later.node.is_ready, "it was told by a, and would serve before the older one does"
    town.kill(a)
    for _ in range(LEASE_MS // 1_000 + 3):
        town.now_ms += 1_000
        for node in (older, later):
            node.now_ms = town.now_ms
            node.renew()
    town.resume()
    assert older.node.is_ready and later.node.is_ready
    agreed(town, names)
    assert all(older.shown(name).text == name for name in names)
    town.advance(RESTART_GRACE_MS + RESTART_SPREAD_MS + 5_000)
    agreed(town, names)
    assert {older.shown(name).status for name in names} == {"offline"}


def test_of_a_user_whom_a_home_has_left_to_nobody_the_first_to_ask_makes_records() -> None:
    a, b = (town := Town("a", "b")).nodes
    b.come("alice/laptop").set_status("away", text="old")
    b.node.homes.drop("alice")
    a.node.homes.drop("alice")
    link = a.come("alice/laptop")
    link.set_status("dnd", text="new")
    assert a.shown("alice") == b.shown("alice")
    assert (b.shown("alice").status, b.shown("alice").text) == ("dnd", "new")


def test_who_is_handed_over_once_all_have_told_all_is_nobody_of_the_own_disk_alone() -> None:
    """The parcel that tells of the user at the new home comes behind the end of both lessons."""
    a, b = (town := Town("a", "b")).nodes
    a.come("alice/laptop").lose()
    town.pause()
    late = TownNode(town, "late")
    late.open("alice/laptop").set_status("away", text="of its disk")
    late.now_ms = town.now_ms
    town.nodes.append(late)
    late.join()
    for node in (a, b):
        while node.read():
            pass
    while b.work():
        pass
    assert b.append(), "b has nobody to tell of"
    # Before a has come to her name.
    assert a.node.hand_over("alice", b.node.me)
    while a.work():
        pass
    assert a.append()
    while late.read() or late.work() or late.append():
        pass
    assert {node.node.home_of("alice") for node in (a, late)} == {b.node.me}
    town.resume()
    assert late.node.is_ready
    assert {node.node.home_of("alice") for node in town.nodes} == {b.node.me}
    assert len({node.shown("alice") for node in town.nodes}) == 1


def joined_behind_the_end_of(teacher: TownNode) -> TownNode:
    """A node that joins a town that is paused, of which all have read, and which this one has told all of its users."""
    town = teacher.town
    late = TownNode(town, "late")
    late.now_ms = town.now_ms
    others = list(town.nodes)
    town.nodes.append(late)
    late.join()
    for node in others:
        while node.read():
            pass
    while teacher.work() or teacher.append():
        pass
    return late


@pytest.mark.parametrize("dies", [False, True], ids=["tells", "dies before it tells"])
def test_a_node_serves_no_earlier_than_it_knows_both_sides_of_a_pair_of_which_one_was_handed_over(dies: bool) -> None:
    """What is handed over says nothing of contacts: the new home tells of them, or whoever takes its users over."""
    a, b = (town := Town("a", "b")).nodes
    a.come("alice/laptop").lose()
    b.come("bob/laptop").lose()
    app = a.dial("app", role="service")
    app.say(SetContacts(app.next_id(), "alice", [ContactEntry("bob", "to")]))
    town.pause()
    late = joined_behind_the_end_of(b)
    # Before a has come to her name.
    assert a.node.hand_over("alice", b.node.me)
    while a.work() or a.append():
        pass
    while late.read() or late.work() or late.append():
        pass
    assert not late.node.is_ready, "b is still to tell of her"
    if dies:
        town.kill(b)
    town.resume()
    town.advance(2 * LEASE_MS)
    assert late.node.is_ready
    for node in town.nodes:
        check_contacts(node.engine.users, node.engine.contacts.pairs)
        alice = node.engine.users.get("alice")
        assert alice is not None and alice.contacts is not None and "bob" in alice.contacts.contacts


def test_a_node_waits_no_longer_than_its_new_home_may_live_for_a_user_of_whom_nobody_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = (town := Town("a", "b")).nodes
    a.come("alice/laptop").lose()
    town.pause()
    late = joined_behind_the_end_of(b)
    assert a.node.hand_over("alice", b.node.me)
    monkeypatch.setattr(b.reader._lessons, "send_also", lambda name, now_ms: None)
    town.resume()
    assert not late.node.is_ready
    town.advance(MOVED_WAIT_MS + 1_000)
    assert late.node.is_ready and late.shown("alice") == a.shown("alice")


@pytest.mark.parametrize("sleeps", [False, True], ids=["awake", "asleep"])
def test_a_parcel_that_was_made_before_the_user_had_another_home_tells_nothing_of_the_user(sleeps: bool) -> None:
    town = Town("a", "b", policy=Policy(sleep_after_ms=1_000, grace_ms=1_000))
    a, b = town.nodes
    for name in ("alice", "bob"):
        a.come(f"{name}/laptop").lose()
    watcher = a.open("watcher/screen")
    if not sleeps:
        watcher.watch("alice", "bob")
    town.advance(60_000, 1_000, watcher)
    assert all((name in a.engine.users.dormants) is sleeps for name in ("alice", "bob"))
    town.pause()
    late = TownNode(town, "late", town.policy)
    town.nodes.append(late)
    late.join()
    for node in (a, b):
        while node.read() or node.work():
            pass
    assert b.append(), "b has told all that it has"
    # As where b has not heard that a is her home.
    b.node.homes.set("alice", b.node.mine)
    b.reader._disputes.append_whole("alice", b.now_ms)
    assert b.append()
    while a.append():
        pass
    town.resume()
    assert late.node.is_ready
    assert {node.node.home_of("alice") for node in town.nodes} == {b.node.me}
    assert {node.node.home_of("bob") for node in town.nodes} == {a.node.me}
    assert len({node.shown("alice") for node in town.nodes}) == 1


def test_a_node_that_knows_something_newer_offers_it_and_the_home_takes_it() -> None:
    """As after a power failure: the disk of the one that comes later has what the other's has not."""
    town = Town("a")
    [a] = town.nodes
    a.come("alice/laptop").set_status("away", text="old")
    late = TownNode(town, "late")
    link = late.open("alice/laptop")
    for _ in range(3):
        late.now_ms += 1_000
        link.set_status("dnd", text="newer")
        link.set_status("online", text="newest")
    only = late.open("carol/laptop")
    only.set_status("away", text="known here alone")
    late.engine.ledger.raise_version(10_000_000, late.now_ms)
    link.set_status("dnd", text="newest of all")
    town.now_ms = late.now_ms
    a.now_ms = late.now_ms
    town.add("late", late)
    assert [node.shown("alice").text for node in town.nodes] == ["newest of all"] * 2
    assert [node.shown("carol").text for node in town.nodes] == ["known here alone"] * 2
    assert {node.node.home_of("alice") for node in town.nodes} == {a.node.me}
    assert {node.node.home_of("carol") for node in town.nodes} == {late.node.me}


def test_what_a_node_that_was_killed_knows_of_others_users_has_the_versions_of_their_homes() -> None:
    """After a kill all records of a disk have versions that were never told, which are above those of all others."""
    town = Town("a")
    [a] = town.nodes
    late = TownNode(town, "late")
    for name in ("alice", "bob"):
        late.open(f"{name}/laptop").set_status("away", text="old")
    newest = late.engine.ledger.version
    life = Life(newest + VERSION_GAP, newest, newest)
    late.engine.positions._lives = [life]
    for name in ("alice", "bob"):
        user = late.engine.users.get(name)
        assert user is not None
        user.record = replace(user.record, version=carried(user.record.version, life))
    late.engine.ledger.raise_version(next_version(life), late.now_ms)
    town.now_ms = a.now_ms = late.now_ms = late.now_ms + 10
    a.come("alice/laptop").set_status("dnd", text="new")
    a.come("bob/laptop").set_status("away", text="old")
    town.add("late", late)
    assert all(a.shown(name) == late.shown(name) for name in ("alice", "bob"))
    assert a.shown("alice").text == "new"
    assert {node.node.home_of("alice") for node in town.nodes} == {a.node.me}


@pytest.mark.parametrize("text", ["old", "newer, perhaps"])
def test_a_version_that_has_lost_its_place_is_newer_only_if_it_says_something_else(text: str) -> None:
    """Whoever was not changed since a node died has no place in the versions of a disk after the next kill."""
    town = Town("a")
    [a] = town.nodes
    late = TownNode(town, "late")
    late.open("alice/laptop").set_status("away", text=text)
    link = a.come("alice/laptop")
    link.set_status("away", text="old")
    newest = late.engine.ledger.version + 3 * VERSION_GAP
    life = Life(newest + VERSION_GAP, newest, newest)
    late.engine.positions._lives = [life]
    user = late.engine.users.get("alice")
    assert user is not None
    user.record = replace(user.record, version=carried(user.record.version, life))
    late.engine.ledger.raise_version(next_version(life), late.now_ms)
    town.add("late", late)
    assert [node.shown("alice").text for node in town.nodes] == [text] * 2
    assert a.shown("alice") == late.shown("alice")
    # A home that takes what is offered loses the links of the user.
    assert link.open == (text == "old")


def begin_with_many(town: Town) -> tuple[TownNode, list[str]]:
    """A node joins whose disk alone knows more users than it says of in one go that it is their home, and has said so
    of the first. Nothing moves by itself any more. Returns whose home all nodes take it for, too."""
    [a] = town.nodes
    town.pause()
    late = TownNode(town, "late", town.policy, TownDisk())
    names = [f"user{number}" for number in range(BROUGHT_AT_ONCE + 50)]
    for name in names:
        late.open(f"{name}/laptop").set_status("away", text="old", for_ms=5_000)
    town.nodes.append(late)
    late.join()
    while not len(a.node.homes):
        assert any([a.append() or a.read() or a.work(), late.append() or late.read()])
    assert not late.node.is_ready and late.node.batches.added < len(names)
    return late, [name for name in names if a.node.home_of(name) == late.node.me]


def test_what_a_node_decides_for_others_while_its_disk_tells_of_more_users_all_nodes_know() -> None:
    late, names = begin_with_many(town := Town("a"))
    [a, _] = town.nodes
    shop = a.dial("shop", role="service")
    shop.say(SetStatus(request := shop.next_id(), "dnd", "new", user=names[0]))
    while not late.shown(names[0]).text == "new":
        assert any([a.append(), late.read()])
    assert not late.node.is_ready and not shop.replies_to(request), "it is not known to all"
    town.resume()
    assert late.node.is_ready and isinstance(shop.replies_to(request)[0], Done)
    assert [node.shown(names[0]).text for node in town.nodes] == ["new", "new"]


def test_what_ends_by_itself_while_its_disk_tells_of_more_users_ends_on_all_nodes() -> None:
    late, names = begin_with_many(town := Town("a"))
    [a, _] = town.nodes
    assert a.shown(names[0]).text == "old"
    for node in town.nodes:
        node.advance(6_000)
    town.now_ms = a.now_ms
    assert not late.node.is_ready and late.shown(names[0]).text == ""
    town.resume()
    assert late.node.is_ready
    assert all(node.shown(name).text == "" for node in town.nodes for name in names)


def test_of_users_whose_home_is_not_known_yet_a_node_that_joins_decides_nothing_for_others() -> None:
    [a] = (town := Town("a")).nodes
    a.come("alice/laptop").set_status("dnd", text="new")
    town.pause()
    late = TownNode(town, "late", town.policy, TownDisk())
    late.open("alice/laptop").set_status("away", text="of its disk", for_ms=5_000)
    late.open("app", role="service").done(SetContacts(1, "alice", [ContactEntry("bob", "both")]))
    town.nodes.append(late)
    late.join()
    late.advance(6_000)
    assert late.shown("alice").text == ""
    decided = [item for item in late.node.batches._waiting if not isinstance(item, Happened)]
    assert not decided


def killed_home_of_a_timed_status(town: Town) -> tuple[TownDisk, Client]:
    """A node is killed whose disk says that alice's status holds for half a minute. She goes to another node, and says
    something else there. Returns the disk and her link."""
    [a] = town.nodes
    b = town.add("b", TownNode(town, "b", town.policy, TownDisk()))
    b.come("alice/laptop").set_status("away", text="of its disk", for_ms=30_000)
    town.kill(b)
    assert b.store is not None
    disk = b.store.leave(town.now_ms, is_clean=False)
    town.advance(20_000)
    link = a.dial("alice/laptop")
    link.say(SetStatus(link.next_id(), "dnd", "new"))
    assert a.shown("alice").text == "new"
    return disk, link


@pytest.mark.parametrize("when", ["while it is down", "while it joins", "in a life that never serves"])
def test_what_ends_by_itself_of_a_disk_is_not_newer_than_what_the_home_has_made_of_the_user_since(when: str) -> None:
    [a] = (town := Town("a")).nodes
    a.dial("app", role="service").say(Follow(1, 0, 0))
    disk, link = killed_home_of_a_timed_status(town)
    events = a.engine.events.seq
    assert events
    if when == "while it is down":
        town.advance(15_000)
    again = TownNode(town, "b", town.policy, disk, "b again")
    if when != "while it is down":
        town.pause()
        town.nodes.append(again)
        again.join()
        for node in town.nodes:
            node.advance(15_000)
        town.now_ms = a.now_ms
        assert again.shown("alice").text == "" and not again.node.is_ready, "the end that its disk knows has come"
    if when == "in a life that never serves":
        town.kill(again)
        assert again.store is not None
        disk = again.store.leave(town.now_ms, is_clean=False)
        town.resume()
        town.advance(LEASE_MS + 3_000)
        again = TownNode(town, "b", town.policy, disk, "b once more")
    if again not in town.nodes:
        town.add("b", again)
    town.resume()
    assert again.node.is_ready
    assert [node.shown("alice").text for node in town.nodes] == ["new", "new"]
    assert link.is_open
    assert a.engine.events.seq == events, "nothing has happened to her"


def test_what_a_disk_knows_newer_is_offered_though_some_of_it_has_ended_by_itself_since() -> None:
    [a] = (town := Town("a")).nodes
    a.come("alice/laptop").set_status("away", text="old")
    late = TownNode(town, "late")
    link = late.open("alice/laptop")
    link.set_status("online", text="newer")
    late.engine.ledger.raise_version(10_000_000, late.now_ms)
    link.set_status("online", text="newest")
    late.open("app", role="service").claim("alice", "call", "call", "dnd", 5_000)
    late.engine.publisher.said.tell()
    late.advance(6_000)
    a.advance(6_000)
    town.now_ms = a.now_ms = late.now_ms
    town.add("late", late)
    assert [(node.shown("alice").text, node.shown("alice").status) for node in town.nodes] == [("newest", "online")] * 2


def test_who_is_offered_to_a_home_that_knows_nothing_of_them_is_waited_for_there_like_anybody() -> None:
    [a] = (town := Town("a")).nodes
    a.node.bids.bid(["fay"], lambda now_ms: None)
    town.settle()
    assert a.node.own("fay") and a.engine.users.get("fay") is None
    late = TownNode(town, "late")
    late.open("fay/phone")
    late.now_ms = town.now_ms
    town.add("late", late)
    assert a.node.own("fay") and a.shown("fay").status == "online"
    town.advance(RESTART_GRACE_MS + RESTART_SPREAD_MS + 5_000)
    assert [node.shown("fay").status for node in town.nodes] == ["offline", "offline"]
