"""The screen of `presencectl top`: figures as lines of text, for any width and height of a terminal. Pure.

Each figure is made of pieces that stay whole. On a wide terminal they stand below each other; on a narrow one a piece
that does not fit goes to the next line. On a low one the screen does without bars and empty lines.
"""

from __future__ import annotations

from typing import NamedTuple

from rich.text import Text

from presenced.cli.output import printable
from presenced.cli.text_lines import wrapped
from presenced.cli.top_figures import Look, age, bar, log_pieces, rate, size, sorted_watchers, spark, time_of

WATCHERS_MAX = 20
STATUSES = (("chat", "green"), ("online", "green"), ("away", "yellow"), ("xa", "yellow"), ("dnd", "red"))
BAR_CELLS = 20
LABEL_COLUMNS = 12
TAB_COLUMNS = 24
"""Where the second piece of a figure stands, if both fit."""

SPARK_CELLS_MAX, SPARK_CELLS_MIN = 60, 8

NARROW = 60
"""Columns; on a narrower terminal words that can be spared are left out."""


_FEW_WATCHERS = 3
"""For so many there is to be room before there are bars."""

_NEEDED, _EMPTY, _SPARK, _BAR = range(4)
"""What a line is: where there is too little room, those of the highest of these numbers are left out first."""


class _Row(NamedTuple):
    line: Text
    rank: int = _NEEDED


class TopView(NamedTuple):
    """What is on the screen, besides its size."""

    look: Look
    deliveries: list[float]
    turns: list[float]
    """The samples behind the two rows of bars."""
    sort: str
    away: str
    """Why the daemon could not be asked the last time; empty if it answered."""


def screen(shown: TopView, width: int, height: int) -> list[Text]:
    """The lines from the first to the one with the keys; none is wider or more than there is room for."""
    now = shown.look.now
    rows = [*_head(shown, width), _Row(Text(), _EMPTY), *_figures(shown, width), _Row(Text(), _EMPTY)]
    # Behind these come the slow watchers with a title, or their number, and the keys.
    rows = _fitted(rows, height - 2 - min(len(now.slowest), _FEW_WATCHERS))[: max(0, height - 2)]
    left = height - len(rows) - 2
    room = min(WATCHERS_MAX, max(left - 1, min(left, _FEW_WATCHERS)))
    if now.slowest and room > 0:
        tail = _watchers(shown, room, width)
    else:
        tail = [Text(f"{now.slow_watchers:,} slow watchers", "dim")]
    if len(rows) + len(tail) + 2 <= height:
        tail.append(Text())
    words = "sort" if width < NARROW else "sort the watchers"
    keys = Text(f"q quit   s {words} (now by {shown.sort})", "dim")
    lines = [*(row.line for row in rows), *tail, keys]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return lines


def _fitted(rows: list[_Row], room: int) -> list[_Row]:
    """As many as there is room for, if that can be had without those that are needed."""
    rows = list(rows)
    for rank in (_BAR, _SPARK, _EMPTY):
        for at in range(len(rows) - 1, -1, -1):
            if len(rows) > room and rows[at].rank == rank:
                del rows[at]
    return rows


def _head(shown: TopView, width: int) -> list[_Row]:
    if shown.away:
        lines = wrapped(f"the daemon is away, retrying  {printable(shown.away)}", width)
        return [_Row(Text(line, "bold red")) for line in lines]
    now = shown.look.now
    pieces = [
        Text(f"presenced {now.version}", "bold"),
        Text(now.state, "bold"),
        Text(f"up {age(now.uptime_ms)}", "bold"),
        Text(f"pid {now.pid}", "bold"),
        *([Text("DEVELOPMENT MODE", "bold yellow")] if now.dev else []),
    ]
    return [_Row(line) for line in _lines(pieces, width, "  ")]


# --- figures ------------------------------------------------------------------------------------------------------


