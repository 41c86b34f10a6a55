"""The server's figures as Prometheus metrics: one collector over one `ServerStatus`, taken at each scrape.

Nothing is counted here: the server adds up plain integers, and this module gives them names, units and help. Every name
begins with `presenced_`; times are in seconds, sizes in bytes. The figures of the process do not come from the
library's own collector, which finds nothing where /proc/stat is hidden (ProcSubset=pid), and does not say so.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from presenced import __version__
from presenced.errors import CODES
from presenced.ops.cluster_figures import cluster_metrics
from presenced.ops.health import not_ready
from presenced.ops.startup import Starting
from presenced.ops.webhook_figures import metrics_of
from presenced.server.memory import LEVELS
from presenced.server.stats import BUCKETS
from presenced.server.status import LogStatus, Quantiles, ServerStatus
from presenced.wire.messages import ONLINE_STATUSES

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

STATES = ("starting", "serving", "draining", "stopped")
LOG_STATES = ("ok", "busy", "full", "gone", "failed", "closed")
STATUSES = ONLINE_STATUSES
ROLES = ("user", "service", "admin", "none", "ending")
GOODBYES = tuple(code for code, meaning in CODES.items() if meaning.closes)
REFUSED = tuple(code for code, meaning in CODES.items() if not meaning.closes)
"""Label values that are always there, so that a rate counts from the first event on and not from the second."""

BUILD_HELP = "What runs here."
STATE_HELP = "1 for the state that the server is in."
READY_HELP = "1 if clients may be sent here (as /readyz says)."
VERSION_HELP = "The version counter: it runs with the clock, in milliseconds, and goes on after a restart."
UPTIME_HELP = "Time since the process started."
LINKS_HELP = "Open connections; none = no hello yet, ending = told goodbye."

_EDGES = [repr((1 << index) / 1_000_000) for index in range(BUCKETS - 1)]
"""Upper edges of the buckets in seconds, as Prometheus writes them."""


class StatusCollector(Collector):
    """Turns the status that `take` returns into metric families: about 250 samples, whatever the number of links."""

    def __init__(self, take: Callable[[], ServerStatus]) -> None:
        self._take = take
        self._started_s: float | None = None

    def describe(self) -> Iterable[Metric]:
        """No families: a question for names must not take a status."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families; those of the log, of webhooks and of a cluster only where there is one."""
        status = self._take()
        yield from self._server(status)
        yield from _presence(status)
        yield from _links(status)
        yield from _work(status)
        yield from _process(status)
        if status.log is not None:
            yield from _log(status, status.log)
        if status.webhooks is not None:
            yield from metrics_of(status.webhooks, status.wall_ms)
        if status.cluster is not None:
            yield from cluster_metrics(status.cluster)

    def _server(self, status: ServerStatus) -> Iterator[Metric]:
        about = {"version": status.version, "python": status.python, "loop": status.loop}
        yield InfoMetricFamily("presenced_build", BUILD_HELP, about)
        yield _one_of("presenced_state", STATE_HELP, STATES, status.state)
        yield _gauge("presenced_ready", READY_HELP, not not_ready(status))
        if self._started_s is None:
            # Computed once: from two clocks the result would differ by a millisecond each time.
            self._started_s = (status.wall_ms - status.uptime_ms) / 1000
        yield _gauge("presenced_start_time_seconds", "When the process started, as Unix time.", self._started_s)
        yield _gauge("presenced_uptime_seconds", UPTIME_HELP, status.uptime_ms / 1000)
        yield _gauge(
            "presenced_epoch", "Identifies the history of versions; changes if the history was lost.", status.epoch
        )
        yield _gauge("presenced_record_version", VERSION_HELP, status.version_counter)
        yield _counter("presenced_reloads", "Reloads of the settings that were applied.", status.reloads)
        yield _counter("presenced_reloads_failed", "Reloads that were rejected.", status.failed_reloads)
        if status.certificate_ends_ms:
            ends_s = status.certificate_ends_ms / 1000
            yield _gauge("presenced_certificate_end_seconds", "When the certificate ends, as Unix time.", ends_s)
        lost = status.log_lines_lost
        yield _counter("presenced_lines_dropped", "Lines of the log that were dropped, because nobody read them.", lost)
        yield _counter("presenced_clock_jumps", "Jumps of the wall clock.", status.wall_jumps)
        yield _gauge(
            "presenced_clock_jump_last_seconds", "The size of the clock's last jump.", status.wall_jump_ms / 1000
        )


