"""The metrics: complete, by Prometheus' conventions, in step with the status, and cheap."""

from __future__ import annotations

import re
import sys
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from presenced.errors import CODES
from presenced.ops import metrics
from presenced.ops.health import not_ready
from presenced.ops.history import History
from presenced.ops.pages import Pages
from presenced.server.clustering.status import ClusterStatus, EngineStatus
from presenced.server.status import LogStatus, MemoryStatus, ServerStatus, WebhookStatus
from presenced.server.status_report import take_status
from presenced.sync import connect, connect_service
from tests.support.in_process import InProcess
from tests.support.status import WALL_MS, durations, made_cluster, made_log, made_status, made_webhooks


def scrape(status: ServerStatus) -> str:
    return metrics.render(metrics.registry_of(lambda: status)).decode()


def families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(text: str, name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    raise AssertionError(f"there is no {name}{labels}")


# --- the form -----------------------------------------------------------------------------------------------------


def assert_well_formed(text: str) -> None:
    """Every family is explained and typed once, before its samples, and named by the conventions."""
    helps = re.findall(r"^# HELP (\S+) (.+)$", text, re.M)
    types = dict(re.findall(r"^# TYPE (\S+) (.+)$", text, re.M))
    assert len(helps) == len({name for name, _ in helps}) == len(types)
    for name, words in helps:
        assert re.fullmatch(r"presenced_[a-z][a-z0-9_]*[a-z0-9]", name)
        assert words.endswith("."), f"{name} is not explained in a sentence"
        assert types[name] in ("gauge", "counter", "histogram")
        assert name.endswith("_total") == (types[name] == "counter")
        if types[name] == "histogram":
            assert name.endswith("_seconds")
        assert not re.search(r"_(ms|us|ns|millis\w*|kib|mib|kb|mb|minutes|percent)(_|$)", name), f"{name}: no base unit"
    seen: set[str] = set()
    for line in text.splitlines():
        if line.startswith("# HELP"):
            seen.add(line.split()[2])
        elif not line.startswith("#"):
            name = re.split(r"[{ ]", line)[0]
            base = re.sub(r"_(bucket|count|sum)$", "", name)
            assert name in seen or (base in seen and types[base] == "histogram"), f"{name} comes without HELP and TYPE"
            assert not name.endswith("_created")


def test_the_form() -> None:
    assert_well_formed(scrape(made_status()))


def test_the_library_that_prometheus_reads_with_understands_it() -> None:
    found = families(scrape(made_status()))
    assert len(found) > 45
    assert all(family.documentation and family.type != "unknown" for family in found.values())


# --- the content --------------------------------------------------------------------------------------------------

UNSEEN = {
    "pid": "the target's instance label says which process it is",
    "listeners": "on the status page; addresses make no metric",
    "config": "on the status page; a path makes no metric",
    "dev": "on the status page and in the doctor's findings; a development server is not monitored",
    "users_online": "the sum over the statuses",
    "links": "the sum over the roles",
}


def other(current: Any) -> Any:
    """A value of the same kind that must come out differently."""
    match current:
        case bool():
            return not current
        case int():
            return current + 5_000
        case str():
            return current + "-other"
        case dict():
            return {key: number + 5_000 for key, number in current.items()}
        case [str(), *_]:
            return [*current, "more"]
        case [msgspec.Struct(), *_]:
            return [msgspec.structs.replace(current[0], held=9_999, for_ms=99_999)]
        case msgspec.Struct():
            return durations(1, 2, 4_000_000)
    raise AssertionError(f"no other value for {current!r}")


UNSEEN_OF_WEBHOOKS = ("receiver", "accepted_wall_ms", "error", "error_wall_ms")
"""Texts, and what the counters show."""


@pytest.mark.parametrize(
    "field", [name for name in ServerStatus.__struct_fields__ if name not in ("log", "memory", "webhooks", "cluster")]
)
def test_every_figure_of_the_status_is_exported(field: str) -> None:
    status = made_status()
    changed = msgspec.structs.replace(status, **{field: other(getattr(status, field))})
    assert (scrape(status) == scrape(changed)) == (field in UNSEEN)


@pytest.mark.parametrize("field", [name for name in MemoryStatus.__struct_fields__ if name != "since_wall_ms"])
def test_every_figure_of_the_memory_is_exported(field: str) -> None:
    memory = made_status().memory
    changed = "ending" if field == "level" else other(getattr(memory, field))
    assert scrape(made_status()) != scrape(made_status(memory=msgspec.structs.replace(memory, **{field: changed})))


@pytest.mark.parametrize("field", LogStatus.__struct_fields__)
def test_every_figure_of_the_log_is_exported(field: str) -> None:
    log = made_log()
    changed = made_log(**{field: other(getattr(log, field))})
    assert scrape(made_status(log=log)) != scrape(made_status(log=changed))


@pytest.mark.parametrize("field", [name for name in WebhookStatus.__struct_fields__ if name not in UNSEEN_OF_WEBHOOKS])
def test_every_figure_of_webhooks_is_exported(field: str) -> None:
    webhooks = made_webhooks()
    changed = "failing" if field == "state" else other(getattr(webhooks, field))
    assert scrape(made_status()) != scrape(made_status(webhooks=made_webhooks(**{field: changed})))


UNSEEN_OF_CLUSTER = ("node", "history", "end_position", "lease_ms", "dead_name", "dead_wall_ms")
"""Names, a figure of the others, and a setting."""


@pytest.mark.parametrize("field", [name for name in ClusterStatus.__struct_fields__ if name not in UNSEEN_OF_CLUSTER])
def test_every_figure_of_a_cluster_is_exported(field: str) -> None:
    cluster = made_cluster()
    changed = {
        "state": lambda: "isolated",
        "engine": lambda: msgspec.structs.replace(cluster.engine, away_ms=9_000),
        "nodes": lambda: cluster.nodes[:2],
    }.get(field, lambda: other(getattr(cluster, field)))()
    assert scrape(made_status()) != scrape(made_status(cluster=made_cluster(**{field: changed})))


def test_of_a_server_alone_there_is_nothing_of_a_cluster() -> None:
    assert 'presenced_cluster_state{state="serving"} 1.0' in scrape(made_status())
    assert "cluster" not in scrape(made_status(cluster=None))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"state": "copying"}, "is copying: it does not know all users yet"),
        ({"state": "fenced"}, "was taken for dead by the others"),
        ({"engine": EngineStatus("redis://h", "master", "7.0.15", away_ms=5_001)}, "redis://h does not answer"),
        ({"engine": EngineStatus("redis://h", "master", "7.0.15", away_ms=5_000)}, ""),
        ({"engine": EngineStatus("h", "", "", away_ms=5_001, lacks_replicas=True)}, "no replica of the engine h has"),
        ({"state": "isolated"}, ""),
        ({}, ""),
    ],
)
def test_a_node_is_ready_once_it_knows_all_and_while_the_engine_answers(fields: dict[str, Any], why: str) -> None:
    status = made_status(cluster=made_cluster(**fields))
    assert (why in not_ready(status)) if why else not not_ready(status)
    assert f"presenced_ready {0.0 if why else 1.0}" in scrape(status)


