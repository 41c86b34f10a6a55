"""All nodes have ended, the log is gone, and they start one after the other with what their disks know."""

from __future__ import annotations

import pytest

from presenced.wire.messages import SetStatus
from tests.cluster.town import Town, TownNode
from tests.cluster.town_disk import TownDisk


def end(town: Town, node: TownNode, *, is_clean: bool) -> TownDisk:
    """The node's disk, once it has ended."""
    (town.leave if is_clean else town.kill)(node)
    assert node.store is not None
    return node.store.leave(node.now_ms, is_clean=is_clean)


@pytest.mark.parametrize("is_clean", [True, False])
@pytest.mark.parametrize("order", ["abc", "acb", "bac", "bca", "cab", "cba"])
def test_nothing_is_lost_whichever_node_starts_first(order: str, is_clean: bool) -> None:
    """The disks of the three know the user as at three moments, and of others the last one knows the newest as well."""
    town = Town()
    a, b, c = (town.add(name, TownNode(town, name, disk=TownDisk())) for name in "abc")
    link, other = c.dial("alice/laptop"), c.dial("bob/laptop")
    link.say(SetStatus(1, "away", "first"))
    other.say(SetStatus(1, "away", "first"))
    town.advance(1_000)
    disks = {"a": end(town, a, is_clean=is_clean)}
    link.say(SetStatus(2, "dnd", "second"))
    town.advance(1_000)
    disks["b"] = end(town, b, is_clean=is_clean)
    link.say(SetStatus(3, "xa", "third"))
    town.settle()
    disks["c"] = end(town, c, is_clean=False)
    town.engine.empty()
    town.now_ms += 2_000
    for name in order:
        town.add(name, TownNode(town, name, disk=disks[name], key=f"{name} again"))
        town.advance(500)
    assert {(node.shown("alice").status, node.shown("alice").text) for node in town.nodes} == {("xa", "third")}
    assert {node.shown("bob").text for node in town.nodes} == {"first"}


def test_a_newer_record_of_one_that_starts_later_is_taken_over() -> None:
    town = Town()
    a, b = (town.add(name, TownNode(town, name, disk=TownDisk())) for name in "ab")
    link = b.dial("alice/laptop")
    link.say(SetStatus(1, "away", "first"))
    town.advance(1_000)
    disk = end(town, a, is_clean=False)
    link.say(SetStatus(2, "dnd", "second"))
    town.settle()
    newest = end(town, b, is_clean=False)
    town.engine.empty()
    town.now_ms += 2_000
    town.add("a", TownNode(town, "a", disk=disk, key="a again"))
    town.advance(500)
    town.add("b", TownNode(town, "b", disk=newest, key="b again"))
    town.advance(500)
    assert {node.shown("alice").text for node in town.nodes} == {"second"}
