"""Real daemons behind a real engine, for tests of what links are told."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from presenced.wire.messages import Get, SetStatus
from tests.support.daemon import Daemon
from tests.support.engines import RedisServer
from tests.support.wire import DONE, PRESENCE, RECORDS, Wire

LEASE = {"PRESENCED_CLUSTER__LEASE": "7s"}


class Cluster:
    """An engine, and daemons that are started one by one."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.engine = RedisServer(folder / "redis")
        stack.callback(self.engine.stop)
        self._stack = stack

    def start(self, name: str, *options: str) -> Daemon:
        """A node of this name that serves."""
        options = ("--cluster", f"unix://{self.engine.socket}", "--node", name, "--change-spacing", "0", *options)
        return self._stack.enter_context(Daemon(self.folder / f"{name}.log", *options, environ=LEASE))


def shown(link: Wire, name: str) -> list[object]:
    """What the link is told of the user when it asks."""
    link.send(Get(9_000, [name]))
    [record] = next(part for part in link.until(RECORDS) if isinstance(part, list))
    return record  # type: ignore[no-any-return]


def wait_for(link: Wire, shown: list[str]) -> None:
    """The link is pushed this status and text; what it was pushed before, since its node lags by moments, is read."""
    while link.until(PRESENCE)[1][1:3] != shown:
        pass


def pushed(link: Wire, name: str) -> list[str]:
    """The statuses of the user that the link was pushed so far."""
    return [frame[1][1] for frame in link.told if frame[0] == PRESENCE and frame[1][0] == name]


def set_status(link: Wire, number: int, status: str, text: str = "") -> None:
    link.send(SetStatus(number, status, text))  # type: ignore[arg-type]
    assert link.until(DONE)[1] == number
