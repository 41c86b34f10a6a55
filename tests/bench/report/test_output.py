"""What is made of an outcome for people and programs: the table, JSON, CSV, the sentence. Nothing here is measured."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.machine.cores import Cores
from bench.machine.facts import machine_facts, machine_lines
from bench.report import table
from bench.report.sentences import faults_sentence, headline
from bench.results import units
from bench.results.files import (
    CSV_COLUMNS,
    NotAResult,
    csv_rows,
    json_text,
    outcome_of,
    read_result,
    write_csv,
    write_text,
)
from bench.results.outcome import (
    LIMIT,
    OURS,
    Checks,
    Latency,
    Outcome,
    ServerOutcome,
    curve_percents,
    partial,
    percentile,
)
from tests.bench import made_up
from tests.bench.made_up import MACHINE, fanout

MAIN = "server_cpu_us_per_delivery"


@pytest.mark.parametrize(
    ("figure", "value", "shown", "words"),
    [
        ("server_cpu_us_per_delivery", 3.4812, "3.48 us", "server CPU per delivery"),
        ("server_cpu_us_per_write", 1234.5, "1.23 ms", "server CPU per write"),
        ("rss_bytes_per_device", 3072, "3 KiB", "RSS per device"),
        ("rss_bytes", 31_457_280, "30 MiB", "RSS"),
        ("deliveries_per_s", 512_345.6, "512,346 /s", "deliveries per second"),
        ("idle_cpu_us_per_s", 41.26, "41.3 us", "idle CPU per second"),
        ("server_core_busy", 0.98765, "0.99", "server core busy"),
        ("log_ready_s", 2.4142, "2.41 s", "log ready"),
        ("turn_p99_ms", 0.75, "750 us", "turn p99"),
        ("change_us", 999.9, "1 ms", "change"),
        ("rounds", 5, "5", "rounds"),
        ("log_facts_per_cpu_s", 764_868.2, "764,868 /CPU s", "log facts per CPU second"),
        ("server_cpu_ms_per_s_per_1000_users", 23.14, "23.1 ms", "server CPU per second per 1000 users"),
        ("rss_growth_bytes_per_min", -825_000, "-806 KiB", "RSS growth per min"),
        ("us_per_write", 19.6, "19.6 us", "time per write"),
        ("bytes_per_user", 612, "612 B", "bytes per user"),
    ],
)
def test_a_figure_is_shown_with_the_unit_in_its_name(figure: str, value: float, shown: str, words: str) -> None:
    assert (units.show(figure, value), units.label(figure)) == (shown, words)


def test_only_so_much_a_second_is_better_the_more_there_is() -> None:
    assert units.is_rate("writes_per_s") and units.is_rate("log_facts_per_cpu_s")
    assert not units.is_rate("idle_cpu_us_per_s") and not units.is_rate("server_cpu_us_per_write")


def test_the_sentence_says_the_cost_and_its_ratios() -> None:
    sentence = headline(fanout())
    assert sentence.startswith(
        "one change told to 1,000 watchers costs 3.5 us of server CPU each: 1.2 x a bare C loop, "
    )
    assert "0.49 x Redis" in sentence and "0.044 x Prosody" in sentence


def test_several_publishers_make_another_sentence() -> None:
    outcome = fanout()
    outcome.options["publishers"] = 16
    assert headline(outcome).startswith("16 changes at once told to 1,000 watchers cost 3.5 us")


def test_a_profile_without_a_sentence_of_its_own_has_one_all_the_same() -> None:
    outcome = made_up.idle()
    outcome.profile = "unheard-of"
    assert headline(outcome) == "RSS per device: 3 KiB"
    outcome.servers.clear()
    assert headline(outcome).endswith("no round was completed")


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    ours, theirs = ServerOutcome(figures={MAIN: [2.0, 9.0, 4.0]}), ServerOutcome(figures={MAIN: [1.0, 3.0, 8.0]})
    outcome = Outcome("fanout", "", MAIN, servers={OURS: ours, LIMIT: theirs})
    # 2, 3 and 0.5; the ratio of the medians would be 4 / 3.
    assert outcome.ratios() == {LIMIT: {"median": 2.0, "min": 0.5, "max": 3.0}}


def test_rounds_that_only_one_of_two_has_played_are_not_paired() -> None:
    ours, theirs = ServerOutcome(figures={MAIN: [2.0, 9.0]}), ServerOutcome(figures={MAIN: [1.0]})
    outcome = Outcome("fanout", "", MAIN, servers={OURS: ours, "redis": theirs, "nats": ServerOutcome()})
    assert outcome.ratios() == {"redis": {"median": 2.0, "min": 2.0, "max": 2.0}}


def test_latencies_in_any_order_give_percentiles_and_a_curve_up_to_the_largest() -> None:
    found = Latency.of_ns(reversed(range(0, 10_000_000, 1000)))
    assert (found.count, found.p50_us, found.p90_us, found.p99_us) == (10_000, 5_000, 9_000, 9_900)
    assert (found.p999_us, found.max_us) == (9_990, 9_999)
    percents = [percent for percent, _ in found.points]
    assert percents == sorted(percents) and percents[-1] == 100
    assert [value for _, value in found.points] == sorted(value for _, value in found.points)
    # No point claims to know more than the samples can tell.
    assert max(percent for percent in percents if percent < 100) <= 99.99 + 1e-6
    assert Latency.of_ns([]) == Latency(0, 0, 0, 0, 0, 0)
    assert percentile([], 50) == 0


def test_the_curve_of_few_values_is_short() -> None:
    assert curve_percents(1)[-1] == 100
    assert len(curve_percents(1)) < len(curve_percents(100)) < len(curve_percents(10_000))


def test_an_interrupt_ends_the_rounds_and_not_what_follows() -> None:
    with partial() as cut:
        raise KeyboardInterrupt
    assert cut.happened
    with partial() as cut:
        pass
    assert not cut.happened
    with pytest.raises(BenchError), partial():
        raise BenchError("void")


def test_json_has_each_servers_figures_by_name_and_every_ratio() -> None:
    found = json.loads(json_text(made_up.result()))
    assert (found["schema"], found["machine"]) == (1, MACHINE)
    outcome = found["outcomes"][0]
    ours = outcome["servers"]["presenced"][MAIN]
    assert ours["min"] <= ours["median"] <= ours["max"] and len(ours["rounds"]) == 5
    assert outcome["ratio"].keys() == {"limit", "redis", "nats", "ejabberd", "prosody"}
    assert outcome["missing"] == {"mosquitto": "install one: apt-get install mosquitto"}
    assert outcome["servers"]["redis"]["version"] == "7.0.15"
    assert outcome["servers"]["redis"]["checks"]["deliveries"] == 1_000_000


def test_json_read_back_is_the_same(tmp_path: Path) -> None:
    result = made_up.result()
    result.outcomes[1].interrupted = True
    result.failed["durable"] = "no disk"
    path = tmp_path / "made-up.json"
    write_text(path, json_text(result))
    assert json_text(read_result(path)) == json_text(result)
    assert read_result(path).name == "made-up.json"
    assert outcome_of(json.loads(json.dumps(fanout().as_json()))) == fanout()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda found: "no JSON", "not JSON"),
        (lambda found: "[1, 2]", "not a result"),
        (lambda found: json.dumps({**found, "schema": 99}), "schema 99"),
        (lambda found: json.dumps({"schema": 1}), "damaged"),
        (lambda found: json.dumps({**found, "outcomes": [{"profile": "x"}]}), "damaged"),
        (lambda found: json.dumps({**found, "outcomes": [7]}), "damaged"),
        (lambda found: json.dumps({**found, "machine": 7}), "damaged"),
    ],
)
def test_what_is_not_a_result_is_refused_with_a_reason(
    tmp_path: Path, damage: Callable[[dict[str, object]], str], told: str
) -> None:
    path = tmp_path / "odd.json"
    path.write_text(damage(made_up.result().as_json()))
    with pytest.raises(NotAResult, match=told):
        read_result(path)


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="cannot be written"):
        write_text(tmp_path / "not there" / "x.json", "{}")
    (tmp_path / "directory").mkdir()
    with pytest.raises(BenchError, match="choose another file"):
        write_text(tmp_path / "directory", "{}")
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]


def test_csv_has_a_row_for_each_profile_server_figure_and_round() -> None:
    file = io.StringIO()
    write_csv(file, made_up.result())
    rows = list(csv.DictReader(io.StringIO(file.getvalue())))
    mine = [row for row in rows if (row["profile"], row["server"], row["figure"]) == ("fanout", "redis", MAIN)]
    assert [row["round"] for row in mine] == ["1", "2", "3", "4", "5"]
    assert [float(row["value"]) for row in mine] == fanout().servers["redis"].figures[MAIN]
    assert {row["command_line"] for row in rows} == {MACHINE["command_line"]}
    assert {row["commit"] for row in rows} == {MACHINE["commit"]}
    told = {(row["server"], row["figure"], row["round"]) for row in rows}
    assert {("nats", "change_to_watcher_p999_us", "all"), ("nats", "ratio_median", "all")} <= told
    assert all(len(row) == len(CSV_COLUMNS) for row in csv_rows(fanout()))
    checks = {row["figure"]: row["value"] for row in rows if (row["profile"], row["server"]) == ("fanout", "limit")}
    assert checks["checks_deliveries"] == "1000000" and checks["checks_wrong"] == "0"


def test_the_table_has_a_row_for_each_server_and_the_machine_at_its_foot(capsys: pytest.CaptureFixture[str]) -> None:
    table.print_outcome(fanout(), dict(MACHINE))
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in lines if line.startswith("  ")}
    assert rows["Redis"].split()[:3] == ["Redis", "7.0.15", "7.15"]
    for part in ("6.91 - 7.43 us", " 0.49 ", "61.8 MiB", "667 us", "324 ms", "1,000,000 ok"):
        assert part in rows["Redis"]
    assert {"presenced", "C", "Redis", "NATS", "ejabberd", "Prosody", "deliveries", "core"} <= rows.keys()
    assert "note: the peers keep no presence: they pass bytes on" in lines
    assert "Mosquitto did not take part: install one: apt-get install mosquitto" in lines
    assert lines[-1] == MACHINE["command_line"]
    assert lines[-4:] == machine_lines(dict(MACHINE))
    assert "with changes that are not committed" in lines[-2]


def test_columns_are_aligned_and_empty_ones_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    table.print_outcome(made_up.idle(), dict(MACHINE), foot=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[3:5] == ["  server           RSS per device", "  presenced 0.1.0           3 KiB"]
    assert MACHINE["command_line"] not in lines


def test_several_waits_have_a_table_of_their_own() -> None:
    outcome = fanout()
    outcome.servers[OURS].latency["login"] = Latency.of_ns([1_000_000])
    found = table.tables(outcome)
    assert found[1].titles[:3] == ["wait", "server", "count"]
    assert ["login", "presenced", "1", "1 ms", "1 ms", "1 ms", "1 ms", "1 ms"] in found[1].rows


def test_a_narrow_terminal_has_every_cell_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    table.print_outcome(fanout(), dict(MACHINE))
    shown = screen.getvalue()
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    for cell in ("ejabberd 23.01", "37.4 - 40.1 us", "334 MiB", "1,000,000 ok", "change to watcher", "1.75 s"):
        assert cell in shown


def test_faults_are_in_the_table_and_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = fanout()
    outcome.servers[OURS].checks = Checks(deliveries=9, lost=2, ghost=1)
    assert faults_sentence(outcome) == "the run failed: presenced: 2 lost, 1 ghost; its figures mean nothing"
    table.print_outcome(outcome, dict(MACHINE))
    said = capsys.readouterr().out
    assert "2 lost, 1 ghost\n" in said and "the run failed" in said
    assert faults_sentence(fanout()) == ""


def test_an_outcome_without_a_round_is_told_without_tables(capsys: pytest.CaptureFixture[str]) -> None:
    table.print_outcome(Outcome("fanout", "fan-out", MAIN, interrupted=True), dict(MACHINE), foot=False)
    assert capsys.readouterr().out.splitlines() == [
        "fan-out",
        "fan-out: no round was completed",
        "",
        "interrupted: these are the rounds that were complete",
    ]


def test_machine_facts_are_those_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "fanout", "--report", "two words.html"])
    facts = machine_facts(Cores(1, 0))
    assert facts["command_line"] == "python -m bench fanout --report 'two words.html'"
    assert facts["cpu_count"] == os.cpu_count() and facts["uvloop"] and facts["msgspec"]
    assert facts.keys() == MACHINE.keys()
    assert "there is no second one" in str(machine_facts(Cores(0, 0))["pinning"])


def test_outside_a_repository_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    facts = machine_facts(Cores(1, 0))
    assert (facts["commit"], facts["dirty"]) == ("", False)
    assert "commit unknown" in machine_lines(facts)[2]
