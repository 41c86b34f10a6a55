"""The state that a user will have if nothing happens. Pure: it is a copy, which runs on without the server.

Each deadline has the effect that the rules of the part have which owns it in the real state, and what others see is
merged anew after it. The parts and this module must agree: `tests/core/test_forecast.py` checks that.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from presenced.core.clock import Clock
from presenced.core.idleness import idle_level, last_active_ms
from presenced.core.lifetimes import grace_end_ms, is_over
from presenced.core.merge import merge
from presenced.core.model import ACTIVE, CONNECTED, GONE, GRACE, IDLE_OFFLINE, Claim, Device, Schedule, User
from presenced.core.parts.leases import Leases
from presenced.core.parts.releases import Releases
from presenced.core.parts.schedules import CLOSED, READ_COST, Opening, Schedules
from presenced.core.policy import Policy
from presenced.core.precedence import SCHEDULED, added, in_call, is_hidden, strongest, without
from presenced.wire.messages import DeadlineKind, Status

NEVER: Final = 1 << 62
"""Later than any moment."""

READINGS_MAX: Final = 2_600
"""What may be spent on reading schedules for one request, as `schedules.TICK_COST_MAX` counts it: about 6 ms. It is
enough for each of 256 users with a window to be read twice, and for one with 28 to be read 80 times. What lies behind
so many openings and closings that nobody sees is not known."""


class Readings:
    """What is left for reading schedules."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = READINGS_MAX

    def take(self, schedule: Schedule) -> bool:
        """Pay for one reading; False: too little is left. O(1)."""
        self.left -= READ_COST + len(schedule.windows)
        return self.left >= 0


class Due(NamedTuple):
    """Something that comes due by itself."""

    kind: DeadlineKind
    about: str
    """The id of the device or the name of the claim; empty for the text."""
    due_ms: int
    """On the monotonic clock."""


class Seen(NamedTuple):
    """What others see of a user, without the times."""

    status: Status
    text: str
    emoji: str
    device: str


class Rules(NamedTuple):
    """What decides when something comes due."""

    policy: Policy
    clock: Clock
    leases: Leases
    schedules: Schedules
    releases: Releases


