"""Whether a profile's figures keep what the server shall keep, in sentences for its notes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from bench.results.outcome import ServerOutcome, median


def verdicts(
    ours: ServerOutcome,
    goals: Mapping[str, tuple[float, str]],
    *,
    of_waits: Collection[str] = (),
    doubts: Sequence[str] = (),
) -> list[str]:
    """A sentence for each goal: a figure, the most that it may be, and what it is. `doubts` say why a run cannot judge
    waits: they cannot be shorter for that than they are, but longer."""
    told = []
    for figure, (most, what) in goals.items():
        if values := ours.figures.get(figure):
            found = median(values)
            verdict = "met" if found <= most else "missed"
            reasons = " and ".join(doubts) if figure in of_waits and found > most else ""
            judged = f" in a run that cannot judge it ({reasons})" if reasons else ""
            told.append(f"goal {verdict}{judged}: {what}: {found:,.4g}, at most {most:,.4g}")
    return told
