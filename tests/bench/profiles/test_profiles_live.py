"""The profiles of presenced alone, tiny, on the real daemon: they count what there is to count, and a daemon that does
another thing than it should is found out. Nothing looks at how fast anything was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.load import http_clients, mix
from bench.load.daemon import start_daemon
from bench.machine import disk
from bench.machine.cores import Cores
from bench.machine.server import Server
from bench.paths import REPOSITORY
from bench.peers.presenced_contacts import PresencedContacts
from bench.profiles import (
    flap,
    graph,
    http,
    idle,
    latency,
    login,
    mixed,
    operate,
    questions,
    reconnection,
    restart,
    scale,
    slow,
    soak,
)
from bench.results.outcome import OURS, Outcome, ServerOutcome

CORE = max(os.sched_getaffinity(0))
CORES = Cores(CORE, CORE)
"""Shared, so that the generator does not spin beside the other tests."""


def ours(outcome: Outcome) -> ServerOutcome:
    assert not outcome.interrupted
    assert outcome.main_figure in outcome.servers[OURS].figures
    return outcome.servers[OURS]


class Progress:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []

    def __call__(self, what: str, done: int, total: int) -> None:
        self.told.append((what, done, total))


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Taken for a disk, whatever it is."""
    monkeypatch.setattr(disk, "IN_MEMORY", ())
    return tmp_path


def with_options(*options: str) -> Callable[..., Server]:
    """A `start_daemon` that sets these, whatever else is asked for."""

    def start(core: int, given: tuple[str, ...] = (), **rest: Any) -> Server:
        return start_daemon(core, (*given, *options), **rest)

    return start


# --- latency -----------------------------------------------------------------------------------------------------


def test_latency_finds_the_peak_and_then_keeps_to_a_share_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "PEAK_S", 0.2)
    progress = Progress()
    found = latency.run(users=6, contacts=2, share=0.1, seconds=0.2, rounds=2, cores=CORES, progress=progress)
    told = ours(found)
    assert found.options["peak"] > 0 and told.figures["peak_changes_per_s"] == [found.options["peak"]]
    assert len(told.figures["p99_us"]) == len(told.figures["generator_lag_p99_us"]) == 2
    assert told.checks.faults == {} and told.checks.deliveries > 0
    waits = told.latency["change_to_watcher"]
    assert 0 < waits.p50_us <= waits.p99_us <= waits.p999_us <= waits.max_us
    assert progress.told[-1] == ("rounds", 2, 2)


def test_latency_at_a_stated_peak_tells_every_change_to_every_watcher() -> None:
    found = latency.run(users=6, contacts=2, peak=200, share=0.5, seconds=0.5, even=True, rounds=1, cores=CORES)
    told = ours(found)
    assert told.figures["changes_per_s"] == [100]
    # On average two watch each of the six; who changes is drawn.
    deliveries = told.checks.deliveries + told.figures["merged"][0]
    assert told.latency["change_to_watcher"].count == deliveries > 0
    assert any("half of the peak" in note for note in found.notes)


def test_a_daemon_that_holds_changes_back_is_charged_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spacing lets a user's changes wait: a closed loop would not see it, as the reply does not."""
    monkeypatch.setattr(latency, "start_daemon", with_options("--change-spacing", "250ms", "--change-burst", "1"))
    monkeypatch.setattr("bench.load.openloop.QUIET_S", 0.5)
    monkeypatch.setattr(latency.OpenLoop.run, "__kwdefaults__", {"quiet_s": 0.6})
    found = latency.run(users=3, contacts=2, peak=100, share=1.0, seconds=0.6, even=True, rounds=1, cores=CORES)
    told = ours(found)
    assert told.checks.faults == {}
    assert told.figures["merged"][0] > 0
    assert told.latency["change_to_watcher"].p99_us > 100_000


# --- questions --------------------------------------------------------------------------------------------------


def test_questions_are_answered_and_changes_held_against_those_beside_awaits() -> None:
    found = questions.run(links=3, awaits=40, sweeps=2, rounds=2, cores=CORES)
    told = ours(found)
    assert {questions.CHANGE, questions.CHANGE_BESIDE, *questions.ASKED} <= set(told.figures)
    one, other = told.figures[questions.CHANGE], told.figures[questions.CHANGE_BESIDE]
    assert told.figures[questions.RATIO] == [round(b / a, 3) for a, b in zip(one, other, strict=True)]
    assert len(told.figures["server_cpu_us_per_await"]) == 1
    with pytest.raises(BenchError, match="an even number"):
        questions.run(links=3, awaits=1, sweeps=3, rounds=1, cores=CORES)


