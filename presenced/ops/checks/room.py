"""Checks of room: for links, file descriptors and memory, and whether clients read what they are sent."""

from __future__ import annotations

from typing import Final

from presenced.durations import format_duration
from presenced.ops.checks.finding import Patient, Said, Severity, mib

LINKS_SMALL: Final = 1_000
FULL_SHARE: Final = 0.8
SLOW_WATCHERS: Final = 10
SLOW_WATCHERS_SHARE: Final = 0.01
MEMORY_WARNING: Final = 0.8
MEMORY_PROBLEM: Final = 0.95
MIB: Final = 1 << 20


def links(patient: Patient) -> Said:
    """Is there room for more links?"""
    status = patient.status
    raise_it = "raise LimitNOFILE= in the unit (or ulimit -n), or listen.max_links if that is set"
    said = f"{status.links:,} of {status.links_max:,} links"
    if status.links >= FULL_SHARE * status.links_max:
        yield "problem" if status.links >= status.links_max else "warning", f"{said} are taken", raise_it
    elif status.links_max < LINKS_SMALL:
        yield "warning", f"there is room for only {status.links_max:,} links", raise_it
    else:
        yield "ok", said, ""


def descriptors(patient: Patient) -> Said:
    """Are there enough file descriptors?"""
    status = patient.status
    said = f"{status.descriptors:,} of {status.descriptors_max:,} file descriptors are open"
    if status.descriptors_max and status.descriptors >= FULL_SHARE * status.descriptors_max:
        yield "warning", said, "raise LimitNOFILE= in the unit (or ulimit -n)"
    else:
        yield "ok", said, ""


def refusals(patient: Patient) -> Said:
    """Were links refused because there were too many?"""
    number = patient.lately(lambda status: status.goodbyes.get("busy", 0) - status.memory.turned_away)
    if number:
        advice = "raise listen.max_links and LimitNOFILE=, or find with `presencectl links` who has so many links"
        yield "warning", f"{number:,} links were refused {patient.period} because there were too many", advice
    else:
        yield "ok", f"no link was refused {patient.period} because there were too many", ""


def memory(patient: Patient) -> Said:
    """Is memory short, was it short, and how near are the budget and the limit of the control group?"""
    now, settings = patient.status.memory, patient.settings
    raise_it = "raise MemoryMax= of the unit (or the container's limit)"
    if settings.memory_bytes:
        raise_it = "raise limits.memory (and MemoryMax= of the unit, if that is not above it)"
    who = "`presencectl links --slow` shows clients that do not read"
    said = f"{now.used_bytes / MIB:,.0f} of {now.budget_bytes / MIB:,.0f} MiB of memory are in use"
    if now.level != "ok":
        does = "ended links and refused new ones" if now.level == "ending" else "refused new links and new state"
        since = format_duration(max(0, patient.status.wall_ms - now.since_wall_ms) // 1000 * 1000)
        yield "problem", f"{said}: the server has {does} for {since}", f"{raise_it}; {who}"
        return
    links = patient.lately(lambda status: status.memory.turned_away)
    requests = patient.lately(lambda status: status.memory.refused_requests)
    used, most = patient.facts.memory_bytes, patient.facts.memory_max_bytes
    if links or requests:
        what = f"memory ran short: {links:,} links and {requests:,} requests were turned away {patient.period}"
        yield "warning", what, f"{raise_it}; {who}"
    elif most and used >= MEMORY_WARNING * most:
        severity: Severity = "problem" if used >= MEMORY_PROBLEM * most else "warning"
        advice = "raise MemoryMax= of the unit (or the container's limit) before the kernel ends the daemon"
        yield severity, f"{mib(used)} of memory are in use, and the limit is {mib(most)}", advice
    elif now.budget_bytes and now.used_bytes >= MEMORY_WARNING * now.budget_bytes:
        yield "warning", f"{said}; above that, new links are refused", raise_it
    elif now.budget_bytes:
        yield "ok", said, ""
    elif most:
        yield "ok", f"{mib(used)} of memory are in use, and the limit is {mib(most)}", ""
    else:
        yield "ok", f"{mib(used)} of memory are in use, and no limit is set", ""


def slow_watchers(patient: Patient) -> Said:
    """Do clients read what they are sent?"""
    status = patient.status
    number = status.slow_watchers
    if number > SLOW_WATCHERS and number > SLOW_WATCHERS_SHARE * status.links:
        worst = ", ".join(watcher.who for watcher in status.slowest[:3])
        advice = "find them with `presencectl links --slow`: the client does not read, or its network is full"
        yield "warning", f"{number:,} of {status.links:,} links are slow, such as {worst}", advice
    else:
        yield "ok", f"{number:,} of {status.links:,} links are slow", ""
