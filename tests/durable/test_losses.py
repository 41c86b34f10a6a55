"""A stop that could not save everything: it says so, and the next start does not take the store for complete."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from presenced.config.settings import Settings
from presenced.server.durable_log import DurableLog
from presenced.server.fact_log import LogFailed
from presenced.server.server import Server
from presenced.storage.files import DiskFull, OsDirectory
from presenced.storage.journal import Journal
from presenced.storage.manifest import Manifest, read_manifest


def manifest_in(data: Path) -> Manifest:
    directory = OsDirectory(data)
    try:
        manifest, _ = read_manifest(directory)
    finally:
        directory.close()
    assert manifest is not None
    return manifest


async def started(data: Path, durability: str) -> tuple[Server, DurableLog]:
    server = Server(Settings(dev=True, listen="127.0.0.1:0", data_dir=str(data), durability=durability))
    await server.start()
    assert isinstance(server.log, DurableLog)
    return server, server.log


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """For snapshots; the log has some."""

    def finish(self: Journal, writer: Any, version: int, *, alone: bool) -> Iterator[None]:
        raise DiskFull("no room for the last snapshot")
        yield

    monkeypatch.setattr(Journal, "finish_snapshot", finish)


@pytest.mark.parametrize("durability", ["always", "off"])
async def test_a_stop_that_saves_what_was_lost_is_clean(tmp_path: Path, durability: str) -> None:
    server, log = await started(tmp_path, durability)
    lose(log)
    await server.stop()
    await server.wait_stopped()
    assert log.snapshots == 1 and manifest_in(tmp_path).clean


@pytest.mark.parametrize("durability", ["always", "off"])
async def test_a_stop_that_cannot_save_what_was_lost_is_not_clean(
    tmp_path: Path, durability: str, no_room: None
) -> None:
    server, log = await started(tmp_path, durability)
    lose(log)
    await server.stop()
    with pytest.raises(LogFailed, match="in memory alone"):
        await server.wait_stopped()
    assert not manifest_in(tmp_path).clean


def lose(log: DurableLog) -> None:
    if log._durability.policy == "off":
        log._dropped = True
    else:
        log._committer.losses += 1
