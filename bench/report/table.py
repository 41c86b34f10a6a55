"""One outcome for people: a row for each server, the other figures below, notes, and the machine at the foot.

With colour and lines on a terminal, as plain aligned text in a pipe; the cells are the same.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from textwrap import wrap
from typing import TYPE_CHECKING, Protocol

from bench.machine.facts import machine_lines
from bench.report.sentences import faults_sentence, headline
from bench.results.outcome import CHANGE_TO_WATCHER, OURS, Checks, Latency, Outcome, ServerOutcome
from bench.results.units import label, number, show, show_us, shown_name

if TYPE_CHECKING:
    from rich.console import Console

PERCENTILES = (("p50", "p50_us"), ("p90", "p90_us"), ("p99", "p99_us"), ("p99.9", "p999_us"), ("max", "max_us"))
LEFT = ("server", "figure", "wait", "verdict")
GAP = 2
GOOD, BAD, FAINT, STRONG = "green", "bold red", "dim", "bold"


@dataclass
class Table:
    """Titles and rows of cells; the first column and those in `LEFT` are words, the others figures."""

    titles: list[str]
    rows: list[list[str]] = field(default_factory=list)


def print_outcome(outcome: Outcome, machine: dict[str, object], *, foot: bool = True) -> None:
    """The outcome on stdout; the machine below it if `foot`."""
    draw_outcome(_stdout(), outcome, machine, foot=foot)


def draw_outcome(draw: Drawing, outcome: Outcome, machine: dict[str, object], *, foot: bool = True) -> None:
    """The same anywhere."""
    draw.line(outcome.title, STRONG)
    draw.line(headline(outcome))
    found = tables(outcome)
    if any(_width(table) > draw.width for table in found):
        found = tables(outcome, narrow=True)
    for table in found:
        draw.line("")
        draw.table(table)
    below = notes(outcome)
    if below:
        draw.line("")
    for text, style in below:
        draw.line(text, style)
    if foot:
        draw.line("")
        for text in machine_lines(machine):
            draw.line(text, FAINT)


def print_quiet(outcome: Outcome) -> None:
    """The outcome in one line."""
    print(f"{outcome.profile}: {headline(outcome)}")


def print_table(table: Table) -> None:
    """A table alone on stdout."""
    _stdout().table(table)


def tables(outcome: Outcome, *, narrow: bool = False) -> list[Table]:
    """The servers; their waits, if there are more than the one in the first or that is to be `narrow`; the figures that
    are not in it."""
    if not any(server.figures for server in outcome.servers.values()):
        return []
    found = [_servers(outcome, narrow=narrow)]
    waits = {name for server in outcome.servers.values() for name in server.latency}
    if waits - {shown_latency(outcome)} or narrow and waits:
        found.append(_waits(outcome))
    others = _other_figures(outcome)
    return [*found, others] if others.rows else found


def shown_latency(outcome: Outcome) -> str:
    """The latency that stands in the servers' table: from a change to a watcher, else the first there is."""
    names = [name for server in outcome.servers.values() for name, latency in server.latency.items() if latency.count]
    return CHANGE_TO_WATCHER if CHANGE_TO_WATCHER in names or not names else names[0]


def notes(outcome: Outcome) -> list[tuple[str, str]]:
    """What stands below the tables, each with its style."""
    found = [(f"note: {note}", "") for note in outcome.notes]
    found += [(f"{shown_name(name)} did not take part: {why}", "yellow") for name, why in outcome.missing.items()]
    if outcome.interrupted:
        found.append(("interrupted: these are the rounds that were complete", "yellow"))
    faults = faults_sentence(outcome)
    return [*found, (faults, BAD)] if faults else found


def checks_cell(checks: Checks) -> str:
    """`200,000 ok`, or the faults."""
    faults = checks.faults
    if faults:
        return ", ".join(f"{count:,} {what}" for what, count in faults.items())
    return f"{checks.deliveries:,} ok" if checks.deliveries else ""


def _servers(outcome: Outcome, *, narrow: bool) -> Table:
    figure, wait, memory = outcome.main_figure, shown_latency(outcome), _memory_figure(outcome)
    with_waits = not narrow and any(_latency(server, wait) for server in outcome.servers.values())
    table = Table(["server", label(figure), "min - max", "presenced over it"])
    table.titles += [label(memory)] if memory else []
    table.titles += [name for name, _ in PERCENTILES] if with_waits else []
    table.titles.append("checks")
    ratios = outcome.ratios()
    for name, server in outcome.servers.items():
        values = server.figures.get(figure, [])
        ratio = ratios[name]["median"] if name in ratios else None
        row = [f"{shown_name(name)} {server.version}".strip(), _median(figure, values), _range(figure, values)]
        row.append("" if ratio is None else number(ratio, 3 if ratio >= 1 else 2))
        row += [_median(memory, server.figures.get(memory, []))] if memory else []
        latency = _latency(server, wait)
        if with_waits:
            row += [show_us(getattr(latency, key)) if latency else "" for _, key in PERCENTILES]
        table.rows.append([*row, checks_cell(server.checks)])
    return _without_empty_columns(table)


