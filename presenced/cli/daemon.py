"""The `presenced` command: it runs the daemon. Settings, data directories and tokens have modules of their own."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import socket
import sys
import time
from functools import partial
from typing import Any, NoReturn

import click

from presenced import __version__
from presenced.cli.asides import in_lines
from presenced.cli.config import concerns, config as config_group
from presenced.cli.ends import EXIT_CONFIG, explain
from presenced.cli.group import Commands, discard_stdout
from presenced.cli.preflight import all_faults, fault_of_limit
from presenced.cli.settings import config_option, setting_options
from presenced.cli.signals import FOR_THE_DAEMON
from presenced.config import Configuration, Loaded, Settings, SettingsError
from presenced.config.settings import LogFormat
from presenced.ops import logs
from presenced.ops.activation import take_sockets, unused_addresses
from presenced.ops.checks.program import concern_about
from presenced.ops.operations import Operations
from presenced.ops.threads import in_thread
from presenced.server.collector import Collector
from presenced.server.server import Server

PAUSE_S = 1.0

SAY_S = 0.2
"""How long the loop waits at the start for the reader of the log."""

UNREAD_S = 2.0
"""After this time standard output counts as unread. The loop goes on meanwhile."""

OPENS_ITS_OWN = (
    "cluster.nodes: each node opens its own sockets, and the socket units pass some; disable them (systemctl disable "
    "--now presenced.socket)"
)

log = logging.getLogger("presenced")


@click.group(
    "presenced",
    cls=Commands,
    modules={
        "presenced.cli.store": ("store", "backup"),
        "presenced.cli.dashboard": ("dashboard",),
        "presenced.cli.token": ("token",),
        "presenced.cli.openapi": ("openapi",),
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="presenced")
@click.pass_context
def main(context: click.Context) -> None:
    """A presence server. It tells at once who is online, on which device, how available and since when."""
    if context.invoked_subcommand != "serve":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_THE_DAEMON)


@main.command(
    epilog="Exit codes: 0 stopped cleanly, 2 usage, 65 acknowledged data is damaged, 70 internal failure, 73 the data "
    "directory cannot be used, 74 the disk or the store failed, 75 port, data directory or store in use, address or "
    "engine not there yet, or given up by the other nodes (try again), 77 no permission, 78 configuration, or another "
    "daemon has taken the store or the name of the node."
)
@config_option
@setting_options
def serve(config: str | None, **flags: Any) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    It prints one line on standard output when it listens, and logs everything else on standard error. Settings come
    from a file (see `presenced config default`), from the environment and from the options below, and the later source
    wins. SIGHUP reads them again. SIGUSR1 takes a snapshot of the data directory. While the data directory is read at
    the start, SIGTERM and SIGINT end the daemon at once, with exit code 0, and SIGHUP waits until it serves.
    """
    # systemd's watchdog ends a process that is stuck by SIGABRT; the traceback then goes to standard error.
    faulthandler.enable()
    configuration = Configuration(flags, os.environ, config)
    survey = configuration.survey()
    loaded, settings = survey.loaded, survey.loaded.settings
    sockets: dict[str, socket.socket] = {}
    faults: list[str] = []
    try:
        sockets = take_sockets(os.environ)
    except SettingsError as error:
        faults += error.faults
    # All faults at once, so that an operator who mends one does not meet the next at the next start.
    faults += [*all_faults(survey, passed=frozenset(sockets)), *fault_of_limit(settings)]
    if sockets and settings.nodes > 1:
        faults.append(OPENS_ITS_OWN)
    if faults:
        _leave(faults, EXIT_CONFIG, settings.log_format, is_activated=bool(sockets))
    if settings.cluster_url:
        logs.name_node(settings.node_name)
    logs.configure(settings.log_format, settings.log_level)
    for note in (*loaded.notes, *unused_addresses(sockets, loaded)):
        log.warning("%s", note)
    try:
        if settings.nodes > 1:
            _serve_nodes(settings, flags, config)
        # asyncio's own transports are garbage in cycles when they close, and the collector must find old ones too.
        collector = Collector() if settings.loop == "uvloop" else None
        server = Server(settings, configuration=configuration, listener=sockets.get("client"), collector=collector)
        operations = Operations(server, environ=os.environ, sockets=sockets)
        with asyncio.Runner(loop_factory=_loop_factory(settings.loop)) as runner:
            runner.run(_serve(server, operations, loaded, collector))
        logs.flush()
    except Exception as error:
        sentences, code = explain(error, settings)
        _leave(sentences.splitlines(), code, settings.log_format, is_activated=bool(sockets))


