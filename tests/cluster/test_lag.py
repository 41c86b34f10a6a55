"""For how long a node is behind the log."""

from __future__ import annotations

from presenced.server.clustering.lag import ENDS_KEPT, Lag


def test_who_is_always_late_by_the_same_is_always_behind() -> None:
    """A node that reads all, six seconds later."""
    lag = Lag()
    seen = []
    for second in range(0, 60, 2):
        lag.note_end(100 * second, 1_000 * second)
        seen.append(lag.behind_ms(100 * (second - 6), 1_000 * second))
    assert set(seen[5:]) == {4_000}, "it has read the end of six seconds ago, and not the one behind that"


def test_who_reads_a_busy_log_at_once_is_not_behind() -> None:
    lag = Lag()
    for second in range(0, 60, 2):
        lag.note_end(100 * second, 1_000 * second)
        assert lag.behind_ms(100 * second - 1, 1_000 * second) == 1
        assert lag.behind_ms(100 * second + 50, 1_000 * second + 500) == 0


def test_the_same_end_again_is_no_news_and_a_log_that_began_anew_has_none() -> None:
    lag = Lag()
    for second in range(5):
        lag.note_end(7, 1_000 * second)
    assert lag.behind_ms(6, 9_000) == 9_000
    lag.forget()
    assert not lag.behind_ms(0, 9_000)


def test_of_a_node_that_is_behind_for_hours_the_oldest_is_known() -> None:
    lag = Lag()
    for end_n in range(10 * ENDS_KEPT):
        lag.note_end(end_n, end_n)
    assert lag.behind_ms(-1, 10_000) == 10_000 and len(lag._ends) == ENDS_KEPT