def _figures(shown: TopView, width: int) -> list[_Row]:
    look, now = shown.look, shown.look.now
    room = max(width - LABEL_COLUMNS, 1)
    rows: list[_Row] = []

    def add(label: str, lines: list[Text], rank: int = _NEEDED) -> None:
        for number, line in enumerate(lines):
            head = Text(("" if number else label).ljust(LABEL_COLUMNS), "dim")
            rows.append(_Row(head.append_text(line), rank))

    def pair(label: str, left: str, right: str) -> None:
        pieces = [Text(left), Text(right)]
        if TAB_COLUMNS + pieces[1].cell_len <= room and pieces[0].cell_len < TAB_COLUMNS:
            pieces = [Text(left.ljust(TAB_COLUMNS) + right)]
        add(label, _lines(pieces, room, "  "))

    def with_bars(label: str, left: str, samples: list[float]) -> None:
        cells = min(SPARK_CELLS_MAX, room - TAB_COLUMNS)
        if cells >= SPARK_CELLS_MIN and len(left) < TAB_COLUMNS:
            add(label, [Text(left.ljust(TAB_COLUMNS) + spark(samples, cells))])
        else:
            add(label, [Text(left)])
            add("", [Text(spark(samples, min(SPARK_CELLS_MAX, room)))], _SPARK)

    users = Text(f"{now.users_online:,} online of {now.users:,}")
    statuses = [
        Text(f"{number:,} {status}", colour if number else "dim")
        for status, colour in STATUSES
        for number in [now.by_status.get(status, 0)]
    ]
    in_one = Text("   ").join([users, Text("  ").join(statuses)])
    add("users", [in_one] if in_one.cell_len <= room else [users, *_lines(statuses, room, "  ")])
    add("", [Text(bar(now.users_online / max(1, now.users), min(BAR_CELLS, room)))], _BAR)
    devices = [f"{now.devices_connected:,} connected", f"{now.devices_grace:,} in grace"]
    add("devices", _lines(_listed(devices), room, " "))
    roles = _listed([f"{number:,} {role}" for role, number in now.links_by_role.items() if number])
    if roles:
        roles = [Text("(").append_text(roles[0]), *roles[1:]]
        roles[-1].append(")")
    add("links", _lines([Text(f"{now.links:,} of {now.links_max:,}"), *roles], room, " "))
    add("", [Text(bar(now.links / max(1, now.links_max), min(BAR_CELLS, room)))], _BAR)
    with_bars("deliveries", f"{rate(look.deliveries_per_s)}/s", shown.deliveries)
    pair("changes", f"{rate(look.changes_per_s)}/s", f"frames in {rate(look.frames_per_s)}/s")
    pair("out", f"{size(look.bytes_out_per_s)}/s", f"logins {rate(look.logins_per_s)}/s")
    with_bars("turn", f"p50 {time_of(look.turn_p50_us)}  p99 {time_of(look.turn_p99_us)}", shown.turns)
    pair("lag", f"p99 {time_of(look.lag_p99_us)}", f"{now.stalls:,} stalls")
    pair("process", f"cpu {look.cpu_percent:.0f} %", f"{size(now.rss_bytes)} of memory")
    style = "" if now.log is None or now.log.state == "ok" else "bold red"
    add("log", _lines(_listed(log_pieces(now), style), room, " "))
    return rows


def _listed(pieces: list[str], style: str = "") -> list[Text]:
    """The pieces, all but the last with a comma."""
    return [Text(piece + ("," if number < len(pieces) else ""), style) for number, piece in enumerate(pieces, 1)]


def _lines(pieces: list[Text], width: int, between: str) -> list[Text]:
    """The pieces one after the other; one that does not fit begins a line."""
    lines: list[Text] = []
    for piece in pieces:
        if lines and lines[-1].cell_len + len(between) + piece.cell_len <= width:
            lines[-1].append(between).append_text(piece)
        else:
            lines.append(piece.copy())
    return lines


# --- watchers -----------------------------------------------------------------------------------------------------


def _watchers(shown: TopView, room: int, width: int) -> list[Text]:
    """A table of the slow watchers. Where it is too wide, the role is left out, and then names are cut."""
    titles = [("slow watcher", "name"), ("role", ""), ("owed", "owed"), ("slow for", "slow for")]
    rows = [[title + (" v" if sort == shown.sort else "") for title, sort in titles]]
    for one in sorted_watchers(shown.look.now.slowest, shown.sort)[:room]:
        rows.append([printable(one.who), one.role, f"{one.held:,}", age(one.for_ms)])
    if width < NARROW:
        rows = [[who, *others] for who, _, *others in rows]
    widths = [max(Text(cell).cell_len for cell in column) for column in zip(*rows, strict=True)]
    widths[0] = max(1, min(widths[0], width - sum(widths[1:]) - 2 * len(widths[1:])))
    lines = []
    for number, (who, *others) in enumerate(rows):
        line = Text(who, "" if number else "dim")
        line.truncate(widths[0], overflow="ellipsis", pad=True)
        for cell, cell_width in zip(others, widths[1:], strict=True):
            right = cell[:1].isdigit() or cell.startswith(("owed", "slow for"))
            line.append("  " + (cell.rjust(cell_width) if right else cell.ljust(cell_width)))
        lines.append(line)
    return lines
