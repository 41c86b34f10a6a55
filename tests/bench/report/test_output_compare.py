"""Promises that are kept or broken, and two files side by side: what is noise and what is not."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.__main__ import main
from bench.report import comparison, slo
from bench.report.comparison import BETTER, CONDITION, NOISE, WORSE, verdict_of
from bench.results.files import json_text
from bench.results.outcome import OURS, Checks, Outcome
from tests.bench.made_up import core, fanout, idle, result

CPU = "server_cpu_us_per_delivery"


@pytest.mark.parametrize(
    ("text", "key", "most"),
    [
        ("p99=50ms", "p99", 50_000),
        ("p99.9=1s", "p99.9", 1_000_000),
        ("p50 = 350us", "p50", 350),
        ("MAX=2.5s", "max", 2_500_000),
        ("cpu=5us", "cpu", 5),
        ("cpu=800ns", "cpu", 0.8),
        ("ratio.redis=1.0", "ratio.redis", 1),
        ("ratio.limit=.5", "ratio.limit", 0.5),
    ],
)
def test_a_promise_is_read(text: str, key: str, most: float) -> None:
    found = slo.promise_of(text)
    assert (found.key, found.most) == (key, pytest.approx(most))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("p99", "of the form NAME=LIMIT"),
        ("p99=", "of the form NAME=LIMIT"),
        ("p99=fast", "of the form NAME=LIMIT"),
        ("p99=-5ms", "of the form NAME=LIMIT"),
        ("p99=50", "needs a unit of time"),
        ("p99=50min", "needs a unit of time"),
        ("p98=50ms", "names nothing that can be promised"),
        ("cpu=5", "needs a unit of time"),
        ("ratio.redis=1us", "a ratio has no unit"),
        ("ratio.oracle=1", "names no server"),
        ("ratio=1", "names nothing that can be promised"),
    ],
)
def test_what_is_not_a_promise_is_told_so(text: str, told: str) -> None:
    with pytest.raises(slo.BadPromise, match=told):
        slo.promise_of(text)


def broken(text: str, *outcomes: Outcome) -> list[str]:
    return slo.broken([slo.promise_of(text)], outcomes or [fanout()])


@pytest.mark.parametrize(
    "text", ["p50=325us", "p99=2ms", "p99.9=16ms", "max=1s", "cpu=3.5us", "ratio.redis=0.5", "ratio.limit=1.25"]
)
def test_a_kept_promise_says_nothing(text: str) -> None:
    assert broken(text) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("p50=300us", "fanout breaks --slo p50=300us: it is 324 us"),
        ("p90=400us", "it is 444 us"),
        ("p99=1ms", "it is 1.81 ms"),
        ("p99.9=15ms", "it is 15.3 ms"),
        ("max=100ms", "it is 158 ms"),
        ("cpu=3.4us", "it is 3.48 us"),
        ("ratio.redis=0.48", "it is 0.486"),
        ("ratio.limit=1.2", "it is 1.21"),
    ],
)
def test_a_broken_promise_says_what_is_the_case(text: str, told: str) -> None:
    assert len(broken(text)) == 1
    assert told in broken(text)[0]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("p99=1ms", "core has no latency from a change to its watchers"),
        ("cpu=1us", "the main figure of core is not CPU time but change_us"),
        ("ratio.redis=1", r"core was not compared with Redis"),
    ],
)
def test_a_promise_that_cannot_be_judged_is_not_taken_for_kept(text: str, why: str) -> None:
    [told] = broken(text, core())
    assert "cannot be judged" in told and why in told


def test_a_missing_peer_is_named_with_what_installs_it() -> None:
    assert "apt-get install mosquitto" in broken("ratio.mosquitto=1")[0]


def test_of_several_outcomes_those_are_judged_that_have_it() -> None:
    assert broken("p99=2ms", idle(), fanout(), core()) == []
    assert len(broken("p99=1ms", idle(), fanout(), fanout())) == 2
    assert "no profile was completed" in slo.broken([slo.promise_of("p99=1ms")], [])[0]


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ([3.0, 3.1, 3.2], [4.0, 4.1, 4.2], WORSE),
        ([4.0, 4.1, 4.2], [3.0, 3.1, 3.2], BETTER),
        ([3.0, 3.1, 3.2], [3.1, 3.15, 3.3], NOISE),
        # Apart, yet by no more than the rounds of one file are.
        ([3.0, 3.5, 4.0], [4.1, 4.4, 4.9], NOISE),
        ([3.0, 3.1], [9.0, 9.1], "too few rounds (2) to tell"),
        ([3.0], [9.0, 9.1, 9.2], "too few rounds (1) to tell"),
        # One bad round of many does not hide the rest.
        ([3.0, 3.1, 3.0, 3.1, 3.0, 3.1, 3.0, 9.0], [4.0, 4.1, 4.0, 4.1, 4.0, 4.1, 4.0, 4.1], WORSE),
    ],
)
def test_a_difference_counts_if_it_is_larger_than_the_rounds_own(a: list[float], b: list[float], verdict: str) -> None:
    assert verdict_of(CPU, a, b) == verdict
    swapped = {WORSE: BETTER, BETTER: WORSE}
    assert verdict_of("writes_per_s", a, b) == swapped.get(verdict, verdict)


@pytest.mark.parametrize(("count", "most"), [(3, 0.09), (4, 0.03), (5, 0.01), (8, 0.02), (20, 0.01)])
def test_the_same_program_twice_is_seldom_called_different(count: int, most: float) -> None:
    chance = random.Random(7)

    def noise() -> list[float]:
        return [chance.gauss(100, 5) for _ in range(count)]

    tries = 4000
    assert sum(verdict_of(CPU, noise(), noise()) != NOISE for _ in range(tries)) / tries < most


@pytest.mark.parametrize("figure", ["core_taken_by_others", "generator_lag_p99_us", "server_core_busy", "merged"])
def test_what_the_run_was_like_is_neither_better_nor_worse(figure: str) -> None:
    assert verdict_of(figure, [1.0, 1.0, 1.0], [9.0, 9.0, 9.0]) == CONDITION


def test_every_figure_and_ratio_of_both_files_is_compared() -> None:
    found = {(each.server, each.figure): each for each in comparison.compare(result(fanout()), result(fanout(1.5)))}
    ours = found[OURS, CPU]
    assert ours.ratio == pytest.approx(1.5, rel=1e-3) and ours.verdict == WORSE
    assert ours.low < 1.5 < ours.high
    assert found[OURS, "deliveries_per_s"].verdict == NOISE
    # Both sides of the ratio have become slower: it has not.
    assert found[OURS, "ratio to Redis"].verdict == NOISE
    assert found[OURS, "change_to_watcher_p99_us"].verdict.startswith("too few")
    assert found["ejabberd", CPU].b == pytest.approx(38.9 * 1.5, rel=0.02)


def test_files_of_different_work_or_machines_are_warned_of() -> None:
    a, b = result(fanout(), core(), name="a.json"), result(fanout(), name="b.json")
    b.outcomes[0].options["watchers"] = 10
    b.outcomes[0].servers[OURS].checks = Checks(lost=1)
    b.machine["cpu"] = "another"
    told = "\n".join(comparison.warnings(a, b))
    assert "cpu differs: Imagined CPU <9000> and another" in told
    assert "the options of fanout differ" in told and "watchers 1000 and 10" in told
    assert "fanout in b.json failed" in told
    assert "only one of the files has core" in told
    assert comparison.warnings(a, a) == []


def files(tmp_path: Path, *scales: float) -> list[str]:
    paths = []
    for number, scale in enumerate(scales):
        path = tmp_path / f"{number}.json"
        path.write_text(json_text(result(fanout(scale), idle())))
        paths.append(str(path))
    return paths


def test_compare_as_a_command(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["compare", *files(tmp_path, 1, 1.5)])
    assert done.exit_code == 0, done.output
    [line] = [line for line in done.output.splitlines() if "server CPU per delivery  presenced" in line]
    assert "1.50" in line and line.endswith("worse")
    assert "1 worse by more than the noise" in " ".join(done.output.split())
    assert done.output.startswith("A: 0.json, commit 0123456789ab with uncommitted changes, 2026-02-03")


def test_compare_as_json_and_as_a_gate(tmp_path: Path) -> None:
    slower = files(tmp_path, 1, 1.5)
    found = json.loads(CliRunner().invoke(main, ["compare", *slower, "--json"]).output)
    assert [each["verdict"] for each in found["differences"] if (each["server"], each["figure"]) == (OURS, CPU)] == [
        WORSE
    ]
    assert CliRunner().invoke(main, ["compare", *slower, "--gate"]).exit_code == 1
    assert CliRunner().invoke(main, ["compare", *reversed(slower), "--gate"]).exit_code == 0
    assert CliRunner().invoke(main, ["compare", slower[0], slower[0], "--gate"]).exit_code == 0


@pytest.mark.parametrize("text", ["{}", "no JSON", '{"schema": 1}', "[]", '{"schema": 2, "outcomes": []}'])
def test_files_that_are_no_results_are_a_usage_error(tmp_path: Path, text: str) -> None:
    [good] = files(tmp_path, 1)
    odd = tmp_path / "odd.json"
    odd.write_text(text)
    for command in (["compare", good, str(odd)], ["report", str(odd), "-o", str(tmp_path / "page.html")]):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 2
        assert "odd.json" in done.output
    assert not (tmp_path / "page.html").exists()
    assert CliRunner().invoke(main, ["compare", good, str(tmp_path / "none.json")]).exit_code == 2
