"""What the plots are drawn from: rates and quantiles of one second each, the last five minutes of them."""

from __future__ import annotations

import pytest

from presenced.ops.history import SAMPLES_MAX, SERIES, History
from presenced.server.stats import Times
from presenced.server.status_report import quantiles
from tests.support.status import durations, made_status


def last(history: History) -> dict[str, int]:
    return {name: values[-1] for name, values in history.series.items()}


def test_totals_become_rates_and_levels_stay() -> None:
    history = History()
    history.sample(made_status(uptime_ms=5_000, deliveries=100, changes=10, frames_in=1_000, cpu_ms=50))
    assert len(history) == 0, "one look at totals says nothing of a rate"
    history.sample(
        made_status(
            uptime_ms=6_000,
            deliveries=350,
            changes=17,
            frames_in=1_900,
            cpu_ms=350,
            links=3,
            users_online=2,
            rss_bytes=9,
        )
    )
    assert last(history) == {
        "at_ms": 6_000,
        "deliveries_per_s": 250,
        "changes_per_s": 7,
        "frames_per_s": 900,
        "links": 3,
        "users_online": 2,
        "turn_p99_us": 0,
        "lag_p99_us": 0,
        "rss_bytes": 9,
        "cpu_permille": 300,
    }


def test_a_sample_that_comes_late_is_spread_over_the_time_that_went_by() -> None:
    history = History()
    history.sample(made_status(uptime_ms=0, deliveries=0))
    history.sample(made_status(uptime_ms=4_000, deliveries=1_000))
    assert last(history)["deliveries_per_s"] == 250


def test_two_looks_in_one_moment_divide_by_nothing() -> None:
    history = History()
    history.sample(made_status(uptime_ms=1_000))
    history.sample(made_status(uptime_ms=1_000, deliveries=1 << 40))
    assert len(history) == 0


def test_the_quantile_is_that_of_the_second_and_not_of_the_whole_run() -> None:
    times = Times()
    for _ in range(100_000):
        times.add(40_000)
    history = History()
    history.sample(made_status(uptime_ms=0, turn=quantiles(times), lag=durations()))
    for _ in range(10):
        times.add(3_000_000)
    history.sample(made_status(uptime_ms=1_000, turn=quantiles(times), lag=durations()))
    assert last(history)["turn_p99_us"] == 3_000, "the bucket ends at 4,096 us, and none took more than 3,000"
    assert quantiles(times).p99_us < 100, "over the whole run ten of them are nothing"
    history.sample(made_status(uptime_ms=2_000, turn=quantiles(times), lag=durations()))
    assert last(history)["turn_p99_us"] == 0, "nothing happened in this second"


def test_buckets_that_go_on_counting_do_not_change_what_was_remembered() -> None:
    status = made_status(uptime_ms=0, turn=durations(10))
    history = History()
    history.sample(status)
    status.turn.buckets[7] += 1
    history.sample(made_status(uptime_ms=1_000, turn=status.turn))
    assert last(history)["turn_p99_us"] > 0


def test_what_is_longer_than_any_bucket_shows_as_the_longest_seen() -> None:
    history = History()
    history.sample(made_status(uptime_ms=0, lag=durations()))
    history.sample(made_status(uptime_ms=1_000, lag=durations(25_000_000)))
    assert last(history)["lag_p99_us"] == 25_000_000


@pytest.mark.parametrize("samples", [SAMPLES_MAX, SAMPLES_MAX + 1, SAMPLES_MAX + 57])
def test_the_oldest_make_room(samples: int) -> None:
    history = History()
    for second in range(samples + 1):
        history.sample(made_status(uptime_ms=second * 1_000))
    assert [*history.series] == [*SERIES]
    for values in history.series.values():
        assert len(values) == SAMPLES_MAX
    assert history.series["at_ms"][0] == (samples - SAMPLES_MAX + 1) * 1_000
    assert history.series["at_ms"][-1] == samples * 1_000


def test_what_was_five_minutes_ago() -> None:
    history = History()
    for second in range(0, 1_000):
        status = made_status(uptime_ms=second * 1_000, stalls=second)
        history.sample(status)
        before = history.earlier(status)
        if second < 300:
            assert before is None, "it does not run as long"
        else:
            assert before is not None and 300 <= second - before.stalls < 311
    assert len(history._marks) < 40
