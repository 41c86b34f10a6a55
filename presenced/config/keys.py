"""The table of settings: each key once, with its kind, its bounds and its meaning.

Everything else is made of it: what a file and the environment may hold, the options of `presenced serve`, the
commented file of `presenced config default`, and what `presenced config show` prints. The defaults are those of
`Settings`, field by field.
"""

from __future__ import annotations

from typing import NamedTuple

from presenced import limits
from presenced.config.idle_times import IdleTimes
from presenced.config.kinds import (
    SOCKET_PATH_BYTES_MAX,
    Address,
    Bool,
    Choice,
    DurabilityText,
    Duration,
    Int,
    Kind,
    Mode,
    Path,
    Size,
    Text,
)

ENV_PREFIX = "PRESENCED_"
HOUR_MS = 3_600_000
MEMORY_BYTES_MIN = 64 << 20
"""A daemon without a single link takes 45 MiB: with less it would refuse everybody for ever."""

IDLE = "presence.idle"
"""The one key that is a table: a key for each kind of device stands below it."""


class Key(NamedTuple):
    """One setting."""

    name: str
    """`section.key`, as in the file."""
    field: str
    """Of `Settings`."""
    kind: Kind
    doc: str
    flag: str = ""
    """The option of `presenced serve`; empty = none."""
    reloadable: bool = False
    """Whether a reload applies it; otherwise a change needs a restart."""
    secret: bool = False
    """What is given here must not be repeated: somebody may have put the secret itself."""
    metavar: str | None = None

    @property
    def section(self) -> str:
        return self.name.partition(".")[0]

    @property
    def last(self) -> str:
        """The name within its section."""
        return self.name.partition(".")[2]

    @property
    def env(self) -> str:
        return ENV_PREFIX + self.name.upper().replace(".", "__")

    @property
    def parameter(self) -> str:
        """The option's name as an identifier: what `load` takes it by."""
        return self.flag.removeprefix("--").replace("-", "_")


SECTIONS = {
    "listen": "Where clients connect.",
    "auth": "Who may connect. One of the two is needed.",
    "heartbeat": "",
    "presence": "When a device counts as away, and as gone.",
    "change": "How often changes of one user are pushed to those who watch.",
    "limits": "How much the daemon may take.",
    "storage": "What is kept on disk.",
    "drain": "How the daemon stops.",
    "admin": "The socket of presencectl's commands for operators.",
    "http": "Metrics and health.",
    "log": "",
    "runtime": "",
}
"""Each section with what it is about, in the order of the file."""