def test_without_webhooks_there_is_nothing_of_them() -> None:
    assert "presenced_webhook_state" in scrape(made_status())
    assert "webhook" not in scrape(made_status(webhooks=None))


def test_values_and_units() -> None:
    text = scrape(made_status())
    assert value(text, "presenced_build_info", version="1.2.3", python="3.11.2", loop="uvloop") == 1
    assert value(text, "presenced_uptime_seconds") == 100.25
    assert value(text, "presenced_start_time_seconds") == (WALL_MS - 100_250) / 1000
    assert value(text, "presenced_users_online", status="away") == 1_600
    assert value(text, "presenced_memory_budget_bytes") == 536_870_912
    assert value(text, "presenced_memory_level", state="ok") == 1
    assert value(text, "presenced_memory_level", state="refusing") == 0
    assert value(text, "presenced_memory_shed_total", what="request") == 59
    assert value(text, "presenced_memory_shed_total", what="ended_link") == 6
    assert value(text, "presenced_devices", state="grace") == 31
    assert value(text, "presenced_links", role="none") == 3
    assert value(text, "presenced_goodbyes_total", code="replaced") == 222
    assert value(text, "presenced_requests_refused_total", code="bad_request") == 9
    assert value(text, "presenced_requests_refused_total", code="read_only") == 0, "known from the first time on"
    assert value(text, "presenced_accept_failures_total") == 67
    assert value(text, "presenced_tls_handshakes_failed_total") == 71
    assert value(text, "presenced_refusals_cut_off_total") == 73
    assert value(text, "presenced_slow_watcher_records_max") == 431
    assert value(text, "presenced_slow_watcher_seconds_max") == 12.2
    assert value(text, "presenced_cpu_seconds_total") == 31.337
    assert value(text, "presenced_resident_memory_bytes") == 123_456_789
    assert value(text, "presenced_clock_jump_last_seconds") == -1.5
    assert value(text, "presenced_snapshot_age_seconds") == 61
    assert value(text, "presenced_snapshot_duration_seconds") == 0.741
    assert value(text, "presenced_deliveries_total") == 9_876_543
    assert value(text, "presenced_webhook_lag_seconds") == 2.15
    assert value(text, "presenced_webhook_failures_total", reason="5xx") == 89
    assert value(text, "presenced_webhook_state", state="failing") == 0


