"""The report: one page that holds everything itself, for somebody with two minutes, and the figures for somebody with
more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from statistics import median

from bench.catalog import PROFILES
from bench.machine.facts import machine_lines
from bench.report import svg
from bench.report.sentences import claim, comparisons, faults_sentence, headline
from bench.report.style import STYLE
from bench.report.table import LEFT, Table, notes, tables
from bench.results.files import ResultFile, all_outcomes
from bench.results.outcome import LIMIT, OURS, Outcome
from bench.results.units import label, number, plain, show, shown_name

EVERY_DELIVERY_CHECKED = frozenset(
    ("fanout", "graph", "latency", "login", "flap", "slow", "restart", "snapshot", "scale", "mixed", "soak")
)
"""Others count what arrives, look at what there is in the end, or deliver nothing."""

BESIDE_SERVERS_MAX = 2
"""So many servers' figures have room beside a chart."""

MACHINE_NAMES = {
    "date": "Date",
    "command_line": "Command",
    "commit": "Commit",
    "cpu": "Processor",
    "cpu_count": "Cores",
    "memory_bytes": "Memory",
    "kernel": "Kernel",
    "python": "Python",
    "presenced": "presenced",
    "uvloop": "uvloop",
    "msgspec": "msgspec",
    "pinning": "Pinning",
    "change_spacing": "Change spacing",
    "rate_limit": "Rate limit",
}


def page(results: Sequence[ResultFile]) -> str:
    """The whole page for one or several files."""
    found = [(file, outcome, f"{outcome.profile}-{at}") for at, (file, outcome) in enumerate(all_outcomes(results), 1)]
    several = len(results) > 1
    cards = "".join(_card(outcome, anchor, file.name if several else "") for file, outcome, anchor in found)
    sections = "".join(_section(outcome, anchor, file.name if several else "") for file, outcome, anchor in found)
    failed = "".join(
        f'<p class="alarm">{escape(name)}: {escape(why)}</p>' for file in results for name, why in file.failed.items()
    )
    machines = "".join(_machine(file, several=several) for file in results)
    first = results[0].machine if results else {}
    where = escape("; ".join(machine_lines(first)[:2])) if first else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>presenced: what it costs</title><style>{STYLE}</style></head>\n<body><main>"
        f'<h1>What presenced costs</h1><p class="where">{where}. CPU is what the kernel counted for the server&rsquo;s '
        f"process.{_checked(found)} Bars show the median of the rounds, whiskers the smallest and the "
        "largest.</p>"
        f'{failed}<div class="cards">{cards}</div>{sections}{machines}</main></body></html>\n'
    )


def _card(outcome: Outcome, anchor: str, file: str) -> str:
    """The figure in large, what it is of, and how it compares."""
    values = _main_values(outcome)
    big = show(outcome.main_figure, median(values), 2) if values else "no result"
    ratios = outcome.ratios()
    chips = [
        f'<span class="chip{" less" if name != LIMIT and ratio["median"] < 0.995 else ""}">{escape(text)}</span>'
        for (name, ratio), text in zip(ratios.items(), map(_pretty, comparisons(outcome)), strict=True)
    ]
    if outcome.faults():
        chips.insert(0, '<span class="chip bad">failed</span>')
    if outcome.interrupted:
        chips.insert(0, '<span class="chip">interrupted</span>')
    from_file = f" &middot; {escape(file)}" if file else ""
    return (
        f'<a class="card" href="#{escape(anchor)}"><h2>{escape(outcome.profile)}{from_file}</h2>'
        f'<div class="big">{escape(_pretty(big))}</div><p class="claim">{escape(_pretty(claim(outcome)))}</p>'
        f'<div class="chips">{"".join(chips)}</div></a>'
    )


def _section(outcome: Outcome, anchor: str, file: str) -> str:
    charts = _charts(outcome)
    from_file = f" &middot; {escape(file)}" if file else ""
    parts = [f'<section id="{escape(anchor)}"><h2>{escape(outcome.profile)}{from_file}</h2>']
    parts.append(f'<p class="headline">{escape(_pretty(headline(outcome)))}</p>')
    if faults := faults_sentence(outcome):
        parts.append(f'<p class="alarm">{escape(faults)}</p>')
    if outcome.interrupted:
        parts.append('<p class="warn">Interrupted: these are the rounds that were complete.</p>')
    beside = len(charts) == 1 and len(outcome.servers) <= BESIDE_SERVERS_MAX
    shown = "".join(_table(table) for table in tables(outcome, narrow=beside))
    if charts:
        parts.append(f'<div class="charts">{"".join(charts)}{f"<div>{shown}</div>" if beside else ""}</div>')
    if not beside:
        parts.append(f"<details{'' if charts else ' open'}><summary>All figures</summary>{shown}</details>")
    parts.append(_how(outcome))
    told = [text for text, _ in notes(outcome) if text != faults and not text.startswith("interrupted")]
    told = [_pretty(text.removeprefix("note: ")) for text in told]
    servers = tuple(f"{shown_name(name)}: " for name in outcome.servers)
    settings = [text for text in told if text.startswith(servers)]
    parts.append(_list([text for text in told if text not in settings]))
    if settings:
        parts.append(f"<details><summary>How the servers were set</summary>{_list(settings)}</details>")
    return "".join([*parts, "</section>\n"])


