"""The figures of webhooks as metrics, and as rows of the status page."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from presenced.ops.formats import count, span
from presenced.server.status import WebhookStatus

STATES = ("starting", "delivering", "failing", "gone", "taken")


def metrics_of(now: WebhookStatus, wall_ms: int) -> Iterator[Metric]:
    """All families. There are none of a server without webhooks."""
    state = "1 for the state of webhooks: failing = the receiver takes nothing, gone = it has said 410."
    states = GaugeMetricFamily("presenced_webhook_state", state, labels=["state"])
    for word in STATES:
        states.add_metric([word], float(word == now.state))
    yield states
    reasons = CounterMetricFamily(
        "presenced_webhook_failures", "Requests of webhooks that came to nothing, by why.", labels=["reason"]
    )
    for reason, number in now.failures.items():
        reasons.add_metric([reason], number)
    yield reasons
    for name, words, number in (
        ("requests", "Requests of webhooks that were begun.", now.requests),
        ("events_accepted", "Events that the receiver of webhooks has accepted.", now.accepted),
        ("dead_letters", "Events that webhooks have given up.", now.dead_letters),
        ("gaps", "Times that webhooks have missed events that were not kept any longer.", now.gaps),
    ):
        yield CounterMetricFamily(f"presenced_webhook_{name}", words, number)
    for name, words, value in (
        ("events_behind", "Events that webhooks have not delivered yet; -1 = some are not kept.", now.behind),
        ("events_held", "Events that webhooks have read and not delivered yet.", now.held),
        ("requests_under_way", "Requests of webhooks that wait for an answer.", now.under_way),
        ("lag_seconds", "Age of the oldest event that webhooks have not delivered yet.", now.lag_ms / 1000),
        (
            "failing_seconds",
            "Time since when the receiver of webhooks takes nothing; 0 = it does.",
            max(0, wall_ms - now.failing_wall_ms) / 1000 if now.failing_wall_ms else 0,
        ),
    ):
        yield GaugeMetricFamily(f"presenced_webhook_{name}", words, float(value))


def rows_of(now: WebhookStatus, wall_ms: int) -> list[tuple[str, ...]]:
    """What the status page shows."""
    failed = sum(now.failures.values())
    rows: list[tuple[str, ...]] = [
        ("Receiver", now.receiver),
        ("Delivery", now.state),
        ("Events to deliver", count(now.behind) if now.behind >= 0 else "some are lost"),
        ("Age of the oldest", span(now.lag_ms) if now.lag_ms else "-"),
        ("Events accepted", count(now.accepted)),
        ("Requests (failed)", f"{count(now.requests)} ({count(failed)})"),
        ("Events given up", count(now.dead_letters)),
        ("Times that events were lost", count(now.gaps)),
    ]
    if now.error:
        rows.append(("Last failure", f"{span(max(0, wall_ms - now.error_wall_ms))} ago: {now.error}"))
    return rows
