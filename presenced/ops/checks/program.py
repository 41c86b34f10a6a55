"""What runs: the interpreter, and the settings that are in force."""

from __future__ import annotations

from presenced.ops.checks.finding import Patient, Said

INTERNED_FOR_EVER = (3, 12, 0), (3, 12, 6)
"""The first and the last version of CPython that never frees a string once it is interned (mended in 3.12.7)."""


def concern_about(python: tuple[int, int, int]) -> str:
    """What is to be said of this version of Python; empty if nothing is.

    On 3.12.1 nothing that a client sends was found to be interned: messages are arrays without keys, and neither names,
    nor refused messages, nor the claims and headers of tokens are. So the server runs there, and says what it runs on.
    """
    first, last = INTERNED_FOR_EVER
    if not first <= python <= last:
        return ""
    version = ".".join(map(str, python))
    return f"Python {version} never frees strings that were interned; nothing that clients send is, as far as measured"


def python(patient: Patient) -> Said:
    """Is this a Python that leaks?"""
    concern = concern_about(patient.facts.python)
    if concern:
        yield "warning", concern, "use 3.11, or 3.12.7 or later, to be sure"
    else:
        yield "ok", f"Python {'.'.join(map(str, patient.facts.python))}, {patient.status.loop}", ""


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
