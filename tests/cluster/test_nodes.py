"""Who lives, who inherits and who decides pairs, as the log has it."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, strategies as st

from presenced.cluster.log import nodes as nodes_module
from presenced.cluster.log.homes import BUCKETS, Homes
from presenced.cluster.log.join_data import JoinData
from presenced.cluster.log.nodes import GONE_KEPT_MS, NOBODY, Member, Nodes, heir_of
from presenced.limits import VERSION_GAP

NAMES = [f"user{number}" for number in range(600)]


def join(nodes: Nodes, name: str, key: int, incarnation: int = 0, *, is_ready: bool = False, age: int = 0) -> Member:
    """A node joins, and the log names it by its key unless it is named otherwise."""
    member = nodes.join(name, incarnation or key, JoinData(key, age=age))
    if is_ready:
        nodes.note_ready(member)
    return member


def three() -> tuple[Nodes, list[Member]]:
    members = Nodes()
    return members, [join(members, name, number, is_ready=True) for number, name in enumerate("abc", 1)]


def test_a_home_that_goes_leaves_its_users_to_all_that_live_and_each_gets_a_share() -> None:
    members, (a, b, c) = three()
    homes = Homes()
    for name in NAMES:
        homes.set(name, a)
    members.leave(a, 0)
    shares = [sum(homes.of(name) is heir for name in NAMES) for heir in (b, c)]
    assert sum(shares) == len(NAMES)
    assert min(shares) > len(NAMES) // 3


def test_an_heir_that_goes_leaves_what_it_inherited_and_the_others_keep_theirs() -> None:
    members, (a, b, c) = three()
    homes = Homes()
    for name in NAMES:
        homes.set(name, a)
    members.leave(a, 0)
    kept = [name for name in NAMES if homes.of(name) is c]
    members.leave(b, 0)
    assert all(homes.of(name) is c for name in NAMES)
    assert kept, "the test says something"
    d = join(members, "d", 4, is_ready=True)
    assert all(homes.of(name) is c for name in NAMES), "who joins inherits nothing from before"
    members.leave(c, 0)
    assert all(homes.of(name) is d for name in NAMES)


def test_who_does_not_know_all_users_inherits_nothing() -> None:
    members, (a, b, c) = three()
    members.leave(c, 0)
    joining = join(members, "d", 4)
    homes = Homes()
    homes.set("alice", a)
    members.leave(a, 0)
    assert a.heirs == (b,)
    assert homes.of("alice") is b
    members.note_ready(joining)
    assert homes.of("alice") is b, "what was decided at an earlier position stays"


def test_without_anybody_who_inherits_a_user_has_no_home() -> None:
    members = Nodes()
    only = join(members, "a", 1, is_ready=True)
    homes = Homes()
    homes.set("alice", only)
    members.leave(only, 0)
    assert homes.of("alice") is NOBODY


def test_the_oldest_that_knows_all_users_decides_pairs() -> None:
    members = Nodes()
    assert members.registrar is NOBODY
    young = join(members, "young", 7)
    assert members.registrar is NOBODY
    a = join(members, "a", 9, is_ready=True)
    assert members.registrar is a
    members.note_ready(young)
    assert members.registrar.incarnation == 7
    members.leave(young, 0)
    assert members.registrar is a


def test_who_decides_pairs_is_the_same_after_the_log_has_begun_anew_and_whoever_founds_it_is_younger() -> None:
    members = Nodes()
    for key in (1, 2, 3):
        join(members, "abc"[key - 1], key, key, is_ready=True)
    # The log names them in another order, and a founder of its own past before them.
    join(members, "founder", 9, 1, is_ready=True)
    for key in (3, 2, 1):
        assert members.registrar.key == 1, key
        join(members, "abc"[key - 1], key, 5 - key)
    assert members.registrar.key == 1
    others = Nodes()
    join(others, "founder", 9, 1, is_ready=True)
    for key in (3, 2):
        join(others, "abc"[key - 1], key, 5 - key, is_ready=True, age=key)
    assert others.registrar.key == 9, "it has lived here before them"
    late = Nodes()
    for key in (3, 2):
        join(late, "abc"[key - 1], key, 5 - key, is_ready=True, age=key)
    join(late, "founder", 9, 1, is_ready=True)
    assert late.registrar.key == 2


def test_who_decides_pairs_is_the_same_while_the_log_has_lost_who_knows_all_users() -> None:
    members = Nodes()
    a, b, c = (join(members, name, key, is_ready=True) for key, name in enumerate("abc", 1))
    members.withdraw_ready([a, b, c])
    members.note_ready(c)
    assert members.registrar is a, "it has not come back yet, and decides once it has"
    members.leave(b, 0)
    assert b.heirs == (c,), "of the others some may not know that they may inherit"


def test_versions_after_a_death_are_above_all_that_the_dead_may_have_told() -> None:
    members, (a, *_) = three()
    members.note_version(1_000)
    members.note_version(700)
    assert members.newest == 1_000
    members.leave(a, 0)
    assert members.newest == 1_000 + VERSION_GAP


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6, unique=True), st.text(max_size=8))
def test_an_heir_is_the_same_whoever_asks_and_in_whatever_order_the_nodes_are(numbers: list[int], name: str) -> None:
    heirs = [Member(str(number), number, number) for number in numbers]
    chosen = heir_of(name, heirs)
    assert heir_of(name, heirs[::-1]) is chosen
    # Another one that goes changes nothing for this user: the heir of fewer is the same if it is among them.
    assert all(
        heir_of(name, [heir for heir in heirs if heir is not other]) is chosen
        for other in heirs[1:]
        if other is not chosen
    )


def test_the_table_counts_by_home_and_finds_what_one_that_went_has_left() -> None:
    members, (a, b, _) = three()
    homes = Homes()
    for name in NAMES:
        homes.set(name, a)
    homes.set("other", b)
    homes.set("other", b)
    assert (homes.counts[a], homes.counts[b], len(homes)) == (len(NAMES), 1, len(NAMES) + 1)
    members.leave(a, 0)
    left = [name for bucket in range(BUCKETS) for name in homes.left_by([a], bucket)]
    assert sorted(left) == sorted(NAMES)
    assert homes.as_filed("user0") is a
    homes.drop("other")
    homes.drop("other")
    assert (homes.of("other"), len(homes)) == (NOBODY, len(NAMES))


def test_a_node_that_is_gone_was_taken_for_dead_unless_it_left_or_came_back_at_once() -> None:
    members, _ = three()
    members.note_fence("a", 7, is_orderly=True)
    assert members.fences == 0
    members.note_fence("b", 8, is_orderly=False)
    members.note_next_life("b", 9)
    assert members.fences == 0
    members.note_fence("c", 10, is_orderly=False)
    members.note_next_life("c", 12)
    members.note_next_life("a", 11)
    assert members.fences == 1


def test_a_node_that_does_not_know_all_users_holds_back_what_is_known_of_all() -> None:
    nodes = Nodes()
    a, b = join(nodes, "a", 1), join(nodes, "b", 2)
    nodes.note_begun(a)
    nodes.note_floor(a, 30)
    nodes.note_floor(b, 20)
    assert nodes.floor == 0
    nodes.note_begun(b)
    nodes.note_floor(b, 20)
    nodes.note_floor(b, 10)
    assert nodes.floor == 20
    nodes.leave(b, 5)
    assert nodes.floor == 30


def test_of_a_node_that_ends_again_and_again_the_last_lives_are_known() -> None:
    nodes, homes = Nodes(), Homes()
    join(nodes, "a", 1, is_ready=True)
    step_ms = 10_000
    for life in range(2, 500):
        again = join(nodes, "b", life, is_ready=True)
        homes.set("alice", again)
        nodes.leave(again, life * step_ms)
        homes.set("alice", homes.of("alice"))
        nodes.forget(life * step_ms, homes.counts)
    assert nodes.get(2) is None and nodes.get(499) is not None
    assert sum(nodes.get(key) is not None for key in range(2, 500)) == GONE_KEPT_MS // step_ms
    assert all(nodes.has_lost(key) for key in range(2, 500)) and not nodes.has_lost(1) and not nodes.has_lost(500)


def test_who_has_gone_is_known_while_users_are_to_be_found_by_it() -> None:
    nodes, (a, b, c) = three()
    homes = Homes()
    homes.set_all(NAMES, a)
    for gone in (a, b, c):
        nodes.leave(gone, 0)
    nodes.forget(GONE_KEPT_MS, homes.counts)
    assert [nodes.get(key) for key in (1, 2, 3)] == [a, b, c], "the heirs of a home, and theirs"
    # As where nobody of them had come so far.
    nodes.note_founded()
    assert all(homes.of(name) is NOBODY for name in NAMES)
    nodes.forget(GONE_KEPT_MS, homes.counts)
    assert [nodes.get(key) for key in (1, 2, 3)] == [a, None, None]
    homes.set_all(NAMES, join(nodes, "d", 4, is_ready=True))
    nodes.forget(GONE_KEPT_MS, homes.counts)
    assert nodes.get(1) is None and nodes.has_lost(1)


def test_that_a_node_has_gone_is_known_of_the_last_of_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes_module, "FORGOTTEN_MAX", 3)
    nodes = Nodes()
    for key in range(1, 6):
        nodes.leave(join(nodes, "b", key), 0)
    nodes.forget(GONE_KEPT_MS, Counter())
    assert [key for key in range(1, 7) if nodes.has_lost(key)] == [3, 4, 5]
