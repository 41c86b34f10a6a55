"""What many users cost: worked out from unit costs, and the page of it in the repository is the one that is printed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.__main__ import main
from bench.catalog import PROFILES
from bench.report.arithmetic import SIZES, UNITS, Assumptions, needs, nodes, page, shares, unit_costs
from bench.results.files import ResultFile, json_text
from bench.results.outcome import OURS, Outcome, ServerOutcome
from tests.support import REPOSITORY

STATED = {name: unit.stated for name, unit in UNITS.items()}


def measured(profile: str, figure: str, value: float, **options: object) -> Outcome:
    outcome = Outcome(profile, profile, figure, dict(options))
    outcome.servers[OURS] = ServerOutcome("1", {figure: [value, value, 9 * value]})
    return outcome


def test_the_page_in_the_repository_is_the_one_that_is_printed() -> None:
    result = CliRunner().invoke(main, ["arithmetic"])
    assert result.exit_code == 0
    assert (Path(REPOSITORY) / "bench" / "arithmetic.md").read_text() == result.stdout


def test_every_unit_cost_is_a_figure_of_a_profile_or_is_stated() -> None:
    for unit in UNITS.values():
        assert unit.profile in (*PROFILES, "") and bool(unit.profile) == bool(unit.figure)
        assert unit.stated > 0


def test_needs_by_hand() -> None:
    """36,000 known, 3,600 online: each comes once an hour and changes twice, which makes one login and four changes a
    second, and each change is told to two of twenty."""
    given = Assumptions(online=0.1, contacts=20, changes_per_hour=2, logins_per_hour=1)
    cost = dict.fromkeys(UNITS, 0.0) | {"login_us": 1e5, "change_us": 1e4, "delivery_us": 1e3, "delivery_bytes": 59.0}
    found = needs(36_000, given, cost)
    assert (found.online, found.deliveries_per_s) == (3_600, 8)
    assert found.cores == pytest.approx(0.1 + 4 * 0.01 + 8 * 0.001)
    assert found.network_bits_per_s == 8 * 125 * 8
    assert (found.links_bytes, found.users_bytes, found.log_bytes_per_s, found.start_s) == (0, 0, 0, 0)
    assert found.return_s == 360
    cost = dict.fromkeys(UNITS, 0.0) | {"link_bytes": 1000, "watch_bytes": 10, "asleep_bytes": 1, "awake_bytes": 5}
    found = needs(36_000, given, cost | {"device_bytes": 3, "fact_bytes": 7, "start_us": 10, "beat_percent": 0.1})
    assert (found.links_bytes, found.users_bytes) == (3_600 * 1_200, 32_400 + 3_600 * 8)
    assert (found.log_bytes_per_s, found.start_s, found.cores) == (28, 0.36, pytest.approx(3.6))


def test_a_file_s_figures_are_taken_and_nothing_of_another_setting() -> None:
    cost, names = unit_costs(
        [
            measured("login", "server_cpu_us_per_login", 50.0, contacts=50),
            measured("login", "server_cpu_us_per_login", 9.0, contacts=3),
            measured("operate", "server_cpu_percent", 3.0, links=1_000),
            measured("fanout", "server_cpu_us_per_delivery", 1.0, publishers=16),
        ]
    )
    assert names == ["login_us", "beat_percent"]
    assert cost == STATED | {"login_us": 50.0, "beat_percent": 0.003}


def test_nodes_are_for_what_a_cluster_divides_beside_a_copy_of_all_users() -> None:
    given = Assumptions(node_gib=2.0, core_fill=0.5, descriptors=100)
    need = replace(needs(1_000, given, dict.fromkeys(UNITS, 0.0)), users_bytes=2**29, links_bytes=2**30)
    assert shares(need, given)["memory of users"] == 0.5
    # A gibibyte is planned for, half of it is the table, and two halves of links are left.
    assert nodes(need, given) == 2
    assert nodes(replace(need, cores=2.4), given) == 5
    assert nodes(replace(need, online=1_000), given) == 10
    assert nodes(replace(need, users_bytes=2**30), given) == 0


def test_what_breaks_first_is_said_for_each_size() -> None:
    [row] = [line for line in page(SIZES, Assumptions()).splitlines() if "breaks first**" in line]
    assert row == "| **breaks first** | nothing; one core would | one core | one core |"
    [row] = [line for line in page([10**6], Assumptions(descriptors=1_000)).splitlines() if "breaks first**" in line]
    assert row == "| **breaks first** | file descriptors |"


def test_the_command_takes_result_files_and_assumptions(tmp_path: Path) -> None:
    result = ResultFile({})
    result.outcomes.append(measured("login", "server_cpu_us_per_login", 77.0, contacts=50))
    (tmp_path / "today.json").write_text(json_text(result))
    shown = CliRunner().invoke(main, ["arithmetic", str(tmp_path / "today.json"), "--users", "5000", "--online", "0.5"])
    assert shown.exit_code == 0, shown.output
    assert "| CPU of a login with 50 contacts | 77 us | `login`, in the files given |" in shown.stdout
    assert "share 0.5 is online" in shown.stdout and "| online at the peak | 2,500 |" in shown.stdout
    (tmp_path / "no.json").write_text("{}")
    assert CliRunner().invoke(main, ["arithmetic", str(tmp_path / "no.json")]).exit_code == 2
