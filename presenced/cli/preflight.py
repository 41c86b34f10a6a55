"""Finds all faults of the settings, and of the files and addresses that they name, before a daemon opens anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from presenced.cli.as_user import as_user, hidden_from_the_service
from presenced.config import Settings, SettingsError
from presenced.config.faults import printable
from presenced.config.files import UnusableFile, read_regular, why_unread
from presenced.config.hosts import is_loopback, parse_address
from presenced.config.kinds import CREDENTIAL
from presenced.config.loader import ConfigSurvey
from presenced.config.toml_text import FILE_BYTES_MAX
from presenced.server.key_files import load_key_files
from presenced.server.keys import SecretError, load_keys
from presenced.server.listeners import links_possible, resolve
from presenced.server.tls import load_tls


def all_faults(survey: ConfigSurvey, *, passed: frozenset[str] = frozenset(), user: str = "") -> list[str]:
    """The faults of the settings, then those of the addresses and files that they name, one sentence each.

    Reads the files, as `user` if one is given, and asks the resolver. `passed` names the sockets that systemd opened:
    their addresses are not checked. Credentials of a unit are not checked if this process cannot see them. Raises what
    `as_user` raises.
    """
    settings = survey.loaded.settings
    faults = [*survey.faults]
    if "client" not in passed and (not settings.dev or is_loopback(settings.address()[0])):
        # With dev, a host that is not loopback is already reported as a fault of the settings.
        faults += _tried(lambda: resolve(*settings.address()))
    if settings.http and "http" not in passed:
        faults += _tried(lambda: resolve(*parse_address(settings.http), "http.address"))
    if settings.http_own:
        faults += _tried(lambda: resolve(*parse_address(settings.http_own), "http.own_address"))
    if user:
        return [*faults, *as_user(user, lambda: [*_unread(survey), *_hidden(settings), *_faults_of_files(settings)])]
    return [*faults, *_faults_of_files(settings)]


def fault_of_limit(settings: Settings) -> list[str]:
    """A sentence if this process may not open as many files as the settings want links; else nothing."""
    return list(_tried(lambda: links_possible(settings)))


def _unread(survey: ConfigSurvey) -> Iterator[str]:
    """Faults of the configuration files themselves: they have been read already, but perhaps as another user."""
    for path in survey.loaded.files:
        try:
            read_regular(path, FILE_BYTES_MAX)
        except (OSError, ValueError, UnusableFile) as error:
            yield f"{printable(path)}: {why_unread(error)}"


def _hidden(settings: Settings) -> Iterator[str]:
    yield from hidden_from_the_service("listen.tls_cert", settings.tls_cert)
    yield from hidden_from_the_service("listen.tls_key", settings.tls_key)
    if settings.webhooks_url:
        yield from hidden_from_the_service("webhooks.secret_file", settings.webhooks_secret_file)
        yield from hidden_from_the_service("webhooks.ca_file", settings.webhooks_ca_file)
    for section, is_used in (("cluster", settings.cluster_url), ("storage", settings.storage_url)):
        for last in ("password_file", "tls_ca", "tls_cert", "tls_key") if is_used else ():
            yield from hidden_from_the_service(f"{section}.{last}", getattr(settings, f"{section}_{last}"))
    if not settings.dev:
        yield from hidden_from_the_service("the secret file", settings.secret_file)
        yield from hidden_from_the_service("auth.keys", settings.key_files)


def _faults_of_files(settings: Settings) -> Iterator[str]:
    if settings.tls_cert and settings.tls_key and not _is_credential(settings.tls_cert, settings.tls_key):
        yield from _tried(lambda: load_tls(settings))
    if settings.secret_file and not settings.dev and not _is_credential(settings.secret_file):
        yield from _tried(lambda: load_keys(settings.secret_file))
    if settings.key_files and not settings.dev and not _is_credential(settings.key_files):
        yield from _tried(lambda: load_key_files(settings.key_files))
    # Without a secret file a rule of the settings says what is wrong.
    secret_file = settings.webhooks_secret_file
    if settings.webhooks_url and secret_file and not _is_credential(secret_file, settings.webhooks_ca_file):
        yield from _tried(lambda: _plan_of_webhooks(settings))
    if settings.cluster_url:
        yield from _faults_of_engine(settings, "cluster")
    elif settings.nodes > 1:
        yield from _faults_of_own_engine()
    if settings.storage_url:
        yield from _faults_of_engine(settings, "storage")


def _faults_of_engine(settings: Settings, section: str) -> Iterator[str]:
    # Late: most daemons need none.
    from presenced.server.engine_access import faults_of_access

    files = (getattr(settings, f"{section}_{last}") for last in ("password_file", "tls_ca", "tls_cert", "tls_key"))
    if not _is_credential(*files):
        yield from faults_of_access(settings, section)


def _faults_of_own_engine() -> Iterator[str]:
    from presenced.nodes.own_engine import NO_PROGRAM, find_program
    from presenced.server.engine_access import faults_of_library

    yield from faults_of_library()
    if not find_program():
        yield NO_PROGRAM


def _plan_of_webhooks(settings: Settings) -> object:
    # Late: most configurations have none.
    from presenced.webhooks.plan import read_plan

    return read_plan(settings)


def _tried(attempt: Callable[[], object]) -> Iterator[str]:
    try:
        attempt()
    except SettingsError as error:
        yield from error.faults
    except SecretError as error:
        yield str(error)


def _is_credential(*paths: str) -> bool:
    """Whether one of the paths is a credential that only the unit can see."""
    return any(path.startswith(CREDENTIAL) for path in paths)