# --- http -------------------------------------------------------------------------------------------------------


def test_requests_over_http_are_counted_and_timed() -> None:
    found = http.run(connections=2, requests=20, rounds=2, cores=CORES)
    told = ours(found)
    for name in (http.FIGURE, http.RATE, "server_cpu_us_per_set_status", "server_cpu_us_per_get_status_alone"):
        assert len(told.figures[name]) == 2 and min(told.figures[name]) > 0
    assert told.latency["get_status"].count == 60, "the first round warms up"


def test_a_request_over_http_that_is_refused_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(http.ASKED, "who", http_clients.request("who", {"limit": 1_000}, "backend"))
    with pytest.raises(BenchError, match="answered by .*400"):
        http.run(connections=2, requests=2, rounds=1, cores=CORES)


# --- scale, idle -------------------------------------------------------------------------------------------------


def test_scale_measures_each_size_of_one_round_and_compares_them() -> None:
    found = scale.run(links=(3, 12), deliveries=24, rounds=2, cores=CORES)
    told = ours(found)
    # In each round and at each size one change warms up.
    assert told.checks.deliveries == 2 * ((1 + 8) * 3 + (1 + 2) * 12)
    assert told.checks.faults == {}
    first, last = (told.figures[f"server_cpu_us_per_delivery_at_{size}"] for size in (3, 12))
    assert told.figures["cpu_ratio_last_to_first"] == [
        round(one / other, 3) for one, other in zip(last, first, strict=True)
    ]
    assert [size for size, _ in told.series["server_cpu_us_per_delivery_by_links"]] == [3, 12]


def test_scale_counts_watchers_that_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "STEP_TIMEOUT_S", 0.3)
    # The burst is spent at once, and what is spaced by an hour does not arrive.
    monkeypatch.setattr(scale, "start_daemon", with_options("--change-spacing", "1h", "--change-burst", "1"))
    found = scale.run(links=(3,), deliveries=6, rounds=1, cores=CORES)
    assert found.faults()[OURS] == {"stale": 3}


def test_idle_tells_memory_and_cpu_of_each_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "DEADLINES_S", 0.0)
    progress = Progress()
    found = idle.run(links=300, rest_s=0.05, rounds=1, cores=CORES, progress=progress)
    assert ours(found).figures.keys() >= {"rss_bytes_per_device", "idle_cpu_us_per_s", "server_cpu_us_per_hello"}
    assert progress.told[-1] == ("links of round 1", 300, 300)


def test_too_many_links_are_refused_with_the_number_that_they_need() -> None:
    for run in (
        lambda: idle.run(links=10**8, cores=CORES),
        lambda: scale.run(links=(10**8,), cores=CORES),
        lambda: flap.run(links=10**8, cores=CORES),
        lambda: slow.run(watchers=10**8, cores=CORES),
    ):
        with pytest.raises(BenchError, match=r"needs 10\d{7} file descriptors"):
            run()


# --- slow, flap --------------------------------------------------------------------------------------------------


def test_slow_readers_get_the_latest_once_they_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow, "RECEIVE_BUFFER_BYTES", 1024)
    options = {"watchers": 3, "slow": 1, "publishers": 2, "seconds": 1.0, "rounds": 1}
    found = slow.run(changes_per_s=4000, cores=CORES, **options)
    told = ours(found)
    assert told.checks.faults == {}
    assert told.figures["merged_for_slow"][0] > 0, "the buffers did not fill"
    assert told.figures.keys() >= {"p99_ratio", "slow_rss_growth_bytes", "slow_catch_up_s"}
    assert told.latency.keys() == {"change_to_watcher", "change_to_watcher_beside_slow"}


def test_a_slow_reader_that_never_reads_again_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow, "CATCH_UP_S", 0.1)
    monkeypatch.setattr(slow.Audience, "read_again", lambda audience: (audience._deaf.clear(), (0, 0.0))[1])
    found = slow.run(watchers=3, slow=1, publishers=2, changes_per_s=100, seconds=0.3, rounds=1, cores=CORES)
    # It knows the last words from before it stopped reading, of which there are two.
    assert found.faults()[OURS] == {"stale": 2}
    assert any("did not fill" in note for note in found.notes) == (ours(found).figures["merged_for_slow"] == [0])


def test_all_cannot_be_slow() -> None:
    with pytest.raises(BenchError, match="some must go on reading"):
        slow.run(watchers=3, slow=3, cores=CORES)


