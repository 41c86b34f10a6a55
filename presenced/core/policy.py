"""The times that the semantics depend on, chosen by the operator and handed to the core once."""

from __future__ import annotations

from typing import Literal

import msgspec

from presenced import limits
from presenced.wire.messages import Role

EventsRule = Literal["always", "followed"]
"""When events are recorded: always; from when somebody follows them until nobody has for as long as they are kept."""

ChannelRule = Literal["anyone", "token", "service"]
"""Whom a channel is open to: every link; services, and users whose token names the channel; services."""


class Policy(msgspec.Struct):
    """Durations in milliseconds. 0 switches off where it says so.

    An engine has one of its own, which all its parts read where they need it: no part keeps a copy of a value.
    """

    heartbeat_ms: int = limits.HEARTBEAT_MS
    grace_ms: int = limits.GRACE_MS
    """From a lost link to the device counting as gone."""
    grace_by_kind: dict[str, int] = {}
    """Another grace for kinds of devices."""
    away_after_ms: int = limits.AWAY_AFTER_MS
    """Idle this long, an online device counts as away; 0 = never."""
    offline_after_ms: int = limits.OFFLINE_AFTER_MS
    """Idle this long, a device counts as offline though connected; 0 = never."""
    idle_by_kind: dict[str, tuple[int, int]] = {}
    """Other values of the two for kinds of devices: kind to (away_after_ms, offline_after_ms)."""
    kinds_met: dict[str, None] = {}
    """Kinds with times of their own with which a device has come."""
    change_spacing_ms: int = limits.CHANGE_SPACING_MS
    """Least time between two pushes of one user's record once the burst is spent; 0 = no spacing."""
    change_burst: int = limits.CHANGE_BURST
    primary_hysteresis_ms: int = limits.PRIMARY_HYSTERESIS_MS
    channels_join: ChannelRule = "anyone"
    """Who of the users' own links may join a channel."""
    channels_watch: ChannelRule = "anyone"
    """Who of the users' own links may watch a channel, and list its members."""
    watch_users_max: int = limits.WATCH_USERS_MAX
    service_watch_users_max: int = limits.SERVICE_WATCH_USERS_MAX
    grounds: tuple[str, ...] = ("everyone",)
    """Why a user may see another at all: `everyone`, `contacts`, `channels`, `domain`; any of them is enough."""
    events_record: EventsRule = "always"
    events_keep: int = limits.EVENTS_KEEP
    """Events that are kept, at least."""
    events_keep_for_ms: int = limits.EVENTS_KEEP_FOR_MS
    """For so long, if that is fewer."""
    sleep_after_ms: int = 0
    """Who has been offline for so long is put to sleep if nobody looks; 0 = nobody is."""
    reciprocal: bool = False
    """Who withholds their times from others does not see those of these others."""

    def take(self, other: Policy) -> bool:
        """Take over the grace, the spacing and the rules for channels of `other`; returns whether the spacing has
        changed. The other times stay, because deadlines in the wheel and promises in welcomes were made with them."""
        before = (self.change_spacing_ms, self.change_burst)
        self.grace_ms, self.grace_by_kind = other.grace_ms, other.grace_by_kind
        self.channels_join = other.channels_join
        self.channels_watch = other.channels_watch
        self.change_spacing_ms = other.change_spacing_ms
        self.change_burst = other.change_burst
        return (self.change_spacing_ms, self.change_burst) != before

    @property
    def timeout_ms(self) -> int:
        """The lease: silence this long ends a link. Two heartbeats may be lost and the third still be in time."""
        return self.heartbeat_ms * 5 // 2

    def watch_limit(self, role: Role) -> int:
        """Users that one link of this role may watch."""
        return self.watch_users_max if role == "user" else self.service_watch_users_max

    def has_times_of(self, kind: str) -> bool:
        """Whether devices of this kind have idle times or a grace of their own."""
        return kind in self.idle_by_kind or kind in self.grace_by_kind

    def grace_of(self, kind: str) -> int:
        """The grace of devices of this kind."""
        return self.grace_by_kind.get(kind, self.grace_ms)

    @property
    def grace_max_ms(self) -> int:
        """The longest grace of any kind."""
        return max(self.grace_ms, *self.grace_by_kind.values()) if self.grace_by_kind else self.grace_ms

    def idle_limits(self, kind: str) -> tuple[int, int]:
        """`away_after_ms` and `offline_after_ms` for devices of this kind."""
        if self.idle_by_kind and kind in self.idle_by_kind:
            return self.idle_by_kind[kind]
        return self.away_after_ms, self.offline_after_ms