def _serve_nodes(settings: Settings, flags: dict[str, Any], config: str | None) -> NoReturn:
    """Run several nodes, and end the process with the exit code of all. Raises as a single daemon."""
    # Late: most daemons are alone.
    from presenced.cli.supervision import serve_nodes

    code = serve_nodes(settings, flags, config, say_where=_say_where)
    logs.flush()
    sys.exit(code)


async def _serve(server: Server, operations: Operations, loaded: Loaded, collector: Collector | None) -> None:
    loop = asyncio.get_running_loop()
    asked: list[signal.Signals] = []
    leaving: list[asyncio.Task[None]] = []

    def on_signal(number: signal.Signals) -> None:
        if asked:
            # The second signal ends the process at once.
            logs.flush()
            os._exit(128 + number)
        asked.append(number)
        if server.state == "starting":
            leaving.append(loop.create_task(_leave_early(operations, number)))
        else:
            log.info("%s: stopping", number.name)
            server.begin_stop()

    # The handlers come before the start, because a data directory may take long to read.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    loop.add_signal_handler(signal.SIGHUP, operations.begin_reload)
    loop.add_signal_handler(signal.SIGUSR1, server.take_snapshot)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_THE_DAEMON)
    try:
        await _run(server, operations, loaded, collector)
    finally:
        # The handlers end with the loop, and the process has to end with its own status.
        signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_DAEMON)


async def _run(server: Server, operations: Operations, loaded: Loaded, collector: Collector | None) -> None:
    """Serve from the start to the stop, and log both."""
    await server.start(operations)
    settings = server.settings
    if collector is not None:
        collector.begin()
    log.info(
        "presenced %s on Python %s, %s; at %s; at most %d links; %s%s%s",
        __version__,
        sys.version.split()[0],
        settings.loop,
        ", ".join(server.listeners),
        server.admission.links_max,
        _storage(server),
        f"; settings from {', '.join(loaded.files)}" if loaded.files else "",
        "; DEVELOPMENT MODE: every name is believed" if settings.dev else "",
    )
    if server.certificate is not None:
        log.info("TLS: the certificate %s is %s", settings.tls_cert, server.certificate.describe())
    about_python = concern_about(sys.version_info[:3])
    for concern in (*concerns(settings), *filter(None, [about_python])):
        log.warning("%s", concern)
    for remark in server.recovered.remarks if server.recovered is not None else ():
        log.warning("%s: %s", server.store, remark)
    if operations.demo_url:
        log.info("a page to try it with is at %s", operations.demo_url)
    await _say_where(server.listeners[0])
    await server.wait_stopped()
    log.info("stopped")


async def _say_where(url: str) -> None:
    """Print where the daemon listens: a port of 0 has become another, and a socket of systemd has an address of its
    own. The daemon does not wait for a reader."""
    # The log comes first: a program that waits for this line may then look at the log.
    logs.flush(SAY_S)
    output = sys.stdout.fileno()
    writing = in_thread(partial(os.write, output, f"listening on {url}\n".encode()), "output")
    try:
        async with asyncio.timeout(UNREAD_S):
            await writing
    except TimeoutError:
        log.warning("nobody reads standard output, which would say where this daemon listens")
    except OSError as error:
        discard_stdout()
        log.warning("standard output, which would say where this daemon listens, cannot be written: %s", error.strerror)


async def _leave_early(operations: Operations, number: signal.Signals) -> None:
    """End the process while a thread reads the data directory. Nothing waits for the thread: a crash at any moment
    harms nothing that it does, and it has acknowledged nothing yet."""
    log.info("%s: ending before the start is over; the next start reads the saved state again", number.name)
    try:
        await operations.leave_early()
    finally:
        logs.flush()
        os._exit(0)


def _storage(server: Server) -> str:
    found = server.recovered
    if found is None:
        return "state in memory only"
    text = f"state in {server.store}"
    if server.settings.data_dir:
        text += f", durability {server.settings.durability}"
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


def _leave(sentences: list[str], code: int, log_format: LogFormat = "auto", *, is_activated: bool = False) -> NoReturn:
    """End the process, with one line on standard error for each sentence, in the form of the log.

    If systemd holds the port, this takes a second: while a client waits there, systemd starts the daemon again at once,
    whatever RestartSec= and RestartPreventExitStatus= say.
    """
    if log_format == "json" or log_format == "journal" or logs.is_journal(sys.stderr) and log_format == "auto":
        # In the journal these are errors, and not lines of information.
        logs.configure(log_format, "error")
        for sentence in sentences:
            log.error("%s", sentence)
        logs.flush()
    else:
        for sentence in sentences:
            logs.say(in_lines(f"presenced: {sentence}"))
    if is_activated:
        time.sleep(PAUSE_S)
    sys.exit(code)


main.add_command(config_group)
