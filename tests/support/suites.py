"""Suites that run on one node and on three, by one parameter: `nodes`. Nothing in a suite says how many there are. Each
link is on another node than the last one, and what holds of one server holds of all of them together.

A module is a suite if it is in `SUITES`, and its server comes from the fixture `start_daemon` or from one of the two
functions below, with the fixture `nodes`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from presenced.config.settings import Settings
from tests.support.daemon import Daemon
from tests.support.in_process import InProcess
from tests.support.nodes_in_process import NodesInProcess, settings_of
from tests.support.tiers import spaced

SUITES: Final = frozenset(
    {
        "tests.conformance.test_server",
        "tests.e2e.test_awaits",
        "tests.e2e.test_resumption",
        "tests.e2e.test_rights",
        "tests.e2e.test_service_bad_input",
        "tests.e2e.test_service_wire",
        "tests.scenario.test_real",
        "tests.visibility.test_over_tcp",
    }
)
"""Modules of tests."""

NODES: Final = 3

FULL_ONLY: Final = frozenset(
    {
        "test_a_service_has_thousands_of_devices_back_before_what_it_sends_behind_its_hello",
        "test_ten_thousand_and_one_channels",
    }
)
"""Tests that take long, and are tried on three nodes where samples are whole."""


def daemon_of(
    nodes: int, folder: Path, *options: str, dev: bool = True
) -> AbstractContextManager[Daemon | NodesInProcess]:
    """`presenced serve` with these options: a daemon, or as many nodes."""
    if nodes == 1:
        return Daemon(folder / "log", *options, dev=dev)
    return NodesInProcess(folder, nodes, settings_of(*options, dev=dev))


def server_of(nodes: int, folder: Path, **settings: Any) -> AbstractContextManager[InProcess | NodesInProcess]:
    """A server in this process with these settings, or as many nodes."""
    if nodes == 1:
        return InProcess(**settings)
    return NodesInProcess(folder, nodes, Settings(**({"dev": True, "check": True, "listen": "127.0.0.1:0"} | settings)))


def is_in_sample(name: str) -> bool:
    """Whether the test of this name is tried on several nodes: of a sample that is not whole the long ones are not."""
    return name not in FULL_ONLY or spaced(1) == 1
