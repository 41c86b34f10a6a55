"""Combinations of settings that cannot work or would not be safe. All that are broken are reported, not only the first.

Bounds of single keys stand in `keys`. No file is opened here.
"""

from __future__ import annotations

import grp
import ipaddress
from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

from presenced.config.cluster_rules import (
    CLUSTER_FIELDS,
    nodes_have_ports,
    own_address_is_another,
    sharing_needs_cluster,
)
from presenced.config.engine_rules import (
    Say,
    one_store,
    store_of_one,
    tls_is_a_pair,
    tls_is_meant,
    users_have_passwords,
)
from presenced.config.faults import Fault, SettingsError
from presenced.config.hosts import is_loopback, parse_address
from presenced.config.keys import BY_FIELD, KEYS
from presenced.config.kinds import exact_duration
from presenced.config.settings import Settings


class Rule(NamedTuple):
    """`broken` returns the fault, or nothing. It is not asked if one of `fields` is itself at fault."""

    fields: tuple[str, ...]
    broken: Callable[[Settings, Say], str]


def validate(settings: Settings) -> None:
    """Raise `SettingsError` with every value that is out of bounds, else with every combination that cannot work or
    would not be safe."""
    faults = broken_bounds(settings) or broken_rules(settings, lambda field: BY_FIELD[field].name)
    if faults:
        raise SettingsError(*faults)


def broken_bounds(settings: Settings) -> list[str]:
    """A fault for each field that is out of its own bounds."""
    faults = []
    for key in KEYS:
        try:
            key.kind.check(getattr(settings, key.field))
        except Fault as fault:
            faults.append(f"{key.name} {fault.and_advice(key.kind.allowed)}")
    return faults


def broken_rules(settings: Settings, say: Say, at_fault: Collection[str] = ()) -> list[str]:
    """A fault for each rule that is broken. Fields `at_fault` have no value to be judged by."""
    found = (rule.broken(settings, say) for rule in RULES if not any(field in at_fault for field in rule.fields))
    return [fault for fault in found if fault]


def _one_identity(settings: Settings, say: Say) -> str:
    for field in ("secret_file", "key_files"):
        if settings.dev and getattr(settings, field):
            return f"{say('dev')} believes every name, so {say(field)} would be ignored; give one of the two"
    if not (settings.dev or settings.secret_file or settings.key_files):
        return (
            "no setting says how to check who a client is: give --dev to try things out on this machine, or "
            "--secret-file FILE (auth.secret_file) for tokens made by `presenced token`, or --keys PATH (auth.keys) "
            "with the public keys of an issuer"
        )
    return ""


def _dev_on_loopback(settings: Settings, say: Say) -> str:
    host, _ = settings.address()
    if not settings.dev or is_loopback(host):
        return ""
    return (
        f"{say('dev')} believes every name, so it allows only loopback addresses, but {say('listen')} is on {host}; "
        "listen on 127.0.0.1:PORT, or give a secret file instead"
    )


def _tls_pair(settings: Settings, say: Say) -> str:
    if bool(settings.tls_cert) == bool(settings.tls_key):
        return ""
    there, missing = ("tls_cert", "tls_key") if settings.tls_cert else ("tls_key", "tls_cert")
    key = BY_FIELD[missing]
    return f"{say(there)} and {key.name} ({key.flag}) go together; {key.name} is missing"


def _drain_fits(settings: Settings, say: Say) -> str:
    if settings.drain_timeout_ms >= settings.drain_spread_ms:
        return ""
    return (
        f"{say('drain_timeout_ms')} is {exact_duration(settings.drain_timeout_ms)} and would cut off what "
        f"{say('drain_spread_ms')} spreads over {exact_duration(settings.drain_spread_ms)}; make it at least as long"
    )


def _nobody_flaps(settings: Settings, say: Say) -> str:
    """A person is known to be active by the heartbeats alone: if idle times are over between two of them, everybody is
    away, or gone, until the next. Programs that never say how long nobody was there are not concerned."""
    times = [
        ("away_after_ms", "away", settings.away_after_ms),
        ("offline_after_ms", "offline", settings.offline_after_ms),
    ]
    for kind, pair in settings.idle_by_kind().items():
        times += [("idle", f"away on devices of the kind {kind}", pair[0])]
        times += [("idle", f"offline on devices of the kind {kind}", pair[1])]
    for field, what, after_ms in times:
        if 0 < after_ms <= settings.heartbeat_ms:
            after, interval = exact_duration(after_ms), exact_duration(settings.heartbeat_ms)
            return (
                f"{say('heartbeat_ms')} is {interval} and {say(field)} is {after}, so that people who are there would "
                f"be {what} from {after} after each heartbeat until the next; make the interval shorter, or the idle "
                "time longer"
            )
    return ""


def _group_exists(settings: Settings, say: Say) -> str:
    if not settings.admin_group:
        return ""
    try:
        grp.getgrnam(settings.admin_group)
    except KeyError:
        return f"{say('admin_group')}: this machine has no group {settings.admin_group!r}; make it or name another"
    return ""


