"""What an operator chooses for a server, in one value that is checked before anything is opened."""

from __future__ import annotations

import socket
from typing import Literal

import msgspec

from presenced import limits
from presenced.address import DEFAULT_PORT
from presenced.config.durability import Durability as Durability
from presenced.config.engine_url import name_of
from presenced.config.faults import Fault, SettingsError as SettingsError
from presenced.config.hosts import parse_address
from presenced.config.times_by_kind import Graces, IdleTimes
from presenced.core.policy import ChannelRule, EventsRule, Policy

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "text", "journal", "json"]
WebhookEvent = Literal[
    "online", "offline", "status_change", "text_change", "device_change", "contact_request", "contact_change", "erased"
]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What each means is said in `keys`, and where it needs more, here; durations are in milliseconds."""

    listen: str = f"127.0.0.1:{DEFAULT_PORT}"
    listen_shared: bool = False
    """Whether other daemons may listen on the same addresses."""
    dev: bool = False
    secret_file: str = ""
    key_files: str = ""
    issuer: str = ""
    audience: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    heartbeat_ms: int = limits.HEARTBEAT_MS
    grace_ms: int = limits.GRACE_MS
    kind_grace: tuple[str, ...] = ()
    """Another grace for kinds of devices: KIND=GRACE each, such as mobile=2m."""
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
    storage_url: str = ""
    """Where the state is kept instead of `data_dir`; empty = nowhere."""
    storage_prefix: str = "presenced"
    storage_takeover: bool = False
    storage_password_file: str = ""
    storage_tls_ca: str = ""
    storage_tls_cert: str = ""
    storage_tls_key: str = ""
    events_record: EventsRule = "always"
    events_keep: int = limits.EVENTS_KEEP
    events_keep_for_ms: int = limits.EVENTS_KEEP_FOR_MS
    webhooks_url: str = ""
    """Empty: events are posted nowhere."""
    webhooks_secret_file: str = ""
    webhooks_kinds: tuple[str, ...] = ()
    """Of `WebhookEvent`; none = all."""
    webhooks_users: tuple[str, ...] = ("*",)
    webhooks_batch: int = 1
    webhooks_concurrency: int = 8
    webhooks_timeout_ms: int = 10_000
    webhooks_retry_ms: int = 1_000
    webhooks_retry_max_ms: int = 300_000
    webhooks_give_up_after_ms: int = 24 * 3_600_000
    webhooks_ca_file: str = ""
    webhooks_allow_private: bool = False
    cluster_url: str = ""
    """Empty: the daemon is alone."""
    cluster_node: str = ""
    """Empty: the name of the machine; see `node_name`."""
    cluster_prefix: str = "presenced"
    cluster_lease_ms: int = limits.CLUSTER_LEASE_MS
    cluster_linger_ms: int = limits.CLUSTER_LINGER_MS
    cluster_ack: Literal["engine", "replica", "disk"] = "engine"
    cluster_password_file: str = ""
    cluster_tls_ca: str = ""
    cluster_tls_cert: str = ""
    cluster_tls_key: str = ""
    nodes: int = 1
    """More than one: `presenced serve` starts so many processes, each with settings of its own."""
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
    http_own: str = ""
    """HOST:PORT of a second address that is never shared; empty = none."""
    http_hosts: str = ""
    """More names for it, with commas between."""
    http_pages: Literal["everyone", "loopback"] = "everyone"
    """Who may read metrics and the status page."""
    http_websocket: bool = True
    """Whether clients may come by WebSocket there."""
    http_api: bool = True
    """Whether programs may ask there by HTTP."""
    http_origins: str = ""
    """Origins of other pages that may use both, with commas between; `*` = any."""
    http_trusted_proxies: str = ""
    """Addresses and networks whose word is taken for who asks, with commas between."""
    http_tls: bool = False
    """Whether it speaks TLS, with the certificate of the clients' listener."""
    http_max_connections: int = limits.HTTP_CONNECTIONS_MAX
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
            grace_by_kind=self.grace_by_kind(),
            away_after_ms=self.away_after_ms,
            offline_after_ms=self.offline_after_ms,
            idle_by_kind=self.idle_by_kind(),
            change_spacing_ms=self.change_spacing_ms,
            change_burst=self.change_burst,
            channels_join=self.channels_join,
            channels_watch=self.channels_watch,
            grounds=self.grounds,
            reciprocal=self.reciprocal,
            events_record=self.events_record,
            events_keep=self.events_keep,
            events_keep_for_ms=self.events_keep_for_ms,
            sleep_after_ms=limits.SLEEP_AFTER_MS,
        )

    def idle_by_kind(self) -> dict[str, tuple[int, int]]:
        """What `idle` says, as numbers of milliseconds; raises `SettingsError`."""
        try:
            return IdleTimes().by_kind(self.idle)
        except Fault as fault:
            raise SettingsError(f"presence.idle {fault}; give {IdleTimes.allowed}") from None

    def grace_by_kind(self) -> dict[str, int]:
        """What `kind_grace` says, as numbers of milliseconds; raises `SettingsError`."""
        try:
            return Graces().by_kind(self.kind_grace)
        except Fault as fault:
            raise SettingsError(f"presence.kind_grace {fault}; give {Graces.allowed}") from None

    @property
    def has_demo(self) -> bool:
        """Whether the HTTP listener has the demo at `/`: in development alone, and where a browser can connect."""
        return self.dev and self.http_websocket

    @property
    def node_name(self) -> str:
        """The name of this daemon in a cluster."""
        return self.cluster_node or name_of(socket.gethostname())

    def http_names(self) -> tuple[str, ...]:
        """By which names the metrics may be asked for, in small letters; `*` = by any."""
        given = (name.strip().lower() for name in self.http_hosts.split(","))
        own = (
            self.http.rpartition(":")[0].lower(),
            self.http_own.rpartition(":")[0].lower(),
            socket.gethostname().lower(),
        )
        return tuple(name for name in (*own, *given) if name)

    def address(self) -> tuple[str, int]:
        """Host and port to listen on; raises `SettingsError`."""
        try:
            return parse_address(self.listen)
        except ValueError:
            raise SettingsError(f"{self.listen!r} is not HOST:PORT, such as 127.0.0.1:{DEFAULT_PORT}") from None
