"""The slow twin of the engine: what people did, kept as plain facts, and what is true at a moment worked out anew.

No wheel, no levels, no events: each question compares times. It is exact only at moments that are further from any
deadline than the wheel's tolerance, so whoever drives it takes every input at a residue of `ROUND_MS` of its own:
all durations are multiples of it, and so two inputs' deadlines are never closer than `STEP_MS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from presenced.core.policy import Policy
from presenced.wire.messages import Record

STEP_MS = 200
"""More than the tolerance of a lease's end and the grace that follows it together."""

STEPS_MAX = 200
ROUND_MS = STEP_MS * STEPS_MAX

POLICY = Policy(
    heartbeat_ms=ROUND_MS * 4 // 5,
    grace_ms=ROUND_MS,
    away_after_ms=5 * ROUND_MS,
    offline_after_ms=12 * ROUND_MS,
    primary_hysteresis_ms=ROUND_MS,
)
"""A lease of two rounds, grace of one, away after five, offline after twelve."""


@dataclass
class TwinDevice:
    """What was said by and heard of one device."""

    heard_ms: int
    active_ms: int
    status: str = "online"
    priority: int = 0
    said_ms: int = 0
    """When something was last said on it; 0 = nothing since it came."""
    reports: bool = False
    lost_ms: int | None = None
    """When its link was lost; None while there is one, as far as anybody noticed."""
    left: bool = False
    channels: dict[str, None] = field(default_factory=dict)
    holder: int = 0
    """The number of the client that attached it last."""

    def lost_at_ms(self) -> int:
        silent_ms = self.heard_ms + POLICY.timeout_ms
        return silent_ms if self.lost_ms is None else self.lost_ms

    def connected(self, now_ms: int) -> bool:
        return not self.left and now_ms < self.lost_at_ms()

    def live(self, now_ms: int) -> bool:
        return not self.left and now_ms < self.lost_at_ms() + POLICY.grace_ms

    def shown(self, now_ms: int) -> str:
        """The status that it lends to its user; offline if none."""
        if not self.live(now_ms) or self.priority < 0:
            return "offline"
        idle_ms = now_ms - self.active_ms if self.reports else 0
        if idle_ms >= POLICY.offline_after_ms:
            return "offline"
        if idle_ms >= POLICY.away_after_ms and self.status in ("chat", "online"):
            return "away"
        return self.status


@dataclass
class TwinClaim:
    """One claim as it was made."""

    source: str
    status: str
    made: int
    """Its place in the order of making."""
    until_ms: int | None


@dataclass
class TwinClaims:
    """The claims of one user, worked out anew for each question."""

    made: dict[str, TwinClaim] = field(default_factory=dict)
    count: int = 0

    def set(self, name: str, source: str, status: str, until_ms: int | None) -> None:
        self.count += 1
        self.made[name] = TwinClaim(source, status, self.count, until_ms)

    def end(self, name: str) -> None:
        self.made.pop(name, None)

    def standing(self, now_ms: int) -> dict[str, TwinClaim]:
        return {k: claim for k, claim in self.made.items() if claim.until_ms is None or now_ms < claim.until_ms}

    def order(self, now_ms: int) -> list[str]:
        """The names, the one that counts first."""
        names = ("call", "manual", "calendar", "schedule")
        standing = self.standing(now_ms)

        def place(name: str) -> tuple[bool, int, int]:
            claim = standing[name]
            return claim.status != "offline", names.index(claim.source), -claim.made

        return sorted(standing, key=place)

    def status(self, now_ms: int, of_devices: str) -> str:
        """What the user shows whose devices alone would show `of_devices`."""
        order = self.order(now_ms)
        if of_devices == "offline" or not order:
            return of_devices
        return self.made[order[0]].status


@dataclass
class TwinUser:
    """Everything said of one user."""

    devices: dict[str, TwinDevice] = field(default_factory=dict)
    claims: TwinClaims = field(default_factory=TwinClaims)
    text: str = ""
    emoji: str = ""
    text_until_ms: int | None = None

    def status(self, now_ms: int) -> str:
        shown = [device.shown(now_ms) for device in self.devices.values()]
        best = next((status for status in ("dnd", "chat", "online", "away", "xa") if status in shown), "offline")
        return self.claims.status(now_ms, best)

    def channels(self, now_ms: int) -> list[str]:
        return [name for device in self.devices.values() if device.live(now_ms) for name in device.channels]

    def words(self, now_ms: int) -> tuple[str, str]:
        if self.text_until_ms is not None and now_ms >= self.text_until_ms:
            return "", ""
        return self.text, self.emoji


class Twin:
    """All users, by the same inputs as the engine."""

    def __init__(self) -> None:
        self.users: dict[str, TwinUser] = {}

    def user(self, name: str) -> TwinUser:
        return self.users.setdefault(name, TwinUser())

    def attach(
        self,
        now_ms: int,
        name: str,
        device_id: str,
        status: str,
        priority: int,
        idle_ms: int | None,
        *,
        holder: int,
        again: bool = False,
    ) -> bool:
        """By a client with this number, all of which differ. `again`: as it was, and only if nobody else has it; gives
        whether it was."""
        devices = self.user(name).devices
        device = devices.get(device_id)
        if device is None or not device.live(now_ms):
            device = devices[device_id] = TwinDevice(now_ms, now_ms)
            device.status, device.priority = status, priority
        elif not again:
            device.status, device.priority = status, priority
        elif device.holder != holder:
            return False
        device.heard_ms, device.lost_ms, device.holder = now_ms, None, holder
        self.report(now_ms, device, idle_ms)
        return True

    def report(self, now_ms: int, device: TwinDevice, idle_ms: int | None) -> None:
        device.heard_ms = now_ms
        if idle_ms is not None:
            known_ms = device.active_ms if device.reports else device.said_ms
            device.active_ms = max(known_ms, now_ms - idle_ms)
            device.reports = True

    def say(self, now_ms: int, name: str, status: str | None, text: str | None, emoji: str | None, for_ms: int) -> None:
        user = self.user(name)
        until_ms = now_ms + for_ms if for_ms else None
        if status is not None:
            if status == "auto":
                user.claims.end("manual")
            else:
                user.claims.set("manual", "manual", status, until_ms)
        if text is not None or emoji is not None:
            was_text, was_emoji = user.words(now_ms)
            user.text = was_text if text is None else text
            user.emoji = emoji if emoji is not None else "" if text == "" else was_emoji
            user.text_until_ms = until_ms

    def members(self, now_ms: int, channel: str) -> dict[str, str]:
        """Who is seen in the channel, and how."""
        return {
            name: user.status(now_ms)
            for name, user in self.users.items()
            if channel in user.channels(now_ms) and user.status(now_ms) != "offline"
        }

    def compare(self, record: Record, now_ms: int) -> None:
        """Raise `AssertionError` where what is seen differs from what is true."""
        user = self.user(record.user)
        assert record.status == user.status(now_ms), f"{record} at {now_ms}, but {user}"
        assert (record.text, record.emoji) == user.words(now_ms), f"{record} at {now_ms}, but {user}"
        if record.status == "offline":
            assert record.device == "" and (record.version == 0 or record.last_seen_ms > 0 or record.since_ms == 0)
            return
        counted = {key: d for key, d in user.devices.items() if d.shown(now_ms) != "offline"}
        assert record.device in counted, f"{record} has a primary that does not count: {user}"
        lead_ms = max(d.active_ms for d in counted.values()) - counted[record.device].active_ms
        assert lead_ms <= POLICY.primary_hysteresis_ms, f"the primary of {record} is {lead_ms} ms behind: {user}"
