"""A server knows its log by the port alone: any log that has it is looked at, shown, saved and closed."""

from __future__ import annotations

import pytest

from presenced.config.settings import Settings
from presenced.server.fact_log import LogFailed, MemoryLog
from presenced.server.server import Server
from presenced.server.status import LogStatus
from presenced.server.status_report import take_status
from tests.support.status import made_log


class NotingLog(MemoryLog):
    """Neither of ours: it has something to save and to close, and notes what it is told."""

    has_news = True
    is_over = False

    def __init__(self, error: OSError | None = None) -> None:
        super().__init__()
        self.told: list[str] = []
        self.error = error

    def status(self) -> LogStatus | None:
        return made_log(durability="of its own")

    def take_snapshot(self) -> None:
        self.told.append("take_snapshot")

    def hurry(self) -> None:
        self.told.append("hurry")

    async def close(self, version: int) -> None:
        self.told.append("close")
        self.is_over = True


async def serving(log: MemoryLog) -> Server:
    server = Server(Settings(dev=True, listen="127.0.0.1:0"), log=log)
    await server.start()
    return server


async def test_a_log_of_another_kind_is_shown_saved_and_closed() -> None:
    log = NotingLog()
    server = await serving(log)
    shown = take_status(server).log
    assert shown is not None and shown.durability == "of its own"
    server.take_snapshot()
    assert log.told == ["take_snapshot"]
    await server.stop()
    await server.wait_stopped()
    assert log.told == ["take_snapshot", "take_snapshot", "hurry", "close"]


async def test_what_keeps_a_log_from_closing_in_order_is_what_the_server_ends_with() -> None:
    server = await serving(NotingLog(OSError("no room")))
    await server.stop()
    with pytest.raises(LogFailed, match="no room"):
        await server.wait_stopped()


async def test_without_a_disk_there_is_nothing_to_show_and_nothing_to_save(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "presenced")
    server = await serving(MemoryLog())
    assert take_status(server).log is None
    server.take_snapshot()
    assert "snapshot: none is taken, because the state is in memory only" in caplog.text
    await server.stop()
    await server.wait_stopped()
