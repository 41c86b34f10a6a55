"""Checks of the program: the interpreter, the log, and the configuration."""

from __future__ import annotations

from presenced.ops.checks.finding import Patient, Said

INTERNED_FOR_EVER = (3, 12, 0), (3, 12, 6)
"""The first and the last version of CPython that never frees an interned string (fixed in 3.12.7)."""


def concern_about(python: tuple[int, int, int]) -> str:
    """A sentence if this version of Python may leak; else empty.

    Tests on 3.12.1 found no input of clients that is interned: messages are arrays without keys, and names, refused
    messages, and the claims and headers of tokens are not interned either. So the server runs there, with a warning.
    """
    first, last = INTERNED_FOR_EVER
    if not first <= python <= last:
        return ""
    version = ".".join(map(str, python))
    return f"Python {version} never frees interned strings; as far as tested, no input of clients is interned"


def python(patient: Patient) -> Said:
    """Does this version of Python leak?"""
    concern = concern_about(patient.facts.python)
    if concern:
        yield "warning", concern, "use 3.11, or 3.12.7 or later, to be sure"
    else:
        yield "ok", f"Python {'.'.join(map(str, patient.facts.python))}, {patient.status.loop}", ""


def views(patient: Patient) -> Said:
    """Do clients show what the server would show them?"""
    failed = patient.lately(lambda status: status.view_checks_failed)
    if failed:
        checksums = (
            "1 checksum of what clients show was" if failed == 1 else f"{failed:,} checksums of what clients show were"
        )
        what = f"{checksums} wrong {patient.period}; each was mended by a comparison"
        yield "warning", what, "a client or a proxy loses frames: find it by the clients' own logs, and report it"
    else:
        yield "ok", f"no client found that it shows anything wrong {patient.period}", ""


def log(patient: Patient) -> Said:
    """Is the log read?"""
    lost = patient.lately(lambda status: status.log_lines_lost)
    if lost:
        advice = "look at what reads standard error: it may be a terminal stopped with Ctrl-S, or a full pipe"
        yield "warning", f"nobody read the log: {lost:,} lines were dropped {patient.period}", advice
    else:
        yield "ok", "every line of the log was written", ""


def configuration(patient: Patient) -> Said:
    """Does the server run with the configuration in the files, and would it start with it?"""
    facts, path = patient.facts, patient.status.config
    mend = "mend it (`presenced config check` names every fault), then `systemctl reload presenced`"
    if facts.config_faults:
        yield "problem", f"the next restart will fail: {_first_of(facts.config_faults)}", mend
    elif facts.reload_faults:
        what = f"the last reload was refused: {_first_of(facts.reload_faults)}; until it is mended, a restart will fail"
        yield "problem", what, mend
    elif facts.config_waiting:
        what = f"the configuration has changed since the daemon read it: {', '.join(facts.config_waiting)}"
        advice = "run `presenced config check`, then `presencectl reload`, which says what needs a restart"
        yield "warning", what, advice
    else:
        yield "ok", f"the configuration of {path} is in force" if path else "no configuration file is used", ""


def _first_of(faults: list[str]) -> str:
    more = len(faults) - 1
    return faults[0] + (f" (and {more} more)" if more else "")
