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
from presenced.durations import parse_duration_ms
from presenced.errors import AddressError
from presenced.server.identity import ROLES, SecretError, load_secret, mint
from presenced.server.server import Server
from presenced.server.settings import Settings, SettingsError
from presenced.wire.messages import Role

EXIT_FAILED = 70
EXIT_PORT = 75
EXIT_CONFIG = 78

log = logging.getLogger("presenced")


class Duration(click.ParamType[int]):
    """A duration such as 90s, 5m or 200ms, as milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Milliseconds, or a usage error that says what can be written."""
        if isinstance(value, int):
            return value
        try:
            return parse_duration_ms(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_version("presenced"), prog_name="presenced")
def main() -> None:
    """A presence server: who is online, on which device, how available and since when, told at once."""


@main.command(
    epilog="Exit codes: 0 stopped cleanly, 2 usage, 70 internal failure, 75 port in use (try again), 78 configuration."
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
@click.option("--check", is_flag=True, help="Verify every invariant after each turn (slow; for tests).")
@click.option("--loop", type=click.Choice(["uvloop", "asyncio"]), default="uvloop", show_default=True)
def serve(loop: str, **options: Any) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    Prints one line on standard output once it listens; everything else is logged on standard error.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    settings = Settings(
        **{_SETTING.get(name, name): value for name, value in options.items()},
    )
    try:
        server = Server(settings)
        with asyncio.Runner(loop_factory=_loop_factory(loop)) as runner:
            runner.run(_serve(server, loop))
    except (SettingsError, SecretError) as error:
        _leave(str(error), EXIT_CONFIG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            _leave(
                f"{settings.listen} is in use, perhaps by another presenced; stop that one, or choose another "
                "port with --listen",
                EXIT_PORT,
            )
        _leave(f"cannot listen on {settings.listen}: {error.strerror or error}", EXIT_CONFIG)
    except Exception as error:
        _leave(f"stopped by an internal failure: {type(error).__name__}: {error}", EXIT_FAILED)


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
    settings = server.settings
    host, _ = settings.address()
    scheme = "presences" if settings.tls_cert else "presence"
    log.info(
        "presenced %s on Python %s, %s; at most %d links; state in memory only%s",
        package_version("presenced"),
        sys.version.split()[0],
        loop_name,
        server.links_max,
        "; DEVELOPMENT MODE: every name is believed" if settings.dev else "",
    )
    print(f"listening on {scheme}://{f'[{host}]' if ':' in host else host}:{server.port}", flush=True)
    await server.wait_stopped()
    log.info("stopped")


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