def test_flaps_within_the_grace_are_told_to_nobody_and_later_ones_twice() -> None:
    found = flap.run(links=8, watchers=2, late=3, grace_s=1.0, rounds=2, cores=CORES)
    told = ours(found)
    assert told.checks.faults == {}
    assert told.checks.deliveries == 3 * 2 * 2
    assert len(told.figures["server_cpu_us_per_flap"]) == 2
    assert any("change spacing is on" in note for note in found.notes)


def test_a_daemon_without_grace_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flap, "start_daemon", with_options("--grace", "1ms"))
    come = flap.Flappers.come

    def come_late(flappers: flap.Flappers, users: list[str]) -> float:
        """Not before the daemon has told that the first of them is gone; the others may still return in time."""
        if flappers.lost_ns:
            assert flappers._poller.poll(30)
        return come(flappers, users)

    monkeypatch.setattr(flap.Flappers, "come", come_late)
    found = flap.run(links=4, watchers=1, late=0, grace_s=60.0, rounds=1, cores=CORES)
    assert found.faults()[OURS].keys() == {"ghost"}


def test_a_return_that_takes_longer_than_the_grace_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    come = flap.Flappers.come
    monkeypatch.setattr(flap.Flappers, "come", lambda flappers, users: come(flappers, users) + 10)
    with pytest.raises(BenchError, match="raise --grace-s"):
        flap.run(links=4, watchers=1, late=2, grace_s=10, rounds=1, cores=CORES)


# --- who may see whom ----------------------------------------------------------------------------------------------


def test_users_who_see_their_contacts_alone_are_told_as_much_as_those_who_see_everybody() -> None:
    found = graph.run(users=6, contacts=3, changes=5, rounds=1, seed=1, cores=CORES, see_contacts=True)
    assert {name: told.checks.deliveries for name, told in found.servers.items()} == {
        OURS: 6 * 3 * 5,
        PresencedContacts.name: 6 * 3 * 5,
    }
    found = login.run(users=8, contacts=3, rounds=1, seed=1, cores=CORES, see_contacts=True)
    assert [told.checks.faults for told in found.servers.values()] == [{}, {}]
    assert [told.checks.deliveries for told in found.servers.values()] == [24, 24]


# --- restart -----------------------------------------------------------------------------------------------------


def test_nobody_sees_a_restart(place: Path) -> None:
    found = restart.run(users=6, contacts=2, after_s=0.3, rounds=2, place=place, cores=CORES)
    told = ours(found)
    assert told.checks.faults == {}
    assert told.figures["false_transitions"] == [0, 0]
    assert told.checks.deliveries >= 2 * 6 * 2
    assert told.figures.keys() >= {"kill_ready_s", "term_ready_s", "server_cpu_us_per_login"}
    assert told.latency["login"].count == 2 * 6
    assert list(place.iterdir()) == []


def test_a_daemon_that_forgot_everybody_is_found_out(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, ...]] = []

    def elsewhere(core: int, options: tuple[str, ...] = (), **rest: Any) -> Server:
        started.append(options)
        if len(started) > 1:
            options = ("--data-dir", f"{options[1]}.{len(started)}")
        return start_daemon(core, options, **rest)

    monkeypatch.setattr(restart, "start_daemon", elsewhere)
    found = restart.run(users=6, contacts=2, after_s=0.2, rounds=1, place=place, cores=CORES)
    assert found.faults()[OURS]["lost"] >= 6 * 2


# --- return ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("contacts", "lost"), [(False, False), (True, False), (False, True), (True, True)])
def test_who_comes_back_with_what_it_has_is_told_what_is_new(place: Path, contacts: bool, lost: bool) -> None:
    found = reconnection.run(
        users=12, watched=5, changed=0.2, contacts=contacts, lost=lost, rounds=1, place=place, cores=CORES
    )  # fmt: skip
    told = ours(found)
    assert told.checks.faults == {}
    assert told.checks.deliveries == 3 * 12 * 5
    assert told.figures["records_per_return_told_all"] == [5]
    assert told.figures["records_per_return_told_new"][0] < 2
    assert told.figures["bytes_new_to_all"][0] < 0.5
    assert list(place.iterdir()) == []


def test_a_server_that_tells_what_is_known_is_found_out(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnection, "digest", lambda record: record.since_ms % 2**32)
    found = reconnection.run(users=6, watched=2, rounds=1, place=place, cores=CORES)
    assert found.faults()[OURS]["ghost"] >= 6


# --- mixed, soak -------------------------------------------------------------------------------------------------


