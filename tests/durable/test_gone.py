"""A data directory that somebody removes, or moves away, while the daemon runs on it."""

from __future__ import annotations

import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from presenced.cli.admin_link import AdminLink
from presenced.wire.messages import Ping, SetStatus
from tests.durable.node import Node
from tests.durable.swarm import DONE, ERROR, PONG, Peer, Swarm, opened
from tests.support.until import PATIENCE_S, until

DISK_FAILED = 74


def make_node(place: Path) -> Node:
    return Node(place, "--rate", "0", "--http", "127.0.0.1:0", "--admin-socket", str(place / "ctl"))


def readiness(node: Node) -> tuple[int, str]:
    (url,) = set(re.findall(r"http://127\.0\.0\.1:\d+", node.log()))
    try:
        with urllib.request.urlopen(f"{url}/readyz") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def complaints(node: Node) -> list[str]:
    """What `presencectl doctor` calls a problem."""
    with AdminLink(str(node.directory / "ctl"), PATIENCE_S) as link:
        return [one["what"] for one in link.ask("doctor") if one["severity"] == "problem"]


def until_refused(peer: Peer, asked: int) -> list[object]:
    """Write until it is refused; gives the refusal."""
    while (reply := peer.answer(SetStatus(asked, text=f"n{asked}")))[0] == DONE:
        asked += 1
    return reply


def test_a_directory_that_is_removed_is_noticed_refused_and_told(tmp_path: Path) -> None:
    with make_node(tmp_path) as node:
        node.start()
        with Swarm(node.port) as swarm:
            alice = opened(swarm, "alice")
            assert alice.answer(SetStatus(1, text="n1"))[0] == DONE
            assert readiness(node)[0] == 200
            shutil.rmtree(node.data)
            # Nobody writes anything, and it is noticed.
            until(lambda: " ERROR " in node.log(), "the log tells of it")
            assert readiness(node)[0] == 503 and "is gone" in readiness(node)[1]
            reply = until_refused(alice, 2)
            assert reply[0] == ERROR and reply[2] == "read_only" and reply[4]
            assert alice.answer(Ping(9_999))[0] == PONG, "presence goes on"
            assert any("is gone" in what for what in complaints(node))
            node.signal(15)
            swarm.drain()
            assert node.wait() == DISK_FAILED, "it could not be saved"
        assert sum(" ERROR " in line and "is gone" in line for line in node.log().splitlines()) >= 1
        assert "Traceback" not in node.log()


def test_one_that_is_moved_away_and_back_goes_on(tmp_path: Path) -> None:
    with make_node(tmp_path) as node:
        node.start()
        with Swarm(node.port) as swarm:
            alice = opened(swarm, "alice")
            assert alice.answer(SetStatus(1, text="n1"))[0] == DONE
            away = node.data.rename(tmp_path / "away")
            assert until_refused(alice, 2)[2] == "read_only"
            node.data.mkdir()
            until(lambda: readiness(node)[0] == 503, "another directory in its place is not it")
            node.data.rmdir()
            away.rename(node.data)
            until(lambda: alice.answer(SetStatus(7, text="again"))[0] == DONE, "it is saved again")
            until(lambda: "all is well again, after" in node.log(), "the log tells of the end")
            assert readiness(node)[0] == 200
            node.stop(swarm.drain)
        assert node.log().count(" ERROR ") == 1