def test_buckets_are_cumulative_and_end_where_they_say() -> None:
    text = scrape(made_status(turn=durations(0, 1, 3, 3, 5_000_000)))
    name = "presenced_turn_duration_seconds"
    family = families(text)[name]
    buckets = [(sample.labels["le"], sample.value) for sample in family.samples if sample.name == name + "_bucket"]
    counts = [count for _, count in buckets]
    assert counts == sorted(counts)
    assert dict(buckets)["1e-06"] == 1, "0 us is below 1 us, 1 us is not"
    assert dict(buckets)["2e-06"] == 2
    assert dict(buckets)["4e-06"] == 4
    assert dict(buckets)["4.194304"] == 4
    assert buckets[-1] == ("+Inf", 5)
    assert value(text, name + "_count") == 5
    assert value(text, name + "_sum") == pytest.approx(5.000007)
    assert [float(edge) for edge, _ in buckets[:-1]] == [2**index / 1e6 for index in range(len(buckets) - 1)]


def test_label_values_are_there_before_anything_happened() -> None:
    text = scrape(made_status(goodbyes={}, by_status={}, links_by_role={}))
    for code, meaning in CODES.items():
        if meaning.closes:
            assert value(text, "presenced_goodbyes_total", code=code) == 0
    assert value(text, "presenced_users_online", status="dnd") == 0
    assert value(text, "presenced_links", role="service") == 0


def test_a_code_that_is_not_listed_is_counted_all_the_same() -> None:
    assert value(scrape(made_status(goodbyes={"new_code": 3})), "presenced_goodbyes_total", code="new_code") == 3


@pytest.mark.parametrize("state", metrics.STATES)
def test_the_state_is_one_of_all(state: str) -> None:
    text = scrape(made_status(state=state))
    assert {known: value(text, "presenced_state", state=known) for known in metrics.STATES} == {
        known: float(known == state) for known in metrics.STATES
    }
    assert value(text, "presenced_ready") == (state == "serving")


@pytest.mark.parametrize(("state", "ready"), [("ok", 1), ("busy", 1), ("full", 1), ("gone", 0), ("failed", 0)])
def test_the_state_of_the_log(state: str, ready: int) -> None:
    text = scrape(made_status(log=made_log(state=state)))
    assert value(text, "presenced_log_state", state=state) == 1
    assert sum(value(text, "presenced_log_state", state=known) for known in metrics.LOG_STATES) == 1
    assert value(text, "presenced_ready") == ready


