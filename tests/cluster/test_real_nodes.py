"""Real daemons behind a real engine: what is seen when one is killed, stops, is paused, or the engine fails."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from presenced.backplane.library import keys_of
from presenced.wire.messages import Check, SetStatus, Watch, WatchAll
from tests.cluster.daemons import LEASE, Cluster, pushed, set_status, shown, wait_for
from tests.support.daemon import Daemon, StartFailed
from tests.support.until import until
from tests.support.wire import DONE, ERROR, PRESENCE, RECORDS, Wire, opened

pytestmark = pytest.mark.slow

CHECKED, POSITION = 90, 96


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(tmp_path, stack)


def test_a_change_is_told_on_all_nodes_and_a_second_device_acts_from_elsewhere(cluster: Cluster) -> None:
    one, two = cluster.start("one"), cluster.start("two")
    laptop, watcher = opened(one.port, "alice"), opened(two.port, "bob")
    watcher.send(Watch(5, ["alice"]))
    watcher.until(RECORDS)
    set_status(laptop, 6, "dnd", "from one")
    wait_for(watcher, ["dnd", "from one"])
    phone = opened(two.port, "alice", "phone")
    set_status(phone, 7, "away", "from two")
    wait_for(watcher, ["away", "from two"])
    until(lambda: shown(laptop, "alice")[1:3] == ["away", "from two"], "the other node tells the same")
    assert shown(laptop, "alice") == shown(watcher, "alice")


def test_nobody_is_told_offline_because_a_node_was_killed(cluster: Cluster) -> None:
    one, two, three = (cluster.start(name) for name in ("one", "two", "three"))
    opened(one.port, "alice")
    phone = opened(two.port, "alice", "phone")
    watcher = opened(three.port, "bob")
    watcher.send(Watch(5, ["alice"]))
    watcher.until(RECORDS)
    one.kill()

    def is_answered() -> bool:
        """A request that the dead node should have decided waits, and is refused; the next is decided elsewhere."""
        phone.send(SetStatus(6, "dnd", "still here"))
        return phone.next()[0] != ERROR

    until(is_answered, "another node decides alice")
    until(lambda: shown(watcher, "alice")[1] == "dnd", "it is told")
    assert "offline" not in pushed(watcher, "alice")


def test_who_watches_everybody_is_told_what_differs_on_another_node_when_theirs_was_killed(cluster: Cluster) -> None:
    one, two = cluster.start("one"), cluster.start("two")
    links = {name: opened(two.port, name) for name in ("alice", "bob", "carol", "dave")}
    service = opened(one.port, "root", "", role="service", instance=5)
    service.send(WatchAll(1))
    assert service.until(DONE)[1] == 1
    until(lambda: all(shown(service, name)[1] == "online" for name in links), "the other node's users are known here")
    newest = max(int(str(shown(service, name)[7])) for name in links)

    def position() -> tuple[int, int]:
        service.send(Check(2))
        _, _, epoch, version, *_ = service.until(CHECKED)
        return epoch, version

    until(lambda: position()[1] > newest, "all nodes have said that nothing older is to come")
    epoch, version = position()
    set_status(links["bob"], 6, "dnd", "meanwhile")
    one.kill()
    service = opened(two.port, "root", "", role="service", instance=5)
    service.send(WatchAll(3, True, epoch, version))
    assert service.until(POSITION)[1::3] == [3, False]
    assert [frame[1][0] for frame in service.told if frame[0] == PRESENCE] == ["bob"]


def test_a_node_that_stops_in_order_hands_its_users_over_at_once(cluster: Cluster) -> None:
    one, two = cluster.start("one"), cluster.start("two")
    laptop, watcher = opened(one.port, "alice"), opened(two.port, "bob")
    set_status(laptop, 6, "dnd", "kept")
    watcher.send(Watch(5, ["alice"]))
    watcher.until(RECORDS)
    one.stop()
    back = opened(two.port, "alice")
    set_status(back, 7, "away", "decided here")
    until(lambda: shown(watcher, "alice")[1:3] == ["away", "decided here"], "the other node decides her")
    assert "offline" not in pushed(watcher, "alice")


def test_while_the_engine_is_away_links_are_served_and_afterwards_all_is_told(cluster: Cluster) -> None:
    one, two = cluster.start("one"), cluster.start("two")
    laptop, near, far = opened(one.port, "alice"), opened(one.port, "near"), opened(two.port, "far")
    for link in (near, far):
        link.send(Watch(5, ["alice"]))
        link.until(RECORDS)
    assert cluster.engine.process is not None
    cluster.engine.process.send_signal(signal.SIGSTOP)
    laptop.send(SetStatus(6, "dnd", "meanwhile"))
    wait_for(near, ["dnd", "meanwhile"])
    assert far.quiet()
    cluster.engine.process.send_signal(signal.SIGCONT)
    assert laptop.until(DONE)[1] == 6
    wait_for(far, ["dnd", "meanwhile"])


def test_an_engine_that_was_emptied_is_filled_again_and_nobody_notices(cluster: Cluster) -> None:
    one, two = cluster.start("one"), cluster.start("two")
    laptop, watcher = opened(one.port, "alice"), opened(two.port, "bob")
    watcher.send(Watch(5, ["alice"]))
    watcher.until(RECORDS)
    cluster.engine.send("FLUSHALL")
    set_status(laptop, 6, "dnd", "behind it")
    wait_for(watcher, ["dnd", "behind it"])
    three = cluster.start("three")
    late = opened(three.port, "carol")
    assert shown(late, "alice")[1:3] == ["dnd", "behind it"]
    assert one.is_running and two.is_running


@pytest.mark.parametrize("key", keys_of("presenced")[1:])
def test_an_engine_of_which_one_key_was_deleted_is_filled_again(cluster: Cluster, key: str) -> None:
    one, two = cluster.start("one"), cluster.start("two")
    laptop, watcher = opened(one.port, "alice"), opened(two.port, "bob")
    watcher.send(Watch(5, ["alice"]))
    watcher.until(RECORDS)
    cluster.engine.send("DEL", key)
    for node in (one, two):
        node.until_log("the cluster's log is whole again")
    set_status(laptop, 6, "dnd", "behind it")
    wait_for(watcher, ["dnd", "behind it"])
    three = cluster.start("three")
    assert shown(opened(three.port, "carol"), "alice")[1:3] == ["dnd", "behind it"]
    assert one.is_running and two.is_running


def test_an_engine_that_was_started_anew_is_filled_again(cluster: Cluster) -> None:
    one, two = cluster.start("one"), cluster.start("two")
    laptop, watcher = opened(one.port, "alice"), opened(two.port, "bob")
    watcher.send(Watch(5, ["alice"]))
    watcher.until(RECORDS)
    cluster.engine.kill()
    cluster.engine.start()
    set_status(laptop, 6, "dnd", "behind it")
    wait_for(watcher, ["dnd", "behind it"])
    assert one.is_running and two.is_running


def test_after_a_power_failure_everything_acknowledged_is_there_whoever_starts_first(
    cluster: Cluster, tmp_path: Path
) -> None:
    """All nodes are killed, and the engine loses everything: what remains is on the nodes' own disks."""

    def start(name: str) -> Daemon:
        return cluster.start(name, "--data-dir", str(tmp_path / f"data-{name}"))

    one, two = start("one"), start("two")
    alice, bob = opened(one.port, "alice"), opened(two.port, "bob")
    set_status(alice, 5, "dnd", "by one")
    set_status(bob, 5, "away", "by two")
    two.kill()
    # What is acknowledged now is not on the disk of the other.
    set_status(alice, 6, "dnd", "by one, alone")
    one.kill()
    cluster.engine.kill()
    cluster.engine.start()
    two = start("two")
    reader = opened(two.port, "reader")
    assert shown(reader, "bob")[1:3] == ["away", "by two"]
    one = start("one")
    other = opened(one.port, "other")
    for link in (reader, other):
        until(lambda link=link: shown(link, "alice")[2] == "by one, alone", "the newest is told on all nodes")
        assert shown(link, "bob")[2] == "by two"
    again = start_again(two, lambda: start("two"))
    assert shown(opened(again.port, "late"), "alice")[2] == "by one, alone"


