"""Heartbeats, liveness and idle reports on a virtual clock."""

from __future__ import annotations

from presenced.client.protocol.heartbeat import Activity, Heartbeats


def run(heartbeats: Heartbeats, until_ms: int, *, answers: bool) -> list[tuple[int, str]]:
    """What the heartbeats does from 0 to `until_ms` when the server answers pings at once, or not at all."""
    done: list[tuple[int, str]] = []
    now_ms = heard_ms = 0
    while now_ms <= until_ms:
        while (due := heartbeats.due(now_ms, heard_ms)) is not None:
            done.append((now_ms, due))
            if due == "lost":
                return done
            if due == "ping" and answers:
                heard_ms = now_ms
        assert heartbeats.next_ms(heard_ms) > now_ms, (
            "the heartbeats wants to be called again without letting time pass"
        )
        now_ms = heartbeats.next_ms(heard_ms)
    return done


class TestHeartbeats:
    def test_it_beats_at_the_interval_after_a_first_beat_in_its_second_half(self) -> None:
        heartbeats = Heartbeats(0, 1000, 500, jitter=0.5)
        beats = [at_ms for at_ms, what in run(heartbeats, 4000, answers=True) if what == "heartbeat"]
        assert beats == [750, 1750, 2750, 3750]
        assert Heartbeats(0, 1000, 500, jitter=0.0).heartbeat_ms == 500
        assert Heartbeats(0, 1000, 500, jitter=1.0).heartbeat_ms == 1000

    def test_a_silent_server_is_asked_after_two_intervals(self) -> None:
        pings = [at_ms for at_ms, what in run(Heartbeats(0, 1000, 500, 0.5), 7000, answers=True) if what == "ping"]
        assert pings == [2000, 4000, 6000]

    def test_silence_after_that_means_the_link_is_lost(self) -> None:
        assert run(Heartbeats(0, 1000, 700, 0.5), 9000, answers=False)[-2:] == [(2000, "ping"), (2700, "lost")]

    def test_what_comes_in_between_counts_as_an_answer(self) -> None:
        heartbeats = Heartbeats(0, 1000, 700, 1.0)
        assert heartbeats.due(2000, 0) == "ping"
        assert heartbeats.due(2000, 0) == "heartbeat"
        assert heartbeats.due(2700, 2001) is None

    def test_an_absurd_interval_does_not_make_it_spin(self) -> None:
        assert len(run(Heartbeats(0, 0, 500, 1.0), 1000, answers=True)) < 120


class TestActivity:
    def test_without_any_report_nothing_is_told(self) -> None:
        activity = Activity()
        assert [activity.tell(now_ms) for now_ms in (0, 10**6, 10**9)] == [None, None, None]

    def test_from_the_first_report_on_idle_time_grows(self) -> None:
        activity = Activity()
        activity.report(1000, 0)
        assert activity.idle_ms(4000) == 3000
        activity.report(5000, 60_000)
        assert activity.idle_ms(6000) == 61_000

    def test_input_after_being_away_is_told_at_once(self) -> None:
        activity = Activity()
        activity.report(0, 400_000)
        activity.tell(0)
        activity.report(10_000, 0)
        assert activity.is_urgent(10_000, 20_000, away_after_ms=300_000)

    def test_input_just_before_the_threshold_is_told_before_the_server_would_say_away(self) -> None:
        activity = Activity()
        activity.tell(0)
        activity.report(290_000, 0)
        assert activity.is_urgent(290_000, next_heartbeat_ms=315_000, away_after_ms=300_000)
        assert not activity.is_urgent(290_000, next_heartbeat_ms=299_000, away_after_ms=300_000)

    def test_ordinary_input_waits_for_the_heartbeat(self) -> None:
        activity = Activity()
        activity.tell(0)
        urgent = 0
        for now_ms in range(0, 29_000, 10):
            activity.report(now_ms, 0)
            urgent += activity.is_urgent(now_ms, 30_000, 300_000)
        assert urgent == 0

    def test_reports_are_spaced_even_where_the_threshold_is_below_the_heartbeat(self) -> None:
        activity = Activity()
        activity.tell(0)
        sent = 0
        for now_ms in range(0, 10_000, 10):
            activity.report(now_ms, 0)
            if activity.is_urgent(now_ms, 30_000, away_after_ms=8_000):
                activity.tell(now_ms)
                sent += 1
        assert sent == 9

    def test_idleness_is_never_urgent(self) -> None:
        activity = Activity()
        activity.tell(0)
        activity.report(5000, 301_000)
        assert not activity.is_urgent(5000, 30_000, 300_000)

    def test_without_a_threshold_nothing_is_urgent(self) -> None:
        activity = Activity()
        activity.report(0, 10**6)
        assert not activity.is_urgent(0, 30_000, away_after_ms=0)
