"""The suites that run over three nodes run over three nodes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from presenced.limits import RESTART_GRACE_MS
from presenced.server.clocks import SYSTEM_CLOCKS
from presenced.wire.messages import SetStatus, Watch
from tests.support import REPOSITORY
from tests.support.nodes_in_process import NodesInProcess
from tests.support.suites import FULL_ONLY, SUITES
from tests.support.wire import DONE, PRESENCE, RECORDS, opened


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodesInProcess]:
    with NodesInProcess(tmp_path_factory.mktemp("three")) as running:
        yield running


def test_links_are_dealt_out_and_what_one_was_answered_is_known_where_the_next_asks(three: NodesInProcess) -> None:
    links = [opened(three.port, f"user{number}") for number in range(6)]
    assert [len(server.links) for server in three.servers] == [2, 2, 2]
    for number, link in enumerate(links):
        watched = f"user{(number + 1) % 6}"
        link.send(Watch(1, [watched]))
        answer = link.next()
        assert answer[0] == RECORDS and answer[4][0][:2] == [watched, "online"]
    for number, link in enumerate(links):
        link.send(SetStatus(2, "dnd"))
        link.until(DONE)
        before = links[number - 1]
        assert not before.quiet() and before.until(PRESENCE)[1][:2] == [f"user{number}", "dnd"]
    for link in links:
        link.close()


def test_who_is_back_at_a_node_that_has_joined_has_a_grace_and_no_longer_than_that(three: NodesInProcess) -> None:
    now_ms = SYSTEM_CLOCKS.monotonic_ms()
    patience = [server.engine.leases._patient_until_ms for server in three.servers]
    assert all(0 < until_ms <= now_ms + RESTART_GRACE_MS for until_ms in patience), patience


def test_the_tables_name_what_there_is() -> None:
    tests = {name for module in SUITES for name in names_in(REPOSITORY / f"{module.replace('.', '/')}.py")}
    assert tests >= FULL_ONLY


def names_in(module: Path) -> list[str]:
    """The functions of a module."""
    return [one.name for one in ast.parse(module.read_text()).body if isinstance(one, ast.FunctionDef)]