KEYS: tuple[Key, ...] = (
    Key(
        "listen.address",
        "listen",
        Address(),
        "Where to listen; port 0 = any free one.",
        "--listen",
        metavar="HOST:PORT",
    ),
    Key(
        "listen.tls_cert",
        "tls_cert",
        Path(credential=True),
        "Serve TLS (presences://) with this certificate chain. The file is read anew on every reload; to begin with "
        "TLS, or to end it, needs a restart.",
        "--tls-cert",
        reloadable=True,
        metavar="FILE",
    ),
    Key(
        "listen.tls_key",
        "tls_key",
        Path(credential=True),
        "The certificate's private key. The file is read anew on every reload.",
        "--tls-key",
        reloadable=True,
        metavar="FILE",
    ),
    Key(
        "listen.max_links",
        "max_links",
        Int(0, 1_000_000_000),
        "Connections at a time; 0 = as many as the file-descriptor limit allows.",
        "--max-links",
        reloadable=True,
    ),
    Key(
        "listen.rate",
        "rate",
        Int(0, 1_000_000_000, otherwise="auto"),
        "Units of work per second of each user, over all connections; a small request is one. 0 = unlimited, auto = "
        f"{limits.RATE_UNITS_PER_S}, and {limits.SERVICE_RATE_UNITS_PER_S} of a service.",
        "--rate",
        reloadable=True,
    ),
    Key(
        "auth.dev",
        "dev",
        Bool(),
        "Try it out: believe the name and role that a client gives. Loopback only.",
        "--dev",
    ),
    Key(
        "auth.secret_file",
        "secret_file",
        Path(credential=True),
        "The secret that tokens are signed with: the text of this file without white space around it; no base64 in it "
        "is decoded. Each line is a key: the first one signs, and all are accepted. The file is read anew on every "
        "reload; but a credential (credential:NAME) is copied by systemd when the service starts, so a new one needs "
        "a restart.",
        "--secret-file",
        reloadable=True,
        secret=True,
        metavar="FILE",
    ),
    Key("heartbeat.interval", "heartbeat_ms", Duration(10), "Interval asked of clients.", "--heartbeat"),
    Key("presence.grace", "grace_ms", Duration(0), "From lost link to offline.", "--grace", reloadable=True),
    Key("presence.away_after", "away_after_ms", Duration(0, example="5m"), "Idle time; 0 = never.", "--away-after"),
    Key(
        "presence.offline_after",
        "offline_after_ms",
        Duration(0, example="1h"),
        "Idle time after which a connected device counts as offline; 0 = never.",
        "--offline-after",
    ),
    Key(
        IDLE,
        "idle",
        IdleTimes(),
        "Other idle times for a kind of device: away after, offline after.",
        "--idle",
        metavar="KIND=AWAY,OFFLINE",
    ),
    Key(
        "change.spacing",
        "change_spacing_ms",
        Duration(0, example="200ms"),
        "Least time between pushes of one user's record, beyond the burst; 0 = none.",
        "--change-spacing",
        reloadable=True,
    ),
    Key(
        "change.burst",
        "change_burst",
        Int(1, 1000),
        "Changes of one user that are pushed at once.",
        "--change-burst",
        reloadable=True,
    ),
    Key(
        "limits.memory",
        "memory_bytes",
        Size(MEMORY_BYTES_MIN, 1 << 50, "512MiB", zero=True, otherwise="auto"),
        f"Memory that the daemon may use before it refuses what needs more: new links, new state; far over it, it ends "
        f"the links that are owed most. 0 = no bound, auto = {limits.MEMORY_AUTO_PERCENT} % of the tightest limit of "
        "its control groups (MemoryHigh=, MemoryMax= of the unit, the container's), none if those set none.",
        reloadable=True,
    ),
    Key(
        "storage.directory",
        "data_dir",
        Path(what='a path, "auto", or "" for none,'),
        "Keep the state here, so that it survives a restart. Without it, memory only. auto = the directory that the "
        "unit has for it (StateDirectory=).",
        "--data-dir",
        metavar="DIR",
    ),
    Key(
        "storage.durability",
        "durability",
        DurabilityText(),
        "What an acknowledgement promises: always (on disk; loses nothing), interval=1s (a power cut loses about the "
        "last second), os (a power cut loses what the system had not written, about 30 s), off (anything since the "
        "last snapshot). A crash of the process alone loses nothing acknowledged but with off.",
        "--durability",
        metavar="POLICY",
    ),
    Key(
        "storage.snapshot_every",
        "snapshot_every_ms",
        Duration(10, example="15m", zero=True),
        "A snapshot at least this often, if anything was written since the last; 0 = by size alone.",
        reloadable=True,
    ),
    Key(
        "storage.snapshot_log",
        "snapshot_log_bytes",
        Size(1, 1 << 40, "64MiB"),
        "A snapshot when this much log was written since the last, or as much as the last snapshot has if that is "
        "more.",
        reloadable=True,
    ),
    Key(
        "drain.spread",
        "drain_spread_ms",
        Duration(0, HOUR_MS, example="5s"),
        "On a stop the links are closed one after the other over this time; fewer links take less.",
        "--drain-spread",
        reloadable=True,
    ),
    Key(
        "drain.timeout",
        "drain_timeout_ms",
        Duration(0, HOUR_MS, example="20s"),
        "Stopping takes no longer than this: what is left is cut off. Keep it below TimeoutStopSec= of the unit.",
        "--drain-timeout",
        reloadable=True,
    ),
    Key(
        "admin.socket",
        "admin_socket",
        Path(bytes_max=SOCKET_PATH_BYTES_MAX, what='a path, "auto", or "" for none,'),
        "Path of the Unix socket; auto = admin.sock in the runtime directory of the service or session.",
        "--admin-socket",
        metavar="PATH",
    ),
    Key("admin.mode", "admin_mode", Mode(), "Who may use the socket, as permission bits."),
    Key(
        "admin.group",
        "admin_group",
        Text('the name of a group, or "" for none', 64),
        "The group that the socket belongs to; empty = the daemon's own, which is presenced when installed: operators "
        "join it. In the installed unit another group takes the drop-in admin-group.conf.",
    ),
    Key(
        "http.address",
        "http",
        Address(optional=True),
        "Serve /metrics, /healthz and the like here; empty = not at all. Anybody who reaches it can read it.",
        "--http",
        metavar="HOST:PORT",
    ),
    Key(
        "http.hosts",
        "http_hosts",
        Text('names with commas between, such as "presence.example.org", "*" for any, or "" for none', 1024),
        "Other names by which /metrics and the status page may be asked for. Addresses, localhost, the host of "
        "http.address and the name of this machine are known. Any name would let a page of a stranger read them in the "
        "browser of somebody here.",
        reloadable=True,
    ),
    Key(
        "log.level",
        "log_level",
        Choice("debug", "info", "warning", "error"),
        "How much is logged.",
        "--log-level",
        reloadable=True,
    ),
    Key(
        "log.format",
        "log_format",
        Choice("auto", "text", "journal", "json"),
        "How lines are written on standard error; auto = journal if that is systemd's journal, else text.",
        "--log-format",
        reloadable=True,
    ),
    Key("runtime.loop", "loop", Choice("uvloop", "asyncio"), "The event loop.", "--loop"),
    Key("runtime.check", "check", Bool(), "Verify every invariant after each turn (slow; for tests).", "--check"),
)

BY_NAME = {key.name: key for key in KEYS}
BY_FIELD = {key.field: key for key in KEYS}
BY_ENV = {key.env: key for key in KEYS}
