"""What a service says of devices at other nodes while the log is away: of each the last is told when it is back."""

from __future__ import annotations

import pytest

from presenced.core.model import CONNECTED
from presenced.core.parts.leases import EVER_MS
from presenced.wire.messages import Attach, Beats, Bye, Detach, Done, Ping, Taken
from tests.cluster.nodes import Cluster, Link, cluster, device

STEP_MS = 30_000


def stage(count: int = 3) -> tuple[Cluster, Link]:
    """A service on the second node that holds devices at the first, and the log is away."""
    nodes = cluster(ann=1)
    app = nodes.nodes[1].open("app", role="service")
    for ref in range(1, count + 1):
        app.say(Attach(ref, ref, "ann", f"web{ref}"))
    nodes.run()
    assert len(app.took(Done)) == count
    away(nodes, is_away=True)
    return nodes, app


def away(nodes: Cluster, *, is_away: bool) -> None:
    second = nodes.nodes[1]
    assert second.forwarding is not None
    second.forwarding.note_away(is_away, second.now_ms)


def inputs(nodes: Cluster) -> dict[str, int]:
    """When the home believes that devices were active last, before now."""
    first = nodes.nodes[0]
    return {one.id: first.now_ms - one.active_ms for one in first.engine.users["ann"].devices.values()}


def test_an_outage_costs_one_heartbeat_of_each_device_however_long_it_is() -> None:
    nodes, app = stage()
    second = nodes.nodes[1]
    for _ in range(100):
        nodes.stand(STEP_MS // 100)
        app.say(Beats([1, 1_000, 2, -1]), Beats([2, 5_000, 3, 7_000]), Beats([3, -1]))
    assert second.outgoing == [] and len(second.engine.users["ann"].devices) == 3
    nodes.stand(500)
    away(nodes, is_away=False)
    assert len(second.outgoing) == 1
    nodes.run()
    assert inputs(nodes) == {"web1": 1_500, "web2": 5_500, "web3": 7_500}
    assert {device(nodes.nodes[0], f"ann/web{ref}").heard_ms for ref in (1, 2, 3)} == {second.now_ms}
    # From here on they are told as they come.
    app.say(Beats([1, 10]))
    assert len(second.outgoing) == 1


def test_a_home_that_hears_nothing_of_a_device_while_the_log_is_away_keeps_its_lease() -> None:
    nodes, app = stage()
    first = nodes.nodes[0]
    first.engine.leases.be_patient(EVER_MS)
    for _ in range(20):
        nodes.stand(STEP_MS)
        app.say(Beats([1, 0, 2, 0, 3, 0]))
        first.turn()
    away(nodes, is_away=False)
    first.engine.leases.be_patient(first.now_ms + 5_000)
    nodes.run()
    nodes.advance(60_000)
    assert not app.took(Taken) and device(first, "ann/web1").state == CONNECTED
    app.say(Ping(9))
    nodes.advance(20_000)
    assert [taken.why for taken in app.took(Taken)] == ["lost"] * 3, "nothing is put off any longer"


def test_many_devices_are_told_in_several_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, app = stage(5)
    monkeypatch.setattr("presenced.cluster.links.device_beats.BEATS_MAX", 2)
    nodes.stand(100)
    app.say(Beats([part for ref in range(1, 6) for part in (ref, ref)]))
    away(nodes, is_away=False)
    assert len(nodes.nodes[1].outgoing) == 3
    nodes.run()
    assert list(inputs(nodes).values()) == [1, 2, 3, 4, 5] and not app.took(Taken)


@pytest.mark.parametrize("says_bye", [False, True])
def test_what_was_kept_is_told_before_the_end_of_the_link(says_bye: bool) -> None:
    nodes, app = stage()
    nodes.stand(STEP_MS)
    app.say(Beats([1, 1_000]))
    if says_bye:
        app.say(Bye())
    else:
        app.lose()
    nodes.run()
    assert inputs(nodes)["web1"] == 1_000 and device(nodes.nodes[0], "ann/web1").state != CONNECTED


@pytest.mark.parametrize(
    "change", [Attach(7, 1, "ann", "other"), Detach(7, 1), Detach(7, 0, user="ann", device="web1")]
)
def test_a_ref_that_stands_for_another_device_or_for_none_says_nothing_of_what_was_kept(
    change: Attach | Detach,
) -> None:
    nodes, app = stage()
    nodes.stand(STEP_MS)
    app.say(Beats([1, 1_000, 2, 2_000]), change)
    nodes.stand(STEP_MS)
    away(nodes, is_away=False)
    nodes.run()
    assert inputs(nodes)["web2"] == STEP_MS + 2_000
    assert inputs(nodes).get("other", 0) == 0 and not app.took(Taken)


def test_a_device_that_is_decided_here_by_then_hears_of_it_too() -> None:
    nodes, app = stage()
    first, second = nodes.nodes
    nodes.stand(STEP_MS)
    app.say(Beats([1, 1_000]))
    nodes.kill(first, lambda name: 2)
    nodes.run()
    assert device(second, "ann/web1").session is app.session
    away(nodes, is_away=False)
    nodes.run()
    assert second.now_ms - device(second, "ann/web1").active_ms == 1_000


def test_of_a_device_that_another_link_has_by_then_nothing_is_said() -> None:
    nodes, app = stage()
    nodes.stand(STEP_MS)
    app.say(Beats([1, 1_000]))
    nodes.nodes[0].open("ann/web1")
    nodes.run()
    away(nodes, is_away=False)
    assert nodes.nodes[1].outgoing == []
    nodes.run()
    assert [(taken.ref, taken.why) for taken in app.took(Taken)] == [(1, "replaced")]
