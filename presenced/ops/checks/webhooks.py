"""Checks of webhooks: whether the receiver takes what happens."""

from __future__ import annotations

from typing import Final

from presenced.durations import format_duration
from presenced.ops.checks.finding import Patient, Said, Severity
from presenced.server.status import ServerStatus

FAILING_MS_MAX: Final = 3_600_000
"""A receiver that takes nothing for this long is a problem."""

LATE_MS_MAX: Final = 300_000


def _dead_letters(status: ServerStatus) -> int:
    return status.webhooks.dead_letters if status.webhooks is not None else 0


def _gaps(status: ServerStatus) -> int:
    return status.webhooks.gaps if status.webhooks is not None else 0


def webhooks(patient: Patient) -> Said:
    """Does the receiver of webhooks take the events?"""
    now = patient.status.webhooks
    if now is None:
        yield "ok", "no webhooks are configured", ""
        return
    path, mode = patient.settings.webhooks_secret_file, patient.facts.webhook_secret_mode
    if mode & 0o007:
        what = f"every account can read the secret file of webhooks {path} (mode {mode:04o}) and post as this server"
        yield "problem", what, f"chmod 0600 {path}"
    if now.state == "gone":
        advice = "mend the receiver or webhooks.url, then `presencectl reload`"
        yield "problem", f"the receiver of webhooks {now.receiver} has said 410, so nothing is posted", advice
    elif now.state == "taken":
        advice = "end that program or give it another name, then `presencectl reload`"
        what = "another program follows events as webhooks of the user presenced, so nothing is posted"
        yield "problem", what, advice
    elif now.state == "failing":
        for_ms = max(1000, patient.status.wall_ms - now.failing_wall_ms)
        what = f"the receiver of webhooks {now.receiver} has taken nothing for {format_duration(for_ms)}: {now.error}"
        severity: Severity = "problem" if for_ms >= FAILING_MS_MAX else "warning"
        yield severity, what, "mend it; `presencectl webhooks --test` tries it. Events are kept meanwhile"
    elif now.lag_ms > LATE_MS_MAX:
        what = f"webhooks are {format_duration(now.lag_ms)} late, with {now.behind:,} events to post"
        what += f"; the last failure: {now.error}" if now.error else ""
        advice = "raise webhooks.concurrency or webhooks.batch, or mend the receiver if it refuses some events"
        yield "warning", what, advice
    elif not mode & 0o007:
        yield "ok", f"the receiver of webhooks {now.receiver} takes the events", ""


def dead_letters(patient: Patient) -> Said:
    """Have webhooks left out events?"""
    dead, gaps = patient.lately(_dead_letters), patient.lately(_gaps)
    if dead:
        advice = "the log names each (dead letter); `presencectl history USER` shows them"
        yield "warning", f"{dead:,} events were given up by webhooks {patient.period}", advice
    if gaps:
        what = f"webhooks have missed events {gaps:,} times {patient.period}, because they were not kept long enough"
        yield "warning", what, "the receiver was told (events_lost); raise events.keep and events.keep_for"
    if not (dead or gaps):
        yield "ok", f"webhooks have left out no event {patient.period}", ""
