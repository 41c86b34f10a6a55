"""Fixtures for all tests: the real daemon as a process of its own, on a free port of the loopback."""

from __future__ import annotations

import gc
import itertools
import signal
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import settings
from xdist.remote import Producer

from tests.support import REPOSITORY
from tests.support.daemon import Daemon, StartDaemon
from tests.support.shares import LongestFirst
from tests.support.suites import NODES, SUITES, daemon_of, is_in_sample
from tests.support.tiers import markers_of, samples

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what is to run in its background so, and the programs under test would inherit it: their Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

RERUN_TOLD_MAX = 4_000
"""How many characters are printed of a failure that did not come again: its end."""

settings.register_profile("everywhere", max_examples=samples(100), deadline=None, derandomize=False, print_blob=True)
settings.load_profile("everywhere")
"""How long an example takes says how busy the machine is. In CI as well other examples each time, from a seed that is
printed; by itself hypothesis would try the same ones for ever there."""

_freeze = gc.freeze
gc.freeze = gc.unfreeze = lambda: None
"""A server that is started inside a test would put what the test has left open so far out of the collector's sight, and
the bench would bring back to it what other tests have left."""

gc.disable()
"""Until the tests are collected: nothing of that goes away."""


def pytest_collection_finish() -> None:
    """The collector begins with what is made from here on."""
    _freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Markers by place, so that no new test of a directory is without."""
    below = f"{REPOSITORY / 'tests'}/"
    for item in items:
        for marker in markers_of(PurePosixPath(str(item.path).removeprefix(below))):
            item.add_marker(marker)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LongestFirst | None:
    """Whole files are dealt out the longest first."""
    return LongestFirst(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Why tests failed that passed at their second try: the summary itself has their names alone."""
    for report in terminalreporter.stats.get("rerun", ()):
        terminalreporter.section(f"first try of {report.nodeid}")
        terminalreporter.write_line(report.longreprtext[-RERUN_TOLD_MAX:])


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown() -> Generator[None]:
    """What a test leaves open is its own failure, and not that of the one during which it happens to be collected."""
    yield
    gc.collect()
    # What is still there lives on: looking at it after each of thousands of tests would cost minutes.
    _freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A suite runs on one node and on three."""
    if "nodes" in metafunc.fixturenames and metafunc.module.__name__ in SUITES:
        chosen = [pytest.param(1, id=pytest.HIDDEN_PARAM)]
        if is_in_sample(metafunc.function.__name__):
            chosen.append(pytest.param(NODES, id="three nodes", marks=pytest.mark.slow))
        metafunc.parametrize("nodes", chosen, indirect=True, scope="module")


@pytest.fixture(scope="module")
def nodes(request: pytest.FixtureRequest) -> int:
    """Of how many nodes the server of this test is."""
    return int(getattr(request, "param", 1))


@pytest.fixture
def start_daemon(tmp_path: Path, nodes: int) -> Iterator[StartDaemon]:
    """Start daemons with further options: `start_daemon("--grace", "1s")`. They look at their invariants after each
    turn, are all stopped, and have to stop cleanly. In a suite over `nodes` one may be several of them."""
    numbers = itertools.count()
    with ExitStack() as running:
        if nodes > 1:
            yield lambda *options: running.enter_context(
                daemon_of(nodes, tmp_path / f"nodes-{next(numbers)}", "--check", *options)
            )
            return
        yield lambda *options: running.enter_context(
            Daemon(tmp_path / f"daemon-{next(numbers)}.log", "--check", *options)
        )


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> Daemon:
    """One daemon with its defaults."""
    return start_daemon()
