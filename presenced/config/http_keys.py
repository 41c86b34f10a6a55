"""The settings of what is served over HTTP, as a part of the table in `keys`."""

from __future__ import annotations

from presenced.config.key import Key
from presenced.config.kinds import Address, Bool, Choice, Int, Text

HTTP_KEYS: tuple[Key, ...] = (
    Key(
        "http.address",
        "http",
        Address(5251, optional=True),
        "Where to serve over HTTP: WebSockets (/ws), requests (/v1) and the client for browsers (/client/), and for "
        "the operator metrics, health and the status page, which anybody who reaches it can read; empty = nowhere.",
        "--http",
        metavar="HOST:PORT",
    ),
    Key(
        "http.own_address",
        "http_own",
        Address(5261, optional=True),
        "A second address for the same, which no other daemon shares: there the metrics and the status page of each of "
        "several nodes on one machine are. Empty = none.",
    ),
    Key(
        "http.hosts",
        "http_hosts",
        Text('names with commas between, such as "presence.example.org", "*" for any, or "" for none', 1024),
        "Further host names under which metrics and the status page are served. Addresses, localhost, the host of "
        "http.address and the name of this machine are known anyway. With any name, a stranger's page could read "
        "them in the browser of a person on this machine.",
        reloadable=True,
    ),
    Key(
        "http.pages",
        "http_pages",
        Choice("everyone", "loopback"),
        "Who may read metrics and the status page: everyone who reaches http.address, or clients on this machine. "
        "Health is told to all.",
        reloadable=True,
    ),
    Key(
        "http.websocket",
        "http_websocket",
        Bool(),
        "Whether clients, such as browsers, may come by WebSocket at /ws of http.address.",
    ),
    Key("http.api", "http_api", Bool(), "Whether programs may ask by HTTP at /v1 of http.address."),
    Key(
        "http.origins",
        "http_origins",
        Text('origins with commas between, such as "https://app.example.org", "*" for any, or "" for none', 2048),
        "Origins whose pages may use /ws and /v1 in a browser, besides the pages of http.address itself.",
        reloadable=True,
    ),
    Key(
        "http.trusted_proxies",
        "http_trusted_proxies",
        Text('addresses or networks with commas between, such as "10.0.0.0/8", or "" for none', 1024),
        "Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.",
        reloadable=True,
    ),
    Key("http.tls", "http_tls", Bool(), "Whether http.address speaks TLS, with the certificate of listen.tls_cert."),
    Key(
        "http.max_connections",
        "http_max_connections",
        Int(32, 100_000),
        "HTTP connections at a time, those of WebSockets not counted. Beyond it the one that is silent longest goes. "
        "One address has at most a quarter of them, unless it is this machine's or a trusted proxy's.",
    ),
)
