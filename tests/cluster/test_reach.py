"""What a node knows of its way to the engine, and what its log says of that."""

from __future__ import annotations

from presenced.backplane.errors import Unreachable, Unreplicated
from presenced.server.clustering.reach import Reach


def test_a_node_whose_changes_no_replica_takes_has_a_lease_and_says_what_is_missing() -> None:
    """The engine has executed what it was told."""
    reach = Reach(0, lambda is_away: None)
    reach.failed("write", 50_000, 51_000, Unreplicated("no replica has it"))
    assert reach.is_away and reach.lacks_replicas and reach.lease_left_ms(51_000, 10_000)
    reach.failed("write", 52_000, 53_000, Unreachable("down"))
    assert not reach.lacks_replicas and reach.heard_ms == 50_000
    reach.failed("write", 54_000, 55_000, Unreplicated("no replica has it"))
    reach.answered("write", 56_000)
    assert not reach.lacks_replicas
