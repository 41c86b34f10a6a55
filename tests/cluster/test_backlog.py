"""Users who change while the engine is away for so long that too much would wait."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from presenced.cluster.log import backlog
from presenced.core.policy import Policy
from presenced.wire.messages import Done, Erase, SetStatus
from tests.cluster.town import Town, TownNode, agreed

MOST = 2_000


@pytest.fixture
def town(monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    monkeypatch.setattr(backlog, "BACKLOG_BYTES", MOST)
    monkeypatch.setattr(backlog, "WAITING_BYTES", MOST // 4)
    yield Town("a", "b", policy=Policy(change_spacing_ms=0))


def change_often(node: TownNode, *names: str) -> None:
    """A device of each comes and goes, again and again, while the engine is away for long: nobody is promised that
    anything of it is kept."""
    node.cluster_log._is_busy = lambda: node.town.engine.is_down
    for _ in range(100):
        for name in names:
            node.open(f"{name}/phone", kind="phone").bye()
        node.turn()
        assert node.node.batches.bytes < 2 * MOST, "it holds each change"
    assert node.node.backlog.is_full and node.node.is_full
    # As an engine that has just been heard of again, and takes nothing yet.
    node.cluster_log._is_busy = lambda: False
    node.turn()


def test_what_changes_in_a_long_outage_is_told_as_it_is_in_the_end(town: Town) -> None:
    a, b = town.nodes
    alice, bob, watcher = a.come("alice/laptop"), a.come("bob/laptop"), b.come("watcher/laptop")
    watcher.watch("alice", "bob")
    watcher.forget()
    town.engine.is_down = True
    change_often(a, "alice", "bob")
    bob.bye()
    a.turn()
    assert a.shown("bob").status == "offline" and watcher.statuses("alice") == watcher.statuses("bob") == []
    town.engine.is_down = False
    town.settle()
    agreed(town, ["alice", "bob"])
    assert watcher.statuses("bob") == ["offline"], "nothing of what was meanwhile"
    alice.bye()
    a.turn()
    agreed(town, ["alice", "bob"])
    assert b.shown("alice").status == "offline" and not a.node.backlog.is_full and not a.node.is_full


def test_what_is_promised_of_somebody_who_was_put_off_is_told_with_all_that_was(town: Town) -> None:
    a, b = town.nodes
    alice = a.come("alice/laptop")
    town.engine.is_down = True
    change_often(a, "alice")
    alice.forget()
    alice.say(SetStatus(alice.next_id(), "dnd", "promised"))
    a.turn()
    assert not any(isinstance(message, Done) for message in alice.messages)
    town.engine.is_down = False
    town.settle()
    a.turn()
    assert any(isinstance(message, Done) for message in alice.messages)
    agreed(town, ["alice"])
    assert b.shown("alice").text == "promised"


def test_who_was_put_off_and_is_erased_stays_erased(town: Town) -> None:
    a, b = town.nodes
    a.come("alice/laptop")
    app = a.dial("root", role="admin")
    town.engine.is_down = True
    change_often(a, "alice")
    app.say(Erase(app.next_id(), "alice"))
    a.turn()
    town.engine.is_down = False
    town.settle()
    assert [node.shown("alice").version for node in town.nodes] == [0, 0]
    assert {node.node.home_of("alice") for node in town.nodes} == {a.node.me}, "who was erased is kept in mind there"
