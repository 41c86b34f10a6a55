"""Every peer that can speak TLS does so, with the one cipher: a link of the load that found another would end."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bench.load.tls import make_tls
from bench.load.tls_socket import TlsSocket
from bench.machine.cores import Cores
from bench.peers.base import Peer, PeerFailed
from bench.peers.lineup import PEERS
from bench.profiles import idle, login
from bench.results.outcome import OURS, Outcome
from tests.bench.peers.stage import CONTACTS, LINKS, clean, connected, cores, heard, installed, measured

__all__ = ["cores"]

SPEAKING = [name for name, kind in PEERS.items() if kind.speaks_tls]


@pytest.fixture(params=[OURS, *SPEAKING])
def peer(request: pytest.FixtureRequest, cores: Cores, tmp_path: Path) -> Iterator[Peer]:
    server = installed(request.param)()
    server.tls = make_tls(tmp_path / "tls")
    try:
        server.start(cores.server, tmp_path, ["ann", "bob", "carol"], CONTACTS)
        yield server
    finally:
        while LINKS:
            LINKS.pop().close()
        server.stop()


def test_changes_are_told_under_tls(peer: Peer) -> None:
    links = connected(peer)
    for user in ("bob", "carol"):
        links[user].socket.sendall(peer.change(user, 1))
    assert sorted(heard(peer, links["ann"], 2)) == [("bob", 1), ("carol", 1)]
    assert all(isinstance(link.socket, TlsSocket) for link in links.values())


@pytest.mark.parametrize("name", SPEAKING)
def test_logins_and_idle_links_beside_it(name: str, cores: Cores, monkeypatch: pytest.MonkeyPatch) -> None:
    share = installed(name).share
    monkeypatch.setattr(idle, "DEADLINES_S", 0.0)
    outcome = measured(login.run, users=20, contacts=3, rounds=1, seed=1, tls=True, cores=cores, peers=[name])
    clean(outcome, name, 20 * 3, share)
    outcome = resting(name, cores)
    assert len(outcome.servers[name].figures["rss_bytes_per_device"]) == 2 and outcome.missing == {}


def resting(name: str, cores: Cores) -> Outcome:
    """Idle links of this server: of more of them where it had memory left for the first, so that nothing is to be
    seen."""
    run = partial(idle.run, rest_s=0.05, rounds=2, tls=True, cores=cores, peers=[name])
    for links in (150, 300):
        try:
            return run(links=links)
        except PeerFailed as failure:
            if "did not grow" not in str(failure):
                raise
    return run(links=600)
