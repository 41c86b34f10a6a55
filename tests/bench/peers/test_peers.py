"""Every real peer that is installed: it starts, tells who is there, what they change to and who is gone, and ends."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.load.links import read_available
from bench.machine.cores import Cores, take_cores
from bench.peers.base import GHOST, Delivery, Peer, PeerLink, PeerMissing
from bench.peers.lineup import PEERS
from bench.peers.presenced import Presenced
from bench.peers.storm import Storm
from bench.profiles import fanout, graph, login
from bench.results.outcome import OURS, Outcome
from tests.support.until import PATIENCE_S

LINKS: list[PeerLink] = []
"""Those that a test has open."""

CONTACTS = {"ann": ["bob", "carol"], "bob": ["ann"]}


@pytest.fixture
def cores() -> Iterator[Cores]:
    """The bench pins its process, which is this one."""
    before = os.sched_getaffinity(0)
    yield take_cores()
    os.sched_setaffinity(0, before)


def installed(name: str) -> type[Peer]:
    kind = {**PEERS, OURS: Presenced}[name]
    try:
        kind.find()
    except PeerMissing as missing:
        pytest.skip(str(missing))
    return kind


@pytest.fixture(params=[OURS, *PEERS])
def peer(request: pytest.FixtureRequest, cores: Cores, tmp_path: Path) -> Iterator[Peer]:
    server = installed(request.param)()
    try:
        server.start(cores.server, tmp_path, ["ann", "bob", "carol"], CONTACTS)
        yield server
    finally:
        while LINKS:
            LINKS.pop().close()
        server.stop()


def heard(peer: Peer, link: PeerLink, count: int) -> list[Delivery]:
    """What is told on the link, until it is `count` deliveries."""
    link.socket.setblocking(False)
    found: list[Delivery] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < count:
        assert time.monotonic() < deadline, f"only {found} was told; unread is {link.rest!r}"
        found += peer.read(link, read_available(link.fd))
    return found


def connected(peer: Peer) -> dict[str, PeerLink]:
    """All three, with what their logins brought read; `peer` closes them."""
    links = {}
    for user in ("carol", "bob", "ann"):
        links[user] = peer.connect(user, CONTACTS.get(user, ()))
        LINKS.append(links[user])
    for link in links.values():
        link.socket.setblocking(False)
    peer.process.settled_cpu_ns()
    for link in links.values():
        peer.read(link, read_available(link.fd))
        assert link.rest == b""
    return links


def test_changes_are_told_to_those_who_watch_and_answered(peer: Peer) -> None:
    links = connected(peer)
    for number in (1, 2, 3):
        for user in ("bob", "carol"):
            links[user].socket.setblocking(True)
            links[user].socket.sendall(peer.change(user, number))
            came = b""
            while peer.answer(user, number) not in came:
                came += links[user].socket.recv(65_536)
            assert peer.read(links[user], came) == [], "nobody is told of their own change"
    told = heard(peer, links["ann"], 6)
    assert sorted(told) == [(user, number) for user in ("bob", "carol") for number in (1, 2, 3)]
    assert [number for user, number in told if user == "bob"] == [1, 2, 3]
    assert peer.cpu_ns() > 0 and peer.rss_bytes() > 500_000


def test_who_leaves_in_order_is_told_to_be_gone_where_the_protocol_has_a_word_for_it(peer: Peer) -> None:
    links = connected(peer)
    links["carol"].socket.sendall(peer.logout("carol") or b"")
    if peer.logout("carol"):
        assert heard(peer, links["ann"], 1) == [("carol", GHOST)]


def test_a_newcomer_is_told_the_present_state(peer: Peer) -> None:
    links = connected(peer)
    for user in ("bob", "carol"):
        for number in range(1, 3 if user == "bob" else 4):
            links[user].socket.sendall(peer.change(user, number))
    peer.process.settled_cpu_ns()
    links.pop("ann").close()
    peer.process.settled_cpu_ns()
    storm = Storm(peer, CONTACTS, records=True)
    storm.log_in(["ann"])
    assert storm.told["ann"] == {"bob": 2, "carol": 3}
    storm.log_out()


def test_it_ends_with_everything_it_started(peer: Peer) -> None:
    below = [peer.process.pid]
    for pid in below:
        for task in Path(f"/proc/{pid}/task").iterdir():
            below += map(int, (task / "children").read_text().split())
    peer.stop()
    peer.stop()  # once more does no harm
    assert [pid for pid in below if Path(f"/proc/{pid}").exists()] == []


def clean(outcome: Outcome, name: str, deliveries: int, share: int) -> None:
    """Ours and the peer have told everybody of everything, or a share of it, and have their figures."""
    assert outcome.missing == {} and not outcome.faults()
    assert outcome.servers[OURS].checks.deliveries == deliveries
    assert outcome.servers[name].checks.deliveries == deliveries // share
    for server in (OURS, name):
        assert all(value > 0 for value in outcome.servers[server].figures[outcome.main_figure])
    assert outcome.ratios()[name]["median"] > 0
    assert outcome.servers[name].version


@pytest.mark.parametrize("name", PEERS)
def test_the_profiles_beside_it(name: str, cores: Cores) -> None:
    share = installed(name).share
    outcome = fanout.run(watchers=6, changes=10, publishers=1, rounds=2, warmup=1, cores=cores, peers=[name])
    clean(outcome, name, 6 * 10 * 2, share)
    assert outcome.servers[name].latency["change_to_watcher"].p50_us > 0
    outcome = fanout.run(watchers=6, changes=10, publishers=3, rounds=1, warmup=1, cores=cores, peers=[name])
    clean(outcome, name, 6 * 10 * 3, share)
    outcome = graph.run(users=6, contacts=3, changes=10, rounds=2, seed=1, cores=cores, peers=[name])
    # A server with a share still makes five changes for each user.
    clean(outcome, name, 6 * 3 * 10 * 2, min(share, 2))
    assert len(outcome.servers[name].figures["server_core_busy"]) == 2
    outcome = login.run(users=20, contacts=3, rounds=2, seed=1, cores=cores, peers=[name])
    clean(outcome, name, 20 * 3 * 2, share)
    assert outcome.servers[name].latency["login"].count == 20 * 2 // share
