"""What a check gets and what it returns. A check is a function from a `Patient` to its findings about one thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import msgspec

from presenced.config.settings import Settings
from presenced.ops.history import quantile_us
from presenced.server.status import Quantiles, ServerStatus

Severity = Literal["problem", "warning", "ok"]
Said = Iterator[tuple[Severity, str, str]]
"""Severity, what was found, and what to do (empty = nothing)."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of the machine and the files, which are not in the status."""

    memory_bytes: int = 0
    """Memory in use in the control group, or by the process alone if the group's figure cannot be read."""
    memory_max_bytes: int = 0
    """The limit of the control group; 0 = none, or it cannot be read."""
    config_faults: list[str] = []
    """Why a start would refuse the configuration as it is now."""
    config_waiting: list[str] = []
    """Keys whose value in the files differs from the value in force."""
    reload_faults: list[str] = []
    """Why the last reload was refused."""
    grounds_chosen: bool = False
    """Whether the configuration says who may see whom (visibility.grounds)."""
    socket_path: str = ""
    socket_mode: int = 0
    """Permission bits of the admin socket."""
    secret_mode: int = 0
    """Permission bits of the secret file; 0 = there is none, or it cannot be looked at."""
    webhook_secret_mode: int = 0
    """Of the file with the secrets of webhooks, likewise."""
    certificate: str = ""
    """A sentence if the certificate in force has expired, expires soon or is not valid yet; else empty."""
    certificate_said: str = ""
    """Which names the certificate is for, and until when it is valid."""
    certificate_waits: bool = False
    """The file holds another certificate than the one in force."""
    zones_missing: list[str] = []
    """Time zones of schedules that the machine does not know."""
    idle_kinds_unmet: list[str] = []
    """Kinds of device with idle times or a grace of their own, of which no device has come since the start."""
    python: tuple[int, int, int] = (3, 11, 0)


class Finding(msgspec.Struct, frozen=True):
    """The result of one check. `check` is a stable name for programs."""

    severity: Severity
    check: str
    what: str
    advice: str = ""
    """What to do; empty = nothing."""


class Patient(NamedTuple):
    """Everything that a check may use."""

    status: ServerStatus
    settings: Settings
    facts: Facts
    before: ServerStatus | None = None
    """The status of a few minutes ago; None = the server has not run that long."""

    @property
    def period(self) -> str:
        """The time whose totals are judged, in words."""
        if self.before is None:
            return "since the start"
        minutes = round((self.status.uptime_ms - self.before.uptime_ms) / 60_000)
        return f"in the last {minutes} minutes"

    def lately(self, total: Callable[[ServerStatus], int]) -> int:
        """How much a total has grown in the period."""
        return total(self.status) - (total(self.before) if self.before is not None else 0)

    def durations(self, histogram: Callable[[ServerStatus], Quantiles]) -> tuple[int, float]:
        """The number of durations in the period, and the time in microseconds that 99 of 100 of them stayed below."""
        now = histogram(self.status)
        if self.before is None:
            return now.count, now.p99_us
        before = histogram(self.before)
        return now.count - before.count, float(quantile_us(now.buckets, before.buckets, now.max_us))

    def slower_than(
        self,
        limit_us: int,
        histogram: Callable[[ServerStatus], Quantiles],
        *,
        enough: int,
        noun: str,
        verdict: str,
        advice: str,
    ) -> Said:
        """Whether 99 of 100 durations of the period were below the limit. No finding if there were fewer than `enough`.
        `noun` names the durations, and `verdict` says what it means if they were above the limit."""
        number, p99_us = self.durations(histogram)
        if number < enough:
            return
        said = f"99 of 100 {noun} took less than {ms(p99_us)} {self.period}"
        if p99_us > limit_us:
            yield "warning", f"{verdict}: {said}", advice
        else:
            yield "ok", said, ""


def mib(size_bytes: int) -> str:
    """`1,024.0 MiB`."""
    return f"{size_bytes / (1 << 20):,.1f} MiB"


def ms(duration_us: float) -> str:
    """`32.8 ms`, `1.2 s`."""
    return f"{duration_us / 1000:,.3g} ms" if duration_us < 1_000_000 else f"{duration_us / 1_000_000:,.3g} s"
