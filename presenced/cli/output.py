"""What `presencectl` prints: tables and coloured lines for people, JSON lines for programs.

The keys of the JSON are part of the command's interface. Texts come from other people: on a terminal nothing in
them may act as a control sequence or as markup.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from presenced.characters import printable as printable
from presenced.cli.asides import print_aside
from presenced.cli.text_lines import wrapped

if TYPE_CHECKING:
    from rich.text import Text

    from presenced.client import Change, Record

_COLOURS = {"chat": "green", "online": "green", "away": "yellow", "xa": "yellow", "dnd": "red", "offline": None}

_SEVERITIES = {"problem": "red", "warning": "yellow"}

_PROSE = frozenset({"text", "payload", "name"})
"""Columns whose cells are sentences of people: those may be wrapped, a name or a time may not."""

_PROSE_WIDTH = 16
"""The fewest columns of a terminal that a wrapped sentence gets."""

_HANGING = 6
"""How far the rest of a wrapped line of a page stands from the left if the line is no sentence: further than any line
begins."""

RECORD_TITLES = ("user", "status", "since", "device", "text")


class OutputRow(NamedTuple):
    """One thing of several: its JSON for programs, its cells for people, and the status that colours it."""

    value: dict[str, Any]
    cells: Sequence[str]
    status: str = ""


class Output:
    """Where and how a command prints; `is_json` for programs, else for people. Sentences are wrapped at `width`, the
    columns of the terminal; 0 = standard output is none, and a sentence is a line."""

    def __init__(self, *, is_json: bool, has_colour: bool, is_quiet: bool, width: int = 0) -> None:
        self.is_json = is_json
        self.has_colour = has_colour
        self.is_quiet = is_quiet
        self.width = width

    def records(self, records: Iterable[Record], *, note: str = "") -> None:
        """Several users. `note` is for people, after them."""
        if self.is_json:
            for record in records:
                self.line(to_json(record))
            return
        shown = list(records)
        if shown:
            self._table(RECORD_TITLES, [_record_row(record) for record in shown])
        if note:
            self.note(note)

    def change(self, change: Change) -> bool:
        """One change, at once. Always True: it was printed."""
        if self.is_json:
            old_status = change.old.status if change.old is not None else None
            self.line({"kind": change.kind, **to_json(change.new), "old_status": old_status})
        else:
            self.moment(describe(change), change.new.status)
        return True

    def rows(self, rows: Iterable[OutputRow], titles: Sequence[str], *, nothing: str = "") -> None:
        """Several things of a kind. `nothing` is for people, if there is none."""
        shown = list(rows)
        if self.is_json:
            for row in shown:
                self.line(row.value)
        elif shown:
            self._table(titles, shown)
        elif nothing:
            self.note(nothing)

    def line(self, value: dict[str, Any]) -> None:
        """One JSON object, flushed, so that a reader at the other end of a pipe sees it now."""
        sys.stdout.write(json_text(value) + "\n")
        sys.stdout.flush()

    def say(self, value: dict[str, Any], sentence: str) -> None:
        """A result that is not a record: `value` for programs, `sentence` for people."""
        if self.is_json:
            self.line(value)
        else:
            self.sentence(sentence)

    def sentence(self, sentence: str, *, indent: int = 0) -> None:
        """A sentence for people, and for programs whose output it is; `indent` as in `wrapped`."""
        print("\n".join(wrapped(printable(sentence), self.width, indent)), flush=True)

    def page(self, value: dict[str, Any], lines: Iterable[str]) -> None:
        """A result that is read as a whole: `value` for programs, `lines` for people."""
        if self.is_json:
            self.line(value)
        else:
            parts = [part for line in lines for part in wrapped(printable(line), self.width, _hanging(line))]
            print("\n".join(parts), flush=True)

    def finding(self, value: dict[str, str]) -> None:
        """Something that was looked at: how severe it is, what there is to say and what to do about it."""
        if self.is_json:
            self.line(value)
            return
        head = f"{value['severity']:8} "
        lines = wrapped(head + printable(value["what"]), self.width, len(head))
        if value["advice"]:
            lines += wrapped(f"{' ' * len(head)}-> {printable(value['advice'])}", self.width, len(head) + 3)
        if self.has_colour:
            coloured = click.style(head[:-1], fg=_SEVERITIES.get(value["severity"], "green"))
            lines[0] = coloured + lines[0].removeprefix(head[:-1])
        print("\n".join(lines), flush=True)

    def note(self, sentence: str) -> None:
        """Something that a person may want to know and a program does not: to stderr, unless quiet."""
        if not self.is_quiet:
            print_aside(printable(sentence))

    def moment(self, sentence: str, status: str = "", at_ms: int = 0) -> None:
        """For people: something that happened at a wall time (0 = now), in the colour of a status."""
        colour = _COLOURS.get(status) if self.has_colour else None
        clock = clock_time(at_ms) or datetime.now().strftime("%H:%M:%S")
        head = len(clock) + 2
        lines = wrapped(f"{clock}  {printable(sentence)}", self.width, head)
        if colour:
            lines = [line[:head] + click.style(line[head:], fg=colour) for line in lines]
        print("\n".join(lines), flush=True)

    def _table(self, titles: Sequence[str], rows: list[OutputRow]) -> None:
        # rich costs 60 ms to import, which only somebody who looks at a table pays.
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        console = Console(no_color=not self.has_colour, highlight=False)
        table = Table(box=None, pad_edge=False, header_style="dim")
        for title in titles:
            table.add_column(title, overflow="fold", no_wrap=title not in _PROSE)
        found: list[list[Text]] = []
        for row in rows:
            styles = [{"status": _COLOURS.get(row.status) or "dim", "device": "dim"}.get(title, "") for title in titles]
            styles[0] = "bold"
            found.append([Text(printable(cell), style) for cell, style in zip(row.cells, styles, strict=True)])
        if _least_width(titles, found) > console.width:
            # A table would break words and times in two: each row becomes lines of its own.
            block = Table.grid(padding=(0, 2))
            block.add_column(style="dim", no_wrap=True)
            block.add_column(overflow="fold")
            for number, cells in enumerate(found):
                if number:
                    block.add_row("", "")
                for title, cell in zip(titles, cells, strict=True):
                    if cell:
                        block.add_row(title, cell)
            console.print(block)
            return
        for cells in found:
            table.add_row(*cells)
        console.print(table)


def _least_width(titles: Sequence[str], rows: Sequence[Sequence[Text]]) -> int:
    """The fewest columns of a terminal that a table takes if only prose is wrapped."""
    width = 2 * (len(titles) - 1)
    for title, *cells in zip(titles, *rows, strict=True):
        widest = max(len(title), *(cell.cell_len for cell in cells))
        width += min(widest, _PROSE_WIDTH) if title in _PROSE else widest
    return width


def _hanging(line: str) -> int:
    """Where the rest of a line of a page begins: a sentence goes on at the left, a row of columns further in."""
    return _HANGING if line.startswith(" ") or "  " in line else 0


def json_text(value: object) -> str:
    """`value` as JSON, with escapes for what standard output could not show: a program is to read what was meant."""
    return json.dumps(value, ensure_ascii=not sys.stdout.encoding.lower().startswith("utf"))


def to_json(record: Record) -> dict[str, Any]:
    """The stable keys of a record."""
    return {
        "user": record.user,
        "status": record.status,
        "text": record.text,
        "emoji": record.emoji,
        "since_ms": record.since_ms,
        "last_seen_ms": record.last_seen_ms,
        "device": record.device,
        "version": record.version,
    }


def describe(change: Change) -> str:
    """A change in one line for people."""
    new, old = change.new, change.old
    parts = [new.user, new.status]
    if change.kind == "snapshot" or old is None:
        parts.append(f"(since {_since(new)})" if _since(new) else "(never seen)")
    elif change.kind == "device":
        parts.append(f"(now on {new.device or 'no device'})")
    elif change.kind != "text":
        parts.append(f"(was {old.status})")
    elif not _words(new):
        parts.append("(text cleared)")
    words = _words(new)
    if words:
        parts.append(f"\u201c{words}\u201d")
    if new.device and change.kind != "device":
        parts.append(f"on {new.device}")
    return printable("  ".join(parts))


def clock_time(wall_ms: int, now: datetime | None = None) -> str:
    """A point in time in the local time zone: only the time if it is today, else date and time; empty for 0."""
    if not wall_ms:
        return ""
    then = datetime.fromtimestamp(wall_ms / 1000)
    today = (now or datetime.now()).date()
    return then.strftime("%H:%M:%S" if then.date() == today else "%Y-%m-%d %H:%M")


def _record_row(record: Record) -> OutputRow:
    cells = (record.user, record.status, _since(record), record.device, _words(record))
    return OutputRow(to_json(record), cells, record.status)


def _since(record: Record) -> str:
    return clock_time(record.last_seen_ms if record.status == "offline" else record.since_ms)


def _words(record: Record) -> str:
    return " ".join(part for part in (record.emoji, record.text) if part)
