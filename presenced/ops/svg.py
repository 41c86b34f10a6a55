"""Small line plots as inline SVG: no script, no library, no outside assets.

Colours come from the page's style sheet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

WIDTH = 300
HEIGHT = 72
_TOP = 4


def plot(
    title: str,
    times_ms: Sequence[int],
    values: Sequence[int],
    span_ms: int,
    show: Callable[[float], str],
    *,
    from_zero: bool = True,
) -> str:
    """A figure with the newest value in words and a line over the last `span_ms`, the newest value at the right edge.

    `show` writes a value with its unit. Without `from_zero` the scale begins at the smallest value, for figures whose
    change matters. O(samples).
    """
    now = escape(show(values[-1])) if values else "-"
    head = f"<figcaption><span>{escape(title)}</span><b>{now}</b></figcaption>"
    if len(values) < 2:
        return f'<figure class="plot">{head}<p class="hint">no history yet</p></figure>'
    low, high = _scale(values, from_zero)
    points = [
        (
            round(WIDTH - (times_ms[-1] - at_ms) * WIDTH / span_ms, 1),
            round(HEIGHT - (value - low) * (HEIGHT - _TOP) / (high - low), 1),
        )
        for at_ms, value in zip(times_ms, values, strict=True)
        if times_ms[-1] - at_ms <= span_ms
    ]
    line = " ".join(f"{x:g},{y:g}" for x, y in points)
    area = f"{points[0][0]:g},{HEIGHT} {line} {points[-1][0]:g},{HEIGHT}"
    name = escape(f"{title}: {show(values[-1])} now, between {show(min(values))} and {show(max(values))}")
    return (
        f'<figure class="plot">{head}'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{name}">'
        f'<polygon class="area" points="{area}"/><polyline class="line" points="{line}"/></svg>'
        f'<p class="hint"><span>{escape(show(low))} to {escape(show(high))}</span>'
        f"<span>last {_ago(times_ms[-1] - times_ms[0])}</span></p></figure>"
    )


def _scale(values: Sequence[int], from_zero: bool) -> tuple[int, int]:
    """Bottom and top of the plot; never equal, so that a constant is a line and not a division by zero."""
    low = 0 if from_zero else min(values)
    high = max(values)
    return (low, high) if high > low else (low, low + 1)


def _ago(ms: int) -> str:
    seconds = max(1, ms // 1000)
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
