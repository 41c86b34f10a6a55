"""The one kind of setting that is a table: idle times for kinds of devices. Pure."""

from __future__ import annotations

from typing import Any

from presenced.address import check_label
from presenced.config.kinds import Fault, ValueKind, duration_ms, exact_duration
from presenced.durations import parse_duration_ms
from presenced.errors import AddressError


class IdleTimes(ValueKind):
    """Idle times for kinds of devices. `Settings` holds them as KIND=AWAY,OFFLINE texts, in order of kind."""

    allowed = 'AWAY,OFFLINE, such as "10m,0" (0 = never)'
    wrong = "is not a list of KIND=AWAY,OFFLINE"

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
        """KIND=AWAY,OFFLINE in its one spelling; raises `Fault`."""
        kind = kind.strip()
        try:
            check_label(kind, "kind")
        except AddressError:
            raise Fault("is for a kind that no device can have") from None
        if not kind or "=" in kind or ";" in kind:
            raise Fault("is for a kind that cannot be written: it is empty, or holds = or ;")
        away, comma, offline = times.partition(",")
        if not comma:
            raise Fault("is not two durations")
        return f"{kind}={exact_duration(duration_ms(away))},{exact_duration(duration_ms(offline))}"

    def by_kind(self, value: tuple[str, ...]) -> dict[str, tuple[int, int]]:
        """The same as numbers of milliseconds; raises `Fault`."""
        found = {}
        for text in value:
            kind, _, times = self.entry(*text.split("=", 1)).partition("=")
            away, _, offline = times.partition(",")
            found[kind] = (parse_duration_ms(away), parse_duration_ms(offline))
        return found