def render(registry: CollectorRegistry) -> bytes:
    """The metrics in Prometheus' text format 0.0.4."""
    return generate_latest(registry)


def render_starting(starting: Starting) -> bytes:
    """The metrics that need no engine, in the same format and under the same names. Figures of presence are absent: a
    zero would say that everybody has gone."""
    registry = CollectorRegistry()
    registry.register(_StartingCollector(starting))
    return generate_latest(registry)


class _StartingCollector(Collector):
    def __init__(self, starting: Starting) -> None:
        self._starting = starting

    def collect(self) -> Iterator[Metric]:
        """All families. The time of the start is absent: the first status computes it, and a value that differed by a
        millisecond would look like another start."""
        about = {"version": __version__, "python": platform.python_version(), "loop": self._starting.loop}
        yield InfoMetricFamily("presenced_build", BUILD_HELP, about)
        yield _one_of("presenced_state", STATE_HELP, STATES, "starting")
        yield _gauge("presenced_ready", READY_HELP, 0)
        yield _gauge("presenced_uptime_seconds", UPTIME_HELP, self._starting.uptime_ms / 1000)


def registry_of(take: Callable[[], ServerStatus]) -> CollectorRegistry:
    """A registry of this server alone, so that several servers in one process stay apart."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StatusCollector(take))
    return registry


def _presence(status: ServerStatus) -> Iterator[Metric]:
    yield _gauge("presenced_users", "Known users, online or not.", status.users)
    asleep = "Of the known users, those who are kept as a few bytes."
    yield _gauge("presenced_users_asleep", asleep, status.users_asleep)
    yield _gauges(
        "presenced_users_online", "Users shown with a status other than offline.", "status", STATUSES, status.by_status
    )
    devices = {"connected": status.devices_connected, "grace": status.devices_grace}
    yield _gauges("presenced_devices", "Live devices; grace = the link is lost.", "state", (), devices)
    yield _gauge("presenced_channels", "Channels with members.", status.channels)
    yield _gauge("presenced_watches", "Users watched, summed over the links.", status.watches)
    yield _gauge("presenced_blocks", "Users whom others have blocked, summed over these.", status.blocks)
    yield _gauge("presenced_hidings", "Users from whom others hide, summed over these.", status.hidings)
    yield _counter(
        "presenced_hidden_answers",
        "Answers about users whom the asker may not see, or who were never seen.",
        status.hidden_answers,
    )
    yield _counter("presenced_view_checks", "Checksums of views that clients were told.", status.view_checks)
    yield _counter("presenced_view_checks_failed", "Checksums that were not the client's.", status.view_checks_failed)
    yield _counter(
        "presenced_view_differences",
        "Records told to clients that came back or compared, because they had others.",
        status.view_differences,
    )
    yield _gauge("presenced_awaits", "Awaits under way.", status.awaits)
    answered = {"yes": status.awaits_met, "no": status.awaits_unmet}
    yield _counters("presenced_awaits_answered", "Awaits answered, by whether it was met.", "met", (), answered)
    yield _gauge("presenced_events_kept", "Events that followers can still be told.", status.events_kept)
    yield _gauge("presenced_events_size_bytes", "What these events take in memory, about.", status.event_bytes)
    yield _gauge("presenced_event_followers", "Links that follow events.", status.event_followers)
    yield _gauge(
        "presenced_event_followers_named", "Followers whose positions the server keeps.", status.named_followers
    )
    yield _gauge(
        "presenced_event_followers_lost",
        "Followers with a name that have missed events which are not kept any longer.",
        len(status.lost_followers),
    )
    yield _gauge("presenced_contacts", "Contacts in the lists of all users together.", status.contacts)
    requests = "Requests to see a user that wait for an answer."
    yield _gauge("presenced_contact_requests", requests, status.contact_requests)
    yield _counter("presenced_changes", "Records that changed.", status.changes)
    yield _counter("presenced_deliveries", "Presence frames handed to links.", status.deliveries)
    yield _counter("presenced_leases_expired", "Devices that sent nothing in time.", status.expired)


def _links(status: ServerStatus) -> Iterator[Metric]:
    yield _gauges("presenced_links", LINKS_HELP, "role", ROLES, status.links_by_role)
    yield _gauge("presenced_links_max", "The most links that are admitted.", status.links_max)
    yield _counter("presenced_links_accepted", "Connections accepted.", status.accepted)
    yield _counter("presenced_hellos", "Hellos answered with a welcome.", status.hellos)
    yield _gauge("presenced_links_parked", "Lost links whose clients may take back what they had.", status.links_parked)
    shown = "Tokens of lost links that clients have shown, by what came of it."
    yield _counters("presenced_resumptions", shown, "outcome", (), status.resumptions)
    given_up = "Lost links of which nothing was kept to the end, by why."
    yield _counters("presenced_resumptions_given_up", given_up, "why", (), status.resumptions_given_up)
    goodbyes = "Links refused or ended by the server, by error code."
    yield _counters("presenced_goodbyes", goodbyes, "code", GOODBYES, status.goodbyes)
    refused = "Requests answered with an error, by its code."
    yield _counters("presenced_requests_refused", refused, "code", REFUSED, status.refused)
    yield _counter(
        "presenced_accept_failures",
        "Times that the system had no resources for another connection.",
        status.accept_failures,
    )
    yield _counter("presenced_tls_handshakes_failed", "TLS handshakes that failed.", status.handshakes_failed)
    yield _counter(
        "presenced_refusals_cut_off", "TLS connections closed without a message, for lack of room.", status.cut_off
    )
    yield _gauge("presenced_slow_watchers", "Links that do not read what they are sent.", status.slow_watchers)
    yield _gauge(
        "presenced_slow_watcher_records_max",
        "Records held back for the slowest watcher.",
        max((slow.held for slow in status.slowest), default=0),
    )
    yield _gauge(
        "presenced_slow_watcher_seconds_max",
        "Time that the slowest watcher has not read.",
        max((slow.for_ms for slow in status.slowest), default=0) / 1000,
    )
    yield _gauge(
        "presenced_links_throttled", "Links that are not read now, because they are over their rate.", status.throttled
    )
    yield _counter("presenced_frames_received", "Frames that came in.", status.frames_in)
    yield _counter("presenced_sent_bytes", "Bytes handed to links.", status.bytes_out)


def _work(status: ServerStatus) -> Iterator[Metric]:
    yield _histogram(
        "presenced_change_to_write_seconds",
        "From the first input of a turn to the last write that it caused.",
        status.reaction,
    )
    yield _histogram("presenced_turn_duration_seconds", "How long a turn took.", status.turn)
    yield _histogram("presenced_wheel_lag_seconds", "How late a deadline was handled.", status.lag)
    yield _gauge("presenced_wheel_entries", "Deadlines waiting in the timer wheel.", status.wheel)
    yield _counter("presenced_turns", "Turns of the server.", status.turns)
    yield _counter("presenced_stalls", "Times that the process stood still for more than a second.", status.stalls)


def _process(status: ServerStatus) -> Iterator[Metric]:
    yield _gauge("presenced_resident_memory_bytes", "Resident memory.", status.rss_bytes)
    memory = status.memory
    used = "Memory that counts against the budget: resident, and the kernel's for the process if it is known."
    yield _gauge("presenced_memory_used_bytes", used, memory.used_bytes)
    yield _gauge("presenced_memory_budget_bytes", "limits.memory; 0 = none.", memory.budget_bytes)
    level = "1 for the state of memory: refusing = new links and state are refused, ending = links are ended, too."
    yield _one_of("presenced_memory_level", level, LEVELS, memory.level)
    shed = {
        "link": memory.refused_links,
        "hello": memory.refused_hellos,
        "request": memory.refused_requests,
        "ended_link": memory.ended_links,
    }
    yield _counters("presenced_memory_shed", "What was refused or ended for lack of memory.", "what", (), shed)
    yield _counter("presenced_cpu_seconds", "CPU time, user and system.", status.cpu_ms / 1000)
    yield _gauge("presenced_open_fds", "File descriptors in use.", status.descriptors)
    yield _gauge("presenced_max_fds", "File descriptors allowed.", status.descriptors_max)
    yield _counter("presenced_gc_collections", "Runs of the garbage collector.", status.gc_collections)


def _log(status: ServerStatus, log: LogStatus) -> Iterator[Metric]:
    yield InfoMetricFamily(
        "presenced_log", "The write-ahead log.", {"directory": log.directory, "durability": log.durability}
    )
    yield _one_of("presenced_log_state", "1 for the state that the log is in.", LOG_STATES, log.state)
    yield _gauge("presenced_log_pending_facts", "Facts not yet as durable as promised.", log.pending_facts)
    yield _gauge("presenced_log_pending_bytes", "Bytes not yet as durable as promised.", log.pending_bytes)
    yield _gauge("presenced_log_size_bytes", "Log written since the last snapshot.", log.log_bytes)
    yield _histogram("presenced_log_commit_duration_seconds", "How long a commit to the log took.", status.commit)
    yield _counter("presenced_snapshots", "Snapshots finished.", log.snapshots)
    yield _gauge("presenced_snapshot_running", "1 while a snapshot is being written.", log.snapshot_running)
    age = GaugeMetricFamily(
        "presenced_snapshot_age_seconds", "Time since the newest snapshot; absent if there is none."
    )
    if log.snapshot_wall_ms:
        age.add_metric([], max(0, status.wall_ms - log.snapshot_wall_ms) / 1000)
    yield age
    yield _gauge(
        "presenced_snapshot_duration_seconds", "How long the newest snapshot took.", log.snapshot_took_ms / 1000
    )
    yield _gauge("presenced_snapshot_size_bytes", "Size of the newest snapshot.", log.snapshot_bytes)


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, float(value))


def _counter(name: str, documentation: str, value: float) -> Metric:
    """`name` without `_total`, which the library adds."""
    return CounterMetricFamily(name, documentation, float(value))


def _counters(name: str, documentation: str, label: str, known: Iterable[str], values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, documentation, labels=[label])
    for key, value in (dict.fromkeys(known, 0) | dict(values)).items():
        family.add_metric([key], value)
    return family


def _gauges(name: str, documentation: str, label: str, known: Iterable[str], values: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for key, value in (dict.fromkeys(known, 0) | dict(values)).items():
        family.add_metric([key], value)
    return family


def _one_of(name: str, documentation: str, known: tuple[str, ...], now: str) -> Metric:
    return _gauges(name, documentation, "state", known, {now: 1})


def _histogram(name: str, documentation: str, durations: Quantiles) -> Metric:
    """The count comes from the buckets alone: a count read a moment later may already be one more."""
    buckets: list[tuple[str, float]] = []
    below = 0
    for edge, number in zip(_EDGES, durations.buckets, strict=False):
        below += number
        buckets.append((edge, below))
    buckets.append(("+Inf", below + sum(durations.buckets[len(_EDGES) :])))
    return HistogramMetricFamily(name, documentation, buckets=buckets, sum_value=durations.sum_us / 1_000_000)
