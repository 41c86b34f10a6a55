"""What a node says of its links may wait for the engine for long: it is true of the moment at which it was said."""

from __future__ import annotations

import pytest

from presenced.cluster.links.beats import GATHER_MS
from presenced.core.parts.leases import EVER_MS
from presenced.wire.messages import Attach, Beats, Bye, Heartbeat, Presence, Watch
from tests.cluster.nodes import Cluster, Node, cluster, device

OUTAGE_MS = 60_000


def last_seen(nodes: Cluster) -> list[int]:
    """When the nodes say that Ann was seen last, once she is gone."""
    nodes.advance(40_000)
    shown = [node.engine.users["ann"].record for node in nodes.nodes]
    assert all(record.status == "offline" for record in shown)
    return [record.last_seen_ms for record in shown]


def wall_ms(node: Node) -> int:
    return node.engine.clock.wall_ms(node.now_ms)


def test_a_link_that_was_lost_while_the_log_was_away_was_seen_last_when_it_spoke_last() -> None:
    nodes = cluster(ann=1)
    link = nodes.nodes[1].open("ann/phone")
    nodes.run()
    nodes.advance(3_000)
    spoken_ms = wall_ms(nodes.nodes[1])
    link.say(Heartbeat(None))
    nodes.advance(2_000)
    link.lose()
    nodes.nodes[1].turn()
    nodes.stand(OUTAGE_MS)
    nodes.run()
    assert last_seen(nodes) == [spoken_ms, spoken_ms]


@pytest.mark.parametrize("says_bye", [False, True])
def test_devices_of_a_service_were_seen_last_before_it_was_lost(says_bye: bool) -> None:
    nodes = cluster(ann=1)
    app = nodes.nodes[1].open("app", role="service")
    app.say(Attach(1, 5, "ann", "web"))
    nodes.run()
    nodes.advance(3_000)
    spoken_ms = wall_ms(nodes.nodes[1])
    app.say(Beats([5, 0]))
    if says_bye:
        app.say(Bye())
    else:
        app.lose()
    nodes.nodes[1].turn()
    nodes.stand(OUTAGE_MS)
    nodes.run()
    assert last_seen(nodes) == [spoken_ms, spoken_ms]


def test_a_clock_that_is_a_little_ahead_changes_nothing() -> None:
    nodes = cluster(ann=1)
    link = nodes.nodes[1].open("ann/phone")
    nodes.run()
    first, second = nodes.nodes
    first.engine.clock.set(first.engine.clock.offset_ms + 500, first.now_ms)
    nodes.advance(3_000)
    spoken_ms = wall_ms(first)
    link.say(Heartbeat(None))
    nodes.advance(2_000)
    link.lose()
    nodes.run()
    assert last_seen(nodes) == [spoken_ms, spoken_ms]


def test_nobody_becomes_idle_at_a_home_that_hears_nothing_of_them() -> None:
    nodes = cluster(ann=1)
    first, second = nodes.nodes
    link, watcher = second.open("ann/phone", idle_ms=0), first.open("bob/desk")
    nodes.run()
    link.say(Heartbeat(0))
    watcher.say(Watch(1, ["ann"]))
    nodes.run()
    first.engine.leases.be_patient(EVER_MS)
    second.forwarding.note_away(True, second.now_ms)  # type: ignore[union-attr]
    for _ in range(15):
        nodes.stand(30_000)
        link.say(Heartbeat(1_000))
        watcher.say(Heartbeat(None))
        first.turn()
    first.engine.leases.be_patient(first.now_ms + 5_000)
    second.forwarding.note_away(False, second.now_ms)  # type: ignore[union-attr]
    nodes.run()
    assert not watcher.took(Presence), "she was active all the time"
    for _ in range(11):
        nodes.advance(30_000)
        link.say(Heartbeat(None))
        watcher.say(Heartbeat(None))
        nodes.run()
    assert [told.record.status for told in watcher.took(Presence)] == ["away"], "nothing is put off any longer"


def test_a_person_is_as_idle_as_a_hello_says_that_was_held_up() -> None:
    nodes = cluster(ann=1)
    first, second = nodes.nodes
    first.open("ann/desk")
    nodes.run()
    second.open("ann/phone", idle_ms=1_000)
    second.turn()
    nodes.stand(OUTAGE_MS)
    nodes.run()
    assert device(first, "ann/phone").active_ms == first.now_ms - OUTAGE_MS - 1_000


def test_a_person_is_as_idle_as_a_heartbeat_says_that_was_held_up() -> None:
    nodes = cluster(ann=1)
    first, second = nodes.nodes
    phone, app = second.open("ann/phone", idle_ms=0), second.open("app", role="service")
    app.say(Attach(1, 5, "ann", "web"))
    nodes.run()
    nodes.stand(GATHER_MS)
    phone.say(Heartbeat(1_000))
    app.say(Beats([5, 1_000]))
    second.forwarding.beats.flush(second.now_ms)  # type: ignore[union-attr]
    second.turn()
    nodes.stand(OUTAGE_MS)
    nodes.run()
    input_ms = first.now_ms - OUTAGE_MS - 1_000
    assert [device(first, f"ann/{one}").active_ms for one in ("phone", "web")] == [input_ms, input_ms]
    assert device(first, "ann/phone").heard_ms == first.now_ms - OUTAGE_MS
