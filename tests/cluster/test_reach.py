"""What a node knows of its way to the engine, and what its log says of that."""

from __future__ import annotations

import logging

import pytest

from presenced.backplane.errors import Refused, Unreachable, Unreplicated
from presenced.server.clustering.reach import TELL_MS, Reach


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "presenced")
    return caplog


def lines(told: pytest.LogCaptureFixture) -> list[str]:
    """What was logged since the last call."""
    found = [record.getMessage() for record in told.records]
    told.clear()
    return found


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


def test_a_new_reason_is_told_and_not_more_often_than_every_ten_seconds(told: pytest.LogCaptureFixture) -> None:
    reach = Reach(0, lambda is_away: None)
    reach.failed("write", 1_000, 1_100, Unreachable("it is not there"))
    reach.failed("read", 1_000, 1_200, Unreachable("it is not there"))
    assert lines(told) == ["the cluster's Redis is away: it is not there"]
    reach.failed("write", 5_000, 1_000 + TELL_MS, Unreachable("another answers"))
    assert lines(told) == []
    reach.failed("write", 5_000, 1_100 + TELL_MS, Unreachable("another answers"))
    assert lines(told) == ["the cluster's Redis is still away: another answers"]
    for at_ms in range(12_000, 90_000, 500):
        reach.failed("read", at_ms, at_ms, Unreachable("another answers"))
        reach.failed("write", at_ms, at_ms, Unreachable("another answers"))
    assert lines(told) == []
    for at_ms in range(90_000, 120_000, 500):
        reach.failed("write", at_ms, at_ms, Unreachable(f"it took {at_ms}"))
    assert len(lines(told)) == 3


def test_what_reading_and_writing_meet_is_told_once_each(told: pytest.LogCaptureFixture) -> None:
    reach = Reach(0, lambda is_away: None)
    for at_ms in range(1_000, 90_000, 500):
        reach.failed("read", at_ms, at_ms, Unreachable("it is loading"))
        reach.failed("write", at_ms, at_ms, Unreachable("it takes no writes"))
    assert [line.rpartition(": ")[2] for line in lines(told)] == ["it is loading", "it takes no writes"]


def test_a_refusal_is_told_at_once_and_once(told: pytest.LogCaptureFixture) -> None:
    reach = Reach(0, lambda is_away: None)
    reach.failed("write", 1_000, 1_100, Unreachable("it is not there"))
    for at_ms in range(2_000, 40_000, 500):
        reach.failed("write", at_ms, at_ms, Refused("replica", "it is a replica"))
    assert [line.rpartition(": ")[2] for line in lines(told)] == ["it is not there", "it is a replica"]


def test_what_reading_and_writing_are_refused_for_is_told_once_each(told: pytest.LogCaptureFixture) -> None:
    """A user who may do nothing any more lacks another right for each."""
    reach = Reach(0, lambda is_away: None)
    for at_ms in range(1_000, 90_000, 250):
        reach.failed("write", at_ms, at_ms, Refused("permission", "it may not write"))
        reach.failed("read", at_ms, at_ms, Refused("permission", "it may not read"))
    why = "the cluster's Redis refuses this node, which tries again until it does not: "
    assert lines(told)[1:] == [f"{why}it may not write", f"{why}it may not read"]
    reach.answered("write", 91_000)
    reach.answered("read", 91_000)
    reach.failed("write", 92_000, 92_000, Refused("permission", "it may not write"))
    assert f"{why}it may not write" in lines(told)


def test_an_engine_that_is_back_elsewhere_is_named(told: pytest.LogCaptureFixture) -> None:
    place = "10.0.0.1:6379"
    reach = Reach(0, lambda is_away: None)
    reach.find_place_by(lambda: place)
    reach.failed("read", 1_000, 1_100, Unreachable("gone"))
    place = "10.0.0.2:6379"
    reach.answered("read", 2_000)
    assert lines(told)[1:] == ["the cluster's Redis is back at 10.0.0.2:6379; it was at 10.0.0.1:6379"]
    reach.failed("read", 3_000, 3_100, Unreachable("gone"))
    reach.answered("read", 4_000)
    assert lines(told)[1:] == ["the cluster's Redis is back"]
