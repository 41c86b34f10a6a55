"""The profiles under TLS, tiny, on the real daemon: everybody is told of everything, and who cannot is left out."""

from __future__ import annotations

import os

import pytest

from bench.errors import BenchError
from bench.load.tls_socket import CIPHER, VERSION
from bench.machine.cores import Cores
from bench.peers.lineup import PEERS, Lineup
from bench.peers.prosody import Prosody
from bench.profiles import fanout, graph, idle, login
from bench.results.outcome import OURS, Outcome, no_progress

CORE = max(os.sched_getaffinity(0))
CORES = Cores(CORE, CORE)


def under_tls(found: Outcome) -> Outcome:
    assert found.options["tls"] is True
    assert any(f"{VERSION} with {CIPHER}, which is checked on each" in note for note in found.notes)
    assert not found.faults() and found.missing == {}
    return found


def test_a_fan_out_goes_without_the_c_loop() -> None:
    found = under_tls(fanout.run(watchers=5, changes=4, publishers=2, rounds=2, warmup=1, tls=True, cores=CORES))
    assert list(found.servers) == [OURS]
    assert found.servers[OURS].checks.deliveries == 2 * 4 * 5 * 2


def test_a_graph_and_its_backend() -> None:
    found = under_tls(
        graph.run(users=6, contacts=3, changes=4, rounds=1, seed=1, see_contacts=True, tls=True, cores=CORES)
    )
    assert {server.checks.deliveries for server in found.servers.values()} == {6 * 3 * 4}
    assert len(found.servers) == 2


def test_logins_have_the_handshake_in_them() -> None:
    found = under_tls(login.run(users=4, contacts=2, rounds=1, seed=1, tls=True, cores=CORES))
    assert found.servers[OURS].checks.deliveries == 4 * 2


def test_idle_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "DEADLINES_S", 0.0)
    found = under_tls(idle.run(links=200, rest_s=0.05, rounds=1, tls=True, cores=CORES))
    assert found.servers[OURS].figures.keys() >= {"rss_bytes_per_device", "server_cpu_us_per_hello"}


def test_the_doors_for_browsers_go_without_it() -> None:
    with pytest.raises(BenchError, match="--tls is for --door tcp alone"):
        fanout.run(watchers=2, changes=1, publishers=1, rounds=1, warmup=1, door="websocket", tls=True, cores=CORES)
    with pytest.raises(BenchError, match="--tls is for --door tcp alone"):
        idle.run(links=2, door="websocket", tls=True, cores=CORES)


def test_who_cannot_is_left_out_with_a_sentence_or_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [name for name, kind in PEERS.items() if not kind.speaks_tls] == ["prosody"]
    monkeypatch.setattr(Prosody, "find", classmethod(lambda cls: "1"))
    outcome = Outcome("fanout", "", "", {})
    Lineup(outcome, CORES, None, no_progress, tls=True)
    assert outcome.missing["prosody"] == "prosody is not set up for TLS here; leave it out of --peers, or --tls"
    with pytest.raises(BenchError, match="prosody is not set up for TLS here"):
        Lineup(outcome, CORES, ["prosody"], no_progress, tls=True)
