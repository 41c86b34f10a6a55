"""The log has lost its end, and with it events: whoever follows is told so (protocol.md, section 28.3)."""

from __future__ import annotations

import pytest

from presenced.wire.messages import Follow, Following
from tests.cluster.town import Town

SIGHTS = {"all": None, "some": {"see": ["alice"]}}


@pytest.mark.parametrize("sight", SIGHTS)
def test_a_follower_that_had_been_told_all_is_told_that_some_may_be_lost(sight: str) -> None:
    town = Town("a", "b")
    links = [node.open("app", role="service", rights=SIGHTS[sight]) for node in town.nodes]
    for link in links:
        link.expect(Follow(link.next_id(), 0, 0), Following)
    alice = town.nodes[0].come("alice/laptop")
    alice.set_status("dnd")
    before = [link.told.events[-1].new for link in links]
    town.engine.empty()
    town.advance(2_000, 500, alice)
    alice.set_status("away")
    assert before == ["dnd", "dnd"]
    for link in links:
        resets = [message for message in link.messages if isinstance(message, Following) and not message.id]
        assert [one.reset for one in resets] == [True]
        assert link.told.events[-1].new == "away"


def test_what_waits_for_a_disk_counts_for_no_event_of_the_numbers_that_came_since() -> None:
    [a] = (town := Town("a")).nodes
    app = a.open("app", role="service")
    app.expect(Follow(app.next_id(), 0, 0), Following)
    alice = a.come("alice/laptop")
    alice.set_status("dnd")
    events = a.engine.events
    seq = events.seq
    events.go_on_at(events.epoch + 1, seq - 1, a.now_ms)
    events.release(seq)
    events.check(())
    assert not events.is_behind, "it would be told a cursor in each turn"
