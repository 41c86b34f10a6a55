"""The profiles for applications, tiny: they pass and have their keys, and what is refused or miscounted fails them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from bench import channel
from bench.__main__ import main
from bench.daemon import BenchError
from presenced.core.channels import Channel


@pytest.fixture(autouse=True)
def own_cores() -> Iterator[None]:
    """The bench pins its process, which is this one."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def figures(*arguments: str) -> dict[str, float]:
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    found: dict[str, float] = json.loads(result.stdout)
    return found


def test_service() -> None:
    found = figures("service", "--devices", "600", "--rounds", "1")
    assert found["devices"] == 600
    assert found["server_cpu_us_per_attach"] > 0 and found["server_cpu_us_per_beat"] > 0


def test_scale() -> None:
    found = figures("scale", "--users", "1000", "--users", "2000", "--live-devices", "1000")
    assert found["ratio"] == pytest.approx(found["change_us_at_2000"] / found["change_us_at_1000"], abs=0.001)
    assert found["bytes_per_live_device_at_2000"] > 0


def test_channel() -> None:
    found = figures("channel", "--members", "2000", "--changes-per-s", "100", "--seconds", "3")
    assert found["changes"] == 300
    assert 2 <= found["frames_per_watcher_max"] <= 4, "a large room tells each watcher once a second"


def test_a_room_that_miscounts_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channel, "count_list", lambda self: [0, 1, 2, 3, 4])
    with pytest.raises(BenchError, match="not the truth"):
        channel.run(members=2000, changes_per_s=100, seconds=2, cores=None)  # type: ignore[arg-type]
