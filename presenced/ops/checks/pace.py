"""Checks of time: the machine's clock, the pace of the process, its intervals, and time zones."""

from __future__ import annotations

from typing import Final

from presenced.durations import format_duration
from presenced.ops.checks.finding import Patient, Said

TURN_SLOW_US: Final = 20_000
TURNS_ENOUGH: Final = 1_000
LONG_MS: Final = 300_000
KINDS_AFTER_MS: Final = 3_600_000
"""If no device of a kind has come this long after the start, the kind counts as missing."""


def clock(patient: Patient) -> Said:
    """Did the wall clock jump?"""
    number = patient.lately(lambda status: status.wall_jumps)
    if number:
        last_ms = patient.status.wall_jump_ms
        what = f"this machine's clock jumped {number:,} times {patient.period}, the last time by {last_ms:,} ms"
        yield (
            "warning",
            what,
            "let chrony or systemd-timesyncd slew the clock; times shown from before the jump are wrong by as much",
        )
    else:
        yield "ok", f"this machine's clock did not jump {patient.period}", ""


def stalls(patient: Patient) -> Said:
    """Did the process stall?"""
    number = patient.lately(lambda status: status.stalls)
    if number:
        advice = "look for a suspended machine, swapping (vmstat 1) or a CPU limit (CPUQuota=)"
        yield "warning", f"the process stalled for a second or more {number:,} times {patient.period}", advice
    else:
        yield "ok", f"the process did not stall {patient.period}", ""


def turns(patient: Patient) -> Said:
    """How long does a turn take?"""
    return patient.slower_than(
        TURN_SLOW_US,
        lambda status: status.turn,
        enough=TURNS_ENOUGH,
        noun="turns",
        verdict="turns are long",
        advice="look at `presencectl top`: the CPU is too slow; raise change.spacing, or give the daemon a faster core",
    )


def intervals(patient: Patient) -> Said:
    """Are lost devices noticed soon enough?"""
    settings = patient.settings
    found = False
    for key, value_ms in (("heartbeat.interval", settings.heartbeat_ms), ("presence.grace", settings.grace_ms)):
        if value_ms > LONG_MS:
            found = True
            what = f"{key} is {format_duration(value_ms)}: a user whose link is lost is shown as online for that long"
            yield "warning", what, f"set {key} to about 30s, unless this is intended"
    if not found:
        told = f"{format_duration(settings.heartbeat_ms)}, grace {format_duration(settings.grace_ms)}"
        yield "ok", f"heartbeats come every {told}", ""


def idle_kinds(patient: Patient) -> Said:
    """Have devices come of every kind that has idle times or a grace of its own?"""
    unmet = patient.facts.idle_kinds_unmet
    if unmet and patient.status.hellos and patient.status.uptime_ms >= KINDS_AFTER_MS:
        names = ", ".join(repr(kind) for kind in unmet)
        what = f"the settings have times for {names}, but no device of that kind has come since the start"
        advice = (
            "compare presence.idle and presence.kind_grace with the kind that clients name in hello and attach: they "
            "must be exactly equal"
        )
        yield "warning", what, advice
    else:
        yield "ok", "no kind of device with times of its own is missing", ""


def zones(patient: Patient) -> Said:
    """Are the time zones of all schedules known?"""
    missing = patient.facts.zones_missing
    if missing:
        what = f"this machine does not know the time zone {', '.join(missing)}, so schedules there are off"
        yield "problem", what, "install or repair the system's tzdata, then run `systemctl reload presenced`"
    else:
        yield "ok", "the time zones of all schedules are known", ""
