"""Two result files side by side: is the second one's figure another than the first one's, or is it noise?

The ratio is of the medians, B over A. Its spread is what the rounds allow: the smallest of B over the largest of A, and
the other way round. A difference counts as more than the noise when the medians are further apart than the rounds of
either file are among themselves, and each has at least three. Of two files of one program the rule calls 6 of 100
figures different with three rounds, 1 with four, and fewer with more. From eight rounds on it is the middle half of the
rounds that counts, so that one bad round does not hide everything.

Ratios to the peers are compared like figures: both sides of them saw the same machine in the same seconds, so that they
hold even where the two files come from a faster and a slower hour.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median, quantiles

from bench.report.table import Table, print_table
from bench.results.files import ResultFile
from bench.results.outcome import OURS, Outcome
from bench.results.units import is_condition, is_rate, label, number, show, shown_name

ROUNDS_MIN = 3
BETTER, WORSE, NOISE, CONDITION = "better", "worse", "noise", "a condition"
MIDDLE_HALF_FROM = 8
SAME_MACHINE = ("cpu", "cpu_count", "kernel", "python", "uvloop", "msgspec", "pinning")


@dataclass(frozen=True)
class Difference:
    """One figure of one server of one profile in two files."""

    profile: str
    server: str
    figure: str
    a: float
    b: float
    low: float
    high: float
    """What the rounds allow for the ratio B/A."""
    verdict: str
    """`better`, `worse`, `noise`, `a condition` of the run, or why nothing can be said."""

    @property
    def ratio(self) -> float:
        """B over A; without a limit if A is 0 and B is not."""
        return quotient(self.b, self.a)


def compare(a: ResultFile, b: ResultFile) -> list[Difference]:
    """Every figure that both have."""
    found: list[Difference] = []
    for one, other in pairs(a, b):
        for server, mine in one.servers.items():
            theirs = other.servers.get(server)
            if theirs is None:
                continue
            for figure, values in mine.figures.items():
                _add(found, one.profile, server, figure, values, theirs.figures.get(figure, []))
            for what, latency in mine.latency.items():
                if what in theirs.latency:
                    name = f"{what}_p99_us"
                    _add(found, one.profile, server, name, [latency.p99_us], [theirs.latency[what].p99_us])
        for server in one.servers:
            _add(
                found, one.profile, OURS, f"ratio to {shown_name(server)}", _ratios(one, server), _ratios(other, server)
            )
    return found


def pairs(a: ResultFile, b: ResultFile) -> Iterator[tuple[Outcome, Outcome]]:
    """The outcomes of the same profile; where a file has several, in their order."""
    left = list(b.outcomes)
    for one in a.outcomes:
        match = next((other for other in left if other.profile == one.profile), None)
        if match is not None:
            left.remove(match)
            yield one, match


def warnings(a: ResultFile, b: ResultFile) -> list[str]:
    """Why the two might not be comparable, in sentences."""
    found = []
    for name in SAME_MACHINE:
        one, other = a.machine.get(name), b.machine.get(name)
        if one != other:
            found.append(f"{name} differs: {one} and {other}")
    for one, other in pairs(a, b):
        if changed := changed_options(one, other):
            told = ", ".join(f"{name} {one.options.get(name)} and {other.options.get(name)}" for name in changed)
            found.append(f"the options of {one.profile} differ, so that its figures are of different work: {told}")
        for each, file in ((one, a), (other, b)):
            if each.interrupted or each.faults():
                found.append(f"{each.profile} in {file.name} {'failed' if each.faults() else 'was interrupted'}")
    only = {outcome.profile for outcome in a.outcomes} ^ {outcome.profile for outcome in b.outcomes}
    return found + ([f"only one of the files has {', '.join(sorted(only))}"] if only else [])


def table(differences: list[Difference]) -> Table:
    """For people."""
    made = Table(["figure", "server", "A", "B", "B/A", "rounds allow", "verdict"])
    for each in differences:
        spread = f"{_shown(each.low)} - {_shown(each.high)}"
        figure = f"{each.profile}: {label(each.figure)}"
        shown = [show(each.figure, each.a), show(each.figure, each.b), _shown(each.ratio), spread]
        made.rows.append([figure, shown_name(each.server), *shown, each.verdict])
    return made


def object_of(a: ResultFile, b: ResultFile) -> dict[str, object]:
    """For programs."""
    rows = [
        {
            "profile": each.profile,
            "server": each.server,
            "figure": each.figure,
            "a": each.a,
            "b": each.b,
            "ratio": _finite(each.ratio),
            "ratio_min": _finite(each.low),
            "ratio_max": _finite(each.high),
            "verdict": each.verdict,
        }
        for each in compare(a, b)
    ]
    return {"schema": 1, "a": a.machine, "b": b.machine, "warnings": warnings(a, b), "differences": rows}


def _finite(ratio: float) -> float | None:
    """JSON knows no infinity."""
    return round(ratio, 4) if math.isfinite(ratio) else None


def _shown(ratio: float) -> str:
    return number(ratio) if math.isfinite(ratio) else "from 0"


def unjudged(a: ResultFile, b: ResultFile) -> list[str]:
    """Why a gate cannot let B through, in sentences: what cannot be judged is not taken for as good."""
    found = [f"{profile} gave no result in {b.name}: {why}" for profile, why in b.failed.items()]
    matched = list(pairs(a, b))
    for each in b.outcomes:
        if each.faults() or each.interrupted:
            found.append(f"{each.profile} in {b.name} {'failed' if each.faults() else 'was interrupted'}")
    for each in a.outcomes:
        if not any(each is one for one, _ in matched) and each.profile not in b.failed:
            found.append(f"{each.profile} is missing in {b.name}")
    for one, other in matched:
        if one.faults() or one.interrupted:
            found.append(f"{one.profile} in {a.name} {'failed' if one.faults() else 'was interrupted'}")
        if changed := changed_options(one, other):
            found.append(f"{one.profile} did different work in the two files: {', '.join(changed)}")
        mine, theirs = (set(each.servers[OURS].figures if OURS in each.servers else ()) for each in (one, other))
        if not mine & theirs:
            found.append(f"{one.profile} has no figure of presenced in both files")
        elif one.main_figure not in theirs:
            found.append(f"{one.profile} has no {one.main_figure} of presenced in {b.name}")
    return found if matched or found else ["the files have no profile in common"]


def changed_options(one: Outcome, other: Outcome) -> list[str]:
    """The settings that differ; a file keeps a tuple as a list."""
    return [
        name
        for name in {**one.options, **other.options}
        if _plain(one.options.get(name)) != _plain(other.options.get(name))
    ]


def print_comparison(a: ResultFile, b: ResultFile, *, as_json: bool) -> bool:
    """Tell it on stdout. True if a figure of ours got worse by more than the noise."""
    found = compare(a, b)
    if as_json:
        print(json.dumps(object_of(a, b)))
    else:
        for name, file in (("A", a), ("B", b)):
            dirty = " with uncommitted changes" if file.machine.get("dirty") else ""
            print(f"{name}: {file.name}, commit {file.machine.get('commit')}{dirty}, {file.machine.get('date')}")
        for warning in warnings(a, b):
            print(f"note: {warning}")
        print()
        if found:
            print_table(table(found))
        print(f"\n{summary(found)}")
    return any(each.server == OURS and each.verdict == WORSE for each in found)


def summary(found: list[Difference]) -> str:
    """How many figures of ours differ by more than the noise."""
    mine = [each.verdict for each in found if each.server == OURS and each.verdict != CONDITION]
    if not mine:
        return "the files have no figure of presenced in common"
    return (
        f"of {len(mine)} figures of presenced, {mine.count(BETTER)} are better and {mine.count(WORSE)} worse by more "
        f"than the noise, {mine.count(NOISE)} differ by no more than the rounds do, and of "
        f"{len(mine) - mine.count(BETTER) - mine.count(WORSE) - mine.count(NOISE)} nothing can be said"
    )


def verdict_of(figure: str, a: list[float], b: list[float]) -> str:
    """What the rounds `a` and `b` of one figure say."""
    if is_condition(figure):
        return CONDITION
    if min(len(a), len(b)) < ROUNDS_MIN:
        fewest = min(len(a), len(b))
        return f"too few rounds ({fewest}) to tell"
    noise = max(_width(a), _width(b))
    apart = median(b) - median(a)
    if abs(apart) <= noise:
        return NOISE
    return BETTER if (apart < 0) != is_rate(figure) else WORSE


def _add(found: list[Difference], profile: str, server: str, figure: str, a: list[float], b: list[float]) -> None:
    if not a or not b:
        return
    ratio_limits = quotient(min(b), max(a)), quotient(max(b), min(a))
    found.append(Difference(profile, server, figure, median(a), median(b), *ratio_limits, verdict_of(figure, a, b)))


def quotient(b: float, a: float) -> float:
    """B over A where that means something: figures that may be 0 or less are judged by their difference."""
    if a > 0 and b >= 0:
        return b / a
    return 1.0 if a == b else math.inf if b > a else 0.0


def _width(values: list[float]) -> float:
    """How far the rounds are apart; of many rounds, the middle half."""
    if len(values) < MIDDLE_HALF_FROM:
        return max(values) - min(values)
    quarters = quantiles(values, n=4)
    return quarters[2] - quarters[0]


def _ratios(outcome: Outcome, server: str) -> list[float]:
    """Ours over theirs, round by round."""
    if server == OURS or OURS not in outcome.servers:
        return []
    mine = outcome.servers[OURS].figures.get(outcome.main_figure, [])
    theirs = outcome.servers[server].figures.get(outcome.main_figure, [])
    return [one / other for one, other in zip(mine, theirs, strict=False) if other]


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