class Projection:
    """A copy of one user's state, and what it becomes."""

    def __init__(self, rules: Rules, user: User, now_ms: int, readings: Readings) -> None:
        self.is_known = True
        """The schedule could be read as often as that was needed."""
        self.edge_ms = NEVER
        """When the schedule is read next, for a window that opens, closes or gives way to another."""
        self._rules = rules
        self._readings = readings
        self._now_ms = now_ms
        self._schedule = user.schedule
        self._copy = copy = User(user.name)
        copy.claims, copy.claim = user.claims, user.claim
        copy.text, copy.emoji, copy.text_due_ms, copy.shown = user.text, user.emoji, user.text_due_ms, user.shown
        self._token_ms: dict[str, int] = {}
        """When the token of the link of a device ends, by the device's id."""
        for device in user.devices.values():
            if device.state != GONE:
                self._take(device)
        copy.primary = copy.devices.get(user.primary.id) if user.primary is not None else None
        if user.schedule is not None:
            self.edge_ms = self._first_edge_ms(user, user.schedule)

    def _take(self, device: Device) -> None:
        copy = self._copy.devices[device.id] = Device(self._copy, device.id)
        copy.kind, copy.priority, copy.status = device.kind, device.priority, device.status
        copy.state, copy.grace_until_ms, copy.lease_ms = device.state, device.grace_until_ms, device.lease_ms
        copy.idle_level, copy.idle_known, copy.active_ms = device.idle_level, device.idle_known, device.active_ms
        session = device.session
        if session is not None and session.ended:
            # It is in grace, though its turn to be let go of has not come.
            self._lose(copy, self._rules.releases.lost_ms(session, self._now_ms))
        elif session is not None and session.expires_ms:
            self._token_ms[device.id] = session.expires_ms

    def _lose(self, device: Device, lost_ms: int) -> None:
        device.state = GRACE
        device.grace_until_ms = grace_end_ms(device, lost_ms, self._rules.policy)

    # --- what comes due ---------------------------------------------------------------------------------------

    def dues(self) -> list[Due]:
        """What comes due by itself, but for the schedule. O(devices and claims)."""
        copy, found = self._copy, list[Due]()
        policy, assumed_ms = self._rules.policy, self._rules.leases.assumed_ms
        is_called = bool(copy.claims) and in_call(copy)
        for device_id, device in copy.devices.items():
            if device.state == GONE:
                continue
            if device.lease_ms is not None:
                found.append(Due("lease_end", device_id, device.lease_ms))
            elif device.state == GRACE:
                found.append(Due("grace_end", device_id, device.grace_until_ms))
            if device_id in self._token_ms:
                found.append(Due("token_end", device_id, self._token_ms[device_id]))
            if device.idle_known and not is_called and device.idle_level != IDLE_OFFLINE:
                away_ms, offline_ms = policy.idle_limits(device.kind)
                active_ms = last_active_ms(device, assumed_ms)
                if away_ms and device.idle_level == ACTIVE:
                    found.append(Due("idle_away", device_id, active_ms + away_ms))
                if offline_ms:
                    found.append(Due("idle_offline", device_id, active_ms + offline_ms))
        if copy.claims:
            found += [Due("claim_end", claim.name, claim.due_ms) for claim in copy.claims if claim.due_ms]
        if copy.text_due_ms:
            found.append(Due("text_end", "", copy.text_due_ms))
        if copy.shown is not None and copy.shown.due_ms:
            found.append(Due("text_end", "", copy.shown.due_ms))
        return found

    def connected(self) -> list[str]:
        """The ids of the devices that are live by what is heard on their links. O(devices)."""
        live = self._copy.devices.items()
        return [device_id for device_id, device in live if device.state == CONNECTED and device.lease_ms is None]

    # --- running on -------------------------------------------------------------------------------------------

    def reach(self, now_ms: int) -> None:
        """Let the copy be as it is at this moment."""
        copy = self._copy
        for device in copy.devices.values():
            self._device_reaches(device, now_ms)
        if copy.claims:
            was_in_call = in_call(copy)
            copy.claims = tuple([claim for claim in copy.claims if not self._has_ended(claim, now_ms)])
            if was_in_call and not in_call(copy):
                self._end_call(now_ms)
        if copy.text_due_ms and now_ms >= copy.text_due_ms:
            copy.text, copy.emoji, copy.text_due_ms = "", "", 0
        if copy.shown is not None and copy.shown.due_ms and now_ms >= copy.shown.due_ms:
            copy.shown = copy.shown._replace(text="", emoji="", due_ms=0)
        if now_ms >= self.edge_ms:
            self._read(now_ms)
        copy.claim = strongest(copy.claims)
        if copy.shown is not None and not is_hidden(copy):
            copy.shown = None

    def _device_reaches(self, device: Device, now_ms: int) -> None:
        if device.state == GONE or is_over(device, now_ms):
            device.state = GONE
            return
        if self._token_ms and now_ms >= self._token_ms.get(device.id, NEVER):
            del self._token_ms[device.id]
            self._lose(device, now_ms)
        assumed_ms = self._rules.leases.assumed_ms
        level = idle_level(device, now_ms, self._rules.policy, assumed_ms)
        if level != device.idle_level:
            device.active_ms = last_active_ms(device, assumed_ms)
            device.idle_level = level

    def _has_ended(self, claim: Claim, now_ms: int) -> bool:
        if claim.due_ms and now_ms >= claim.due_ms:
            return True
        device = self._copy.devices.get(claim.device)
        return bool(claim.device) and (device is None or device.state == GONE)

    def _end_call(self, now_ms: int) -> None:
        """The end of a call is input (`Leases.call_is_input`)."""
        for device in self._copy.devices.values():
            if device.state != GONE and device.idle_level != IDLE_OFFLINE:
                device.active_ms, device.idle_level = now_ms, ACTIVE

    def seen(self) -> Seen:
        """What others see of it. O(devices)."""
        copy = self._copy
        hysteresis_ms = self._rules.policy.primary_hysteresis_ms
        status, copy.primary = merge(copy.devices.values(), copy.claim, copy.primary, hysteresis_ms)
        shown = copy.shown or copy
        return Seen(status, shown.text, shown.emoji, copy.primary.id if copy.primary is not None else "")

    # --- the schedule -----------------------------------------------------------------------------------------

    def _first_edge_ms(self, user: User, schedule: Schedule) -> int:
        opening = self._opening(schedule, self._now_ms)
        scheduled = next((claim for claim in user.claims if claim.name == SCHEDULED), None)
        if (scheduled.status if scheduled is not None else None) != _status(schedule, opening):
            # A window has opened or closed, and the schedule is about to be read.
            return self._now_ms if self._rules.schedules.is_unread(user) else schedule.due_ms
        return self._edge_of(opening, self._now_ms)

    def _opening(self, schedule: Schedule, now_ms: int) -> Opening:
        if not self._readings.take(schedule):
            self.is_known = False
            return CLOSED
        return self._rules.schedules.opening(schedule, self._rules.clock.wall_ms(now_ms)) or CLOSED

    def _edge_of(self, opening: Opening, now_ms: int) -> int:
        if not opening.changes_ms:
            return NEVER
        return max(now_ms + 1, opening.changes_ms - self._rules.clock.offset_ms)

    def _read(self, now_ms: int) -> None:
        """As `Schedules` does."""
        schedule = self._schedule
        assert schedule is not None
        opening = self._opening(schedule, now_ms)
        self.edge_ms = self._edge_of(opening, now_ms)
        self._copy.claims = _scheduled(self._copy.claims, _status(schedule, opening))

    def schedule_may_show(self, before: Seen) -> bool:
        """Whether others would see any of what the schedule can say, if it said it now and nothing else changed.
        O(statuses, times devices and claims)."""
        schedule, copy = self._schedule, self._copy
        assert schedule is not None
        hysteresis_ms = self._rules.policy.primary_hysteresis_ms
        said: dict[Status | None, None] = {None: None}
        for window in schedule.windows:
            said[window.status or schedule.status] = None
        for status in said:
            claim = strongest(_scheduled(copy.claims, status))
            shows, primary = merge(copy.devices.values(), claim, copy.primary, hysteresis_ms)
            if (shows, primary.id if primary is not None else "") != (before.status, before.device):
                return True
        return False


def _status(schedule: Schedule, opening: Opening) -> Status | None:
    """What the schedule says then; None = nothing."""
    return (opening.status or schedule.status) if opening.is_open else None


def _scheduled(claims: tuple[Claim, ...], status: Status | None) -> tuple[Claim, ...]:
    """The claims while the schedule says this. A window with the same status keeps the place of its claim."""
    if status is None:
        return without(claims, SCHEDULED)
    if any(claim.name == SCHEDULED and claim.status == status for claim in claims):
        return claims
    return added(claims, Claim(SCHEDULED, "schedule", status, 0, 0, 0))
