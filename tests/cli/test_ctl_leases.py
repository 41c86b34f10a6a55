"""`presencectl lease` against the real daemon."""

from __future__ import annotations

import json

from presenced.cli import exits
from presenced.sync import connect_service
from tests.cli.commands import ctl
from tests.support.daemon import Daemon
from tests.support.until import until


def test_a_job_is_online_for_a_time_without_a_connection(daemon: Daemon) -> None:
    as_service = ("--url", daemon.url("root", "x"))
    done = ctl(*as_service, "lease", "backup", "job", "--for", "5m", "--status", "dnd", "--kind", "job")
    assert (done.returncode, done.stdout) == (0, "") and "backup/job is dnd until " in done.stderr
    with connect_service(daemon.url("root", "").rstrip("/")) as p:
        (device,) = p.get_devices("backup")
        assert (device.state, device.status, device.kind) == ("grace", "dnd", "job")
        assert 290_000 < device.lease_until_ms - p.server_time_ms <= 300_000
        listed = ctl(*as_service, "--as", "backup", "--text", "devices")
        assert "grace until " in listed.stdout
        (row,) = [
            json.loads(line) for line in ctl(*as_service, "--as", "backup", "--json", "devices").stdout.splitlines()
        ]
        assert abs(row["lease_until_ms"] - device.lease_until_ms) <= 1
        assert ctl(*as_service, "lease", "backup", "job", "--for", "300ms").returncode == 0
        until(lambda: p.get_devices("backup")[0].state == "gone", "the lease ends")
        assert ctl(*as_service, "lease", "backup", "job", "--for", "1h").returncode == 0
        assert ctl(*as_service, "lease", "backup", "job", "--end").returncode == 0
        assert p.get_devices("backup")[0].state == "gone"


def test_what_makes_no_sense_is_said(daemon: Daemon) -> None:
    lease = ("--url", daemon.url("root", "x"), "lease", "backup", "job")
    for words in ((), ("--for", "5m", "--end")):
        done = ctl(*lease, *words)
        assert done.returncode == exits.USAGE and "give --for DURATION, or --end" in done.stderr
    assert "more than 0" in ctl(*lease, "--for", "0").stderr
    assert "there is no device 'job'" in ctl(*lease, "--end").stderr
    assert ctl(*lease, "--for", "1h").returncode == ctl(*lease, "--end").returncode == 0
    assert "is gone already" in ctl(*lease, "--end").stderr
