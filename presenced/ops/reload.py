"""A new configuration for a running server: read and checked on a thread, then applied as a whole or not at all."""

from __future__ import annotations

import asyncio
import logging
import os
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from presenced.config import KEYS, Loaded, difference
from presenced.config.settings import Settings, SettingsError
from presenced.durations import format_duration
from presenced.ops import logs
from presenced.ops.threads import in_thread
from presenced.ops.webhook_host import WebhookHost
from presenced.server.keys import SecretError
from presenced.server.reconfiguration import Reconfiguration, prepare

if TYPE_CHECKING:
    from presenced.server.server import Server
    from presenced.webhooks.plan import Plan

ZONES_SHOWN_MAX = 5

READ_S = 30.0
"""How long a reload waits for its files. A local file comes at once, but one on a network may never come."""

log = logging.getLogger("presenced")


class ReloadReport(msgspec.Struct, frozen=True):
    """The result of a reload."""

    ok: bool
    applied: list[str] = []
    """Keys that have another value from now on, with both values."""
    needs_restart: list[str] = []
    """Keys that have changed and need a restart."""
    faults: list[str] = []
    """Why nothing was applied."""
    took_ms: int = 0
    kept: list[str] = []
    """Settings that stay as they were, and why."""
    warnings: list[str] = []
    """Settings that are in force now and need attention soon."""


class _Prepared(NamedTuple):
    reconfiguration: Reconfiguration
    applied: list[str]
    needs_restart: list[str]
    warnings: list[str]
    webhooks: Plan | None


async def reload(server: Server, webhooks: WebhookHost | None = None) -> ReloadReport:
    """Read the files, the environment and the flags again. A fault in any of them leaves everything as it was."""
    webhooks = webhooks or WebhookHost(server)
    began_ms, began_wall_ms = server.clocks.monotonic_ms(), server.clocks.wall_ms()
    if server.configuration is None:
        return ReloadReport(False, faults=["this server was started without a configuration that could be reloaded"])
    try:
        # On a thread: a certificate takes milliseconds to read, and links must not wait for it.
        async with asyncio.timeout(READ_S):
            loaded = await in_thread(server.configuration.load, "reload")
            prepared = await in_thread(partial(_prepare, server, loaded, webhooks), "reload")
    except TimeoutError:
        fault = f"the files could not be read within {READ_S:g} s; does the file system that they are on answer?"
        log.error("reload: %s", fault)
        return _rejected(server, [fault], began_ms)
    except (SettingsError, SecretError) as error:
        faults = str(error).splitlines()
        for fault in faults:
            log.error("reload: %s", fault)
        return _rejected(server, faults, began_ms)
    except Exception as error:
        log.error("reload: an internal failure", exc_info=True)
        return _rejected(server, [f"an internal failure: {type(error).__name__}: {error}"], began_ms)
    kept = _kept(server, prepared.reconfiguration.settings)
    try:
        await _apply(server, prepared.reconfiguration)
        webhooks.adopt(prepared.webhooks)
    except Exception as error:
        server.stats.note_broken_reload()
        log.critical("reload: an internal failure while it was applied; restart the daemon", exc_info=True)
        fault = f"an internal failure while it was applied ({type(error).__name__}: {error}); restart the daemon"
        return ReloadReport(False, faults=[fault], took_ms=_since_ms(server, began_ms))
    mended = _mended(server, server.stats.note_reload(began_wall_ms))
    report = ReloadReport(
        True, prepared.applied, prepared.needs_restart, [], _since_ms(server, began_ms), kept, prepared.warnings
    )
    for line in report.applied:
        log.info("reload: %s", line)
    for line in report.needs_restart:
        log.warning("reload: %s needs a restart", line)
    for line in report.warnings:
        log.warning("reload: %s", line)
    for line in report.kept:
        log.info("reload: %s", line)
    log.info("reload: done in %d ms%s%s", report.took_ms, "" if report.applied else "; nothing new", mended)
    return report


