"""Fixtures of the commands: terminals, and a daemon with an admin socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal
from tests.support.daemon import Daemon, StartDaemon


@pytest.fixture
def admin_path(tmp_path: Path) -> str:
    """Where the test's daemon has its admin socket."""
    return str(tmp_path / "admin.sock")


@pytest.fixture
def admin_daemon(start_daemon: StartDaemon, admin_path: str) -> Daemon:
    """A daemon with an admin socket."""
    return start_daemon("--admin-socket", admin_path)


@pytest.fixture
def on_terminal() -> Iterator[Callable[..., Terminal]]:
    """Start commands on terminals of their own; they are ended with the test."""
    running: list[Terminal] = []

    def start(*args: str) -> Terminal:
        running.append(Terminal(*args))
        return running[-1]

    yield start
    for one in running:
        one.close()