def _waits(outcome: Outcome) -> Table:
    several = len(outcome.servers) > 1
    table = Table(["wait", *(["server"] if several else []), "count", *(name for name, _ in PERCENTILES)])
    for name, server in outcome.servers.items():
        for what, latency in server.latency.items():
            cells = [show_us(getattr(latency, key)) for _, key in PERCENTILES]
            head = [label(what), shown_name(name)] if several else [label(what)]
            table.rows.append([*head, f"{latency.count:,}", *cells])
    return table


def _other_figures(outcome: Outcome) -> Table:
    table = Table(["figure", *map(shown_name, outcome.servers)])
    shown = {outcome.main_figure, _memory_figure(outcome)}
    names = dict.fromkeys(name for server in outcome.servers.values() for name in server.figures if name not in shown)
    for name in names:
        cells = []
        for server in outcome.servers.values():
            values = server.figures.get(name, [])
            # Beside peers there is no room for it, and it stands in every other form of the output.
            with_spread = len(set(values)) > 1 and len(outcome.servers) == 1
            spread = f" ({_range(name, values)})" if with_spread else ""
            cells.append(_median(name, values) + spread)
        if any(cells):
            table.rows.append([label(name), *cells])
    return _without_empty_columns(table)


def _memory_figure(outcome: Outcome) -> str:
    """The memory that stands beside the main figure, if there is one."""
    ours = outcome.servers.get(OURS) or next(iter(outcome.servers.values()), ServerOutcome())
    found = [name for name in ours.figures if name.startswith("rss_bytes") and name != outcome.main_figure]
    return found[0] if found else ""


def _latency(server: ServerOutcome, wait: str) -> Latency | None:
    latency = server.latency.get(wait)
    return latency if latency and latency.count else None


def _median(figure: str, values: Sequence[float]) -> str:
    return show(figure, median(values)) if values else ""


def _range(figure: str, values: Sequence[float]) -> str:
    if len(values) < 2:
        return ""
    return f"{show(figure, min(values)).partition(' ')[0]} - {show(figure, max(values))}" if values else ""


def _without_empty_columns(table: Table) -> Table:
    kept = [at for at in range(len(table.titles)) if at == 0 or any(row[at] for row in table.rows)]
    return Table([table.titles[at] for at in kept], [[row[at] for at in kept] for row in table.rows])


def _cell_widths(table: Table) -> list[int]:
    """The narrowest that each column can be: titles may be broken between words, cells may not."""
    words = [max(map(len, title.split())) for title in table.titles]
    return [max(word, *(len(row[at]) for row in table.rows)) for at, word in enumerate(words)]


def _width(table: Table) -> int:
    """What it takes on a terminal at least, with the gaps between the columns."""
    return sum(_cell_widths(table)) + GAP * len(table.titles)


class Drawing(Protocol):
    """Where lines and tables are drawn."""

    @property
    def width(self) -> int:
        """Columns that it has."""

    def line(self, text: str, style: str = "") -> None:
        """A line in a style of rich."""

    def table(self, table: Table) -> None:
        """A table."""


def _stdout() -> Drawing:
    if not sys.stdout.isatty():
        return _Plain()
    # rich costs 60 ms to import, which is paid only where somebody looks at a table.
    from rich.console import Console

    return terminal(Console(highlight=False))


def terminal(console: Console) -> Drawing:
    """Draws on a console of rich."""
    return _Rich(console)


class _Plain:
    """For a pipe."""

    width = 1 << 16

    def line(self, text: str, style: str = "") -> None:
        """A line; the style is for those who see it."""
        print(text)

    def table(self, table: Table) -> None:
        """Aligned columns."""
        lines = [table.titles, *table.rows]
        widths = [max(len(line[at]) for line in lines) for at in range(len(table.titles))]
        for line in lines:
            cells = zip(line, widths, table.titles, strict=True)
            shown = [cell.ljust(width) if title in LEFT else cell.rjust(width) for cell, width, title in cells]
            print("  " + "  ".join(shown).rstrip())


class _Rich:
    """For a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.width = console.width

    def line(self, text: str, style: str = "") -> None:
        """A line, broken by the terminal alone, so that it can be copied whole."""
        self._console.print(text, style=style or None, markup=False, soft_wrap=True)

    def table(self, table: Table) -> None:
        """Columns with faint titles, which are broken where the terminal is narrow."""
        from rich.table import Table as RichTable
        from rich.text import Text

        drawn = RichTable(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style=FAINT)
        fits = sum(map(max, _cell_widths(table), map(len, table.titles))) + GAP * len(table.titles) <= self.width
        for title, width in zip(table.titles, _cell_widths(table), strict=True):
            broken = title if fits else "\n".join(wrap(title, width))
            drawn.add_column(broken, justify="left" if title in LEFT else "right", no_wrap=True, vertical="bottom")
        for row in table.rows:
            ours = row[0].startswith(OURS)
            cells = [Text(cell, _style(title, cell, ours=ours)) for title, cell in zip(table.titles, row, strict=True)]
            drawn.add_row(*cells)
        # A terminal that is too narrow breaks the line: every cell stays whole, and can be copied.
        self._console.width = max(_width(table), self.width)
        self._console.print(drawn)
        self._console.width = self.width


def _style(title: str, cell: str, *, ours: bool) -> str:
    if title == "checks" and cell:
        return GOOD if cell.endswith(" ok") else BAD
    if title == "verdict":
        return {"better": GOOD, "worse": BAD}.get(cell, FAINT)
    return STRONG if ours else FAINT if title == "min - max" else ""
