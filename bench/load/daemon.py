"""The daemon, with the settings that all loads share."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from bench.machine.process import START_TIMEOUT_S
from bench.machine.server import Server

READY = r"listening on presences?://127\.0\.0\.1:(\d+)"
COMMON = {
    "--listen": "127.0.0.1:0",
    "--change-spacing": "0",
    "--rate": "0",
    "--heartbeat": "10m",
    "--away-after": "1h",
}
"""No spacing, no rate limit, leases longer than any run."""


def start_daemon(
    core: int,
    options: tuple[str, ...] = (),
    *,
    secret_file: Path | None = None,
    timeout_s: float = START_TIMEOUT_S,
    environment: Mapping[str, str] | None = None,
) -> Server:
    """The daemon on a port of its own, with `options` added, of which the last of several counts. It believes every
    name, or with `secret_file`, as an operator runs it, nobody without a token. `environment` is added to ours."""
    trust = ["--dev"] if secret_file is None else ["--secret-file", str(secret_file)]
    # The daemon takes each option once, and profiles and tests change what others have set.
    chosen = COMMON | dict(zip(options[::2], options[1::2], strict=True))
    words = [word for option in chosen.items() for word in option]
    command = [sys.executable, "-m", "presenced", "serve", *trust, *words]
    return Server(command, core, READY, timeout_s=timeout_s, strict=True, environment=environment)
