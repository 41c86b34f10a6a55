"""What is wrong with a server, and what to do about it: a pure function of what is seen.

Each check looks at one thing and always says something, so that a clean answer also tells what was looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from presenced.config.settings import Settings, is_loopback
from presenced.durations import format_duration
from presenced.ops.history import quantile_us
from presenced.server.status import Quantiles, Status

LINKS_SMALL: Final = 1_000
FULL_SHARE: Final = 0.8
COMMIT_SLOW_US: Final = 50_000
COMMITS_ENOUGH: Final = 100
TURN_SLOW_US: Final = 20_000
TURNS_ENOUGH: Final = 1_000
SLOW_WATCHERS: Final = 10
SLOW_WATCHERS_SHARE: Final = 0.01
SNAPSHOT_LATE: Final = 4
"""A snapshot is late once it is due this many times over."""

LONG_MS: Final = 300_000
MEMORY_WARNING: Final = 0.8
MEMORY_PROBLEM: Final = 0.95

Severity = Literal["problem", "warning", "ok"]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is not in the status: the machine and the files."""

    memory_bytes: int = 0
    """Used in the control group; the process alone if that cannot be read."""
    memory_max_bytes: int = 0
    """The limit of the control group; 0 = none, or it cannot be read."""
    config_changed_wall_ms: int = 0
    """When the configuration file was written last; 0 = there is none."""
    config_read_wall_ms: int = 0
    """When the server read it."""
    socket_path: str = ""
    socket_mode: int = 0
    """Permission bits of the admin socket."""
    python: tuple[int, int, int] = (3, 11, 0)


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at. `check` is a stable name for programs."""

    severity: Severity
    check: str
    what: str
    advice: str = ""
    """What to do; empty if nothing is."""


class Patient(NamedTuple):
    """All that a check may look at."""

    status: Status
    settings: Settings
    facts: Facts
    before: Status | None = None
    """What `status` was a few minutes ago; None = the server does not run as long."""

    @property
    def period(self) -> str:
        """Of what totals are judged, in words."""
        if self.before is None:
            return "since the start"
        minutes = round((self.status.uptime_ms - self.before.uptime_ms) / 60_000)
        return f"in the last {minutes} minutes"

    def lately(self, total: Callable[[Status], int]) -> int:
        """How much a total has grown in the period."""
        return total(self.status) - (total(self.before) if self.before is not None else 0)

    def durations(self, histogram: Callable[[Status], Quantiles]) -> tuple[int, float]:
        """How many durations were counted in the period, and below what 99 of 100 of them were, in microseconds."""
        now = histogram(self.status)
        if self.before is None:
            return now.count, now.p99_us
        before = histogram(self.before)
        return now.count - before.count, float(quantile_us(now.buckets, before.buckets, now.max_us))


def diagnose(status: Status, settings: Settings, facts: Facts, before: Status | None = None) -> list[Finding]:
    """Every check's findings: problems first, then warnings, then what is well.

    With the status of a few minutes `before`, totals are judged by what came since: what happened once must not be
    reported for ever.
    """
    patient = Patient(status, settings, facts, before)
    findings = [
        Finding(severity, check.__name__, what, advice) for check in CHECKS for severity, what, advice in check(patient)
    ]
    return sorted(findings, key=lambda finding: ("problem", "warning", "ok").index(finding.severity))


Said = Iterator[tuple[Severity, str, str]]


# --- room ---------------------------------------------------------------------------------------------------------


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
    number = patient.lately(lambda status: status.goodbyes.get("busy", 0))
    if number:
        advice = "raise listen.max_links and LimitNOFILE=, or look with `presencectl links` at who holds so many"
        yield "warning", f"{number:,} links were refused {patient.period} because there were too many", advice
    else:
        yield "ok", f"no link was refused for lack of room {patient.period}", ""


def memory(patient: Patient) -> Said:
    """How near is the limit of the control group?"""
    used, most = patient.facts.memory_bytes, patient.facts.memory_max_bytes
    if not most:
        yield "ok", f"{_mib(used)} of memory, no limit is set", ""
        return
    said = f"{_mib(used)} of memory, and the limit is {_mib(most)}"
    if used >= MEMORY_WARNING * most:
        severity: Severity = "problem" if used >= MEMORY_PROBLEM * most else "warning"
        yield (
            severity,
            said,
            "raise MemoryMax= of the unit (or the container's limit) before the kernel ends the daemon",
        )
    else:
        yield "ok", said, ""


# --- the disk -----------------------------------------------------------------------------------------------------


def durability(patient: Patient) -> Said:
    """Does the state survive?"""
    log = patient.status.log
    if log is None:
        advice = "set storage.directory (--data-dir DIR)"
        yield "warning", "the state is in memory only: statuses, texts and claims end with the process", advice
    elif log.durability == "off":
        advice = "set storage.durability to always, or to interval=1s if that is too slow"
        yield "warning", "durability is off: a crash loses what came since the last snapshot", advice
    else:
        yield "ok", f"the state is kept in {log.directory}, durability {log.durability}", ""


def log_state(patient: Patient) -> Said:
    """Does the log take what it is given?"""
    log = patient.status.log
    if log is None:
        return
    directory = log.directory
    if log.state == "full":
        what = f"the disk under {directory} is full: nothing can be saved, presence goes on"
        yield "problem", what, "free space; the daemon goes on writing by itself and makes up for what is missing"
    elif log.state == "busy":
        what = f"the disk under {directory} does not keep up: {log.pending_facts:,} facts wait, more are refused"
        yield "problem", what, "look for other load on the disk, or set storage.durability to interval=1s"
    elif log.state in ("failed", "closed"):
        yield "problem", f"the log in {directory} has {log.state}", "see the daemon's log; replace the disk and restart"
    else:
        yield "ok", f"the log is {log.state}, {log.pending_facts:,} facts wait for the disk", ""


def disk_speed(patient: Patient) -> Said:
    """How long does a commit take?"""
    number, p99_us = patient.durations(lambda status: status.commit)
    if number < COMMITS_ENOUGH:
        return
    said = f"99 of 100 commits took less than {_ms(p99_us)} {patient.period}"
    if p99_us > COMMIT_SLOW_US:
        advice = "move storage.directory to a faster disk, or set storage.durability to interval=1s"
        yield "warning", f"the disk is slow: {said}", advice
    else:
        yield "ok", said, ""


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
        what = f"{_mib(log.log_bytes)} of log since the last snapshot, which was due at {_mib(due_bytes)}"
        yield "warning", what, advice
    elif log.log_bytes and settings.snapshot_every_ms and age_ms > SNAPSHOT_LATE * settings.snapshot_every_ms:
        often = format_duration(settings.snapshot_every_ms)
        yield "warning", f"no snapshot for {format_duration(age_ms)}; there should be one each {often}", advice
    elif log.snapshot_wall_ms:
        ago = format_duration(max(0, status.wall_ms - log.snapshot_wall_ms) // 1000 * 1000)
        yield "ok", f"the last snapshot is {ago} old, with {_mib(log.log_bytes)} of log since", ""
    else:
        yield "ok", f"no snapshot was due so far; {_mib(log.log_bytes)} of log", ""


# --- time ---------------------------------------------------------------------------------------------------------


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
    number, p99_us = patient.durations(lambda status: status.turn)
    if number < TURNS_ENOUGH:
        return
    said = f"99 of 100 turns took less than {_ms(p99_us)} {patient.period}"
    if p99_us > TURN_SLOW_US:
        advice = "the CPU is short: look at `presencectl top`; raise change.spacing, or give the daemon a faster core"
        yield "warning", f"turns are long: {said}", advice
    else:
        yield "ok", said, ""


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


# --- those who read -----------------------------------------------------------------------------------------------


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


# --- who may do what ----------------------------------------------------------------------------------------------


def encryption(patient: Patient) -> Said:
    """Is what goes over the network encrypted?"""
    bare = [url for url in patient.status.listeners if url.startswith("presence://") and not is_private(url)]
    if bare:
        advice = "set listen.tls_cert and listen.tls_key, or listen on 127.0.0.1 behind something that ends TLS"
        yield (
            "warning",
            f"{', '.join(bare)} is reachable from outside without TLS: tokens can be read on the way",
            advice,
        )
    else:
        yield "ok", "no address is open to the network without TLS", ""


def identity(patient: Patient) -> Said:
    """Are names checked?"""
    if not patient.status.dev:
        yield "ok", "names are proved by tokens", ""
        return
    is_open = not all(is_private(url) for url in patient.status.listeners if url.startswith("presence"))
    what = "development mode: every name is believed" + (", from the whole network" if is_open else "")
    yield (
        "problem" if is_open else "warning",
        what,
        "set auth.secret_file and drop auth.dev before anybody relies on it",
    )


def http(patient: Patient) -> Said:
    """Who can read the metrics?"""
    address = patient.settings.http
    if address and not is_private(f"http://{address}"):
        advice = "set http.address to 127.0.0.1:PORT, or let a firewall admit only those who collect metrics"
        yield "warning", f"metrics and health are open to the network on {address}, without any password", advice
    else:
        yield "ok", f"metrics are on {address}" if address else "metrics are not served", ""


def admin_socket(patient: Patient) -> Said:
    """Who may stop the daemon?"""
    facts = patient.facts
    if not facts.socket_path:
        yield "ok", "there is no admin socket", ""
    elif facts.socket_mode & 0o002:
        advice = "set admin.mode to 0660, and admin.group to the group of the operators"
        yield "problem", f"everybody on this machine may stop the daemon through {facts.socket_path}", advice
    else:
        yield "ok", f"the admin socket {facts.socket_path} has mode {facts.socket_mode:o}", ""


# --- what runs ----------------------------------------------------------------------------------------------------


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


CHECKS: tuple[Callable[[Patient], Said], ...] = (
    identity,
    encryption,
    admin_socket,
    http,
    durability,
    log_state,
    disk_speed,
    snapshots,
    links,
    descriptors,
    refusals,
    memory,
    slow_watchers,
    turns,
    stalls,
    clock,
    intervals,
    configuration,
    python,
)


def is_private(url: str) -> bool:
    """Whether only this machine can reach the address of `url`; a path of a Unix socket is."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    return is_loopback(host) if host is not None else not parts.netloc


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):,.1f} MiB"


def _ms(duration_us: float) -> str:
    return f"{duration_us / 1000:,.3g} ms" if duration_us < 1_000_000 else f"{duration_us / 1_000_000:,.3g} s"
