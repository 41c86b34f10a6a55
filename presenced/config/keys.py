"""The table of settings: each key once, with its kind, its bounds and its meaning.

Everything else follows from it: what a file and the environment may hold, the options of `presenced serve`, and what
`presenced config default` and `presenced config show` print. `Settings` has the defaults, field by field.

The file is long because it is one table, with what an operator reads of each key.
"""

from __future__ import annotations

from presenced import limits
from presenced.config.cluster_keys import CLUSTER_KEYS
from presenced.config.http_keys import HTTP_KEYS
from presenced.config.key import Key as Key
from presenced.config.kinds import (
    SOCKET_PATH_BYTES_MAX,
    Address,
    Bool,
    Choice,
    Choices,
    DurabilityText,
    Duration,
    Int,
    Mode,
    Path,
    Size,
    Text,
)
from presenced.config.store_keys import STORE_KEYS
from presenced.config.times_by_kind import Graces, IdleTimes
from presenced.config.webhook_keys import WEBHOOK_KEYS

HOUR_MS = 3_600_000
MEMORY_BYTES_MIN = 64 << 20
"""A daemon without a link uses 45 MiB: with a smaller budget it would refuse everybody for ever."""


SECTIONS = {
    "listen": "Where clients connect.",
    "auth": "Who may connect. One of dev, secret_file and keys is needed.",
    "heartbeat": "",
    "presence": "When a device counts as away, and as gone.",
    "visibility": "Who may see whom.",
    "change": "How often changes of one user are pushed to watchers.",
    "channels": "Who may be in channels, and who may watch them. Services always may.",
    "limits": "How much the daemon may use.",
    "storage": "What is saved, on disk or in Redis.",
    "events": "What is remembered of what happened.",
    "webhooks": "Where events are posted, as they happen.",
    "cluster": "Several daemons that are one server. Without cluster.url, and with one node, this daemon is alone.",
    "drain": "How the daemon stops.",
    "admin": "The socket of presencectl's commands for operators.",
    "http": "Browsers, requests over HTTP, metrics and health.",
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
        "listen.shared",
        "listen_shared",
        Bool(),
        "Other daemons of the same user may listen on listen.address and http.address as well, and the system deals "
        "out the connections among them (SO_REUSEPORT): for nodes of a cluster on one machine, which needs "
        "cluster.url.",
        "--shared",
    ),
    Key(
        "listen.tls_cert",
        "tls_cert",
        Path(credential=True),
        "Serve TLS (presences://) with this certificate chain. Each reload reads the file again; to turn TLS on or "
        "off takes a restart.",
        "--tls-cert",
        reloadable=True,
        metavar="FILE",
    ),
    Key(
        "listen.tls_key",
        "tls_key",
        Path(credential=True),
        "The certificate's private key. Each reload reads the file again.",
        "--tls-key",
        reloadable=True,
        metavar="FILE",
    ),
    Key(
        "listen.max_links",
        "max_links",
        Int(0, 1_000_000_000),
        "The most connections at a time; 0 = as many as the file-descriptor limit allows.",
        "--max-links",
        reloadable=True,
    ),
    Key(
        "listen.rate",
        "rate",
        Int(0, 1_000_000_000, otherwise="auto"),
        "Units of work per second that each user gets, over all connections; a small request is one unit. 0 = "
        f"unlimited, auto = {limits.RATE_UNITS_PER_S} for a user and {limits.SERVICE_RATE_UNITS_PER_S} for a service.",
        "--rate",
        reloadable=True,
    ),
    Key(
        "auth.dev",
        "dev",
        Bool(),
        "Development mode: believe the name and role that a client gives, without a token. Loopback only.",
        "--dev",
        is_shared=True,
    ),
    Key(
        "auth.secret_file",
        "secret_file",
        Path(credential=True),
        "The file with the keys that sign tokens, one on each line: the first key signs, and all of them are "
        "accepted. A key is the text of its line without white space around it, and base64 in it is not decoded. "
        "Each reload reads the file again. systemd copies a credential (credential:NAME) when the service starts, so "
        "a new one takes a restart.",
        "--secret-file",
        reloadable=True,
        secret=True,
        metavar="FILE",
        is_shared=True,
    ),
    Key(
        "auth.keys",
        "key_files",
        Path(credential=True),
        "Public keys of those who issue tokens (RS256, ES256, EdDSA): a PEM file, a JSON Web Key Set, or a directory "
        "of both. Tokens signed with any of these keys are accepted beside those of the secret file. Each reload reads "
        "the files again.",
        "--keys",
        reloadable=True,
        metavar="PATH",
        is_shared=True,
    ),
    Key(
        "auth.issuer",
        "issuer",
        Text("a text of at most 512 bytes", 512),
        "The issuer that tokens must name (claim iss); empty = any.",
        "--issuer",
        reloadable=True,
        metavar="NAME",
        is_shared=True,
    ),
    Key(
        "auth.audience",
        "audience",
        Text("a text of at most 512 bytes", 512),
        "The audience that tokens must name (claim aud); empty = any.",
        "--audience",
        reloadable=True,
        metavar="NAME",
        is_shared=True,
    ),
    Key(
        "heartbeat.interval",
        "heartbeat_ms",
        Duration(10),
        "How often clients are asked to send a heartbeat.",
        "--heartbeat",
        is_shared=True,
    ),
    Key(
        "presence.grace",
        "grace_ms",
        Duration(0),
        "How long a device that lost its link still counts as online.",
        "--grace",
        reloadable=True,
        is_shared=True,
    ),
    Key(
        "presence.kind_grace",
        "kind_grace",
        Graces(),
        "Grace for one kind of device, instead of presence.grace.",
        "--kind-grace",
        reloadable=True,
        metavar="KIND=GRACE",
        is_shared=True,
    ),
    Key(
        "presence.away_after",
        "away_after_ms",
        Duration(0, example="5m"),
        "Idle time after which a device counts as away; 0 = never.",
        "--away-after",
        is_shared=True,
    ),
    Key(
        "presence.offline_after",
        "offline_after_ms",
        Duration(0, example="1h"),
        "Idle time after which a connected device counts as offline; 0 = never.",
        "--offline-after",
        is_shared=True,
    ),
    Key(
        "presence.idle",
        "idle",
        IdleTimes(),
        "Idle times for one kind of device: away after, offline after.",
        "--idle",
        metavar="KIND=AWAY,OFFLINE",
        is_shared=True,
    ),
    Key(
        "visibility.grounds",
        "grounds",
        Choices("everyone", "contacts", "channels", "domain"),
        "For which reasons a user may see another, each of them enough: everyone = there need be none; contacts = the "
        "other has approved it; channels = both are in one channel; domain = both names have an @, and the same text "
        "behind the last one. What a token grants comes on top. Services see everybody whom their tokens let them.",
        "--see",
        metavar="GROUND[,GROUND]",
        is_shared=True,
    ),
    Key(
        "visibility.reciprocal",
        "reciprocal",
        Bool(),
        "Whoever withholds from another when they were last seen is not told that of the other either.",
        is_shared=True,
    ),
    Key(
        "change.spacing",
        "change_spacing_ms",
        Duration(0, example="200ms"),
        "The shortest time between two pushes of one user's record, once the burst is used up; 0 = none.",
        "--change-spacing",
        reloadable=True,
        is_shared=True,
    ),
    Key(
        "change.burst",
        "change_burst",
        Int(1, 1000),
        "How many changes of one user are pushed without that spacing.",
        "--change-burst",
        reloadable=True,
        is_shared=True,
    ),
    Key(
        "channels.join",
        "channels_join",
        Choice("anyone", "token", "service"),
        "Who may join a channel on a link of their own: anyone, only whose token names it, or only services for them. "
        "Nobody is put out by a change.",
        "--channels-join",
        reloadable=True,
        is_shared=True,
    ),
    Key(
        "channels.watch",
        "channels_watch",
        Choice("anyone", "token", "service"),
        "Who may watch a channel and list its members, likewise.",
        "--channels-watch",
        reloadable=True,
        is_shared=True,
    ),
    Key(
        "limits.memory",
        "memory_bytes",
        Size(MEMORY_BYTES_MIN, 1 << 50, "512MiB", zero=True, otherwise="auto"),
        "Memory that the daemon may use before it refuses new links and new state. Far beyond it, the daemon ends "
        f"the links that are owed most. 0 = no bound, auto = {limits.MEMORY_AUTO_PERCENT} % of the tightest limit of "
        "its control groups (MemoryHigh= and MemoryMax= of the unit, or of the container), or none if those have "
        "none.",
        reloadable=True,
    ),
    Key(
        "storage.directory",
        "data_dir",
        Path(what='a path, "auto", or "" for none,'),
        "The directory for the state, so that it survives a restart. Without it the state is in memory only. auto = "
        "the directory that the unit provides (StateDirectory=).",
        "--data-dir",
        metavar="DIR",
    ),
    Key(
        "storage.durability",
        "durability",
        DurabilityText(),
        "What an acknowledgement promises. always: on disk, nothing is lost. interval=1s: a power cut loses about "
        "the last second. os: a power cut loses what the system has not written, about 30 s. off: a power cut or a "
        "crash loses everything since the last snapshot. With all but off, a crash of the process loses nothing "
        "acknowledged.",
        "--durability",
        metavar="POLICY",
    ),
    Key(
        "storage.snapshot_every",
        "snapshot_every_ms",
        Duration(10, example="15m", zero=True),
        "The longest time between two snapshots, if anything was written meanwhile; 0 = by size alone.",
        reloadable=True,
    ),
    Key(
        "storage.snapshot_log",
        "snapshot_log_bytes",
        Size(1, 1 << 40, "64MiB"),
        "How much log is written before the next snapshot; or as much as the last snapshot has, if that is more.",
        reloadable=True,
    ),
    *STORE_KEYS,
    Key(
        "events.record",
        "events_record",
        Choice("always", "followed"),
        "When it is recorded what happens to users, for services that follow it and for questions about what was. "
        "always: at any time. followed: from when a service follows until none has for as long as events are kept.",
        "--events",
        is_shared=True,
    ),
    Key(
        "events.keep",
        "events_keep",
        Int(1_000, 100_000_000),
        "How many events are kept at least, in about 25 bytes each of memory and of each snapshot; fewer, if their "
        f"texts are so long that they take more than {limits.EVENT_BYTES} on average.",
        is_shared=True,
    ),
    Key(
        "events.keep_for",
        "events_keep_for_ms",
        Duration(60_000, example="1d"),
        "How long events are kept, if that is fewer. The oldest may stay a sixteenth longer.",
        is_shared=True,
    ),
    *WEBHOOK_KEYS,
    *CLUSTER_KEYS,
    Key(
        "drain.spread",
        "drain_spread_ms",
        Duration(0, HOUR_MS, example="5s"),
        "On a stop the links are closed one after the other over this time; few links take less.",
        "--drain-spread",
        reloadable=True,
    ),
    Key(
        "drain.timeout",
        "drain_timeout_ms",
        Duration(0, HOUR_MS, example="20s"),
        "A stop takes at most this long; links that are left then are cut off. "
        "Keep it below TimeoutStopSec= of the unit.",
        "--drain-timeout",
        reloadable=True,
    ),
    Key(
        "admin.socket",
        "admin_socket",
        Path(bytes_max=SOCKET_PATH_BYTES_MAX, what='a path, "auto", or "" for none,'),
        "The Unix socket for operators; auto = admin.sock in the runtime directory of the service or session.",
        "--admin-socket",
        metavar="PATH",
    ),
    Key("admin.mode", "admin_mode", Mode(), "The permission bits of the socket."),
    Key(
        "admin.group",
        "admin_group",
        Text('the name of a group, or "" for none', 64),
        "The group of the socket; empty = the daemon's own. In an installation that is presenced, and operators join "
        "it. Another group needs the drop-in admin-group.conf in the installed unit.",
    ),
    *HTTP_KEYS,
    Key(
        "log.level",
        "log_level",
        Choice("debug", "info", "warning", "error"),
        "The least severe lines that are logged.",
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
    Key("runtime.check", "check", Bool(), "Check every invariant after each turn (slow; for tests).", "--check"),
)

BY_NAME = {key.name: key for key in KEYS}
BY_FIELD = {key.field: key for key in KEYS}
BY_ENV = {key.env: key for key in KEYS}
