"""The bars of one or more outcomes as a picture of its own: an SVG file for a README, light and dark."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from bench.report import svg
from bench.report.style import STYLE
from bench.results.outcome import Outcome
from bench.results.units import label

MARGIN = 16
TITLE = 34
"""Height of a chart's title."""

_VIEW = re.compile(r'<svg viewBox="0 0 (\d+) (\d+)"')
_RULES = re.compile(r"^(?::root|--|@media|svg [.a-z]|\.s[{-])")


def picture(outcomes: Sequence[Outcome]) -> str:
    """One chart below the other, each with its bars; outcomes with nobody to compare with are left out."""
    parts = []
    y = MARGIN
    for outcome in outcomes:
        rows = [
            svg.Bar(name, values)
            for name, server in outcome.servers.items()
            if (values := server.figures.get(outcome.main_figure))
        ]
        if len(rows) < 2:
            continue
        drawn = svg.bars(outcome.main_figure, rows)
        found = _VIEW.match(drawn)
        assert found is not None
        width, height = int(found[1]), int(found[2])
        parts.append(f'<text class="title" x="{MARGIN}" y="{y + 14}">{escape(_title(outcome))}</text>')
        place = (
            f'<svg x="{MARGIN}" y="{y + TITLE - 8}" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        )
        parts.append(place + drawn[found.end() :])
        y += TITLE + height + MARGIN
    width = svg.WIDTH + 2 * MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" height="{y}">'
        f"<style>{_style()}</style>"
        f'<rect width="{width}" height="{y}" rx="10" fill="var(--card)"/>{"".join(parts)}</svg>\n'
    )


def _title(outcome: Outcome) -> str:
    options = outcome.options
    sizes = ", ".join(f"{value:,} {name}" for name, value in options.items() if name in _SIZES and value != 1)
    return f"{outcome.profile} ({sizes}): {label(outcome.main_figure)}"


_SIZES = ("watchers", "publishers", "users", "contacts")


def _style() -> str:
    """Of the report's style what concerns drawings."""
    rules = "".join(line for line in STYLE.splitlines() if _RULES.match(line))
    font = 'text{font:13.5px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif}'
    return f"{font}{rules}.title{{fill:var(--ink);font-size:14px;font-weight:600}}"
