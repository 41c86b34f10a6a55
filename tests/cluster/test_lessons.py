"""What a node that has joined is told: whole shelves of those who sleep, never far ahead of what it takes, and all."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from presenced.cluster.log import arrival, inheritance, lessons
from presenced.cluster.log.arrival import Arrival
from presenced.cluster.log.entries import Parcel, decode_batch, decode_parcel
from presenced.cluster.log.homes import Homes
from presenced.cluster.log.nodes import NOBODY, Member
from presenced.core.dormants import Dormants
from presenced.core.policy import Policy
from presenced.wire.messages import SetStatus
from tests.cluster.town import Town, TownNode

SLEEPY = Policy(sleep_after_ms=60_000)


def sleepers(node: TownNode, count: int, *, first: int = 0) -> list[str]:
    """So many users who sleep at this node, each with a text of their own."""
    names = [f"user{number:04}" for number in range(first, first + count)]
    for name in names:
        link = node.come(f"{name}/tab") if hasattr(node, "node") else node.open(f"{name}/tab")
        link.set_status("auto", text=f"text of {name}")
        link.bye()
    fall_asleep(node)
    assert all(name in node.engine.users.dormants for name in names)
    return names


def fall_asleep(node: TownNode) -> None:
    """Whoever can sleep does."""
    for user in list(node.engine.users.order):
        node.engine.sleep.put_to_sleep(user, node.now_ms + SLEEPY.sleep_after_ms)


def stored(town: Town) -> int:
    """Parcels that lie beside the log."""
    return len(town.engine.parcels)


def parcels_in(town: Town) -> list[int]:
    batches = [decode_batch(entry.data) for entry, _, _ in town.engine.entries.values() if entry.kind == "batch"]
    return [item.number for batch in batches for item in batch.items if isinstance(item, Parcel)]


def joining(town: Town, name: str, node: TownNode | None = None) -> TownNode:
    """A node that has joined, and has read nothing so far."""
    town.pause()
    node = node or TownNode(town, name, town.policy)
    town.nodes.append(node)
    node.join()
    return node


def go_on(node: TownNode) -> None:
    """All that this node has to do now."""
    while node.append() or node.read() or node.work():
        pass


def test_who_sleeps_is_told_by_the_shelf_and_sleeps_on_at_both() -> None:
    [a] = (town := Town("a", policy=SLEEPY)).nodes
    names = sleepers(a, 200)
    awake = a.come("ann/tab")
    d = joining(town, "d")
    go_on(a)
    [content] = [decode_parcel(data) for data, _ in town.engine.parcels.values()]
    assert [name for name, _ in content.users] == ["ann"] and len(content.asleep) == a.engine.users.dormants.shelves
    town.resume()
    assert d.node.is_ready and awake.open
    for node in (a, d):
        assert len(node.engine.users.dormants) == len(names), "nobody was woken"
    assert {d.node.home_of(name) for name in (*names, "ann")} == {a.node.me}
    assert dict(a.engine.users.dormants.items()) == dict(d.engine.users.dormants.items())
    assert all(a.shown(name) == d.shown(name) and a.shown(name).text == f"text of {name}" for name in names)


def test_of_a_shelf_only_those_are_told_whose_home_the_teller_is() -> None:
    a, b = (town := Town("a", "b", policy=SLEEPY)).nodes
    of_a, of_b = sleepers(a, 100), sleepers(b, 100, first=500)
    fall_asleep(a)
    fall_asleep(b)
    d = town.add("d")
    assert all(d.node.home_of(name) == a.node.me for name in of_a)
    assert all(d.node.home_of(name) == b.node.me for name in of_b)
    assert len(d.engine.users.dormants) == 200 and sorted(d.node.homes.counts.values()) == [100, 100]
    assert d.node.disk_debts.take_all(), "no fact says so on the own disk"


def test_a_node_is_sent_no_more_than_a_little_ahead_of_what_it_has_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons, "PARCEL_COST", lessons.AWAKE_COST)
    monkeypatch.setattr(lessons, "AHEAD_PARCELS", 4)
    [a] = (town := Town("a")).nodes
    for number in range(30):
        a.come(f"user{number}/tab")
    d = joining(town, "d")
    go_on(a)
    assert stored(town) == 4 and not a.reader.slices.has_work, "nothing was taken"
    most = 0
    for _ in range(1_000):
        go_on(d)
        go_on(a)
        most = max(most, stored(town))
        if d.node.is_ready:
            break
    assert d.node.is_ready and most <= 5, "the last that was taken lies there still"
    town.resume()
    assert all(a.shown(f"user{number}") == d.shown(f"user{number}") for number in range(30))


def test_bytes_bound_what_is_sent_ahead_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons, "PARCEL_COST", lessons.AWAKE_COST)
    monkeypatch.setattr(lessons, "AHEAD_BYTES", 1)
    [a] = (town := Town("a")).nodes
    for number in range(5):
        a.come(f"user{number}/tab")
    joining(town, "d")
    go_on(a)
    assert stored(town) == 1


def test_a_node_that_takes_nothing_keeps_no_other_from_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons, "PARCEL_COST", lessons.AWAKE_COST)
    monkeypatch.setattr(lessons, "AHEAD_PARCELS", 2)
    [a] = (town := Town("a")).nodes
    for number in range(20):
        a.come(f"user{number}/tab")
    slow = joining(town, "slow")
    go_on(a)
    town.pause(slow)
    d = TownNode(town, "d")
    town.nodes.append(d)
    d.join()
    # `d` waits for `slow` as well, which is older; but all that `a` has to say gets there.
    for _ in range(200):
        go_on(a)
        go_on(d)
    assert len(d.node.homes) == 20 and not d.node.is_ready
    assert sum(joiner == slow.node.me for joiner, _ in town.engine.parcels) == 2
    town.resume()
    assert slow.node.is_ready and d.node.is_ready


@pytest.mark.parametrize("told", [0, 3])
def test_who_wakes_or_changes_while_shelves_are_told_is_told_as_they_are(
    told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lessons, "PARCEL_COST", lessons.SHELF_COST)
    [a] = (town := Town("a", policy=SLEEPY)).nodes
    names = sleepers(a, 200)
    d = joining(town, "d")
    while a.read():
        pass
    for _ in range(told):
        assert a.work()
    for name in names[::7]:
        link = a.open(f"{name}/tab")
        link.say(SetStatus(link.next_id(), "dnd", "woken"))
        a.turn()
    for name in names[1::7]:
        assert a.engine.users.get(name) is not None, "somebody only looks"
    town.resume()
    assert d.node.is_ready
    assert all(a.shown(name) == d.shown(name) for name in names)
    assert d.shown(names[0]).text == "woken"
    assert {d.node.home_of(name) for name in names} == {a.node.me}


def test_nobody_falls_asleep_while_others_are_told_and_all_may_again_behind_that() -> None:
    [a] = (town := Town("a", policy=SLEEPY)).nodes
    a.come("ann/tab").bye()
    d = joining(town, "d")
    while a.read():
        pass
    assert a.engine.sleep.is_held and d.engine.sleep.is_held
    town.resume()
    assert d.node.is_ready and not a.engine.sleep.is_held and not d.engine.sleep.is_held
    joining(town, "e")
    while a.read():
        pass
    assert a.engine.sleep.is_held
    town.nodes.pop()
    town.resume()
    town.advance(15_000)
    assert not a.engine.sleep.is_held, "whoever was to be told is gone"


def test_of_users_of_whom_the_own_disk_says_the_same_nobody_wakes() -> None:
    [a] = (town := Town("a", policy=SLEEPY)).nodes
    names = sleepers(a, 150)
    late = TownNode(town, "late", SLEEPY)
    late.engine.users.dormants.put_all(a.engine.users.dormants.items())
    late.engine.ledger.raise_version(a.engine.ledger.version, late.now_ms)
    a.open(f"{names[3]}/tab").set_status("dnd", text="changed meanwhile")
    link = a.open(f"{names[5]}/tab")
    link.set_status("auto", text="changed, and away again")
    link.bye()
    fall_asleep(a)
    assert names[5] in a.engine.users.dormants
    town.add("late", late)
    assert late.node.is_ready
    assert len(late.engine.users.dormants) >= len(names) - 2
    assert {late.node.home_of(name) for name in names} == {a.node.me}
    assert all(a.shown(name) == late.shown(name) for name in names)


@pytest.mark.parametrize("shelves", [1, 5, 40])
def test_a_shelf_finds_its_place_in_a_table_of_another_size(shelves: int) -> None:
    [a] = (town := Town("a", policy=SLEEPY)).nodes
    names = sleepers(a, 300)
    late = TownNode(town, "late", SLEEPY)
    late.engine.users.dormants = Dormants(per_shelf=-(-60 // shelves))
    late.engine.users.dormants.put_all([one for one in a.engine.users.dormants.items() if one[0] < "user0060"])
    known = late.engine.users.dormants.take("user0007")
    assert known is not None
    late.engine.ledger.raise_version(a.engine.ledger.version, late.now_ms)
    town.add("late", late)
    assert late.node.is_ready
    assert dict(late.engine.users.dormants.items()) == dict(a.engine.users.dormants.items())
    assert len(late.engine.users.dormants) == len(names), "nobody twice"
    assert {late.node.home_of(name) for name in names} == {a.node.me}


def test_a_disk_that_knows_a_sleeper_better_offers_what_it_knows_once_its_node_serves() -> None:
    [a] = (town := Town("a", policy=SLEEPY)).nodes
    [name] = sleepers(a, 1)
    late = TownNode(town, "late", SLEEPY)
    late.engine.ledger.raise_version(a.engine.ledger.version + 10, late.now_ms)
    late.set_clock(late.wall_ms + 60_000)
    late.open(f"{name}/tab").set_status("dnd", text="newer")
    town.add("late", late)
    assert a.shown(name) == late.shown(name) and a.shown(name).text == "newer"


def test_a_node_finds_out_whom_it_knows_in_slices_and_tells_nobody_before_that_this_was_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrival, "FOUND_AT_ONCE", 10)
    town = Town(policy=SLEEPY)
    first = TownNode(town, "first", SLEEPY)
    names = sleepers(first, 90)
    names += [f"{number}/tab".partition("/")[0] for number in range(20) if first.open(f"{number}/tab")]
    joining(town, "first", first)
    assert first.reader.slices.has_work and not first.node.is_ready and len(first.node.homes) < 60
    second = joining(town, "second")
    while first.read() or first.append():
        pass
    go_on(second)
    assert not second.node.is_ready
    turns = 0
    while not first.node.is_ready and first.work():
        turns += 1
        while first.append() or first.read():
            pass
    assert turns > 2
    town.resume()
    assert second.node.is_ready
    assert {second.node.home_of(name) for name in names} == {first.node.me}
    assert all(first.shown(name) == second.shown(name) for name in names)


def test_what_a_disk_alone_knows_is_brought_in_slices_and_no_faster_than_it_is_appended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrival, "FOUND_AT_ONCE", 10)
    monkeypatch.setattr(arrival, "BROUGHT_AT_ONCE", 1)
    monkeypatch.setattr(arrival, "WAITING_BYTES", 4_000)
    [a] = (town := Town("a", policy=SLEEPY)).nodes
    late = TownNode(town, "late", SLEEPY)
    names = sleepers(late, 300)
    joining(town, "late", late)
    go_on(a)
    while late.read() or late.work():
        pass
    assert not late.reader.slices.has_work and 0 < len(late.node.homes) < 300, "what waits is to be appended first"
    town.resume()
    assert late.node.is_ready
    assert {a.node.home_of(name) for name in names} == {late.node.me}
    assert all(a.shown(name) == late.shown(name) for name in names)


def test_who_goes_and_leaves_nobody_costs_no_look_at_all_users(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (town := Town("a", "b")).nodes
    for number in range(50):
        a.come(f"user{number}/tab")
    looked: list[int] = []
    left_by = Homes.left_by
    monkeypatch.setattr(
        Homes, "left_by", lambda homes, gone, bucket: looked.append(bucket) or left_by(homes, gone, bucket)
    )
    town.leave(b)
    assert not a.node.inheritance.has_work and not looked


def test_a_turn_that_looks_for_those_who_were_left_looks_at_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inheritance, "LOOKS", 10)
    a, b = (town := Town("a", "b")).nodes
    for number in range(100):
        a.come(f"user{number}/tab")
    b.come("bob/tab").lose()
    town.pause(a, b)
    town.engine.kept.nodes["b"].last_ms -= 60_000
    a.renew()
    while a.read():
        pass
    looked: list[int] = []
    left_by = Homes.left_by

    def counted(homes: Homes, gone: Iterable[Member], bucket: int) -> list[str]:
        looked.append(homes.size_of(bucket))
        return left_by(homes, gone, bucket)

    monkeypatch.setattr(Homes, "left_by", counted)
    while a.node.inheritance.has_work:
        looked.clear()
        assert a.work()
        # The last bucket that is looked at may have more than was left, and a hundred users are in 4,096 buckets.
        assert sum(looked) - looked[-1] < 10 if looked else True
    assert a.node.home_of("bob") == a.node.me


def test_homes_are_set_in_bulk_as_one_by_one() -> None:
    one, other = Member("one", 1, 1), Member("other", 2, 2)
    gone = Member("gone", 3, 3)
    bulk, single = Homes(), Homes()
    names = [f"user{number}" for number in range(100)]
    for homes in (bulk, single):
        homes.set("user3", other)
        homes.set("user4", gone)
    gone.heirs = (one,)
    assert bulk.that_are(names[:6], one) == [False] * 4 + [True, False]
    bulk.set_all(names, one)
    for name in names:
        single.set(name, one)
    assert bulk.counts == single.counts == {one: 100}
    assert all(bulk.of(name) is one for name in names)
    assert bulk.unfiled([*names, "nobody"]) == ["nobody"] and bulk.of("nobody") is NOBODY


def test_what_was_taken_is_not_stored_again_when_the_log_loses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons, "PARCEL_COST", lessons.AWAKE_COST)
    [a] = (town := Town("a")).nodes
    for number in range(6):
        a.come(f"user{number}/tab")
    d = joining(town, "d")
    go_on(a)
    assert stored(town) == 6
    assert sum(len(closed.stored) for closed in a.node.batches._storing) == 6
    go_on(d)
    go_on(a)
    assert not a.node.batches._storing, "neither it nor its bytes are kept for a minute"
    town.resume()
    assert d.node.is_ready


def test_an_arrival_counts_what_it_looks_at_and_asks_once() -> None:
    [a] = Town("a").nodes
    reader_arrival = a.reader._arrival
    assert isinstance(reader_arrival, Arrival) and not reader_arrival.has_work
    added = a.node.batches.added
    reader_arrival.go_on(a.now_ms)
    assert a.node.batches.added == added
