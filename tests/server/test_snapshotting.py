"""What a snapshot that is taken while the server serves does to the state: it lets go of what is too old to save."""

from __future__ import annotations

import time
from pathlib import Path

from presenced.core.activity import keep_activity
from presenced.limits import ACTIVITY_AGE_MS_MAX
from presenced.server.server import Server
from presenced.wire.messages import ActivityInfo
from tests.server.in_process import InProcess

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
