"""Another configuration for a running server, with no operator's side: all of it holds, or nothing of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from presenced.config.settings import SettingsError
from presenced.server.fact_log import MemoryLog
from presenced.server.reconfiguration import prepare
from presenced.server.server import Server
from tests.support.in_process import InProcess
from tests.support.wire import opened


class PlannedLog(MemoryLog):
    """Notes when it is to take snapshots."""

    plan: tuple[int, int] | None = None

    def plan_snapshots(self, *, every_ms: int, log_bytes: int) -> None:
        self.plan = (every_ms, log_bytes)


def put_in_force(running: InProcess, **changed: Any) -> None:
    to = prepare(msgspec.structs.replace(running.settings, **changed))
    running.carry_out(lambda server: server.reconfigure(to))


def test_a_server_alone_goes_by_other_settings_at_once() -> None:
    log = PlannedLog()
    with InProcess(operated=False, parts={"log": log}, max_links=50) as running:
        link = opened(running.port, "alice")
        put_in_force(
            running,
            max_links=7,
            rate=9,
            memory_bytes=1 << 40,
            grace_ms=1_234,
            snapshot_every_ms=60_000,
            snapshot_log_bytes=1 << 20,
        )

        def in_force(server: Server) -> tuple[Any, ...]:
            [account] = server.links.accounts.by_user.values()
            server.memory.look(server.pacing.begin())
            return server.admission.links_max, account.rate, server.memory.budget_bytes, server.engine.policy.grace_ms

        assert running.ask(in_force) == (7, 9, 1 << 40, 1_234)
        assert log.plan == (60_000, 1 << 20)
        link.close()


def test_what_is_wrong_is_found_before_anything_is_applied() -> None:
    with InProcess(operated=False) as running:
        before = running.ask(lambda server: (server.settings, server.admission.links_max))
        with pytest.raises(SettingsError, match="tls_cert"):
            put_in_force(running, max_links=7, tls_cert="/nowhere/cert.pem", tls_key="/nowhere/key.pem")
        assert running.ask(lambda server: (server.settings, server.admission.links_max)) == before