def test_a_mixed_load_does_everything_and_everybody_knows_the_truth() -> None:
    found = mixed.run(
        users=30, contacts=5, seconds=2.0, speed=1200, heartbeat_s=10, rounds=1, seed=3, cores=CORES
    )  # fmt: skip
    told = ours(found)
    assert told.checks.faults == {}
    assert told.checks.deliveries > 0
    done = next(note for note in found.notes if note.startswith("done: "))
    for what in ("changes", "pauses", "logouts", "logins", "flaps", "queries", "heartbeats"):
        assert f" {what}" in done
    assert told.latency.keys() == {"change_to_watcher", "login", "query"}
    with pytest.raises(BenchError, match="ask for 10 s"):
        mixed.run(users=3, contacts=1, heartbeat_s=1, cores=CORES)
    assert any("in an hour each person online does" in note for note in found.notes)


def test_a_lost_link_that_is_told_is_a_ghost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mix, "start_daemon", with_options("--grace", "1ms"))
    monkeypatch.setattr("bench.load.crowd.BACK_S", (0.3, 0.4))
    found = mixed.run(users=10, contacts=5, seconds=1.0, speed=3000, rounds=1, cores=CORES)
    assert found.faults()[OURS]["ghost"] > 0


def test_a_soak_samples_the_server_and_fits_a_line() -> None:
    found = soak.run(minutes=0.02, users=10, contacts=3, speed=1000, sample_s=0.4, cores=CORES)
    told = ours(found)
    assert told.checks.faults == {}
    assert len(told.series["rss_bytes_by_s"]) == len(told.series["descriptors_beside_links_by_s"]) == 3
    assert len({value for _, value in told.series["descriptors_beside_links_by_s"]}) == 1
    growth = soak.slope(told.series["rss_bytes_by_s"]) * 60
    assert told.figures["rss_growth_bytes_per_min"] == [pytest.approx(growth, abs=0.01)]
    assert told.figures["descriptors_growth_per_min"] == [0]


# --- the end -----------------------------------------------------------------------------------------------------

INTERRUPTED = """
import os
from bench.machine.cores import Cores
from bench.profiles import {module}
core = max(os.sched_getaffinity(0))
told = lambda what, done, total: print(what, done, flush=True)
outcome = {module}.run({options}, cores=Cores(core, core), progress=told)
print("outcome", outcome.interrupted, sorted(outcome.servers["presenced"].figures), flush=True)
"""


@pytest.mark.parametrize(
    ("module", "options", "after"),
    [
        ("latency", "users=4, contacts=2, peak=100, seconds=0.2, rounds=10**6", "rounds 1"),
        ("mixed", "users=10, contacts=2, seconds=0.2, rounds=10**6", "rounds 1"),
        ("flap", "links=4, watchers=1, late=1, rounds=10**6", "rounds 1"),
        ("scale", "links=(4,), deliveries=8, rounds=10**6", "sizes 1"),
    ],
)
def test_an_interrupted_run_has_its_rounds_and_leaves_no_process(module: str, options: str, after: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED.format(module=module, options=options)]
    with ExitStack() as stack:
        bench = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        stack.callback(bench.wait)
        stack.callback(bench.kill)
        assert bench.stdout is not None
        stack.callback(bench.stdout.close)
        while not (line := bench.stdout.readline()).startswith(after):
            assert line, "it ended before its first round was over"
        children = Path(f"/proc/{bench.pid}/task/{bench.pid}/children").read_text().split()
        bench.send_signal(signal.SIGINT)
        said = bench.stdout.read()
        assert bench.wait(30) == 0
    assert "outcome True [" in said and "core_taken_by_others" in said
    deadline_s = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert time.monotonic() < deadline_s, "the daemon is still there"


# --- operate -----------------------------------------------------------------------------------------------------


def test_operate_starts_scrapes_reloads_and_beats() -> None:
    found = operate.run(links=20, seconds=0.3, rounds=2, cores=CORES)
    told = found.servers[OURS].figures
    assert {name: len(values) for name, values in told.items()} == dict.fromkeys(
        (
            *("ready_ms", "ready_cpu_ms", "get_ms", "get_cpu_ms", "scrape_ms"),
            *("calm_ping_max_ms", "reload_ms", "reload_ping_max_ms", "server_cpu_percent"),
        ),
        2,
    )
    assert all(value > 0 for name, values in told.items() if name != "reload_ms" for value in values)


def test_operate_tells_a_reload_that_was_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_from_1(path: Path, number: int) -> None:
        path.write_text('presence.grace = "15s"' if number == 0 else "presence.grace = 15")

    monkeypatch.setattr(operate, "write_settings", broken_from_1)
    with pytest.raises(BenchError, match="did not take the new configuration"):
        operate.run(links=2, seconds=0.1, rounds=1, cores=CORES)
