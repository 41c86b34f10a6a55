"""Several nodes on one machine under a real systemd: as one service, and as units of their own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.systemd.service import ADDRESS, STATE, UNIT, Service, readme

EX_DIRECTORY, EX_CONFIG = 73, 78
NODES = ("presenced@1", "presenced@2")

pytestmark = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="needs redis-server (on Debian: apt install redis-server)"
)


def clustered(service: Service, *where: str) -> list[str]:
    """The nodes that a node knows."""
    now = json.loads(service.run("presencectl", *where, "cluster"))
    assert now["state"] == "serving"
    return [node["name"] for node in now["nodes"]]


@pytest.fixture
def without_state(service: Service) -> Iterator[Service]:
    """The service, stopped, and its state kept for whoever comes next."""
    service.run("systemctl", "stop", UNIT)
    service.sh(f"rm -rf {STATE}.kept; cp -a {STATE} {STATE}.kept")
    yield service
    service.sh(f"systemctl stop {UNIT}; rm -rf {STATE}; mv {STATE}.kept {STATE}")


def test_one_service_of_two_nodes(without_state: Service) -> None:
    service = without_state
    service.configure("cluster", 'nodes = 2\nnode = "n"')
    service.sh(f"systemctl start {UNIT}", status=1)
    assert service.show(UNIT, "ExecMainStatus") == str(EX_DIRECTORY), "the state of one daemon is not passed over"
    [said] = [str(entry["MESSAGE"]) for entry in service.journal(UNIT) if "give it to the first: " in entry["MESSAGE"]]
    service.sh(said.partition("give it to the first: ")[2])
    service.sh(f"systemctl reset-failed {UNIT}; systemctl start {UNIT}")
    assert service.show(UNIT, "StatusText") == "2 nodes serve"
    service.ping()
    for number in ("1", "2"):
        assert clustered(service, "--node", number) == ["n-1", "n-2"]
        status = json.loads(service.run("presencectl", "--node", number, "status"))
        assert status["log"]["directory"] == f"{STATE}/node-{number}"
        assert service.sh(f"curl -fsS http://127.0.0.1:{5251 + int(number)}/readyz").strip() == "ready"
    after = service.cursor()
    service.run("systemctl", "reload", UNIT)
    for name in ("n-1", "n-2"):
        service.wait_for(lambda name=name: f"{name}: reload: done" in service.messages(after), "both reloaded")
    before = service.main_pid(UNIT)
    killed = json.loads(service.run("presencectl", "--node", "2", "status"))["pid"]
    service.run("kill", "-9", str(killed))
    service.wait_for(lambda: "and is started again" in service.messages(after), "the supervisor saw it")
    service.wait_for(lambda: service.show(UNIT, "StatusText") == "2 nodes serve", "it is there again")
    assert service.main_pid(UNIT) == before, "the service goes on"
    after = service.cursor()
    service.run("systemctl", "stop", UNIT)
    assert "all nodes have ended" in service.messages(after)
    assert service.show(UNIT, "Result") == "success"
    for number in (1, 2):
        assert "stopped cleanly" in service.run("presenced", "store", "check", f"{STATE}/node-{number}")


def test_nodes_with_units_of_their_own_by_the_lines_of_the_readme(service: Service) -> None:
    service.run("systemctl", "stop", UNIT)
    service.sh("systemd-run --quiet --unit=engine redis-server --port 6399 --save '' --dir /tmp")
    service.configure("cluster", 'url = "redis://127.0.0.1:6399"')
    try:
        service.sh(readme("node.conf"))
        for node in NODES:
            service.wait_until_active(node)
        service.ping(ADDRESS)
        for number in ("1", "2"):
            assert len(clustered(service, "--instance", number)) == 2
            assert service.sh(f"curl -fsS http://127.0.0.1:526{number}/readyz").strip() == "ready"
        service.run("systemctl", "stop", NODES[0])
        service.ping(ADDRESS)
        service.wait_for(lambda: len(clustered(service, "--instance", "2")) == 1, "the other is alone")
        service.run("systemctl", "start", NODES[0])
        service.wait_for(lambda: len(clustered(service, "--instance", "2")) == 2, "both are there again")
        service.sh(f"systemctl reload {NODES[1]}")
    finally:
        service.sh(
            f"systemctl disable --now {' '.join(NODES)}; systemctl stop engine; "
            "rm -r /etc/systemd/system/presenced@.service.d; systemctl daemon-reload"
        )


def test_a_node_without_a_cluster_says_what_is_missing(service: Service) -> None:
    service.run("systemctl", "stop", UNIT)
    try:
        service.sh(readme("node.conf"), status=None)
        service.wait_for(lambda: service.show(NODES[0], "ExecMainStatus") == str(EX_CONFIG), "it has ended")
        assert "without cluster.url none of them knows the users of the others" in service.messages("", NODES[0])
    finally:
        service.sh(
            f"systemctl disable --now {' '.join(NODES)}; rm -r /etc/systemd/system/presenced@.service.d; "
            "systemctl daemon-reload; systemctl reset-failed"
        )
