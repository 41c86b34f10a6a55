"""`presencectl cluster`: what a node tells of its cluster, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from presenced.cli import exits
from presenced.cli.ctl_cluster import sentences_of
from presenced.server.clustering.status import ClusterStatus, EngineStatus
from tests.cli.commands import ctl
from tests.support.in_process import InProcess
from tests.support.status import made_cluster


class Teller:
    """Tells of a node what it is given."""

    def __init__(self, now: ClusterStatus) -> None:
        self.now = now

    def status(self) -> ClusterStatus:
        return self.now


def asked(folder: Path, now: ClusterStatus | None, *options: str) -> tuple[int, str, str]:
    """Exit code, output and errors of the command, against a server of this process."""
    path = str(folder / "admin.sock")
    with InProcess(admin_socket=path) as server:
        server.server._lifecycle.cluster = Teller(now) if now is not None else None
        done = ctl("--socket", path, *options, "cluster")
        # The engine is not touched for it, so that a node tells of itself while it joins.
        server.server._lifecycle.cluster = None
    return done.returncode, done.stdout, done.stderr


def test_what_it_prints(tmp_path: Path) -> None:
    code, said, _ = asked(tmp_path, made_cluster(), "--text")
    assert code == exits.OK
    assert said.splitlines()[:6] == [
        "node           web-2, incarnation 317, serving, lease 7s of 10s",
        "engine         redis://10.0.0.5:6379 (master 7.2.11) answers; this clock is -3 ms",
        "log            at 812,347 of 812,351, 4ms behind, 6,151 bytes to append; history c0ffee",
        "users          4,217 decided here, 8,130 elsewhere",
        "links          131 of ours act elsewhere, 127 of others here; 9,049 requests forwarded",
        "since start    700,001 batches appended, 812,011 entries read, 0 nodes taken for dead",
    ]
    for words in (
        ["web-1", "311", "9s", "11", "17ms", "4,111", "3,121"],
        ["web-2", "317", "9s", "4", "4ms", "4,217", "3,343"],
        ["web-3", "313", "8s", "0", "4,019"],
    ):
        assert any(line.split()[: len(words)] == words for line in said.splitlines()), said
    assert said.count("this node") == 1


def test_json_is_what_the_node_tells(tmp_path: Path) -> None:
    code, said, _ = asked(tmp_path, made_cluster(), "--json")
    assert code == exits.OK
    found = json.loads(said)
    assert found["nodes"][0] == {
        "name": "web-1",
        "incarnation": 311,
        "lease_left_ms": 9101,
        "read_n": 812340,
        "homes": 4111,
        "links": 3121,
        "lag_ms": 17,
        "differs": [],
        "posts_too": False,
    }
    assert found["engine"]["address"] == "redis://10.0.0.5:6379" and found["state"] == "serving"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"state": "copying"}, "not ready      the node web-2 is copying: it does not know all users yet"),
        (
            {"engine": EngineStatus("unix:///e", "", "", away_ms=61_000)},
            "engine         unix:///e (role unknown) AWAY for 1m1s; this clock is -3 ms",
        ),
        (
            {"engine": EngineStatus("unix:///e", "", "", "", 61_000, "it asks for a password")},
            "               it asks for a password",
        ),
        (
            {"fences": 2, "state": "fenced", "dead_wall_ms": 1_764_592_520_300},
            "since start    700,001 batches appended, 812,011 entries read, 2 nodes taken for dead, web-4 the last, at "
            "2025-12-01 12:35:20 UTC",
        ),
        ({"state": "isolated", "lease_left_ms": 0}, "node           web-2, incarnation 317, isolated, no lease"),
    ],
)
def test_one_that_clients_should_not_be_sent_to(tmp_path: Path, fields: dict[str, Any], line: str) -> None:
    assert line in sentences_of(made_cluster(**fields))
    code, said, _ = asked(tmp_path, made_cluster(**fields), "--text")
    assert code == exits.NO and line in said.splitlines()
    assert asked(tmp_path, made_cluster(**fields), "--json")[0] == exits.NO


def test_a_server_that_is_alone(tmp_path: Path) -> None:
    code, said, error = asked(tmp_path, None, "--text")
    assert (code, said) == (exits.REFUSED, "")
    assert "this server is alone; set cluster.url on each node" in error
