"""Charts of outcomes as SVG, drawn by matplotlib: bars of servers, waits by percentile, cost against scale.

Only the commands that draw import this module: matplotlib costs half a second, and is in the `bench` extra alone.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

from bench.errors import BenchError
from bench.results.outcome import Outcome
from bench.results.units import label, number, show, show_us, shown_name

try:
    from matplotlib import rc_context
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter
except ImportError as error:
    raise BenchError(f"charts need matplotlib ({error}); install it: pip install 'presenced[bench]'") from error

Points = Sequence[tuple[float, float]]

LOG_FROM = 20.0
"""Values that range more widely than this are drawn on a logarithmic scale."""

WIDTH, BAR, HEIGHT = 6.4, 0.42, 3.4
"""Inches: of a chart, of a bar's row, and of a chart of lines."""

COLOURS = {
    "presenced": "#0b7a75",
    "limit": "#6b7280",
    "redis": "#c2412d",
    "nats": "#2563eb",
    "mosquitto": "#7c3aed",
    "ejabberd": "#a16207",
    "prosody": "#be185d",
    "sqlite": "#1d4ed8",
}
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "presenced",
    "font.family": ["sans-serif"],
    "font.size": 9,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e3e3df",
    "axes.axisbelow": True,
}
"""Text stays text, which can be searched and scales; the salt makes two drawings of the same outcome equal."""

SIZES = ("watchers", "publishers", "users", "contacts")


def charts(outcome: Outcome) -> list[str]:
    """Bars if there is somebody to compare with; curves of the waits; lines of cost against scale. SVG elements."""
    drawn = []
    if len(_compared(outcome)) > 1:
        drawn.append(_svg([lambda axes: _bars(axes, outcome, label(outcome.main_figure))], [_bars_height(outcome)]))
    for draw in [*_waits(outcome), *_series(outcome)]:
        drawn.append(_svg([draw], [HEIGHT]))
    return drawn


def picture(outcomes: Sequence[Outcome]) -> str:
    """The bars of several outcomes in one SVG file, as for a README. Outcomes with nobody to compare with are left
    out."""
    found = [outcome for outcome in outcomes if len(_compared(outcome)) > 1]
    if not found:
        raise BenchError("no outcome in these files has two servers to compare")
    draws = [_drawing(outcome) for outcome in found]
    return _svg(draws, [_bars_height(outcome) for outcome in found]) + "\n"


def _drawing(outcome: Outcome) -> Callable[[Axes], None]:
    sizes = ", ".join(f"{outcome.options[name]:,} {name}" for name in SIZES if outcome.options.get(name, 1) != 1)
    return lambda axes: _bars(axes, outcome, f"{outcome.profile} ({sizes}): {label(outcome.main_figure)}")


def _compared(outcome: Outcome) -> dict[str, list[float]]:
    """The rounds of the main figure of each server that has some."""
    found = {name: server.figures.get(outcome.main_figure, []) for name, server in outcome.servers.items()}
    return {name: values for name, values in found.items() if values}


def _bars(axes: Axes, outcome: Outcome, title: str) -> None:
    """A bar for each server: the median of the rounds, with a whisker from the smallest to the largest."""
    found = _compared(outcome)
    middles = [median(values) for values in found.values()]
    below = [middle - min(values) for middle, values in zip(middles, found.values(), strict=True)]
    above = [max(values) - middle for middle, values in zip(middles, found.values(), strict=True)]
    rows = axes.barh(
        [shown_name(name) for name in found],
        middles,
        xerr=[below, above],
        color=[_colour(name) for name in found],
        error_kw={"elinewidth": 1, "capsize": 3, "alpha": 0.6},
        height=0.62,
    )
    axes.bar_label(rows, [_told(outcome, name, middle) for name, middle in zip(found, middles, strict=True)], padding=6)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.28)
    _scale(axes, "x", middles, lambda value: show(outcome.main_figure, value, 2))
    axes.set_title(title, loc="left", fontweight="bold")


def _told(outcome: Outcome, name: str, middle: float) -> str:
    ratio = outcome.ratios().get(name)
    times = f" ({number(1 / ratio['median'], 2)} × ours)" if ratio and ratio["median"] else ""
    return f"{show(outcome.main_figure, middle)}{times}"


