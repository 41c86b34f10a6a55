"""What an operator chose for webhooks, with what stands in the files that the settings name."""

from __future__ import annotations

import ssl
from typing import NamedTuple

from presenced.config.faults import SettingsError
from presenced.config.files import why_unread
from presenced.config.receiver import parse_receiver
from presenced.config.settings import Settings
from presenced.core.rights import Patterns, compiled
from presenced.server.keys import SecretError
from presenced.webhooks.http_client import Way
from presenced.webhooks.lanes import RetryRules
from presenced.webhooks.signatures import load_secrets


class Plan(NamedTuple):
    """Everything that is in force until the next reload."""

    way: Way
    secrets: tuple[bytes, ...]
    kinds: frozenset[str]
    """Empty = all."""
    users: Patterns
    rules: RetryRules
    concurrency: int
    timeout_ms: int


def read_plan(settings: Settings) -> Plan | None:
    """The plan of these settings; None if they have no URL. Reads files, for some milliseconds; for any thread.

    Raises `SettingsError` with all faults.
    """
    if not settings.webhooks_url:
        return None
    receiver = parse_receiver(settings.webhooks_url)
    faults: list[str] = []
    secrets: tuple[bytes, ...] = ()
    context: ssl.SSLContext | None = None
    # Whoever mends one fault must not meet the other at the next start.
    try:
        secrets = load_secrets(settings.webhooks_secret_file)
    except SecretError as error:
        faults.append(str(error))
    try:
        context = _context(settings.webhooks_ca_file) if receiver.scheme == "https" else None
    except SettingsError as error:
        faults += error.faults
    if faults:
        raise SettingsError(*faults)
    return Plan(
        Way(receiver, context, settings.webhooks_allow_private),
        secrets,
        frozenset(settings.webhooks_kinds),
        compiled(settings.webhooks_users),
        RetryRules(
            settings.webhooks_retry_ms,
            settings.webhooks_retry_max_ms,
            settings.webhooks_give_up_after_ms,
            settings.webhooks_batch,
        ),
        settings.webhooks_concurrency,
        settings.webhooks_timeout_ms,
    )


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except ssl.SSLError as error:
        # Before OSError, which it is too.
        raise SettingsError(f"webhooks.ca_file {ca_file} holds no certificate in PEM: {error.reason}") from None
    except OSError as error:
        raise SettingsError(f"webhooks.ca_file {ca_file} {why_unread(error)}") from None