def test_without_a_log_there_is_nothing_of_it() -> None:
    text = scrape(made_status(log=None))
    assert_well_formed(text)
    assert "presenced_log" not in text.replace("presenced_log_commit", "")
    assert "presenced_snapshot" not in text


def test_no_snapshot_has_no_age() -> None:
    text = scrape(made_status(log=made_log(snapshot_wall_ms=0)))
    assert not families(text)["presenced_snapshot_age_seconds"].samples


def test_the_start_does_not_move_with_the_clock() -> None:
    """Alerts count changes of it as restarts."""
    statuses = iter([made_status(), made_status(wall_ms=WALL_MS + 3_600_000, uptime_ms=101_249)])
    registry = metrics.registry_of(lambda: next(statuses))
    first, second = (metrics.render(registry).decode() for _ in range(2))
    assert value(first, "presenced_start_time_seconds") == value(second, "presenced_start_time_seconds")
    assert value(first, "presenced_uptime_seconds") != value(second, "presenced_uptime_seconds")


def test_directories_with_quotes_are_quoted() -> None:
    directory = 'a"b\\c\nd'
    text = scrape(made_status(log=made_log(directory=directory)))
    assert value(text, "presenced_log_info", directory=directory, durability="always") == 1


# --- a real server ------------------------------------------------------------------------------------------------


def get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read()


def test_a_scrape_of_a_real_server(tmp_path: Path) -> None:
    with InProcess(http="127.0.0.1:0", data_dir=str(tmp_path)) as node:
        port = node.ask(lambda _: node.operations.http.port)
        with connect(f"presence://alice@127.0.0.1:{node.port}/laptop") as alice:
            alice.set_status("dnd")
            alice.get_status("nobody")
            text = get(port, "/metrics").decode()
            assert_well_formed(text)
            status = msgspec.json.decode(get(port, "/statusz.json"), type=ServerStatus)
    assert value(text, "presenced_users_online", status="dnd") == 1
    assert value(text, "presenced_users_online", status="online") == 0
    assert value(text, "presenced_devices", state="connected") == 1
    assert value(text, "presenced_hidden_answers_total") == 1
    assert value(text, "presenced_links", role="user") == 1
    assert value(text, "presenced_hellos_total") == 1
    assert value(text, "presenced_ready") == 1
    assert value(text, "presenced_log_state", state="ok") == 1
    assert value(text, "presenced_log_commit_duration_seconds_count") >= 1
    assert value(text, "presenced_turn_duration_seconds_count") >= 1
    assert value(text, "presenced_resident_memory_bytes") > 10 << 20
    assert value(text, "presenced_open_fds") > 3
    assert value(text, "presenced_frames_received_total") >= 2
    assert status.by_status["dnd"] == 1
    assert status.hellos == 1


def test_a_look_costs_the_same_whatever_there_is() -> None:
    """Counted in calls, which a busy machine does not change: 500 devices and watches more, and not one call more."""

    def calls(node: InProcess) -> int:
        def count(server: Any) -> int:
            number = 0

            def seen(_: Any, event: str, __: Any) -> None:
                nonlocal number
                number += event in ("call", "c_call")

            pages = Pages(lambda: take_status(server), History(), lambda _: [])
            pages.answer("/metrics")
            pages._made.clear()
            sys.setprofile(seen)
            try:
                pages.answer("/metrics")
            finally:
                sys.setprofile(None)
            return number

        return node.ask(count)

    with InProcess() as node:
        before = calls(node)
        with connect_service(f"presence://app@127.0.0.1:{node.port}") as app:
            app.attach_many((f"user-{number}", "laptop") for number in range(500))
            node.until(lambda server: len(server.engine.publisher.online) == 500)
            after = calls(node)
    # Numbers are written by the same calls, but those that became 1,000,000 or more, and lists grow by their bytes.
    assert abs(after - before) < 60, f"{before} calls with nobody there, {after} with 500"
