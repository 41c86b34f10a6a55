"""The profiles for applications, tiny: they pass and have their keys, and what is refused or miscounted fails them."""

from __future__ import annotations

import os

import pytest

from bench.errors import BenchError
from bench.machine.cores import Cores
from bench.profiles import channel, core, service, webhooks
from bench.results.outcome import OURS, Outcome
from presenced.core.parts.channel import Channel

CORE = max(os.sched_getaffinity(0))
CORES = Cores(CORE, CORE)


def figures(outcome: Outcome) -> dict[str, list[float]]:
    assert not outcome.interrupted and not outcome.faults()
    found = outcome.servers[OURS].figures
    assert outcome.main_figure in found
    return found


def test_service() -> None:
    found = figures(service.run(devices=600, rounds=2, cores=CORES))
    assert found["server_cpu_us_per_attach"][0] > 0
    assert len(found["server_cpu_us_per_beat"]) == 2 and min(found["server_cpu_us_per_beat"]) > 0


def test_webhooks() -> None:
    found = figures(webhooks.run(users=300, changes=300, rounds=1, cores=CORES))
    assert found["alone_events_per_s"][0] > 0 and found["server_cpu_us_per_change_without_webhooks"][0] > 0
    assert len(found["server_cpu_us_per_event_in_a_batch_of_100"]) == 1


def test_events_that_do_not_arrive_fail_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "STALL_S", 0.1)
    monkeypatch.setattr(webhooks.EventCounter, "count", lambda self, events: None)
    with pytest.raises(BenchError, match="300 of 300 events were not posted"):
        webhooks.run(users=300, changes=300, rounds=1, cores=CORES)


def test_core() -> None:
    outcome = core.run(users=(1000, 2000), live_devices=1000, cores=CORES)
    found, series = figures(outcome), outcome.servers[OURS].series
    assert [users for users, _ in series["change_us_by_users"]] == [1000, 2000]
    first, last = (cost for _, cost in series["change_us_by_users"])
    assert len(found["change_us"]) == 3 and sorted(found["change_us"])[1] == last
    assert found["change_ratio_last_to_first"] == [pytest.approx(last / first, abs=0.001)]
    assert found["bytes_per_live_device"][0] > 0


def test_channel() -> None:
    outcome = channel.run(members=2000, changes_per_s=100, seconds=3, cores=CORES)
    found = figures(outcome)
    assert found["changes"] == [300] * 3
    assert 2 <= found["frames_per_watcher_max"][0] <= 4, "a large room tells each watcher once a second"
    turns = outcome.servers[OURS].latency["turn"].count
    assert 0 < turns == 3 * 3000 - sum(found["turns_without_frames"]), "those that told nobody anything do not count"


def test_a_room_that_miscounts_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channel, "count_list", lambda self: [0, 1, 2, 3, 4])
    with pytest.raises(BenchError, match="not the truth"):
        channel.run(members=2000, changes_per_s=100, seconds=2, cores=CORES)
