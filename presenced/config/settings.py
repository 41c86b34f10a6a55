"""What an operator chooses for a server, in one value that is checked before anything is opened."""

from __future__ import annotations

import socket
from typing import Literal

import msgspec

from presenced import limits
from presenced.address import DEFAULT_PORT
from presenced.config.durability import Durability as Durability
from presenced.config.faults import SettingsError as SettingsError
from presenced.config.hosts import parse_address
from presenced.config.idle_times import IdleTimes
from presenced.config.kinds import Fault
from presenced.core.policy import ChannelRule, Policy

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "text", "journal", "json"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What each means is said in `keys`, and where it needs more, here; durations are in milliseconds."""

    listen: str = f"127.0.0.1:{DEFAULT_PORT}"
    dev: bool = False
    secret_file: str = ""
    key_files: str = ""
    issuer: str = ""
    audience: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    heartbeat_ms: int = limits.HEARTBEAT_MS
    grace_ms: int = limits.GRACE_MS
    away_after_ms: int = limits.AWAY_AFTER_MS
    offline_after_ms: int = limits.OFFLINE_AFTER_MS
    idle: tuple[str, ...] = ()
    """Other idle times for kinds of devices: KIND=AWAY,OFFLINE each, such as mobile=10m,0."""
    grounds: tuple[str, ...] = ("everyone",)
    """Of everyone, contacts, channels and domain."""
    reciprocal: bool = False
    change_spacing_ms: int = limits.CHANGE_SPACING_MS
    change_burst: int = limits.CHANGE_BURST
    channels_join: ChannelRule = "anyone"
    channels_watch: ChannelRule = "anyone"
    rate: int | None = None
    """Units of work per second of each user, over all links; 0 = unlimited, None = by role."""
    max_links: int = 0
    """0 = as many as the file-descriptor limit allows."""
    memory_bytes: int | None = None
    """0 = no budget, None = by the control groups."""
    data_dir: str = ""
    """Empty: state lives in memory only."""
    durability: str = "always"
    snapshot_every_ms: int = limits.SNAPSHOT_EVERY_MS
    """A snapshot at least this often, if anything was written since the last; 0 = by size alone."""
    snapshot_log_bytes: int = limits.SNAPSHOT_LOG_BYTES
    """A snapshot when this much log (or as much as the last snapshot, if that is more) was written since the last."""
    drain_spread_ms: int = limits.DRAIN_SPREAD_MS
    """Over this time the links are closed one after the other when the daemon stops; fewer links take less."""
    drain_timeout_ms: int = limits.DRAIN_TIMEOUT_MS
    """Stopping takes no longer than this: what is left is cut off."""
    admin_socket: str = ""
    """Path of the Unix socket of `presencectl status` and the like; empty = none, `auto` = `admin_path()`."""
    admin_mode: int = 0o660
    admin_group: str = ""
    """The socket's group; empty = the daemon's own."""
    http: str = ""
    """HOST:PORT of metrics and health; empty = none."""
    http_hosts: str = ""
    """More names for it, with commas between."""
    log_level: LogLevel = "info"
    log_format: LogFormat = "auto"
    """`auto` = `journal` if standard error is the journal, else `text`."""
    loop: Literal["uvloop", "asyncio"] = "uvloop"
    check: bool = False

    def policy(self) -> Policy:
        """The part that the core needs."""
        return Policy(
            heartbeat_ms=self.heartbeat_ms,
            grace_ms=self.grace_ms,
            away_after_ms=self.away_after_ms,
            offline_after_ms=self.offline_after_ms,
            idle_by_kind=self.idle_by_kind(),
            change_spacing_ms=self.change_spacing_ms,
            change_burst=self.change_burst,
            channels_join=self.channels_join,
            channels_watch=self.channels_watch,
            grounds=self.grounds,
            reciprocal=self.reciprocal,
        )

    def idle_by_kind(self) -> dict[str, tuple[int, int]]:
        """What `idle` says, as numbers of milliseconds; raises `SettingsError`."""
        try:
            return IdleTimes().by_kind(self.idle)
        except Fault as fault:
            raise SettingsError(f"presence.idle {fault}; give {IdleTimes.allowed}") from None

    def http_names(self) -> tuple[str, ...]:
        """By which names the metrics may be asked for, in small letters; `*` = by any."""
        given = (name.strip().lower() for name in self.http_hosts.split(","))
        own = (self.http.rpartition(":")[0].lower(), socket.gethostname().lower())
        return tuple(name for name in (*own, *given) if name)

    def address(self) -> tuple[str, int]:
        """Host and port to listen on; raises `SettingsError`."""
        try:
            return parse_address(self.listen)
        except ValueError:
            raise SettingsError(f"{self.listen!r} is not HOST:PORT, such as 127.0.0.1:{DEFAULT_PORT}") from None
