"""What an operator is told of a node and its engine: real daemons, a real Redis, exit codes, /readyz and the doctor."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from presenced.cli import exits
from presenced.cli.admin_link import AdminLink
from presenced.errors import RequestError
from presenced.server.link_report import SLICE_ROWS
from presenced.wire.messages import Attach, GetDevices
from tests.cli.commands import ctl
from tests.support.daemon import Daemon, StartFailed
from tests.support.engines import RedisServer
from tests.support.until import until
from tests.support.wire import DONE, Wire, opened

pytestmark = pytest.mark.slow

EX_BUSY, EX_CONFIG = 75, 78
DEVICE_LIST, TAKEN = 72, 83


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    yield server
    server.stop()


class Node(Daemon):
    """A daemon at this engine, with HTTP and an admin socket."""

    def __init__(self, folder: Path, engine: RedisServer, name: str, *options: str, starts: bool = True) -> None:
        self.admin_path = str(folder / f"{name}.sock")
        own = ("--cluster", f"unix://{engine.socket}", "--node", name, "--admin-socket", self.admin_path)
        super().__init__(folder / f"{name}.log", *own, "--http", "127.0.0.1:0", *options, starts=starts)

    def ask(self, verb: str) -> Any:
        with AdminLink(self.admin_path, 30) as link:
            return link.ask(verb)

    def readyz(self) -> tuple[int, str]:
        [url] = [url for url in self.ask("status")["listeners"] if url.startswith("http")]
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=30) as answer:
                return answer.status, answer.read().decode().strip()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode().strip()

    def problems(self) -> dict[str, str]:
        return {one["check"]: one["what"] for one in self.ask("doctor") if one["severity"] == "problem"}


def test_an_engine_that_does_not_answer_is_told_and_so_is_its_return(tmp_path: Path, engine: RedisServer) -> None:
    assert engine.process is not None
    with Node(tmp_path, engine, "one") as node:
        assert node.readyz() == (200, "ready")
        assert ctl("--socket", node.admin_path, "cluster").returncode == exits.OK
        os.kill(engine.process.pid, signal.SIGSTOP)
        until(lambda: node.readyz()[0] == 503, "it is not ready any longer")
        assert node.readyz()[1].endswith("does not answer: nothing can be told to the other nodes")
        assert ctl("--socket", node.admin_path, "cluster").returncode == exits.NO
        assert {"cluster", "cluster_engine"} & node.problems().keys()
        until(lambda: node.ask("cluster")["state"] == "isolated", "it believes no longer that it lives")
        assert "the node one is isolated" in node.problems()["cluster"]
        os.kill(engine.process.pid, signal.SIGCONT)
        until(lambda: node.readyz()[0] == 200, "it is ready again")
        until(lambda: node.ask("cluster")["state"] == "serving", "it has its lease again")
        assert not node.problems()
        assert ctl("--socket", node.admin_path, "--text", "status").stdout.rstrip().endswith("DEVELOPMENT MODE")


def test_one_that_has_not_joined_yet_says_that_it_starts(tmp_path: Path, engine: RedisServer) -> None:
    assert engine.process is not None
    os.kill(engine.process.pid, signal.SIGSTOP)
    node = Node(tmp_path, engine, "one", starts=False)
    until(lambda: Path(node.admin_path).exists(), "it can be asked")
    for verb in ("status", "cluster"):
        with pytest.raises(RequestError, match="the daemon is starting") as refused:
            node.ask(verb)
        assert refused.value.code == "starting"
    os.kill(engine.process.pid, signal.SIGCONT)
    with node:
        node.wait_until_listening()
        assert node.ask("cluster")["state"] == "serving"


def test_the_only_node_is_a_warning_and_two_are_none(tmp_path: Path, engine: RedisServer) -> None:
    def warned(node: Node) -> bool:
        return any(one["check"] == "cluster_nodes" and one["severity"] == "warning" for one in node.ask("doctor"))

    with Node(tmp_path, engine, "one") as one:
        assert warned(one)
        with Node(tmp_path, engine, "two") as two:
            until(lambda: not warned(one) and not warned(two), "both know each other")
        until(lambda: warned(one), "one is alone again")


def test_the_later_of_two_with_one_name_stays(tmp_path: Path, engine: RedisServer) -> None:
    with Node(tmp_path, engine, "one") as first:
        (tmp_path / "later").mkdir()
        with Node(tmp_path / "later", engine, "one"):
            assert first.wait() == EX_CONFIG
            assert "another daemon has joined the cluster as one; give each a name of its own" in first.log()
            first.kill()


def test_kick_reaches_links_on_every_node(tmp_path: Path, engine: RedisServer) -> None:
    with Node(tmp_path, engine, "one") as one, Node(tmp_path, engine, "two") as two:
        laptop = opened(one.port, "alice", "laptop")
        phone, tablet = opened(two.port, "alice", "phone"), opened(two.port, "alice", "tablet")
        shop = opened(two.port, "shop", "", role="service")
        shop.send(Attach(1, 1, "alice", "web"))
        assert shop.next()[0] == DONE
        told = {"one": 1, "two": 3}
        for node in (one, two):
            until(lambda node=node: links_of(node) == told, "each knows how many links the other has")
        done = ctl("--socket", one.admin_path, "--text", "kick", "alice/phone", "--message", "upgrade")
        assert (done.returncode, done.stdout.strip()) == (exits.OK, "1 link closed, 1 of them on other nodes")
        assert phone.ended_with("kicked")[2] == "upgrade"
        # From the node that does not decide her: the other one lets her devices be gone.
        with AdminLink(two.admin_path, 30) as link:
            assert link.ask("kick", user="alice", gone=True) == {"links": 2, "held_by": [], "elsewhere": 1}
        assert laptop.ended_with("kicked") and tablet.ended_with("kicked")
        assert shop.until(TAKEN) == [TAKEN, 1, "kicked"]
        until(lambda: {device[4] for device in devices_of(shop)} == {"gone"}, "no device is left")
        assert ctl("--socket", one.admin_path, "kick", "alice").returncode == exits.NO
        shop.close()


def test_links_of_every_node_are_listed_with_its_name(tmp_path: Path, engine: RedisServer) -> None:
    with Node(tmp_path, engine, "one") as one, Node(tmp_path, engine, "two") as two, Node(tmp_path, engine, "x") as x:
        laptop = opened(one.port, "alice", "laptop")
        bob = opened(two.port, "bob", "phone")
        shop = opened(x.port, "shop", "", role="service")
        shop.send(Attach(1, 1, "alice", "web"))
        assert shop.next()[0] == DONE
        for node in (one, two, x):
            rows = listed(node)
            assert {(row["node"], row["user"], row["holds"]) for row in rows} == {
                ("one", "alice", 0),
                ("two", "bob", 0),
                ("x", "shop", 1),
            }
            ages_ms = [row["age_ms"] for row in rows]
            assert ages_ms == sorted(ages_ms), "the newest first, wherever they are"
        assert [row["user"] for row in listed(one, "--limit", "1")] == ["shop"]
        assert {row["node"] for row in listed(one, "--node", "two")} == {"two"}
        assert {row["user"] for row in listed(two, "alice")} == {"alice", "shop"}, "and who holds a device of hers"
        assert {row["user"] for row in listed(two, "alice/web")} == {"shop"}
        assert {row["user"] for row in listed(two, "--role", "service")} == {"shop"}
        said = ctl("--socket", two.admin_path, "--text", "links", "alice", "--role", "user")
        assert said.stdout.split()[:2] == ["node", "user"] and "1 of 1 matching link; 3 links in all" in said.stderr
        done = ctl("--socket", one.admin_path, "links", "--node", "tow")
        assert (done.returncode, done.stdout) == (exits.REFUSED, "")
        assert "no node of the cluster is called 'tow'; there are one, two, x" in done.stderr
        x.signal(signal.SIGSTOP)
        done = ctl("--socket", one.admin_path, "--json", "links")
        x.signal(signal.SIGCONT)
        assert done.returncode == exits.TEMPORARY
        assert {json.loads(line)["node"] for line in done.stdout.splitlines()} == {"one", "two"}
        assert done.stderr == "presencectl: no answer from x: links there are not listed; see `presencectl cluster`\n"
        for link in (laptop, bob, shop):
            link.close()


def listed(node: Node, *options: str) -> list[dict[str, Any]]:
    done = ctl("--socket", node.admin_path, "--json", "links", *options)
    assert done.returncode == exits.OK, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_more_links_than_a_message_has_are_listed(tmp_path: Path, engine: RedisServer) -> None:
    with Node(tmp_path, engine, "one") as one, Node(tmp_path, engine, "two") as two:
        links = [opened(two.port, f"user{number}") for number in range(SLICE_ROWS + 20)]
        assert len(listed(one, "--limit", "1000")) == len(listed(one, "--node", "two", "--limit", "1000")) == len(links)
        assert len(listed(one, "--limit", str(SLICE_ROWS))) == SLICE_ROWS
        for link in links:
            link.close()


def test_any_node_can_be_drained_from_any_other(tmp_path: Path, engine: RedisServer) -> None:
    with Node(tmp_path, engine, "one") as one, Node(tmp_path, engine, "two") as two:
        alice, bob = opened(one.port, "alice"), opened(two.port, "bob")
        done = ctl("--socket", one.admin_path, "drain", "--yes", "--node", "tow")
        assert done.returncode == exits.REFUSED and "there are one, two" in done.stderr
        two.signal(signal.SIGSTOP)
        done = ctl("--socket", one.admin_path, "drain", "--yes", "--node", "two")
        assert (done.returncode, done.stdout) == (exits.TEMPORARY, "")
        assert "the node two has not answered; look at `presencectl cluster`" in done.stderr
        two.signal(signal.SIGCONT)
        # It has the question by now.
        assert bob.ended_with("going_away") and two.wait() == 0
        assert "cluster: drain, asked by an operator of the node one" in two.log()
        assert "admin: drain of the node 'two', asked by uid" in one.log()
        (tmp_path / "again").mkdir()
        with Node(tmp_path / "again", engine, "two") as again:
            bob = opened(again.port, "bob")
            done = ctl("--socket", one.admin_path, "--json", "drain", "--yes", "--wait", "--node", "two")
            assert done.returncode == exits.OK, done.stderr
            said = json.loads(done.stdout)
            assert (said["links"], said["node"]) == (1, "two") and again.wait() == 0
            assert [node["name"] for node in one.ask("cluster")["nodes"]] == ["one"]
        assert listed(one)[0]["user"] == "alice"
        # Its own name, and none, mean the node that is asked.
        done = ctl("--socket", one.admin_path, "--json", "drain", "--yes", "--wait", "--node", "one")
        assert done.returncode == exits.OK and "node" not in json.loads(done.stdout)
        assert alice.ended_with("going_away") and one.wait() == 0


def links_of(node: Node) -> dict[str, int]:
    return {other["name"]: other["links"] for other in node.ask("cluster")["nodes"]}


def devices_of(link: Wire) -> Any:
    link.send(GetDevices(2, "alice"))
    return link.until(DEVICE_LIST)[3]


def test_a_node_that_does_not_answer_is_told(tmp_path: Path, engine: RedisServer) -> None:
    with Node(tmp_path, engine, "one") as one, Node(tmp_path, engine, "two") as two:
        alice = opened(one.port, "alice")
        two.signal(signal.SIGSTOP)
        done = ctl("--socket", one.admin_path, "--json", "kick", "alice")
        two.signal(signal.SIGCONT)
        assert json.loads(done.stdout) == {"links": 1, "held_by": [], "silent_nodes": 1}
        assert alice.ended_with("kicked")


@pytest.mark.parametrize(
    ("command", "said", "status"),
    [
        (("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"), "set maxmemory-policy noeviction", EX_CONFIG),
        (("REPLICAOF", "127.0.0.1", "1"), "the engine is a replica, which takes no writes", EX_CONFIG),
        (("CONFIG", "SET", "requirepass", "secret"), "password", EX_CONFIG),
        (("SHUTDOWN", "NOSAVE"), "", EX_BUSY),
    ],
    ids=["evicts", "replica", "password", "gone"],
)
def test_an_engine_that_will_not_do_is_one_line(
    tmp_path: Path, engine: RedisServer, command: tuple[str, ...], said: str, status: int
) -> None:
    engine.send(*command)
    with pytest.raises(StartFailed) as caught:
        Node(tmp_path, engine, "one")
    assert caught.value.status == status, str(caught.value)
    lines = [line for line in str(caught.value).splitlines() if line.startswith("presenced: ")]
    assert len(lines) == 1 and said in lines[0], str(caught.value)
    assert "secret" not in lines[0]


def test_a_password_is_taken_from_its_file(tmp_path: Path, engine: RedisServer) -> None:
    engine.send("CONFIG", "SET", "requirepass", "secret")
    (tmp_path / "password").write_text("secret\n")
    config = tmp_path / "c.toml"
    config.write_text(f'[cluster]\npassword_file = "{tmp_path / "password"}"\n')
    with Node(tmp_path, engine, "one", "--config", str(config)) as node:
        assert node.ask("cluster")["state"] == "serving"
        assert "secret" not in node.log()