def start_again(node: Daemon, start: Callable[[], Daemon]) -> Daemon:
    """Stop the node in order, and start it anew."""
    node.stop()
    return start()


def test_the_later_of_two_daemons_of_one_name_stays_and_the_other_ends_and_says_why(cluster: Cluster) -> None:
    one = cluster.start("one")
    with Daemon(
        cluster.folder / "again.log", "--cluster", f"unix://{cluster.engine.socket}", "--node", "one", environ=LEASE
    ) as again:
        assert one.wait() == 78
        one.kill()
        assert "give each a name of its own (cluster.node)" in one.log()
        assert again.is_running


def test_a_node_that_was_paused_for_longer_than_its_lease_tells_nobody_anything_and_ends(cluster: Cluster) -> None:
    one, two = cluster.start("one"), cluster.start("two")
    laptop = opened(one.port, "alice")
    near, far = opened(one.port, "near"), opened(two.port, "far")
    for link in (near, far):
        link.send(Watch(5, ["alice"]))
        link.until(RECORDS)
    one.signal(signal.SIGSTOP)
    laptop.send(SetStatus(6, "dnd", "a ghost"))
    back = opened(two.port, "alice", "phone")

    def is_decided() -> bool:
        back.send(SetStatus(6, "away", "elsewhere"))
        return back.next()[0] != ERROR

    until(is_decided, "the other node decides her")
    one.signal(signal.SIGCONT)
    assert one.wait() == 75
    one.kill()
    assert [frame for frame in near.rest() if frame[0] == PRESENCE] == []
    assert shown(far, "alice")[1:3] == ["away", "elsewhere"]


def test_an_engine_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    options = ("--cluster", f"unix://{tmp_path}/nobody.sock", "--node", "one")
    with pytest.raises(StartFailed) as failed:
        Daemon(tmp_path / "log", *options, environ=LEASE)
    assert failed.value.args
    assert "Redis does not answer" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        (("CONFIG", "SET", "requirepass", "secret"), ("CONFIG", "SET", "requirepass", "")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    ],
    ids=["password", "replica"],
)
def test_nodes_outlive_a_change_of_the_engine_by_which_it_refuses_them(
    cluster: Cluster, change: tuple[str, ...], undo: tuple[str, ...]
) -> None:
    """A password that was set, or a failover by hand: whoever undoes it finds all nodes and links as they were."""
    one, two = cluster.start("one"), cluster.start("two")
    links = [opened(one.port, "alice"), opened(two.port, "bob")]
    cluster.engine.send(*change)
    password = "secret" if "requirepass" in change else ""
    cluster.engine.send("CLIENT", "KILL", "TYPE", "normal", password=password)
    until(lambda: all("refuses this node" in node.log() for node in (one, two)), "both are refused")
    cluster.engine.send(*undo, password=password)
    for number, link in enumerate(links):

        def is_done(link: Wire = link, number: int = number) -> bool:
            link.send(SetStatus(6, "dnd", f"again {number}"))
            return link.next()[0] == DONE

        until(is_done, "what is said is kept again")
    for link in links:
        until(lambda link=link: [shown(link, name)[1] for name in ("alice", "bob")] == ["dnd", "dnd"], "all know it")
    assert one.is_running and two.is_running
