"""One running server as the doctor is shown it: its status, its settings, its past, and the facts of the machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from presenced.config import difference
from presenced.config.certificate import read_certificate
from presenced.config.sources import DEFAULT
from presenced.ops import logs
from presenced.ops.doctor import Facts, Finding, diagnose
from presenced.ops.history import History
from presenced.ops.machine import memory, mode_of
from presenced.server.status import ServerStatus, WebhookStatus
from presenced.server.status_report import idle_kinds_unmet, take_status, zones_missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from presenced.server.server import Server


class Examination:
    """Asks the doctor about `server`; `history` tells what happened lately, and `webhooks` what comes of those."""

    def __init__(
        self, server: Server, history: History, webhooks: Callable[[], WebhookStatus | None] = lambda: None
    ) -> None:
        self._socket_path = ""
        """The admin socket; empty = there is none."""
        self._server = server
        self._history = history
        self._webhooks = webhooks

    def add_socket(self, path: str) -> None:
        """The admin socket is open at `path`."""
        self._socket_path = path

    def status(self) -> ServerStatus:
        """The server at this moment. Not while it starts. O(1) in links and users."""
        return take_status(self._server, log_lines_lost=logs.lost(), webhooks=self._webhooks())

    def findings(self, status: ServerStatus) -> list[Finding]:
        """What the doctor says of `status`. Reads a few small files."""
        facts = facts_of(self._server, status, self._socket_path)
        return diagnose(status, self._server.settings, facts, self._history.earlier(status))


def facts_of(server: Server, status: ServerStatus, socket_path: str) -> Facts:
    """The facts of the machine and the files, read now: a few small files."""
    used_bytes, max_bytes = memory()
    python = sys.version_info
    faults, waiting, grounds_chosen = configuration_now(server)
    return Facts(
        memory_bytes=used_bytes or status.rss_bytes,
        memory_max_bytes=max_bytes,
        config_faults=faults,
        config_waiting=waiting,
        reload_faults=server.stats.reload_faults,
        grounds_chosen=grounds_chosen,
        socket_path=socket_path,
        socket_mode=mode_of(socket_path),
        secret_mode=mode_of(server.settings.secret_file),
        webhook_secret_mode=mode_of(server.settings.webhooks_secret_file),
        zones_missing=zones_missing(server),
        idle_kinds_unmet=idle_kinds_unmet(server),
        certificate=server.certificate.warning() if server.certificate else "",
        certificate_said=server.certificate.describe() if server.certificate else "",
        certificate_waits=another_certificate(server),
        python=(python.major, python.minor, python.micro),
    )


def configuration_now(server: Server) -> tuple[list[str], list[str], bool]:
    """The faults of the configuration files as they are now, or else the keys that differ from the settings in force;
    and whether they say who may see whom."""
    if server.configuration is None:
        return [], [], False
    survey = server.configuration.look()
    grounds_chosen = survey.loaded.origins["visibility.grounds"] != DEFAULT
    if survey.faults:
        return list(survey.faults), [], grounds_chosen
    found = difference(server.settings, survey.loaded.settings)
    return [], [name for name, _, _ in (*found.applied, *found.needs_restart)], grounds_chosen


def another_certificate(server: Server) -> bool:
    """Whether the file holds another certificate than the one that links are shown."""
    if server.certificate is None:
        return False
    found = read_certificate(server.settings.tls_cert)
    return found is not None and found.digest != server.certificate.digest
