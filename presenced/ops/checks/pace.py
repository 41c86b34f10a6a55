"""Time: does the machine's clock run evenly, does the process, and are its intervals of use?"""

from __future__ import annotations

from typing import Final

from presenced.durations import format_duration
from presenced.ops.checks.finding import Patient, Said

TURN_SLOW_US: Final = 20_000
TURNS_ENOUGH: Final = 1_000
LONG_MS: Final = 300_000
KINDS_AFTER_MS: Final = 3_600_000
"""How long after the start a kind of device counts as one that does not come."""


def clock(patient: Patient) -> Said:
    """Did the wall clock jump?"""
    number = patient.lately(lambda status: status.wall_jumps)
    if number:
        last_ms = patient.status.wall_jump_ms
        what = f"the clock of this machine was set {number:,} times {patient.period}, last by {last_ms:,} ms"
        yield (
            "warning",
            what,
            "let chrony or systemd-timesyncd slew the clock; times of that moment are wrong by as much",
        )
    else:
        yield "ok", f"the clock of this machine did not jump {patient.period}", ""


def stalls(patient: Patient) -> Said:
    """Did the process stand still?"""
    number = patient.lately(lambda status: status.stalls)
    if number:
        advice = "look for a suspended machine, swapping (vmstat 1) or a CPU limit (CPUQuota=)"
        yield "warning", f"the process stood still for a second or more, {number:,} times {patient.period}", advice
    else:
        yield "ok", f"the process did not stand still {patient.period}", ""


def turns(patient: Patient) -> Said:
    """How long does a turn take?"""
    return patient.slower_than(
        TURN_SLOW_US,
        lambda status: status.turn,
        enough=TURNS_ENOUGH,
        noun="turns",
        verdict="turns are long",
        advice="the CPU is short: look at `presencectl top`; raise change.spacing, or give the daemon a faster core",
    )


def intervals(patient: Patient) -> Said:
    """Will lost devices be seen in a useful time?"""
    settings = patient.settings
    found = False
    for key, value_ms in (("heartbeat.interval", settings.heartbeat_ms), ("presence.grace", settings.grace_ms)):
        if value_ms > LONG_MS:
            found = True
            what = f"{key} is {format_duration(value_ms)}: those who are lost are shown as online for so long"
            yield "warning", what, f"set {key} to 30s or so, if that is not meant"
    if not found:
        told = f"{format_duration(settings.heartbeat_ms)}, grace {format_duration(settings.grace_ms)}"
        yield "ok", f"heartbeats come each {told}", ""


def idle_kinds(patient: Patient) -> Said:
    """Does every kind of device that has idle times of its own exist?"""
    unmet = patient.facts.idle_kinds_unmet
    if unmet and patient.status.hellos and patient.status.uptime_ms >= KINDS_AFTER_MS:
        names = ", ".join(repr(kind) for kind in unmet)
        what = f"presence.idle has times for {names}, and no device of that kind came since the start"
        advice = (
            "a client names its kind in hello and attach, and kinds are compared letter by letter: correct one of them"
        )
        yield "warning", what, advice
    else:
        yield "ok", "no kind of device with idle times of its own is missing", ""


def zones(patient: Patient) -> Said:
    """Are the time zones of all schedules known?"""
    missing = patient.facts.zones_missing
    if missing:
        what = f"this machine knows no time zone {', '.join(missing)}, and schedules there are off"
        yield "problem", what, "install or mend the system's tzdata, then `systemctl reload presenced`"
    else:
        yield "ok", "the time zones of all schedules are known", ""
