"""The settings that are tables: times for kinds of devices, a key for each kind. Pure."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Generic, TypeVar

from presenced.address import check_label
from presenced.config.faults import Fault
from presenced.config.kinds import ValueKind, duration_ms, exact_duration
from presenced.durations import parse_duration_ms
from presenced.errors import AddressError

T = TypeVar("T")


class TimesByKind(ValueKind, Generic[T]):
    """Times for kinds of devices. `Settings` holds them as KIND=TIMES texts, in order of kind."""

    form = ""
    """How the times of one kind are written, for people."""
    example = ""
    """Times of one kind."""

    def parse(self, text: str) -> tuple[str, ...]:
        return tuple(sorted(self.entry(*part.split("=", 1)) for part in text.split(";") if part.strip()))

    def write(self, value: Any) -> str:
        return ";".join(value)

    def check(self, value: Any) -> None:
        # Also in another order or spelling than `parse` makes of it.
        if not isinstance(value, tuple) or not all(isinstance(text, str) for text in value):
            raise Fault(self.wrong)
        self.parse(self.write(value))

    def entry(self, kind: str, times: str = "") -> str:
        """KIND=TIMES in its one spelling; raises `Fault`."""
        kind = kind.strip()
        try:
            check_label(kind, "kind")
        except AddressError:
            raise Fault("is for a kind that no device can have") from None
        if not kind or "=" in kind or ";" in kind:
            raise Fault("is for a kind that cannot be written: it is empty, or holds = or ;")
        return f"{kind}={self.spell(times)}"

    def by_kind(self, value: tuple[str, ...]) -> dict[str, T]:
        """The same as numbers of milliseconds; raises `Fault`."""
        found = {}
        for text in value:
            kind, _, times = self.entry(*text.split("=", 1)).partition("=")
            found[kind] = self.numbers(times)
        return found

    @abstractmethod
    def spell(self, times: str) -> str:
        """The times of one kind in their one spelling; raises `Fault`."""

    @abstractmethod
    def numbers(self, times: str) -> T:
        """The times that `spell` has written."""


class IdleTimes(TimesByKind[tuple[int, int]]):
    """When devices of a kind count as away, and as offline."""

    allowed = 'AWAY,OFFLINE, such as "10m,0" (0 = never)'
    wrong = "is not a list of KIND=AWAY,OFFLINE"
    form = "AWAY,OFFLINE"
    example = "10m,0"

    def spell(self, times: str) -> str:
        away, comma, offline = times.partition(",")
        if not comma:
            raise Fault("is not two durations")
        return f"{exact_duration(duration_ms(away))},{exact_duration(duration_ms(offline))}"

    def numbers(self, times: str) -> tuple[int, int]:
        away, _, offline = times.partition(",")
        return parse_duration_ms(away), parse_duration_ms(offline)


class Graces(TimesByKind[int]):
    """How long devices of a kind count as online without a link."""

    allowed = 'a duration, such as "2m"'
    wrong = "is not a list of KIND=GRACE"
    form = "GRACE"
    example = "2m"

    def spell(self, times: str) -> str:
        return exact_duration(duration_ms(times))

    def numbers(self, times: str) -> int:
        return parse_duration_ms(times)
