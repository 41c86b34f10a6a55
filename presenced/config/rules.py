"""Combinations of settings that cannot work or would not be safe. All that are broken are reported, not only the first.

Bounds of single keys stand in `keys`. No file is opened here.
"""

from __future__ import annotations

import grp
from collections.abc import Callable, Collection
from typing import NamedTuple

from presenced.config.faults import SettingsError
from presenced.config.hosts import is_loopback, parse_address
from presenced.config.keys import BY_FIELD, KEYS
from presenced.config.kinds import Fault, exact_duration
from presenced.config.settings import Settings

Say = Callable[[str], str]
"""How the reader knows a field of `Settings`: by its key, and by where it was given."""


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
            faults.append(f"{key.name} {fault}; give {key.kind.allowed}")
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


RULES = (
    Rule(("dev", "secret_file", "key_files"), _one_identity),
    Rule(("dev", "listen"), _dev_on_loopback),
    Rule(("tls_cert", "tls_key"), _tls_pair),
    Rule(("drain_spread_ms", "drain_timeout_ms"), _drain_fits),
    Rule(("admin_group",), _group_exists),
    Rule(("http", "listen"), _two_addresses),
)
