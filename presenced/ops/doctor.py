"""What is wrong with a server, and what to do about it: a pure function of its status and the facts of the machine.

Each check is about one thing and always reports something, so that an answer without faults also says what was checked.
Only the checks of a cluster report nothing of a server that is alone, but for the first of them. The checks are in the
package `checks`.
"""

from __future__ import annotations

from collections.abc import Callable

from presenced.config.settings import Settings
from presenced.ops.checks import access, cluster, disk, followers, pace, program, room, webhooks
from presenced.ops.checks.finding import Facts as Facts, Finding as Finding, Patient, Said
from presenced.server.status import ServerStatus

CHECKS: tuple[Callable[[Patient], Said], ...] = (
    access.identity,
    access.secret,
    access.encryption,
    access.visibility,
    access.certificate,
    access.admin_socket,
    access.http,
    disk.durability,
    disk.log_state,
    disk.disk_speed,
    disk.snapshots,
    room.links,
    room.descriptors,
    room.refusals,
    room.memory,
    room.slow_watchers,
    pace.turns,
    pace.stalls,
    pace.clock,
    pace.intervals,
    pace.idle_kinds,
    pace.zones,
    program.configuration,
    program.log,
    program.python,
    program.views,
    followers.followers,
    webhooks.webhooks,
    webhooks.dead_letters,
    cluster.cluster,
    cluster.cluster_engine,
    cluster.cluster_lag,
    cluster.cluster_clock,
    cluster.cluster_settings,
    cluster.cluster_nodes,
)
"""In the order of the report."""


def diagnose(
    status: ServerStatus, settings: Settings, facts: Facts, before: ServerStatus | None = None
) -> list[Finding]:
    """Every check's findings: problems first, then warnings, then what is well.

    With the status of a few minutes `before`, totals are judged by their growth since then: what happened once must not
    be reported for ever.
    """
    patient = Patient(status, settings, facts, before)
    findings = [
        Finding(severity, check.__name__, what, advice) for check in CHECKS for severity, what, advice in check(patient)
    ]
    return sorted(findings, key=lambda finding: ("problem", "warning", "ok").index(finding.severity))
