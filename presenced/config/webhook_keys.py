"""The settings of webhooks, as a part of the table in `keys`."""

from __future__ import annotations

from typing import get_args

from presenced.config.key import Key
from presenced.config.kinds import Bool, Choices, Duration, Int, Path
from presenced.config.receiver import ReceiverUrl, UserPatterns
from presenced.config.settings import WebhookEvent

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

WEBHOOK_KEYS: tuple[Key, ...] = (
    Key(
        "webhooks.url",
        "webhooks_url",
        ReceiverUrl(),
        "Where events are posted; empty = nowhere. The daemon posts each event of a user after the one before was "
        "accepted, signed, at least once. It follows no redirects and asks no proxy. An http:// URL needs "
        "webhooks.allow_private.",
        reloadable=True,
        secret=True,
    ),
    Key(
        "webhooks.secret_file",
        "webhooks_secret_file",
        Path(credential=True),
        "The file with the secrets that sign deliveries, one on each line: base64 of 24 to 64 bytes, with or without "
        "whsec_ before it. Every secret signs, so that a new one can take over. Each reload reads the file again.",
        reloadable=True,
        secret=True,
    ),
    Key(
        "webhooks.kinds",
        "webhooks_kinds",
        Choices(*get_args(WebhookEvent)),
        "Which kinds of events are posted; none = all. That events were lost is always told.",
        reloadable=True,
    ),
    Key(
        "webhooks.users",
        "webhooks_users",
        UserPatterns(),
        "Whose events are posted.",
        reloadable=True,
    ),
    Key(
        "webhooks.batch",
        "webhooks_batch",
        Int(1, 100),
        "How many events one request may carry. 1: the body is one JSON object. More: it is an array of them.",
        reloadable=True,
    ),
    Key(
        "webhooks.concurrency",
        "webhooks_concurrency",
        Int(1, 64),
        "How many requests may be under way at a time, for different users.",
        reloadable=True,
    ),
    Key(
        "webhooks.timeout",
        "webhooks_timeout_ms",
        Duration(100, HOUR_MS // 12, example="10s"),
        "How long one try may take, from looking up the address to the status of the answer.",
        reloadable=True,
    ),
    Key(
        "webhooks.retry",
        "webhooks_retry_ms",
        Duration(10, HOUR_MS, example="1s"),
        "The longest pause after a first failure. It doubles with each further failure; the pause is drawn between 0 "
        "and that.",
        reloadable=True,
    ),
    Key(
        "webhooks.retry_max",
        "webhooks_retry_max_ms",
        Duration(10, HOUR_MS, example="5m"),
        "No pause between two tries is longer, but for one that the receiver asks for (Retry-After, up to 1 h).",
        reloadable=True,
    ),
    Key(
        "webhooks.give_up_after",
        "webhooks_give_up_after_ms",
        Duration(0, 30 * DAY_MS, example="1d"),
        "An event that was not accepted for this long since its first try is given up as a dead letter.",
        reloadable=True,
    ),
    Key(
        "webhooks.ca_file",
        "webhooks_ca_file",
        Path(credential=True),
        "Certificates in PEM of those who may vouch for the receiver; empty = the system's. Each reload reads the file "
        "again.",
        reloadable=True,
    ),
    Key(
        "webhooks.allow_private",
        "webhooks_allow_private",
        Bool(),
        "Whether the receiver may have an address that is not of the public internet, such as loopback or a private "
        "network. Otherwise no connection is made to such an address, whatever the name resolves to.",
        reloadable=True,
    ),
)
