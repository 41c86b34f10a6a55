"""What an operator chooses for a server, in one value that is checked before anything is opened."""

from __future__ import annotations

import ipaddress
from typing import Literal, cast

import msgspec

from presenced import limits
from presenced.address import DEFAULT_PORT
from presenced.core.policy import Policy
from presenced.durations import parse_duration_ms

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "text", "journal", "json"]


class SettingsError(Exception):
    """Settings that cannot work; each sentence says which, why, and what to do."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


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
            if 1 <= interval_ms <= 3_600_000:
                return cls("interval", interval_ms)
        elif policy in ("always", "os", "off") and not interval:
            return cls(cast(Literal["always", "os", "off"], policy))
        raise SettingsError(
            f"--durability {text!r} is none of always, interval=DURATION (such as interval=1s, at most 1h), os, off"
        )


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """See `presenced serve --help` for the meaning of each; durations are in milliseconds."""

    listen: str = f"127.0.0.1:{DEFAULT_PORT}"
    dev: bool = False
    secret_file: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    heartbeat_ms: int = limits.HEARTBEAT_MS
    grace_ms: int = limits.GRACE_MS
    away_after_ms: int = limits.AWAY_AFTER_MS
    offline_after_ms: int = limits.OFFLINE_AFTER_MS
    idle: tuple[str, ...] = ()
    """Other idle times for kinds of devices: KIND=AWAY,OFFLINE each, such as mobile=10m,0."""
    change_spacing_ms: int = limits.CHANGE_SPACING_MS
    change_burst: int = limits.CHANGE_BURST
    rate: int | None = None
    """Frames per second of each link; 0 = unlimited, None = by role."""
    max_links: int = 0
    """0 = as many as the file-descriptor limit allows."""
    data_dir: str = ""
    """Empty: state lives in memory only."""
    durability: str = "always"
    snapshot_every_ms: int = 900_000
    """A snapshot at least this often, if anything was written since the last; 0 = by size alone."""
    snapshot_log_bytes: int = 64 << 20
    """A snapshot when this much log (or as much as the last snapshot, if that is more) was written since the last."""
    drain_spread_ms: int = 5_000
    """Over this time the links are closed one after the other when the daemon stops; fewer links take less."""
    drain_timeout_ms: int = 20_000
    """Stopping takes no longer than this: what is left is cut off."""
    admin_socket: str = ""
    """Path of the Unix socket of `presencectl status` and the like; empty = none, `auto` = `admin_path()`."""
    admin_mode: int = 0o660
    admin_group: str = ""
    """The socket's group; empty = the daemon's own."""
    http: str = ""
    """HOST:PORT of metrics and health; empty = none."""
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
        )

    def idle_by_kind(self) -> dict[str, tuple[int, int]]:
        """What `idle` says, as numbers; raises `SettingsError`."""
        by_kind = {}
        for text in self.idle:
            kind, equals, times = text.partition("=")
            away, comma, offline = times.partition(",")
            try:
                if not (kind and equals and comma):
                    raise ValueError("a part is missing")
                by_kind[kind] = (parse_duration_ms(away), parse_duration_ms(offline))
            except ValueError as error:
                raise SettingsError(
                    f"--idle {text!r} is not KIND=AWAY,OFFLINE such as mobile=10m,0 ({error})"
                ) from None
        return by_kind

    def address(self) -> tuple[str, int]:
        """Host and port to listen on; raises `SettingsError`."""
        host, colon, port = self.listen.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            raise SettingsError(f"--listen {self.listen!r} is not HOST:PORT, such as 127.0.0.1:{DEFAULT_PORT}")
        return host, int(port)

    def validate(self) -> None:
        """Raise `SettingsError` for combinations that cannot work or would not be safe."""
        host, _ = self.address()
        if self.dev and self.secret_file:
            raise SettingsError("--dev believes every name, so --secret-file would be ignored; give one of the two")
        if self.dev and not is_loopback(host):
            raise SettingsError(
                f"--dev believes every name and so listens on loopback only, not on {host}; "
                "use --listen 127.0.0.1:PORT, or --secret-file FILE instead of --dev"
            )
        if not self.dev and not self.secret_file:
            raise SettingsError(
                "no identity is configured: give --secret-file FILE (tokens are made by `presenced token`), "
                "or --dev to try things out on this machine"
            )
        if bool(self.tls_cert) != bool(self.tls_key):
            raise SettingsError("--tls-cert and --tls-key go together; one of them is missing")
        Durability.parse(self.durability)
        self.idle_by_kind()
        for name, value, least in (
            ("--heartbeat", self.heartbeat_ms, 10),
            ("--grace", self.grace_ms, 0),
            ("--away-after", self.away_after_ms, 0),
            ("--offline-after", self.offline_after_ms, 0),
            ("--change-spacing", self.change_spacing_ms, 0),
        ):
            if not least <= value <= limits.DURATION_MS_MAX:
                raise SettingsError(f"{name} must be from {least} ms to 366 days")
        if not 1 <= self.change_burst <= 1000:
            raise SettingsError("--change-burst must be from 1 to 1000")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
