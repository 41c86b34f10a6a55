"""Real daemons behind a real engine: what a lost link had, whose node lives, is killed or stands still."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from presenced.wire.messages import Watch
from tests.cluster.daemons import Cluster, pushed, set_status, shown, wait_for
from tests.support.daemon import Daemon
from tests.support.until import until
from tests.support.wire import RECORDS, WELCOME, Wire, opened

pytestmark = pytest.mark.slow

RESUME, RESUMED = 17, 19
"""Places in a welcome."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(tmp_path, stack)


def come(daemon: Daemon, resume: str) -> tuple[Wire, str, bool]:
    """A link of alice's laptop, its token, and whether what the lost link had is back."""
    link = opened(daemon.port, "alice", "laptop", resume=resume, instance=7)
    [welcome] = [frame for frame in link.told if frame[0] == WELCOME]
    return link, welcome[RESUME], welcome[RESUMED]


def lost(daemon: Daemon) -> str:
    """A link that watched bob is lost; its token."""
    link, token, _ = come(daemon, "")
    link.send(Watch(5, ["bob"]))
    link.until(RECORDS)
    link.close()
    return token


def test_a_lost_link_is_taken_back_from_node_to_node(cluster: Cluster) -> None:
    one, two, three = (cluster.start(name) for name in ("one", "two", "three"))
    bob = opened(three.port, "bob")
    token = lost(one)
    for number, node in enumerate((two, three, one, two), 10):
        link, token, resumed = come(node, token)
        assert resumed
        set_status(bob, number, "dnd", f"text {number}")
        wait_for(link, ["dnd", f"text {number}"])
        link.close()


def test_what_a_killed_node_kept_is_said_again(cluster: Cluster) -> None:
    one, two = cluster.start("one"), cluster.start("two")
    bob = opened(two.port, "bob")
    token = lost(one)
    one.kill()
    link, token, resumed = come(two, token)
    assert not resumed
    link.send(Watch(6, ["bob"]))
    assert link.until(RECORDS)[1] == 6
    set_status(bob, 7, "dnd", "seen")
    wait_for(link, ["dnd", "seen"])
    link.close()
    link, _, resumed = come(two, token)
    assert resumed, "on the node that lives all is as ever"


def test_a_node_that_stands_still_is_not_waited_for_long_and_its_answer_comes_to_nothing(cluster: Cluster) -> None:
    one, two = cluster.start("one"), cluster.start("two")
    bob = opened(two.port, "bob")
    token = lost(one)
    one.signal(signal.SIGSTOP)
    try:
        link, again, resumed = come(two, token)
    finally:
        one.signal(signal.SIGCONT)
    assert not resumed
    near = opened(one.port, "near")
    set_status(bob, 7, "dnd", "behind the question")
    until(lambda: shown(near, "bob")[2] == "behind the question", "the node has read what it was asked")
    set_status(near, 8, "dnd", "behind the answer")
    until(lambda: shown(bob, "near")[2] == "behind the answer", "the answer has come")
    set_status(bob, 9, "away", "of no interest")
    assert shown(link, "bob")[2] == "of no interest" and pushed(link, "bob") == [], "nobody is watched"
    other, _, resumed = come(one, token)
    assert not resumed, "it was given once, and nobody has it"
    other.close()
    link.close()
    assert again != token
