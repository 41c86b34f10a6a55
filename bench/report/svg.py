"""Charts as inline SVG: bars of servers, curves of waits by percentile, lines of cost against scale.

Colours come from the page's style through classes, so that one drawing serves light and dark. Every mark has a
`<title>`, which browsers show at the pointer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from statistics import median

from bench.results.units import label, number, show, show_us, shown_name

WIDTH = 600
LOG_FROM = 20.0
"""Ranges wider than this are drawn on a logarithmic scale."""

ROW = 38
LABEL_WIDTH = 92
VALUE_WIDTH = 128
PLOT_HEIGHT = 300
LEFT, RIGHT, TOP, BOTTOM = 62, 92, 14, 46
LABEL_APART = 15
LETTER = 7.6
"""About the width of a letter of a name."""

COLOURS = ("presenced", "redis", "nats", "mosquitto", "ejabberd", "prosody")
"""Of the lines that are not servers, in turn."""


@dataclass(frozen=True)
class Scale:
    """Values to pixels between `start` and `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def __call__(self, value: float) -> float:
        """The pixel of `value`."""
        if self.high <= self.low:
            return self.start
        if self.log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Round values to draw a line at: decades, or about four steps."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            every = max(1, math.ceil((last - first + 1) / 7))
            return [10.0**power for power in range(first, last + 1, every)]
        step = _round_step((self.high - self.low) / 4)
        first = math.ceil(self.low / step - 1e-9)
        return [round(at * step, 9) for at in range(first, math.floor(self.high / step + 1e-9) + 1)]


def scale_of(values: Sequence[float], start: float, end: float, *, from_zero: bool = True) -> Scale:
    """One that `values` fit on: logarithmic from a whole decade if they range widely, else from zero. Without
    `from_zero` it begins and ends where the values do."""
    found = [value for value in values if value > 0]
    high = max(found, default=1.0)
    low = min(found, default=high)
    if high / low > LOG_FROM:
        floor = 10.0 ** math.floor(math.log10(low))
        if not from_zero:
            return Scale(low, high, start, end, log=True)
        return Scale(floor if low > floor * 1.0001 else floor / 10, high * 1.12, start, end, log=True)
    return Scale(0.0 if from_zero else low, high * 1.06 if from_zero else high, start, end, log=False)


@dataclass
class Bar:
    """One server's bar: its rounds' median, with a whisker from the smallest to the largest."""

    server: str
    values: list[float]
    ratio: str = ""


def bars(figure: str, rows: Sequence[Bar]) -> str:
    """A bar for each server; the value and the ratio at its end."""
    scale = scale_of([value for bar in rows for value in bar.values], LABEL_WIDTH, WIDTH - VALUE_WIDTH)
    height = ROW * len(rows) + 22
    drawn = [_grid(scale, 4, ROW * len(rows), lambda value: show(figure, value, 2))]
    for at, bar in enumerate(rows):
        middle, y = median(bar.values), at * ROW + ROW // 2
        low, high, end = scale(min(bar.values)), scale(max(bar.values)), scale(middle)
        told = f"{shown_name(bar.server)}: {show(figure, middle)}"
        if len(bar.values) > 1:
            told += f", rounds from {show(figure, min(bar.values))} to {show(figure, max(bar.values))}"
        drawn.append(f'<g class="s {_class(bar.server)}"><title>{escape(told)}</title>')
        drawn.append(_text(LABEL_WIDTH - 10, y + 5, shown_name(bar.server), "name", "end"))
        drawn.append(f'<rect class="bar" x="{LABEL_WIDTH}" y="{y - 11}" width="{max(end - LABEL_WIDTH, 1.5):.1f}" ')
        drawn.append('height="22" rx="3"/>')
        if high - low >= 1:
            drawn.append(f'<path class="whisker" d="M{low} {y}H{high}M{low} {y - 4}v8M{high} {y - 4}v8"/>')
        drawn.append(_text(max(end, high) + 9, y + 5, show(figure, middle), "value", "start", bar.ratio))
        drawn.append("</g>")
    if scale.log:
        drawn.append(_text(WIDTH - 2, height - 4, "logarithmic", "axis", "end"))
    return _drawing(height, drawn, f"Bars of {len(rows)} servers")


@dataclass
class Line:
    """One curve, with the name at its end and the colour of a server; `told` has a sentence for each point, shown at
    the pointer."""

    name: str
    colour: str
    points: list[tuple[float, float]]
    told: list[str] = field(default_factory=list)


def latency_curve(lines: Sequence[tuple[str, Sequence[tuple[float, float]]]], *, of_one: bool = False) -> str:
    """Waits by percentile. On x every nine takes the same room, as the tail is what matters. The lines are servers, or
    the several waits `of_one` server."""
    last = max((percent for _, points in lines for percent, _ in points if percent < 100), default=99.0)
    right = max(1.0, _nines(last) + 0.12)
    longest = max((len(label(name)) for name, _ in lines), default=0) if of_one else 0
    x = Scale(0.0, right, LEFT, WIDTH - max(RIGHT, LETTER * longest), log=False)
    drawn_lines = []
    for at, (name, points) in enumerate(lines):
        shown, colour = (label(name), COLOURS[at % len(COLOURS)]) if of_one else (shown_name(name), name)
        placed = [(min(_nines(percent), right), value) for percent, value in points if value > 0]
        told = [f"{shown} p{percent:g}: {show_us(value)}" for percent, value in points if value > 0]
        drawn_lines.append(Line(shown, colour, placed, told))
    ticks = [(0.30103, "p50")]
    ticks += [(float(nines), f"p{_percent_text(nines)}") for nines in range(1, math.floor(right) + 1)]
    return _plot(
        drawn_lines, x, ticks, lambda value: show_us(value, 2), "of all deliveries, the share that waited less"
    )


def series(name: str, lines: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> str:
    """Points `y_by_x` joined by lines."""
    y_name, _, x_name = name.partition("_by_")
    shown_x = _x_text(x_name)
    x = scale_of([at for _, points in lines for at, _ in points], LEFT, WIDTH - RIGHT, from_zero=False)
    if not x.log and x.low < x.high / 2:
        x = Scale(0.0, x.high, LEFT, WIDTH - RIGHT, log=False)
    drawn = []
    for server, points in lines:
        told = [f"{shown_name(server)}, {shown_x(at)}: {show(y_name, value)}" for at, value in points]
        drawn.append(Line(shown_name(server), server, sorted(points), told))
    ticks = [(at, _tick(at, shown_x)) for at in x.ticks()]
    return _plot(drawn, x, ticks, lambda value: show(y_name, value, 2), "", dots=True)


def _plot(
    lines: Sequence[Line],
    x: Scale,
    ticks: Sequence[tuple[float, str]],
    show_y: Callable[[float], str],
    caption: str,
    *,
    dots: bool = False,
) -> str:
    bottom = PLOT_HEIGHT - BOTTOM
    y = scale_of([value for line in lines for _, value in line.points], bottom, TOP)
    drawn = []
    for value in y.ticks():
        drawn.append(f'<path class="grid" d="M{LEFT} {y(value)}H{x.end}"/>')
        drawn.append(_text(LEFT - 8, y(value) + 4, _tick(value, show_y), "axis", "end"))
    for at, shown in ticks:
        drawn.append(f'<path class="grid" d="M{x(at)} {TOP}V{bottom}"/>')
        drawn.append(_text(x(at), bottom + 17, shown, "axis", "middle"))
    for line in lines:
        placed = [(x(at), y(value)) for at, value in line.points]
        if not placed:
            continue
        path = "L".join(f"{px} {py}" for px, py in placed)
        drawn.append(f'<g class="s {_class(line.colour)}"><path class="line" d="M{path}"/>')
        marks = zip(placed, line.told, strict=False)
        size = 3.5 if dots and len(placed) <= 40 else 2
        kind = "dot" if dots and len(placed) <= 40 else "hover"
        drawn += [
            f'<circle class="{kind}" cx="{px}" cy="{py}" r="{size}"><title>{escape(told)}</title></circle>'
            for (px, py), told in marks
        ]
        drawn.append("</g>")
    drawn += _end_labels([(line, x(line.points[-1][0]), y(line.points[-1][1])) for line in lines if line.points])
    foot = caption + (("; " if caption else "") + "y is logarithmic" if y.log else "")
    drawn.append(_text(LEFT, PLOT_HEIGHT - 6, foot, "axis", "start"))
    return _drawing(PLOT_HEIGHT, drawn, f"Curves of {len(lines)} servers")


def _end_labels(ends: Sequence[tuple[Line, float, float]]) -> list[str]:
    """Each line's name at its end, moved apart where they would overlap."""
    placed = sorted(ends, key=lambda end: end[2])
    heights = [end[2] for end in placed]
    for at in range(1, len(heights)):
        heights[at] = max(heights[at], heights[at - 1] + LABEL_APART)
    excess = heights[-1] - (PLOT_HEIGHT - BOTTOM) if heights else 0.0
    if excess > 0:
        heights[-1] -= excess
        for at in range(len(heights) - 2, -1, -1):
            heights[at] = min(heights[at], heights[at + 1] - LABEL_APART)
    return [
        f'<g class="s {_class(line.colour)}">{_text(px + 7, round(height + 4, 1), line.name, "name", "start")}</g>'
        for (line, px, _), height in zip(placed, heights, strict=True)
    ]


def _grid(scale: Scale, top: int, bottom: int, shown: Callable[[float], str]) -> str:
    drawn = []
    for value in scale.ticks():
        drawn.append(f'<path class="grid" d="M{scale(value)} {top}V{bottom}"/>')
        drawn.append(_text(scale(value), bottom + 16, _tick(value, shown), "axis", "middle"))
    return "".join(drawn)


def _tick(value: float, shown: Callable[[float], str]) -> str:
    """Nothing needs no unit."""
    return shown(value) if value else "0"


def _drawing(height: int, parts: Sequence[str], what: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(what)}">{"".join(parts)}</svg>'


def _text(x: float, y: float, text: str, kind: str, anchor: str, beside: str = "") -> str:
    more = f'<tspan class="ratio" dx="7">{escape(beside)}</tspan>' if beside else ""
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}{more}</text>'


def _class(server: str) -> str:
    """A class of the style; what it does not know gets the common colour."""
    return "s-" + "".join(letter if letter.isalnum() else "-" for letter in server.lower())


def _nines(percent: float) -> float:
    """0 for p0, 1 for p90, 2 for p99; the largest of all lies beyond every other."""
    return -math.log10(1 - percent / 100) if percent < 100 else math.inf


def _percent_text(nines: int) -> str:
    return "9" * nines if nines == 2 else "90" if nines == 1 else f"99.{'9' * (nines - 2)}"


def _x_text(name: str) -> Callable[[float], str]:
    """How a value of x is shown: times and sizes with their units, everything else as a number of what it counts."""
    if name in ("s", "ms", "us", "bytes"):
        return lambda value: show(name, value, 2)
    return lambda value: f"{number(value)} {name.replace('_', ' ')}"


def _round_step(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    if step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * 0.999)
