"""The dashboard and the alert rules name only what the server exports, and `presenced dashboard` prints them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from presenced.cli.daemon import main
from presenced.cli.dashboard import FILES, text_of
from presenced.ops import metrics
from tests.ops.promql import Names, names
from tests.support.status import made_status

TARGET_LABELS = {"job", "instance"}
"""Added by Prometheus to whatever it scrapes."""

OF_PROMETHEUS = {"up": TARGET_LABELS}


def exported() -> dict[str, dict[str, set[str]]]:
    """Sample name to its labels, and of each the values that are always there."""
    text = metrics.render(metrics.registry_of(made_status)).decode()
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


EXPORTED = exported()


def board() -> dict[str, Any]:
    return json.loads(text_of("grafana"))


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(text_of("alerts"))["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return board()["panels"]


def expressions() -> Iterator[tuple[str, str]]:
    """(where it stands, expression), of all panels, annotations, variables and rules."""
    for panel in panels():
        for target in panel.get("targets", ()):
            yield f"panel {panel['title']!r}", target["expr"]
    for annotation in board()["annotations"]["list"]:
        yield f"annotation {annotation['name']!r}", annotation["expr"]
    for variable in board()["templating"]["list"]:
        if variable["type"] == "query":
            selector = re.fullmatch(r"label_values\((.+), (job|instance)\)", variable["definition"])
            assert selector is not None and variable["query"]["query"] == variable["definition"]
            yield f"variable {variable['name']!r}", selector[1]
    for rule in rules():
        yield f"alert {rule['alert']}", rule["expr"]


def complaints(found: Names) -> list[str]:
    """What an expression names that there is not."""
    said = []
    labels_seen = {*TARGET_LABELS}
    for selector in found.selectors:
        labels = EXPORTED.get(selector.metric)
        if labels is None:
            if selector.metric not in OF_PROMETHEUS:
                said.append(f"no metric {selector.metric} is exported")
            continue
        labels_seen |= labels.keys()
        for label, sign, value in selector.matchers:
            if label in TARGET_LABELS:
                continue
            if label not in labels:
                said.append(f"{selector.metric} has no label {label}")
                continue
            for one in value.split("|") if sign == "=~" else [value]:
                if one not in labels[label]:
                    said.append(f"{selector.metric} has no {label}={one}")
    said += [f"no metric of the expression has the label {label}" for label in found.grouped - labels_seen]
    return said


@pytest.mark.parametrize(("place", "expression"), [*expressions()])
def test_only_what_is_exported_is_named(place: str, expression: str) -> None:
    found = names(expression)
    assert found.selectors
    assert not complaints(found), place


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("presenced_usrs", "no metric presenced_usrs"),
        ("rate(presenced_changes[5m])", "no metric presenced_changes is exported"),
        ("sum by (role) (presenced_users)", "label role"),
        ('presenced_links{rôle="user"}', None),
        ('presenced_links{rule="user"}', "no label rule"),
        ('presenced_goodbyes_total{code="bussy"}', "code=bussy"),
        ('presenced_goodbyes_total{code=~"busy|bad_tokn"}', "code=bad_tokn"),
        ("presenced_users > on (host) presenced_links", "label host"),
        ("rte(presenced_users)", None),
        ("sum(presenced_users", None),
        ("sum(presenced_users]", None),
        ("histogram_quantile(0.9, presenced_turn_duration_seconds_buckets)", "no metric"),
    ],
)
def test_what_is_wrong_is_seen(expression: str, says: str | None) -> None:
    if says is None:
        with pytest.raises(ValueError):
            names(expression)
    else:
        assert any(says in complaint for complaint in complaints(names(expression)))


def test_metrics_that_nobody_looks_at() -> None:
    """Each metric is on the dashboard or in an alert, or there is a reason why not."""
    looked_at = {selector.metric for _, expression in expressions() for selector in names(expression).selectors}
    without = {
        "presenced_state": "presenced_ready is what matters of it",
        "presenced_record_version": "to hold against what a client has seen",
        "presenced_clock_jump_last_seconds": "its number is in the log and in the doctor's finding",
        "presenced_slow_watcher_seconds_max": "on the status page, which names the watcher",
        "presenced_lines_dropped_total": "the log says it where they are missing, and so does the doctor",
        "presenced_blocks": "the users' own affair; a sudden growth may be of interest after an incident",
        "presenced_hidings": "as blocks",
        "presenced_hidden_answers_total": "what is usual depends on the application; it tells who looks for harvesters",
        "presenced_view_checks_total": "how often clients look is their own affair",
        "presenced_view_checks_failed_total": "the doctor tells of it",
        "presenced_view_differences_total": "as many as users changed while clients were away",
        "presenced_links_parked": "as many as were lost in the last seconds",
        "presenced_resumptions_total": "how clients come back is their own affair; a token that is late costs little",
        "presenced_resumptions_given_up_total": "the clients say everything again, and the memory is watched itself",
        "presenced_awaits": "cheap, and bounded for each link",
        "presenced_awaits_answered_total": "whether somebody came is no matter of the server's",
        "presenced_events_kept": "bounded by events.keep",
        "presenced_events_size_bytes": "bounded, and part of the resident memory",
        "presenced_event_followers": "the services' own affair",
        "presenced_event_followers_named": "as that",
        "presenced_event_followers_lost": "the doctor names them",
        "presenced_webhook_events_held": "a part of those that wait",
        "presenced_webhook_requests_under_way": "bounded by webhooks.concurrency",
        "presenced_wheel_entries": "one for each live device, and a few",
        "presenced_users_asleep": "a part of the known users, and no matter how many",
        "presenced_cluster_incarnation": "a name: which life of the node it is",
        "presenced_cluster_position": "its lag says more",
        "presenced_cluster_lease_left_seconds": "a node without one is isolated or fenced",
        "presenced_snapshots_total": "their age says more",
        "presenced_snapshot_running": "their duration says more",
    }
    bases = {re.sub(r"_(bucket|count|sum)$", "", name) for name in looked_at}
    unseen = {name for name in EXPORTED if re.sub(r"_(bucket|count|sum)$", "", name) not in bases}
    assert unseen == {*without}


# --- the dashboard ------------------------------------------------------------------------------------------------


def test_the_dashboard_takes_its_data_from_what_is_chosen() -> None:
    assert [variable["name"] for variable in board()["templating"]["list"]] == ["datasource", "job", "instance"]
    assert board()["templating"]["list"][0]["type"] == "datasource"
    for panel in panels():
        if panel["type"] == "row":
            continue
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}", panel["title"]
            for selector in names(target["expr"]).selectors:
                assert ("job", "=~", "$job") in selector.matchers, panel["title"]
                assert ("instance", "=~", "$instance") in selector.matchers, panel["title"]
    assert "id" not in board(), "an import makes a new dashboard"


def test_the_rows() -> None:
    rows = [panel["title"] for panel in panels() if panel["type"] == "row"]
    assert rows == ["Overview", "Presence", "Links", "Latency", "Log", "Process", "Webhooks", "Cluster"]


def test_panels_have_their_own_place_number_and_unit() -> None:
    taken: dict[tuple[int, int], str] = {}
    numbers = [panel["id"] for panel in panels()]
    assert len(numbers) == len({*numbers})
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies over {taken[x, y]}"
                taken[x, y] = panel["title"]
        for target in panel.get("targets", ()):
            quantities = names(target["expr"]).selectors
            unit = panel["fieldConfig"]["defaults"].get("unit")
            if "histogram_quantile" in target["expr"] or all("_seconds" in one.metric for one in quantities):
                assert unit in ("s", "percentunit", "ops", None), panel["title"]
            if all(one.metric.endswith("_bytes") for one in quantities):
                assert unit in ("bytes", "short"), panel["title"]


# --- the rules ----------------------------------------------------------------------------------------------------


def test_rules_are_complete() -> None:
    seen = [rule["alert"] for rule in rules()]
    assert len(seen) == len({*seen}) > 15
    for rule in rules():
        assert re.fullmatch(r"Presenced[A-Z]\w+", rule["alert"])
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"] and rule["annotations"]["description"].endswith(".")
        labels = re.findall(r"\$labels\.(\w+)", "".join(rule["annotations"].values()))
        of_metrics = {
            label for selector in names(rule["expr"]).selectors for label in EXPORTED.get(selector.metric, {})
        }
        assert {*labels} <= TARGET_LABELS | of_metrics


@pytest.fixture
def promtool() -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian's package prometheus has it)")
    return program


def test_prometheus_takes_the_rules(promtool: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(text_of("alerts"))
    done = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"{len(rules())} rules found" in done.stdout


def test_prometheus_takes_the_expressions_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    written = [
        expression.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$instance", ".*")
        for place, expression in expressions()
        if not place.startswith("alert")
    ]
    records = [{"record": f"expression_{number}", "expr": text} for number, text in enumerate(written)]
    path = tmp_path / "records.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}))
    done = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


ME = '{job="presenced", instance="a:9250", env="x"}'


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    extra = "".join(f', {label}="{value}"' for label, value in labels.items())
    return {"series": name + ME.replace("}", extra + "}"), "values": values}


def links(number: int) -> list[dict[str, str]]:
    return [series("presenced_links", f"{number}x30", role="user"), series("presenced_links", "0x30", role="service")]


def lag(fast: int, slow: int) -> list[dict[str, str]]:
    """`fast` short durations each minute, and `slow` of 0.13 to 0.26 s."""
    name = "presenced_wheel_lag_seconds_bucket"
    counts = {"0.000128": fast, "0.131072": fast, "0.262144": fast + slow, "+Inf": fast + slow}
    return [series(name, f"0+{count}x30", le=edge) for edge, count in counts.items()]


FIRING: list[tuple[str, list[dict[str, str]], bool]] = [
    ("PresencedDown", [series("up", "1x5 0x25"), series("presenced_uptime_seconds", "60+60x5")], True),
    ("PresencedDown", [series("up", "1x5 0x25")], False),
    ("PresencedCertificateEnds", [series("presenced_certificate_end_seconds", "1000000x30")], True),
    ("PresencedCertificateEnds", [series("presenced_certificate_end_seconds", "2000000x30")], False),
    ("PresencedTokensRefused", [series("presenced_goodbyes_total", "0+3x30", code="bad_token")], True),
    ("PresencedTokensRefused", [series("presenced_goodbyes_total", "0+1x30", code="bad_token")], False),
    ("PresencedTokensRefused", [series("presenced_goodbyes_total", "0+900x30", code="token_expired")], False),
    ("PresencedNotReady", [series("presenced_ready", "0x30")], True),
    ("PresencedNotReady", [series("presenced_ready", "1x28 0x2")], False),
    ("PresencedRestartLoop", [series("presenced_start_time_seconds", "1x20 2x2 3x2 4x6")], True),
    ("PresencedRestartLoop", [series("presenced_start_time_seconds", "1x20 2x10")], False),
    ("PresencedLagHigh", lag(1_000, 100), True),
    ("PresencedLagHigh", lag(1_000, 5), False),
    ("PresencedDescriptorsLow", [series("presenced_open_fds", "81x30"), series("presenced_max_fds", "100x30")], True),
    ("PresencedDescriptorsLow", [series("presenced_open_fds", "79x30"), series("presenced_max_fds", "100x30")], False),
    ("PresencedLinksFull", [*links(95), series("presenced_links_max", "100x30")], True),
    ("PresencedLinksFull", [*links(85), series("presenced_links_max", "100x30")], False),
    ("PresencedSlowWatchers", [*links(1_000), series("presenced_slow_watchers", "11x30")], True),
    ("PresencedSlowWatchers", [*links(10_000), series("presenced_slow_watchers", "11x30")], False),
    ("PresencedRefusing", [series("presenced_goodbyes_total", "0x28 1x2", code="busy")], True),
    ("PresencedMemoryShort", [series("presenced_memory_level", "0x25 1x5", state="refusing")], True),
    ("PresencedMemoryShort", [series("presenced_memory_level", "0x28 1x2", state="ending")], True),
    ("PresencedMemoryShort", [series("presenced_memory_level", "1x30", state="ok")], False),
    *(
        (
            "PresencedMemoryNear",
            [
                series("presenced_memory_used_bytes", f"{used}x30"),
                series("presenced_memory_budget_bytes", f"{budget}x30"),
            ],
            fires,
        )
        for used, budget, fires in ((86, 100, True), (84, 100, False), (86, 0, False))
    ),
    ("PresencedRefusing", [series("presenced_goodbyes_total", "0+5x30", code="replaced")], False),
    (
        "PresencedNodeApart",
        [
            series("presenced_cluster_state", "0x25 1x5", state="isolated"),
            series("presenced_cluster_state", "1x30", state="serving"),
        ],
        True,
    ),
    ("PresencedNodeApart", [series("presenced_cluster_state", "1x30", state="isolated")], False),
    ("PresencedNodeApart", [series("presenced_cluster_state", "1x30", state="serving")], False),
    ("PresencedEngineAway", [series("presenced_cluster_engine_away_seconds", "0x28 16x2")], True),
    ("PresencedEngineAway", [series("presenced_cluster_engine_away_seconds", "14x30")], False),
    ("PresencedNodeLate", [series("presenced_cluster_lag_seconds", "3x30")], True),
    ("PresencedNodeLate", [series("presenced_cluster_lag_seconds", "1x30")], False),
    ("PresencedNodeFenced", [series("presenced_cluster_fences_total", "0x25 1x5")], True),
    ("PresencedNodeFenced", [series("presenced_cluster_fences_total", "3x30")], False),
    ("PresencedNodeAlone", [series("presenced_cluster_nodes", "1x30")], True),
    ("PresencedNodeAlone", [series("presenced_cluster_nodes", "1x5 2x25")], False),
    ("PresencedNodeClock", [series("presenced_cluster_clock_skew_seconds", "-0.6x30")], True),
    ("PresencedNodeClock", [series("presenced_cluster_clock_skew_seconds", "0.4x30")], False),
    ("PresencedLogNotOk", [series("presenced_log_state", "1x30", state="full")], True),
    ("PresencedLogNotOk", [series("presenced_log_state", "1x30", state="gone")], True),
    (
        "PresencedSnapshotLate",
        [series("presenced_snapshot_age_seconds", "9000x30"), series("presenced_log_size_bytes", "99000000x30")],
        True,
    ),
    (
        "PresencedSnapshotLate",
        [series("presenced_snapshot_age_seconds", "900000x30"), series("presenced_log_size_bytes", "1000x30")],
        False,
    ),
    ("PresencedSnapshotLate", [series("presenced_log_size_bytes", "2000000000x30")], True),
    ("PresencedClockJump", [series("presenced_clock_jumps_total", "0x25 1x5")], True),
    ("PresencedStalled", [series("presenced_stalls_total", "3x30")], False),
    (
        "PresencedManyLost",
        [
            series("presenced_leases_expired_total", "0x28 200x2"),
            series("presenced_devices", "500x30", state="connected"),
            series("presenced_devices", "100x30", state="grace"),
        ],
        True,
    ),
    (
        "PresencedHistoryLost",
        [
            series("presenced_epoch", "1x25 2x5"),
            series("presenced_log_info", "1x30", directory="/d", durability="always"),
        ],
        True,
    ),
    ("PresencedHistoryLost", [series("presenced_epoch", "1x25 2x5")], False),
]


@pytest.mark.slow
def test_alerts_fire_when_they_should_and_not_before(promtool: str, tmp_path: Path) -> None:
    """In Prometheus' own simulator, after 30 minutes, with a label of the site's own on every series."""
    (tmp_path / "rules.yml").write_text(text_of("alerts"))
    cases = []
    for number, (alert, given, fires) in enumerate(FIRING):
        assert any(rule["alert"] == alert for rule in rules())
        selector = f'{{alertname="{alert}", alertstate="firing"}}'
        check = {
            "expr": f"count(ALERTS{selector}) or vector(0)",
            "eval_time": "30m",
            "exp_samples": [{"labels": "{}", "value": int(fires)}],
        }
        cases.append(
            {"name": f"{number} {alert}", "interval": "1m", "input_series": given, "promql_expr_test": [check]}
        )
    (tmp_path / "cases.yml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": cases})
    )
    done = subprocess.run(
        [promtool, "test", "rules", "cases.yml"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


# --- the command --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", FILES)
def test_the_command_prints_the_file(what: str) -> None:
    done = CliRunner().invoke(main, ["dashboard", what])
    assert done.exit_code == 0
    assert done.output == text_of(what)


def test_the_command_says_what_there_is() -> None:
    done = CliRunner().invoke(main, ["dashboard", "nagios"])
    assert done.exit_code == 2
    assert "'grafana', 'alerts'" in done.output
