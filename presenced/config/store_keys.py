"""The settings of a store in Redis, as a part of the table in `keys`."""

from __future__ import annotations

from presenced.config.engine_url import ClusterName, EngineUrl
from presenced.config.key import Key
from presenced.config.kinds import Bool, Path

STORE_KEYS: tuple[Key, ...] = (
    Key(
        "storage.url",
        "storage_url",
        EngineUrl("storage"),
        "A Redis (7.0 or later) or Valkey (7.2 or later) that keeps the state instead of storage.directory, for a "
        "daemon that may come back on another machine. An acknowledgement waits until the engine has it, whatever "
        "storage.durability says; what a restart of the engine keeps is for the engine to say (appendonly yes). It "
        "needs the extra presenced[cluster].",
        "--storage",
        metavar="URL",
    ),
    Key(
        "storage.prefix",
        "storage_prefix",
        ClusterName(),
        "What the names of all keys in that engine begin with. Several daemons may keep their state in one engine, "
        "each under a prefix of its own; nothing else in it is touched.",
    ),
    Key(
        "storage.takeover",
        "storage_takeover",
        Bool(),
        "Take the state over from another daemon that keeps it and still lives, at once; that one ends. Without it "
        "this daemon is refused while the other one lives, and goes on from its state some seconds after its end. For "
        "one start, not for a file.",
        "--takeover",
    ),
    Key(
        "storage.password_file",
        "storage_password_file",
        Path(credential=True),
        "The file with the password of that engine, in its first line; empty = it needs none.",
        secret=True,
    ),
    Key(
        "storage.tls_ca",
        "storage_tls_ca",
        Path(credential=True),
        "Certificates in PEM of those who may vouch for that engine; empty = the system's.",
    ),
    Key(
        "storage.tls_cert",
        "storage_tls_cert",
        Path(credential=True),
        "The certificate by which that engine knows this daemon; empty = none.",
    ),
    Key("storage.tls_key", "storage_tls_key", Path(credential=True), "The private key of that certificate."),
)