def _waits(outcome: Outcome) -> Iterable[Callable[[Axes], None]]:
    """A chart for each wait with a curve for each server; the waits of one server alone share a chart."""
    servers = outcome.servers.items()
    whats = dict.fromkeys(what for _, server in servers for what in server.latency)
    if len(servers) == 1 and len(whats) > 1:
        [(_, only)] = servers
        lines = {label(what): latency.points for what, latency in only.latency.items()}
        return [lambda axes: _curves(axes, lines, {}, "the waits by percentile")]
    found = []
    for what in whats:
        by_server = {name: server.latency[what].points for name, server in servers if what in server.latency}
        lines = {shown_name(name): points for name, points in by_server.items()}
        colours = {shown_name(name): _colour(name) for name in by_server}
        if any(len(points) > 1 for points in lines.values()):
            found.append(_curve(lines, colours, f"{label(what)}: the wait by percentile"))
    return found


def _curve(lines: dict[str, Any], colours: dict[str, str], title: str) -> Callable[[Axes], None]:
    return lambda axes: _curves(axes, lines, colours, title)


def _curves(axes: Axes, lines: dict[str, Any], colours: dict[str, str], title: str) -> None:
    """On x every nine takes the same room, because the tail is what matters."""
    last = max(percent for points in lines.values() for percent, _ in points if percent < 100)
    right = max(1.0, nines(last) + 0.12)
    for name, points in lines.items():
        placed = [(min(nines(percent), right), value) for percent, value in points if value > 0]
        axes.plot(*zip(*placed, strict=True), label=name, color=colours.get(name), linewidth=1.6)
    ticks = [nines(50), *range(1, math.floor(right) + 1)]
    axes.set_xticks(ticks, ["p50", *(f"p{100 - 10 ** (2 - at):g}" for at in ticks[1:])])
    axes.set_xlabel("the share of all that waited less")
    _scale(axes, "y", [value for points in lines.values() for _, value in points], lambda value: show_us(value, 2))
    axes.set_title(title, loc="left", fontweight="bold")
    axes.legend(frameon=False)


def _series(outcome: Outcome) -> Iterable[Callable[[Axes], None]]:
    """Points `y_by_x` joined by lines, one line for each server."""
    names = dict.fromkeys(name for server in outcome.servers.values() for name in server.series)
    return [_lines(outcome, name) for name in names]


def _lines(outcome: Outcome, name: str) -> Callable[[Axes], None]:
    y, _, x = name.partition("_by_")

    def draw(axes: Axes) -> None:
        for server, found in outcome.servers.items():
            if points := sorted(found.series.get(name, [])):
                axes.plot(
                    *zip(*points, strict=True), "o-", color=_colour(server), markersize=3, label=shown_name(server)
                )
        points = [point for found in outcome.servers.values() for point in found.series.get(name, [])]
        _scale(axes, "y", [value for _, value in points], lambda value: show(y, value, 2))
        _scale(axes, "x", [at for at, _ in points], lambda at: show(x, at, 2))
        axes.set_title(f"{label(y)} {'over time' if x == 's' else f'by {label(x)}'}", loc="left", fontweight="bold")

    return draw


def nines(percent: float) -> float:
    """0 for p0, 1 for p90, 2 for p99; the largest of all lies beyond every other."""
    return -math.log10(1 - percent / 100) if percent < 100 else math.inf


def _scale(axes: Axes, which: str, values: Sequence[float], shown: Callable[[float], str]) -> None:
    """Logarithmic for values that range widely, else from zero; the ticks have their unit."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    found = [value for value in values if value > 0]
    if found and max(found) / min(found) > LOG_FROM:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        axis.set_minor_formatter(NullFormatter())
    else:
        axes.set(**{f"{which}lim": (0, None)})
    axis.set_major_formatter(FuncFormatter(lambda value, _: shown(value) if value else "0"))


def _bars_height(outcome: Outcome) -> float:
    return 0.75 + BAR * len(_compared(outcome))


def _colour(server: str) -> str:
    return COLOURS.get(server, "#64748b")


def _svg(draws: Sequence[Callable[[Axes], None]], heights: Sequence[float]) -> str:
    """Charts one below the other as one SVG element."""
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
        places = figure.subplots(len(draws), squeeze=False, gridspec_kw={"height_ratios": list(heights)})
        for draw, axes in zip(draws, places[:, 0], strict=True):
            draw(axes)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = file.getvalue()
    return text[text.index("<svg") :]
