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
    in_call_from_ms: int | None = None
    """Since when the user's call has been input on it, if it is or was."""
    channels: dict[str, None] = field(default_factory=dict)
    holder: int = 0
    """The number of the client that attached it last."""

    def leave(self, now_ms: int) -> None:
        """It says bye, which is a sign of life."""
        self.left, self.heard_ms = True, now_ms

    def forget(self, in_call_ms: int | None) -> None:
        """Another program has it, and does not say how idle it is. In a call of its user it is as one that comes."""
        if self.reports:
            self.reports = False
            self.in_call_from_ms = in_call_ms if self.in_call_from_ms is None else self.in_call_from_ms

    def lost_at_ms(self) -> int:
        silent_ms = self.heard_ms + POLICY.timeout_ms
        return silent_ms if self.lost_ms is None else self.lost_ms

    def connected(self, now_ms: int) -> bool:
        return not self.left and now_ms < self.lost_at_ms()

    def live(self, now_ms: int) -> bool:
        return not self.left and now_ms < self.lost_at_ms() + POLICY.grace_ms

    def counts(self, now_ms: int, call_ms: int | None) -> bool:
        """Whether it is live and not idle for so long that it does not count, whatever its priority."""
        return self.live(now_ms) and self.idle_ms(now_ms, call_ms) < POLICY.offline_after_ms

    def idle_ms(self, now_ms: int, call_ms: int | None) -> int:
        """How long it has been idle; `call_ms` is when the user was last in a call."""
        if not self.reports:
            return 0
        in_call_ms = call_ms if call_ms is not None and self.in_call_from_ms is not None else 0
        return now_ms - max(self.active_ms, in_call_ms)

    def shown(self, now_ms: int, call_ms: int | None = None) -> str:
        """The status that it lends to its user if it is the only one; offline if none."""
        if self.priority < 0 or not self.counts(now_ms, call_ms):
            return "offline"
        if self.idle_ms(now_ms, call_ms) >= POLICY.away_after_ms and self.status in ("chat", "online"):
            return "away"
        return self.status


@dataclass
class TwinClaim:
    """One claim as it was made."""

    name: str
    source: str
    status: str
    made: int
    """Its place in the order of making."""
    until_ms: int | None


@dataclass
class TwinClaims:
    """The claims of one user, worked out anew for each question."""

    made: list[TwinClaim] = field(default_factory=list)
    count: int = 0
    call_ended_ms: int | None = None
    """When a call was ended or replaced last, if any was."""

    def set(self, now_ms: int, name: str, source: str, status: str, until_ms: int | None) -> None:
        covered = []
        if name == "manual" and until_ms is not None:
            covered = [
                claim
                for claim in self.standing(now_ms)
                if claim.name == "manual" and (claim.until_ms is None or claim.until_ms > until_ms)
            ]
            if covered and covered[-1].status == status:
                covered.pop()
        self.drop(now_ms, [claim for claim in self.made if claim.name == name and claim not in covered])
        self.count += 1
        self.made.append(TwinClaim(name, source, status, self.count, until_ms))

    def end(self, now_ms: int, name: str) -> None:
        self.drop(now_ms, [claim for claim in self.made if claim.name == name])

    def drop(self, now_ms: int, ended: list[TwinClaim]) -> None:
        for claim in ended:
            self.made.remove(claim)
            if claim.source == "call":
                at_ms = now_ms if claim.until_ms is None else min(now_ms, claim.until_ms)
                self.call_ended_ms = max(at_ms, self.call_ended_ms or 0)

    def standing(self, now_ms: int) -> list[TwinClaim]:
        return [claim for claim in self.made if claim.until_ms is None or now_ms < claim.until_ms]

    def in_call(self, now_ms: int) -> bool:
        return any(claim.source == "call" for claim in self.standing(now_ms))

    def call_ms(self, now_ms: int) -> int | None:
        """When the user was last in a call: now, if they are in one."""
        if self.in_call(now_ms):
            return now_ms
        ended = [claim.until_ms for claim in self.made if claim.source == "call" and claim.until_ms is not None]
        ended += [self.call_ended_ms] if self.call_ended_ms is not None else []
        return max(ended, default=None)

    def order(self, now_ms: int) -> list[str]:
        """The names, the one that counts first."""
        return [claim.name for claim in self.ordered(now_ms)]

    def ordered(self, now_ms: int) -> list[TwinClaim]:
        names = ("call", "manual", "calendar", "schedule")
        standing = self.standing(now_ms)

        def place(claim: TwinClaim) -> tuple[int, int, int]:
            if any(other.name == claim.name and other.made > claim.made for other in standing):
                return 2, 0, -claim.made
            return claim.status != "offline", names.index(claim.source), -claim.made

        return sorted(standing, key=place)

    def hides(self, now_ms: int) -> bool:
        """Whether the user appears offline."""
        return any(claim.status == "offline" for claim in self.ordered(now_ms)[:1])

    def status(self, now_ms: int, of_devices: str, *, in_use: bool = True) -> str:
        """What the user shows whose devices alone would show `of_devices`, with one of them in use or none."""
        order = self.ordered(now_ms)
        if of_devices == "offline" or not order:
            return of_devices
        status = order[0].status
        return "away" if status in ("online", "chat") and not in_use else status


