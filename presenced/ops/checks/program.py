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


def configuration(patient: Patient) -> Said:
    """Does the server run with what the file says?"""
    facts, path = patient.facts, patient.status.config
    if path and facts.config_changed_wall_ms > facts.config_read_wall_ms:
        what = f"{path} has changed since the daemon read it"
        yield "warning", what, "`presenced config check`, then `presencectl reload`"
    else:
        yield "ok", f"the configuration is that of {path}" if path else "no configuration file is used", ""