def _checked(found: Sequence[tuple[ResultFile, Outcome, str]]) -> str:
    names = [outcome.profile for _, outcome, _ in found if outcome.profile in EVERY_DELIVERY_CHECKED]
    return f" Every delivery was checked in {', '.join(dict.fromkeys(names))}." if names else ""


def _list(texts: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="notes">{items}</ul>' if texts else ""


def _charts(outcome: Outcome) -> list[str]:
    """Bars if there is somebody to compare with; curves of waits; lines against scale."""
    charts = []
    ratios = outcome.ratios()
    rows = []
    for name, server in outcome.servers.items():
        if values := server.figures.get(outcome.main_figure):
            ratio = f"{number(1 / ratios[name]['median'], 2)} ×" if name in ratios and ratios[name]["median"] else ""
            rows.append(svg.Bar(name, values, ratio))
    if len(rows) > 1:
        caption = label(outcome.main_figure)
        with_ratio = "; × is how many times ours" if ratios else ""
        charts.append(_figure(f"{caption}{with_ratio}", svg.bars(outcome.main_figure, rows)))
    waits = _names(server.latency for server in outcome.servers.values())
    if len(outcome.servers) == 1 and len(waits) > 1:
        [only] = outcome.servers.values()
        lines = [(what, latency.points) for what, latency in only.latency.items() if len(latency.points) > 1]
        charts.append(_figure("the waits by percentile", svg.latency_curve(lines, of_one=True)))
        waits = []
    for what in waits:
        lines = [
            (name, server.latency[what].points) for name, server in outcome.servers.items() if what in server.latency
        ]
        lines = [(name, points) for name, points in lines if len(points) > 1]
        if lines:
            charts.append(_figure(f"{label(what)}: the wait by percentile", svg.latency_curve(lines)))
    for what in _names(server.series for server in outcome.servers.values()):
        lines = [(name, server.series[what]) for name, server in outcome.servers.items() if server.series.get(what)]
        if lines:
            y, _, x = what.partition("_by_")
            against = {"s": "over time"}.get(x, f"by number of {x.replace('_', ' ')}" if x else "")
            charts.append(_figure(f"{label(y)} {against}", svg.series(what, lines)))
    return charts


def _how(outcome: Outcome) -> str:
    profile = PROFILES.get(outcome.profile)
    about = escape(profile.about) if profile else ""
    options = ", ".join(f"{name.replace('_', ' ')} {plain(value)}" for name, value in outcome.options.items())
    settings = f" Set: {escape(options)}." if options else ""
    return f'<p class="how"><b>How it was measured.</b> {about}{settings}</p>'


def _machine(file: ResultFile, *, several: bool) -> str:
    name = f" &middot; {escape(file.name)}" if several else ""
    rows = []
    for key, shown in MACHINE_NAMES.items():
        value = file.machine.get(key)
        if value is None or value == "":
            continue
        text = show(key, value) if key == "memory_bytes" and isinstance(value, int) else str(value)
        if key == "commit" and file.machine.get("dirty"):
            text += ", with changes that are not committed"
        cell = f"<code>{escape(text)}</code>" if key in ("command_line", "commit") else escape(text)
        rows.append(f"<dt>{escape(shown)}</dt><dd>{cell}</dd>")
    return f"<section><h2>Machine and command{name}</h2><dl>{''.join(rows)}</dl></section>\n"


def _table(table: Table) -> str:
    kinds = ["left" if title in LEFT else "" for title in table.titles]
    head = "".join(f'<th class="{kind}">{escape(title)}</th>' for title, kind in zip(table.titles, kinds, strict=True))
    rows = []
    for row in table.rows:
        ours = ' class="ours"' if row[0].startswith(shown_name(OURS)) else ""
        cells = []
        for cell, kind, title in zip(row, kinds, table.titles, strict=True):
            judged = ("ok" if cell.endswith(" ok") else "bad") if title == "checks" and cell else kind
            cells.append(f'<td class="{judged}">{escape(_pretty(cell))}</td>')
        rows.append(f"<tr{ours}>{''.join(cells)}</tr>")
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _figure(caption: str, drawing: str) -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>{_pretty(drawing)}</figure>"


def _main_values(outcome: Outcome) -> list[float]:
    ours = outcome.servers.get(OURS)
    return ours.figures.get(outcome.main_figure, []) if ours else []


def _names(found: Iterable[Iterable[str]]) -> list[str]:
    """The keys of all of them, once each, in order."""
    return list(dict.fromkeys(name for each in found for name in each))


def _pretty(text: str) -> str:
    """The signs that a terminal might not have."""
    return re.sub(r"(\d) us\b", "\\1 µs", re.sub(r"(\d) x ", "\\1 × ", text)).replace(" - ", " – ")
