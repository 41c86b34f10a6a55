"""When a node is started, started again, ended and given up."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from presenced.nodes.node_life import (
    KILLED_AFTER_MS,
    PAUSE_MS,
    PAUSE_MS_MAX,
    SILENT_MS,
    UNMENDABLE,
    WELL_AFTER_MS,
    NodeLife,
    ending,
    sentence_of,
)


def ready(now_ms: int = 0) -> NodeLife:
    life = NodeLife("a")
    life.started()
    life.ready(now_ms)
    return life


def failed(life: NodeLife, now_ms: int, code: int = 70) -> int:
    """Let it end; returns how long it waits."""
    life.exited(code, now_ms, wanted=False)
    assert life.phase == "waiting" and life.due_ms is not None
    waits_ms = life.due_ms - now_ms
    life.started()
    return waits_ms


def test_the_pause_doubles_up_to_the_longest_and_begins_anew_after_a_good_while() -> None:
    life = ready()
    pauses = [failed(life, 0, code) for code in (70, -9, 1, 75, 74, 0, 70, 70)]
    assert pauses == [PAUSE_MS * 2**step for step in range(5)] + [PAUSE_MS_MAX] * 3
    life.ready(1000)
    assert failed(life, 1000 + WELL_AFTER_MS - 1) == PAUSE_MS_MAX
    life.ready(2000)
    assert failed(life, 2000 + WELL_AFTER_MS) == PAUSE_MS


def test_a_pause_never_grows_without_bounds() -> None:
    life = ready()
    assert [failed(life, 0) for _ in range(200)][-1] == PAUSE_MS_MAX


@pytest.mark.parametrize("code", sorted(UNMENDABLE))
def test_what_no_restart_can_mend_is_not_started_again_before_a_reload(code: int) -> None:
    life = ready()
    life.exited(code, 5, wanted=False)
    assert (life.phase, life.due_ms, life.code) == ("over", None, code)
    life.revive(9)
    assert (life.phase, life.due_ms) == ("waiting", 9)
    life.started()
    assert failed(life, 10) == PAUSE_MS


def test_one_that_was_drained_stays_away_and_one_that_failed_in_it_comes_back() -> None:
    life = ready()
    life.stopping()
    assert (life.phase, life.due_ms) == ("stopping", None)
    life.exited(0, 5, wanted=False)
    assert life.phase == "over"
    other = ready()
    other.stopping()
    assert failed(other, 5, 74) == PAUSE_MS


def test_a_reload_brings_one_back_that_still_drains() -> None:
    """Or that has ended just now: its end is not told at once."""
    life = ready()
    life.stopping()
    life.revive(4)
    assert (life.phase, life.due_ms) == ("stopping", None)
    life.exited(0, 5, wanted=False)
    assert (life.phase, life.due_ms) == ("waiting", 5)
    life.started()
    life.ready(6)
    life.stopping()
    life.exited(0, 7, wanted=False)
    assert life.phase == "over", "the reload was for that once"


def test_a_reload_of_one_that_drains_is_forgotten_when_all_are_to_end() -> None:
    life = ready()
    life.stopping()
    life.revive(4)
    life.exited(0, 5, wanted=True)
    assert (life.phase, life.due_ms) == ("over", None)


def test_when_all_are_to_end_nobody_comes_back() -> None:
    life = ready()
    life.exited(70, 5, wanted=True)
    assert (life.phase, life.due_ms) == ("over", None)
    waiting = ready()
    waiting.exited(70, 5, wanted=False)
    waiting.give_up()
    assert (waiting.phase, waiting.due_ms, waiting.code) == ("over", None, 0)


def test_silence_is_watched_from_when_it_is_ready() -> None:
    life = NodeLife("a")
    life.started()
    life.alive(5)
    assert life.due_ms is None, "a start may take long"
    life.ready(10)
    assert life.due_ms == 10 + SILENT_MS
    life.alive(20)
    assert life.due_ms == 20 + SILENT_MS
    life.abort(100)
    life.alive(101)
    life.ready(102)
    assert life.was_aborted and life.due_ms == 100 + KILLED_AFTER_MS, "no sign of life calls that back"
    life.kill()
    assert life.due_ms is None
    assert failed(life, 200, -9) == PAUSE_MS
    assert not life.was_aborted


STEPS = st.lists(
    st.sampled_from(["started", "ready", "alive", "stopping", "exit", "fail", "unmendable", "revive", "give_up"])
)


@given(STEPS)
def test_whatever_happens_one_that_waits_is_due_and_one_that_is_over_is_not(steps: list[str]) -> None:
    life = NodeLife("a")
    for now_ms, step in enumerate(steps):
        runs = life.phase in ("starting", "ready", "stopping")
        match step:
            case "started" if life.phase == "waiting":
                life.started()
            case "ready" if runs:
                life.ready(now_ms)
            case "alive" if runs:
                life.alive(now_ms)
            case "stopping" if runs:
                life.stopping()
            case "exit" | "fail" | "unmendable" if runs:
                life.exited({"exit": 0, "fail": 70, "unmendable": 78}[step], now_ms, wanted=False)
            case "revive":
                life.revive(now_ms)
            case "give_up":
                life.give_up()
        assert (life.due_ms is not None) == (life.phase in ("waiting", "ready"))


def test_what_systemctl_shows() -> None:
    lives = [NodeLife(name) for name in ("a", "b", "c", "d", "e")]
    assert sentence_of(lives[:1]) == "0 of 1 nodes serve; a is to be started"
    for life in lives:
        life.started()
        life.ready(0)
    assert sentence_of(lives) == "5 nodes serve"
    lives[0].exited(70, 0, wanted=False)
    lives[1].exited(78, 0, wanted=False)
    lives[2].stopping()
    lives[2].tell("draining 3 links")
    assert sentence_of(lives) == (
        "2 of 5 nodes serve; a ended with exit code 70 and is started again, b ended with exit code 78, c is stopping "
        "(draining 3 links)"
    )
    lives[0].started()
    lives[3].exited(-9, 0, wanted=True)
    assert sentence_of(lives).endswith(
        "a is starting, b ended with exit code 78, c is stopping (draining 3 links) and 1 more"
    )
    assert ending(-9) == "signal 9"
