"""Checks of the disk: whether it stores the log and the snapshots, and how fast."""

from __future__ import annotations

from typing import Final

from presenced.durations import format_duration
from presenced.ops.checks.finding import Patient, Said, mib

COMMIT_SLOW_US: Final = 50_000
COMMITS_ENOUGH: Final = 100
SNAPSHOT_LATE: Final = 4
"""A snapshot is late once it is due this many times over."""


def durability(patient: Patient) -> Said:
    """Does the state survive?"""
    log = patient.status.log
    if log is None:
        advice = "set storage.directory (--data-dir DIR), or storage.url (--storage URL)"
        yield "warning", "the state is in memory only: statuses, texts and claims are lost with the process", advice
    elif log.durability == "off":
        advice = "set storage.durability to always, or to interval=1s if that is too slow"
        yield "warning", "durability is off: a crash loses all changes since the last snapshot", advice
    elif patient.settings.storage_url:
        yield "ok", f"the state is kept at {log.directory}", ""
    else:
        yield "ok", f"the state is kept in {log.directory}, durability {log.durability}", ""


def log_state(patient: Patient) -> Said:
    """Can the log be written?"""
    log = patient.status.log
    if log is None:
        return
    directory = log.directory
    if patient.settings.storage_url and log.state != "ok":
        what = f"the store at {directory} is {log.state}: {log.pending_facts:,} facts wait, and nothing can be saved"
        yield "problem", what, "look at Redis there; the daemon goes on by itself, with all that was not saved"
    elif log.state == "full":
        what = f"the disk under {directory} is full: nothing can be saved, but presence goes on"
        yield "problem", what, "free some space; the daemon then writes again by itself, with what was not saved"
    elif log.state == "gone":
        what = f"{directory}, or a file of the log in it, is gone: nothing can be saved, but presence goes on"
        yield "problem", what, "move it back; if it was deleted, stop the daemon and start it on a backup"
    elif log.state == "busy":
        what = f"the disk under {directory} is too slow: {log.pending_facts:,} facts wait, and new ones are refused"
        yield "problem", what, "look for other load on the disk, or set storage.durability to interval=1s"
    elif log.state in ("failed", "closed"):
        advice = "read the daemon's log; mend or replace the disk, then restart the daemon"
        yield "problem", f"the log in {directory} has {log.state}, and nothing can be saved", advice
    else:
        yield "ok", f"the log is {log.state}; {log.pending_facts:,} facts wait for the disk", ""


def disk_speed(patient: Patient) -> Said:
    """How long does a commit take?"""
    return patient.slower_than(
        COMMIT_SLOW_US,
        lambda status: status.commit,
        enough=COMMITS_ENOUGH,
        noun="commits",
        verdict="the disk is slow",
        advice="move storage.directory to a faster disk, or set storage.durability to interval=1s",
    )


def snapshots(patient: Patient) -> Said:
    """Are snapshots taken when they are due?"""
    log, settings, status = patient.status.log, patient.settings, patient.status
    if log is None:
        return
    advice = "try `presencectl snapshot --wait`; the daemon's log says why snapshots fail"
    due_bytes = max(settings.snapshot_log_bytes, log.snapshot_bytes)
    age_ms = min(status.uptime_ms, status.wall_ms - log.snapshot_wall_ms)
    if log.snapshot_running:
        yield "ok", "a snapshot is being taken", ""
    elif log.log_bytes > SNAPSHOT_LATE * due_bytes:
        what = f"the log has {mib(log.log_bytes)} since the last snapshot; the next one was due at {mib(due_bytes)}"
        yield "warning", what, advice
    elif log.log_bytes and settings.snapshot_every_ms and age_ms > SNAPSHOT_LATE * settings.snapshot_every_ms:
        often = format_duration(settings.snapshot_every_ms)
        what = f"no snapshot was taken for {format_duration(age_ms)}; one is due every {often}"
        yield "warning", what, advice
    elif log.snapshot_wall_ms:
        ago = format_duration(max(0, status.wall_ms - log.snapshot_wall_ms) // 1000 * 1000)
        yield "ok", f"the last snapshot is {ago} old, and the log has {mib(log.log_bytes)} since", ""
    else:
        yield "ok", f"no snapshot was due yet; the log has {mib(log.log_bytes)}", ""
