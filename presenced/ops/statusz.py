"""The status page: one HTML page made on the server, with plots of the last five minutes and nothing from outside.

Text from outside (names of users and devices, paths) is escaped where it is put in. The content policy lets a browser
use only the page's own style and script, by their digests.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from importlib.resources import files

from presenced.ops.cluster_figures import NODE_TITLES, cluster_rows, node_rows
from presenced.ops.doctor import Finding
from presenced.ops.formats import count, micros, percent, size, span
from presenced.ops.history import SAMPLES_MAX, History
from presenced.ops.svg import plot
from presenced.ops.webhook_figures import rows_of
from presenced.server.status import LogStatus, MemoryStatus, Quantiles, ServerStatus, SlowWatcher

_STYLE = files("presenced").joinpath("share", "statusz.css").read_text(encoding="utf-8")
_SCRIPT = files("presenced").joinpath("share", "statusz.js").read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


POLICY = (
    f"default-src 'none'; style-src {_digest(_STYLE)}; script-src {_digest(_SCRIPT)}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

SPAN_MS_MIN = 60_000
"""The shortest time that a plot shows."""

Row = tuple[str, ...]


def page(status: ServerStatus, history: History, findings: Iterable[Finding]) -> bytes:
    """The whole page, with the `findings` that are not well. O(samples), whatever the number of links."""
    title = f"presenced: {status.state}"
    body = (
        f"<header>{_header(status)}</header>"
        '<p class="stale">The server does not answer; the figures below are old.</p>'
        f"<main>{_warnings(findings)}"
        f'<section class="tiles">{_tiles(status, history)}</section>'
        f'<section class="plots">{_plots(history)}</section>'
        f'<section class="tables">{_tables(status)}</section></main>'
        '<footer>Figures are live; totals count from the start of the process. <a href="/metrics">/metrics</a> '
        '<a href="/statusz.json">/statusz.json</a> <a href="/readyz">/readyz</a> '
        '<a href="/healthz">/healthz</a></footer>'
        f"<script>{_SCRIPT}</script>"
    )
    head = '<noscript><meta http-equiv="refresh" content="5"></noscript>'
    return _document(title, head, body)


def starting(sentence: str) -> bytes:
    """The page while the server starts; it loads again each second until there is more to show."""
    head = '<meta http-equiv="refresh" content="1">'
    return _document("presenced: starting", head, f"<h1>presenced</h1><main><p>{escape(sentence)}</p></main>")


def index(paths: Iterable[str]) -> bytes:
    """The page at `/`, which has another path beside it for where something else stands there: links to the others."""
    items = "".join(f'<li><a href="{path}">{path}</a></li>' for path in paths if path not in ("/", "/status-index"))
    return _document("presenced", "", f"<h1>presenced</h1><ul>{items}</ul>")


def _document(title: str, head: str, body: str) -> bytes:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>{head}'
        f"<style>{_STYLE}</style></head><body>{body}</body></html>\n"
    ).encode()


def _header(status: ServerStatus) -> str:
    where = " ".join(status.listeners)
    about = f"{status.version}, Python {status.python}, {status.loop}, process {status.pid}"
    return f"<h1>presenced</h1><span>{escape(about)}</span><span>{escape(where)}</span>"


def _warnings(findings: Iterable[Finding]) -> str:
    items = [
        f'<li class="{found.severity}">{escape(found.what)} <span class="hint">{escape(found.advice)}</span></li>'
        for found in findings
        if found.severity != "ok"
    ]
    return f'<ul class="warnings">{"".join(items)}</ul>' if items else ""


def _tiles(status: ServerStatus, history: History) -> str:
    latest = {name: values[-1] if values else 0 for name, values in history.series.items()}
    tiles = [
        (status.state, f"for {span(status.uptime_ms)}", status.state),
        (count(status.users_online), f"online of {count(status.users)} users, {count(status.users_asleep)} asleep", ""),
        (count(status.devices_connected), f"devices, {count(status.devices_grace)} in grace", ""),
        (count(status.links), f"links of {count(status.links_max)}", ""),
        (count(latest["changes_per_s"]), "changes/s", ""),
        (count(latest["deliveries_per_s"]), "deliveries/s", ""),
        (micros(status.reaction.p99_us), "change to write, p99", ""),
    ]
    return "".join(
        f'<div class="tile"><b class="{escape(kind)}">{escape(value)}</b><span>{escape(what)}</span></div>'
        for value, what, kind in tiles
    )


def _plots(history: History) -> str:
    series = history.series
    at_ms = series["at_ms"]
    # A short history is drawn over the whole width.
    span_ms = min(max(at_ms[-1] - at_ms[0], SPAN_MS_MIN), SAMPLES_MAX * 1000) if at_ms else SPAN_MS_MIN
    return "".join(
        plot(title, at_ms, series[name], span_ms, show, from_zero=from_zero)
        for title, name, show, from_zero in (
            ("Deliveries per second", "deliveries_per_s", count, True),
            ("Changes per second", "changes_per_s", count, True),
            ("Users online", "users_online", count, True),
            ("Links", "links", count, True),
            ("Turn, p99", "turn_p99_us", micros, True),
            ("Wheel lag, p99", "lag_p99_us", micros, True),
            ("Resident memory", "rss_bytes", size, False),
            ("CPU, share of one core", "cpu_permille", percent, True),
        )
    )


def _tables(status: ServerStatus) -> str:
    parts = [
        _times(status),
        _slowest(status.slowest, status.slow_watchers),
        _pairs("Presence", _presence(status)),
        _pairs("Links", _links(status)),
        _log(status.log, status.wall_ms),
        _pairs("Process", _process(status)),
    ]
    if status.webhooks is not None:
        parts.append(_pairs("Webhooks", rows_of(status.webhooks, status.wall_ms)))
    if status.cluster is not None:
        parts.append(_pairs("Cluster", cluster_rows(status.cluster)))
        parts.append(_table("Nodes", NODE_TITLES, node_rows(status.cluster)))
    return "".join(parts)


def _presence(status: ServerStatus) -> list[Row]:
    return [
        *((f"Shown as {name}", count(number)) for name, number in status.by_status.items()),
        ("Channels", count(status.channels)),
        ("Users watched, summed over links", count(status.watches)),
        ("Contacts, in the lists of all users", count(status.contacts)),
        ("Requests to see somebody without an answer", count(status.contact_requests)),
        ("Blocks", count(status.blocks)),
        ("Users hidden from one other, summed", count(status.hidings)),
        ("Awaits under way", count(status.awaits)),
        ("Awaits met, and not met", f"{count(status.awaits_met)}, {count(status.awaits_unmet)}"),
        ("Answers about who is hidden or was never seen", count(status.hidden_answers)),
        ("Checksums of views told", count(status.view_checks)),
        ("Checksums of views that were wrong", count(status.view_checks_failed)),
        ("Records told to clients that came back", count(status.view_differences)),
        ("Events kept", f"{count(status.events_kept)}, {size(status.event_bytes)}"),
        ("Links that follow events", count(status.event_followers)),
        ("Followers with a name", count(status.named_followers)),
        ("Changes", count(status.changes)),
        ("Deliveries", count(status.deliveries)),
        ("Leases that ran out", count(status.expired)),
        ("Entries in the wheel", count(status.wheel)),
    ]


ROLE_WORDS = {"none": "No hello yet", "ending": "Told goodbye"}


def _links(status: ServerStatus) -> list[Row]:
    return [
        *((ROLE_WORDS.get(role) or f"Role {role}", count(number)) for role, number in status.links_by_role.items()),
        ("Accepted", count(status.accepted)),
        ("Welcomed", count(status.hellos)),
        ("Lost, and may take back what they had", count(status.links_parked)),
        *(
            (f"Tokens of lost links: {outcome.replace('_', ' ')}", count(number))
            for outcome, number in status.resumptions.items()
        ),
        ("Lost links given up", count(sum(status.resumptions_given_up.values()))),
        ("Not read now, because over their rate", count(status.throttled)),
        ("Frames in", count(status.frames_in)),
        ("Sent", size(status.bytes_out)),
        *((f"Ended: {code}", count(number)) for code, number in sorted(status.goodbyes.items()) if number),
        *((f"Request refused: {code}", count(number)) for code, number in sorted(status.refused.items()) if number),
        ("Connections that could not be accepted", count(status.accept_failures)),
        ("TLS handshakes that failed", count(status.handshakes_failed)),
        ("TLS connections cut off for lack of room", count(status.cut_off)),
    ]


def _process(status: ServerStatus) -> list[Row]:
    return [
        ("Resident memory", size(status.rss_bytes)),
        *_memory(status.memory),
        ("CPU time", span(status.cpu_ms)),
        ("File descriptors", f"{count(status.descriptors)} of {count(status.descriptors_max)}"),
        ("Garbage collections", count(status.gc_collections)),
        ("Turns", count(status.turns)),
        ("Stalls", count(status.stalls)),
        ("Jumps of the wall clock", count(status.wall_jumps)),
        ("Reloads (rejected)", f"{count(status.reloads)} ({count(status.failed_reloads)})"),
        ("Lines of the log that nobody read", count(status.log_lines_lost)),
        ("Settings", status.config or "no file"),
        ("Epoch", str(status.epoch)),
        ("Version counter", str(status.version_counter)),
    ]


def _memory(memory: MemoryStatus) -> list[Row]:
    budget = size(memory.budget_bytes) if memory.budget_bytes else "none"
    return [
        ("Memory in use, and its budget", f"{size(memory.used_bytes)}, {budget}"),
        ("State of the memory", memory.level),
        ("Links refused for lack of memory", count(memory.refused_links + memory.refused_hellos)),
        ("Requests refused for lack of memory", count(memory.refused_requests)),
        ("Links ended for lack of memory", count(memory.ended_links)),
    ]


def _times(status: ServerStatus) -> str:
    kinds = [
        ("Change to write", status.reaction),
        ("Turn", status.turn),
        ("Wheel lag", status.lag),
    ]
    if status.log is not None:
        kinds.append(("Commit", status.commit))
    return _table(
        "Latency since the start",
        ("", "p50", "p99", "longest", "number"),
        [(name, *_quantiles(durations)) for name, durations in kinds],
    )


def _quantiles(durations: Quantiles) -> Row:
    if not durations.count:
        return "-", "-", "-", "0"
    return micros(durations.p50_us), micros(durations.p99_us), micros(durations.max_us), count(durations.count)


def _slowest(watchers: list[SlowWatcher], number: int) -> str:
    title = f"Slow watchers: {count(number)}"
    if not watchers:
        return f'<div class="table"><h2>{title}</h2><p class="hint">Everyone takes what they are sent.</p></div>'
    rows = [(slow.who, slow.role, count(slow.held), span(slow.for_ms)) for slow in watchers]
    return _table(title, ("Link", "role", "owed", "for"), rows)


def _log(log: LogStatus | None, wall_ms: int) -> str:
    if log is None:
        return _pairs("Log and snapshots", [("State", "in memory only")])
    taken = "none yet"
    if log.snapshot_wall_ms:
        age = span(max(0, wall_ms - log.snapshot_wall_ms))
        taken = f"{age} ago, {size(log.snapshot_bytes)}, took {span(log.snapshot_took_ms)}"
    return _pairs(
        "Log and snapshots",
        [
            ("Directory", log.directory),
            ("Durability", log.durability),
            ("State", log.state),
            ("Waiting for the disk", f"{count(log.pending_facts)} facts, {size(log.pending_bytes)}"),
            ("Log since the snapshot", size(log.log_bytes)),
            ("Snapshots finished", count(log.snapshots)),
            ("Snapshot", "being written" if log.snapshot_running else taken),
        ],
    )


def _pairs(title: str, rows: Iterable[Row]) -> str:
    return _table(title, (), rows)


def _table(title: str, names: Row, rows: Iterable[Row]) -> str:
    head = "<thead><tr>" + "".join(f'<th scope="col">{escape(name)}</th>' for name in names) + "</tr></thead>"
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="table"><h2>{escape(title)}</h2><table>{head if names else ""}<tbody>{body}</tbody></table></div>'
    )
