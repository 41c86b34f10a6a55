"""`presenced serve --nodes N` with the real thing: processes, a Redis of their own, and clients on different nodes."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from presenced.errors import RequestError
from presenced.sync import BlockingClient, connect
from tests.nodes.supervised import Nodes
from tests.support.until import until

TRIES = 64


class Together(Nodes):
    """Two nodes of one cluster."""

    patches = ""

    def links_on(self, number: int) -> dict[str, Any]:
        """The links of a node, by user."""
        with self.admin(number) as link:
            return {one["user"]: one for one in link.ask("links", limit=1000)["links"]}

    def client_on(self, number: int, user: str, held: contextlib.ExitStack) -> BlockingClient:
        """A client of that user whose link is on this node: the system deals them out as it likes."""
        for _ in range(TRIES):
            client = connect(self.url(user, "phone"))
            if user in self.links_on(number):
                return held.enter_context(client)
            client.close()
        raise AssertionError(f"in {TRIES} tries no link came to node {number}\n{self.log()}")


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Together]:
    with Together(tmp_path, "--data-dir", str(tmp_path / "data")) as started:
        yield started


def test_what_is_said_on_one_node_is_seen_on_the_other(nodes: Together) -> None:
    with contextlib.ExitStack() as held:
        alice, bob = nodes.client_on(1, "alice", held), nodes.client_on(2, "bob", held)
        with bob.watch("alice") as seen:
            assert next(seen).new.status == "online"
            alice.set_status("dnd", text="in a call")
            change = next(seen)
            assert (change.new.status, change.new.text) == ("dnd", "in a call")
        alice.set_status("away")
        until(lambda: bob.get_status("alice").status == "away", "the other node answers it, too")
        until(lambda: alice.get_status("bob").status == "online", "and the other way round")


def test_nobody_is_told_of_the_death_of_a_node_and_what_was_said_is_there(nodes: Together) -> None:
    with contextlib.ExitStack() as held:
        alice, bob = nodes.client_on(1, "alice", held), nodes.client_on(2, "bob", held)
        alice.set_status("dnd", text="in a call")
        with bob.watch("alice") as seen:
            assert next(seen).new.text == "in a call"
            died = nodes.pid_of(1)
            os.kill(died, signal.SIGKILL)
            nodes.until_pid(1, other_than=died)
            until(lambda: any("alice" in nodes.links_on(number) for number in (1, 2)), "alice is back")
            alice.set_status("away", text="back")
            change = next(seen)
            assert (change.kind, change.new.status, change.new.text) != ("offline", "offline", "")
            assert change.new.text == "back", "nothing was told in between"


def test_a_node_that_restarts_is_seen_by_nobody(nodes: Together) -> None:
    with contextlib.ExitStack() as held:
        alice, bob = nodes.client_on(1, "alice", held), nodes.client_on(2, "bob", held)
        with bob.watch("alice") as seen:
            assert next(seen).new.status == "online"
            drained = Path(f"/proc/{nodes.pid_of(1)}")
            nodes.ask(1, "drain")
            nodes.until_log("n-1: stopped")
            until(lambda: "alice" in nodes.links_on(2), "alice is on the other node")
            until(lambda: not drained.exists(), "the process has ended")
            nodes.signal(signal.SIGHUP)
            nodes.until_pid(1)
            alice.set_status("dnd")
            assert next(seen).new.status == "dnd", "nothing was told in between"


def test_the_death_of_their_engine_is_seen_by_nobody(nodes: Together) -> None:
    with contextlib.ExitStack() as held:
        alice, bob = nodes.client_on(1, "alice", held), nodes.client_on(2, "bob", held)
        with bob.watch("alice") as seen:
            assert next(seen).new.status == "online"
            alice.set_status("away")
            assert next(seen).new.status == "away"
            os.kill(nodes.engine_pid(), signal.SIGKILL)
            nodes.until_log("the engine of the nodes ended with signal 9, and is started again")
            until(lambda: said(alice, "dnd"), "what is said is saved again")
            assert next(seen).new.status == "dnd", "nothing was told in between"
        assert [bool(nodes.links_on(number)) for number in (1, 2)] == [True, True]


def said(client: BlockingClient, status: Any) -> bool:
    """Whether the status could be set."""
    try:
        client.set_status(status)
    except RequestError as error:
        assert error.code == "log_busy"
        return False
    return True


def test_each_knows_the_other(nodes: Together) -> None:
    for number in (1, 2):
        with nodes.admin(number) as link:
            now = link.ask("cluster")
            assert [node["name"] for node in now["nodes"]] == ["n-1", "n-2"]
            assert (now["node"], now["state"]) == (f"n-{number}", "serving")
            engine = now["engine"]
            assert (engine["role"], engine["eviction"], engine["away_ms"]) == ("master", "noeviction", 0)
            assert engine["version"].split()[0] in ("Redis", "Valkey")
            found = {one["check"]: one["severity"] for one in link.ask("doctor")}
            about = ("cluster", "cluster_engine", "cluster_lag", "cluster_clock", "cluster_nodes")
            assert {check: found[check] for check in about} == dict.fromkeys(about, "ok")