def _two_addresses(settings: Settings, say: Say) -> str:
    if not settings.http or parse_address(settings.http) != settings.address() or settings.address()[1] == 0:
        return ""
    return f"{say('http')} is the address that {say('listen')} has; give one of them another port"


def _dev_http_on_loopback(settings: Settings, say: Say) -> str:
    if not settings.dev or not settings.http or not (settings.http_websocket or settings.http_api):
        return ""
    host, _ = parse_address(settings.http)
    if is_loopback(host):
        return ""
    return (
        f"{say('dev')} believes every name, also at /ws and /v1, so it allows only loopback addresses, but "
        f"{say('http')} is on {host}; give it 127.0.0.1:PORT, or set http.websocket and http.api to false"
    )


def _http_tls_has_certificate(settings: Settings, say: Say) -> str:
    if not settings.http_tls or settings.tls_cert:
        return ""
    return f"{say('http_tls')} needs a certificate; give tls.cert and tls.key, or let a proxy speak TLS"


def _origins_are_origins(settings: Settings, say: Say) -> str:
    for origin in (word.strip() for word in settings.http_origins.split(",")):
        scheme, found, host = origin.rstrip("/").partition("://")
        if origin and origin != "*" and not (found and scheme in ("http", "https") and host and "/" not in host):
            return f"{say('http_origins')}: {origin!r} is no origin; write it such as https://app.example.org"
    return ""


def _proxies_are_networks(settings: Settings, say: Say) -> str:
    for word in (word.strip() for word in settings.http_trusted_proxies.split(",")):
        try:
            ipaddress.ip_network(word or "127.0.0.1", strict=False)
        except ValueError:
            return f"{say('http_trusted_proxies')}: {word!r} is no address and no network, such as 10.0.0.0/8"
    return ""


def _webhooks_are_signed(settings: Settings, say: Say) -> str:
    if not settings.webhooks_url or settings.webhooks_secret_file:
        return ""
    return f"{say('webhooks_url')} needs webhooks.secret_file: a receiver must be able to tell who posts to it"


def _webhooks_are_private(settings: Settings, say: Say) -> str:
    if not settings.webhooks_url.startswith("http:") or settings.webhooks_allow_private:
        return ""
    return (
        f"{say('webhooks_url')} is http://, which everybody on the way can read; use https://, or set "
        "webhooks.allow_private for a receiver on this machine or in your own network"
    )


def _webhooks_retry(settings: Settings, say: Say) -> str:
    if settings.webhooks_retry_ms <= settings.webhooks_retry_max_ms:
        return ""
    return f"{say('webhooks_retry_ms')} is longer than {say('webhooks_retry_max_ms')}; make it at most as long"


RULES = (
    Rule(("dev", "secret_file", "key_files"), _one_identity),
    Rule(("dev", "listen"), _dev_on_loopback),
    Rule(("tls_cert", "tls_key"), _tls_pair),
    Rule(("drain_spread_ms", "drain_timeout_ms"), _drain_fits),
    Rule(("heartbeat_ms", "away_after_ms", "offline_after_ms", "idle"), _nobody_flaps),
    Rule(("admin_group",), _group_exists),
    Rule(("http", "listen"), _two_addresses),
    Rule(("dev", "http"), _dev_http_on_loopback),
    Rule(("http_tls",), _http_tls_has_certificate),
    Rule(("http_origins",), _origins_are_origins),
    Rule(("http_trusted_proxies",), _proxies_are_networks),
    Rule(("webhooks_url", "webhooks_secret_file"), _webhooks_are_signed),
    Rule(("webhooks_url", "webhooks_allow_private"), _webhooks_are_private),
    Rule(("webhooks_retry_ms", "webhooks_retry_max_ms"), _webhooks_retry),
    Rule(("listen_shared", "cluster_url"), sharing_needs_cluster),
    Rule(("cluster_url", "cluster_password_file"), users_have_passwords),
    Rule(("cluster_url", "cluster_tls_ca", "cluster_tls_cert", "cluster_tls_key"), tls_is_meant),
    Rule(("cluster_tls_cert", "cluster_tls_key"), tls_is_a_pair),
    Rule(("storage_url", "data_dir"), one_store),
    Rule(("storage_url", *CLUSTER_FIELDS), store_of_one),
    Rule(("storage_url", "storage_password_file"), partial(users_have_passwords, section="storage")),
    Rule(
        ("storage_url", "storage_tls_ca", "storage_tls_cert", "storage_tls_key"),
        partial(tls_is_meant, section="storage"),
    ),
    Rule(("storage_tls_cert", "storage_tls_key"), partial(tls_is_a_pair, section="storage")),
    Rule(("http_own", "http", "listen"), own_address_is_another),
    Rule(("nodes", "http_own", "http", "listen"), nodes_have_ports),
)
