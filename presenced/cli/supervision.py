"""`presenced serve --nodes N`: what the supervisor of several nodes is given, and its signals."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping

from presenced.cli.signals import FOR_THE_DAEMON
from presenced.config import Settings
from presenced.config.hosts import parse_address
from presenced.config.loader import take_survey
from presenced.nodes.node_plan import NodePlan, NodesShare, memory_of_all, plans
from presenced.nodes.own_engine import EngineFailed, OwnEngine
from presenced.nodes.reservation import Reservation
from presenced.nodes.runtime_directory import make_runtime_directory, remove_runtime_directory
from presenced.nodes.supervisor import Supervisor
from presenced.ops.notifier import Notifier
from presenced.runtime_paths import admin_path
from presenced.server import cgroup
from presenced.storage.manifest import MANIFEST
from presenced.storage.store import DirectoryError

log = logging.getLogger("presenced")

TEMPORARY = 75
"""The exit code if the engine cannot be started: perhaps it can be in a moment."""

SayWhere = Callable[[str], Awaitable[None]]


def serve_nodes(settings: Settings, flags: Mapping[str, object], config: str | None, *, say_where: SayWhere) -> int:
    """Run the nodes until all have ended; returns the exit code. `say_where` prints the URL for clients.

    Raises `CannotListen`, `CannotOpenAdmin`, `DirectoryError`, `OSError`.
    """
    _refuse_store_of_one(settings.data_dir)
    notifier = Notifier(os.environ)
    runtime = os.path.dirname(admin_path(os.environ, os.getuid()))
    directory = make_runtime_directory(runtime)
    reserved: list[Reservation] = []
    try:
        clients = Reservation(*settings.address(), "listen.address")
        reserved.append(clients)
        if settings.http:
            reserved.append(Reservation(*parse_address(settings.http), "http.address", settings.http))
        engine = None if settings.cluster_url else OwnEngine(directory, os.environ)
        shared = NodesShare(
            engine=settings.cluster_url if engine is None else engine.url,
            port=clients.port,
            admin_path=_admin_path(settings),
            memory_bytes=memory_of_all(settings, _memory_limit()),
        )
        planned = plans(settings, flags, config, shared)

        def number_now() -> int:
            return take_survey(flags, os.environ, config).loaded.settings.nodes

        return asyncio.run(
            _supervise(settings, planned, engine, directory, notifier, clients.port, say_where, number_now)
        )
    finally:
        for each in reserved:
            each.close()
        remove_runtime_directory(directory)


async def _supervise(
    settings: Settings,
    planned: list[NodePlan],
    engine: OwnEngine | None,
    directory: str,
    notifier: Notifier,
    port: int,
    say_where: SayWhere,
    number_now: Callable[[], int],
) -> int:
    loop = asyncio.get_running_loop()
    said: list[asyncio.Task[None]] = []
    host, _ = settings.address()
    url = f"{'presences' if settings.tls_cert else 'presence'}://{f'[{host}]' if ':' in host else host}:{port}"

    async def say() -> None:
        await say_where(url)

    def ready() -> None:
        log.info("%d nodes serve at %s: %s", len(planned), url, ", ".join(plan.name for plan in planned))
        said.append(loop.create_task(say()))

    supervisor = Supervisor(
        planned,
        program(),
        engine=engine,
        directory=directory,
        environ=os.environ,
        notifier=notifier,
        on_ready=ready,
    )
    asked: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        if not asked:
            log.info("%s: stopping all nodes", number.name)
        asked.append(number)
        supervisor.begin_stop(number)

    def on_reload() -> None:
        # Each node tells of all other settings by itself.
        if (number := number_now()) != len(planned):
            log.warning("reload: cluster.nodes is %d now, and %d run; it needs a restart", number, len(planned))
        supervisor.reload()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    loop.add_signal_handler(signal.SIGHUP, on_reload)
    loop.add_signal_handler(signal.SIGUSR1, supervisor.take_snapshots)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_THE_DAEMON)
    try:
        code = await supervisor.run()
    except EngineFailed as error:
        log.error("%s", error)
        code = TEMPORARY
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_DAEMON)
    await asyncio.gather(*said, return_exceptions=True)
    log.info("all nodes have ended")
    return code


def program() -> list[str]:
    """What runs `presenced serve` as this process does, without looking for modules in the working directory if this
    process does not."""
    is_safe = "" not in sys.path and os.getcwd() not in sys.path
    return [sys.executable, *(["-P"] if is_safe else []), "-m", "presenced", "serve"]


def _memory_limit() -> int:
    try:
        return cgroup.tightest_limit()
    except OSError:
        # As for a single daemon: without control groups there is none.
        return 0


def _admin_path(settings: Settings) -> str:
    return admin_path(os.environ, os.getuid()) if settings.admin_socket == "auto" else settings.admin_socket


def _refuse_store_of_one(directory: str) -> None:
    """Raise `DirectoryError` if a single daemon kept its state in `directory`: the nodes would not know of it."""
    if directory and os.path.exists(os.path.join(directory, MANIFEST)):
        first = os.path.join(directory, "node-1")
        raise DirectoryError(
            f"{directory} holds the state of a single daemon, and each of several nodes has a directory in it; give it "
            f"to the first: mkdir -m 0700 {first} && chown --reference={directory} {first} && "
            f"find {directory} -mindepth 1 -maxdepth 1 ! -name 'node-*' -exec mv -t {first} {{}} +"
        )
