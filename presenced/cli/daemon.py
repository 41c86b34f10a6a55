"""The `presenced` command: run the daemon, make tokens."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import sys
import time
from importlib.metadata import version as package_version
from typing import Any, cast

import click

from presenced import limits
from presenced.address import DEFAULT_PORT, check_name
from presenced.cli.options import Duration
from presenced.cli.store import backup, store
from presenced.config.settings import Settings, SettingsError
from presenced.errors import AddressError
from presenced.server.durable import LogFailed
from presenced.server.identity import ROLES, SecretError, load_secret, mint
from presenced.server.listening import CannotListen
from presenced.server.server import Server
from presenced.storage.journal import DiskFull
from presenced.storage.manifest import ManifestError
from presenced.storage.recovery import DamageError
from presenced.storage.store import DirectoryError, Locked
from presenced.wire.messages import Role

EXIT_DAMAGE = 65
EXIT_FAILED = 70
EXIT_DIRECTORY = 73
EXIT_IO = 74
EXIT_BUSY = 75
EXIT_PERMISSION = 77
EXIT_CONFIG = 78

log = logging.getLogger("presenced")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_version("presenced"), prog_name="presenced")
def main() -> None:
    """A presence server: who is online, on which device, how available and since when, told at once."""


@main.command(
    epilog="Exit codes: 0 stopped cleanly, 2 usage, 65 acknowledged data is damaged, 70 internal failure, 73 the data "
    "directory cannot be used, 74 the disk failed, 75 port or data directory in use (try again), 77 no permission, "
    "78 configuration."
)
@click.option("--dev", is_flag=True, help="Try it out: believe the name and role that a client gives. Loopback only.")
@click.option("--listen", default=f"127.0.0.1:{DEFAULT_PORT}", show_default=True, metavar="HOST:PORT")
@click.option("--secret-file", default="", metavar="FILE", help="The secret that tokens are signed with.")
@click.option("--tls-cert", default="", metavar="FILE", help="Serve TLS (presences://) with this certificate chain.")
@click.option("--tls-key", default="", metavar="FILE", help="The certificate's private key.")
@click.option("--heartbeat", type=Duration(), default="30s", show_default=True, help="Interval asked of clients.")
@click.option("--grace", type=Duration(), default="15s", show_default=True, help="From lost link to offline.")
@click.option("--away-after", type=Duration(), default="5m", show_default=True, help="Idle time; 0 = never.")
@click.option("--offline-after", type=Duration(), default="1h", show_default=True, help="Idle time; 0 = never.")
@click.option(
    "--idle",
    multiple=True,
    metavar="KIND=AWAY,OFFLINE",
    help="Other idle times for a kind of device, such as mobile=10m,0; may be repeated.",
)
@click.option(
    "--change-spacing",
    type=Duration(),
    default="200ms",
    show_default=True,
    help="Least time between pushes of one user's record, beyond the burst; 0 = none.",
)
@click.option("--change-burst", type=int, default=limits.CHANGE_BURST, show_default=True)
@click.option(
    "--rate",
    type=click.IntRange(min=0),
    default=None,
    help=f"Frames per second of each link; 0 = unlimited. [default: {limits.RATE_FRAMES_PER_S}, services "
    f"{limits.SERVICE_RATE_FRAMES_PER_S}]",
)
@click.option("--max-links", type=click.IntRange(min=0), default=0, help="0 = by the file-descriptor limit.")
@click.option(
    "--data-dir",
    default="",
    metavar="DIR",
    help="Keep the state here, so that it survives a restart. Without it, memory only.",
)
@click.option(
    "--durability",
    default="always",
    show_default=True,
    metavar="POLICY",
    help="What an acknowledgement promises: always (on disk; loses nothing), interval=1s (a power cut loses about the "
    "last second), os (a power cut loses what the system had not written, about 30 s), off (anything since the last "
    "snapshot). A crash of the process alone loses nothing acknowledged but with off.",
)
@click.option("--check", is_flag=True, help="Verify every invariant after each turn (slow; for tests).")
@click.option("--loop", type=click.Choice(["uvloop", "asyncio"]), default="uvloop", show_default=True)
def serve(loop: str, **options: Any) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    Prints one line on standard output once it listens; everything else is logged on standard error. SIGUSR1 takes
    a snapshot of the data directory now.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    settings = Settings(
        **{_SETTING.get(name, name): value for name, value in options.items()},
    )
    try:
        server = Server(settings)
        with asyncio.Runner(loop_factory=_loop_factory(loop)) as runner:
            runner.run(_serve(server, loop))
    except Exception as error:
        _leave(*explain(error, settings))


def explain(error: Exception, settings: Settings) -> tuple[str, int]:
    """One sentence that says what to do, and the exit code."""
    match error:
        case SettingsError() | SecretError():
            return str(error), EXIT_CONFIG
        case CannotListen() if error.reason.errno == errno.EADDRINUSE:
            return (
                f"{settings.listen} is in use, perhaps by another presenced; stop that one, or choose another "
                "port with --listen",
                EXIT_BUSY,
            )
        case CannotListen():
            return f"cannot listen on {settings.listen}: {error}", EXIT_CONFIG
        case Locked():
            return str(error), EXIT_BUSY
        case DirectoryError():
            return str(error), EXIT_DIRECTORY
        case DamageError() | ManifestError():
            return f"refusing to start: {error}", EXIT_DAMAGE
        case LogFailed() | DiskFull():
            return f"the disk under {settings.data_dir} failed: {error}; free or replace it, then start again", EXIT_IO
        case PermissionError():
            return f"no permission for {error.filename or settings.data_dir}: {error.strerror}", EXIT_PERMISSION
        case OSError() if error.errno is not None and settings.data_dir:
            code = EXIT_DIRECTORY if error.errno in (errno.ENOTDIR, errno.EROFS, errno.ENOENT) else EXIT_IO
            return f"the data directory {settings.data_dir} cannot be used: {error.strerror}", code
    return f"stopped by an internal failure: {type(error).__name__}: {error}", EXIT_FAILED


_SETTING = {
    "heartbeat": "heartbeat_ms",
    "grace": "grace_ms",
    "away_after": "away_after_ms",
    "offline_after": "offline_after_ms",
    "change_spacing": "change_spacing_ms",
}
"""Options whose setting bears its unit."""


async def _serve(server: Server, loop_name: str) -> None:
    loop = asyncio.get_running_loop()
    stopping: list[asyncio.Task[None]] = []

    def on_signal(number: signal.Signals) -> None:
        if stopping:
            # Asked twice: now.
            os._exit(128 + number)
        log.info("%s: stopping", number.name)
        stopping.append(loop.create_task(server.stop()))

    await server.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    loop.add_signal_handler(signal.SIGUSR1, server.take_snapshot)
    settings = server.settings
    host, _ = settings.address()
    scheme = "presences" if settings.tls_cert else "presence"
    log.info(
        "presenced %s on Python %s, %s; at most %d links; %s%s",
        package_version("presenced"),
        sys.version.split()[0],
        loop_name,
        server.links_max,
        _storage(server),
        "; DEVELOPMENT MODE: every name is believed" if settings.dev else "",
    )
    for remark in server.recovered.remarks if server.recovered is not None else ():
        log.warning("%s: %s", settings.data_dir, remark)
    print(f"listening on {scheme}://{f'[{host}]' if ':' in host else host}:{server.port}", flush=True)
    await server.wait_stopped()
    log.info("stopped")


def _storage(server: Server) -> str:
    found = server.recovered
    if found is None:
        return "state in memory only"
    text = f"state in {server.settings.data_dir}, durability {server.settings.durability}"
    if found.snapshot or found.facts:
        text += f"; read {found.snapshot or 'no snapshot'} and {found.facts} facts of the log"
        text += " after a clean stop" if found.clean else " after an unclean stop"
    if found.torn_bytes:
        text += f"; dropped {found.torn_bytes} bytes that no acknowledgement waited for ({found.torn_at})"
    return text


def _loop_factory(name: str) -> Any:
    if name == "asyncio":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


@main.command()
@click.option("--user", required=True, help="Whom the token speaks for.")
@click.option("--role", type=click.Choice(ROLES), default="user", show_default=True)
@click.option("--ttl", type=Duration(), default="1d", show_default=True, help="How long it is valid.")
@click.option("--secret-file", required=True, metavar="FILE")
def token(user: str, role: str, ttl: int, secret_file: str) -> None:
    """Print a token (JWT, HS256) with which USER may connect."""
    try:
        check_name(user, "user")
        secret = load_secret(secret_file)
    except (AddressError, SecretError) as error:
        _leave(str(error), EXIT_CONFIG)
    if ttl < 1000:
        raise click.BadParameter("must be at least 1s", param_hint="--ttl")
    click.echo(mint(secret, user, cast(Role, role), int(time.time()), ttl // 1000))


def _leave(sentence: str, code: int) -> Any:
    print(f"presenced: {sentence}", file=sys.stderr)
    sys.exit(code)


main.add_command(store)
main.add_command(backup)