def _mended(server: Server, failed_ms: int) -> str:
    """Words for the log if reloads had been refused since `failed_ms`; empty if it is 0."""
    if not failed_ms:
        return ""
    ago = format_duration(max(1000, _since_ms(server, failed_ms)))
    return f"; the faults of {ago} ago are mended"


def _rejected(server: Server, faults: list[str], began_ms: int) -> ReloadReport:
    server.stats.note_refused_reload(began_ms, faults)
    log.error("reload: nothing has changed; the old configuration stays in force")
    return ReloadReport(False, faults=faults, took_ms=_since_ms(server, began_ms))


def _kept(server: Server, new: Settings) -> list[str]:
    """Settings that a reload cannot change, and a level that was set by hand."""
    kept = _kept_by_hand(server.settings, new)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
    for name, path in (
        ("auth.secret_file", new.secret_file),
        ("auth.keys", new.key_files),
        ("listen.tls_key", new.tls_key),
        ("webhooks.secret_file", new.webhooks_secret_file),
    ):
        if credentials and path.startswith(f"{credentials}/"):
            kept.append(f"{name} is a credential, which systemd copied at the start: a new one needs a restart")
    return kept


def _kept_by_hand(old: Settings, new: Settings) -> list[str]:
    """A level that was set with `presencectl loglevel` stays until log.level changes in the configuration."""
    level = logs.level()
    if new.log_level != old.log_level or level == new.log_level:
        return []
    undo = f"`presencectl loglevel {new.log_level}` undoes it"
    return [f"log.level: {level} was set by hand and stays; the configuration says {new.log_level} ({undo})"]


def _prepare(server: Server, loaded: Loaded, webhooks: WebhookHost) -> _Prepared:
    """Do everything that can fail. Raises `SettingsError`, `SecretError`."""
    new, old = loaded.settings, server.settings
    found = difference(old, new)
    changed = {name for name, _, _ in found.applied}
    settings = msgspec.structs.replace(
        old, **{key.field: getattr(new, key.field) for key in KEYS if key.name in changed}
    )
    to, plan = prepare(settings), webhooks.read(settings)
    applied = [_change(*change) for change in found.applied]
    applied += server.active.keys.difference(to.keys)
    applied += webhooks.difference(plan)
    certificate = to.tls.certificate if to.tls is not None and server.active.tls is not None else None
    if certificate is not None and certificate != server.certificate:
        applied.append(f"listen.tls_cert: another certificate, {certificate.describe()}")
    warnings = [certificate.warning()] if certificate is not None and certificate.warning() else []
    needs_restart = [f"{name}: {before} -> {after}" for name, before, after in found.needs_restart]
    if to.zones.changed:
        applied.append(f"time zones with other rules: {_names(sorted(to.zones.changed))}")
    if to.zones.gone:
        warnings.append(f"this machine no longer knows the time zone {_names(to.zones.gone)}; schedules there are off")
    log.debug("reload: read %s; %d links at most", ", ".join(loaded.files) or "no file", to.links_max)
    return _Prepared(to, applied, needs_restart, warnings, plan)


_EMPTY = '""'
"""An empty value as a change shows it."""


def _change(name: str, before: str, after: str) -> str:
    """A change in words. There may be a secret in an URL, and many people read logs."""
    if name != "webhooks.url":
        return f"{name}: {before} -> {after}"
    if after == _EMPTY:
        return f"{name}: none any more"
    return f"{name}: {'one, and none before' if before == _EMPTY else 'another one'}"


def _names(zones: list[str]) -> str:
    more = len(zones) - ZONES_SHOWN_MAX
    return ", ".join(zones[:ZONES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


async def _apply(server: Server, to: Reconfiguration) -> None:
    """Apply what was checked: the form of the log here, and everything else in the server."""
    old, new = server.settings, to.settings
    logs.configure(new.log_format, new.log_level if new.log_level != old.log_level else logs.level())
    await server.reconfigure(to)


def _since_ms(server: Server, since_ms: int) -> int:
    return server.clocks.monotonic_ms() - since_ms
