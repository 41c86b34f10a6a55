"""A snapshot that is taken while the server serves: it lets go of what is too old to save, and no piece is too long."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from presenced.core.parts.activity import keep_activity
from presenced.limits import ACTIVITY_AGE_MS_MAX
from presenced.server import snapshots
from presenced.server.server import Server
from presenced.storage.snapshot import SnapshotWriter
from presenced.wire.messages import ActivityInfo, Attach, Join, Ping
from tests.support.in_process import InProcess
from tests.support.wire import PONG, opened

NAMES = [f"u{number}" for number in range(600)]
"""More than one slice of them."""


def test_a_snapshot_drops_what_is_too_old_and_the_users_who_were_kept_for_it(tmp_path: Path) -> None:
    wall_ms = time.time_ns() // 1_000_000

    def fill(server: Server) -> None:
        for number, name in enumerate(NAMES):
            at_ms = wall_ms - ACTIVITY_AGE_MS_MAX - 10_000 if number % 3 else wall_ms
            keep_activity(server.engine.users.new(name), ActivityInfo("login", "", "", at_ms, ""), at_ms)
        server.take_snapshot()

    with InProcess(data_dir=str(tmp_path / "data")) as running:
        running.ask(fill)
        running.until(lambda server: sorted(server.engine.users) == sorted(NAMES[::3]))


def test_a_user_of_whom_very_much_is_known_is_saved_in_several_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "PIECE_BYTES", 10_000)
    sizes: list[int] = []
    add = SnapshotWriter.add

    def noted(writer: SnapshotWriter, payload: bytes, count: int) -> None:
        sizes.append(len(payload))
        add(writer, payload, count)

    monkeypatch.setattr(SnapshotWriter, "add", noted)
    channels = [f"channel-{number:03}-".ljust(128, "x") for number in range(500)]
    data = str(tmp_path / "data")
    with InProcess(data_dir=data) as running:
        with opened(running.port, "app", device="", role="service") as app:
            app.send(Attach(1, 1, "alice", "web"), *(Join(2, name, "alice", "web") for name in channels))
            app.send(Ping(3))
            app.until(PONG)
            running.ask(lambda server: server.take_snapshot())
            running.until(lambda server: server.log.snapshots == 1)  # type: ignore[attr-defined]
    assert sum(sizes) > 60_000 and max(sizes) < 11_000
    with InProcess(data_dir=data) as running:
        assert running.ask(lambda server: server.recovered is not None and server.recovered.snapshot)
        assert running.ask(lambda server: sorted(server.engine.users["alice"].channels or ())) == channels
