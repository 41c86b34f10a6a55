"""What the operator lets an acknowledgement promise of the disk. Pure."""

from __future__ import annotations

from typing import Literal, cast

import msgspec

from presenced.config.faults import SettingsError
from presenced.durations import parse_duration_ms

INTERVAL_MS_MAX = 3_600_000


class Durability(msgspec.Struct, frozen=True):
    """What an acknowledgement promises of the disk."""

    policy: Literal["always", "interval", "os", "off"] = "always"
    interval_ms: int = 0

    @classmethod
    def parse(cls, text: str) -> Durability:
        """`always`, `interval=1s`, `os` or `off`; raises `SettingsError`."""
        policy, _, interval = text.partition("=")
        if policy == "interval":
            try:
                interval_ms = parse_duration_ms(interval)
            except ValueError:
                interval_ms = 0
            if 1 <= interval_ms <= INTERVAL_MS_MAX:
                return cls("interval", interval_ms)
        elif policy in ("always", "os", "off") and policy == text:
            return cls(cast(Literal["always", "os", "off"], policy))
        raise SettingsError(f"{text!r} is none of always, interval=DURATION (such as interval=1s, at most 1h), os, off")
