"""The report: one HTML page that holds everything itself. The sentences first, then each outcome as on a terminal, with
its charts.

The tables are those of `table`, which rich exports as HTML.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape

from rich.console import Console

from bench.catalog import PROFILES
from bench.report.charts import charts
from bench.report.sentences import faults_sentence, headline
from bench.report.table import draw_outcome, terminal
from bench.results.files import ResultFile, all_outcomes
from bench.results.outcome import Outcome
from bench.results.units import plain

COLUMNS = 180
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>presenced: what it costs</title><style>
body {{ margin: 2em auto; max-width: 84em; padding: 0 1em; font: 16px/1.5 sans-serif }}
body {{ background: #fff; color: #1b1f24 }}
section {{ border-top: 1px solid #e3e3df; margin-top: 2em }}
pre {{ overflow-x: auto; font-size: 13px; line-height: 1.4 }}
svg {{ max-width: 100%; height: auto }}
.alarm {{ color: #b91c1c; font-weight: bold }}
</style></head>
<body><h1>What presenced costs</h1>
{failed}<ul>{sentences}</ul>
{sections}</body></html>
"""


def page(results: Sequence[ResultFile]) -> str:
    """The whole page for one or several files."""
    found = [
        (f"{outcome.profile}-{number}", f"{outcome.profile} ({file.name})" if len(results) > 1 else outcome.profile,
         outcome, file)
        for number, (file, outcome) in enumerate(all_outcomes(results), 1)
    ]  # fmt: skip
    failed = [_alarm(f"{name}: {why}") for file in results for name, why in file.failed.items()]
    sentences = [
        f'<li><a href="#{escape(anchor)}">{escape(title)}</a>: {escape(headline(outcome))}</li>'
        for anchor, title, outcome, _ in found
    ]
    sections = [_section(anchor, title, outcome, file) for anchor, title, outcome, file in found]
    return PAGE.format(failed="".join(failed), sentences="".join(sentences), sections="".join(sections))


def _section(anchor: str, title: str, outcome: Outcome, file: ResultFile) -> str:
    profile = PROFILES.get(outcome.profile)
    options = ", ".join(f"{name.replace('_', ' ')} {plain(value)}" for name, value in outcome.options.items())
    how = f"How it was measured: {profile.about if profile else ''} Set: {options or 'nothing'}."
    faults = faults_sentence(outcome)
    return (
        f'<section id="{escape(anchor)}"><h2>{escape(title)}</h2>{_alarm(faults) if faults else ""}'
        f"{''.join(charts(outcome))}{_terminal(outcome, file)}<p>{escape(how)}</p></section>\n"
    )


def _terminal(outcome: Outcome, file: ResultFile) -> str:
    """What a terminal shows of the outcome, with the machine below it."""
    console = Console(record=True, file=io.StringIO(), width=COLUMNS, highlight=False, force_terminal=True)
    draw_outcome(terminal(console), outcome, file.machine)
    return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")


def _alarm(text: str) -> str:
    return f'<p class="alarm">{escape(text)}</p>'
