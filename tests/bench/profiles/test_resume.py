"""The profile `resume`, tiny, on the real daemon: what is taken back is counted, and what is not is found out."""

from __future__ import annotations

import os
from typing import Any

import pytest

from bench.errors import BenchError
from bench.load.daemon import start_daemon
from bench.machine.cores import Cores
from bench.machine.server import Server
from bench.profiles import resume
from bench.results.outcome import OURS

CORE = max(os.sched_getaffinity(0))
CORES = Cores(CORE, CORE)


def run(rounds: int = 2) -> dict[str, list[float]]:
    found = resume.run(devices=20, links=3, watched=4, rounds=rounds, cores=CORES)
    told = found.servers[OURS]
    assert told.checks.faults == {} and told.checks.deliveries == 2 * 3 * rounds
    return told.figures


def test_losses_and_returns_are_measured_with_a_token_and_without() -> None:
    figures = run()
    assert {name: len(values) for name, values in figures.items()} == dict.fromkeys(
        (
            "server_cpu_us_per_device",
            "server_cpu_us_per_device_lost",
            "return_ms",
            "slowest_ping_beside_ms",
            "server_cpu_us_per_loss_token",
            "server_cpu_us_per_return_token",
            "server_cpu_us_per_loss_plain",
            "server_cpu_us_per_return_plain",
        ),
        2,
    )


def test_a_daemon_that_gives_nothing_back_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(core: int, options: tuple[str, ...] = (), **rest: Any) -> Server:
        return start_daemon(core, ("--grace", "1ms"), **rest)

    monkeypatch.setattr(resume, "start_daemon", start)
    with pytest.raises(BenchError, match="taken back: False"):
        run()


def test_what_does_not_fit_one_request_is_refused() -> None:
    with pytest.raises(BenchError, match="257 watched users"):
        resume.run(devices=1, links=1, watched=257, rounds=1, cores=CORES)
