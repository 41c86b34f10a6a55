"""Is there room: for links, for file descriptors, in memory, and do the links take what they are sent?"""

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
        yield "warning", f"there is room for {status.links_max:,} links only", raise_it
    else:
        yield "ok", said, ""


def descriptors(patient: Patient) -> Said:
    """Are file descriptors left?"""
    status = patient.status
    said = f"{status.descriptors:,} of {status.descriptors_max:,} file descriptors are open"
    if status.descriptors_max and status.descriptors >= FULL_SHARE * status.descriptors_max:
        yield "warning", said, "raise LimitNOFILE= in the unit (or ulimit -n)"
    else:
        yield "ok", said, ""


def refusals(patient: Patient) -> Said:
    """Was anybody sent away for lack of room?"""
    number = patient.lately(lambda status: status.goodbyes.get("busy", 0) - status.memory.turned_away)
    if number:
        advice = "raise listen.max_links and LimitNOFILE=, or look with `presencectl links` at who holds so many"
        yield "warning", f"{number:,} links were refused {patient.period} because there were too many", advice
    else:
        yield "ok", f"no link was refused for lack of room {patient.period}", ""


def memory(patient: Patient) -> Said:
    """Is it short, was it, how near is the budget, and how near the limit of the control group?"""
    now, settings = patient.status.memory, patient.settings
    raise_it = "raise MemoryMax= of the unit (or the container's limit)"
    if settings.memory_bytes:
        raise_it = "raise limits.memory (and MemoryMax= of the unit, if that is not above it)"
    who = "`presencectl links --slow` shows who does not read"
    said = f"{now.used_bytes / MIB:,.0f} of {now.budget_bytes / MIB:,.0f} MiB of memory are in use"
    if now.level != "ok":
        does = "ending links, refusing new ones" if now.level == "ending" else "refusing new links and new state"
        since = format_duration(max(0, patient.status.wall_ms - now.since_wall_ms) // 1000 * 1000)
        yield "problem", f"{said}: {does} for {since}", f"{raise_it}; {who}"
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
        yield severity, f"{mib(used)} of memory, and the limit is {mib(most)}", advice
    elif now.budget_bytes and now.used_bytes >= MEMORY_WARNING * now.budget_bytes:
        yield "warning", f"{said}; beyond, links are refused", raise_it
    elif now.budget_bytes:
        yield "ok", said, ""
    elif most:
        yield "ok", f"{mib(used)} of memory, and the limit is {mib(most)}", ""
    else:
        yield "ok", f"{mib(used)} of memory, no limit is set", ""


def slow_watchers(patient: Patient) -> Said:
    """Do links take what they are sent?"""
    status = patient.status
    number = status.slow_watchers
    if number > SLOW_WATCHERS and number > SLOW_WATCHERS_SHARE * status.links:
        worst = ", ".join(watcher.who for watcher in status.slowest[:3])
        advice = "look with `presencectl links --slow`: clients that do not read, or a network that is full"
        yield "warning", f"{number:,} of {status.links:,} links do not keep up, such as {worst}", advice
    else:
        yield "ok", f"{number:,} of {status.links:,} links do not keep up", ""
