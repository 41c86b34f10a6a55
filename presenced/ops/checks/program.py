"""What runs: the interpreter, and the settings that are in force."""

from __future__ import annotations

from presenced.ops.checks.finding import Patient, Said


def python(patient: Patient) -> Said:
    """Is this a Python that leaks?"""
    version = ".".join(map(str, patient.facts.python))
    if (3, 12, 0) <= patient.facts.python <= (3, 12, 6):
        yield "problem", f"Python {version} never frees names that were interned", "use 3.11, or 3.12.7 or later"
    else:
        yield "ok", f"Python {version}, {patient.status.loop}", ""


def log(patient: Patient) -> Said:
    """Does somebody read the log?"""
    lost = patient.lately(lambda status: status.log_lines_lost)
    if lost:
        advice = "look at what reads standard error: a terminal that was stopped with Ctrl-S, or a full pipe"
        yield "warning", f"nobody read the log: {lost:,} lines were dropped {patient.period}", advice
    else:
        yield "ok", "every line of the log was written", ""


def configuration(patient: Patient) -> Said:
    """Does the server run with what the files say, and would it start with them?"""
    facts, path = patient.facts, patient.status.config
    mend = "mend it (`presenced config check` names every fault), then `systemctl reload presenced`"
    if facts.config_faults:
        yield "problem", f"the next restart will fail: {_first_of(facts.config_faults)}", mend
    elif facts.reload_faults:
        what = f"the last reload was refused: {_first_of(facts.reload_faults)}; while that is so, a restart will fail"
        yield "problem", what, mend
    elif facts.config_waiting:
        what = f"the configuration has changed since the daemon read it: {', '.join(facts.config_waiting)}"
        yield "warning", what, "`presenced config check`, then `presencectl reload`, which says what needs a restart"
    else:
        yield "ok", f"the configuration is that of {path}" if path else "no configuration file is used", ""


def _first_of(faults: list[str]) -> str:
    more = len(faults) - 1
    return faults[0] + (f" (and {more} more)" if more else "")
