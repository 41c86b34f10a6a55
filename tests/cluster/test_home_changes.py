"""What a node remembers of users who have changed their home of late."""

from __future__ import annotations

from presenced.cluster.log.home_changes import HomeChanges


def test_what_changed_behind_a_position_has_changed_since() -> None:
    changes = HomeChanges()
    changes.note(["alice", "bob"], 5)
    changes.note(["alice"], 8)
    assert [changes.since("alice", position) for position in (4, 7, 8)] == [True, True, False]
    assert [changes.since("bob", position) for position in (4, 5)] == [True, False]
    assert not changes.since("carol", 0)


def test_what_this_node_has_said_counts_before_the_log_says_it() -> None:
    changes = HomeChanges()
    changes.note_said("alice")
    changes.note_said("alice")
    assert changes.is_said("alice") and changes.since("alice", 1_000)
    changes.note_read_back("alice", 7)
    assert changes.is_said("alice")
    changes.note_read_back("alice", 9)
    assert not changes.is_said("alice")
    assert [changes.since("alice", position) for position in (8, 9)] == [True, False]


def test_it_forgets_what_nobody_speaks_of_any_more() -> None:
    changes = HomeChanges()
    for position, name in enumerate(("alice", "bob", "alice", "carol"), start=1):
        changes.note([name], position)
    changes.forget(3)
    assert [changes.since(name, 0) for name in ("alice", "bob", "carol")] == [False, False, True]


def test_what_a_log_has_lost_has_changed_since_then() -> None:
    changes = HomeChanges()
    for position, name in enumerate(("alice", "bob", "carol"), start=5):
        changes.note([name], position)
    changes.rewind(5)
    assert not changes.since("alice", 5)
    assert all(changes.since(name, 5) and not changes.since(name, 6) for name in ("bob", "carol"))
    changes.note(["carol"], 9)
    changes.forget(6)
    assert not changes.since("bob", 0) and changes.since("carol", 8)
