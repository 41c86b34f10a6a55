"""Every real peer that is installed: it starts, tells who is there, what they change to and who is gone, and ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.machine.cores import Cores
from bench.peers.base import GHOST, Peer
from bench.peers.lineup import PEERS
from bench.peers.storm import Storm
from bench.profiles import fanout, graph, login
from bench.results.outcome import OURS
from tests.bench.peers.stage import CONTACTS, LINKS, clean, connected, cores, heard, installed, measured

__all__ = ["cores"]


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


@pytest.mark.parametrize("name", PEERS)
def test_the_profiles_beside_it(name: str, cores: Cores) -> None:
    share = installed(name).share
    outcome = measured(fanout.run, watchers=6, changes=10, publishers=1, rounds=2, warmup=1, cores=cores, peers=[name])
    clean(outcome, name, 6 * 10 * 2, share)
    assert outcome.servers[name].latency["change_to_watcher"].p50_us > 0
    outcome = measured(fanout.run, watchers=6, changes=10, publishers=3, rounds=1, warmup=1, cores=cores, peers=[name])
    clean(outcome, name, 6 * 10 * 3, share)
    outcome = measured(graph.run, users=6, contacts=3, changes=10, rounds=2, seed=1, cores=cores, peers=[name])
    # A server with a share still makes five changes for each user.
    clean(outcome, name, 6 * 3 * 10 * 2, min(share, 2))
    assert len(outcome.servers[name].figures["server_core_busy"]) == 2
    outcome = login.run(users=20, contacts=3, rounds=2, seed=1, cores=cores, peers=[name])
    clean(outcome, name, 20 * 3 * 2, share)
    assert outcome.servers[name].latency["login"].count == 20 * 2 // share