@dataclass
class TwinUser:
    """Everything said of one user."""

    devices: dict[str, TwinDevice] = field(default_factory=dict)
    claims: TwinClaims = field(default_factory=TwinClaims)
    text: str = ""
    emoji: str = ""
    text_until_ms: int | None = None
    frozen: tuple[str, str, int | None] | None = None
    """What others see of text and emoji, and until when, since another was set while the user appeared offline."""
    seen_ms: int | None = None
    """When they were last seen, as far as that was told, or said by a touch while they did not hide."""

    def hides(self, now_ms: int) -> bool:
        order = self.claims.ordered(now_ms)
        return bool(order) and order[0].status == "offline"

    def status(self, now_ms: int) -> str:
        call_ms = self.claims.call_ms(now_ms)
        shown = {key: device.shown(now_ms, call_ms) for key, device in self.devices.items()}
        used = [
            status
            for key, status in shown.items()
            if status != "offline" and self.devices[key].idle_ms(now_ms, call_ms) < POLICY.away_after_ms
        ]
        # Of a device that nobody touches a wish not to be disturbed counts only while none is in use.
        said = [
            "away" if used and status == "dnd" and self.devices[key].idle_ms(now_ms, call_ms) >= POLICY.away_after_ms
            else status
            for key, status in shown.items()
        ]  # fmt: skip
        best = next((status for status in ("dnd", "chat", "online", "away", "xa") if status in said), "offline")
        return self.claims.status(now_ms, best, in_use=bool(used))

    def counted(self, now_ms: int) -> dict[str, TwinDevice]:
        call_ms = self.claims.call_ms(now_ms)
        return {key: device for key, device in self.devices.items() if device.shown(now_ms, call_ms) != "offline"}

    def channels(self, now_ms: int) -> list[str]:
        return [name for device in self.devices.values() if device.live(now_ms) for name in device.channels]

    def words(self, now_ms: int) -> tuple[str, str]:
        """What others see."""
        if self.frozen is not None and self.claims.hides(now_ms):
            text, emoji, until_ms = self.frozen
            return (text, emoji) if until_ms is None or now_ms < until_ms else ("", "")
        return self.own_words(now_ms)

    def own_words(self, now_ms: int) -> tuple[str, str]:
        if self.text_until_ms is not None and now_ms >= self.text_until_ms:
            return "", ""
        return self.text, self.emoji

    def claim(self, now_ms: int, name: str, source: str, status: str, until_ms: int | None) -> None:
        self.settle(now_ms)
        was_in_call = self.claims.in_call(now_ms)
        self.claims.set(now_ms, name, source, status, until_ms)
        self.settle(now_ms)
        if not was_in_call and self.claims.in_call(now_ms):
            self.begin_call(now_ms)

    def end_claim(self, now_ms: int, name: str) -> None:
        self.settle(now_ms)
        self.claims.end(now_ms, name)
        self.settle(now_ms)

    def settle(self, now_ms: int) -> None:
        """Write down what has ended by itself."""
        if not self.claims.hides(now_ms):
            self.frozen = None
        call_ms = self.claims.call_ms(now_ms)
        if call_ms is not None and not self.claims.in_call(now_ms):
            for device in self.devices.values():
                if device.in_call_from_ms is not None:
                    device.active_ms = device.said_ms = max(device.active_ms, call_ms)
                    device.in_call_from_ms = None

    def begin_call(self, now_ms: int) -> None:
        counting = [device for device in self.devices.values() if device.counts(now_ms, None)]
        if all(device.priority < 0 for device in counting):
            there = [d for d in self.devices.values() if d.connected(now_ms) and d.priority >= 0]
            counting += sorted(there, key=lambda device: -device.active_ms)[:1]
        for device in counting:
            device.active_ms = device.said_ms = device.in_call_from_ms = now_ms

    def write(self, now_ms: int, text: str | None, emoji: str | None, until_ms: int | None) -> None:
        if text is None and emoji is None:
            return
        self.settle(now_ms)
        was_text, was_emoji = self.own_words(now_ms)
        if self.claims.hides(now_ms) and self.frozen is None:
            ended = self.text_until_ms is not None and now_ms >= self.text_until_ms
            self.frozen = (was_text, was_emoji, None if ended else self.text_until_ms)
        keeps_end = text is None and was_text and until_ms is None
        self.text = was_text if text is None else text
        self.emoji = emoji if emoji is not None else "" if text == "" else was_emoji
        self.text_until_ms = self.text_until_ms if keeps_end else until_ms


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
        user = self.user(name)
        user.settle(now_ms)
        device = user.devices.get(device_id)
        if device is None or not device.live(now_ms):
            device = user.devices[device_id] = TwinDevice(now_ms, now_ms)
            device.in_call_from_ms = now_ms if user.claims.in_call(now_ms) else None
            device.status, device.priority = status, priority
        elif not again:
            device.status, device.priority = status, priority
            if device.holder != holder and idle_ms is None:
                device.forget(in_call_ms=now_ms if user.claims.in_call(now_ms) else None)
        elif device.holder != holder:
            return False
        device.heard_ms, device.lost_ms, device.holder = now_ms, None, holder
        self.report(now_ms, name, device, idle_ms)
        return True

    def report(self, now_ms: int, name: str, device: TwinDevice, idle_ms: int | None) -> None:
        user = self.user(name)
        user.settle(now_ms)
        device.heard_ms = now_ms
        if idle_ms is not None:
            known_ms = device.active_ms if device.reports else device.said_ms
            device.active_ms = max(known_ms, now_ms - idle_ms)
            device.reports = True
            if user.claims.in_call(now_ms) and device.counts(now_ms, None) and device.in_call_from_ms is None:
                device.in_call_from_ms = now_ms

    def say(self, now_ms: int, name: str, status: str | None, text: str | None, emoji: str | None, for_ms: int) -> None:
        user = self.user(name)
        until_ms = now_ms + for_ms if for_ms else None
        if status == "offline":
            user.write(now_ms, text, emoji, until_ms)
        if status == "auto":
            user.end_claim(now_ms, "manual")
        elif status is not None:
            user.claim(now_ms, "manual", "manual", status, until_ms)
        if status != "offline":
            user.write(now_ms, text, emoji, until_ms)

    def members(self, now_ms: int, channel: str) -> dict[str, str]:
        """Who is seen in the channel, and how."""
        return {
            name: user.status(now_ms)
            for name, user in self.users.items()
            if channel in user.channels(now_ms) and user.status(now_ms) != "offline"
        }

    def touch(self, now_ms: int, name: str) -> None:
        user = self.user(name)
        if not user.hides(now_ms):
            user.seen_ms = now_ms

    def compare_times(self, record: Record, now_ms: int, offset_ms: int) -> None:
        """Raise `AssertionError` if a time is told that is to come, or one of last seen that is behind one known."""
        user = self.user(record.user)
        assert record.since_ms <= now_ms + offset_ms, f"{record} began after {now_ms}"
        if record.status != "offline":
            assert record.last_seen_ms == 0
        elif record.version:
            seen_ms = record.last_seen_ms - offset_ms
            assert seen_ms <= now_ms, f"{record} was seen after {now_ms}"
            assert user.seen_ms is None or seen_ms >= user.seen_ms, f"{record} goes back behind {user.seen_ms}"
            known_ms = [record.since_ms - offset_ms if user.seen_ms is None else user.seen_ms]
            known_ms += [max(device.heard_ms, device.active_ms) for device in user.devices.values()]
            is_moment = record.last_seen_ms == record.since_ms
            assert is_moment or seen_ms <= max(known_ms), f"nobody knows of {record.user} as late as {seen_ms}: {user}"
            user.seen_ms = seen_ms

    def compare(self, record: Record, now_ms: int) -> None:
        """Raise `AssertionError` where what is seen differs from what is true."""
        user = self.user(record.user)
        assert record.status == user.status(now_ms), f"{record} at {now_ms}, but {user}"
        assert (record.text, record.emoji) == user.words(now_ms), f"{record} at {now_ms}, but {user}"
        if record.status == "offline":
            assert record.device == "" and (record.version == 0 or record.last_seen_ms > 0 or record.since_ms == 0)
            return
        counted = user.counted(now_ms)
        assert record.device in counted, f"{record} has a primary that does not count: {user}"
        user.settle(now_ms)
        lead_ms = max(d.active_ms for d in counted.values()) - counted[record.device].active_ms
        assert lead_ms <= POLICY.primary_hysteresis_ms, f"the primary of {record} is {lead_ms} ms behind: {user}"
