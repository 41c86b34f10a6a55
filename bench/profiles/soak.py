"""Profile `soak`: the mixed load for a long time. Does memory grow, or the number of descriptors, or the cost?

Growth is the slope of a straight line through what was sampled after the first fifth of the time, in which caches and
pools fill.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack

from bench.load.crowd import Crowd
from bench.load.mix import PER_S, Mix, live, open_crowd, tell
from bench.machine.cores import Cores
from bench.results.outcome import OURS, Outcome, Progress, ServerOutcome, no_progress, partial
from bench.results.units import label

WARM_SHARE = 0.2
JUDGED_FROM_S = 60.0
RSS_GROWTH_MAX = 1 << 20
DESCRIPTORS_GROWTH_MAX = 1
"""Bytes, and descriptors beside those of the links, that it may take more each minute in the second half."""

RSS, DESCRIPTORS, COST = "rss_bytes_by_s", "descriptors_beside_links_by_s", f"{PER_S}_by_s"


def run(
    *,
    minutes: float = 10.0,
    users: int = 2000,
    contacts: int = 20,
    speed: float = 10.0,
    sample_s: float = 10.0,
    heartbeat_s: float = 30.0,
    seed: int = 1,
    cores: Cores,
    progress: Progress = no_progress,
) -> Outcome:
    """Run the profile for `minutes`, and look at the server every `sample_s`."""
    ours = ServerOutcome()
    outcome = Outcome("soak", "soak: a mixed load for a long time", "rss_growth_bytes_per_min")
    outcome.options = {
        "minutes": minutes,
        "users": users,
        "contacts": contacts,
        "speed": speed,
        "sample_s": sample_s,
        "heartbeat_s": heartbeat_s,
        "seed": seed,
    }
    outcome.servers[OURS] = ours
    samples = max(3, round(minutes * 60 / sample_s))
    mix = Mix()
    with ExitStack() as stack:
        progress("connecting", 0, samples)
        crowd = open_crowd(stack, cores, users, contacts, heartbeat_s, seed)
        ours.checks = crowd.checks
        started_s = time.monotonic()
        with partial() as cut:
            for number in range(samples):
                progress("samples", number, samples)
                live(crowd, ours, mix, speed, sample_s, heartbeat_s, seed + number)
                sample(crowd, ours, time.monotonic() - started_s)
            progress("samples", samples, samples)
            crowd.audit()
    outcome.interrupted = cut.happened
    tell(outcome, crowd, mix.sentence(speed, heartbeat_s))
    judge(outcome, ours)
    return outcome


def sample(crowd: Crowd, ours: ServerOutcome, at_s: float) -> None:
    """Look at the server once."""
    server = crowd.server
    links = sum(person.link is not None for person in crowd.people)
    descriptors = len(os.listdir(f"/proc/{server.pid}/fd")) - links
    for name, value in (
        (RSS, server.resident_bytes()),
        (DESCRIPTORS, descriptors),
        (COST, ours.figures[PER_S][-1]),
    ):
        ours.series.setdefault(name, []).append((round(at_s, 1), value))


def judge(outcome: Outcome, ours: ServerOutcome) -> None:
    """The slopes, as figures for a minute, and whether those of the second half stay within their bounds: what is
    beyond them is a fault."""
    hold_bounds(outcome, ours)
    for name, figure in ((RSS, outcome.main_figure), (DESCRIPTORS, "descriptors_growth_per_min")):
        if points := ours.series.get(name):
            warm = points[int(len(points) * WARM_SHARE) :]
            ours.figures[figure] = [round(slope(warm) * 60, 3)]
    if points := ours.series.get(RSS):
        ours.figures["rss_bytes"] = [value for _, value in points]
    outcome.notes.append(
        "growth is the slope after the first fifth of the time; a pool that fills shows as growth, too"
    )


def hold_bounds(outcome: Outcome, ours: ServerOutcome) -> None:
    """Count as grown what rose too fast in the second half of the time, or say that it was too short for that."""
    points = ours.series.get(RSS, [])
    if len(points) < 2:
        return
    half_s = points[-1][0] / 2
    if half_s < JUDGED_FROM_S:
        outcome.notes.append(
            f"too short to judge growth: the second half must last {JUDGED_FROM_S:.0f} s and has {half_s:.0f} s"
        )
        return
    for name, most in ((RSS, RSS_GROWTH_MAX), (DESCRIPTORS, DESCRIPTORS_GROWTH_MAX)):
        late = [point for point in ours.series[name] if point[0] >= half_s]
        per_min = slope(late) * 60
        if per_min > most:
            ours.checks.grown += 1
            outcome.notes.append(
                f"{label(name.removesuffix('_by_s'))} grows by {per_min:,.0f} a minute in the second half of the time; "
                f"the bound is {most:,}"
            )


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line that fits best (least squares); 0 for fewer than two points."""
    count = len(points)
    if count < 2:
        return 0.0
    middle_x, middle_y = (sum(point[axis] for point in points) / count for axis in (0, 1))
    above = sum((x - middle_x) * (y - middle_y) for x, y in points)
    below = sum((x - middle_x) ** 2 for x, _ in points)
    return above / below if below else 0.0
